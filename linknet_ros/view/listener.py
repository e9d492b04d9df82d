"""What the view hears of the robot: subscribed to while somebody looks, left when nobody does."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any

import numpy as np
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from nav_msgs.msg import OccupancyGrid
from rclpy.clock import Clock, ClockType
from rclpy.node import Node, NodeNameNonExistentError
from rclpy.qos import QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import CompressedImage, Image

from linknet_ros.errors import FrameError
from linknet_ros.ros.compressed import SUFFIX, message_to_bgr
from linknet_ros.view.board import Board
from linknet_ros.view.legend import Legend
from linknet_ros.view.pictures import Picture, frame_jpeg, grid_png
from linknet_ros.view.remote_parameters import RemoteParameters
from linknet_ros.view.status import SLIDERS, Report

#: Seconds between two looks at the graph and the node's parameters.
_LOOK_EVERY = 1.0

#: Of images: a reliable subscriber would slow the node down to its own pace, and only the newest
#: counts.
_NEWEST = QoSProfile(depth=1, reliability=ReliabilityPolicy.BEST_EFFORT)

#: Types of the camera's topic, by their names in the graph.
_CAMERA_TYPES = {
    'sensor_msgs/msg/Image': Image,
    'sensor_msgs/msg/CompressedImage': CompressedImage,
}


class View:
    """Fills a board with what one segmentation node and its camera send.

    `look` and `set_parameter` may be called from any thread, all else is on the executor's.

    :param node: that subscribes.
    :param board: of the segmentation node.
    :param model: path of the model file, where the node's own is on another machine; or ''.
    """

    def __init__(self, node: Node, board: Board, model: str) -> None:
        self._node = node
        self._board = board
        self._target = board.facts.node
        self._legend = Legend(board, model)
        # Kept: a client that goes away while a question is open costs the node a fault.
        self._parameters = RemoteParameters(node, self._target)
        self._looking = False
        self._subscriptions: list[Any] = []
        self._camera: Any = None
        self._jobs: deque[Callable[[], None]] = deque()
        # What other threads ask for is done on the executor's: rclpy's lists are not theirs.
        self._wake = node.create_guard_condition(self._work)
        steady = Clock(clock_type=ClockType.STEADY_TIME)
        self._timer = node.create_timer(_LOOK_EVERY, self._look_around, clock=steady)
        self._timer.cancel()
        self._closed = False

    def look(self, looking: bool) -> None:
        """Begin to listen, or end it."""
        self._do(self._begin if looking else self._end)

    def set_parameter(self, name: str, value: float) -> Future[str]:
        """Set a parameter of the node.

        :returns: the reason of a refusal, or ''; never done where the node dies meanwhile.
        """
        answer: Future[str] = Future()

        def done(reason: str) -> None:
            # Who waited may have left.
            if answer.set_running_or_notify_cancel():
                answer.set_result(reason)
            self._ask()

        def ask() -> None:
            if self._looking:
                self._parameters.set({name: value}, done)
            else:
                done('nobody looks')

        self._do(ask)
        return answer

    def close(self) -> None:
        """Listen no more, for good."""
        self._closed = True
        self._end()
        self._node.destroy_timer(self._timer)
        self._parameters.close()
        self._legend.close()

    def _do(self, job: Callable[[], None]) -> None:
        self._jobs.append(job)
        if not self._closed:
            self._wake.trigger()

    def _work(self) -> None:
        while self._jobs and not self._closed:
            self._jobs.popleft()()

    def _begin(self) -> None:
        if self._looking:
            return
        self._looking = True
        self._board.clear(since=time.monotonic())
        for kind, topic, take in (
            (CompressedImage, f'{self._target}/overlay{SUFFIX}', self._take_overlay),
            (OccupancyGrid, f'{self._target}/drivable_grid', self._take_grid),
        ):
            self._subscriptions.append(self._node.create_subscription(kind, topic, take, _NEWEST))
        self._subscriptions.append(
            self._node.create_subscription(
                DiagnosticArray, '/diagnostics', self._take_diagnostics, 10
            )
        )
        self._timer.reset()
        self._look_around()

    def _end(self) -> None:
        if not self._looking:
            return
        self._looking = False
        self._timer.cancel()
        self._listen_to('', None)
        for subscription in self._subscriptions:
            self._node.destroy_subscription(subscription)
        self._subscriptions = []
        self._legend.forget()
        self._board.clear()

    def _look_around(self) -> None:
        """Where the node takes its frames from, whether somebody sends them, what is set."""
        namespace, _, name = self._target.rpartition('/')
        try:
            topics = self._node.get_subscriber_names_and_types_by_node(name, namespace or '/')
        except NodeNameNonExistentError:
            self._board.learn(present=False)
        else:
            found = [(t, k) for t, kinds in topics for k in kinds if k in _CAMERA_TYPES]
            topic, kind = found[0] if found else ('', '')
            self._listen_to(topic, _CAMERA_TYPES.get(kind))
            senders = self._node.count_publishers(topic) if topic else 0
            self._board.learn(present=True, senders=senders)
        self._parameters.forget_unanswered()
        self._ask()

    def _ask(self) -> None:
        if self._looking:
            self._parameters.get([*SLIDERS, *Legend.PARAMETERS], self._take_parameters)

    def _listen_to(self, topic: str, kind: type | None) -> None:
        """Take frames from the topic that the node takes them from."""
        if self._camera is not None:
            if (self._camera.topic_name, self._camera.msg_type) == (topic, kind):
                return
            self._node.destroy_subscription(self._camera)
            self._camera = None
        if kind is not None:
            self._camera = self._node.create_subscription(kind, topic, self._take_frame, _NEWEST)
        self._board.learn(camera=topic)

    def _take_frame(self, message: Image | CompressedImage) -> None:
        def encode() -> bytes:
            return frame_jpeg(message_to_bgr(message))

        self._board.show('camera', Picture(encode, caption=self._board.facts.camera))

    def _take_overlay(self, message: CompressedImage) -> None:
        self._board.show('overlay', Picture(lambda: bytes(message.data)))

    def _take_grid(self, message: OccupancyGrid) -> None:
        about = message.info
        x, y = about.width * about.resolution, about.height * about.resolution

        def encode() -> bytes:
            cells = np.asarray(message.data, np.int8)
            if cells.size != about.width * about.height:
                raise FrameError(
                    f'the grid has {cells.size} cells, not {about.width}x{about.height}'
                )
            return grid_png(cells.reshape(about.height, about.width))

        caption = f'{x:g} m (ahead is up) by {y:g} m, cells of {about.resolution:g} m'
        self._board.show('grid', Picture(encode, 'image/png', caption))

    def _take_diagnostics(self, message: DiagnosticArray) -> None:
        for status in message.status:
            if status.name == f'{self._target.lstrip("/")}: segmentation':
                report = Report(
                    time.monotonic(),
                    status.level != DiagnosticStatus.OK,
                    status.message,
                    {value.key: value.value for value in status.values},
                )
                self._board.learn(report=report)

    def _take_parameters(self, values: dict[str, Any]) -> None:
        if not self._looking:
            return
        sliders = {name: values[name] for name in SLIDERS if name in values}
        self._board.learn(parameters=sliders)
        self._legend.update(values)
