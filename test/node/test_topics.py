"""The topics that results go out on: which there are, when something is sent, and what."""

import re
import sys
from types import ModuleType

import cv2
import numpy as np
import pytest
from checkout import ROOT

pytest.importorskip('rclpy', reason='ROS 2 (ros-rclpy) not installed')

from builtin_interfaces.msg import Time
from fake_node import FakeNode
from rclpy.exceptions import InvalidHandle
from rclpy.lifecycle import TransitionCallbackReturn
from rclpy.parameter import Parameter
from rclpy.qos import DurabilityPolicy, ReliabilityPolicy
from rig import OK, latched
from sensor_msgs.msg import CameraInfo, Image
from std_msgs.msg import Header

from linknet_ros.inference.segmenter import Segmentation
from linknet_ros.node.parameters import Parameters
from linknet_ros.node.state import State
from linknet_ros.node.topics import Topics
from linknet_ros.products.products import Products

HEADER = Header(stamp=Time(sec=1234, nanosec=56789), frame_id='camera_optical')

# 2 rows of 3 pixels; road 0, car 1, sky 2, and one unlabelled.
LABELS = np.array([[0, 1, 2], [255, 0, 1]], np.uint8)
CONFIDENCE = np.array([[200, 100, 255], [1, 30, 31]], np.uint8)
FRAME = np.array(
    [[[0, 0, 0], [0, 10, 20], [20, 30, 40]], [[7, 8, 9], [128, 64, 128], [142, 100, 200]]],
    np.uint8,
)
FRAME.flags.writeable = False
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
#: Images in the order in which they are sent.
IMAGES = {
    'labels': LABELS,
    'drivable': ROAD,
    'confidence': CONFIDENCE,
    'masks/car': CAR,
    'masks/sky': SKY,
    'color': COLOR,
    'overlay': OVERLAY,
}
ORDER = [
    *('camera_info', 'labels', 'drivable', 'confidence', 'masks/car', 'masks/sky'),
    *('labels/compressed', 'color', 'overlay', 'overlay/compressed'),
]
GROUND = (
    *('drivable_grid', 'drivable_scan', 'drivable_cloud'),
    *('class_cost_grid', 'labeled_cloud'),
)
MASKS = ('car', 'sky')


@pytest.fixture
def node(no_vision_msgs):
    return FakeNode()


@pytest.fixture
def state_of(class_table):
    return lambda **changes: State.prepare(class_table, Parameters().changed(changes))


@pytest.fixture
def topics(node, class_table, state_of):
    """Topics with two masks and no legend."""
    state = state_of(mask_classes=MASKS)
    return Topics(node, state)


def publish(topics, camera_info=None, state=None):
    return topics.publish(state or topics.state, FRAME, RESULT, HEADER, camera_info)


def pixels(message):
    """Pixels of a message whose rows have no padding."""
    channels = {'mono8': (), 'bgr8': (3,)}[message.encoding]
    assert message.step == message.width * (channels or (1,))[0]
    assert not message.is_bigendian
    return np.frombuffer(message.data, np.uint8).reshape(message.height, message.width, *channels)


# Which there are.


@pytest.mark.parametrize('transport', ['raw', 'compressed'])
def test_topics_are_those_of_the_page(open_robot, model, label_infos, transport):
    rows = [
        line.split('|')[1:3]
        for line in (ROOT / 'docs/node.md').read_text('utf-8').splitlines()
        if line.startswith('| `') and '_msgs/' in line
    ]
    page = {topic.strip(' `'): kind.strip() for topic, kind in rows}
    values = {'model': str(model.path), 'backend': 'onnxruntime', 'mask_classes': ['car']}
    node = open_robot(image_transport=transport, **values).node
    assert node.trigger_configure() == OK
    assert node.trigger_activate() == OK
    ends = {e.topic_name: e.msg_type for e in (*node.publishers, *node.subscriptions)}
    found = {'~/label_info': 'vision_msgs/LabelInfo'}
    for name, kind in ends.items():
        if name.endswith(('/rosout', '/parameter_events', '/transition_event')):
            continue
        topic = re.sub('^/linknet/', '~/', name).replace('/masks/car', '/masks/<class>')
        topic = topic if topic == '/diagnostics' else topic.removeprefix('/')
        found[topic] = f'{kind.__module__.partition(".")[0]}/{kind.__name__}'
    assert label_infos[0].topic_name == '/linknet/label_info'
    other = {'raw': 'image/compressed', 'compressed': 'image'}[transport]
    assert found == {name: kind for name, kind in page.items() if name != other}


def test_private_topics_follow_the_node_and_qos_can_be_overridden(
    open_node, class_table, state_of, no_vision_msgs
):
    override = 'qos_overrides./front/segmentation/color.publisher.reliability:=best_effort'
    node = open_node('-r', '__ns:=/front', '-r', '__node:=segmentation', '-p', override)
    Topics(node, state_of(mask_classes=MASKS))
    qos = {p.topic_name: p.qos_profile for p in node.publishers}
    below = '/front/segmentation/'
    expected = {f'{below}{name}' for name in (*ORDER, *GROUND)}
    assert {name for name in qos if name.startswith(below)} == expected
    unreliable = {n for n in expected if qos[n].reliability != ReliabilityPolicy.RELIABLE}
    assert unreliable == {f'{below}color'}
    assert {qos[name].depth for name in expected} == {1}


def test_nothing_is_left_of_topics_that_cannot_be(node, class_table, state_of, monkeypatch):
    create = node.create_publisher

    def fail(kind, topic, *arguments, **options):
        if topic == '~/drivable_scan':
            raise RuntimeError('no')
        return create(kind, topic, *arguments, **options)

    monkeypatch.setattr(node, 'create_publisher', fail)
    with pytest.raises(RuntimeError, match='no'):
        Topics(node, state_of())
    assert node.names() == set()


def test_destroy(node, topics):
    node.subscribe('labels')
    topics.destroy()
    assert not topics.has_subscribers()
    assert node.names() == set()


# When something is sent.


@pytest.mark.parametrize('name', [*ORDER, *GROUND])
def test_only_what_has_a_subscriber_is_sent(node, topics, name):
    assert not topics.has_subscribers()
    node.subscribe(name)
    # camera_info alone needs no network.
    assert topics.has_subscribers() == (name != 'camera_info')
    if name not in GROUND:
        publish(topics, CameraInfo())
        publish(topics, CameraInfo())
        assert node.sent == [name, name]
    node.subscribe()
    assert not topics.has_subscribers()


def test_nothing_is_made_for_nobody(node, topics, monkeypatch):
    monkeypatch.setattr('linknet_ros.node.topics.array_to_image', None)
    monkeypatch.setattr('linknet_ros.node.topics.camera_info_for', None)
    for function in ('class_mask', 'colorize', 'blend', 'encode_png', 'encode_jpeg'):
        monkeypatch.setattr(f'linknet_ros.products.products.{function}', None)
    assert publish(topics, CameraInfo()) == 0
    assert node.sent == []


def test_what_planners_read_is_sent_before_anything_else_is_made(node, topics, monkeypatch):
    node.subscribe(*ORDER)
    made = Products.of

    def spy(*arguments):
        for name, array in made(*arguments):
            node.sent.append(f'made {name}')
            yield name, array

    monkeypatch.setattr(Products, 'of', spy)
    publish(topics, CameraInfo())
    expected = [step for name in ORDER[1:] for step in (f'made {name}', name)]
    assert node.sent == ['camera_info', *expected]


# What is sent.


def test_contents(node, topics):
    node.subscribe(*IMAGES, 'labels/compressed', 'overlay/compressed')
    labels = LABELS.copy()
    assert publish(topics) > 0
    for name, array in IMAGES.items():
        message = node.newest(name)
        np.testing.assert_array_equal(pixels(message), array, err_msg=name)
        assert message.encoding == ('bgr8' if name in ('color', 'overlay') else 'mono8')
    png, jpeg = (node.newest(f'{name}/compressed') for name in ('labels', 'overlay'))
    assert (png.format, jpeg.format) == ('mono8; png compressed ', 'bgr8; jpeg compressed bgr8')
    decoded = [cv2.imdecode(np.frombuffer(m.data, np.uint8), -1) for m in (png, jpeg)]
    np.testing.assert_array_equal(decoded[0], LABELS)
    assert decoded[1].shape == OVERLAY.shape
    assert all(
        publisher.sent[0].header == HEADER for publisher in node.publishers if publisher.sent
    )
    np.testing.assert_array_equal(LABELS, labels)


def test_camera_info_of_the_labels(node, topics):
    # The camera's own is of twice the size.
    camera_info = CameraInfo(width=6, height=4, k=[8.0, 0, 3, 0, 6, 2, 0, 0, 1])
    node.subscribe('camera_info', 'labels')
    publish(topics, camera_info)
    info = node.newest('camera_info')
    assert (info.width, info.height, info.header) == (3, 2, HEADER)
    assert info.k.tolist() == [4, 0, 1.5, 0, 3, 1, 0, 0, 1]
    publish(topics)
    assert node.sent == ['camera_info', 'labels', 'labels']


# Changes while running.


def test_masks_come_and_go(node, topics, state_of):
    stays = node.publisher('masks/car')
    for masks, names in (
        (('road', 'car'), {'masks/road', 'masks/car'}),
        (('car', 'car', 'car+sky'), {'masks/car', 'masks/car_sky'}),
        (('car', 'sky'), {'masks/car', 'masks/sky'}),
    ):
        topics.show(state_of(mask_classes=masks))
        assert {name for name in node.names() if name.startswith('masks/')} == names
        assert node.publisher('masks/car') is stays
        node.subscribe(*names)
        publish(topics)
        np.testing.assert_array_equal(pixels(node.newest('masks/car')), CAR)
    np.testing.assert_array_equal(pixels(node.newest('masks/sky')), SKY)


def test_a_frame_shows_its_own_state_whatever_changes_meanwhile(node, topics, state_of):
    other = state_of(mask_classes=['road'], drivable_classes=['sky'], overlay_opacity=1.0)
    for name in ('masks/car', 'labels', 'drivable', 'masks/sky', 'overlay'):
        node.publisher(name).subscribers = 1
    labels = node.publisher('labels')
    send = labels.publish

    def change_meanwhile(message):
        send(message)
        topics.show(other)

    labels.publish = change_meanwhile
    publish(topics)
    # The masks of before are gone, and nothing fails.
    assert node.sent == ['labels', 'drivable', 'overlay']
    np.testing.assert_array_equal(pixels(node.newest('drivable')), ROAD)
    np.testing.assert_array_equal(pixels(node.newest('overlay')), OVERLAY)
    node.publisher('masks/road').subscribers = 1
    publish(topics)
    assert node.sent[3:] == ['labels', 'drivable', 'masks/road', 'overlay']
    np.testing.assert_array_equal(pixels(node.newest('drivable')), SKY)
    np.testing.assert_array_equal(pixels(node.newest('masks/road')), ROAD)


def test_a_destroyed_publisher_of_rclpy_raises_what_is_expected(open_node):
    node = open_node()
    publisher = node.create_publisher(Image, 'mask', 1)
    node.destroy_publisher(publisher)
    with pytest.raises(InvalidHandle):
        publisher.publish(Image())
    with pytest.raises(InvalidHandle):
        publisher.get_subscription_count()


# ~/label_info, against a stand-in for vision_msgs.


@pytest.fixture
def real_node(open_robot, model):
    """The real node, not configured, with min_confidence 0.25."""
    return open_robot(model=str(model.path), backend='onnxruntime', min_confidence=0.25).node


def names_of(message):
    return [(entry.class_id, entry.class_name) for entry in message.class_map]


def test_label_info_at_configure(real_node, label_infos):
    before = real_node.get_clock().now().nanoseconds
    assert real_node.trigger_configure() == OK
    [publisher] = label_infos
    [message] = publisher.sent
    assert names_of(message) == [(0, 'road'), (1, 'car'), (2, 'sky')]
    assert message.threshold == 0.25
    stamp = message.header.stamp.sec * 10**9 + message.header.stamp.nanosec
    assert before <= stamp <= real_node.get_clock().now().nanoseconds
    assert message.header.frame_id == ''
    qos = publisher.qos
    assert (qos.reliability, qos.depth) == (ReliabilityPolicy.RELIABLE, 1)
    assert qos.durability == DurabilityPolicy.TRANSIENT_LOCAL


@pytest.mark.parametrize('active', [False, True])
def test_label_info_again_when_the_threshold_changes_and_only_then(real_node, label_infos, active):
    assert real_node.trigger_configure() == OK
    if active:
        assert real_node.trigger_activate() == OK
    for name, value in (
        ('overlay_opacity', 0.75),
        ('mask_classes', ['car']),
        ('min_confidence', 0.25),
        ('min_confidence', 0.5),
        ('max_age', 1.0),
    ):
        [result] = real_node.set_parameters([Parameter(name, value=value)])
        assert result.successful
    together = [
        Parameter('min_confidence', value=0.75),
        Parameter('mask_classes', value=['unicorn']),
    ]
    assert not real_node.set_parameters_atomically(together).successful
    assert [message.threshold for message in label_infos[0].sent] == [0.25, 0.5]


def test_label_info_goes_with_the_model_and_comes_with_the_next(real_node, label_infos):
    real_node.trigger_configure()
    real_node.trigger_activate()
    real_node.trigger_deactivate()
    assert not label_infos[0].destroyed
    real_node.trigger_cleanup()
    assert label_infos[0].destroyed
    [result] = real_node.set_parameters([Parameter('mask_classes', value=['unicorn'])])
    assert result.successful
    assert real_node.trigger_configure() == TransitionCallbackReturn.FAILURE
    assert all(publisher.destroyed for publisher in label_infos)
    changes = [Parameter('mask_classes', value=['']), Parameter('min_confidence', value=0.5)]
    assert real_node.set_parameters_atomically(changes).successful
    assert real_node.trigger_configure() == OK
    assert [message.threshold for message in label_infos[-1].sent] == [0.5]


def broken(fault):
    """A vision_msgs.msg whose names raise something."""

    class Broken(ModuleType):
        def __getattr__(self, name):
            raise fault

    return Broken('vision_msgs.msg')


def not_compiled():
    """A vision_msgs.msg whose compiled half is for another Python."""

    class Type(type):
        _TYPE_SUPPORT = None

        @classmethod
        def __import_type_support__(cls):
            """Find nothing, as rosidl's does, which logs and goes on."""

    module = ModuleType('vision_msgs.msg')
    module.LabelInfo = Type('LabelInfo', (), {})
    return module


@pytest.mark.parametrize(
    ('module', 'reason'),
    [
        (None, 'vision_msgs'),
        (ModuleType('vision_msgs.msg'), "cannot import name 'LabelInfo'"),
        (broken(ImportError('libvision_msgs.so: cannot open\nmore')), 'libvision_msgs.so: cannot'),
        (broken(SystemError('another NumPy')), 'another NumPy'),
        (not_compiled(), ''),
    ],
    ids=['missing', 'without LabelInfo', 'broken', 'other libraries', 'not compiled'],
)
def test_label_info_is_left_out_with_one_warning(real_node, monkeypatch, capfd, module, reason):
    monkeypatch.setitem(sys.modules, 'vision_msgs', ModuleType('vision_msgs') if module else None)
    monkeypatch.setitem(sys.modules, 'vision_msgs.msg', module)
    for _ in range(2):
        assert real_node.trigger_configure() == OK
        [result] = real_node.set_parameters([Parameter('min_confidence', value=0.5)])
        assert result.successful
        topics = {publisher.topic_name for publisher in real_node.publishers}
        assert '/linknet/labels' in topics
        assert '/linknet/label_info' not in topics
        assert real_node.trigger_cleanup() == OK
    [line] = [line for line in capfd.readouterr().err.splitlines() if 'label_info' in line]
    assert '[WARN]' in line
    assert 'no ~/label_info: vision_msgs does not load (' in line
    assert reason in line
    assert line.endswith('install ros-$ROS_DISTRO-vision-msgs')


def test_label_info_reaches_who_comes_later(open_rig, state_of):
    pytest.importorskip('vision_msgs', reason='needs vision_msgs, which is not on PyPI')
    from vision_msgs.msg import LabelInfo

    rig = open_rig('planner')
    topics = Topics(rig.new_node('linknet'), state_of(min_confidence=0.25))
    topics.show(state_of(min_confidence=0.5))
    # As the kiwicampus layer subscribes, nav2::qos::LatchedSubscriptionQoS(5).
    rig.subscribe('label_info', kind=LabelInfo, qos=latched(5))
    received = rig.received['label_info']
    rig.until(lambda: received, 'the names')
    assert names_of(received[0]) == [(0, 'road'), (1, 'car'), (2, 'sky')]
    assert received[0].threshold == 0.5
