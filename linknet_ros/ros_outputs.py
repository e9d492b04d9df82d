"""The topics that a segmented frame goes out on; only what somebody hears is computed."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray
from rclpy.node import Node
from rclpy.publisher import Publisher
from rclpy.qos import QoSProfile, ReliabilityPolicy
from rclpy.qos_overriding_options import QoSOverridingOptions
from sensor_msgs.msg import CameraInfo, Image
from std_msgs.msg import Header

from linknet_ros.classes import ClassTable
from linknet_ros.errors import ClassNameError
from linknet_ros.masks import class_mask, mask_table, topic_token
from linknet_ros.rendering import blend, colorize
from linknet_ros.ros_images import array_to_image, camera_info_for
from linknet_ros.ros_parameters import Parameters
from linknet_ros.segmenter import Segmentation


class Outputs:
    """Publishers of one configured node.

    :param classes: the model's class table.
    :param parameters: of the node.
    :raises ClassNameError: when a parameter names a class that the model does not know.
    """

    def __init__(self, node: Node, classes: ClassTable, parameters: Parameters) -> None:
        self._node = node
        self._classes = classes
        self._palette = classes.palette_bgr()
        self._lock = threading.Lock()
        self._tables: dict[str, NDArray[np.uint8]] = {}
        self._masks: dict[str, Publisher] = {}
        self.check(parameters)
        images = ('labels', 'color', 'overlay', 'confidence', 'drivable')
        self._images = {name: self._publisher(Image, f'~/{name}') for name in images}
        self._camera_info = self._publisher(CameraInfo, '~/camera_info')
        self.configure(parameters)

    def check(self, parameters: Parameters) -> None:
        """Check the names of classes.

        :raises ClassNameError: for one that the model does not know, and for two masks that
            would share a topic.
        """
        self._classes.ids((*parameters.drivable_classes, *parameters.mask_classes))
        tokens: dict[str, str] = {}
        for name in parameters.mask_classes:
            other = tokens.setdefault(topic_token(name), name)
            if other != name:
                raise ClassNameError(
                    f"mask classes '{other}' and '{name}' would share the topic "
                    f'~/masks/{topic_token(name)}; leave one out'
                )

    def configure(self, parameters: Parameters) -> None:
        """Take over classes and opacity, from the next frame on.

        :raises ClassNameError: as check does; nothing is changed then.
        """
        self.check(parameters)
        drivable = parameters.drivable_classes or self._classes.drivable_names
        tables = {name: mask_table(self._classes.ids([name])) for name in parameters.mask_classes}
        with self._lock:
            self._opacity = parameters.overlay_opacity
            self._drivable_table = mask_table(self._classes.ids(drivable))
            self._tables = tables
            for name in set(self._masks) - set(tables):
                self._node.destroy_publisher(self._masks.pop(name))
            for name in set(tables) - set(self._masks):
                self._masks[name] = self._publisher(Image, f'~/masks/{topic_token(name)}')

    def wanted(self) -> bool:
        """Whether anybody subscribes to anything that needs the network."""
        return any(map(_heard, (*self._images.values(), *self._masks.values())))

    def publish(
        self,
        frame: NDArray[np.uint8],
        result: Segmentation,
        header: Header,
        camera_info: CameraInfo | None,
    ) -> float:
        """Compute and publish what somebody subscribes to, what planners read first.

        :param frame: (H, W, 3) uint8 BGR.
        :param result: the frame's labels.
        :param header: of the frame; goes out unchanged with everything.
        :param camera_info: the newest of the camera, or None.
        :returns: seconds spent on sending.
        """
        sending = 0.0
        with self._lock:
            for publisher, message in self._messages(frame, result, header, camera_info):
                start = time.perf_counter()
                publisher.publish(message)
                sending += time.perf_counter() - start
        return sending

    def _messages(
        self,
        frame: NDArray[np.uint8],
        result: Segmentation,
        header: Header,
        camera_info: CameraInfo | None,
    ) -> Iterator[tuple[Publisher, Image | CameraInfo]]:
        """What goes out where; each is computed when the one before has been sent."""
        labels, images = result.labels, self._images
        if camera_info is not None and _heard(self._camera_info):
            height, width = labels.shape
            yield self._camera_info, camera_info_for(camera_info, header, width, height)
        if _heard(images['labels']):
            yield images['labels'], array_to_image(labels, 'mono8', header)
        if _heard(images['drivable']):
            mask = class_mask(labels, self._drivable_table)
            yield images['drivable'], array_to_image(mask, 'mono8', header)
        if _heard(images['confidence']):
            yield images['confidence'], array_to_image(result.confidence, 'mono8', header)
        for name, publisher in self._masks.items():
            if _heard(publisher):
                mask = class_mask(labels, self._tables[name])
                yield publisher, array_to_image(mask, 'mono8', header)
        if _heard(images['color']) or _heard(images['overlay']):
            colors = colorize(labels, self._palette)
            if _heard(images['color']):
                yield images['color'], array_to_image(colors, 'bgr8', header)
            if _heard(images['overlay']):
                overlay = blend(frame, colors, labels, self._opacity)
                yield images['overlay'], array_to_image(overlay, 'bgr8', header)

    def destroy(self) -> None:
        """Take the topics away."""
        with self._lock:
            for publisher in (*self._images.values(), *self._masks.values(), self._camera_info):
                self._node.destroy_publisher(publisher)
            self._masks.clear()
            self._images.clear()

    def _publisher(self, kind: type, topic: str) -> Publisher:
        # Reliable reaches both kinds of subscriber; depth 1 because only the newest counts.
        return self._node.create_publisher(
            kind,
            topic,
            QoSProfile(depth=1, reliability=ReliabilityPolicy.RELIABLE),
            qos_overriding_options=QoSOverridingOptions.with_default_policies(),
        )


def _heard(publisher: Publisher) -> bool:
    return publisher.get_subscription_count() > 0
