"""Grid, scan and cloud as messages: contents."""

import math

import numpy as np
import pytest

pytest.importorskip('rclpy', reason='ROS 2 (ros-rclpy) not installed')
pytest.importorskip('nav_msgs', reason='ROS 2 (ros-jazzy-nav-msgs) not installed')

from builtin_interfaces.msg import Time
from rclpy.serialization import deserialize_message, serialize_message
from sensor_msgs.msg import PointField
from std_msgs.msg import Header

from linknet_ros.ground.grid import GridArea
from linknet_ros.ground.merge import ScanRanges
from linknet_ros.ros.ground_messages import cloud_message, grid_message, scan_message

HEADER = Header(stamp=Time(sec=1234, nanosec=56789), frame_id='base_link')


def sent(message):
    """The message after its way through the wire's form."""
    return deserialize_message(serialize_message(message), type(message))


def test_grid():
    area = GridArea(forward=0.3, backward=0.1, sideways=0.1, resolution=0.1)
    cells = np.array([[0, 100, -1, 0], [100, -1, 0, -1]], np.int8)
    message = sent(grid_message(cells, area, -0.2, HEADER))
    assert message.header == HEADER
    info = message.info
    assert (info.width, info.height) == (4, 2)
    assert info.resolution == pytest.approx(0.1)
    assert info.map_load_time == HEADER.stamp
    position, turned = info.origin.position, info.origin.orientation
    assert (position.x, position.y, position.z) == pytest.approx((-0.1, -0.1, -0.2))
    assert (turned.x, turned.y, turned.z, turned.w) == (0, 0, 0, 1)
    # Row by row, x runs fastest.
    assert list(message.data) == [0, 100, -1, 0, 100, -1, 0, -1]


def test_grid_of_a_view():
    cells = np.array([[0, 100], [-1, 0]], np.int8).T
    area = GridArea(forward=2.0, sideways=1.0, resolution=1.0)
    assert list(grid_message(cells, area, 0.0, HEADER).data) == [0, -1, 100, 0]


def test_scan():
    ranges = np.array([1.5, np.inf, np.nan, 2.25, 9], np.float32)
    message = sent(scan_message(ScanRanges(ranges, -0.5, 0.25, 1.5, 10.0), HEADER))
    assert message.header == HEADER
    assert (message.angle_min, message.angle_max, message.angle_increment) == (-0.5, 0.5, 0.25)
    assert (message.range_min, message.range_max) == (1.5, 10)
    assert (message.time_increment, message.scan_time) == (0, 0)
    assert list(message.ranges[:2]) == [1.5, math.inf]
    assert math.isnan(message.ranges[2])
    assert list(message.ranges[3:]) == [2.25, 9]
    assert len(message.intensities) == 0


@pytest.mark.parametrize('count', [0, 2])
def test_cloud(count):
    points = np.array([[1, 2, -0.5], [3, -4, -0.5]], np.float32)[:count]
    message = sent(cloud_message(points, HEADER))
    assert message.header == HEADER
    assert [(f.name, f.offset, f.datatype, f.count) for f in message.fields] == [
        (name, offset, PointField.FLOAT32, 1) for name, offset in (('x', 0), ('y', 4), ('z', 8))
    ]
    assert (message.height, message.width) == (1, count)
    assert (message.point_step, message.row_step) == (12, 12 * count)
    assert not message.is_bigendian
    assert message.is_dense
    found = np.frombuffer(message.data, '<f4').reshape(count, 3)
    np.testing.assert_array_equal(found, points)
