"""The results of the node's benchmark: medians, ratios, and which targets are reached."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping, Sequence
from typing import Any

#: Contenders: the node with a planner as its only subscriber, with all its images subscribed to,
#: and a node written the usual way, with a planner.
LABELS, ALL, USUAL = 'labels only', 'all outputs', 'usual node'

#: Of a row; each is None where it was not measured. Times are in ms, memory is in MB.
FIGURES = (
    *('fps', 'fps_ratio', 'latency_ms', 'latency_p90_ms', 'overhead_ms', 'overload_ms'),
    *('cpu_ms', 'extra_cpu_ms', 'rss_mb', 'pss_mb', 'peak_mb', 'camera_fps'),
)

#: Processor cores that others may use during a window; more, and it is measured again.
CALM = 0.15

#: Of one round: windows by contender and kind ('overload' with a camera that is faster than the
#: node, 'paced' with one that it can follow, 'camera' with one of 30 frames per second), and under
#: 'backend' the back end alone.
Round = Mapping[str, Any]


def row(size: str, contender: str, rounds: Sequence[Round]) -> dict[str, Any]:
    """One line of the table: medians over the rounds of what was computed within each.

    :returns: 'size', 'contender' and FIGURES; 'others', the most cores that other processes used
        in a window or in the back end's; 'ranges', lowest and highest of the rounds, for the
        two figures that targets are about.
    """
    found = [_of_round(r['backend'], r[contender]) for r in rounds if contender in r]
    figures = {name: _median([f[name] for f in found]) for name in FIGURES}
    ranges = {name: _range([f[name] for f in found]) for name in ('fps_ratio', 'overhead_ms')}
    windows = [w for r in rounds if contender in r for w in r[contender].values()]
    others = max(w['others'] for w in [*windows, *(r['backend'] for r in rounds)])
    own = {'size': size, 'contender': contender, 'others': others, 'ranges': ranges}
    return {**own, **figures}


def backend_row(size: str, rounds: Sequence[Round]) -> dict[str, Any]:
    """The back end alone at one size: 'size', 'infer_ms', 'paced_ms', 'fps' and 'cpu_ms'."""
    names = ('infer_ms', 'paced_ms', 'fps', 'cpu_ms')
    return {'size': size, **{n: _median([r['backend'][n] for r in rounds]) for n in names}}


def _of_round(backend: Mapping[str, Any], windows: Mapping[str, Any]) -> dict[str, float | None]:
    overload, paced = windows['overload'], windows.get('paced')
    figures: dict[str, float | None] = dict.fromkeys(FIGURES)
    figures |= {name: overload[name] for name in ('fps', 'cpu_ms', 'camera_fps')}
    figures['fps_ratio'] = overload['fps'] / backend['fps']
    figures['overload_ms'] = overload['latency_ms']
    figures['extra_cpu_ms'] = overload['cpu_ms'] - backend['cpu_ms']
    for name in ('rss_mb', 'pss_mb', 'peak_mb'):
        figures[name] = max(window[name] for window in windows.values())
    if paced is not None:
        figures |= {name: paced[name] for name in ('latency_ms', 'latency_p90_ms')}
        # What the node and the middleware add to the network itself, in this very round, each at
        # 60 % of what it can do.
        figures['overhead_ms'] = paced['latency_ms'] - backend['paced_ms']
    return figures


def versus(rounds: Sequence[Round]) -> dict[str, float | None]:
    """The node against the usual one, labels only, with the same camera.

    :returns: overloaded 'times_fps', how many times its throughput, and 'share_of_latency', its
        latency as a share of the other's; the same with a usual camera, 'share_with_camera';
        medians of the rounds' ratios, None without the other.
    """

    def ratio(window: str, figure: str) -> float | None:
        pairs = [(r[LABELS][window], r[USUAL][window]) for r in rounds if USUAL in r]
        return _median([mine[figure] / other[figure] for mine, other in pairs])

    return {
        'share_with_camera': ratio('camera', 'latency_ms'),
        'times_fps': ratio('overload', 'fps'),
        'share_of_latency': ratio('overload', 'latency_ms'),
    }


def targets(
    rows: Sequence[Mapping[str, Any]], versus_by_size: Mapping[str, Mapping[str, float | None]]
) -> list[dict[str, Any]]:
    """The targets: 'name', 'wanted', 'measured' (None if not), 'reached' (None if not).

    Against the usual node, the worst size counts.
    """

    def of(size: str, figure: str) -> float | None:
        found = (r[figure] for r in rows if (r['size'], r['contender']) == (size, LABELS))
        return next(found, None)

    def worst(figure: str, choose: Callable[[list[float]], float]) -> float | None:
        values = [v for by in versus_by_size.values() if (v := by[figure]) is not None]
        return choose(values) if values else None

    ratio, overhead = of('480x360', 'fps_ratio'), of('1280x720', 'overhead_ms')
    return [
        _target('480x360: frames/s, labels only, by back end alone', 0.9, ratio, at_least=True),
        _target('1280x720: latency beyond inference, labels only, ms', 6.0, overhead),
        _target('frames/s under overload, by usual node', 5.0, worst('times_fps', min), True),
        _target('latency under overload, by usual node', 0.1, worst('share_of_latency', max)),
    ]


def _target(
    name: str, limit: float, measured: float | None, at_least: bool = False
) -> dict[str, Any]:
    reached = None
    if measured is not None:
        reached = measured >= limit if at_least else measured <= limit
    wanted = f'{"at least" if at_least else "at most"} {limit:g}'
    return {'name': name, 'wanted': wanted, 'measured': measured, 'reached': reached}


def doubt(rows: Sequence[Mapping[str, Any]]) -> str:
    """A line about what makes the figures doubtful; empty where nothing does."""
    slow = [r for r in rows if r['fps'] is not None and r['camera_fps'] < 1.1 * r['fps']]
    if slow:
        name = f'{slow[0]["contender"]} at {slow[0]["size"]}'
        return f'the camera could not overload the node ({name}): its frames/s are a lower bound'
    others = max((r['others'] for r in rows), default=0.0)
    if others > CALM:
        return (
            f'other processes used up to {others:.1f} cores meanwhile, more than the {CALM:g} of '
            'a calm machine: the figures are theirs as well; try again, or with more --patience'
        )
    ranges = [r['ranges']['fps_ratio'] for r in rows if r['ranges']['fps_ratio'] is not None]
    if any(high > 1.25 * low for low, high in ranges):
        return 'rounds differ by more than a quarter: the machine is busy; try again with more'
    return ''


def _median(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return statistics.median(known) if known else None


def _range(values: Sequence[float | None]) -> tuple[float, float] | None:
    known = [value for value in values if value is not None]
    return (min(known), max(known)) if known else None
