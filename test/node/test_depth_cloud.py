"""~/labeled_cloud of a depth camera: each point has the class of its pixel, or there is none."""

import copy

import numpy as np
import pytest

pytest.importorskip('rclpy', reason='ROS 2 (ros-rclpy) not installed')
pytest.importorskip('onnxruntime', reason='ONNX Runtime (extra "cpu") not installed')

from rig import random_labels
from sensor_msgs.msg import CameraInfo, Image, PointCloud2, PointField

from linknet_ros.ground.labelled import LABELLED

SIZE = (96, 64)
INFO = CameraInfo(width=96, height=64, k=[80.0, 0, 47.5, 0, 80, 31.5, 0, 0, 1])


def depth_image(header, metres=2.0, size=(48, 32)):
    depth = np.full(size[::-1], metres, np.float32)
    image = Image(header=header, width=size[0], height=size[1], encoding='32FC1')
    image.step = 4 * size[0]
    image.data.frombytes(depth.tobytes())
    return image


def cloud_of(header, size=(48, 32)):
    points = np.random.default_rng(0).normal(size=(size[1], size[0], 3)).astype(np.float32)
    cloud = PointCloud2(header=header, width=size[0], height=size[1], point_step=12)
    cloud.fields = [
        PointField(name=name, offset=4 * i, datatype=PointField.FLOAT32, count=1)
        for i, name in enumerate('xyz')
    ]
    cloud.row_step = 12 * size[0]
    cloud.data.frombytes(points.tobytes())
    return cloud, points


def points_of(message):
    assert (message.point_step, message.row_step) == (16, 16 * message.width)
    data = np.frombuffer(message.data, LABELLED).reshape(message.height, message.width)
    return np.stack([data[axis] for axis in 'xyz'], -1), data['label'], data['confidence']


@pytest.fixture
def open_depth(open_told_robot):
    """A robot with `depth: /depth`, somebody who wants the cloud, and a publisher of depth."""

    def make(kind, **parameters):
        robot = open_told_robot(SIZE, INFO, depth='/depth', **parameters)
        robot.subscribe('labeled_cloud', kind=PointCloud2)
        depth = robot.publisher(kind, '/depth')
        robot.until(lambda: depth.get_subscription_count() == 1, 'the node to subscribe to depth')
        return robot, depth

    return make


def send(robot, depth, message):
    """Publish depth, and wait until the node has it."""
    matcher = robot.node.cameras.all[0].topics._ground.depth._matcher
    before = matcher._depths
    depth.publish(message)
    robot.until(lambda: matcher._depths is not before, 'the node to take the depth')


def test_depth_image(open_depth):
    # Without ground.height: points need no place of the camera.
    robot, depth = open_depth(Image)
    labels = random_labels()
    confidence = np.arange(SIZE[0] * SIZE[1], dtype=np.uint32).reshape(labels.shape) % 200 + 55
    confidence = confidence.astype(np.uint8)
    send(robot, depth, depth_image(robot.header))
    robot.show(labels, confidence)
    robot.until(lambda: robot.received['labeled_cloud'])
    [cloud] = robot.received['labeled_cloud']
    assert cloud.header == robot.header
    assert (cloud.width, cloud.height, cloud.is_dense) == (48, 32, True)
    points, label, sure = points_of(cloud)
    np.testing.assert_array_equal(label, labels[1::2, 1::2])
    np.testing.assert_array_equal(sure, confidence[1::2, 1::2])
    # Pixels of the depth image are two wide: the middle of the image is the optical axis.
    columns, rows = np.meshgrid(np.arange(48), np.arange(32))
    expected = np.stack([(columns - 23.5) / 40, (rows - 15.5) / 40, np.ones((32, 48))], -1) * 2
    np.testing.assert_allclose(points, expected, atol=1e-5)


def test_organised_cloud_that_comes_after_its_frame(open_depth):
    robot, depth = open_depth(PointCloud2)
    labels = random_labels()
    header = copy.deepcopy(robot.header)
    header.frame_id = 'depth_link'
    robot.show(labels)
    message, points = cloud_of(header)
    send(robot, depth, message)
    assert robot.received['labeled_cloud'] == []
    # It goes out with the next frame.
    robot.header = robot.stamped()
    robot.show(np.zeros_like(labels))
    robot.until(lambda: robot.received['labeled_cloud'])
    [cloud] = robot.received['labeled_cloud']
    assert cloud.header == header
    found, label, _ = points_of(cloud)
    np.testing.assert_array_equal(found, points)
    np.testing.assert_array_equal(label, labels[1::2, 1::2])


def test_depth_of_another_moment_is_never_taken(open_depth):
    robot, depth = open_depth(Image)
    old, robot.header = robot.header, robot.stamped(age=-1.0)
    send(robot, depth, depth_image(old))
    send(robot, depth, depth_image(robot.stamped(age=-1.2)))
    robot.show(random_labels())
    robot.spin(0.2)
    assert robot.received['labeled_cloud'] == []
    [problem] = robot.node.cameras.all[0].topics.problems()
    assert problem.startswith('no ~/labeled_cloud: no depth of the stamp of the frame on /depth')


@pytest.mark.parametrize('change', ['frame_id', 'size'])
def test_depth_of_another_camera_is_refused(open_depth, change):
    robot, depth = open_depth(Image)
    header = copy.deepcopy(robot.header)
    size = (48, 32)
    if change == 'size':
        size = (32, 48)
    else:
        header.frame_id = 'infrared'
    send(robot, depth, depth_image(header, size=size))
    robot.show(random_labels())
    robot.spin(0.2)
    assert robot.received['labeled_cloud'] == []
    [problem] = robot.node.cameras.all[0].topics.problems()
    assert 'registered to the image' in problem


def test_no_subscription_to_depth_without_somebody_who_wants_it(open_depth):
    robot, depth = open_depth(Image)
    robot.unsubscribe('labeled_cloud')
    robot.until(lambda: depth.get_subscription_count() == 0, 'the node to unsubscribe')
    robot.set(depth='', ground__height=1.5)
    robot.subscribe('labeled_cloud', kind=PointCloud2)
    robot.show(random_labels())
    robot.until(lambda: robot.received['labeled_cloud'])
    # The contacts on the ground again.
    assert robot.received['labeled_cloud'][0].header.frame_id == 'base_link'
    assert robot.received['labeled_cloud'][0].height == 1
