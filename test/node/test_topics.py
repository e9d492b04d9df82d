"""The topics that results go out on, heard by real subscriptions in the same process."""

import time
from dataclasses import replace

import cv2
import numpy as np
import pytest

pytest.importorskip('rclpy', reason='ROS 2 (ros-rclpy) not installed')

from builtin_interfaces.msg import Time
from rclpy.executors import SingleThreadedExecutor
from rclpy.publisher import Publisher
from rclpy.qos import QoSProfile, ReliabilityPolicy
from rclpy.validate_topic_name import validate_topic_name
from sensor_msgs.msg import CameraInfo, CompressedImage, Image
from std_msgs.msg import Header

from linknet_ros.classes import ClassTable
from linknet_ros.errors import ClassNameError
from linknet_ros.inference.segmenter import Segmentation
from linknet_ros.node import topics as ros_outputs
from linknet_ros.node.parameters import SPECS, Parameters
from linknet_ros.node.topics import Outputs, topic_token
from linknet_ros.products.legend import OverlayLegend

# What it sends is in test_ros_label_info.py; here it would be one topic more on some machines.
pytestmark = pytest.mark.usefixtures('no_vision_msgs')

#: Longest wait for discovery or a message, seconds; it takes some hundredths.
DEADLINE = 20.0

HEADER = Header(stamp=Time(sec=1234, nanosec=56789), frame_id='camera_optical')

# 2 rows of 3 pixels; road 0, car 1, sky 2, and one unlabelled.
LABELS = np.array([[0, 1, 2], [255, 0, 1]], np.uint8)
CONFIDENCE = np.array([[200, 100, 255], [1, 30, 31]], np.uint8)
FRAME = np.array(
    [[[0, 0, 0], [0, 10, 20], [20, 30, 40]], [[7, 8, 9], [128, 64, 128], [142, 100, 200]]],
    np.uint8,
)
RESULT = Segmentation(LABELS, CONFIDENCE)

ROAD = np.array([[255, 0, 0], [0, 255, 0]], np.uint8)
CAR = np.array([[0, 255, 0], [0, 0, 255]], np.uint8)
SKY = np.array([[0, 0, 255], [0, 0, 0]], np.uint8)

# BGR of the table in conftest.
COLOR = np.array(
    [
        [[128, 64, 128], [142, 0, 0], [180, 130, 70]],
        [[0, 0, 0], [128, 64, 128], [142, 0, 0]],
    ],
    np.uint8,
)
# Half frame, half colour; the unlabelled pixel is the frame's.
OVERLAY = np.array(
    [
        [[64, 32, 64], [71, 5, 10], [100, 80, 55]],
        [[7, 8, 9], [128, 64, 128], [142, 50, 100]],
    ],
    np.uint8,
)

IMAGES = ('labels', 'color', 'overlay', 'confidence', 'drivable')
COMPRESSED = ('labels/compressed', 'overlay/compressed')

#: Topics and types of the ground projection; what goes out there is in test_ros_ground.py.
GROUND = {
    'drivable_grid': 'nav_msgs/msg/OccupancyGrid',
    'drivable_scan': 'sensor_msgs/msg/LaserScan',
    'drivable_cloud': 'sensor_msgs/msg/PointCloud2',
}


@pytest.fixture
def node(open_node):
    return open_node()


@pytest.fixture
def listener(context, open_node, node):
    """Listener to what the node publishes."""
    executor = SingleThreadedExecutor(context=context)
    yield Listener(open_node(node_name='listener'), node, executor)
    executor.shutdown()


@pytest.fixture
def open_outputs(node, class_table):
    """Make Outputs on the node: `open_outputs(mask_classes=('car',)) -> outputs`."""

    def make(**changes):
        return Outputs(node, class_table, parameters(**changes))

    return make


class Listener:
    """Subscribes to topics of a publishing node and keeps the newest message of each."""

    def __init__(self, node, publishing, executor):
        self.node = node
        self._publishing = publishing
        self._executor = executor
        self._subscriptions = {}
        self._heard = {}
        executor.add_node(node)

    def subscribe(self, *names, reliability=ReliabilityPolicy.RELIABLE):
        """Subscribe and wait until both sides know of each other."""
        for name in names:
            self._subscriptions[name] = self.node.create_subscription(
                kind_of(name),
                f'/linknet/{name}',
                lambda message, name=name: self._heard.update({name: message}),
                QoSProfile(depth=10, reliability=reliability),
            )
        self.wait(lambda: all(map(self._is_matched, names)), f'discovery of {names}')

    def unsubscribe(self, name):
        """Unsubscribe and wait until the publisher knows."""
        self.node.destroy_subscription(self._subscriptions.pop(name))
        self.wait(lambda: self._subscribers_of(name) == 0, f'{name} without a subscriber')

    def listen(self, outputs, camera_info=None, frame=FRAME, result=RESULT, status=str):
        """Publish once; messages by name, as soon as there is one of every subscribed topic."""
        self._heard.clear()
        outputs.publish(frame, result, HEADER, camera_info, status)
        self.wait(lambda: set(self._heard) == set(self._subscriptions), 'messages')
        return dict(self._heard)

    def wait(self, condition, what):
        """Spin until something is so."""
        end = time.monotonic() + DEADLINE
        while not condition():
            assert time.monotonic() < end, f'waited in vain: {what}'
            self._executor.spin_once(timeout_sec=0.01)

    def _is_matched(self, name):
        publishers = self._subscriptions[name].get_publisher_count()
        return publishers == self._subscribers_of(name) == 1

    def _subscribers_of(self, name):
        publisher = publishers_of(self._publishing).get(name)
        return publisher.get_subscription_count() if publisher else 0


def parameters(**changes):
    return Parameters(**{spec.field: spec.default for spec in SPECS} | changes)


def publishers_of(node):
    """Publishers of a node below its name, as {'labels': publisher}."""
    return {
        publisher.topic_name.removeprefix('/linknet/'): publisher
        for publisher in node.publishers
        if publisher.topic_name.startswith('/linknet/')
    }


def kind_of(name):
    if name.endswith('/compressed'):
        return CompressedImage
    return CameraInfo if name == 'camera_info' else Image


def decoded(message):
    """Pixels of a compressed message."""
    return cv2.imdecode(np.frombuffer(message.data, np.uint8), cv2.IMREAD_UNCHANGED)


def pixels(message):
    """Pixels of a message whose rows have no padding."""
    channels = {'mono8': (), 'bgr8': (3,)}[message.encoding]
    assert message.step == message.width * (channels or (1,))[0]
    assert not message.is_bigendian
    return np.frombuffer(message.data, np.uint8).reshape(message.height, message.width, *channels)


@pytest.fixture
def sent(monkeypatch):
    """Names of the node's topics on which something was sent, in their order."""
    names = []
    publish = Publisher.publish

    def spy(publisher, message):
        if publisher.topic_name.startswith('/linknet/'):
            names.append(publisher.topic_name.removeprefix('/linknet/'))
        publish(publisher, message)

    monkeypatch.setattr(Publisher, 'publish', spy)
    return names


# What is offered.


def test_topics_and_types(node, listener, open_outputs):
    open_outputs(mask_classes=('car', 'sky'))
    expected = {f'/linknet/{name}': ['sensor_msgs/msg/Image'] for name in IMAGES}
    expected |= {f'/linknet/masks/{name}': ['sensor_msgs/msg/Image'] for name in ('car', 'sky')}
    expected |= {f'/linknet/{name}': ['sensor_msgs/msg/CompressedImage'] for name in COMPRESSED}
    expected |= {'/linknet/camera_info': ['sensor_msgs/msg/CameraInfo']}
    expected |= {f'/linknet/{name}': [kind] for name, kind in GROUND.items()}

    def offered():
        topics = listener.node.get_publisher_names_and_types_by_node('linknet', '/')
        return {name: types for name, types in topics if name.startswith('/linknet/')}

    listener.wait(lambda: len(offered()) >= len(expected), 'topics')
    assert offered() == expected


def test_private_topics_follow_the_node(open_node, class_table):
    node = open_node('-r', '__ns:=/front', '-r', '__node:=segmentation')
    Outputs(node, class_table, parameters(mask_classes=('car',)))
    topics = {publisher.topic_name for publisher in node.publishers}
    assert {'/front/segmentation/labels', '/front/segmentation/masks/car'} <= topics


def test_reliable_unless_overridden(open_node, listener, class_table):
    override = 'qos_overrides./linknet/color.publisher.reliability:=best_effort'
    node = open_node('-p', override)
    Outputs(node, class_table, parameters())

    def reliability(name):
        (info,) = listener.node.get_publishers_info_by_topic(f'/linknet/{name}')
        return info.qos_profile.reliability

    listener.wait(lambda: listener.node.count_publishers('/linknet/camera_info'), 'topics')
    for name in ('labels', 'overlay', 'confidence', 'drivable', 'camera_info', *COMPRESSED):
        assert reliability(name) == ReliabilityPolicy.RELIABLE, name
    assert reliability('color') == ReliabilityPolicy.BEST_EFFORT


@pytest.mark.parametrize(
    ('name', 'token'),
    [
        ('car', 'car'),
        ('traffic light', 'traffic_light'),
        ('Traffic-Light (red)', 'traffic_light_red'),
        ('  __road__ ', 'road'),
        ('lane2', 'lane2'),
        ('2-wheeler', 'class_2_wheeler'),
        ('Straße', 'stra_e'),
        ('道路', 'class_'),
    ],
)
def test_topic_token(name, token):
    assert topic_token(name) == token
    assert validate_topic_name(f'~/masks/{token}')


def test_mask_of_a_class_whose_name_is_no_topic(node, listener):
    classes = ClassTable(('road', 'traffic light'), ((0, 0, 0), (1, 1, 1)), (True, False))
    outputs = Outputs(node, classes, parameters(mask_classes=('traffic light',)))
    listener.subscribe('masks/traffic_light')
    mask = pixels(listener.listen(outputs)['masks/traffic_light'])
    np.testing.assert_array_equal(mask, CAR)


# Who listens.


@pytest.mark.parametrize('name', [*IMAGES, *COMPRESSED, 'masks/car'])
def test_wanted_as_long_as_somebody_listens(listener, open_outputs, name):
    outputs = open_outputs(mask_classes=('car',))
    assert not outputs.wanted()
    listener.subscribe(name)
    assert outputs.wanted()
    listener.unsubscribe(name)
    assert not outputs.wanted()


def test_best_effort_subscriber_counts_and_hears(listener, open_outputs):
    outputs = open_outputs()
    listener.subscribe('labels', reliability=ReliabilityPolicy.BEST_EFFORT)
    assert outputs.wanted()
    np.testing.assert_array_equal(pixels(listener.listen(outputs)['labels']), LABELS)


def test_camera_info_alone_needs_no_network(listener, open_outputs):
    outputs = open_outputs()
    listener.subscribe('camera_info')
    assert not outputs.wanted()


@pytest.mark.parametrize('name', [*IMAGES, *COMPRESSED, 'camera_info', 'masks/car'])
def test_only_what_is_heard_is_sent(listener, open_outputs, sent, name):
    outputs = open_outputs(mask_classes=('car', 'sky'))
    listener.subscribe(name)
    for _ in range(2):
        listener.listen(outputs, CameraInfo())
    assert sent == [name, name]


def test_nothing_is_computed_for_nobody(open_outputs, sent, monkeypatch):
    outputs = open_outputs(mask_classes=('car',))
    functions = ['blend', 'colorize', 'class_mask', 'array_to_image', 'camera_info_for']
    for function in (*functions, 'labels_to_png', 'bgr_to_jpeg'):
        monkeypatch.delattr(ros_outputs, function)
    outputs.publish(FRAME, RESULT, HEADER, CameraInfo())
    assert sent == []


def test_colors_are_not_blended_for_color_alone(listener, open_outputs, monkeypatch):
    outputs = open_outputs()
    monkeypatch.delattr(ros_outputs, 'blend')
    monkeypatch.delattr(ros_outputs, 'class_mask')
    listener.subscribe('color')
    np.testing.assert_array_equal(pixels(listener.listen(outputs)['color']), COLOR)


@pytest.mark.parametrize('names', [IMAGES, ('labels/compressed',), ('overlay/compressed',)])
def test_only_what_is_heard_is_encoded(listener, open_outputs, monkeypatch, names):
    outputs = open_outputs()
    unheard = {'labels/compressed': 'labels_to_png', 'overlay/compressed': 'bgr_to_jpeg'}
    for name in set(unheard) - set(names):
        monkeypatch.delattr(ros_outputs, unheard[name])
    if 'overlay/compressed' not in names and 'overlay' not in names:
        monkeypatch.delattr(ros_outputs, 'blend')
    listener.subscribe(*names)
    assert set(listener.listen(outputs)) == set(names)


# What is sent.


def test_compressed_images(listener, open_outputs):
    outputs = open_outputs(jpeg_quality=100)
    listener.subscribe(*COMPRESSED)
    heard = listener.listen(outputs)
    assert {name: heard[name].format for name in COMPRESSED} == {
        'labels/compressed': 'mono8; png compressed ',
        'overlay/compressed': 'bgr8; jpeg compressed bgr8',
    }
    assert [heard[name].header for name in COMPRESSED] == [HEADER, HEADER]
    np.testing.assert_array_equal(decoded(heard['labels/compressed']), LABELS)
    # JPEG gives 2 x 3 pixels one colour.
    overlay = decoded(heard['overlay/compressed'])
    assert overlay.shape == OVERLAY.shape
    np.testing.assert_allclose(overlay.mean(axis=2), OVERLAY.mean(axis=2), atol=12)


def test_raw_and_compressed_from_one_computation(listener, open_outputs, monkeypatch):
    outputs = open_outputs()
    calls = []
    for name in ('colorize', 'blend'):
        original = getattr(ros_outputs, name)
        monkeypatch.setattr(
            ros_outputs,
            name,
            lambda *given, name=name, run=original: (calls.append(name), run(*given))[1],
        )
    listener.subscribe('labels', 'color', 'overlay', *COMPRESSED)
    heard = listener.listen(outputs)
    assert calls == ['colorize', 'blend']
    np.testing.assert_array_equal(pixels(heard['labels']), LABELS)
    np.testing.assert_array_equal(decoded(heard['labels/compressed']), LABELS)
    np.testing.assert_array_equal(pixels(heard['overlay']), OVERLAY)


def test_jpeg_quality_changes_with_the_next_frame(listener, open_outputs):
    outputs = open_outputs(jpeg_quality=1)
    listener.subscribe('overlay/compressed')
    frame = np.random.default_rng(0).integers(0, 256, (64, 96, 3), np.uint8)
    result = replace(RESULT, labels=np.full((64, 96), 255, np.uint8))
    sizes = []
    for quality in (1, 50, 100):
        outputs.configure(parameters(jpeg_quality=quality))
        heard = listener.listen(outputs, frame=frame, result=result)
        sizes.append(len(heard['overlay/compressed'].data))
    assert sizes[0] * 2 < sizes[1] < sizes[2] / 2


def test_contents_of_every_image(listener, open_outputs):
    outputs = open_outputs(mask_classes=('car', 'sky'))
    expected = {
        'labels': LABELS,
        'color': COLOR,
        'overlay': OVERLAY,
        'confidence': CONFIDENCE,
        'drivable': ROAD,
        'masks/car': CAR,
        'masks/sky': SKY,
    }
    listener.subscribe(*expected)
    frame, labels = FRAME.copy(), LABELS.copy()
    heard = listener.listen(outputs)
    for name, array in expected.items():
        np.testing.assert_array_equal(pixels(heard[name]), array, err_msg=name)
        assert heard[name].header == HEADER, name
        encoding = 'bgr8' if name in ('color', 'overlay') else 'mono8'
        assert heard[name].encoding == encoding, name
        assert heard[name].step == (9 if encoding == 'bgr8' else heard[name].width), name
    # The frame may be a view of the message that came in.
    np.testing.assert_array_equal(FRAME, frame)
    np.testing.assert_array_equal(LABELS, labels)


def test_read_only_frame(listener, open_outputs):
    outputs = open_outputs()
    listener.subscribe('overlay')
    frame = FRAME.copy()
    frame.flags.writeable = False
    heard = listener.listen(outputs, frame=frame)
    np.testing.assert_array_equal(pixels(heard['overlay']), OVERLAY)


def test_camera_info_of_the_labels(listener, open_outputs):
    outputs = open_outputs()
    # The camera's own is of twice the size.
    camera_info = CameraInfo(
        header=Header(stamp=Time(sec=1200), frame_id='camera_optical'),
        width=6,
        height=4,
        distortion_model='plumb_bob',
        d=[0.5, 0.25, 0.0, 0.0, 0.0],
        k=[8.0, 0.0, 3.0, 0.0, 6.0, 2.0, 0.0, 0.0, 1.0],
        r=[1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0],
        p=[8.0, 0.0, 3.0, -4.0, 0.0, 6.0, 2.0, 0.0, 0.0, 0.0, 1.0, 0.0],
    )
    listener.subscribe('camera_info', 'labels')
    info = listener.listen(outputs, camera_info)['camera_info']
    assert (info.width, info.height) == (3, 2)
    assert info.header == HEADER
    assert info.k.tolist() == [4, 0, 1.5, 0, 3, 1, 0, 0, 1]
    assert info.p.tolist() == [4, 0, 1.5, -2, 0, 3, 1, 0, 0, 0, 1, 0]
    assert list(info.d) == [0.5, 0.25, 0, 0, 0]
    assert info.distortion_model == 'plumb_bob'
    assert (camera_info.width, camera_info.header.stamp.sec) == (6, 1200)


def test_no_camera_info_where_the_camera_has_none(listener, open_outputs, sent):
    outputs = open_outputs()
    listener.subscribe('camera_info')
    outputs.publish(FRAME, RESULT, HEADER, None)
    assert sent == []


# Changes while running.


def test_drivable_classes_change_with_the_next_frame(listener, open_outputs):
    outputs = open_outputs(drivable_classes=('sky',))
    listener.subscribe('drivable')
    for classes, expected in ((None, SKY), (('road', 'car'), ROAD | CAR), ((), ROAD)):
        if classes is not None:
            outputs.configure(parameters(drivable_classes=classes))
        mask = pixels(listener.listen(outputs)['drivable'])
        np.testing.assert_array_equal(mask, expected, err_msg=str(classes))


def test_opacity_changes_with_the_next_frame(listener, open_outputs):
    outputs = open_outputs(overlay_opacity=0.0)
    listener.subscribe('overlay')
    np.testing.assert_array_equal(pixels(listener.listen(outputs)['overlay']), FRAME)
    outputs.configure(parameters(overlay_opacity=1.0))
    # An unlabelled pixel has no colour to show.
    expected = COLOR.copy()
    expected[1, 0] = FRAME[1, 0]
    np.testing.assert_array_equal(pixels(listener.listen(outputs)['overlay']), expected)


def test_masks_come_and_go(node, listener, open_outputs):
    outputs = open_outputs(mask_classes=('car',))
    outputs.configure(parameters(mask_classes=('sky', 'road')))
    assert set(publishers_of(node)) == {
        *IMAGES,
        *COMPRESSED,
        *GROUND,
        'camera_info',
        'masks/sky',
        'masks/road',
    }
    listener.wait(lambda: not listener.node.count_publishers('/linknet/masks/car'), 'no car')
    listener.subscribe('masks/sky', 'masks/road')
    heard = listener.listen(outputs)
    np.testing.assert_array_equal(pixels(heard['masks/sky']), SKY)
    np.testing.assert_array_equal(pixels(heard['masks/road']), ROAD)


def test_mask_that_stays_keeps_its_subscribers(node, listener, open_outputs):
    outputs = open_outputs(mask_classes=('car',))
    listener.subscribe('masks/car')
    publisher = publishers_of(node)['masks/car']
    outputs.configure(parameters(mask_classes=('sky', 'car')))
    assert publishers_of(node)['masks/car'] is publisher
    np.testing.assert_array_equal(pixels(listener.listen(outputs)['masks/car']), CAR)


def test_mask_of_the_same_class_again(listener, open_outputs):
    # The parameters of its QoS are declared already then.
    outputs = open_outputs(mask_classes=('car',))
    outputs.configure(parameters())
    outputs.configure(parameters(mask_classes=('car',)))
    listener.subscribe('masks/car')
    np.testing.assert_array_equal(pixels(listener.listen(outputs)['masks/car']), CAR)


def test_legend_is_in_the_overlays_alone_and_live(listener, open_outputs, class_table):
    labels = np.repeat(np.array([[0, 1]], np.uint8), [200, 280], axis=1).repeat(360, 0)
    frame = np.full((360, 480, 3), 100, np.uint8)
    result = Segmentation(labels, np.full_like(labels, 200))
    asked = []

    def heard(outputs):
        return listener.listen(
            outputs, frame=frame, result=result, status=lambda: asked.append(1) or ''
        )

    outputs = open_outputs(overlay_legend=False, jpeg_quality=100)
    listener.subscribe('labels', 'color')
    heard(outputs)
    listener.subscribe('overlay', 'overlay/compressed')
    plain = heard(outputs)
    # Nobody computes a line that nobody sees.
    assert not asked
    outputs.configure(parameters(overlay_legend=True, drivable_classes=('car',), jpeg_quality=100))
    with_legend = heard(outputs)
    assert len(asked) == 1
    expected = pixels(plain['overlay']).copy()
    # Drivable are the classes of the parameter, not those of the model.
    OverlayLegend(class_table, [1]).draw(expected, labels)
    assert (expected != pixels(plain['overlay'])).any()
    np.testing.assert_array_equal(pixels(with_legend['overlay']), expected)
    difference = np.abs(decoded(with_legend['overlay/compressed']).astype(int) - expected)
    assert difference.mean() < 2
    for name in ('labels', 'color'):
        np.testing.assert_array_equal(pixels(with_legend[name]), pixels(plain[name]))


def test_line_is_below_the_overlay(listener, open_outputs, class_table):
    labels = np.zeros((360, 480), np.uint8)
    frame = np.full((360, 480, 3), 100, np.uint8)
    result = Segmentation(labels, np.full_like(labels, 200))
    outputs = open_outputs()
    listener.subscribe('overlay')
    without = pixels(listener.listen(outputs, frame=frame, result=result)['overlay'])
    heard = listener.listen(outputs, frame=frame, result=result, status=lambda: '9.9 fps  1 ms')
    with_line = pixels(heard['overlay'])
    np.testing.assert_array_equal(with_line[:340], without[:340])
    assert (with_line[340:] != without[340:]).any()


def test_class_named_twice_has_one_mask(node, open_outputs):
    open_outputs(mask_classes=('car', 'car'))
    topics = [publisher.topic_name for publisher in node.publishers]
    assert topics.count('/linknet/masks/car') == 1


def test_mask_of_several_classes(listener, open_outputs):
    outputs = open_outputs(mask_classes=('car+sky', 'car'))
    listener.subscribe('masks/car_sky', 'masks/car')
    heard = listener.listen(outputs)
    np.testing.assert_array_equal(pixels(heard['masks/car_sky']), CAR | SKY)
    np.testing.assert_array_equal(pixels(heard['masks/car']), CAR)
    with pytest.raises(ClassNameError, match="unknown class 'tram'; the model knows: road"):
        outputs.configure(parameters(mask_classes=('car+tram',)))


@pytest.mark.parametrize('name', ['drivable_classes', 'mask_classes'])
def test_unknown_class_changes_nothing(node, listener, open_outputs, name):
    outputs = open_outputs(mask_classes=('car',))
    listener.subscribe('drivable', 'overlay', 'masks/car')
    changes = {
        'drivable_classes': ('sky',),
        'mask_classes': ('sky',),
        'overlay_opacity': 1.0,
        name: ('sky', 'tram'),
    }
    with pytest.raises(ClassNameError, match=r"^unknown class 'tram'; .*: road, car, sky$"):
        outputs.configure(parameters(**changes))
    with pytest.raises(ClassNameError, match="unknown class 'tram'"):
        outputs.check(parameters(**changes))
    assert set(publishers_of(node)) == {*IMAGES, *COMPRESSED, *GROUND, 'camera_info', 'masks/car'}
    heard = listener.listen(outputs)
    np.testing.assert_array_equal(pixels(heard['drivable']), ROAD)
    np.testing.assert_array_equal(pixels(heard['overlay']), OVERLAY)
    np.testing.assert_array_equal(pixels(heard['masks/car']), CAR)


@pytest.mark.parametrize('name', ['drivable_classes', 'mask_classes'])
def test_unknown_class_from_the_start(node, open_outputs, name):
    with pytest.raises(
        ClassNameError, match="unknown class 'lamp', 'tram'; the model knows: road"
    ):
        open_outputs(**{name: ('lamp', 'road', 'tram')})
    assert publishers_of(node) == {}


def test_destroyed(node, listener, open_outputs):
    outputs = open_outputs(mask_classes=('car',))
    names = list(publishers_of(node))
    listener.subscribe('labels')
    outputs.destroy()
    assert not outputs.wanted()
    assert publishers_of(node) == {}
    counted = listener.node.count_publishers
    listener.wait(lambda: not any(counted(f'/linknet/{n}') for n in names), 'topics to go')


def test_opened_again_after_destroying(listener, open_outputs):
    open_outputs(mask_classes=('car',)).destroy()
    outputs = open_outputs(mask_classes=('car',))
    listener.subscribe('labels', 'masks/car')
    heard = listener.listen(outputs)
    np.testing.assert_array_equal(pixels(heard['labels']), LABELS)
    np.testing.assert_array_equal(pixels(heard['masks/car']), CAR)
