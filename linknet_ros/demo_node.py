"""Subscribes as a planner would and keeps what the demo's report needs."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import numpy as np
import rclpy
from diagnostic_msgs.msg import DiagnosticArray
from numpy.typing import NDArray
from rclpy.node import Node
from rclpy.qos import QoSProfile, ReliabilityPolicy
from rclpy.time import Time
from sensor_msgs.msg import Image

from linknet_ros.metrics import ConfusionMatrix
from linknet_ros.ros_images import image_to_bgr

Stamp = tuple[int, int]

#: Frames shown on the contact sheet are kept this many frames apart at first; every time the
#: sheet is full, every second one goes and the distance doubles.
_FIRST_DISTANCE = 4

#: Messages that a subscription holds while this process computes.
_DEPTH = 20

#: Rows of the contact sheet, and the pictures in each.
ROWS = 4
PICTURES = ('frame', 'labels', 'overlay', 'drivable')


@dataclass
class Row:
    """Pictures of one frame for the contact sheet, and its number among those received."""

    number: int
    pictures: dict[str, NDArray[np.uint8]] = field(default_factory=dict)


class DemoNode(Node):
    """Counts labels, measures their latency, compares them with the truth where it is known.

    :param classes: number of classes of the model.
    """

    def __init__(self, classes: int) -> None:
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
        self._truth: dict[Stamp, NDArray[np.uint8]] = {}
        self._labels: dict[Stamp, NDArray[np.uint8]] = {}
        for topic, callback in (
            ('image', self._take_frame),
            ('ground_truth/labels', self._take_truth),
            ('linknet/labels', self._take_labels),
            ('linknet/color', self._keep('labels')),
            ('linknet/overlay', self._keep('overlay')),
            ('linknet/drivable', self._keep('drivable')),
        ):
            reliable = QoSProfile(depth=_DEPTH, reliability=ReliabilityPolicy.RELIABLE)
            self.create_subscription(Image, topic, callback, reliable)
        self.create_subscription(DiagnosticArray, '/diagnostics', self._take_diagnostics, 10)

    def spin(self, seconds: float) -> None:
        """Take what comes within a time, at most one message."""
        rclpy.spin_once(self, timeout_sec=seconds)

    def labels_offered(self) -> bool:
        """Whether a segmentation node is there."""
        return self.count_publishers('linknet/labels') > 0

    def complete_rows(self) -> list[list[NDArray[np.uint8]]]:
        """Rows of the contact sheet that have all their pictures, oldest first."""
        rows = [row.pictures for row in self.rows.values()]
        return [[row[name] for name in PICTURES] for row in rows if len(row) == len(PICTURES)]

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
        self._truth[_stamp(message)] = _plane(message)
        self._compare(_stamp(message))

    def _take_labels(self, message: Image) -> None:
        now = self.get_clock().now()
        sent = Time.from_msg(message.header.stamp, clock_type=now.clock_type)
        self.latencies.append((now - sent).nanoseconds * 1e-6)
        self.arrivals.append(time.monotonic())
        self._labels[_stamp(message)] = _plane(message)
        self._compare(_stamp(message))

    def _compare(self, stamp: Stamp) -> None:
        if stamp in self._truth and stamp in self._labels:
            self.matrix.add(self._truth.pop(stamp), self._labels.pop(stamp))
            self.compared += 1
        # What never finds its partner must not fill the memory.
        for kept in (self._truth, self._labels):
            while len(kept) > _DEPTH:
                del kept[min(kept)]

    def _take_diagnostics(self, message: DiagnosticArray) -> None:
        for status in message.status:
            self.reports[status.name] += 1
            self.diagnostics[status.name] = {value.key: value.value for value in status.values}


@contextmanager
def open_demo_node(classes: int) -> Iterator[DemoNode]:
    """A DemoNode for the length of a with block; its records can be read after it."""
    rclpy.init(args=[])
    node = DemoNode(classes)
    try:
        yield node
    finally:
        node.destroy_node()
        rclpy.try_shutdown()


def _stamp(message: Image) -> Stamp:
    return message.header.stamp.sec, message.header.stamp.nanosec


def _plane(message: Image) -> NDArray[np.uint8]:
    """Pixels of a mono8 message whose rows have no padding, (H, W) uint8."""
    return np.frombuffer(message.data, np.uint8).reshape(message.height, message.width)
