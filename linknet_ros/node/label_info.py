"""Names of the class ids on ~/label_info, for planners that configure classes by name."""

from __future__ import annotations

from typing import Any

from rclpy.node import Node
from rclpy.publisher import Publisher
from rclpy.type_support import check_for_type_support

from linknet_ros.classes import ClassTable
from linknet_ros.errors import first_line
from linknet_ros.ros.qos import offer


class LabelInfoOutput:
    """Publisher of ~/label_info; without vision_msgs there is none, which is logged once.

    Latched, so a planner that comes late has the names too.

    :param classes: the model's class table.
    """

    def __init__(self, node: Node, classes: ClassTable) -> None:
        self._node = node
        self._classes = classes
        self._publisher: Publisher | None = None
        self._threshold: float | None = None
        try:
            kind = _label_info_type()
        except Exception as error:
            # A package that is built for another Python may raise anything; the labels do not
            # need it.
            node.get_logger().warning(
                f'no ~/label_info: vision_msgs does not load ({first_line(error)}); for planners '
                'that need the names of the classes install ros-$ROS_DISTRO-vision-msgs',
                once=True,
            )
            return
        self._publisher = offer(node, kind, '~/label_info', latched=True)

    def publish(self, threshold: float) -> None:
        """Send the names, where the threshold is another one than last time.

        :param threshold: confidence below which a pixel is unlabelled, 0 to 1.
        """
        if self._publisher is None or threshold == self._threshold:
            return
        self._threshold = threshold
        self._publisher.publish(self._message(threshold))

    def destroy(self) -> None:
        """Take the topic away."""
        if self._publisher is not None:
            self._node.destroy_publisher(self._publisher)
        self._publisher = None

    def _message(self, threshold: float) -> Any:
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
        return message


def _label_info_type() -> Any:
    from vision_msgs.msg import LabelInfo

    # The message imports although its compiled half does not load.
    check_for_type_support(LabelInfo)
    return LabelInfo
