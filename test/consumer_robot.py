"""What the tests of test_consumers_*.py share: a robot that is told its labels, and faults."""

import time

import numpy as np
import rclpy
from builtin_interfaces.msg import Time
from rclpy.executors import SingleThreadedExecutor
from rclpy.lifecycle import TransitionCallbackReturn
from rclpy.parameter import Parameter
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import CameraInfo, Image
from std_msgs.msg import Header

from linknet_ros.classes import CAMVID
from linknet_ros.node.segment_node import SegmentNode
from linknet_ros.ros.images import array_to_image

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


def random_labels(width, height, seed=0):
    rng = np.random.default_rng(seed)
    return rng.integers(0, len(CAMVID), (height, width), dtype=np.uint8)


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
