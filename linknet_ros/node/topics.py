"""The topics that a segmented frame goes out on; only what has a subscriber is made."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rclpy.exceptions import InvalidHandle
from rclpy.node import Node
from rclpy.publisher import Publisher
from rclpy.type_support import check_for_type_support
from sensor_msgs.msg import CameraInfo, CompressedImage, Image
from std_msgs.msg import Header

from linknet_ros.classes import ClassTable
from linknet_ros.errors import CalibrationError, first_line
from linknet_ros.ground.camera_info import check_camera_info
from linknet_ros.inference.segmenter import Segmentation
from linknet_ros.node.ground_topics import GroundTopics
from linknet_ros.node.state import State
from linknet_ros.products.products import COMPRESSED, MASKS, NAMES, message_format
from linknet_ros.ros.images import array_to_image, camera_info_for, encoded_to_message
from linknet_ros.ros.qos import create_publisher

#: A fault that repeats with every frame is logged once in this many seconds.
_LOG_PERIOD = 5.0

#: Outputs that go out encoded as well.
_ENCODED = ('labels', 'overlay')


class Topics:
    """Publishers of one configured node.

    All methods but `publish` are called from the executor's thread. `publish` may run in another
    one at any moment: it sees one state, and publishers that `show` replaces but never changes.

    :param classes: the model's.
    :param state: see show.
    """

    def __init__(self, node: Node, classes: ClassTable, state: State) -> None:
        self._node = node
        before = set(node.publishers)
        try:
            self._publishers = {name: create_publisher(node, Image, f'~/{name}') for name in NAMES}
            for name in (output + COMPRESSED for output in _ENCODED):
                self._publishers[name] = create_publisher(node, CompressedImage, f'~/{name}')
            self._camera_info = create_publisher(node, CameraInfo, '~/camera_info')
            self._ground = GroundTopics(node, latched=state.parameters.ground.latched)
            self._label_info = _LabelInfo(node, classes)
            self.show(state)
        except BaseException:
            # E.g. qos_overrides that cannot work: no topic may be left that nobody takes away.
            for publisher in set(node.publishers) - before:
                node.destroy_publisher(publisher)
            raise

    def show(self, state: State) -> None:
        """Publish by another state, from the next frame on.

        :param state: prepared for the same classes; `state` is this one afterwards.
        """
        masks = state.products.masks
        for name in masks:
            if name not in self._publishers:
                publisher = create_publisher(self._node, Image, f'~/{name}')
                self._publishers = {**self._publishers, name: publisher}
        self._label_info.publish(state.parameters.inference.min_confidence)
        self._ground.prepare(state.ground)
        self.state = state
        self._ground.release(state.ground)
        before = self._publishers
        self._publishers = {
            name: publisher
            for name, publisher in before.items()
            if not name.startswith(MASKS) or name in masks
        }
        for name in before.keys() - self._publishers.keys():
            self._node.destroy_publisher(before[name])

    def has_subscribers(self) -> bool:
        """Whether anybody subscribes to anything that needs the network."""
        publishers = self._publishers.values()
        return any(map(_has_subscribers, publishers)) or self._ground.has_subscribers()

    def ground_values(self) -> dict[str, str]:
        """What diagnostics say of the ground projection."""
        return self._ground.values()

    def ground_problem(self) -> str:
        """Why subscribers of the ground projection get nothing; '' if they do."""
        return self._ground.problem()

    def publish(
        self,
        state: State,
        frame: NDArray[np.uint8],
        result: Segmentation,
        header: Header,
        camera_info: CameraInfo | None,
        status: Callable[[], str] = str,
    ) -> float:
        """Make and publish what somebody subscribes to, what planners read first.

        :param state: what the frame is made with.
        :param frame: (H, W, 3) uint8 BGR.
        :param result: the frame's labels.
        :param header: of the frame; goes out unchanged with everything.
        :param camera_info: the newest of the camera, or None.
        :param status: gives the line below the overlay; called only where that is made.
        :returns: seconds spent on sending.
        """
        sending = self._ground.publish(state.ground, result, header, camera_info)
        if camera_info is not None and _has_subscribers(self._camera_info):
            height, width = result.labels.shape
            sending += self._publish_camera_info(camera_info, header, width, height)
        publishers = self._publishers
        wanted = {name for name, p in publishers.items() if _has_subscribers(p)}
        for name, array in state.products.of(frame, result, wanted, status):
            if name.endswith(COMPRESSED):
                message = encoded_to_message(array, message_format(name), header)
            else:
                message = array_to_image(array, 'mono8' if array.ndim == 2 else 'bgr8', header)
            sending += _send(publishers[name], message)
        return sending

    def _publish_camera_info(
        self, camera_info: CameraInfo, header: Header, width: int, height: int
    ) -> float:
        try:
            topic = self._node.resolve_topic_name('camera_info')
            check_camera_info(camera_info, topic, header.frame_id)
            fitting = camera_info_for(camera_info, header, width, height)
        except CalibrationError as error:
            self._node.get_logger().warning(
                f'no ~/camera_info: {error}', throttle_duration_sec=_LOG_PERIOD
            )
            return 0.0
        return _send(self._camera_info, fitting)

    def destroy(self) -> None:
        """Take the topics away."""
        self._ground.destroy()
        for publisher in (*self._publishers.values(), self._camera_info):
            self._node.destroy_publisher(publisher)
        self._publishers = {}
        self._label_info.destroy()


def _has_subscribers(publisher: Publisher) -> bool:
    try:
        return bool(publisher.get_subscription_count())
    except InvalidHandle:
        # A mask that was taken away since the frame began.
        return False


def _send(publisher: Publisher, message: Any) -> float:
    """Publish; the seconds that it took."""
    start = time.perf_counter()
    # See _has_subscribers.
    with suppress(InvalidHandle):
        publisher.publish(message)
    return time.perf_counter() - start


class _LabelInfo:
    """Publisher of ~/label_info; without vision_msgs there is none, which is logged once.

    Latched, so a planner that comes late has the names too.
    """

    def __init__(self, node: Node, classes: ClassTable) -> None:
        self._node = node
        self._classes = classes
        self._publisher: Publisher | None = None
        self._threshold: float | None = None
        try:
            from vision_msgs.msg import LabelInfo

            # The message imports although its compiled half does not load.
            check_for_type_support(LabelInfo)
        except Exception as error:
            # A package that is built for another Python may raise anything; the labels do not
            # need it.
            node.get_logger().warning(
                f'no ~/label_info: vision_msgs does not load ({first_line(error)}); for planners '
                'that need the names of the classes install ros-$ROS_DISTRO-vision-msgs',
                once=True,
            )
            return
        self._publisher = create_publisher(node, LabelInfo, '~/label_info', latched=True)

    def publish(self, threshold: float) -> None:
        """Send the names, where the threshold is another one than last time.

        :param threshold: confidence below which a pixel is unlabelled, 0 to 1.
        """
        if self._publisher is None or threshold == self._threshold:
            return
        from vision_msgs.msg import LabelInfo, VisionClass

        # 255, unlabelled, is not among them: VisionClass.msg gives it that meaning without a name,
        # and a consumer that takes a class for each entry would want costs for it.
        message = LabelInfo(
            class_map=[
                VisionClass(class_id=number, class_name=name)
                for number, name in enumerate(self._classes.names)
            ],
            threshold=threshold,
        )
        # No frame_id: names are in no place, and the camera's is not known before a frame comes.
        message.header.stamp = self._node.get_clock().now().to_msg()
        self._publisher.publish(message)
        self._threshold = threshold

    def destroy(self) -> None:
        if self._publisher is not None:
            self._node.destroy_publisher(self._publisher)
        self._publisher = None
