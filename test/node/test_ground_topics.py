"""The topics of the ground projection: what goes out, when, and what is said when nothing does."""

import math
from types import SimpleNamespace

import cv2
import numpy as np
import pytest

pytest.importorskip('rclpy', reason='ROS 2 (ros-rclpy) not installed')
pytest.importorskip('nav_msgs', reason='ROS 2 (ros-jazzy-nav-msgs) not installed')

from builtin_interfaces.msg import Time
from fake_node import FakeNode
from rclpy.qos import DurabilityPolicy, ReliabilityPolicy
from sensor_msgs.msg import CameraInfo
from std_msgs.msg import Header

from linknet_ros.errors import CalibrationError
from linknet_ros.ground import projector
from linknet_ros.ground.mount import Mount
from linknet_ros.inference.segmenter import Segmentation
from linknet_ros.node import ground_topics as module
from linknet_ros.node.ground_topics import GroundTopics
from linknet_ros.node.parameters import Parameters
from linknet_ros.node.state import State

HEADER = Header(stamp=Time(sec=1234, nanosec=56789), frame_id='camera_optical')
NAMES = (
    *('drivable_grid', 'drivable_scan', 'drivable_cloud'),
    *('class_cost_grid', 'labeled_cloud'),
)

#: A level camera 1 m above the ground: row v sees 60 / (v - 20) m ahead.
INFO = CameraInfo(width=81, height=61, k=[60.0, 0, 40, 0, 60, 20, 0, 0, 1])
#: Of the table in conftest.
ROAD, CAR, SKY = 0, 1, 2


def wall(row=40, label=CAR):
    """A wall that stands 60 / (row + 0.5 - 20) m ahead."""
    labels = np.full((61, 81), ROAD, np.uint8)
    labels[: row + 1] = label
    return Segmentation(labels, np.full((61, 81), 200, np.uint8))


@pytest.fixture
def node():
    return FakeNode()


class Projected:
    """GroundTopics with somebody who subscribes to all of it, and its state."""

    def __init__(self, node, classes, changes):
        self._classes, self._state = classes, None
        latched = changes.get('latched', False)
        self.topics = GroundTopics(node, latched=latched)
        self.show(**changes)
        node.subscribe(*NAMES)

    def show(self, outputs=None, **changes):
        """Show other parameters of the ground, and outputs; what is not given is the default."""
        values = {'height': 1.0, 'max_range': 10.0, 'resolution': 0.2} | changes
        values = {f'ground.{name}': value for name, value in values.items()}
        parameters = Parameters().changed(values | (outputs or {}))
        self._state = State.prepare(self._classes, parameters, self._state)
        self.topics.prepare(self._state.ground)
        self.topics.release(self._state.ground)

    def publish(self, result, header=HEADER, info=INFO):
        return self.topics.publish(self._state.ground, result, header, info)


@pytest.fixture
def open_ground(node, class_table):
    """Make Projected: `open_ground(height=1.2)`."""
    return lambda **changes: Projected(node, class_table, changes)


def ahead(node):
    """Range of the scan straight ahead, or in the middle of what it sees."""
    scan = node.newest('drivable_scan')
    return scan.ranges[len(scan.ranges) // 2]


# What goes out.


def test_a_wall(node, open_ground):
    assert open_ground().publish(wall()) >= 0
    assert node.said == []
    based = Header(stamp=HEADER.stamp, frame_id='base_link')
    grid, scan, cloud, costs, labelled = (node.newest(name) for name in NAMES)
    assert all(node.newest(name).header == based for name in NAMES)
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
    # Without costs the drivable classes cost nothing, and all others are obstacles.
    assert costs == grid
    assert (labelled.point_step, labelled.is_dense) == (16, True)
    assert [(f.name, f.offset, f.datatype) for f in labelled.fields] == [
        *(('x', 0, 7), ('y', 4, 7), ('z', 8, 7), ('label', 12, 2), ('confidence', 13, 2))
    ]
    data = np.frombuffer(labelled.data, np.uint8).reshape(-1, 16)
    np.testing.assert_array_equal(data[:, :12].copy().view('<f4'), points)
    assert (data[:, 12:] == [CAR, 200, 0, 0]).all()


@pytest.mark.parametrize('name', NAMES)
def test_only_what_has_a_subscriber_is_sent(node, open_ground, name):
    ground = open_ground()
    node.subscribe(name)
    assert ground.topics.has_subscribers()
    ground.publish(wall())
    assert node.sent == [name]


def test_nothing_is_done_for_nobody(node, open_ground, monkeypatch):
    monkeypatch.setattr(projector, 'GroundProjection', None)
    ground = open_ground()
    node.subscribe()
    assert not ground.topics.has_subscribers()
    assert ground.publish(wall(), HEADER, None) == 0
    assert node.said == []


@pytest.mark.parametrize('latched', [False, True])
def test_qos(node, open_ground, latched):
    open_ground(latched=latched)
    assert node.names() == set(NAMES)
    assert {p.qos.reliability for p in node.publishers} == {ReliabilityPolicy.RELIABLE}
    assert {p.qos.depth for p in node.publishers} == {1}
    lasting = {p.name for p in node.publishers if p.qos.durability != DurabilityPolicy.VOLATILE}
    assert lasting == ({'drivable_grid', 'class_cost_grid'} if latched else set())


# What is missing is said.


@pytest.mark.parametrize(
    ('info', 'changes', 'message'),
    [
        (None, {}, 'no camera_info on /camera/camera_info; remap it'),
        (INFO, {'height': 0.0}, "the camera's place is not known; set ground.height"),
        (CameraInfo(), {}, 'the camera is not calibrated'),
        (INFO, {'pitch': -1.0}, 'the camera sees no ground within 10 m'),
        (
            CameraInfo(width=81, height=61, header=Header(frame_id='rear'), k=INFO.k),
            {},
            "/camera/camera_info is of frame 'rear', the image of 'camera_optical'; remap",
        ),
        (
            CameraInfo(width=61, height=81, k=INFO.k),
            {},
            'it was turned; calibrate the camera with',
        ),
    ],
)
def test_what_is_missing_is_said(node, open_ground, info, changes, message):
    assert open_ground(**changes).publish(wall(), HEADER, info) == 0
    (said,) = node.said
    assert said.startswith('no ~/drivable_grid, ~/class_cost_grid, ~/drivable_scan, ')
    assert message in said
    assert node.sent == []


# Tables.


@pytest.fixture
def made(monkeypatch):
    """Cameras and mounts that tables were made for."""
    calls = []
    real = projector.GroundProjection

    def spy(camera, mount, options, ego_mask):
        calls.append((camera, mount))
        return real(camera, mount, options, ego_mask)

    monkeypatch.setattr(projector, 'GroundProjection', spy)
    return calls


def test_tables_are_made_once(class_table, open_ground, made):
    ground = open_ground()
    for stamp in (1, 2):
        header = Header(stamp=Time(sec=stamp), frame_id='camera_optical')
        ground.publish(wall(), header, CameraInfo(width=81, height=61, k=INFO.k, header=header))
        ground.show({'overlay_opacity': 0.1})
    assert len(made) == 1
    zoomed = CameraInfo(width=81, height=61, k=[70.0, 0, 40, 0, 60, 20, 0, 0, 1])
    ground.publish(wall(), HEADER, zoomed)
    ground.show(pitch=0.1)
    ground.publish(wall(), HEADER, zoomed)
    assert [(camera.fx, mount.matrix[2, 2] < -0.01) for camera, mount in made] == [
        (60, False),
        (70, False),
        (70, True),
    ]


def test_a_fault_of_the_tables_is_found_once(node, open_ground, made):
    ground = open_ground(pitch=-1.0)
    for _ in range(3):
        ground.publish(wall())
    assert len(node.said) == 3
    assert len(made) == 1
    ground.show()
    ground.publish(wall())
    assert len(node.said) == 3
    assert ahead(node) == pytest.approx(60 / 20.5, rel=0.02)


def test_blind_range_is_reported_once_for_a_mount(node, open_ground):
    ground = open_ground()
    assert ground.topics.values() == {}
    for _ in range(2):
        ground.publish(wall())
    (told,) = node.told
    assert told.startswith('the camera sees the ground from 1.5 m ahead, 1.5 to 1.8 m by bearing.')
    assert 'raytrace_min_range of at least 2.0' in told
    assert ground.topics.values() == {'blind range': '1.5 m ahead, 1.5 to 1.8 m by bearing'}
    assert node.newest('drivable_scan').range_min == pytest.approx(60 / 40.5, rel=0.01)
    ground.show(pitch=0.1)
    ground.publish(wall())
    assert len(node.told) == 2


def test_problem_is_known_while_somebody_subscribes(node, open_ground):
    ground = open_ground()
    ground.publish(wall(), HEADER, None)
    [problem] = ground.topics.problems()
    assert 'no camera_info on /camera/camera_info' in problem
    node.subscribe()
    assert ground.topics.problems() == []
    node.subscribe(*NAMES)
    ground.publish(wall())
    assert ground.topics.problems() == []


# Parameters.


def test_the_place_of_the_camera(node, open_ground):
    ground = open_ground(x=1.0, height=2.0, plane_z=-0.5)
    ground.publish(wall())
    assert ahead(node) == pytest.approx(1 + 2 * 60 / 20.5, rel=0.02)
    points = np.frombuffer(node.newest('drivable_cloud').data, '<f4').reshape(-1, 3)
    assert set(points[:, 2].tolist()) == {-0.5}
    assert node.newest('drivable_grid').info.origin.position.z == -0.5
    ground.show(base_frame='base_footprint')
    ground.publish(wall())
    assert ahead(node) == pytest.approx(60 / 20.5, rel=0.02)
    assert node.newest('drivable_scan').header.frame_id == 'base_footprint'


@pytest.mark.parametrize(
    ('changes', 'reach'),
    [
        ({'pitch': 0.1}, 1 / math.tan(0.1 + math.atan(20.5 / 60))),
        ({'overhanging_classes': ('car',), 'clearance': 0.25}, 0.75 * 60 / 20.5),
        # Confidence is 200 of 255, 0.784.
        ({'min_confidence': 0.78}, 60 / 20.5),
        ({'min_confidence': 0.79}, math.nan),
    ],
)
def test_reach(node, open_ground, changes, reach):
    open_ground(**changes).publish(wall())
    assert ahead(node) == pytest.approx(reach, rel=0.02, nan_ok=True)


def test_yaw_looks_to_the_left(node, open_ground):
    open_ground(yaw=1.0).publish(wall())
    scan = node.newest('drivable_scan')
    assert (scan.angle_min + scan.angle_max) / 2 == pytest.approx(1.0, abs=0.02)


def test_drivable_and_unknown_classes(node, open_ground):
    ground = open_ground()
    ground.publish(wall(label=SKY))
    assert math.isnan(ahead(node))
    ground.show({'drivable_classes': ('road', 'car')})
    ground.publish(wall())
    assert math.isinf(ahead(node))
    ground.show(unknown_classes=('car',))
    ground.publish(wall())
    assert math.isnan(ahead(node))
    # The sky is no exception then.
    ground.publish(wall(label=SKY))
    assert ahead(node) == pytest.approx(60 / 20.5, rel=0.02)


def test_ego_mask(node, open_ground, tmp_path):
    mask = np.zeros((61, 81), np.uint8)
    mask[36:] = 255
    path = str(tmp_path / 'mask.png')
    cv2.imwrite(path, mask)
    open_ground(ego_mask=path).publish(wall())
    # The first row that is not the vehicle's own is 35, where the wall already stands.
    assert ahead(node) == pytest.approx(60 / 15.5, rel=0.02)


def test_filter(node, open_ground):
    ground = open_ground(filter=True)
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

    monkeypatch.setattr(module, 'TfMounts', FakeTfMounts)
    monkeypatch.setattr('linknet_ros.node.state.check_tf', lambda: None)
    return stand_in


def test_place_from_tf(node, open_ground, made, tf):
    ground = open_ground(use_tf=True, height=0.0)
    ground.publish(wall())
    assert tf.asked == [('base_link', HEADER)]
    assert ahead(node) == pytest.approx(60 / 20.5, rel=0.02)
    # A tremble needs no new tables, a step does.
    for z in (1.004, 1.1):
        tf.found = Mount.from_angles(z=z)
        ground.publish(wall())
    assert [mount.position[2] for _, mount in made] == [1, 1.1]
    tf.found = CalibrationError('tf does not say')
    ground.publish(wall())
    assert [said.partition(': ')[2] for said in node.said] == ['tf does not say']


def test_tf_is_listened_to_while_it_is_used(open_ground, tf):
    ground = open_ground()
    assert tf.open == 0
    for _ in range(2):
        ground.show(use_tf=True)
        assert tf.open == 1
    ground.show()
    assert tf.open == 0
    ground.show(use_tf=True)
    ground.topics.destroy()
    assert tf.open == 0
