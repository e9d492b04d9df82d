"""From an image message to published results, on a thread of its own."""

from __future__ import annotations

import threading
import time

from rclpy.node import Node
from rclpy.time import Time
from sensor_msgs.msg import CameraInfo, CompressedImage, Image

from linknet_ros.errors import FrameError
from linknet_ros.frame_slot import FrameSlot
from linknet_ros.frame_statistics import Drop, Statistics
from linknet_ros.ros_compressed import message_to_bgr
from linknet_ros.ros_outputs import Outputs
from linknet_ros.segmenter import Segmenter

#: A fault that repeats with every frame is logged once in this many seconds.
_LOG_PERIOD = 5.0


class Pipeline:
    """Takes frames from construction to stop, each at most once, the newest first.

    `take_image` and `take_camera_info` are subscription callbacks and never wait; everything else
    happens on the worker thread, so the executor is not blocked and old frames do not queue up.

    :param node: for log and clock.
    :param segmenter: used by the worker alone until stop.
    :param min_confidence: 0 to 1; can be set at any time and holds from the next frame.
    """

    def __init__(
        self,
        node: Node,
        segmenter: Segmenter,
        outputs: Outputs,
        statistics: Statistics,
        min_confidence: float,
    ) -> None:
        self.min_confidence = min_confidence
        self._node = node
        self._segmenter = segmenter
        self._outputs = outputs
        self._statistics = statistics
        self._camera_info: CameraInfo | None = None
        self._slot: FrameSlot[tuple[Image | CompressedImage, float]] = FrameSlot()
        self._worker = threading.Thread(target=self._work, name='segment')
        self._worker.start()

    def take_camera_info(self, message: CameraInfo) -> None:
        """Keep the camera's newest numbers."""
        self._camera_info = message

    def take_image(self, message: Image | CompressedImage) -> None:
        """Leave a frame for the worker."""
        self._statistics.receive()
        if not self._outputs.wanted():
            self._statistics.drop(Drop.NO_SUBSCRIBER)
        elif self._slot.put((message, time.perf_counter())) is not None:
            self._statistics.drop(Drop.REPLACED)

    def stop(self) -> None:
        """Finish the frame in work, drop the one that waits, end the worker."""
        if self._slot.close() is not None:
            self._statistics.drop(Drop.INACTIVE)
        self._worker.join()

    def _work(self) -> None:
        log = self._node.get_logger()
        while (item := self._slot.take()) is not None:
            try:
                self._segment(*item)
            except FrameError as error:
                self._statistics.drop(Drop.BAD_FRAME)
                log.warning(f'frame skipped: {error}', throttle_duration_sec=_LOG_PERIOD)
            except Exception as error:
                if not self._node.context.ok():
                    # The process is being stopped; there is nobody left to publish to.
                    self._statistics.drop(Drop.INACTIVE)
                    continue
                # The worker must outlive whatever one frame does to a library below it.
                self._statistics.drop(Drop.FAILED)
                log.error(
                    f'frame failed: {type(error).__name__}: {error}',
                    throttle_duration_sec=_LOG_PERIOD,
                )

    def _segment(self, message: Image | CompressedImage, arrived: float) -> None:
        start = time.perf_counter()
        frame = message_to_bgr(message)
        converted = time.perf_counter()
        result = self._segmenter.segment(frame, self.min_confidence)
        segmented = time.perf_counter()
        self._outputs.publish(frame, result, message.header, self._camera_info_for(message))
        published = time.perf_counter()
        now = self._node.get_clock().now()
        stamp = Time.from_msg(message.header.stamp, clock_type=now.clock_type)
        self._statistics.publish(
            {
                'wait': start - arrived,
                'fit': converted - start + result.fit_seconds,
                'infer': result.infer_seconds,
                'publish': published - segmented,
                'latency': (now - stamp).nanoseconds * 1e-9,
            }
        )

    def _camera_info_for(self, message: Image | CompressedImage) -> CameraInfo | None:
        info = self._camera_info
        if info is not None and info.header.frame_id != message.header.frame_id:
            self._node.get_logger().warning(
                f"camera_info is of frame '{info.header.frame_id}', the image of "
                f"'{message.header.frame_id}': ~/camera_info is not published; remap "
                'camera_info to the topic beside the image',
                throttle_duration_sec=_LOG_PERIOD,
            )
            return None
        return info
