"""The topics that results go out on, heard by real subscriptions in the same process."""

import random
import time

import numpy as np
import pytest

pytest.importorskip('rclpy', reason='ROS 2 (ros-rclpy) not installed')

import rclpy
from builtin_interfaces.msg import Time
from rclpy.context import Context
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.publisher import Publisher
from rclpy.qos import QoSProfile, ReliabilityPolicy, qos_profile_sensor_data
from rclpy.validate_topic_name import validate_topic_name
from sensor_msgs.msg import CameraInfo, Image
from std_msgs.msg import Header

from linknet_ros import ros_outputs
from linknet_ros.classes import ClassTable
from linknet_ros.errors import ClassNameError
from linknet_ros.ros_outputs import Outputs, topic_token
from linknet_ros.ros_parameters import SPECS, Parameters
from linknet_ros.segmenter import Segmentation

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
RESULT = Segmentation(LABELS, CONFIDENCE, fit_seconds=0.0, infer_seconds=0.0)

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


@pytest.fixture(scope='module')
def context():
    """Context of rclpy in a ROS domain of its own."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv('ROS_DOMAIN_ID', str(random.randrange(1, 101)))
        patch.setenv('ROS_AUTOMATIC_DISCOVERY_RANGE', 'LOCALHOST')
        context = Context()
        rclpy.init(args=[], context=context)
        yield context
        rclpy.shutdown(context=context)


@pytest.fixture
def open_node(context):
    """Make a node: `open_node(name, *arguments) -> node`, with ROS arguments."""
    nodes = []

    def make(name, *arguments):
        node = Node(
            name,
            context=context,
            cli_args=['--ros-args', *arguments],
            start_parameter_services=False,
            enable_rosout=False,
        )
        nodes.append(node)
        return node

    yield make
    for node in nodes:
        node.destroy_node()


@pytest.fixture
def node(open_node):
    return open_node('linknet')


@pytest.fixture
def listener(context, open_node):
    """Listener in the same ROS domain."""
    executor = SingleThreadedExecutor(context=context)
    yield Listener(open_node('listener'), executor)
    executor.shutdown()


@pytest.fixture
def open_outputs(node, class_table):
    """Make Outputs on the node: `open_outputs(mask_classes=('car',)) -> outputs`."""

    def make(**changes):
        return Outputs(node, class_table, parameters(**changes))

    return make


class Listener:
    """Subscribes to topics of /linknet and keeps the newest message of each."""

    def __init__(self, node, executor):
        self.node = node
        self._executor = executor
        self._subscriptions = {}
        self.heard = {}
        executor.add_node(node)

    def subscribe(self, *names, qos=None):
        """Subscribe and wait until both sides know of each other."""
        reliable = QoSProfile(depth=10, reliability=ReliabilityPolicy.RELIABLE)
        for name in names:
            self._subscriptions[name] = self.node.create_subscription(
                CameraInfo if name == 'camera_info' else Image,
                f'/linknet/{name}',
                lambda message, name=name: self.heard.update({name: message}),
                qos or reliable,
            )
        for name in names:
            subscription = self._subscriptions[name]
            self.wait(lambda s=subscription: s.get_publisher_count() == 1, f'publisher of {name}')

    def unsubscribe(self, name):
        self.node.destroy_subscription(self._subscriptions.pop(name))

    def wait(self, condition, what):
        """Spin until something is so."""
        end = time.monotonic() + DEADLINE
        while not condition():
            assert time.monotonic() < end, f'waited in vain: {what}'
            self._executor.spin_once(timeout_sec=0.01)

    def listen(self, outputs, camera_info=None):
        """Publish once and wait for a message on every subscribed topic."""
        self.heard.clear()
        # The publishers learn of a subscription a little later than it of them.
        self.wait(lambda: all(map(self._is_known, self._subscriptions)), 'subscriptions')
        outputs.publish(FRAME, RESULT, HEADER, camera_info)
        self.wait(lambda: set(self.heard) == set(self._subscriptions), 'messages')
        return dict(self.heard)

    def _is_known(self, name):
        publishers = published(self.publishing)
        return publishers[f'/linknet/{name}'].get_subscription_count() == 1


def parameters(**changes):
    return Parameters(**{spec.name: spec.default for spec in SPECS} | changes)


def published(node):
    """Publishers of a node below its name, by topic."""
    return {p.topic_name: p for p in node.publishers if p.topic_name.startswith('/linknet/')}


def pixels(message):
    """Pixels of a message whose rows have no padding."""
    channels = {'mono8': (), 'bgr8': (3,)}[message.encoding]
    assert message.step == message.width * (channels or (1,))[0]
    assert not message.is_bigendian
    return np.frombuffer(message.data, np.uint8).reshape(message.height, message.width, *channels)
