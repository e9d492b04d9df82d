"""Subscribes as a planner would and keeps what the demo's report needs."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from diagnostic_msgs.msg import DiagnosticArray
from nav_msgs.msg import OccupancyGrid
from numpy.typing import NDArray
from rclpy.node import Node
from rclpy.qos import QoSProfile, ReliabilityPolicy
from rclpy.time import Time
from sensor_msgs.msg import Image

from linknet_ros.ground.grid import FREE_CELL
from linknet_ros.metrics import ConfusionMatrix
from linknet_ros.products.colors import grid_picture
from linknet_ros.ros.images import image_to_bgr
from linknet_ros.simulation.grid_score import GridScore, marked_truth

Stamp = tuple[int, int]

#: Frames shown on the contact sheet are kept this many frames apart at first; every time the
#: sheet is full, every second one goes and the distance doubles.
_FIRST_DISTANCE = 4

#: Messages that a subscription holds while this process computes.
_DEPTH = 20

#: Rows of a sheet, and the pictures in each: the contact sheet, and the bird's-eye view.
ROWS = 4
PICTURES = ('frame', 'labels', 'overlay', 'drivable')
BIRDS_EYE = ('overlay', 'grid', 'truth')


@dataclass
class Row:
    """Pictures of one frame for the sheets, and its number among those received."""

    number: int
    pictures: dict[str, NDArray[np.uint8]] = field(default_factory=dict)


class Pairs:
    """Brings together what two topics say of the same frame.

    :param take: called with both, the truth first.
    """

    def __init__(self, take: Callable[[Stamp, NDArray[Any], NDArray[Any]], None]) -> None:
        self._take = take
        self._waiting: tuple[dict[Stamp, NDArray[Any]], ...] = ({}, {})

    def put(self, side: int, stamp: Stamp, value: NDArray[Any]) -> None:
        """Keep what is true (side 0) or was found (1) until the other comes."""
        self._waiting[side][stamp] = value
        if all(stamp in waiting for waiting in self._waiting):
            self._take(stamp, *(waiting.pop(stamp) for waiting in self._waiting))
        # What never finds its partner must not fill the memory.
        for waiting in self._waiting:
            while len(waiting) > _DEPTH:
                del waiting[min(waiting)]


class DemoNode(Node):
    """Counts labels, measures their latency, compares them with the truth where it is known.

    :param classes: number of classes of the model.
    :param ground: whether to subscribe to the grid, which needs a calibrated camera.
    """

    def __init__(self, classes: int, ground: bool) -> None:
        super().__init__('demo')
        self.latencies: list[float] = []
        self.arrivals: list[float] = []
        self.matrix = ConfusionMatrix(classes)
        self.compared = 0
        self.diagnostics: dict[str, dict[str, str]] = {}
        self.reports: Counter[str] = Counter()
        self.rows: dict[Stamp, Row] = {}
        self._frames = 0
        self._distance = _FIRST_DISTANCE
        #: Of the grid, summed over all frames whose ground is known.
        self.score = GridScore()
        self.grids_compared = 0
        self._labels = Pairs(self._compare_labels)
        self._grids = Pairs(self._compare_grids)
        subscriptions: list[tuple[type, str, Callable[[Any], None]]] = [
            (Image, 'image', self._take_frame),
            (Image, 'ground_truth/labels', self._take_truth),
            (Image, 'linknet/labels', self._take_labels),
            (Image, 'linknet/color', self._keep('labels')),
            (Image, 'linknet/overlay', self._keep('overlay')),
            (Image, 'linknet/drivable', self._keep('drivable')),
        ]
        if ground:
            subscriptions += [
                (OccupancyGrid, 'ground_truth/drivable_grid', self._take_grid(0)),
                (OccupancyGrid, 'linknet/drivable_grid', self._take_grid(1)),
            ]
        for kind, topic, callback in subscriptions:
            reliable = QoSProfile(depth=_DEPTH, reliability=ReliabilityPolicy.RELIABLE)
            self.create_subscription(kind, topic, callback, reliable)
        self.create_subscription(DiagnosticArray, '/diagnostics', self._take_diagnostics, 10)

    def has_segmentation(self) -> bool:
        """Whether a segmentation node publishes labels."""
        return bool(self.count_publishers('linknet/labels'))

    def complete_rows(self, names: Sequence[str]) -> list[list[NDArray[np.uint8]]]:
        """Rows of a sheet that have all pictures of these names, oldest first."""
        rows = [row.pictures for row in self.rows.values()]
        return [[row[n] for n in names] for row in rows if row.keys() >= set(names)]

    def _take_frame(self, message: Image) -> None:
        if self._frames % self._distance == 0:
            self.rows[_stamp(message)] = Row(self._frames, {'frame': image_to_bgr(message)})
            self._thin_out()
        self._frames += 1

    def _thin_out(self) -> None:
        # A row whose frame the node dropped never gets its other pictures; twice as many rows
        # as needed leave enough that do.
        if len(self.rows) > 2 * ROWS:
            self._distance *= 2
            kept = {s: r for s, r in self.rows.items() if r.number % self._distance == 0}
            self.rows = kept

    def _keep(self, name: str) -> Callable[[Image], None]:
        def take(message: Image) -> None:
            row = self.rows.get(_stamp(message))
            if row is not None:
                row.pictures[name] = image_to_bgr(message)

        return take

    def _take_truth(self, message: Image) -> None:
        self._labels.put(0, _stamp(message), _plane(message))

    def _take_labels(self, message: Image) -> None:
        now = self.get_clock().now()
        sent = Time.from_msg(message.header.stamp, clock_type=now.clock_type)
        self.latencies.append((now - sent).nanoseconds * 1e-6)
        self.arrivals.append(time.monotonic())
        self._labels.put(1, _stamp(message), _plane(message))

    def _compare_labels(
        self, stamp: Stamp, truth: NDArray[np.uint8], labels: NDArray[np.uint8]
    ) -> None:
        self.matrix.add(truth, labels)
        self.compared += 1

    def _take_grid(self, side: int) -> Callable[[OccupancyGrid], None]:
        def take(message: OccupancyGrid) -> None:
            shape = (message.info.height, message.info.width)
            cells = np.frombuffer(message.data, np.int8).reshape(shape)
            self._grids.put(side, _stamp(message), cells)

        return take

    def _compare_grids(
        self, stamp: Stamp, truth: NDArray[np.int8], cells: NDArray[np.int8]
    ) -> None:
        free = truth == FREE_CELL
        self.score.add(cells, free)
        self.grids_compared += 1
        row = self.rows.get(stamp)
        if row is not None:
            row.pictures['grid'] = grid_picture(cells)
            row.pictures['truth'] = grid_picture(marked_truth(cells, free))

    def _take_diagnostics(self, message: DiagnosticArray) -> None:
        for status in message.status:
            self.reports[status.name] += 1
            self.diagnostics[status.name] = {value.key: value.value for value in status.values}


def _stamp(message: Image | OccupancyGrid) -> Stamp:
    return message.header.stamp.sec, message.header.stamp.nanosec


def _plane(message: Image) -> NDArray[np.uint8]:
    """Pixels of a mono8 message whose rows have no padding, (H, W) uint8."""
    return np.frombuffer(message.data, np.uint8).reshape(message.height, message.width)
