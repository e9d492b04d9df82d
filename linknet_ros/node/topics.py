"""The topics that a segmented frame goes out on; only what somebody hears is computed."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator

import numpy as np
from numpy.typing import NDArray
from rclpy.node import Node
from rclpy.publisher import Publisher
from sensor_msgs.msg import CameraInfo, CompressedImage, Image
from std_msgs.msg import Header

from linknet_ros.classes import ClassTable
from linknet_ros.errors import ClassNameError
from linknet_ros.inference.segmenter import Segmentation
from linknet_ros.node.ground_topics import GroundOutputs, check_ground
from linknet_ros.node.label_info import LabelInfoOutput
from linknet_ros.node.parameters import Parameters
from linknet_ros.products.colors import blend, colorize
from linknet_ros.products.legend import OverlayLegend
from linknet_ros.products.masks import class_mask, mask_names, mask_table, topic_token
from linknet_ros.ros.compressed import SUFFIX, bgr_to_jpeg, labels_to_png
from linknet_ros.ros.images import array_to_image, camera_info_for
from linknet_ros.ros.qos import offer


class Outputs:
    """Publishers of one configured node.

    :param classes: the model's class table.
    :param parameters: of the node.
    :raises LinknetError: as check does.
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
        before = set(node.publishers)
        try:
            self._images = {name: offer(node, Image, f'~/{name}') for name in images}
            self._compressed = {
                name: offer(node, CompressedImage, f'~/{name}{SUFFIX}')
                for name in ('labels', 'overlay')
            }
            self._camera_info = offer(node, CameraInfo, '~/camera_info')
            self._ground = GroundOutputs(node, classes, parameters)
            self._label_info = LabelInfoOutput(node, classes)
            self.configure(parameters)
        except BaseException:
            # As a qos_overrides that cannot work: no topic may be left that nobody takes away.
            for publisher in set(node.publishers) - before:
                node.destroy_publisher(publisher)
            raise

    def check(self, parameters: Parameters) -> None:
        """Check the names of classes, and what the ground projection needs.

        :raises ClassNameError: for one that the model does not know, and for two masks that
            would share a topic.
        :raises LinknetError: see check_ground.
        """
        masked = [n for e in parameters.mask_classes for n in mask_names(e, self._classes)]
        self._classes.ids((*parameters.drivable_classes, *masked))
        tokens: dict[str, str] = {}
        for name in parameters.mask_classes:
            other = tokens.setdefault(topic_token(name), name)
            if other != name:
                raise ClassNameError(
                    f"mask classes '{other}' and '{name}' would share the topic "
                    f'~/masks/{topic_token(name)}; leave one out'
                )
        check_ground(self._classes, parameters)

    def configure(self, parameters: Parameters) -> None:
        """Take over classes, opacity, legend, quality and threshold, from the next frame on.

        :raises LinknetError: as check does; nothing is changed then.
        """
        self.check(parameters)
        drivable = parameters.drivable_classes or self._classes.drivable_names
        tables = {
            name: mask_table(self._classes.ids(mask_names(name, self._classes)))
            for name in parameters.mask_classes
        }
        with self._lock:
            self._ground.configure(parameters)
            self._opacity = parameters.overlay_opacity
            self._jpeg_quality = parameters.jpeg_quality
            self._legend = (
                OverlayLegend(self._classes, self._classes.ids(drivable))
                if parameters.overlay_legend
                else None
            )
            self._drivable_table = mask_table(self._classes.ids(drivable))
            self._tables = tables
            for name in set(self._masks) - set(tables):
                self._node.destroy_publisher(self._masks.pop(name))
            for name in set(tables) - set(self._masks):
                topic = f'~/masks/{topic_token(name)}'
                self._masks[name] = offer(self._node, Image, topic)
            self._label_info.publish(parameters.min_confidence)

    def wanted(self) -> bool:
        """Whether anybody subscribes to anything that needs the network."""
        images = (self._images, self._compressed, self._masks)
        heard = (_heard(p) for group in images for p in list(group.values()))
        return any(heard) or self._ground.wanted()

    def publish(
        self,
        frame: NDArray[np.uint8],
        result: Segmentation,
        header: Header,
        camera_info: CameraInfo | None,
        status: Callable[[], str] = str,
    ) -> float:
        """Compute and publish what somebody subscribes to, what planners read first.

        :param frame: (H, W, 3) uint8 BGR.
        :param result: the frame's labels.
        :param header: of the frame; goes out unchanged with everything.
        :param camera_info: the newest of the camera, or None.
        :param status: gives the line below the overlay; called only where that is made.
        :returns: seconds spent on sending.
        """
        with self._lock:
            sending = self._ground.publish(result, header, camera_info)
            for publisher, message in self._messages(frame, result, header, camera_info, status):
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
        status: Callable[[], str],
    ) -> Iterator[tuple[Publisher, Image | CompressedImage | CameraInfo]]:
        """What goes out where; each is computed when the one before has been sent."""
        labels, images, compressed = result.labels, self._images, self._compressed
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
        # Last, what people look at: no planner waits for an encoder.
        if _heard(compressed['labels']):
            yield compressed['labels'], labels_to_png(labels, header)
        overlays = _heard(images['overlay']), _heard(compressed['overlay'])
        if _heard(images['color']) or any(overlays):
            colors = colorize(labels, self._palette)
            if _heard(images['color']):
                yield images['color'], array_to_image(colors, 'bgr8', header)
            if any(overlays):
                overlay = blend(frame, colors, labels, self._opacity)
                if self._legend is not None:
                    self._legend.draw(overlay, labels, status())
            if overlays[0]:
                yield images['overlay'], array_to_image(overlay, 'bgr8', header)
            if overlays[1]:
                yield compressed['overlay'], bgr_to_jpeg(overlay, self._jpeg_quality, header)

    def destroy(self) -> None:
        """Take the topics away."""
        with self._lock:
            self._ground.destroy()
            for group in (self._images, self._compressed, self._masks):
                for publisher in group.values():
                    self._node.destroy_publisher(publisher)
                group.clear()
            self._node.destroy_publisher(self._camera_info)
            self._label_info.destroy()


def _heard(publisher: Publisher) -> bool:
    return bool(publisher.get_subscription_count())
