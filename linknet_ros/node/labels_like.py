"""The size of the messages on a topic, for labels that must have the same."""

from __future__ import annotations

from typing import Any

from rclpy.node import Node
from rclpy.qos import QoSProfile
from rclpy.subscription import Subscription
from sensor_msgs.msg import CameraInfo, Image, PointCloud2

from linknet_ros.ground.camera_info import SIZED, size_of

#: Types of messages that have a size, by their names in the ROS graph.
_TYPES = dict(zip(SIZED, (Image, CameraInfo, PointCloud2), strict=True))

#: Calls of `update_subscription` from one message to the next.
_EVERY = 5


class LabelsLike:
    """Looks at a message of the topic now and then, without staying subscribed: clouds are large.

    `size` may be called from any thread, all else is the executor's.
    """

    def __init__(self, node: Node) -> None:
        self._node = node
        self._subscription: Subscription | None = None
        self._found: tuple[str, tuple[int, int] | None] = ('', None)
        self._calls = 0
        self._problem = ''

    def follow(self, topic: str) -> None:
        """Take the size from another topic; '' for none."""
        if topic != self._found[0]:
            self.close()
            self._found = (topic, None)
            self._calls = 0
            self.update_subscription()

    def update_subscription(self) -> None:
        """Called every second: subscribe for one message, if it is time for one."""
        topic = self._found[0]
        if not topic or self._subscription is not None:
            return
        if self._found[1] is not None:
            self._calls = (self._calls + 1) % _EVERY
            if self._calls:
                return
        full = self._node.resolve_topic_name(topic)
        publishers = self._node.get_publishers_info_by_topic(full)
        fitting = [p for p in publishers if p.topic_type in _TYPES]
        if not fitting:
            kinds = ', '.join(p.topic_type for p in publishers)
            why = (
                f'it has {kinds}, not Image, CameraInfo or PointCloud2'
                if kinds
                else 'no publisher'
            )
            self._problem = f'labels_like {full}: {why}'
            return
        self._problem = f'labels_like {full}: no message so far'
        offered = fitting[0].qos_profile
        # What the publisher offers: camera_info that was sent once comes too.
        qos = QoSProfile(depth=1, reliability=offered.reliability, durability=offered.durability)
        self._subscription = self._node.create_subscription(
            _TYPES[fitting[0].topic_type], full, self._take, qos
        )

    def size(self, topic: str) -> tuple[int, int] | None:
        """Width and height by a topic [px]; None as long as they are not known."""
        found, size = self._found
        return size if found == topic else None

    def problem(self) -> str:
        """Why the size is not known; '' if it is, or if there is no topic."""
        return self._problem if self._found[0] and self._found[1] is None else ''

    def close(self) -> None:
        """Unsubscribe."""
        if self._subscription is not None:
            self._node.destroy_subscription(self._subscription)
            self._subscription = None

    def _take(self, message: Any) -> None:
        self.close()
        topic, before = self._found
        size = size_of(message)
        if size is None:
            # What was known no longer holds.
            self._problem = f'labels_like {topic}: the cloud is not organised'
        elif size != before:
            self._node.get_logger().info(
                f'labels are {size[0]}x{size[1]} from now on, like {topic}'
            )
        self._found = (topic, size)
