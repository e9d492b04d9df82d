"""What the view says beside its pictures: states in plain words, numbers, parameters, legend."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

#: Pictures of the view.
CHANNELS = ('camera', 'overlay', 'grid')

#: Parameters that the view may change, all of them numbers from 0 to 1.
SLIDERS = ('overlay_opacity', 'min_confidence')

#: Seconds without a picture after which it counts as old, and without diagnostics (which come
#: every second) after which the node counts as silent.
OLD_AFTER, SILENT_AFTER = 2.0, 3.5

#: What brings a node out of a lifecycle state.
_TRANSITIONS = {'unconfigured': 'configure', 'inactive': 'activate'}


@dataclass(frozen=True)
class Report:
    """The node's newest diagnostics.

    :param time: when they came, of time.monotonic.
    :param fault: whether they are a warning or worse.
    :param message: their summary.
    :param values: by key, as ros_diagnostics has them.
    """

    time: float
    fault: bool
    message: str
    values: Mapping[str, str]


@dataclass(frozen=True)
class LegendEntry:
    """One class: its name, (red, green, blue), and whether the node takes it for drivable."""

    name: str
    color: tuple[int, int, int]
    drivable: bool


@dataclass(frozen=True)
class Facts:
    """What is known beside the pictures.

    :param node: full name of the segmentation node.
    :param since: when somebody began to look, of time.monotonic; None while nobody does.
    :param present: whether the ROS graph has the node; None before it was asked.
    :param report: newest diagnostics.
    :param camera: topic that the node takes frames from; '' while it listens to none.
    :param senders: number of its publishers.
    :param parameters: values of SLIDERS that the node has now.
    :param legend: classes in the order of their ids.
    :param legend_problem: why there is no legend.
    """

    node: str
    since: float | None = None
    present: bool | None = None
    report: Report | None = None
    camera: str = ''
    senders: int = 0
    parameters: Mapping[str, float] = field(default_factory=dict)
    legend: tuple[LegendEntry, ...] = ()
    legend_problem: str = ''


def status_of(facts: Facts, times: Mapping[str, float], now: float) -> dict[str, Any]:
    """All of it, ready for JSON.

    :param times: when the newest picture of each channel came.
    :param now: of time.monotonic, as all times.
    """
    level, text = _note(facts, now)
    report = facts.report if facts.report and now - facts.report.time <= SILENT_AFTER else None
    return {
        'now': now,
        'node': facts.node,
        'level': level,
        'note': text,
        'hints': dict(_hints(facts, times, now)),
        'values': dict(report.values) if report else {},
        # Of a node that is silent nobody knows what it has.
        'parameters': {name: facts.parameters.get(name) if report else None for name in SLIDERS},
        'legend': [
            {'name': entry.name, 'color': list(entry.color), 'drivable': entry.drivable}
            for entry in facts.legend
        ],
        'legend_problem': facts.legend_problem,
    }


def _watched(facts: Facts, now: float) -> float:
    return 0.0 if facts.since is None else now - facts.since


def _note(facts: Facts, now: float) -> tuple[str, str]:
    """Level (ok, wait, warn or error) and one sentence on the node."""
    node, report = facts.node, facts.report
    if report is None or now - report.time > SILENT_AFTER:
        if _watched(facts, now) < SILENT_AFTER:
            return 'wait', f'looking for {node}'
        if not facts.present:
            return 'error', (
                f'no node {node} here; start it (ros2 launch linknet_ros segment.launch.py), or '
                'name it: parameter `node` of the view. ROS_DOMAIN_ID must be the same'
            )
        silent = 'sends no diagnostics'
        if report is not None:
            silent = f'has been silent for {now - report.time:.0f} s'
        return 'error', f'{node} {silent}; it hangs, has died, or cannot be reached'
    state = report.values.get('state', '')
    if state in _TRANSITIONS:
        way = f'ros2 lifecycle set {node} {_TRANSITIONS[state]}'
        return 'warn', f'{node} is {state} and takes no frames; {way}'
    if state != 'active':
        return 'warn', f"{node} is in state '{state}' and takes no frames"
    return 'warn' if report.fault else 'ok', report.message


def _hints(facts: Facts, times: Mapping[str, float], now: float) -> Iterator[tuple[str, str]]:
    """Why a picture is missing or old, by channel; nothing for one that is fresh."""
    ages = {channel: now - times[channel] for channel in CHANNELS if channel in times}
    old = [channel for channel in CHANNELS if ages.get(channel, OLD_AFTER) >= OLD_AFTER]
    for channel in old:
        if channel not in ages and _watched(facts, now) < OLD_AFTER:
            yield channel, 'waiting'
        elif channel == 'camera':
            yield channel, _camera_hint(facts, ages.get(channel))
        elif channel == 'overlay' and 'camera' in old:
            yield channel, 'the node gets no frames'
        elif channel == 'grid' and channel not in ages:
            yield (
                channel,
                (
                    'no grid so far; the node makes one of camera_info and the place of the '
                    'camera (ground.height), see docs/nav2.md'
                ),
            )
        else:
            yield channel, f'no {channel}{_for(ages.get(channel))}'


def _camera_hint(facts: Facts, age: float | None) -> str:
    if not facts.camera:
        return 'the node listens to no camera'
    if not facts.senders:
        return f'nobody publishes on {facts.camera}'
    return f'no frame on {facts.camera}{_for(age)}'


def _for(age: float | None) -> str:
    return ' so far' if age is None else f' for {age:.0f} s'
