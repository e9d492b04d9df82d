"""One camera of the node: its subscriptions, its topics, and what has become of its frames."""

from __future__ import annotations

import time
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from rclpy.node import Node
from rclpy.qos import DurabilityPolicy
from rclpy.subscription import Subscription
from sensor_msgs.msg import CameraInfo, CompressedImage, Image

from linknet_ros.inference.frame_sequence import FrameSequence
from linknet_ros.inference.scene_check import Look
from linknet_ros.inference.segmenter import Fitted, Inferred
from linknet_ros.node.camera_names import CameraNames
from linknet_ros.node.frame_slots import FrameSlots
from linknet_ros.node.merged_ground import MergedGround
from linknet_ros.node.rate_limit import RateLimit
from linknet_ros.node.state import State
from linknet_ros.node.statistics import Drop, Statistics
from linknet_ros.node.topics import Topics
from linknet_ros.ros.images import SUFFIX
from linknet_ros.ros.qos import subscribe


@dataclass(eq=False)
class Frame:
    """A frame on its way; each step sets what the next one needs.

    :param arrived: on the clock of time.perf_counter [s].
    """

    camera: Camera
    message: Image | CompressedImage
    arrived: float
    seconds: dict[str, float] = field(default_factory=dict)
    bgr: NDArray[np.uint8] = field(init=False)
    fitted: Fitted = field(init=False)
    inferred: Inferred = field(init=False)
    look: Look | None = None


class Camera:
    """What the node has for one camera; all methods are called from the executor's thread.

    :param slots: where its frames wait for the network.
    :param slot: the camera's own among them.
    :param name: '' for the only one.
    :ivar info: the newest camera_info, or None.
    :ivar enabled: whether its frames are wanted; may be asked by any thread.
    :ivar sequence: what its frames say of each other; for the thread that publishes them.
    :ivar topics: None while the node is not configured.
    """

    def __init__(self, node: Node, slots: FrameSlots[Frame], slot: int, name: str) -> None:
        self._node = node
        self.name = name
        self._names = CameraNames(name)
        self.log = self._names.logger(node)
        self._slots, self._slot = slots, slot
        self._rate = RateLimit()
        self._images: Subscription | None = None
        self._infos: list[Subscription] = []
        self._active = False
        self.statistics = Statistics()
        self.sequence = FrameSequence()
        self.info: CameraInfo | None = None
        self.enabled = True
        self.topics: Topics | None = None

    def configure(self, state: State, merged: MergedGround | None) -> None:
        """Create the topics.

        :param merged: see Topics.
        """
        self._names = CameraNames.of(self.name, state.parameters)
        self.topics = Topics(self._node, state, self._names, merged)

    def activate(self) -> None:
        """Subscribe to the camera."""
        self._active = True
        topic = self._names.camera_info
        self._infos = [subscribe(self._node, CameraInfo, topic, self._take_info)]
        self._subscribe_to_images()

    def enable(self, enabled: bool) -> None:
        """Want frames, or no more.

        While they are not wanted there is no subscription to images: receiving them is a good part
        of what they cost, and drivers that publish for subscribers only can rest. camera_info
        stays, so that the first frame after has it.
        """
        if enabled == self.enabled:
            return
        self.enabled = enabled
        if not self._active:
            return
        if enabled:
            self._subscribe_to_images()
        else:
            self._unsubscribe_from_images()
            self.log.info('disabled: no longer subscribed to images')

    def deactivate(self) -> None:
        """Unsubscribe from the camera."""
        self._active = False
        self._unsubscribe_from_images()
        for subscription in self._infos:
            self._node.destroy_subscription(subscription)
        self._infos = []
        self.info = None

    def cleanup(self) -> None:
        """Take the topics away."""
        if self.topics is not None:
            self.topics.destroy()
        self.topics = None

    def subscribe_to_latched_info(self) -> None:
        """Get the camera_info of a driver that published it once, before the node came.

        Only if there is one that keeps it: others would warn of a subscription that asks for that.
        """
        if not self._active or self.info is not None or len(self._infos) > 1:
            return
        node = self._node
        topic = node.resolve_topic_name(self._names.camera_info)
        if any(
            publisher.qos_profile.durability == DurabilityPolicy.TRANSIENT_LOCAL
            for publisher in node.get_publishers_info_by_topic(topic)
        ):
            take = self._take_info
            topic = self._names.camera_info
            self._infos.append(subscribe(node, CameraInfo, topic, take, latched=True))

    def _subscribe_to_images(self) -> None:
        if not self.enabled:
            return
        kind, topic = self._image_topic()
        self._images = subscribe(self._node, kind, topic, self._take_image)
        topic = self._node.resolve_topic_name(topic)
        self.log.info(f'waiting for frames on {topic}')

    def _unsubscribe_from_images(self) -> None:
        if self._images is not None:
            self._node.destroy_subscription(self._images)
        self._images = None

    def _image_topic(self) -> tuple[type, str]:
        """Type and name of the topic of the images."""
        assert self.topics is not None
        if self.topics.state.parameters.image_transport == 'raw':
            return Image, self._names.image
        # A remapping of it does not hold for names below it. One to the compressed topic
        # itself says what is meant.
        topic = self._node.resolve_topic_name(self._names.image)
        return CompressedImage, topic.removesuffix(SUFFIX) + SUFFIX

    def _take_info(self, message: CameraInfo) -> None:
        """Keep the camera's newest numbers."""
        self.info = message

    def _take_image(self, message: Image | CompressedImage) -> None:
        """Leave a frame for the network: never converts, computes or waits."""
        topics, now = self.topics, time.perf_counter()
        # Only a configured node subscribes.
        assert topics is not None
        self.statistics.receive()
        if not topics.has_subscribers():
            self.statistics.drop(Drop.NO_SUBSCRIBER)
        elif not self._rate.allows(now, topics.state.parameters.max_rate):
            self.statistics.drop(Drop.BEYOND_RATE)
        elif self._slots.put(self._slot, Frame(self, message, now)) is not None:
            self.statistics.drop(Drop.REPLACED)
