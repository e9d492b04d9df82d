"""Camera and planner of the node's benchmark: sends frames, notes when labels come.

Both are in one process, which is not the node's, so that one clock is on both ends. They share the
processor with the node, so they do the least they can: messages stay serialized.
"""

from __future__ import annotations

import json
import struct
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import rclpy
from rclpy.node import Node
from rclpy.qos import QoSProfile, ReliabilityPolicy
from rclpy.serialization import serialize_message
from sensor_msgs.msg import CameraInfo, Image
from std_msgs.msg import Header

from linknet_ros.errors import LinknetError
from linknet_ros.ros.images import array_to_image
from linknet_ros.ros.process import ros_context
from linknet_ros.system.child_process import answer
from linknet_ros.system.memory import keep_freed_memory
from linknet_ros.system.usage import cpu_seconds, machine_cpu_seconds, memory_mb

try:
    # Takes a millisecond less for each of the node's frames. It is experimental, and the lifecycle
    # node does not work with it in rclpy 7.1.6.
    from rclpy.experimental import EventsExecutor as Executor
except ImportError:  # Humble
    from rclpy.executors import SingleThreadedExecutor as Executor

#: Labels that come before a window begins, at least.
_WARM_UP = 3

#: Seconds within which the node must be there, and send its first labels.
_PATIENCE = 60.0

_FRAME = 'camera_optical_frame'

#: The stamp of a serialized message that begins with a header, behind CDR's four bytes.
_STAMP, _STAMP_AT = struct.Struct('=iI'), 4


class Peer:
    """A camera with a fixed rate, and subscriptions to a node's outputs.

    :param node: whose namespace is that of the segmentation node.
    :param pictures: uint8 (n, H, W, 3) BGR, sent in turn.
    :param outputs: names of the node's image topics; 'labels' is one of them.
    :param rate: of the camera, frames per second.
    """

    def __init__(
        self, node: Node, pictures: np.ndarray, outputs: tuple[str, ...], rate: float
    ) -> None:
        self.sent = 0
        #: Of every labels message: when it came (time.time), and the seconds since its stamp.
        self.arrivals: list[tuple[float, float]] = []
        self._node = node
        self._period = 1 / rate
        self._height, self._width = pictures.shape[1:3]
        header = Header(frame_id=_FRAME)
        # Made ahead: what a camera's driver does before it publishes is not what is measured.
        self._messages = [
            bytearray(serialize_message(array_to_image(picture, 'bgr8', header)))
            for picture in pictures
        ]
        camera = QoSProfile(depth=5, reliability=ReliabilityPolicy.RELIABLE)
        self._camera = node.create_publisher(Image, 'image', camera)
        self._info = node.create_publisher(CameraInfo, 'camera_info', camera)
        for name in outputs:
            callback = self._take_labels if name == 'labels' else lambda _: None
            node.create_subscription(Image, f'linknet/{name}', callback, 10, raw=True)
        self._next = time.monotonic()
        self._executor = Executor(context=node.context)
        self._executor.add_node(node)

    def run(self, done: Callable[[], bool]) -> None:
        """Send and receive until something is done."""
        while not done():
            if time.monotonic() >= self._next:
                self._send()
                # What was missed is not made up for: a camera does not do that either.
                self._next = max(self._next + self._period, time.monotonic())
            self._executor.spin_once(timeout_sec=max(0.0, self._next - time.monotonic()))

    def wait(self, done: Callable[[], bool]) -> None:
        """Receive only."""
        while not done():
            self._executor.spin_once(timeout_sec=0.02)

    def matched(self) -> bool:
        """Whether the node subscribes to the camera and publishes labels."""
        topic = self._node.resolve_topic_name('linknet/labels')
        return bool(self._camera.get_subscription_count() and self._node.count_publishers(topic))

    def _send(self) -> None:
        message = self._messages[self.sent % len(self._messages)]
        stamp = divmod(time.time_ns(), 1_000_000_000)
        _STAMP.pack_into(message, _STAMP_AT, *stamp)
        header = Header(frame_id=_FRAME)
        header.stamp.sec, header.stamp.nanosec = stamp
        self._info.publish(CameraInfo(header=header, width=self._width, height=self._height))
        self._camera.publish(bytes(message))
        self.sent += 1

    def _take_labels(self, serialized: bytes) -> None:
        now = time.time()
        sec, nanosec = _STAMP.unpack_from(serialized, _STAMP_AT)
        self.arrivals.append((now, now - sec - nanosec * 1e-9))


def measure(
    pid: int,
    namespace: str,
    pictures: str,
    outputs: list[str],
    rate: float,
    warm_up: float,
    seconds: float,
) -> dict[str, Any]:
    """One window: a camera of a rate, and what the node makes of it.

    :param pid: of the node's process.
    :param namespace: of the node, '/' for none.
    :param pictures: .npy file; see Peer, also for `outputs` and `rate`.
    :param warm_up: seconds after the first labels before the window begins, at least.
    :param seconds: of the window; it goes on until two labels have come.
    :returns: 'fps' of labels; 'camera_fps'; 'latency_ms', median time of labels from the stamp
        to their arrival, and 'latency_p90_ms'; 'cpu_ms', processor time of the node per labels
        message, 'peer_cpu_ms' of this process; 'others', processor cores that everybody
        else used meanwhile; and memory of the node, see memory_mb.
    :raises LinknetError: when no labels come, or the node ends.
    """
    keep_freed_memory()
    with ros_context() as context:
        node = rclpy.create_node('benchmark_peer', context=context, namespace=namespace)
        try:
            peer = Peer(node, np.load(pictures), tuple(outputs), rate)
            give_up = time.monotonic() + _PATIENCE

            def first_labels() -> bool:
                if time.monotonic() > give_up:
                    raise LinknetError(f'no labels within {_PATIENCE:g} s')
                cpu_seconds(pid)  # raises when the node has ended
                return bool(peer.arrivals)

            peer.wait(lambda: peer.matched() or first_labels())
            peer.run(first_labels)
            begin = time.time() + warm_up
            peer.run(lambda: time.time() >= begin and len(peer.arrivals) >= _WARM_UP)
            return _window(peer, pid, seconds)
        finally:
            # Else the node would take this process for a subscriber for another 20 s.
            node.destroy_node()


def _window(peer: Peer, pid: int, seconds: float) -> dict[str, Any]:
    peer.arrivals.clear()
    sent = peer.sent
    begin, node_cpu, own_cpu = time.time(), cpu_seconds(pid), time.process_time()
    machine_cpu = machine_cpu_seconds()
    give_up = begin + seconds + _PATIENCE

    def done() -> bool:
        now = time.time()
        if now > give_up:
            raise LinknetError(f'not two labels within {seconds + _PATIENCE:g} s')
        return now > begin + seconds and len(peer.arrivals) > 1

    peer.run(done)
    passed = time.time() - begin
    node_cpu, own_cpu = cpu_seconds(pid) - node_cpu, time.process_time() - own_cpu
    others = machine_cpu_seconds() - machine_cpu - node_cpu - own_cpu
    labels = len(peer.arrivals)
    latencies = [1e3 * latency for _, latency in peer.arrivals]
    between = peer.arrivals[-1][0] - peer.arrivals[0][0]
    return {
        'fps': (labels - 1) / between,
        'camera_fps': (peer.sent - sent) / passed,
        'latency_ms': float(np.median(latencies)),
        'latency_p90_ms': float(np.percentile(latencies, 90)),
        'cpu_ms': 1e3 * node_cpu / labels,
        'peer_cpu_ms': 1e3 * own_cpu / labels,
        'others': others / passed,
        **memory_mb(pid),
    }


if __name__ == '__main__':
    answer(lambda: measure(*json.loads(sys.argv[1])))
