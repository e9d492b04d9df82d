"""A camera for people without one: replays images, a video, or the procedural street."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue
from nav_msgs.msg import OccupancyGrid
from numpy.typing import NDArray
from rclpy.duration import Duration
from rclpy.node import Node
from rclpy.qos import QoSProfile, ReliabilityPolicy
from rclpy.qos_overriding_options import QoSOverridingOptions
from rclpy.serialization import serialize_message
from sensor_msgs.msg import CameraInfo, CompressedImage, Image
from std_msgs.msg import Header

from linknet_ros.errors import SourceError
from linknet_ros.frames.files import SourceFrame
from linknet_ros.ground.grid import FREE_CELL, UNKNOWN_CELL, GridArea
from linknet_ros.ros.ground_messages import grid_message
from linknet_ros.ros.images import SUFFIX, array_to_image, bgr_to_jpeg, nanoseconds
from linknet_ros.ros.parameters import declare
from linknet_ros.ros.process import ros_process, spin_once
from linknet_ros.simulation.looks import LOOKS
from linknet_ros.simulation.recorder import Recorder
from linknet_ros.simulation.sources import STREET, StreetSource, StreetSourceFrame, open_source
from linknet_ros.simulation.street import PinholeCamera
from linknet_ros.simulation.truth import FreeGround
from linknet_ros.system.settings import Setting

#: That of image_transport.
_JPEG_QUALITY = 95

#: Frame of the true grid: the street's vehicle, whose origin is below the camera.
BASE_FRAME = 'base_link'

SETTINGS = (
    Setting('source', STREET, "'street', a folder of images, or a video file."),
    Setting('rate', 10.0, 'Frames per second.', (0.1, 1000.0)),
    Setting('loop', True, 'Start again at the end; if false, the node ends.'),
    Setting('count', 0, 'Number of frames after which the node ends; 0 for no limit.', (0, 10**9)),
    Setting(
        'wait_for',
        0,
        'Number of subscribers to wait for, of raw and compressed images together.',
        (0, 100),
    ),
    Setting(
        'bag',
        '',
        'Bag to record compressed images and camera_info in, whoever listens; a new folder.',
    ),
    Setting('frame_id', 'camera_optical_frame', 'Frame of the camera, in all headers.'),
    Setting('seed', 0, 'Which street.', (0, 1_000_000)),
    Setting('look', 'town', f'Look of the street: {", ".join(LOOKS)}.'),
    Setting('width', 480, "Width of the street's frames [px].", (16, 8192)),
    Setting('height', 360, "Height of the street's frames [px].", (16, 8192)),
)


class ReplayNode(Node):
    """Node `replay`: publishes `image_raw`, `camera_info` and, if known, the true labels.

    If somebody subscribes to them, also `image_raw/compressed` (JPEG) and, for the street, the
    truly free ground, `ground_truth/drivable_grid`.
    """

    def __init__(self) -> None:
        super().__init__('replay')
        declare(self, SETTINGS, read_only=True)
        self.finished = False
        self.sent = 0
        self.failed = 0
        self._source = open_source(
            self._value('source'),
            seed=self._value('seed'),
            size=(self._value('width'), self._value('height')),
            rate=self._value('rate'),
            look=self._value('look'),
        )
        self._frames = self._source.frames()
        self._any_in_this_pass = False
        options = {
            'qos_profile': QoSProfile(depth=5, reliability=ReliabilityPolicy.RELIABLE),
            'qos_overriding_options': QoSOverridingOptions.with_default_policies(),
        }
        self._image = self.create_publisher(Image, 'image_raw', **options)
        # Next to the image, wherever that is remapped to.
        topic = self._image.topic_name + SUFFIX
        self._compressed = self.create_publisher(CompressedImage, topic, **options)
        self._camera_info = self.create_publisher(CameraInfo, 'camera_info', **options)
        self._truth = self.create_publisher(Image, 'ground_truth/labels', **options)
        self._true_grid = self.create_publisher(
            OccupancyGrid, 'ground_truth/drivable_grid', **options
        )
        self._diagnostics = self.create_publisher(DiagnosticArray, '/diagnostics', 10)
        bag = self._value('bag')
        self._recorder = Recorder(Path(bag)) if bag else None
        self._waiting = self._value('wait_for') > 0
        self.create_timer(1 / self._value('rate'), self._tick)
        self.create_timer(0.5, self._publish_diagnostics)
        self.get_logger().info(
            f"replaying '{self._value('source')}' on {self._image.topic_name} "
            f'at {self._value("rate"):g} frames per second'
        )

    def _value(self, name: str) -> Any:
        return self.get_parameter(name).value

    def _tick(self) -> None:
        raw, compressed = (p.get_subscription_count() for p in (self._image, self._compressed))
        if self.finished or (self._waiting and raw + compressed < self._value('wait_for')):
            return
        self._waiting = False
        frame = self._next_frame()
        if frame is None:
            self.finished = True
            return
        # Before the stamp is taken, since this takes longer than everything else here.
        ground = None
        if isinstance(frame, StreetSourceFrame) and self._true_grid.get_subscription_count():
            ground = frame.ground()
        header = Header(stamp=self.get_clock().now().to_msg(), frame_id=self._value('frame_id'))
        height, width = frame.bgr.shape[:2]
        # The truth first, so that it arrives before the labels that are compared with it.
        if frame.labels is not None and self._truth.get_subscription_count():
            self._truth.publish(array_to_image(frame.labels, 'mono8', header))
        if ground is not None:
            self._true_grid.publish(true_grid(ground, header))
        camera = self._source.camera if isinstance(self._source, StreetSource) else None
        info = camera_info(camera, header, width, height)
        self._camera_info.publish(info)
        if raw:
            self._image.publish(array_to_image(frame.bgr, 'bgr8', header))
        if compressed or self._recorder is not None:
            jpeg = bgr_to_jpeg(frame.bgr, _JPEG_QUALITY, header)
            self._compressed.publish(jpeg)
            self._record(self._camera_info.topic_name, 'CameraInfo', info)
            self._record(self._compressed.topic_name, 'CompressedImage', jpeg)
        self.sent += 1
        self.finished = self.sent == self._value('count')

    def _record(self, topic: str, kind: str, message: CameraInfo | CompressedImage) -> None:
        if self._recorder is not None:
            stamp = nanoseconds(message.header)
            data = serialize_message(message)
            self._recorder.write(topic, f'sensor_msgs/msg/{kind}', stamp, data)

    def _next_frame(self) -> SourceFrame | None:
        while True:
            item = next(self._frames, None)
            if isinstance(item, SourceError):
                self.failed += 1
                self.get_logger().error(f'frame skipped: {item}')
            elif item is not None:
                self._any_in_this_pass = True
                return item
            elif not self._any_in_this_pass:
                self.get_logger().error(
                    f"'{self._value('source')}' has no readable frame; use another source"
                )
                return None
            elif not self._value('loop'):
                return None
            else:
                self._any_in_this_pass = False
                self._frames = self._source.frames()

    def _publish_diagnostics(self) -> None:
        status = DiagnosticStatus(
            level=DiagnosticStatus.WARN if self.failed else DiagnosticStatus.OK,
            name=f'{self.get_fully_qualified_name().lstrip("/")}: source',
            message='finished' if self.finished else f'{self.sent} frames sent',
            hardware_id=self._value('source'),
            values=[
                KeyValue(key='sent', value=str(self.sent)),
                KeyValue(key='unreadable', value=str(self.failed)),
            ],
        )
        array = DiagnosticArray(status=[status])
        array.header.stamp = self.get_clock().now().to_msg()
        self._diagnostics.publish(array)

    def destroy_node(self) -> None:
        """End the bag as well."""
        try:
            if self._recorder is not None:
                self._recorder.close()
        finally:
            super().destroy_node()

    def finish(self) -> None:
        """Publish the last diagnostics, wait until everything has arrived, and log a summary."""
        self._publish_diagnostics()
        images = (self._truth, self._true_grid, self._image, self._compressed)
        for publisher in (*images, self._camera_info, self._diagnostics):
            # Destroying a publisher drops what is still in flight.
            publisher.wait_for_all_acked(Duration(seconds=1))
        unreadable = f', {self.failed} unreadable' if self.failed else ''
        self.get_logger().info(f'{self.sent} frames sent{unreadable}')


def true_grid(ground: FreeGround, header: Header) -> OccupancyGrid:
    """The truly free cells around the point below the camera; all others are unknown.

    Size and resolution are the defaults of the segmentation node's grid.

    :param header: header of the frame; its frame_id is replaced.
    """
    area = GridArea()
    free = ground.free(*area.centres())
    cells = np.where(free, FREE_CELL, UNKNOWN_CELL).astype(np.int8)
    return grid_message(cells, area, 0.0, Header(stamp=header.stamp, frame_id=BASE_FRAME))


def camera_info(
    camera: PinholeCamera | None, header: Header, width: int, height: int
) -> CameraInfo:
    """CameraInfo of a pinhole camera without distortion; for None an uncalibrated one (K is 0)."""
    info = CameraInfo(header=header, width=width, height=height)
    if camera is not None:
        info.distortion_model = 'plumb_bob'
        info.d = [0.0] * 5
        k = [camera.fx, 0.0, camera.cx, 0.0, camera.fy, camera.cy, 0.0, 0.0, 1.0]
        info.k = k
        info.r = np.eye(3).ravel()
        matrix: NDArray[np.float64] = np.hstack([np.reshape(k, (3, 3)), np.zeros((3, 1))])
        info.p = matrix.ravel()
    return info


def main(arguments: list[str] | None = None) -> None:
    """Entry point of `ros2 run linknet_ros replay_node`."""
    with ros_process('replay', arguments) as executor:
        node = ReplayNode()
        executor.add_node(node)
        try:
            while not node.finished:
                spin_once(executor, 0.1)
            node.finish()
            if not node.sent:
                sys.exit(1)
        finally:
            node.destroy_node()
