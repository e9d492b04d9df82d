"""/diagnostics: the statistics of the frames, and what is wrong with clocks and QoS."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue
from rclpy.clock import Clock, ClockType
from rclpy.node import Node

from linknet_ros.node.clock_watch import STAMP_AHEAD, STAMP_BEHIND, ClockWatch
from linknet_ros.node.statistics import Drop, Snapshot
from linknet_ros.ros.qos import qos_faults

#: Without a frame for this long the camera counts as silent; seconds.
STALE_AFTER = 2.0

#: QoS is checked with every so many messages: asking the graph is not free, and nothing there
#: changes often.
_QOS_EVERY = 5

#: Drops that say that something is wrong; the others are how the node is meant to work.
_FAULTS = (Drop.BAD_FRAME, Drop.TOO_OLD, Drop.FAILED)


@dataclass(frozen=True)
class Report:
    """What is said of the node, or of one of its cameras.

    :param camera: its name; '' for the only one, and for the node.
    :param snapshot: from its Statistics; None for the node.
    :param settings: what it runs with, e.g. {'backend': 'openvino'}.
    :param faults: what is wrong apart from the frames, a line each.
    """

    camera: str
    snapshot: Snapshot | None
    settings: Mapping[str, str]
    faults: Sequence[str] = ()


class Diagnostics:
    """Publisher of /diagnostics.

    :ivar steady: the clock that cannot be set.
    """

    def __init__(self, node: Node) -> None:
        self._node = node
        self._publisher = node.create_publisher(DiagnosticArray, '/diagnostics', 10)
        self._clock_watch = ClockWatch()
        self.steady = Clock(clock_type=ClockType.STEADY_TIME)
        self._qos_faults: list[str] = []
        self._published = 0

    def publish(self, state: str, about: Report, cameras: Sequence[Report]) -> None:
        """Publish, about once a second: a status of the node, and one of each named camera.

        :param state: lifecycle state, e.g. 'active'.
        :param about: the node; together with the camera if it has no name.
        """
        node = self._node
        now = node.get_clock().now()
        simulated = node.get_parameter('use_sim_time').value
        fault = self._clock_watch.check(
            now.nanoseconds * 1e-9, self.steady.now().nanoseconds * 1e-9, simulated=simulated
        )
        if self._published % _QOS_EVERY == 0:
            before, self._qos_faults = self._qos_faults, qos_faults(node)
            for line in self._qos_faults:
                if line not in before:
                    node.get_logger().warning(line)
        self._published += 1
        clock = {
            'use_sim_time': str(simulated).lower(),
            'clock jumps': str(self._clock_watch.jumps),
        }
        settings = {**about.settings, **clock}
        faults = [*about.faults, *([fault] if fault else []), *self._qos_faults]
        [first, *_] = cameras
        reports = [Report('', None, settings, faults), *cameras]
        if not first.camera:
            faults += first.faults
            reports = [Report('', first.snapshot, {**settings, **first.settings}, faults)]
        name = node.get_fully_qualified_name().lstrip('/')
        array = DiagnosticArray(status=[diagnostic_status(name, state, r) for r in reports])
        array.header.stamp = now.to_msg()
        self._publisher.publish(array)


def diagnostic_status(node_name: str, state: str, report: Report) -> DiagnosticStatus:
    """A report as a status, named `node: subcomponent` (REP 107), or `node/camera: ...`.

    :param state: lifecycle state of the node, e.g. 'active'.
    """
    snapshot, settings = report.snapshot, report.settings
    level, message = _summary(state, report)
    values = {'state': state, **settings, **(_counts(snapshot) if snapshot is not None else {})}
    return DiagnosticStatus(
        level=level,
        name=f'{node_name}/{report.camera}'.rstrip('/') + ': segmentation',
        message=message,
        hardware_id=settings.get('backend', ''),
        values=[KeyValue(key=key, value=value) for key, value in values.items()],
    )


def _counts(snapshot: Snapshot) -> dict[str, str]:
    values = {
        'input fps': f'{snapshot.input_fps:.1f}',
        'output fps': f'{snapshot.output_fps:.1f}',
        'received': str(snapshot.received),
        'published': str(snapshot.published),
    }
    values |= {f'dropped, {d.value}': str(snapshot.dropped.get(d, 0)) for d in Drop}
    values |= {f'{stage} ms': f'{ms:.1f}' for stage, ms in snapshot.stage_ms.items()}
    if snapshot.latency_ms is not None:
        values['latency ms'] = f'{snapshot.latency_ms:.1f}'
    return values


def _summary(state: str, report: Report) -> tuple[bytes, str]:
    snapshot = report.snapshot
    if state != 'active':
        return DiagnosticStatus.OK, state
    if report.settings.get('enabled') == 'false':
        return DiagnosticStatus.OK, 'disabled by ~/enable'
    problems = [*report.faults, *(_frame_faults(snapshot) if snapshot is not None else ())]
    if problems:
        return DiagnosticStatus.WARN, '; '.join(problems)
    if snapshot is None:
        return DiagnosticStatus.OK, state
    if not snapshot.output_fps and snapshot.new_drops.get(Drop.NO_SUBSCRIBER):
        return DiagnosticStatus.OK, 'idle: nobody subscribes'
    return DiagnosticStatus.OK, f'{snapshot.output_fps:.1f} frames per second'


def _frame_faults(snapshot: Snapshot) -> Iterator[str]:
    for reason in _FAULTS:
        if snapshot.new_drops.get(reason):
            yield f'{snapshot.new_drops[reason]} x {reason.value}'
    if snapshot.input_age is None:
        yield 'no frame yet; is the image topic right?'
    elif snapshot.input_age > STALE_AFTER:
        yield f'no frame for {snapshot.input_age:.0f} s'
    if snapshot.stage_ms and snapshot.latency_ms is None:
        yield 'frames have no stamp, so nobody knows how old they are; check the camera driver'
    elif snapshot.latency_ms is not None and snapshot.latency_ms < -1000 * STAMP_AHEAD:
        yield (
            f'stamps are {-snapshot.latency_ms / 1000:.1f} s ahead of the clock; synchronise the '
            "camera's clock"
        )
    elif snapshot.latency_ms is not None and snapshot.latency_ms > 1000 * STAMP_BEHIND:
        yield (
            f'stamps are {snapshot.latency_ms / 1000:.0f} s behind the clock; synchronise the '
            "camera's clock, or for a recording set use_sim_time"
        )
