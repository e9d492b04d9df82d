"""From an image message to published results, in three steps that overlap, a thread for each."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable
from functools import partial

from rclpy.node import Node

from linknet_ros.errors import FrameError
from linknet_ros.inference.scene_check import look_at
from linknet_ros.inference.segmenter import Segmenter
from linknet_ros.node.camera import Frame
from linknet_ros.node.camera_names import LOG_PERIOD
from linknet_ros.node.clock_watch import status_line
from linknet_ros.node.frame_pace import FramePace
from linknet_ros.node.frame_slots import FrameSlots
from linknet_ros.node.statistics import Drop
from linknet_ros.node.topics import Topics
from linknet_ros.ros.images import image_to_bgr, nanoseconds

#: What becomes of a frame with a fault, by scene_check.
_BELIEVED = {'unlabel': 'left unlabelled', 'warn': 'doubtful'}


class Pipeline:
    """Takes frames from construction to stop, each at most once, of the cameras in turn.

    One thread converts and fits a frame while the network has the one before, and a third
    publishes the one before that; each step holds one frame, so nothing queues up. Fitting begins
    as late as it can (FramePace), so that the newest frame is taken. A camera's topics decide what
    its frames show: each takes their state of when it is published.

    :param node: for log and clock.
    :param segmenter: used by the pipeline alone until stop.
    :param slots: where cameras leave their frames; shut by stop, which leaves what is in them.
    """

    def __init__(self, node: Node, segmenter: Segmenter, slots: FrameSlots[Frame]) -> None:
        self._node = node
        self._segmenter = segmenter
        self._slots = slots
        self._pace = FramePace()
        fitted: queue.Queue[Frame | None] = queue.Queue(1)
        inferred: queue.Queue[Frame | None] = queue.Queue(1)
        steps = {
            'fit': (self._take_newest, self._fit, fitted.put),
            'infer': (partial(self._take_fitted, fitted), self._infer, inferred.put),
            'publish': (inferred.get, self._publish, lambda _: None),
        }
        self._threads = [
            threading.Thread(target=self._run, args=step, name=name)
            for name, step in steps.items()
        ]
        slots.open()
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Finish the frames under way, end the threads."""
        self._slots.shut()
        self._pace.close()
        for thread in self._threads:
            thread.join()

    def _run(
        self,
        take: Callable[[], Frame | None],
        work: Callable[[Frame], None],
        pass_on: Callable[[Frame | None], None],
    ) -> None:
        """One step: take a frame, work on it, pass it on; None is the end."""
        try:
            self._work_on_all(take, work, pass_on)
        finally:
            # Whatever ends a thread: those after it end too, so that stop can join them.
            pass_on(None)

    def _work_on_all(
        self,
        take: Callable[[], Frame | None],
        work: Callable[[Frame], None],
        pass_on: Callable[[Frame | None], None],
    ) -> None:
        while (frame := take()) is not None:
            log, statistics = frame.camera.log, frame.camera.statistics
            if not frame.camera.enabled:
                statistics.drop(Drop.DISABLED)
                continue
            try:
                work(frame)
            except FrameError as error:
                statistics.drop(Drop.BAD_FRAME)
                log.warning(f'frame skipped: {error}', throttle_duration_sec=LOG_PERIOD)
            except Exception as error:
                if not self._node.context.ok():
                    # The process is being stopped; there is nobody left to publish to.
                    statistics.drop(Drop.INACTIVE)
                    continue
                # The thread must outlive whatever one frame does to a library below it.
                statistics.drop(Drop.FAILED)
                log.error(
                    f'frame failed: {type(error).__name__}: {error}',
                    throttle_duration_sec=LOG_PERIOD,
                )
            else:
                pass_on(frame)

    def _take_newest(self) -> Frame | None:
        while True:
            self._pace.wait()
            frame = self._slots.take()
            if frame is None or not self._too_old(frame):
                return frame
            frame.camera.statistics.drop(Drop.TOO_OLD)

    def _too_old(self, frame: Frame) -> bool:
        max_age = _topics(frame).state.parameters.max_age
        if not max_age:
            return False
        age = self._age(frame)
        return age is None or age > max_age

    def _fit(self, frame: Frame) -> None:
        start = time.perf_counter()
        parameters = _topics(frame).state.parameters
        frame.bgr = image_to_bgr(frame.message, parameters.inference.mono16_max)
        frame.fitted = self._segmenter.fit(frame.bgr, parameters.inference.rotate)
        if parameters.inference.scene_check != 'off':
            frame.look = look_at(frame.fitted)
        frame.seconds['fit'] = time.perf_counter() - start
        # Before it is passed on: the next step says at once that it took the frame.
        self._pace.fitted(frame.seconds['fit'])

    def _take_fitted(self, fitted: queue.Queue[Frame | None]) -> Frame | None:
        self._pace.free()
        frame = fitted.get()
        self._pace.busy()
        return frame

    def _infer(self, frame: Frame) -> None:
        start = time.perf_counter()
        frame.inferred = self._segmenter.infer(frame.fitted)
        frame.seconds['infer'] = time.perf_counter() - start

    def _publish(self, frame: Frame) -> None:
        start = time.perf_counter()
        topics, info = _topics(frame), frame.camera.info
        # Parameters may change meanwhile: the frame shows those of now.
        state = topics.state
        inference, model = state.parameters.inference, self._segmenter.model
        sequence, stamp = frame.camera.sequence, nanoseconds(frame.message.header)
        if fault := sequence.take(model, frame.look, frame.inferred, stamp, inference):
            frame.camera.log.warning(
                f'frame {_BELIEVED[inference.scene_check]}: {fault}',
                throttle_duration_sec=LOG_PERIOD,
            )
        result = self._segmenter.finish(frame.inferred, inference.min_confidence)
        status = partial(self._status, frame)
        sending = topics.publish(state, frame.bgr, result, frame.message.header, info, status)
        end = time.perf_counter()
        frame.seconds |= {'products': end - start - sending, 'publish': sending}
        frame.seconds['wait'] = end - frame.arrived - sum(frame.seconds.values())
        frame.camera.statistics.publish(frame.seconds, self._age(frame))

    def _status(self, frame: Frame) -> str:
        rate = frame.camera.statistics.rate()
        fault = frame.camera.sequence.fault
        return status_line(rate, self._age(frame), frame.seconds['infer'], fault)

    def _age(self, frame: Frame) -> float | None:
        """Seconds since the frame's stamp by the node's clock; None for a frame without one."""
        stamp = nanoseconds(frame.message.header)
        now = self._node.get_clock().now().nanoseconds
        return (now - stamp) * 1e-9 if stamp else None


def _topics(frame: Frame) -> Topics:
    """The topics of a frame's camera: they outlive the frames under way."""
    topics = frame.camera.topics
    assert topics is not None
    return topics
