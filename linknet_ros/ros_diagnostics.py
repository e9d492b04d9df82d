"""Statistics as diagnostic messages."""

from __future__ import annotations

from collections.abc import Mapping

from builtin_interfaces.msg import Time
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue

from linknet_ros.frame_statistics import Drop, Snapshot

#: Without a frame for this long the camera counts as silent; seconds.
STALE_AFTER = 2.0

#: Drops that say that something is wrong; the others are how the node is meant to work.
_FAULTS = (Drop.BAD_FRAME, Drop.FAILED)


def diagnostic_array(
    stamp: Time,
    node_name: str,
    state: str,
    snapshot: Snapshot,
    settings: Mapping[str, str],
    fault: str = '',
) -> DiagnosticArray:
    """The node's state as one status, named `node: subcomponent` (REP 107).

    :param state: lifecycle state, as 'active'.
    :param snapshot: from Statistics.
    :param settings: what the node runs with, as {'backend': 'openvino'}.
    :param fault: what is wrong beside the frames, empty for nothing.
    """
    level, message = _summary(state, snapshot, fault)
    values = {'state': state, **settings}
    values |= {
        'input fps': f'{snapshot.input_fps:.1f}',
        'output fps': f'{snapshot.output_fps:.1f}',
        'received': str(snapshot.received),
        'published': str(snapshot.published),
    }
    values |= {f'dropped, {d.value}': str(snapshot.dropped.get(d, 0)) for d in Drop}
    values |= {f'{stage} ms': f'{ms:.1f}' for stage, ms in snapshot.stage_ms.items()}
    status = DiagnosticStatus(
        level=level,
        name=f'{node_name}: segmentation',
        message=message,
        hardware_id=settings.get('backend', ''),
        values=[KeyValue(key=key, value=value) for key, value in values.items()],
    )
    array = DiagnosticArray(status=[status])
    array.header.stamp = stamp
    return array


def _summary(state: str, snapshot: Snapshot, fault: str) -> tuple[bytes, str]:
    if state != 'active':
        return DiagnosticStatus.OK, state
    if fault:
        return DiagnosticStatus.WARN, fault
    faults = [f'{snapshot.new_drops[d]} x {d.value}' for d in _FAULTS if snapshot.new_drops.get(d)]
    if faults:
        return DiagnosticStatus.WARN, ', '.join(faults)
    if snapshot.input_age is None:
        return DiagnosticStatus.WARN, 'no frame yet; is the image topic right?'
    if snapshot.input_age > STALE_AFTER:
        return DiagnosticStatus.WARN, f'no frame for {snapshot.input_age:.0f} s'
    if not snapshot.output_fps and snapshot.new_drops.get(Drop.NO_SUBSCRIBER):
        return DiagnosticStatus.OK, 'idle: nobody subscribes'
    return DiagnosticStatus.OK, f'{snapshot.output_fps:.1f} frames per second'
