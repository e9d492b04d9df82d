"""~/labeled_cloud of a depth camera: every point with the class of its pixel."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from rclpy.node import Node
from rclpy.subscription import Subscription
from sensor_msgs.msg import CameraInfo, Image, PointCloud2
from std_msgs.msg import Header

from linknet_ros.errors import CalibrationError
from linknet_ros.ground.camera_info import check_camera_info
from linknet_ros.ground.depth import DEPTH_TYPES, DepthPoints, StampMatcher, check_depth
from linknet_ros.ground.labelled import labelled
from linknet_ros.inference.segmenter import Segmentation
from linknet_ros.ros.ground_messages import labelled_cloud_message
from linknet_ros.ros.images import camera_info_for, nanoseconds, scaled_camera_info
from linknet_ros.ros.qos import subscribe

_TYPES = dict(zip(DEPTH_TYPES, (Image, PointCloud2), strict=True))


@dataclass(frozen=True)
class _Waiting:
    """A frame that waits for its depth."""

    header: Header
    result: Segmentation
    camera_info: CameraInfo | None
    rectified: bool


class DepthCloud:
    """Pairs frames with the depth of their stamp; never waits for one.

    `clouds` is called by the thread that publishes, all else by the executor's.

    :param camera_info: topic of the camera's, for messages.
    """

    def __init__(self, node: Node, camera_info: str = 'camera_info') -> None:
        self._node = node
        self._camera_info = camera_info
        self._topic = ''
        self._subscription: Subscription | None = None
        self._matcher: StampMatcher[_Waiting, Any] = StampMatcher()
        self._points = DepthPoints()

    def follow(self, topic: str) -> None:
        """Take depth from another topic; '' for none."""
        if topic != self._topic:
            self.close()
            self._topic = topic

    def update_subscription(self, *, needed: bool) -> None:
        """Called every second: subscribe while somebody needs the cloud."""
        if not (needed and self._topic):
            self.close()
        elif self._subscription is None:
            full = self._node.resolve_topic_name(self._topic)
            for publisher in self._node.get_publishers_info_by_topic(full):
                if publisher.topic_type in _TYPES:
                    kind = _TYPES[publisher.topic_type]
                    self._subscription = subscribe(self._node, kind, full, self._take)
                    return

    def clouds(
        self,
        result: Segmentation,
        header: Header,
        camera_info: CameraInfo | None,
        *,
        rectified: bool,
    ) -> Iterator[PointCloud2]:
        """The newest cloud that is complete by now: of this frame, or of one just before it.

        :raises CalibrationError: when depth is missing or does not fit.
        """
        frame = _Waiting(header, result, camera_info, rectified)
        self._matcher.add_frame(nanoseconds(header), frame)
        pairs, lost = self._matcher.matched()
        if pairs:
            yield self._cloud(*pairs[-1])
        elif lost or self._subscription is None or len(self._matcher) > 1:
            raise CalibrationError(
                f'no depth of the stamp of the frame on {self._topic}',
                'check that it is published, and that its stamps are those of the image',
            )

    def close(self) -> None:
        """Unsubscribe."""
        if self._subscription is not None:
            self._node.destroy_subscription(self._subscription)
            self._subscription = None
            self._matcher = StampMatcher()

    def _take(self, message: Any) -> None:
        self._matcher.add_depth(nanoseconds(message.header), message)

    def _cloud(self, frame: _Waiting, depth: Any) -> PointCloud2:
        header, result = frame.header, frame.result
        height, width = result.labels.shape
        check_depth(depth, self._topic, header.frame_id, width, height)

        def info_at(width: int, height: int) -> CameraInfo:
            topic = self._node.resolve_topic_name(self._camera_info)
            check_camera_info(frame.camera_info, topic, header.frame_id)
            fitting = camera_info_for(frame.camera_info, header, *result.labels.shape[::-1])
            return scaled_camera_info(fitting, width, height)

        points = self._points.of(depth, info_at, frame.rectified)
        sized = result.at_size(depth.width, depth.height)
        frame_id = header.frame_id if isinstance(depth, Image) else depth.header.frame_id
        return labelled_cloud_message(
            labelled(points, sized.labels, sized.confidence),
            Header(stamp=header.stamp, frame_id=frame_id),
        )
