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
from linknet_ros.ground.camera_info import SAME_SHAPE, check_camera_info
from linknet_ros.inference.segmenter import Segmentation
from linknet_ros.node.camera_names import LOG_PERIOD, ONLY_CAMERA, CameraNames
from linknet_ros.node.ground_topics import GroundTopics
from linknet_ros.node.labels_like import LabelsLike
from linknet_ros.node.merged_ground import MergedGround
from linknet_ros.node.state import State
from linknet_ros.products.products import COMPRESSED, MASKS, NAMES, message_format
from linknet_ros.ros.images import (
    array_to_image,
    camera_info_for,
    encoded_to_message,
    scaled_camera_info,
)
from linknet_ros.ros.qos import create_publisher

#: Outputs that go out encoded as well.
_ENCODED = ('labels', 'overlay')

#: Outputs that keep the frame's size; all others have that of the labels.
_OF_FRAME_SIZE = {'overlay', 'overlay' + COMPRESSED}


class Topics:
    """Publishers of one camera of a configured node.

    All methods but `publish` are called from the executor's thread. `publish` may run in another
    one at any moment: it sees one state, and publishers that `show` replaces but never changes.

    :param state: see show.
    :param names: how the topics are called.
    :param merged: takes what the camera says of the ground, if there are several.
    """

    def __init__(
        self,
        node: Node,
        state: State,
        names: CameraNames = ONLY_CAMERA,
        merged: MergedGround | None = None,
    ) -> None:
        self._node = node
        self._log = names.logger(node)
        self._names = names
        before = set(node.publishers)
        try:
            output = names.output
            self._publishers = {n: create_publisher(node, Image, output(n)) for n in NAMES}
            for name in (encoded + COMPRESSED for encoded in _ENCODED):
                self._publishers[name] = create_publisher(node, CompressedImage, output(name))
            self._camera_info = create_publisher(node, CameraInfo, output('camera_info'))
            latched = state.parameters.ground.latched
            self._ground = GroundTopics(node, latched=latched, names=names, merged=merged)
            self._label_info = _LabelInfo(node, output('label_info'))
            self._like = LabelsLike(node)
            self.show(state)
        except BaseException:
            # E.g. qos_overrides that cannot work: no topic may be left that nobody takes away.
            for publisher in set(node.publishers) - before:
                node.destroy_publisher(publisher)
            raise

    def show(self, state: State) -> None:
        """Publish by another state, from the next frame on.

        :param state: `state` is this one afterwards. One of other classes is of another model:
            no frame of the model before may be under way, since the names go out at once.
        """
        masks = state.products.masks
        for name in masks:
            if name not in self._publishers:
                publisher = create_publisher(self._node, Image, self._names.output(name))
                self._publishers = {**self._publishers, name: publisher}
        self._label_info.publish(state.classes, state.parameters.inference.min_confidence)
        self._ground.prepare(state.ground)
        self._ground.depth.follow(state.parameters.cloud.depth)
        self._like.follow(state.parameters.inference.labels_like)
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

    def update_subscriptions(self) -> None:
        """Called every second: look for what frames do not bring."""
        self._like.update_subscription()
        self._ground.update_subscriptions()

    def values(self) -> dict[str, str]:
        """What diagnostics say of the outputs."""
        return self._ground.values()

    def problems(self) -> list[str]:
        """Why subscribers get nothing, a line each."""
        like = self._like.problem() if any(map(_has_subscribers, self._sized())) else ''
        return [*self._ground.problems(), *([like] if like else [])]

    def _sized(self) -> list[Publisher]:
        """Publishers of what has the size of the labels."""
        publishers = self._publishers.items()
        return [self._camera_info, *(p for name, p in publishers if name not in _OF_FRAME_SIZE)]

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
        depth = bool(state.parameters.cloud.depth)
        sending = self._ground.publish(state.ground, result, header, camera_info, depth=depth)
        height, width = result.labels.shape
        size = self._label_size(state, width, height)
        if size and camera_info is not None and _has_subscribers(self._camera_info):
            sending += self._publish_camera_info(camera_info, header, (width, height), size)
        publishers = self._publishers
        wanted = {name for name, p in publishers.items() if _has_subscribers(p)}
        if size is None:
            wanted &= _OF_FRAME_SIZE
        for name, array in state.products.of(frame, result, wanted, status, size):
            if name.endswith(COMPRESSED):
                message = encoded_to_message(array, message_format(name), header)
            else:
                message = array_to_image(array, 'mono8' if array.ndim == 2 else 'bgr8', header)
            sending += _send(publishers[name], message)
        return sending

    def _label_size(self, state: State, width: int, height: int) -> tuple[int, int] | None:
        """Width and height of the labels of a frame of a size; None while they are not known."""
        inference = state.parameters.inference
        if not inference.labels_like:
            return inference.label_size(width, height)
        size = self._like.size(inference.labels_like)
        log = self._log
        if size is None:
            if any(map(_has_subscribers, self._sized())):
                problem = self._like.problem()
                log.warning(f'no labels: {problem}', throttle_duration_sec=LOG_PERIOD)
        elif abs(size[0] / size[1] * height / width - 1) > SAME_SHAPE:
            log.warning(
                f'labels are {size[0]}x{size[1]} like {inference.labels_like}, which is not the '
                f'shape of the image ({width}x{height}): do its pixels show the same?',
                once=True,
            )
        return size

    def _publish_camera_info(
        self,
        camera_info: CameraInfo,
        header: Header,
        frame: tuple[int, int],
        size: tuple[int, int],
    ) -> float:
        try:
            topic = self._node.resolve_topic_name(self._names.camera_info)
            check_camera_info(camera_info, topic, header.frame_id)
            fitting = scaled_camera_info(camera_info_for(camera_info, header, *frame), *size)
        except CalibrationError as error:
            self._log.warning(f'no ~/camera_info: {error}', throttle_duration_sec=LOG_PERIOD)
            return 0.0
        return _send(self._camera_info, fitting)

    def destroy(self) -> None:
        """Take the topics away."""
        self._like.close()
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

    def __init__(self, node: Node, topic: str) -> None:
        self._node = node
        self._publisher: Publisher | None = None
        self._published: tuple[ClassTable, float] | None = None
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
        self._publisher = create_publisher(node, LabelInfo, topic, latched=True)

    def publish(self, classes: ClassTable, threshold: float) -> None:
        """Send the names, where they or the threshold are others than last time.

        :param threshold: confidence below which a pixel is unlabelled, 0 to 1.
        """
        if self._publisher is None or (classes, threshold) == self._published:
            return
        from vision_msgs.msg import LabelInfo, VisionClass

        # 255, unlabelled, is not among them: VisionClass.msg gives it that meaning without a name,
        # and a consumer that takes a class for each entry would want costs for it.
        message = LabelInfo(
            class_map=[
                VisionClass(class_id=number, class_name=name)
                for number, name in enumerate(classes.names)
            ],
            threshold=threshold,
        )
        # No frame_id: names are in no place, and the camera's is not known before a frame comes.
        message.header.stamp = self._node.get_clock().now().to_msg()
        self._publisher.publish(message)
        self._published = (classes, threshold)

    def destroy(self) -> None:
        if self._publisher is not None:
            self._node.destroy_publisher(self._publisher)
        self._publisher = None
