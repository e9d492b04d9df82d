"""What the page says beside its pictures: states in plain words, numbers, parameters, legend."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

#: Pictures of the page.
CHANNELS = ('camera', 'overlay', 'grid')

#: Parameters of the node that the page may change, all of them numbers from 0 to 1.
SLIDERS = ('overlay_opacity', 'min_confidence')

#: Seconds after which a picture counts as old, and seconds without diagnostics (published every
#: second) after which the node counts as silent.
OLD_AFTER, SILENT_AFTER = 2.0, 3.5

#: Transition that leads out of a lifecycle state.
_TRANSITIONS = {'unconfigured': 'configure', 'inactive': 'activate'}


@dataclass(frozen=True)
class Diagnostics:
    """The node's newest diagnostics.

    :param time: when they arrived, on the clock of time.monotonic [s].
    :param fault: whether their level is a warning or worse.
    :param message: their summary.
    :param values: values by key, see node.diagnostics.
    """

    time: float
    fault: bool
    message: str
    values: Mapping[str, str]


@dataclass(frozen=True)
class LegendEntry:
    """One class: its name, its (red, green, blue), and whether the node drives on it."""

    name: str
    color: tuple[int, int, int]
    drivable: bool


@dataclass(frozen=True)
class Facts:
    """What is known beside the pictures.

    :param node: full name of the segmentation node.
    :param watched_since: since when a page is visible, on the clock of time.monotonic [s]; None
        while none is.
    :param present: whether the node is in the ROS graph; None if not known yet.
    :param diagnostics: the newest diagnostics.
    :param camera: topic that the node takes frames from; '' while it subscribes to none.
    :param publishers: number of publishers of that topic.
    :param parameters: current values of SLIDERS.
    :param legend: classes in the order of their ids.
    :param legend_problem: why there is no legend.
    """

    node: str
    watched_since: float | None = None
    present: bool | None = None
    diagnostics: Diagnostics | None = None
    camera: str = ''
    publishers: int = 0
    parameters: Mapping[str, float] = field(default_factory=dict)
    legend: tuple[LegendEntry, ...] = ()
    legend_problem: str = ''


def status_of(facts: Facts, times: Mapping[str, float], now: float) -> dict[str, Any]:
    """Everything but the pictures, ready for JSON.

    :param times: when the newest picture of each channel arrived [s].
    :param now: the time, on the clock of time.monotonic like all times here [s].
    """
    level, text = _note(facts, now)
    diagnostics = facts.diagnostics
    if diagnostics is not None and now - diagnostics.time > SILENT_AFTER:
        diagnostics = None
    return {
        'now': now,
        'node': facts.node,
        'level': level,
        'note': text,
        'hints': dict(_hints(facts, times, now)),
        'values': dict(diagnostics.values) if diagnostics else {},
        # Nobody knows the parameters of a node that is silent.
        'parameters': {
            name: facts.parameters.get(name) if diagnostics else None for name in SLIDERS
        },
        'legend': [
            {'name': entry.name, 'color': list(entry.color), 'drivable': entry.drivable}
            for entry in facts.legend
        ],
        'legend_problem': facts.legend_problem,
    }


def _watched_for(facts: Facts, now: float) -> float:
    return 0.0 if facts.watched_since is None else now - facts.watched_since


def _note(facts: Facts, now: float) -> tuple[str, str]:
    """Level (ok, wait, warn or error) and one sentence about the node."""
    node, newest = facts.node, facts.diagnostics
    if newest is None or now - newest.time > SILENT_AFTER:
        if _watched_for(facts, now) < SILENT_AFTER:
            return 'wait', f'looking for {node}'
        if not facts.present:
            return 'error', (
                f'{node} is not running; start it (ros2 launch linknet_ros segment.launch.py), or '
                'set the parameter node of the view to its name. ROS_DOMAIN_ID must be the same'
            )
        silent = 'publishes no diagnostics'
        if newest is not None:
            silent = f'has been silent for {now - newest.time:.0f} s'
        return 'error', f'{node} {silent}; it hangs, has died, or cannot be reached'
    state = newest.values.get('state', '')
    if state in _TRANSITIONS:
        fix = f'ros2 lifecycle set {node} {_TRANSITIONS[state]}'
        return 'warn', f'{node} is {state} and takes no frames; {fix}'
    if state != 'active':
        return 'warn', f"{node} is in state '{state}' and takes no frames"
    return 'warn' if newest.fault else 'ok', newest.message


def _hints(facts: Facts, times: Mapping[str, float], now: float) -> Iterator[tuple[str, str]]:
    """Why a picture is missing or old, by channel; nothing for one that is fresh."""
    ages = {channel: now - times[channel] for channel in CHANNELS if channel in times}
    old = [channel for channel in CHANNELS if ages.get(channel, OLD_AFTER) >= OLD_AFTER]
    for channel in old:
        if channel not in ages and _watched_for(facts, now) < OLD_AFTER:
            yield channel, 'waiting'
        elif channel == 'camera':
            yield channel, _camera_hint(facts, ages.get(channel))
        elif channel == 'overlay' and 'camera' in old:
            yield channel, 'the node gets no frames'
        elif channel == 'grid' and channel not in ages:
            yield (
                channel,
                (
                    'no grid so far; the node needs camera_info and the mount of the camera '
                    '(ground.height), see docs/nav2.md'
                ),
            )
        else:
            yield channel, f'no {channel}{_for(ages.get(channel))}'


def _camera_hint(facts: Facts, age: float | None) -> str:
    if not facts.camera:
        return 'the node subscribes to no camera'
    if not facts.publishers:
        return f'nobody publishes {facts.camera}'
    return f'no frame on {facts.camera}{_for(age)}'


def _for(age: float | None) -> str:
    return ' so far' if age is None else f' for {age:.0f} s'
