"""~/label_info: the model's names and the threshold, latched; and a node without vision_msgs."""

import sys
import time
from types import ModuleType

import pytest

pytest.importorskip('rclpy', reason='ROS 2 (ros-rclpy) not installed')

from rclpy.executors import SingleThreadedExecutor
from rclpy.lifecycle import TransitionCallbackReturn
from rclpy.parameter import Parameter
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy

from linknet_ros.node.label_info import LabelInfoOutput
from linknet_ros.node.segment_node import SegmentNode

NAMES = [(0, 'road'), (1, 'car'), (2, 'sky')]

OK = TransitionCallbackReturn.SUCCESS


def names_of(message):
    return [(entry.class_id, entry.class_name) for entry in message.class_map]


@pytest.fixture
def node(context, model):
    """The real node, not configured, with min_confidence 0.25."""
    values = {'model': str(model.path), 'backend': 'onnxruntime', 'min_confidence': 0.25}
    overrides = [Parameter(name, value=value) for name, value in values.items()]
    node = SegmentNode(context=context, parameter_overrides=overrides)
    yield node
    node.destroy_node()


# Against a stand-in for vision_msgs.


def test_names_threshold_and_stamp_at_configure(node, label_infos):
    assert label_infos == []
    before = node.get_clock().now().nanoseconds
    assert node.trigger_configure() == OK
    [publisher] = label_infos
    [message] = publisher.sent
    assert publisher.topic_name == '/linknet/label_info'
    assert names_of(message) == NAMES
    assert message.threshold == 0.25
    stamp = message.header.stamp.sec * 10**9 + message.header.stamp.nanosec
    assert before <= stamp <= node.get_clock().now().nanoseconds
    assert message.header.frame_id == ''


def test_reliable_and_latched_with_room_for_one(node, label_infos):
    node.trigger_configure()
    qos = label_infos[0].qos
    assert qos.reliability == ReliabilityPolicy.RELIABLE
    assert qos.durability == DurabilityPolicy.TRANSIENT_LOCAL
    assert qos.depth == 1


@pytest.mark.parametrize('active', [False, True])
def test_again_when_the_threshold_changes_and_only_then(node, label_infos, active):
    assert node.trigger_configure() == OK
    if active:
        assert node.trigger_activate() == OK
    sent = label_infos[0].sent
    for name, value in (
        ('overlay_opacity', 0.75),
        ('mask_classes', ['car']),
        ('min_confidence', 0.25),
        ('min_confidence', 0.5),
        ('max_age', 1.0),
    ):
        [result] = node.set_parameters([Parameter(name, value=value)])
        assert result.successful
    assert [message.threshold for message in sent] == [0.25, 0.5]
    assert names_of(sent[1]) == NAMES
    together = [
        Parameter('min_confidence', value=0.75),
        Parameter('mask_classes', value=['unicorn']),
    ]
    assert not node.set_parameters_atomically(together).successful
    assert len(sent) == 2


def test_gone_with_the_model_and_back_with_the_next(node, label_infos):
    node.trigger_configure()
    node.trigger_activate()
    node.trigger_deactivate()
    assert not label_infos[0].destroyed
    node.trigger_cleanup()
    assert label_infos[0].destroyed
    [result] = node.set_parameters([Parameter('min_confidence', value=0.5)])
    assert result.successful
    assert node.trigger_configure() == OK
    assert [message.threshold for message in label_infos[1].sent] == [0.5]
    node.destroy_node()
    assert label_infos[1].destroyed
    assert len(label_infos) == 2


def test_gone_after_a_configure_that_fails(node, label_infos):
    [result] = node.set_parameters([Parameter('mask_classes', value=['unicorn'])])
    assert result.successful
    assert node.trigger_configure() == TransitionCallbackReturn.FAILURE
    assert all(publisher.destroyed for publisher in label_infos)


# Without vision_msgs, or with one that does not load.


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
def test_left_out_with_one_warning(node, monkeypatch, capfd, module, reason):
    package = ModuleType('vision_msgs') if module else None
    monkeypatch.setitem(sys.modules, 'vision_msgs', package)
    monkeypatch.setitem(sys.modules, 'vision_msgs.msg', module)
    for _ in range(2):
        assert node.trigger_configure() == OK
        assert node.trigger_activate() == OK
        [result] = node.set_parameters([Parameter('min_confidence', value=0.5)])
        assert result.successful
        assert '/linknet/label_info' not in {p.topic_name for p in node.publishers}
        assert '/linknet/labels' in {p.topic_name for p in node.publishers}
        assert node.trigger_deactivate() == OK
        assert node.trigger_cleanup() == OK
    lines = [line for line in capfd.readouterr().err.splitlines() if 'label_info' in line]
    assert len(lines) == 1
    assert '[WARN]' in lines[0]
    assert 'no ~/label_info: vision_msgs does not load (' in lines[0]
    assert reason in lines[0]
    assert lines[0].endswith('install ros-$ROS_DISTRO-vision-msgs')


def test_says_nothing_where_it_works(node, label_infos, capfd):
    node.trigger_configure()
    assert 'label_info' not in capfd.readouterr().err


# With vision_msgs, over the wire.


def test_a_late_joiner_gets_the_newest(context, open_node, class_table):
    pytest.importorskip('vision_msgs', reason='needs vision_msgs, which is not on PyPI')
    from vision_msgs.msg import LabelInfo

    output = LabelInfoOutput(open_node(), class_table)
    for threshold in (0.25, 0.5):
        output.publish(threshold)
    planner, heard = open_node(node_name='planner'), []
    # As the kiwicampus layer subscribes, nav2::qos::LatchedSubscriptionQoS(5).
    latched = QoSProfile(
        depth=5,
        reliability=ReliabilityPolicy.RELIABLE,
        durability=DurabilityPolicy.TRANSIENT_LOCAL,
    )
    planner.create_subscription(LabelInfo, '/linknet/label_info', heard.append, latched)
    executor = SingleThreadedExecutor(context=context)
    executor.add_node(planner)
    deadline = time.monotonic() + 20
    while not heard:
        assert time.monotonic() < deadline
        executor.spin_once(timeout_sec=0.02)
    executor.shutdown()
    [message] = heard
    assert names_of(message) == NAMES
    assert message.threshold == 0.5
    output.destroy()
