"""The benchmark's results as a table and as a picture."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from linknet_ros.errors import LinknetError

#: Of a row, each None for a cell that could not be measured.
FIGURES = ('median_ms', 'p90_ms', 'fps', 'ratio', 'ratio_range', 'ready_s', 'peak_mb', 'held_mb')

_NONE = '-'

#: Highest by lowest ratio of the rounds up to which they agree.
_AGREED = 1.25


def table(rows: list[dict[str, Any]], reference: str) -> str:
    """Markdown table of the rows.

    :param rows: of `benchmark.benchmark`.
    :param reference: contender that ratios and labels are compared with.
    """
    lines = [
        f'| size | back end | median, ms | p90, ms | frames/s | x {reference} | ready after, s '
        f'| peak memory, MB | held, MB | labels as {reference}, % |',
        '|---|---|---|---|---|---|---|---|---|---|',
    ]
    for row in rows:
        cells = [
            row['size'],
            row['contender'],
            *(number(row['median_ms'], '.1f'), number(row['p90_ms'], '.1f')),
            *(number(row['fps'], '.1f'), _ratio(row)),
            *(number(row['ready_s'], '.1f'), number(row['peak_mb'], '.0f')),
            number(row['held_mb'], '.0f'),
            number(row['agreement'], '.3f', 100),
        ]
        lines.append(f'| {" | ".join(cells)} |')
    return '\n'.join(lines)


def models_table(rows: list[dict[str, Any]]) -> str:
    """Markdown table of model files side by side.

    :param rows: of `models.compare`.
    """
    first = rows[0]['model']
    lines = [
        f'| network | size | parameters, M | GMAC | back end | median, ms | x {first} | frames/s '
        '| labels as in fp32, % | mIoU | drivable IoU |',
        '|---|---|---|---|---|---|---|---|---|---|---|',
    ]
    for row in rows:
        cells = [
            *(row['model'], row['size'], number(row['parameters'], '.2f', 1e-6)),
            *(number(row['macs'], '.2f', 1e-9), row['contender']),
            *(number(row['median_ms'], '.1f'), _ratio(row), number(row['fps'], '.1f')),
            number(row['as_fp32'], '.2f', 100),
            *(number(row[name], '.3f') for name in ('miou', 'drivable')),
        ]
        lines.append(f'| {" | ".join(cells)} |')
    return '\n'.join(lines)


def _ratio(row: dict[str, Any]) -> str:
    """The ratio, and where the rounds differ visibly, from where to where."""
    if row['ratio'] is None:
        return _NONE
    low, high = (f'{bound:.2f}' for bound in row['ratio_range'])
    return f'{row["ratio"]:.2f}' + (f' ({low} to {high})' if low != high else '')


def number(value: float | None, form: str, factor: float = 1) -> str:
    """A figure of a table, '-' where there is none."""
    return _NONE if value is None else format(factor * value, form)


def doubt(rows: list[dict[str, Any]]) -> str:
    """A line for ratios that the rounds do not agree on; empty where they do."""
    ranges = [row['ratio_range'] for row in rows if row['ratio_range'] is not None]
    doubtful = sum(high > _AGREED * low for low, high in ranges)
    if not doubtful:
        return ''
    return (
        f'{doubtful} of {len(ranges)} ratios differ by more than a quarter between rounds: the '
        'machine is busy; trust none of the times, or try again with more --rounds and --frames'
    )


def empty_figure(width: float, height: float) -> Any:
    """A figure of matplotlib, in inches.

    :raises LinknetError: where matplotlib is missing or broken.
    """
    try:
        # Not among what a robot needs.
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except Exception as error:  # one that was built for another NumPy raises what it likes
        raise LinknetError(f'no plot: {error}; pip install matplotlib') from error
    figure = Figure(figsize=(width, height), layout='constrained')
    FigureCanvasAgg(figure)
    return figure


def plot(rows: list[dict[str, Any]], path: Path) -> None:
    """Draw median latency, with its 90th percentile, and memory, by size and contender.

    :raises LinknetError: where matplotlib is missing or broken.
    """
    sizes = list(dict.fromkeys(row['size'] for row in rows))
    contenders = list(dict.fromkeys(row['contender'] for row in rows))
    figure = empty_figure(11, 4.5)
    latency, memory = figure.subplots(1, 2)
    width = 0.8 / len(contenders)
    for index, contender in enumerate(contenders):
        mine = [r for r in rows if r['contender'] == contender and r['median_ms'] is not None]
        places = [sizes.index(r['size']) - 0.4 + (index + 0.5) * width for r in mine]
        medians = [r['median_ms'] for r in mine]
        beyond = [r['p90_ms'] - r['median_ms'] for r in mine]
        errors = [[0.0] * len(mine), beyond]
        latency.bar(places, medians, width, yerr=errors, capsize=3, label=contender)
        memory.bar(places, [r['peak_mb'] or 0 for r in mine], width)
    latency.set_title('latency of a frame: median, whisker to p90 [ms]')
    memory.set_title('peak memory of the back end [MB]')
    latency.legend()
    for axes in (latency, memory):
        axes.set_xticks(range(len(sizes)), sizes)
        axes.grid(axis='y', alpha=0.3)
        axes.set_axisbelow(True)
    figure.savefig(path, dpi=120)
