"""The topics of the ground projection: what goes out, when, and what is said when nothing does."""

import math
import time
from types import SimpleNamespace

import cv2
import numpy as np
import pytest

pytest.importorskip('rclpy', reason='ROS 2 (ros-rclpy) not installed')
pytest.importorskip('nav_msgs', reason='ROS 2 (ros-jazzy-nav-msgs) not installed')

from builtin_interfaces.msg import Time
from nav_msgs.msg import OccupancyGrid
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import CameraInfo, LaserScan, PointCloud2
from std_msgs.msg import Header

from linknet_ros.errors import CalibrationError, ClassNameError, ParameterError, SourceError
from linknet_ros.ground.mount import Mount
from linknet_ros.inference.segmenter import Segmentation
from linknet_ros.node import ground_topics as ros_ground
from linknet_ros.node.ground_topics import GroundOutputs, check_ground
from linknet_ros.node.parameters import SPECS, Parameters
from linknet_ros.node.topics import Outputs

HEADER = Header(stamp=Time(sec=1234, nanosec=56789), frame_id='camera_optical')
NAMES = ('drivable_grid', 'drivable_scan', 'drivable_cloud')

#: A level camera 1 m above the ground: row v sees 60 / (v - 20) m ahead.
INFO = CameraInfo(width=81, height=61, k=[60.0, 0, 40, 0, 60, 20, 0, 0, 1])
#: Of the table in conftest.
ROAD, CAR, SKY = 0, 1, 2


def parameters(**changes):
    values = {spec.field: spec.default for spec in SPECS}
    values |= {'ground_height': 1.0, 'ground_max_range': 10.0, 'ground_resolution': 0.2}
    return Parameters(**values | changes)


def wall(row=40, label=CAR):
    """A wall that stands 60 / (row + 0.5 - 20) m ahead."""
    labels = np.full((61, 81), ROAD, np.uint8)
    labels[: row + 1] = label
    return Segmentation(labels, np.full((61, 81), 200, np.uint8))


class FakePublisher:
    """Publisher with as many subscribers as a test says."""

    def __init__(self, topic, qos):
        self.topic, self.qos = topic, qos
        self.subscribers = 0
        self.sent = []

    def get_subscription_count(self):
        return self.subscribers

    def publish(self, message):
        self.sent.append(message)


class FakeNode:
    """What GroundOutputs asks of a node."""

    def __init__(self):
        self.publishers = {}
        self.said = []

    def create_publisher(self, kind, topic, qos, **_):
        publisher = self.publishers[topic.removeprefix('~/')] = FakePublisher(topic, qos)
        return publisher

    def destroy_publisher(self, publisher):
        del self.publishers[publisher.topic.removeprefix('~/')]

    def get_logger(self):
        return SimpleNamespace(warning=lambda text, **_: self.said.append(text))

    def resolve_topic_name(self, name):
        return f'/camera/{name}'

    def listen(self, *names):
        for name, publisher in self.publishers.items():
            publisher.subscribers = int(name in names)

    def newest(self, name):
        return self.publishers[name].sent[-1]


@pytest.fixture
def node():
    return FakeNode()


@pytest.fixture
def open_ground(node, class_table):
    """Make GroundOutputs that somebody listens to: `open_ground(ground_height=1.2)`."""

    def make(**changes):
        ground = GroundOutputs(node, class_table, parameters(**changes))
        node.listen(*NAMES)
        return ground

    return make


def ahead(node):
    """Range of the scan straight ahead, or in the middle of what it sees."""
    scan = node.newest('drivable_scan')
    return scan.ranges[len(scan.ranges) // 2]


# What goes out.


def test_a_wall(node, open_ground):
    assert open_ground().publish(wall(), HEADER, INFO) >= 0
    assert node.said == []
    based = Header(stamp=HEADER.stamp, frame_id='base_link')
    grid, scan, cloud = (node.newest(name) for name in NAMES)
    assert grid.header == scan.header == cloud.header == based
    # At 60 / 20.5 = 2.93 m: column 14 of 100, from -10 m to 10 m in rows.
    cells = np.array(grid.data).reshape(grid.info.height, grid.info.width)
    assert cells.shape == (100, 100)
    assert (cells[49:51, 14] == 100).all()
    assert (cells[49:51, 8:14] == 0).all()
    assert (cells[49:51, 15:] == -1).all()
    assert (cells[49:51, :7] == -1).all()
    assert scan.range_max == 10
    assert ahead(node) == pytest.approx(60 / 20.5, rel=0.02)
    points = np.frombuffer(cloud.data, '<f4').reshape(-1, 3)
    np.testing.assert_allclose(points[:, 0], 60 / 20.5, rtol=0.02)
    assert not points[:, 2].any()


@pytest.mark.parametrize('name', NAMES)
def test_only_what_is_heard_is_sent(node, open_ground, name):
    ground = open_ground()
    node.listen(name)
    assert ground.wanted()
    ground.publish(wall(), HEADER, INFO)
    assert [n for n, publisher in node.publishers.items() if publisher.sent] == [name]


def test_nothing_is_done_for_nobody(node, open_ground, monkeypatch):
    monkeypatch.setattr(ros_ground, 'GroundProjection', None)
    ground = open_ground()
    node.listen()
    assert not ground.wanted()
    assert ground.publish(wall(), HEADER, None) == 0
    assert node.said == []


def test_qos(node, open_ground):
    open_ground()
    for name, publisher in node.publishers.items():
        assert publisher.qos.reliability == ReliabilityPolicy.RELIABLE, name
        assert publisher.qos.durability == DurabilityPolicy.VOLATILE, name
        assert publisher.qos.depth == 1
    open_ground(ground_latched=True)
    latched = {
        n for n, p in node.publishers.items() if p.qos.durability != p.qos.durability.VOLATILE
    }
    assert latched == {'drivable_grid'}


def test_destroy(node, open_ground):
    ground = open_ground()
    ground.destroy()
    assert node.publishers == {}
    assert not ground.wanted()


# What is missing is said.


@pytest.mark.parametrize(
    ('info', 'changes', 'message'),
    [
        (None, {}, 'no camera_info on /camera/camera_info; remap it'),
        (INFO, {'ground_height': 0.0}, "the camera's place is not known; set ground.height"),
        (CameraInfo(), {}, 'the camera is not calibrated'),
        (INFO, {'ground_pitch': -1.0}, 'the camera sees no ground within 10 m'),
    ],
)
def test_what_is_missing_is_said(node, open_ground, info, changes, message):
    assert open_ground(**changes).publish(wall(), HEADER, info) == 0
    (said,) = node.said
    assert said.startswith('no ~/drivable_grid, scan or cloud: ')
    assert message in said
    assert not any(publisher.sent for publisher in node.publishers.values())


# Tables.


@pytest.fixture
def made(monkeypatch):
    """Cameras and mounts that tables were made for."""
    calls = []
    real = ros_ground.GroundProjection

    def spy(camera, mount, options, ego_mask):
        calls.append((camera, mount))
        return real(camera, mount, options, ego_mask)

    monkeypatch.setattr(ros_ground, 'GroundProjection', spy)
    return calls


def test_tables_are_made_once(class_table, open_ground, made):
    ground = open_ground()
    for stamp in (1, 2):
        header = Header(stamp=Time(sec=stamp), frame_id='camera_optical')
        ground.publish(wall(), header, CameraInfo(width=81, height=61, k=INFO.k, header=header))
        ground.configure(parameters(overlay_opacity=0.1))
    assert len(made) == 1
    zoomed = CameraInfo(width=81, height=61, k=[70.0, 0, 40, 0, 60, 20, 0, 0, 1])
    ground.publish(wall(), HEADER, zoomed)
    ground.configure(parameters(ground_pitch=0.1))
    ground.publish(wall(), HEADER, zoomed)
    assert [(camera.fx, mount.matrix[2, 2] < -0.01) for camera, mount in made] == [
        (60, False),
        (70, False),
        (70, True),
    ]


def test_a_fault_of_the_tables_is_found_once(node, open_ground, made):
    ground = open_ground(ground_pitch=-1.0)
    for _ in range(3):
        ground.publish(wall(), HEADER, INFO)
    assert len(node.said) == 3
    assert len(made) == 1
    ground.configure(parameters())
    ground.publish(wall(), HEADER, INFO)
    assert len(node.said) == 3
    assert ahead(node) == pytest.approx(60 / 20.5, rel=0.02)


# Parameters.


def test_the_place_of_the_camera(node, open_ground):
    ground = open_ground(ground_x=1.0, ground_height=2.0, ground_plane_z=-0.5)
    ground.publish(wall(), HEADER, INFO)
    assert ahead(node) == pytest.approx(1 + 2 * 60 / 20.5, rel=0.02)
    points = np.frombuffer(node.newest('drivable_cloud').data, '<f4').reshape(-1, 3)
    assert set(points[:, 2].tolist()) == {-0.5}
    assert node.newest('drivable_grid').info.origin.position.z == -0.5
    ground.configure(parameters(ground_base_frame='base_footprint'))
    ground.publish(wall(), HEADER, INFO)
    assert ahead(node) == pytest.approx(60 / 20.5, rel=0.02)
    assert node.newest('drivable_scan').header.frame_id == 'base_footprint'


def test_pitch_looks_down(node, open_ground):
    open_ground(ground_pitch=0.1).publish(wall(), HEADER, INFO)
    reach = 1 / math.tan(0.1 + math.atan(20.5 / 60))
    assert ahead(node) == pytest.approx(reach, rel=0.02)


def test_yaw_looks_to_the_left(node, open_ground):
    open_ground(ground_yaw=1.0).publish(wall(), HEADER, INFO)
    scan = node.newest('drivable_scan')
    assert (scan.angle_min + scan.angle_max) / 2 == pytest.approx(1.0, abs=0.02)


def test_drivable_and_unknown_classes(node, open_ground):
    ground = open_ground()
    ground.publish(wall(label=SKY), HEADER, INFO)
    assert math.isnan(ahead(node))
    ground.configure(parameters(drivable_classes=('road', 'car')))
    ground.publish(wall(), HEADER, INFO)
    assert math.isinf(ahead(node))
    ground.configure(parameters(ground_unknown_classes=('car',)))
    ground.publish(wall(), HEADER, INFO)
    assert math.isnan(ahead(node))
    # The sky is no exception then.
    ground.publish(wall(label=SKY), HEADER, INFO)
    assert ahead(node) == pytest.approx(60 / 20.5, rel=0.02)


def test_confidence(node, open_ground):
    # 200 of 255 is 0.784.
    ground = open_ground(ground_min_confidence=0.78)
    ground.publish(wall(), HEADER, INFO)
    assert ahead(node) == pytest.approx(60 / 20.5, rel=0.02)
    ground.configure(parameters(ground_min_confidence=0.79))
    ground.publish(wall(), HEADER, INFO)
    assert math.isnan(ahead(node))


def test_clearance(node, open_ground):
    changes = {'ground_overhanging_classes': ('car',), 'ground_clearance': 0.25}
    open_ground(**changes).publish(wall(), HEADER, INFO)
    assert ahead(node) == pytest.approx(0.75 * 60 / 20.5, rel=0.02)


def test_ego_mask(node, open_ground, tmp_path):
    mask = np.zeros((61, 81), np.uint8)
    mask[36:] = 255
    path = str(tmp_path / 'mask.png')
    cv2.imwrite(path, mask)
    open_ground(ground_ego_mask=path).publish(wall(), HEADER, INFO)
    # The first row that is not the vehicle's own is 35, where the wall already stands.
    assert ahead(node) == pytest.approx(60 / 15.5, rel=0.02)


def test_filter(node, open_ground):
    ground = open_ground(ground_filter=True)
    road = wall(row=0)
    seen = []
    for second, picture in enumerate((road, road, wall(), wall())):
        stamp = Time(sec=10, nanosec=second * 100_000_000)
        ground.publish(picture, Header(stamp=stamp, frame_id='camera_optical'), INFO)
        seen.append(round(ahead(node), 1))
    assert seen == [math.inf, math.inf, math.inf, 2.9]


# tf.


@pytest.fixture
def tf(monkeypatch):
    """Stand-in for tf: `tf.found` is a mount or an error."""
    stand_in = SimpleNamespace(found=Mount.from_angles(z=1.0), asked=[], open=0)

    class FakeTfMounts:
        def __init__(self, node):
            stand_in.open += 1

        def mount(self, base_frame, header):
            stand_in.asked.append((base_frame, header))
            if isinstance(stand_in.found, Exception):
                raise stand_in.found
            return stand_in.found

        def close(self):
            stand_in.open -= 1

    monkeypatch.setattr(ros_ground, 'TfMounts', FakeTfMounts)
    monkeypatch.setattr(ros_ground, 'check_tf', lambda: None)
    return stand_in


def test_place_from_tf(node, open_ground, made, tf):
    ground = open_ground(ground_use_tf=True, ground_height=0.0)
    ground.publish(wall(), HEADER, INFO)
    assert tf.asked == [('base_link', HEADER)]
    assert ahead(node) == pytest.approx(60 / 20.5, rel=0.02)
    # A tremble needs no new tables, a step does.
    for z in (1.004, 1.1):
        tf.found = Mount.from_angles(z=z)
        ground.publish(wall(), HEADER, INFO)
    assert [mount.position[2] for _, mount in made] == [1, 1.1]
    tf.found = CalibrationError('tf does not say')
    ground.publish(wall(), HEADER, INFO)
    assert node.said == ['no ~/drivable_grid, scan or cloud: tf does not say']


def test_tf_is_listened_to_while_it_is_used(open_ground, tf):
    ground = open_ground()
    assert tf.open == 0
    for _ in range(2):
        ground.configure(parameters(ground_use_tf=True))
        assert tf.open == 1
    ground.configure(parameters())
    assert tf.open == 0
    ground.configure(parameters(ground_use_tf=True))
    ground.destroy()
    assert tf.open == 0


# What cannot work is refused.


@pytest.mark.parametrize(
    ('changes', 'error', 'message'),
    [
        ({'ground_unknown_classes': ('moon',)}, ClassNameError, "unknown class 'moon'"),
        ({'ground_overhanging_classes': ('moon',)}, ClassNameError, "unknown class 'moon'"),
        ({'ground_sideways': 0.0}, ParameterError, 'make 0 cells'),
        ({'ground_ego_mask': '/nowhere.png'}, SourceError, r'ego mask /nowhere\.png cannot be'),
    ],
)
def test_check(class_table, changes, error, message):
    check_ground(class_table, parameters())
    with pytest.raises(error, match=message):
        check_ground(class_table, parameters(**changes))


def test_check_of_tf(class_table, monkeypatch):
    def fail():
        raise ParameterError('no tf2_ros')

    monkeypatch.setattr(ros_ground, 'check_tf', fail)
    check_ground(class_table, parameters())
    with pytest.raises(ParameterError, match='no tf2_ros'):
        check_ground(class_table, parameters(ground_use_tf=True))


# With the other outputs, over the wire.


def test_beside_the_other_outputs(context, class_table):
    arguments = {'start_parameter_services': False, 'enable_rosout': False}
    robot, planner = (Node(n, context=context, **arguments) for n in ('linknet', 'planner'))
    executor = SingleThreadedExecutor(context=context)
    executor.add_node(planner)
    outputs = Outputs(robot, class_table, parameters(ground_latched=True))
    heard = {}

    def wait(condition):
        end = time.monotonic() + 20
        while not condition():
            assert time.monotonic() < end
            executor.spin_once(timeout_sec=0.01)

    try:
        assert not outputs.wanted()
        latched = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
        for name, kind, qos in zip(
            NAMES, (OccupancyGrid, LaserScan, PointCloud2), (latched, 5, 5), strict=True
        ):
            topic = f'/linknet/{name}'
            planner.create_subscription(kind, topic, lambda m, n=name: heard.update({n: m}), qos)
        publishers = [p for p in robot.publishers if 'drivable_' in p.topic_name]
        wait(lambda: all(p.get_subscription_count() for p in publishers))
        assert len(publishers) == 3
        assert outputs.wanted()
        bad = parameters(ground_sideways=0.0, overlay_opacity=1.0)
        with pytest.raises(ParameterError, match='make 0 cells'):
            outputs.configure(bad)
        frame = np.zeros((61, 81, 3), np.uint8)
        assert outputs.publish(frame, wall(), HEADER, INFO) > 0
        wait(lambda: set(heard) == set(NAMES))
        assert heard['drivable_grid'].data[50 * 100 + 14] == 100
        assert heard['drivable_scan'].header.stamp == HEADER.stamp
        assert heard['drivable_cloud'].width > 50
    finally:
        outputs.destroy()
        executor.shutdown()
        robot.destroy_node()
        planner.destroy_node()
