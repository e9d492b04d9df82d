"""The node's topics, taken in as planners do it: kiwicampus' layer, nvblox, and stock Nav2.

Each class below does in a few lines what the C++ it names does with a message, over DDS, with the
parameters that ship in config/. Frames are labels themselves (see write_label_model), so what must
come out is known. The last tests of each part break something on purpose: a consumer that takes
anything would prove nothing.
"""

import json
import math
import time
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import yaml

pytest.importorskip('rclpy', reason='needs ROS 2 (pip install .[ros])')
pytest.importorskip('onnxruntime', reason='ONNX Runtime (extra "cpu") not installed')

import rclpy
from builtin_interfaces.msg import Time
from nav_msgs.msg import OccupancyGrid
from rclpy.executors import SingleThreadedExecutor
from rclpy.lifecycle import TransitionCallbackReturn
from rclpy.parameter import Parameter
from rclpy.qos import (
    DurabilityPolicy,
    QoSProfile,
    ReliabilityPolicy,
    qos_profile_sensor_data,
    qos_profile_system_default,
)
from sensor_msgs.msg import CameraInfo, Image, LaserScan, PointCloud2, PointField
from std_msgs.msg import Header

from linknet_ros import ros_ground, ros_outputs
from linknet_ros.classes import CAMVID
from linknet_ros.ground_accuracy import StreetTruth, open_finer
from linknet_ros.ros_images import array_to_image
from linknet_ros.segment_node import SegmentNode
from linknet_ros.street_drive import StreetDrive

CONFIG = Path(__file__).resolve().parent.parent / 'config'

ROAD, TREE, PEDESTRIAN, BICYCLIST = CAMVID.ids(['road', 'tree', 'pedestrian', 'bicyclist'])

#: nav2::qos::SensorDataQoS(50) of the costmap layers.
SENSOR_DATA = QoSProfile(depth=50, reliability=ReliabilityPolicy.BEST_EFFORT)


def latched(depth):
    """nav2::qos::LatchedSubscriptionQoS."""
    return QoSProfile(
        depth=depth,
        reliability=ReliabilityPolicy.RELIABLE,
        durability=DurabilityPolicy.TRANSIENT_LOCAL,
    )


def nanoseconds(stamp):
    return stamp.sec * 10**9 + stamp.nanosec


class Robot:
    """A SegmentNode whose camera shows labels, and a second node for camera and consumers."""

    def __init__(self, context, model, **values):
        values |= {'model': str(model), 'backend': 'onnxruntime'}
        overrides = [Parameter(name, value=value) for name, value in values.items()]
        self.node = SegmentNode(context=context, parameter_overrides=overrides)
        self.peer = rclpy.create_node('peer', context=context)
        reliable = QoSProfile(depth=5, reliability=ReliabilityPolicy.RELIABLE)
        self.camera = self.peer.create_publisher(Image, 'image', reliable)
        self.info = self.peer.create_publisher(CameraInfo, 'camera_info', reliable)
        self.executor = SingleThreadedExecutor(context=context)
        self.executor.add_node(self.node)
        self.executor.add_node(self.peer)
        now = self.peer.get_clock().now().nanoseconds
        self.header = Header(frame_id='camera_optical_frame')
        self.header.stamp = Time(sec=now // 10**9, nanosec=now % 10**9)

    def start(self, camera_info=None):
        assert self.node.trigger_configure() == TransitionCallbackReturn.SUCCESS
        assert self.node.trigger_activate() == TransitionCallbackReturn.SUCCESS
        self.until(lambda: self.camera.get_subscription_count() == 1)
        self.until(lambda: self.info.get_subscription_count() == 1)
        if camera_info is not None:
            camera_info.header.frame_id = self.header.frame_id
            self.info.publish(camera_info)
            self.until(lambda: self.node._pipeline._camera_info is not None)

    def matched(self, *topics):
        """Wait until the node knows a subscriber of each topic."""
        publishers = {p.topic_name: p for p in self.node.publishers}
        self.until(lambda: all(publishers[t].get_subscription_count() for t in topics))

    def until(self, condition, seconds=30):
        deadline = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < deadline, 'nothing came of it in time'
            self.executor.spin_once(timeout_sec=0.02)

    def show(self, labels, confidence=None):
        """Send the frame of which these labels are made, and wait until it is worked off."""
        frame = np.zeros((*labels.shape, 3), np.uint8)
        frame[..., 0] = labels
        frame[..., 1] = 255 if confidence is None else confidence
        before = self.node.statistics.snapshot().published
        self.camera.publish(array_to_image(frame, 'bgr8', self.header))
        self.until(lambda: self.node.statistics.snapshot().published == before + 1)

    def close(self):
        self.executor.shutdown()
        self.node.destroy_node()
        self.peer.destroy_node()


@pytest.fixture
def open_robot(context, write_label_model):
    """Make and start a Robot: `open_robot(size, camera_info, **parameters) -> robot`."""
    robots = []

    def make(size, camera_info=None, **values):
        width, height = size
        values |= {'network_width': width, 'network_height': height}
        robots.append(Robot(context, write_label_model(CAMVID), **values))
        robots[-1].start(camera_info)
        return robots[-1]

    yield make
    for robot in robots:
        robot.close()


def random_labels(width, height, seed=0):
    rng = np.random.default_rng(seed)
    return rng.integers(0, len(CAMVID), (height, width), dtype=np.uint8)


@pytest.fixture
def spoil(monkeypatch):
    """Let the node publish something else: `spoil(module, function, change)`.

    `change` takes the message that the function makes and returns another one.
    """

    def put(module, function, change):
        make = getattr(module, function)
        monkeypatch.setattr(module, function, lambda *given: change(make(*given)))

    return put


def plane(image):
    return np.frombuffer(image.data, np.uint8).reshape(image.height, -1)


def padded(image):
    """Rows with eight bytes more."""
    rows = np.pad(plane(image), ((0, 0), (0, 8)))
    result = Image(header=image.header, height=image.height, width=image.width)
    result.encoding, result.step = image.encoding, rows.shape[1]
    result.data.frombytes(rows.tobytes())
    return result


def transposed(image):
    """Columns one after the other."""
    result = Image(header=image.header, height=image.height, width=image.width)
    result.encoding, result.step = image.encoding, image.step
    result.data.frombytes(plane(image).T.tobytes())
    return result


def late(message):
    """A stamp of half a second later, as of somebody who stamps what he sends."""
    later = nanoseconds(message.header.stamp) + 500_000_000
    header = Header(frame_id=message.header.frame_id)
    header.stamp = Time(sec=later // 10**9, nanosec=later % 10**9)
    message.header = header
    return message


# kiwicampus/semantic_segmentation_layer.


class KiwicampusLayer:
    """src/semantic_segmentation_layer.cpp and segmentation_buffer.cpp at a70cf6e.

    :param values: parameters of one of its observation_sources.
    """

    #: 'setMaxIntervalDuration(rclcpp::Duration(0, 100000000))'.
    INTERVAL = 100_000_000

    def __init__(self, peer, values, resolution):
        self.values, self.resolution = values, resolution
        self.costs = {
            name: values[kind]
            for kind in values['class_types']
            for name in values[kind]['classes']
        }
        self.cost_of_id, self.tiles, self.said = {}, {}, []
        self.heard = {'segmentation_topic': [], 'confidence_topic': [], 'pointcloud_topic': []}
        for key in self.heard:
            kind = PointCloud2 if key == 'pointcloud_topic' else Image
            peer.create_subscription(kind, values[key], partial(self.take, key), SENSOR_DATA)

    def take_label_info(self, message):
        """createSegmentationCostMultimap: the ids are kept as uint8_t."""
        self.cost_of_id = {}
        for entry in message.class_map:
            if entry.class_name not in self.costs:
                self.said.append(f"CRITICAL ERROR: Class '{entry.class_name}'")
                continue
            self.cost_of_id[entry.class_id & 0xFF] = self.costs[entry.class_name]

    def take(self, key, message):
        """sync_policies::ApproximateTime, for one message of each."""
        self.heard[key].append(message)
        if all(self.heard.values()):
            together = [messages[-1] for messages in self.heard.values()]
            stamps = [nanoseconds(m.header.stamp) for m in together]
            if max(stamps) - min(stamps) <= self.INTERVAL:
                self.synchronised(*together)

    def synchronised(self, labels, confidence, cloud):
        """syncSegmConfPointcloudCb: neither encoding nor step is looked at."""
        count = labels.width * labels.height
        if count != cloud.width * cloud.height:
            self.said.append('Pointcloud and segmentation sizes are different')
        elif len(labels.data) < count:
            self.said.append('segmentation arrays have wrong sizes')
        elif not self.cost_of_id:
            self.said.append('a labelinfo message has not been received')
        else:
            self.buffer(labels, confidence, cloud)

    def buffer(self, labels, confidence, cloud):
        """bufferSegmentation: one pixel per tile, by cost or by confidence."""
        points = np.frombuffer(cloud.data, np.float32).reshape(-1, 3).tolist()
        near, far = (self.values[f'{end}_obstacle_distance'] for end in ('min', 'max'))
        best = {}
        for v in range(labels.height):
            for u in range(labels.width):
                index = v * labels.width + u
                x, y, z = points[index]
                if not math.isfinite(z) or not near < math.hypot(x, y, z) < far:
                    continue
                tile = math.floor(x / self.resolution), math.floor(y / self.resolution)
                if tile not in best or self.better(labels, confidence, index, best[tile]):
                    best[tile] = index
        for tile, index in best.items():
            if labels.data[index] in self.cost_of_id:
                self.tiles[tile] = labels.data[index], confidence.data[index]

    def better(self, labels, confidence, one, other):
        if self.values['use_cost_selection']:
            costs = [self.cost_of_id.get(labels.data[i], {'max_cost': 0}) for i in (one, other)]
            return costs[0]['max_cost'] > costs[1]['max_cost']
        return confidence.data[one] > confidence.data[other]


#: Side of a tile; and where a pixel of the cloud is, in tiles.
TILE, AHEAD = 0.03, 20


def organised_cloud(width, height, header):
    """A cloud with a point for each pixel, each on a tile of its own: (20 + u, v)."""
    v, u = np.indices((height, width))
    points = np.stack([AHEAD + u + 0.5, v + 0.5, np.zeros(u.shape)], -1).astype(np.float32) * TILE
    fields = [
        PointField(name=name, offset=4 * i, datatype=PointField.FLOAT32, count=1)
        for i, name in enumerate('xyz')
    ]
    cloud = PointCloud2(header=header, height=height, width=width, fields=fields, point_step=12)
    cloud.row_step, cloud.is_dense = 12 * width, True
    cloud.data.frombytes(points.tobytes())
    return cloud


def kiwicampus_values():
    text = (CONFIG / 'kiwicampus_layer.yaml').read_text('utf-8')
    costmap = yaml.safe_load(text)['local_costmap']['local_costmap']['ros__parameters']
    return costmap['semantic_layer']['camera']


class Kiwi:
    """A robot with a depth camera, and the layer."""

    def __init__(self, open_robot, size=(96, 64), **values):
        self.size = size
        self.robot = open_robot(size, min_confidence=0.5, **values)
        self.layer = KiwicampusLayer(self.robot.peer, kiwicampus_values(), TILE)
        self.depth = self.robot.peer.create_publisher(
            PointCloud2, self.layer.values['pointcloud_topic'], 10
        )
        self.robot.matched('/linknet/labels', '/linknet/confidence')
        self.robot.until(lambda: self.depth.get_subscription_count() == 1)

    def show(self, labels, confidence=None, cloud_size=None):
        """One frame, with a cloud 40 ms after it."""
        stamp = nanoseconds(self.robot.header.stamp) + 40_000_000
        header = Header(frame_id='camera_depth')
        header.stamp = Time(sec=stamp // 10**9, nanosec=stamp % 10**9)
        self.robot.show(labels, confidence)
        self.depth.publish(organised_cloud(*(cloud_size or self.size), header))
        number = len(self.layer.heard['pointcloud_topic']) + 1
        self.robot.until(lambda: all(len(m) == number for m in self.layer.heard.values()))


def tiles_of(labels, confidence):
    """What the layer must know of a frame."""
    return {
        (AHEAD + u, v): (int(labels[v, u]), int(confidence[v, u]))
        for v, u in np.argwhere(confidence >= 127.5).tolist()
    }


@pytest.fixture
def kiwi(open_robot, label_infos):
    """Kiwi, whose LabelInfo is a stand-in."""
    return Kiwi(open_robot)


def late_joiner(publisher):
    """What a LatchedSubscriptionQoS that comes later gets of a recorded publisher."""
    kept = publisher.qos.durability == DurabilityPolicy.TRANSIENT_LOCAL
    heard = publisher.qos.reliability == ReliabilityPolicy.RELIABLE
    return publisher.sent[-publisher.qos.depth :] if kept and heard else []


def test_kiwicampus_gets_class_and_confidence_of_every_pixel(kiwi, label_infos):
    [label_info] = late_joiner(label_infos[0])
    kiwi.layer.take_label_info(label_info)
    confidence = np.random.default_rng(1).integers(0, 256, (64, 96), dtype=np.uint8)
    labels = random_labels(96, 64)
    kiwi.show(labels, confidence)
    assert kiwi.layer.said == []
    assert kiwi.layer.tiles == tiles_of(labels, confidence)
    # Every class of the model was seen, and what is not sure is no observation.
    assert {label for label, _ in kiwi.layer.tiles.values()} == set(range(len(CAMVID)))
    assert 0 < len(kiwi.layer.tiles) < labels.size


def test_kiwicampus_has_the_names_before_the_first_mask(kiwi, label_infos):
    assert len(late_joiner(label_infos[0])) == 1
    labels = random_labels(96, 64)
    kiwi.show(labels)
    # As a layer that never subscribed to label_info.
    assert kiwi.layer.said == ['a labelinfo message has not been received']
    assert kiwi.layer.tiles == {}


def test_kiwicampus_says_which_names_it_lacks(kiwi, label_infos):
    del kiwi.layer.costs['tree']
    kiwi.layer.take_label_info(label_infos[0].sent[0])
    assert kiwi.layer.said == ["CRITICAL ERROR: Class 'tree'"]
    labels = random_labels(96, 64)
    kiwi.show(labels)
    assert {label for label, _ in kiwi.layer.tiles.values()} == set(range(11)) - {TREE}


def test_kiwicampus_over_the_wire(open_robot):
    pytest.importorskip('vision_msgs', reason='needs vision_msgs, which is not on PyPI')
    from vision_msgs.msg import LabelInfo

    kiwi = Kiwi(open_robot)
    topic = kiwi.layer.values['labels_topic']
    kiwi.robot.peer.create_subscription(LabelInfo, topic, kiwi.layer.take_label_info, latched(5))
    kiwi.robot.until(lambda: kiwi.layer.cost_of_id)
    labels = random_labels(96, 64)
    kiwi.show(labels)
    assert kiwi.layer.said == []
    assert kiwi.layer.tiles == tiles_of(labels, np.full_like(labels, 255))


@pytest.mark.parametrize('change', [late, padded, transposed])
def test_kiwicampus_would_not_take(kiwi, label_infos, spoil, change):
    kiwi.layer.take_label_info(label_infos[0].sent[0])
    spoil(ros_outputs, 'array_to_image', change)
    labels = random_labels(96, 64)
    kiwi.show(labels)
    assert kiwi.layer.tiles != tiles_of(labels, np.full_like(labels, 255))
    assert (kiwi.layer.tiles == {}) == (change is late)


def test_kiwicampus_would_not_take_another_size(kiwi, label_infos):
    kiwi.layer.take_label_info(label_infos[0].sent[0])
    kiwi.show(random_labels(96, 64), cloud_size=(95, 64))
    assert kiwi.layer.said == ['Pointcloud and segmentation sizes are different']


@pytest.mark.parametrize(
    'fault',
    [{'durability': DurabilityPolicy.VOLATILE}, {'reliability': ReliabilityPolicy.BEST_EFFORT}],
)
def test_kiwicampus_would_not_get_names_of_another_qos(kiwi, label_infos, fault):
    [(name, policy)] = fault.items()
    setattr(label_infos[0].qos, name, policy)
    assert late_joiner(label_infos[0]) == []


# Isaac ROS nvblox.


class Nvblox:
    """nvblox_ros/src/lib/nvblox_node.cpp at 319438a, and image_masker.cu.

    :param topics: of mask/image and mask/camera_info.
    :param input_qos: as isaac_ros_common's qos.cpp makes it.
    """

    def __init__(self, peer, topics, input_qos):
        self.parts = {'color': {}, 'color_info': {}, 'mask': {}, 'mask_info': {}}
        self.heard = dict.fromkeys(self.parts, 0)
        self.found, self.said = [], []
        kinds = {'color': Image, 'color_info': CameraInfo, 'mask': Image, 'mask_info': CameraInfo}
        names = {'color': 'image', 'color_info': 'camera_info'} | topics
        for part, kind in kinds.items():
            peer.create_subscription(kind, names[part], partial(self.take, part), input_qos)

    def take(self, part, message):
        """sync_policies::ExactTime of colour, mask and both camera_infos."""
        self.heard[part] += 1
        stamp = nanoseconds(message.header.stamp)
        self.parts[part][stamp] = message
        if all(stamp in messages for messages in self.parts.values()):
            self.synchronised(*(messages[stamp] for messages in self.parts.values()))

    def synchronised(self, color, color_info, mask, mask_info):
        """monoImageFromNitrosViewAsync, and canTransform of the mask's frame."""
        if mask.encoding != 'mono8':
            self.said.append(f'Invalid mask image encoding: {mask.encoding}')
        elif mask.header.frame_id != color.header.frame_id:
            self.said.append(f'no transform of {mask.header.frame_id}')
        else:
            self.found.append((mask, mask_info))

    @staticmethod
    def is_masked(mask, info, points):
        """splitImageOnGPU: points in the mask camera's frame, projected by k alone.

        Anything but 0 is masked; what is outside of the picture is not.
        """
        columns = np.rint(info.k[0] * points[:, 0] / points[:, 2] + info.k[2]).astype(int)
        rows = np.rint(info.k[4] * points[:, 1] / points[:, 2] + info.k[5]).astype(int)
        inside = (columns >= 0) & (columns < info.width) & (rows >= 0) & (rows < info.height)
        masked = np.zeros(len(points), bool)
        index = rows[inside] * info.width + columns[inside]
        masked[inside] = np.frombuffer(mask.data, np.uint8)[index] != 0
        return masked


def nvblox_file():
    """Parameters, and from the comments the masks and remappings, of config/nvblox.yaml."""
    text = (CONFIG / 'nvblox.yaml').read_text('utf-8')
    comments = [line.strip('# ') for line in text.splitlines() if line.startswith('#')]
    remapped = dict(line.split(':=') for line in comments if ':=' in line)
    [masks] = [yaml.safe_load(c)['mask_classes'] for c in comments if c.startswith('mask_classes')]
    return yaml.safe_load(text)['/**']['ros__parameters'], masks, remapped


#: Of the camera, at twice the size of its images.
NVBLOX_INFO = {'width': 192, 'height': 128, 'k': [200.0, 0, 91, 0, 180, 61, 0, 0, 1]}


@pytest.fixture
def open_nvblox(open_robot):
    """Robot and nvblox: `open_nvblox(input_qos, **parameters) -> robot, nvblox`."""

    def make(input_qos=qos_profile_sensor_data, **values):
        _, masks, remapped = nvblox_file()
        info = CameraInfo(**NVBLOX_INFO)
        robot = open_robot((96, 64), info, mask_classes=masks, **values)
        topics = {
            'mask': remapped['camera_0/mask/image'],
            'mask_info': remapped['camera_0/mask/camera_info'],
        }
        nvblox = Nvblox(robot.peer, topics, input_qos)
        robot.until(lambda: robot.camera.get_subscription_count() == 2)
        robot.until(lambda: robot.info.get_subscription_count() == 2)
        if 'best_effort' not in values.values():
            robot.matched(*topics.values())
        # Its camera_info has the stamp of the image.
        info.header = robot.header
        robot.info.publish(info)
        return robot, nvblox

    return make


def points_through(pixels):
    """Points 3 m away that pixels of the frame of 96 x 64 see, by what NVBLOX_INFO says."""
    rows, columns = pixels.T
    fx, cx, fy, cy = (NVBLOX_INFO['k'][i] / 2 for i in (0, 2, 4, 5))
    return np.stack([(columns - cx) / fx, (rows - cy) / fy, np.ones(len(rows))], 1) * 3.0


PIXELS = np.stack(np.indices((64, 96)), -1).reshape(-1, 2)


def people(labels):
    return np.isin(labels, [PEDESTRIAN, BICYCLIST]).ravel()


@pytest.mark.parametrize(
    'input_qos', [qos_profile_sensor_data, qos_profile_system_default, QoSProfile(depth=10)]
)
def test_nvblox_masks_people_where_they_are(open_nvblox, input_qos):
    robot, nvblox = open_nvblox(input_qos)
    labels = random_labels(96, 64)
    robot.show(labels)
    robot.until(lambda: nvblox.found)
    [(mask, info)] = nvblox.found
    assert (info.width, info.height) == (mask.width, mask.height) == (96, 64)
    assert info.header == mask.header == robot.header
    masked = nvblox.is_masked(mask, info, points_through(PIXELS))
    np.testing.assert_array_equal(masked, people(labels))
    assert set(mask.data) == {0, 255}
    # Behind the edges of the picture.
    outside = points_through(np.array([[-2, 5], [5, 97], [65, 5], [5, -2]]))
    assert not nvblox.is_masked(mask, info, outside).any()


@pytest.mark.parametrize('function', ['array_to_image', 'camera_info_for'])
def test_nvblox_would_not_take_another_stamp(open_nvblox, spoil, function):
    spoil(ros_outputs, function, late)
    robot, nvblox = open_nvblox()
    robot.show(random_labels(96, 64))
    robot.until(lambda: all(nvblox.heard.values()))
    assert nvblox.found == []


@pytest.mark.parametrize('change', [padded, transposed])
def test_nvblox_would_mask_something_else(open_nvblox, spoil, change):
    spoil(ros_outputs, 'array_to_image', change)
    robot, nvblox = open_nvblox()
    labels = random_labels(96, 64)
    robot.show(labels)
    robot.until(lambda: nvblox.found)
    masked = nvblox.is_masked(*nvblox.found[0], points_through(PIXELS))
    assert (masked != people(labels)).mean() > 0.1


def test_nvblox_would_mask_something_else_by_the_cameras_numbers(open_nvblox, spoil):
    def of_the_camera(info):
        info.width, info.height = NVBLOX_INFO['width'], NVBLOX_INFO['height']
        info.k = NVBLOX_INFO['k']
        return info

    spoil(ros_outputs, 'camera_info_for', of_the_camera)
    robot, nvblox = open_nvblox()
    labels = random_labels(96, 64)
    robot.show(labels)
    robot.until(lambda: nvblox.found)
    mask, info = nvblox.found[0]
    mask.data.frombytes(bytes(192 * 128 - 96 * 64))
    masked = nvblox.is_masked(mask, info, points_through(PIXELS))
    assert (masked != people(labels)).mean() > 0.1


def test_nvblox_would_not_hear_best_effort_with_its_default_qos(open_nvblox):
    topic = '/linknet/masks/pedestrian_bicyclist'
    fault = {f'qos_overrides.{topic}.publisher.reliability': 'best_effort'}
    robot, nvblox = open_nvblox(QoSProfile(depth=10), **fault)
    sure = []
    robot.peer.create_subscription(Image, '/linknet/labels', sure.append, 10)
    robot.matched('/linknet/labels', '/linknet/camera_info')
    robot.show(random_labels(96, 64))
    robot.until(lambda: sure and nvblox.heard['mask_info'])
    assert nvblox.heard['mask'] == 0


# Stock Nav2, on the procedural street.


class Tf:
    """Where a robot is in odom, known for one moment: at (12, -7), turned by 0.6 rad."""

    X, Y, YAW = 12.0, -7.0, 0.6

    def __init__(self, stamp, frame='base_link'):
        self.stamp, self.frame = nanoseconds(stamp), frame

    def knows(self, header):
        """What a tf2_ros::MessageFilter waits for."""
        return header.frame_id == self.frame and nanoseconds(header.stamp) == self.stamp

    def to_odom(self, points):
        sin, cos = math.sin(self.YAW), math.cos(self.YAW)
        x, y = points[:, 0], points[:, 1]
        turned = np.stack([cos * x - sin * y + self.X, sin * x + cos * y + self.Y], 1)
        return np.hstack([turned, points[:, 2:]])

    def from_odom(self, points):
        sin, cos = math.sin(self.YAW), math.cos(self.YAW)
        x, y = points[:, 0] - self.X, points[:, 1] - self.Y
        turned = np.stack([cos * x + sin * y, cos * y - sin * x], 1)
        return np.hstack([turned, points[:, 2:]])


def projected(scan):
    """laser_geometry's LaserProjection::projectLaser, without a cutoff."""
    ranges = np.array(scan.ranges, np.float32)
    angles = scan.angle_min + np.arange(len(ranges)) * scan.angle_increment
    kept = (ranges < scan.range_max) & (ranges >= scan.range_min)
    ranges, angles = ranges[kept], angles[kept]
    return np.stack([np.cos(angles) * ranges, np.sin(angles) * ranges, 0 * ranges], 1)


class ObstacleLayer:
    """nav2_costmap_2d/plugins/obstacle_layer.cpp and observation_buffer.cpp at a3a9704.

    :param values: parameters of one of its observation_sources.
    """

    def __init__(self, peer, values, tf):
        self.values, self.tf, self.marks, self.free, self.heard = values, tf, None, None, 0
        scan = values['data_type'] == 'LaserScan'
        kind, take = (LaserScan, self.take_scan) if scan else (PointCloud2, self.take_cloud)
        peer.create_subscription(kind, values['topic'], take, SENSOR_DATA)

    def take_scan(self, scan):
        """laserScanValidInfCallback, or laserScanCallback."""
        self.heard += 1
        if not self.tf.knows(scan.header):
            return
        ranges = np.array(scan.ranges, np.float32)
        if self.values['inf_is_valid']:
            ranges[np.isposinf(ranges)] = scan.range_max - 0.0001
        scan.ranges = ranges.tolist()
        self.buffer(projected(scan))

    def take_cloud(self, cloud):
        self.heard += 1
        if self.tf.knows(cloud.header):
            self.buffer(np.frombuffer(cloud.data, np.float32).reshape(-1, 3).astype(float))

    def buffer(self, points):
        """bufferCloud; then what updateBounds marks, and where raytraceFreespace ends."""
        there = self.tf.to_odom(points)
        height = there[:, 2]
        low, high = (self.values[f'{end}_obstacle_height'] for end in ('min', 'max'))
        there = there[(height >= low) & (height <= high)]
        away = np.hypot(there[:, 0] - self.tf.X, there[:, 1] - self.tf.Y)
        if self.values['marking']:
            self.marks = there[away < self.values['obstacle_max_range']]
        if self.values['clearing']:
            self.free = there[away >= self.values['obstacle_max_range']]


def nav2_file():
    """Parameters of the local costmap and of the collision monitor."""
    values = yaml.safe_load((CONFIG / 'nav2_obstacle_layer.yaml').read_text('utf-8'))
    costmap = values['local_costmap']['local_costmap']['ros__parameters']
    return costmap, values['collision_monitor']['ros__parameters']


@pytest.fixture(scope='module')
def street():
    """A street, labels of a frame with a kerb to the left and a car to the right, its truth."""
    drive = StreetDrive(0)
    truth = StreetTruth(drive, open_finer(drive, 0), 0.5, 20.0)
    return drive, drive.frame(0.5).labels, truth


def info_of(camera):
    k = [camera.fx, 0.0, camera.cx, 0.0, camera.fy, camera.cy, 0.0, 0.0, 1.0]
    return CameraInfo(width=camera.width, height=camera.height, k=k)


@pytest.fixture
def open_street(open_robot, street):
    """A robot in the street: `open_street(**parameters) -> robot`."""

    def make(**values):
        camera = street[0].camera
        values |= {'ground.height': camera.height_m, 'ground.pitch': camera.pitch}
        values |= {'ground.overhanging_classes': ['car']}
        return open_robot((480, 360), info_of(camera), **values)

    return make


def errors(truth, points):
    """How much further than the truth points in the base frame are, along their bearings [m]."""
    bearing = np.arctan2(points[:, 1], points[:, 0])
    limit = truth.limit[truth.nearest(bearing)]
    return np.hypot(points[:, 0], points[:, 1]) - np.minimum(limit, 30.0)


def on_the_truth(truth, points):
    """Share of points that are where something really begins, within 0.3 m."""
    return (np.abs(errors(truth, points)) < 0.3).mean() if len(points) else 0.0


@pytest.mark.parametrize('data_type', ['LaserScan', 'PointCloud2'])
def test_obstacle_layer_marks_what_is_there(open_street, street, data_type):
    robot, (_, labels, truth) = open_street(), street
    values = nav2_file()[0]['camera_layer']['drivable_scan'] | {'data_type': data_type}
    if data_type == 'PointCloud2':
        values['topic'] = '/linknet/drivable_cloud'
    layer = ObstacleLayer(robot.peer, values, Tf(robot.header.stamp))
    robot.matched(values['topic'])
    robot.show(labels)
    robot.until(lambda: layer.heard)
    marks = layer.tf.from_odom(layer.marks)
    assert len(marks) > 100
    assert on_the_truth(truth, marks) > 0.75
    assert marks[:, 1].min() < -2 < 1.9 < marks[:, 1].max()
    assert np.ptp(marks[:, 0]) > 3
    if data_type == 'LaserScan':
        ends = layer.tf.from_odom(layer.free)
        assert len(ends) > 10
        assert (errors(truth, ends) < 0.3).mean() > 0.9


def backwards(scan):
    scan.ranges = scan.ranges[::-1]
    return scan


def wider(scan):
    scan.angle_increment *= 1.5
    return scan


def in_another_frame(message):
    message.header = Header(stamp=message.header.stamp, frame_id='camera_optical_frame')
    return message


@pytest.mark.parametrize('change', [backwards, wider, late, in_another_frame])
def test_obstacle_layer_would_be_wrong(open_street, street, spoil, change):
    spoil(ros_ground, 'scan_message', change)
    robot, (_, labels, truth) = open_street(), street
    values = nav2_file()[0]['camera_layer']['drivable_scan']
    layer = ObstacleLayer(robot.peer, values, Tf(robot.header.stamp))
    robot.matched(values['topic'])
    robot.show(labels)
    robot.until(lambda: layer.heard)
    if change in (late, in_another_frame):
        assert layer.marks is None
    else:
        assert on_the_truth(truth, layer.tf.from_odom(layer.marks)) < 0.6


def test_obstacle_layer_clears_nothing_without_inf_is_valid(open_street, street):
    robot, (_, labels, _) = open_street(), street
    values = nav2_file()[0]['camera_layer']['drivable_scan'] | {'inf_is_valid': False}
    layer = ObstacleLayer(robot.peer, values, Tf(robot.header.stamp))
    robot.matched(values['topic'])
    robot.show(np.where(labels == CAMVID.ids(['sky'])[0], labels, ROAD).astype(np.uint8))
    robot.until(lambda: layer.heard)
    assert len(layer.free) == 0


class CollisionMonitor:
    """nav2_collision_monitor/src/scan.cpp, pointcloud.cpp and polygon.cpp at a3a9704.

    :param values: parameters of the node.
    :param source: one of its observation_sources.
    """

    def __init__(self, peer, values, source):
        self.values, self.source, self.data = values, values[source], None
        kind = {'scan': LaserScan, 'pointcloud': PointCloud2}[self.source['type']]
        qos = QoSProfile(depth=10, reliability=ReliabilityPolicy.BEST_EFFORT)
        peer.create_subscription(kind, self.source['topic'], self.take, qos)

    def take(self, message):
        self.data = message

    def points(self):
        """getSourceData, for a robot that stands: the source's frame is the base frame."""
        if self.source['type'] == 'pointcloud':
            points = np.frombuffer(self.data.data, np.float32).reshape(-1, 3)
            low, high = self.source['min_height'], self.source['max_height']
            return points[(points[:, 2] >= low) & (points[:, 2] <= high)]
        kept, angle = [], np.float32(self.data.angle_min)
        for distance in self.data.ranges:
            if self.data.range_min <= distance <= self.data.range_max:
                kept.append((distance * math.cos(angle), distance * math.sin(angle), 0.0))
            angle += np.float32(self.data.angle_increment)
        return np.array(kept).reshape(-1, 3)

    def action(self, now):
        """'invalid source' (the robot stops as well), 'stop' or 'go'."""
        age = (now - nanoseconds(self.data.header.stamp)) * 1e-9
        if self.data.header.frame_id != self.values['base_frame_id']:
            return 'no transform'
        if age > self.values['source_timeout']:
            return 'invalid source'
        polygon = self.values['PolygonStop']
        corners = np.array(json.loads(polygon['points']))
        points = self.points()
        low, high = corners.min(0), corners.max(0)
        inside = ((points[:, :2] > low) & (points[:, :2] < high)).all(1)
        return 'stop' if inside.sum() >= polygon['min_points'] else 'go'


def person_at(camera, x, y):
    """Labels of an empty plain with a person of 0.5 x 1.7 m on it."""
    _, _, down = camera.rays()
    labels = np.where(down < 0, ROAD, CAMVID.ids(['sky'])[0]).astype(np.uint8)
    corners = camera.project(np.array([[x, y + 0.25, 1.7], [x, y - 0.25, 0.0]]))[:, :2]
    (left, top), (right, bottom) = np.rint(corners).astype(int)
    labels[max(top, 0) : bottom, left:right] = PEDESTRIAN
    return labels


#: Where a person stands, and what the monitor must do.
PEOPLE = [
    (4.5, 0.0, 'stop'),
    (4.0, 0.6, 'stop'),
    (4.0, 1.5, 'go'),
    (4.0, -1.5, 'go'),
    (7, 0, 'go'),
]


@pytest.mark.parametrize('source', ['drivable_scan', 'drivable_cloud'])
def test_collision_monitor_stops_for_people_in_its_zone(open_street, street, source):
    robot, camera = open_street(), street[0].camera
    monitor = CollisionMonitor(robot.peer, nav2_file()[1], source)
    robot.matched(monitor.source['topic'])
    now = nanoseconds(robot.header.stamp) + 300_000_000
    for x, y, action in PEOPLE:
        monitor.data = None
        robot.show(person_at(camera, x, y))
        robot.until(lambda: monitor.data)
        assert monitor.action(now) == action, (x, y)
    # A camera that fell silent.
    assert monitor.action(now + 10**9) == 'invalid source'


@pytest.mark.parametrize('source', ['drivable_scan', 'drivable_cloud'])
def test_collision_monitor_goes_where_nothing_is(open_street, street, source):
    robot, camera = open_street(), street[0].camera
    monitor = CollisionMonitor(robot.peer, nav2_file()[1], source)
    robot.matched(monitor.source['topic'])
    labels = person_at(camera, 4, 0)
    robot.show(np.where(labels == PEDESTRIAN, ROAD, labels).astype(np.uint8))
    robot.until(lambda: monitor.data)
    assert monitor.action(nanoseconds(robot.header.stamp)) == 'go'


def without_stamp(message):
    message.header = Header(frame_id=message.header.frame_id)
    return message


@pytest.mark.parametrize(
    ('change', 'actions'),
    [
        (without_stamp, {'invalid source'}),
        (in_another_frame, {'no transform'}),
        (wider, {'stop', 'go'}),
    ],
)
def test_collision_monitor_would_be_wrong(open_street, street, spoil, change, actions):
    spoil(ros_ground, 'scan_message', change)
    robot, camera = open_street(), street[0].camera
    monitor = CollisionMonitor(robot.peer, nav2_file()[1], 'drivable_scan')
    robot.matched(monitor.source['topic'])
    found = []
    for x, y, _ in PEOPLE:
        monitor.data = None
        robot.show(person_at(camera, x, y))
        robot.until(lambda: monitor.data)
        found.append(monitor.action(nanoseconds(robot.header.stamp)))
    assert found != [action for *_, action in PEOPLE]
    assert set(found) <= actions


class StaticLayer:
    """nav2_costmap_2d/plugins/static_layer.cpp at a3a9704, in a rolling costmap.

    :param costmap: parameters; the layer's are in 'drivable_layer'.
    """

    FREE, LETHAL, NO_INFORMATION = 0, 254, 255

    def __init__(self, peer, costmap):
        self.costmap, self.map, self.said = costmap, None, []
        values = costmap['drivable_layer']
        # LatchedSubscriptionQoS(3), or StandardTopicQoS.
        qos = latched(3) if values['map_subscribe_transient_local'] else QoSProfile(depth=10)
        peer.create_subscription(OccupancyGrid, values['map_topic'], self.take, qos)

    def take(self, message):
        """incomingMap: nav2::validateMsg, then processMap, row by row."""
        info, turned = message.info, message.info.origin.orientation
        length = turned.x**2 + turned.y**2 + turned.z**2 + turned.w**2
        good = message.header.frame_id and info.resolution >= 1e-6 and info.width and info.height
        if not good or abs(length - 1) >= 1e-4 or len(message.data) != info.width * info.height:
            self.said.append('Received map message is malformed. Rejecting.')
            return
        self.frame, self.map = message.header.frame_id, info
        index, self.costs = 0, np.empty((info.height, info.width), np.uint8)
        for i in range(info.height):
            for j in range(info.width):
                self.costs[i, j] = self.interpreted(message.data[index] & 0xFF)
                index += 1

    def interpreted(self, value):
        """What interpretValue makes of it; the costmap's defaults are 100 and trinary."""
        if value == 255:
            return self.NO_INFORMATION if self.costmap['track_unknown_space'] else self.FREE
        return self.LETHAL if value >= 100 else self.FREE

    def cost(self, x, y):
        """updateCosts: worldToMap of points in the map's frame; orientation is not looked at."""
        at, step = self.map.origin.position, self.map.resolution
        column = np.floor((x - at.x) / step).astype(int)
        row = np.floor((y - at.y) / step).astype(int)
        inside = (column >= 0) & (column < self.map.width) & (row >= 0) & (row < self.map.height)
        costs = np.full(x.shape, self.NO_INFORMATION, np.uint8)
        costs[inside] = self.costs[row[inside], column[inside]]
        return costs


@pytest.fixture
def show_static_layer(open_street, street):
    """One frame, and a StaticLayer that comes after it: `show_static_layer(**parameters)`."""

    def show(wait=True, **values):
        robot = open_street(**{'ground.latched': True, **values})
        first = []
        robot.peer.create_subscription(OccupancyGrid, '/linknet/drivable_grid', first.append, 1)
        robot.matched('/linknet/drivable_grid')
        robot.show(street[1])
        robot.until(lambda: first)
        layer = StaticLayer(robot.peer, nav2_file()[0])
        if wait:
            robot.until(lambda: layer.map or layer.said)
        else:
            robot.matched('/linknet/drivable_grid')
            for _ in range(20):
                robot.executor.spin_once(timeout_sec=0.02)
        return layer

    return show


def agreement(layer, truth):
    """IoU of free ground, by points 5 cm apart; share of obstacles on the truth; all costs."""
    x, y = np.meshgrid(np.arange(0.525, 19, 0.05), np.arange(-8.975, 9, 0.05))
    costs = layer.cost(x, y)
    free, really = costs == layer.FREE, truth.free(x, y)
    rows, columns = np.nonzero(layer.costs == layer.LETHAL)
    step, at = layer.map.resolution, layer.map.origin.position
    marks = np.stack([at.x + (columns + 0.5) * step, at.y + (rows + 0.5) * step], 1)
    marks = marks[np.hypot(*marks.T) < 10]
    iou = (free & really).sum() / (free | really).sum()
    return iou, on_the_truth(truth, marks), costs


def test_static_layer_that_comes_late_gets_the_grid(show_static_layer, street):
    layer = show_static_layer()
    assert layer.said == []
    assert layer.frame == 'base_link'
    assert layer.map.resolution == pytest.approx(0.1)
    position = layer.map.origin.position
    assert (position.x, position.y, position.z) == (0, -10, 0)
    iou, marked, costs = agreement(layer, street[2])
    assert iou > 0.85
    assert marked > 0.75
    assert {layer.FREE, layer.LETHAL, layer.NO_INFORMATION} == set(np.unique(costs).tolist())


def remade(grid, cells):
    grid.data = type(grid.data)('b', np.ascontiguousarray(cells).tobytes())
    return grid


def cells(grid):
    return np.array(grid.data, np.int8).reshape(grid.info.height, grid.info.width)


def swapped(grid):
    return remade(grid, cells(grid).T)


def mirrored(grid):
    return remade(grid, cells(grid)[::-1])


def from_the_top(grid):
    return remade(grid, cells(grid)[:, ::-1])


def by_its_middle(grid):
    grid.info.origin.position.x += grid.info.width * grid.info.resolution / 2
    grid.info.origin.position.y += grid.info.height * grid.info.resolution / 2
    return grid


@pytest.mark.parametrize('change', [swapped, mirrored, from_the_top, by_its_middle])
def test_static_layer_would_be_wrong(show_static_layer, street, spoil, change):
    spoil(ros_ground, 'grid_message', change)
    iou, _, _ = agreement(show_static_layer(), street[2])
    assert iou < 0.7


def not_turned(grid):
    grid.info.origin.orientation.w = 0.0
    return grid


def test_static_layer_would_refuse_an_orientation_that_is_none(show_static_layer, spoil):
    spoil(ros_ground, 'grid_message', not_turned)
    assert show_static_layer().said == ['Received map message is malformed. Rejecting.']


def test_static_layer_would_not_get_a_grid_that_is_not_latched(show_static_layer):
    layer = show_static_layer(wait=False, **{'ground.latched': False})
    assert layer.map is None
