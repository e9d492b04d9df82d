"""The node's topics as kiwicampus' layer takes them in: its subscriptions, parameters and sums.

Frames are labels themselves (see write_label_model), so what must come out is known. The last
tests break something on purpose: a consumer that takes anything would prove nothing.
"""

import math
from functools import partial

import numpy as np
import pytest
import yaml

pytest.importorskip('rclpy', reason='needs ROS 2 (pip install .[ros])')
pytest.importorskip('onnxruntime', reason='ONNX Runtime (extra "cpu") not installed')

from builtin_interfaces.msg import Time
from checkout import CONFIG
from rclpy.qos import DurabilityPolicy, ReliabilityPolicy
from rig import BEST_EFFORT, latched, nanoseconds, random_labels
from sensor_msgs.msg import Image, PointCloud2, PointField
from spoiled import late, padded, transposed
from std_msgs.msg import Header

from linknet_ros.classes import CAMVID

[TREE] = CAMVID.ids(['tree'])


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
            peer.create_subscription(kind, values[key], partial(self.take, key), BEST_EFFORT)

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

    def __init__(self, open_told_robot, size=(96, 64), **values):
        self.size = size
        self.robot = open_told_robot(size, min_confidence=0.5, **values)
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
def kiwi(open_told_robot, label_infos):
    """Kiwi, whose LabelInfo is a stand-in."""
    return Kiwi(open_told_robot)


def late_joiner(publisher):
    """What a LatchedSubscriptionQoS that comes later gets of a recorded publisher."""
    kept = publisher.qos.durability == DurabilityPolicy.TRANSIENT_LOCAL
    heard = publisher.qos.reliability == ReliabilityPolicy.RELIABLE
    return publisher.sent[-publisher.qos.depth :] if kept and heard else []


def test_kiwicampus_gets_class_and_confidence_of_every_pixel(kiwi, label_infos):
    [label_info] = late_joiner(label_infos[0])
    kiwi.layer.take_label_info(label_info)
    confidence = np.random.default_rng(1).integers(0, 256, (64, 96), dtype=np.uint8)
    labels = random_labels()
    kiwi.show(labels, confidence)
    assert kiwi.layer.said == []
    assert kiwi.layer.tiles == tiles_of(labels, confidence)
    # Every class of the model was seen, and what is not sure is no observation.
    assert {label for label, _ in kiwi.layer.tiles.values()} == set(range(len(CAMVID)))
    assert 0 < len(kiwi.layer.tiles) < labels.size


def test_kiwicampus_has_the_names_before_the_first_mask(kiwi, label_infos):
    assert len(late_joiner(label_infos[0])) == 1
    labels = random_labels()
    kiwi.show(labels)
    # As a layer that never subscribed to label_info.
    assert kiwi.layer.said == ['a labelinfo message has not been received']
    assert kiwi.layer.tiles == {}


def test_kiwicampus_says_which_names_it_lacks(kiwi, label_infos):
    del kiwi.layer.costs['tree']
    kiwi.layer.take_label_info(label_infos[0].sent[0])
    assert kiwi.layer.said == ["CRITICAL ERROR: Class 'tree'"]
    labels = random_labels()
    kiwi.show(labels)
    assert {label for label, _ in kiwi.layer.tiles.values()} == set(range(11)) - {TREE}


def test_kiwicampus_over_the_wire(open_told_robot):
    pytest.importorskip('vision_msgs', reason='needs vision_msgs, which is not on PyPI')
    from vision_msgs.msg import LabelInfo

    kiwi = Kiwi(open_told_robot)
    topic = kiwi.layer.values['labels_topic']
    kiwi.robot.peer.create_subscription(LabelInfo, topic, kiwi.layer.take_label_info, latched(5))
    kiwi.robot.until(lambda: kiwi.layer.cost_of_id)
    labels = random_labels()
    kiwi.show(labels)
    assert kiwi.layer.said == []
    assert kiwi.layer.tiles == tiles_of(labels, np.full_like(labels, 255))


@pytest.mark.parametrize('change', [late, padded, transposed])
def test_kiwicampus_would_not_take(kiwi, label_infos, spoil, change):
    kiwi.layer.take_label_info(label_infos[0].sent[0])
    for topic in ('labels', 'confidence'):
        spoil(f'/linknet/{topic}', change)
    labels = random_labels()
    kiwi.show(labels)
    assert kiwi.layer.tiles != tiles_of(labels, np.full_like(labels, 255))
    assert (kiwi.layer.tiles == {}) == (change is late)


def test_kiwicampus_would_not_take_another_size(kiwi, label_infos):
    kiwi.layer.take_label_info(label_infos[0].sent[0])
    kiwi.show(random_labels(), cloud_size=(95, 64))
    assert kiwi.layer.said == ['Pointcloud and segmentation sizes are different']


def test_kiwicampus_takes_labels_of_the_size_of_its_cloud(open_told_robot, label_infos):
    topic = kiwicampus_values()['pointcloud_topic']
    kiwi = Kiwi(open_told_robot, labels_like=topic)
    kiwi.layer.take_label_info(label_infos[0].sent[0])
    first = organised_cloud(48, 32, Header(frame_id='camera_depth'))
    kiwi.robot.until(lambda: kiwi.depth.get_subscription_count() == 2, 'a look at the cloud')
    kiwi.depth.publish(first)
    kiwi.robot.until(lambda: kiwi.layer.heard['pointcloud_topic'], 'the cloud')
    kiwi.robot.until(lambda: not kiwi.robot.node.cameras.all[0].topics.problems(), 'the size')
    kiwi.layer.heard['pointcloud_topic'].clear()
    labels = random_labels()
    kiwi.show(labels, cloud_size=(48, 32))
    assert kiwi.layer.said == []
    smaller = labels[1::2, 1::2]
    assert kiwi.layer.tiles == tiles_of(smaller, np.full_like(smaller, 255))


@pytest.mark.parametrize(
    'fault',
    [{'durability': DurabilityPolicy.VOLATILE}, {'reliability': ReliabilityPolicy.BEST_EFFORT}],
)
def test_kiwicampus_would_not_get_names_of_another_qos(kiwi, label_infos, fault):
    [(name, policy)] = fault.items()
    setattr(label_infos[0].qos, name, policy)
    assert late_joiner(label_infos[0]) == []
