"""What the page shows of the robot: subscribed to only while a page is visible."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, ClassVar

import numpy as np
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from nav_msgs.msg import OccupancyGrid
from rclpy.clock import Clock, ClockType
from rclpy.node import Node, NodeNameNonExistentError
from rclpy.qos import QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import CompressedImage, Image

from linknet_ros.errors import FrameError, LinknetError, first_line
from linknet_ros.inference.model_file import load_model
from linknet_ros.ros.images import SUFFIX, image_to_bgr
from linknet_ros.system.package_files import model_path
from linknet_ros.view.board import Board
from linknet_ros.view.pictures import Picture, frame_jpeg, grid_png
from linknet_ros.view.remote_parameters import RemoteParameters
from linknet_ros.view.status import SLIDERS, Diagnostics, LegendEntry

#: Seconds between two looks at the ROS graph and the node's parameters.
_POLL_PERIOD = 1.0

#: Of images. A reliable subscriber would slow the node down, and only the newest image counts.
NEWEST = QoSProfile(depth=1, reliability=ReliabilityPolicy.BEST_EFFORT)

#: Types of the camera's topic, by their names in the ROS graph.
_CAMERA_TYPES = {
    'sensor_msgs/msg/Image': Image,
    'sensor_msgs/msg/CompressedImage': CompressedImage,
}


class NodeListener:
    """Fills a board with what one segmentation node and its camera publish.

    `set_watched` and `set_parameter` may be called from any thread, everything else runs on the
    executor's.

    :param node: the view's own node, which subscribes.
    :param board: board of the segmentation node.
    :param model: path of a copy of the model file, if the node runs on another machine; else ''.
    """

    def __init__(self, node: Node, board: Board, model: str) -> None:
        self._node = node
        self._board = board
        self._target = board.facts.node
        self._legend = _Legend(board, model)
        # Never destroyed before the view ends: a client that disappears while a request is open
        # makes the node log an error.
        self._parameters = RemoteParameters(node, self._target)
        self._watched = False
        self._subscriptions: list[Any] = []
        self._camera: Any = None
        self._jobs: deque[Callable[[], None]] = deque()
        # Requests of other threads are run by the executor: rclpy's lists are not thread-safe.
        self._wake = node.create_guard_condition(self._run_jobs)
        steady = Clock(clock_type=ClockType.STEADY_TIME)
        self._timer = node.create_timer(_POLL_PERIOD, self._poll, clock=steady)
        self._timer.cancel()
        self._closed = False

    def set_watched(self, watched: bool) -> None:
        """Subscribe, since a page is visible now, or unsubscribe, since none is any more."""
        self._run_later(self._start if watched else self._stop)

    def set_parameter(self, name: str, value: float) -> Future[str]:
        """Set a parameter of the segmentation node.

        :returns: why the node refused it, or ''; never done if the node dies meanwhile.
        """
        answer: Future[str] = Future()

        def done(reason: str) -> None:
            # The caller may have cancelled it.
            if answer.set_running_or_notify_cancel():
                answer.set_result(reason)
            self._request_parameters()

        def request() -> None:
            if self._watched:
                self._parameters.set(name, value, done)
            else:
                done('no page is visible')

        self._run_later(request)
        return answer

    def close(self) -> None:
        """Unsubscribe for good."""
        self._closed = True
        self._stop()
        self._node.destroy_timer(self._timer)
        self._parameters.close()
        self._legend.close()

    def _run_later(self, job: Callable[[], None]) -> None:
        self._jobs.append(job)
        if not self._closed:
            self._wake.trigger()

    def _run_jobs(self) -> None:
        while self._jobs and not self._closed:
            self._jobs.popleft()()

    def _start(self) -> None:
        if self._watched:
            return
        self._watched = True
        self._board.clear(watched_since=time.monotonic())
        for kind, topic, callback, qos in (
            (CompressedImage, f'{self._target}/overlay{SUFFIX}', self._on_overlay, NEWEST),
            (OccupancyGrid, f'{self._target}/drivable_grid', self._on_grid, NEWEST),
            (DiagnosticArray, '/diagnostics', self._on_diagnostics, 10),
        ):
            self._subscriptions.append(self._node.create_subscription(kind, topic, callback, qos))
        self._timer.reset()
        self._poll()

    def _stop(self) -> None:
        if not self._watched:
            return
        self._watched = False
        self._timer.cancel()
        self._subscribe_to_camera('', None)
        for subscription in self._subscriptions:
            self._node.destroy_subscription(subscription)
        self._subscriptions = []
        self._legend.forget()
        self._board.clear()

    def _poll(self) -> None:
        """Find the topic that the node takes frames from, its publishers, and the parameters."""
        try:
            topic, kind = camera_of(self._node, self._target)
        except NodeNameNonExistentError:
            self._board.update(present=False)
        else:
            self._subscribe_to_camera(topic, kind)
            publishers = self._node.count_publishers(topic) if topic else 0
            self._board.update(present=True, publishers=publishers)
        self._parameters.forget_unanswered()
        self._request_parameters()

    def _request_parameters(self) -> None:
        if self._watched:
            self._parameters.get([*SLIDERS, *_Legend.PARAMETERS], self._on_parameters)

    def _subscribe_to_camera(self, topic: str, kind: type | None) -> None:
        """Subscribe to the topic that the node takes frames from; None unsubscribes."""
        if self._camera is not None:
            if (self._camera.topic_name, self._camera.msg_type) == (topic, kind):
                return
            self._node.destroy_subscription(self._camera)
            self._camera = None
        if kind is not None:
            self._camera = self._node.create_subscription(kind, topic, self._on_frame, NEWEST)
        self._board.update(camera=topic)

    def _on_frame(self, message: Image | CompressedImage) -> None:
        def encode() -> bytes:
            return frame_jpeg(image_to_bgr(message))

        self._board.put('camera', Picture(encode, caption=self._board.facts.camera))

    def _on_overlay(self, message: CompressedImage) -> None:
        self._board.put('overlay', Picture(lambda: bytes(message.data)))

    def _on_grid(self, message: OccupancyGrid) -> None:
        info = message.info
        x, y = info.width * info.resolution, info.height * info.resolution

        def encode() -> bytes:
            cells = np.asarray(message.data, np.int8)
            if cells.size != info.width * info.height:
                raise FrameError(
                    f'the grid has {cells.size} cells, not {info.width}x{info.height}'
                )
            return grid_png(cells.reshape(info.height, info.width))

        caption = f'{x:g} m (ahead is up) by {y:g} m, cells of {info.resolution:g} m'
        self._board.put('grid', Picture(encode, 'image/png', caption))

    def _on_diagnostics(self, message: DiagnosticArray) -> None:
        for status in message.status:
            if status.name == f'{self._target.lstrip("/")}: segmentation':
                diagnostics = Diagnostics(
                    time.monotonic(),
                    status.level != DiagnosticStatus.OK,
                    status.message,
                    {value.key: value.value for value in status.values},
                )
                self._board.update(diagnostics=diagnostics)

    def _on_parameters(self, values: dict[str, Any]) -> None:
        if self._watched:
            sliders = {name: values[name] for name in SLIDERS if name in values}
            self._board.update(parameters=sliders)
            self._legend.update(values)


def camera_of(node: Node, target: str) -> tuple[str, type | None]:
    """Topic and type of the images that another node takes; '' and None while it takes none.

    :param node: any; it asks the ROS graph.
    :param target: full name of the other node.
    :raises NodeNameNonExistentError: when it is not in the graph.
    """
    namespace, _, name = target.rpartition('/')
    topics = node.get_subscriber_names_and_types_by_node(name, namespace or '/')
    found = [(t, _CAMERA_TYPES[k]) for t, kinds in topics for k in kinds if k in _CAMERA_TYPES]
    return found[0] if found else ('', None)


class _Legend:
    """Keeps the board's legend up to date: the classes of the node's model file.

    The file is read in a thread of its own, since that takes half a second.
    """

    #: Parameters of the node that decide about its classes.
    PARAMETERS: ClassVar = ('model', 'precision', 'drivable_classes')

    def __init__(self, board: Board, model: str) -> None:
        self._board = board
        self._model = model
        self._shown: tuple[str, tuple[str, ...]] | None = None
        self._reader = ThreadPoolExecutor(1, 'view_legend')

    def update(self, values: Mapping[str, Any]) -> None:
        """Show the legend for the node's parameters; reads nothing if they are unchanged."""
        if 'model' not in values and not self._model:
            return
        path = str(model_path(self._model or values['model'], values.get('precision', '')))
        legend = (path, tuple(name for name in values.get('drivable_classes', ()) if name))
        if legend != self._shown:
            self._shown = legend
            self._reader.submit(self._read, *legend)

    def forget(self) -> None:
        """Read the file again at the next update, since the board was cleared."""
        self._shown = None

    def close(self) -> None:
        """Stop reading."""
        self._reader.shutdown(wait=False, cancel_futures=True)

    def _read(self, path: str, drivable: tuple[str, ...]) -> None:
        entries: tuple[LegendEntry, ...] = ()
        problem = ''
        try:
            classes = load_model(path).classes
            entries = tuple(
                LegendEntry(name, color, name in (drivable or classes.drivable_names))
                for name, color in zip(classes.names, classes.colors, strict=True)
            )
        except LinknetError as error:
            problem = (
                f'{error}; if the node runs on another machine, set the parameter model of the '
                'view to a copy of the file'
            )
        except Exception as error:
            # Nobody waits for this thread: a bug must show on the page.
            problem = f'{type(error).__name__}: {first_line(error)}'
        # Else the board was cleared meanwhile, or another legend is on its way.
        if self._shown == (path, drivable):
            self._board.update(legend=entries, legend_problem=problem)
