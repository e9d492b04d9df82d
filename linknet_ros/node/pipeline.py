"""From an image message to published results, in three steps that overlap, a thread for each."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial

import numpy as np
from numpy.typing import NDArray
from rclpy.node import Node
from sensor_msgs.msg import CameraInfo, CompressedImage, Image

from linknet_ros.errors import FrameError
from linknet_ros.inference.segmenter import Fitted, Inferred, Segmenter
from linknet_ros.node.clock_watch import status_line
from linknet_ros.node.frame_pace import FramePace
from linknet_ros.node.frame_slot import FrameSlot
from linknet_ros.node.statistics import Drop, Statistics
from linknet_ros.node.topics import Topics
from linknet_ros.ros.images import image_to_bgr

#: A fault that repeats with every frame is logged once in this many seconds.
_LOG_PERIOD = 5.0


@dataclass
class _Frame:
    """A frame on its way; each step sets what the next one needs."""

    message: Image | CompressedImage
    arrived: float
    seconds: dict[str, float] = field(default_factory=dict)
    bgr: NDArray[np.uint8] = field(init=False)
    fitted: Fitted = field(init=False)
    inferred: Inferred = field(init=False)


class Pipeline:
    """Takes frames from construction to stop, each at most once, the newest first.

    `take_image` and `take_camera_info` are subscription callbacks and never wait. One thread
    converts and fits a frame while the network has the one before, and a third publishes the one
    before that; each step holds one frame, so nothing queues up. Fitting begins as late as it can
    (FramePace), so that the newest frame is taken.

    :param node: for log and clock.
    :param segmenter: used by the pipeline alone until stop.
    :param topics: their state decides what a frame shows: each takes one, when it is published.
    """

    def __init__(
        self,
        node: Node,
        segmenter: Segmenter,
        topics: Topics,
        statistics: Statistics,
    ) -> None:
        self._node = node
        self._segmenter = segmenter
        self._topics = topics
        self._statistics = statistics
        self._camera_info: CameraInfo | None = None
        self._slot: FrameSlot[_Frame] = FrameSlot()
        self._pace = FramePace()
        fitted: queue.Queue[_Frame | None] = queue.Queue(1)
        inferred: queue.Queue[_Frame | None] = queue.Queue(1)
        steps = {
            'fit': (self._take_newest, self._fit, fitted.put),
            'infer': (partial(self._take_fitted, fitted), self._infer, inferred.put),
            'publish': (inferred.get, self._publish, lambda _: None),
        }
        self._threads = [
            threading.Thread(target=self._run, args=step, name=name)
            for name, step in steps.items()
        ]
        for thread in self._threads:
            thread.start()

    def take_camera_info(self, message: CameraInfo) -> None:
        """Keep the camera's newest numbers."""
        self._camera_info = message

    def has_camera_info(self) -> bool:
        """Whether any has come."""
        return self._camera_info is not None

    def take_image(self, message: Image | CompressedImage) -> None:
        """Leave a frame for the first step."""
        self._statistics.receive()
        if not self._topics.has_subscribers():
            self._statistics.drop(Drop.NO_SUBSCRIBER)
        elif self._slot.put(_Frame(message, time.perf_counter())) is not None:
            self._statistics.drop(Drop.REPLACED)

    def stop(self) -> None:
        """Finish the frames under way, drop the one that waits, end the threads."""
        if self._slot.close() is not None:
            self._statistics.drop(Drop.INACTIVE)
        self._pace.close()
        for thread in self._threads:
            thread.join()

    def _run(
        self,
        take: Callable[[], _Frame | None],
        work: Callable[[_Frame], None],
        pass_on: Callable[[_Frame | None], None],
    ) -> None:
        """One step: take a frame, work on it, pass it on; None is the end."""
        try:
            self._work_on_all(take, work, pass_on)
        finally:
            # Whatever ends a thread: those after it end too, so that stop can join them.
            pass_on(None)

    def _work_on_all(
        self,
        take: Callable[[], _Frame | None],
        work: Callable[[_Frame], None],
        pass_on: Callable[[_Frame | None], None],
    ) -> None:
        log = self._node.get_logger()
        while (frame := take()) is not None:
            try:
                work(frame)
            except FrameError as error:
                self._statistics.drop(Drop.BAD_FRAME)
                log.warning(f'frame skipped: {error}', throttle_duration_sec=_LOG_PERIOD)
            except Exception as error:
                if not self._node.context.ok():
                    # The process is being stopped; there is nobody left to publish to.
                    self._statistics.drop(Drop.INACTIVE)
                    continue
                # The thread must outlive whatever one frame does to a library below it.
                self._statistics.drop(Drop.FAILED)
                log.error(
                    f'frame failed: {type(error).__name__}: {error}',
                    throttle_duration_sec=_LOG_PERIOD,
                )
            else:
                pass_on(frame)

    def _take_newest(self) -> _Frame | None:
        while True:
            self._pace.wait()
            frame = self._slot.take()
            if frame is None or not self._too_old(frame):
                return frame
            self._statistics.drop(Drop.TOO_OLD)

    def _too_old(self, frame: _Frame) -> bool:
        max_age = self._topics.state.parameters.max_age
        if not max_age:
            return False
        age = self._age(frame)
        return age is None or age > max_age

    def _fit(self, frame: _Frame) -> None:
        start = time.perf_counter()
        mono16_max = self._topics.state.parameters.inference.mono16_max
        frame.bgr = image_to_bgr(frame.message, mono16_max)
        frame.fitted = self._segmenter.fit(frame.bgr)
        frame.seconds['fit'] = time.perf_counter() - start
        # Before it is passed on: the next step says at once that it took the frame.
        self._pace.fitted(frame.seconds['fit'])

    def _take_fitted(self, fitted: queue.Queue[_Frame | None]) -> _Frame | None:
        self._pace.free()
        frame = fitted.get()
        self._pace.busy()
        return frame

    def _infer(self, frame: _Frame) -> None:
        start = time.perf_counter()
        frame.inferred = self._segmenter.infer(frame.fitted)
        frame.seconds['infer'] = time.perf_counter() - start

    def _publish(self, frame: _Frame) -> None:
        start = time.perf_counter()
        info = self._camera_info
        # Parameters may change meanwhile: the frame shows those of now.
        state = self._topics.state
        result = self._segmenter.finish(frame.inferred, state.parameters.inference.min_confidence)
        status = partial(self._status, frame)
        sending = self._topics.publish(
            state, frame.bgr, result, frame.message.header, info, status
        )
        end = time.perf_counter()
        frame.seconds |= {'products': end - start - sending, 'publish': sending}
        frame.seconds['wait'] = end - frame.arrived - sum(frame.seconds.values())
        self._statistics.publish(frame.seconds, self._age(frame))

    def _status(self, frame: _Frame) -> str:
        return status_line(self._statistics.rate(), self._age(frame), frame.seconds['infer'])

    def _age(self, frame: _Frame) -> float | None:
        """Seconds since the frame's stamp by the node's clock; None for a frame without one."""
        # Not through rclpy's Time: that raises for a stamp below 0, which a message can hold.
        stamp = frame.message.header.stamp
        nanoseconds = stamp.sec * 10**9 + stamp.nanosec
        now = self._node.get_clock().now().nanoseconds
        return (now - nanoseconds) * 1e-9 if nanoseconds else None
