"""The node's benchmark as tables and as a picture."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from linknet_ros.benchmark.node_figures import USUAL
from linknet_ros.benchmark.report import empty_figure, number

Rows = Sequence[Mapping[str, Any]]

#: Title and figure of each column, its form, and the back end's value for it.
_COLUMNS = (
    ('frames/s', 'fps', '.1f', 'fps'),
    ('by back end', 'fps_ratio', '.2f', None),
    ('latency, ms', 'latency_ms', '.1f', 'paced_ms'),
    ('p90, ms', 'latency_p90_ms', '.1f', None),
    ('beyond inference, ms', 'overhead_ms', '.1f', None),
    ('latency under overload, ms', 'overload_ms', '.0f', None),
    ('CPU, ms a frame', 'cpu_ms', '.0f', 'cpu_ms'),
    ('RSS, MB', 'rss_mb', '.0f', None),
    ('PSS, MB', 'pss_mb', '.0f', None),
    ('peak, MB', 'peak_mb', '.0f', None),
)


def table(
    backends: Rows, rows: Rows, against: Mapping[str, Mapping[str, float | None]], goals: Rows
) -> str:
    """Markdown: the figures by size, the node against the usual one, and the targets.

    :param backends: of `backend_row`.
    :param rows: of `row`.
    :param against: of `versus`, by size.
    :param goals: of `targets`.
    """
    titles = ['camera', '', *(title for title, *_ in _COLUMNS)]
    lines = [_line(titles), '|---' * len(titles) + '|']
    for backend in backends:
        cells = [number(backend[name] if name else None, f) for _, _, f, name in _COLUMNS]
        lines.append(_line([backend['size'], 'back end alone', *cells]))
        for row in rows:
            if row['size'] == backend['size']:
                figures = [number(row[name], form) for _, name, form, _ in _COLUMNS]
                lines.append(_line([row['size'], row['contender'], *figures]))
    lines.append('')
    for size, found in against.items():
        if found['times_fps'] is not None:
            lines.append(
                f'{size}, overloaded: {found["times_fps"]:.1f} times the frames/s of the usual '
                f'node, {found["share_of_latency"]:.3f} of its latency; with a camera of 30 '
                f'frames/s, {found["share_with_camera"]:.3f}'
            )
    for goal in goals:
        said = {None: 'not measured', True: 'reached', False: 'NOT reached'}[goal['reached']]
        measured = number(goal['measured'], '.3f')
        lines.append(f'{said}: {goal["name"]}: {measured}, wanted {goal["wanted"]}')
    return '\n'.join(lines)


def _line(cells: Sequence[str]) -> str:
    return f'| {" | ".join(cells)} |'


def plot(backends: Rows, rows: Rows, path: Path) -> None:
    """Draw throughput, latency by what it is made of, latency under overload, processor time.

    :raises LinknetError: where matplotlib is missing or broken.
    """
    sizes = [backend['size'] for backend in backends]
    infer = {backend['size']: backend['paced_ms'] for backend in backends}
    contenders = list(dict.fromkeys(row['contender'] for row in rows))
    figure = empty_figure(11, 8)
    (throughput, latency), (overload, cpu) = figure.subplots(2, 2)
    width = 0.8 / (1 + len(contenders))

    def bars(axes: Any, index: int, mine: Rows, figure: str, **more: Any) -> None:
        known = [r for r in mine if r[figure] is not None]
        places = [sizes.index(r['size']) - 0.4 + (index + 0.5) * width for r in known]
        drawn = axes.bar(places, [r[figure] for r in known], width, **more)
        axes.bar_label(drawn, fmt='%.3g', fontsize=8, padding=1)

    for axes, figure_name in ((throughput, 'fps'), (latency, 'paced_ms'), (cpu, 'cpu_ms')):
        bars(axes, 0, backends, figure_name, label='back end alone', color='0.6')
    for index, contender in enumerate(contenders, 1):
        mine = [r for r in rows if r['contender'] == contender]
        style = {'label': contender, 'color': f'C{index - 1}'}
        bars(throughput, index, mine, 'fps', **style)
        bars(overload, index, mine, 'overload_ms', **style)
        bars(cpu, index, mine, 'cpu_ms', **style)
        if contender != USUAL:
            bars(latency, index, mine, 'latency_ms', **style)
            # The part that is the network's, over the bar of the whole.
            places = [sizes.index(r['size']) - 0.4 + (index + 0.5) * width for r in mine]
            latency.bar(places, [infer[r['size']] for r in mine], width, color='0.6', alpha=0.5)
    throughput.set_title('frames per second, camera faster than the node')
    latency.set_title('latency, camera at 60 % of that [ms]; grey: inference')
    overload.set_title('latency, camera faster than the node [ms]')
    overload.set_yscale('log')
    cpu.set_title('processor time of a frame [ms]')
    throughput.legend()
    for axes in (throughput, latency, overload, cpu):
        axes.set_xticks(range(len(sizes)), sizes)
        axes.grid(axis='y', alpha=0.3)
        axes.set_axisbelow(True)
        axes.margins(y=0.15)
    figure.savefig(path, dpi=110)
