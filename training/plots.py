"""Curves of a run and confusion matrices, as PNG files and as text for a terminal."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from linknet_ros.errors import LinknetError
from training.reliability import Reliability

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

History = Sequence[dict[str, float]]

#: Start of the keys of IoU per class in a history, as RunLog writes them.
_CLASS_IOU = 'iou/'

#: Column of a confusion matrix for predictions that name no class.
_NO_CLASS = 'no class'

_BARS = '▁▂▃▄▅▆▇█'


def plot_curves(history: History, path: Path) -> None:
    """Draw loss, learning rate, mean IoU and class IoU over the epochs.

    :param history: entries of a RunLog; values that an entry does not have are left out.
    :param path: PNG to write.
    :raises LinknetError: when matplotlib is missing or no epoch is in the history.
    """
    epochs = _epochs(history)
    class_keys = [key for key in _keys(history) if key.startswith(_CLASS_IOU)]
    panels = [
        (key, label)
        for key, label in (('loss', 'training loss'), ('learning_rate', 'learning rate'))
        if key in _keys(history)
    ]
    # Each label beside the curves needs a line of text.
    iou_height = max(4.2, 0.17 * (len(class_keys) + 1))
    heights = [*([1.8] * len(panels)), iou_height]
    figure = _new_figure(9.5, sum(heights) + 0.8)
    *above, iou = figure.subplots(
        len(heights), 1, sharex=True, squeeze=False, height_ratios=heights
    )[:, 0]
    for axes, (key, label) in zip(above, panels, strict=True):
        _plot_line(axes, epochs, _values(history, key), color='black')
        axes.set_ylabel(label)
        axes.set_ylim(bottom=0)
        axes.ticklabel_format(axis='y', scilimits=(-2, 4), useMathText=True)
        axes.grid(alpha=0.3)
    _draw_iou(iou, history, class_keys, 0.16 / iou_height)
    # A single epoch has no width.
    iou.set_xlim(epochs[0] - (epochs.size == 1), epochs[-1] + (epochs.size == 1))
    figure.align_ylabels()
    figure.savefig(path)


def _draw_iou(axes: Axes, history: History, class_keys: list[str], gap: float) -> None:
    """Class IoU and their mean, each with its name and last value to the right.

    :param gap: least distance of two names as a share of the panel's height.
    """
    from matplotlib.ticker import MaxNLocator

    epochs = _epochs(history)
    axes.set_xlabel('epoch')
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set_ylabel('validation IoU')
    axes.set_ylim(0, 1)
    axes.set_yticks(np.arange(0, 1.01, 0.1))
    axes.grid(alpha=0.3)
    labels = []
    for number, key in enumerate(['miou', *class_keys]):
        values = _values(history, key)
        known = np.flatnonzero(np.isfinite(values))
        if not known.size:
            continue
        style = (
            {'color': 'black', 'linewidth': 2.5, 'zorder': 3}
            if key == 'miou'
            # Ten colours that also read as text, times four dashes.
            else {
                'color': f'C{(number - 1) % 10}',
                'linestyle': ('-', '--', ':', '-.')[(number - 1) // 10 % 4],
                'linewidth': 1.2,
            }
        )
        _plot_line(axes, epochs, values, **style)
        name = 'mean' if key == 'miou' else key.removeprefix(_CLASS_IOU)
        last = known[-1]
        labels.append((values[last], epochs[last], name, style['color']))
        if key == 'miou':
            best = known[np.argmax(values[known])]
            axes.set_title(
                f'best mean {values[best]:.3f} at epoch {epochs[best]:g}', fontsize=10, loc='left'
            )
    if not labels:
        axes.text(0.5, 0.5, 'no evaluation yet', ha='center', transform=axes.transAxes)
        return
    labels.sort()
    heights = _spread([value for value, *_ in labels], gap)
    for (value, epoch, name, color), height in zip(labels, heights, strict=True):
        axes.annotate(
            f'{name} {value:.3f}',
            xy=(epoch, value),
            xytext=(1.04, height),
            textcoords=axes.get_yaxis_transform(),
            color=color,
            fontsize=8,
            fontweight='bold' if name == 'mean' else 'normal',
            va='center',
            annotation_clip=False,
            arrowprops={
                'arrowstyle': '-',
                'color': color,
                'linewidth': 0.6,
                'shrinkA': 0,
                'shrinkB': 0,
                'relpos': (0, 0.5),
            },
        )


def _spread(heights: Sequence[float], gap: float) -> list[float]:
    """Heights from 0 to 1, ascending, moved apart by as little as a gap between them needs.

    Least squares under that condition is isotonic regression of what is left when the gaps are
    taken out, solved by pooling neighbours that are in the wrong order.
    """
    pools: list[list[float]] = []
    for i, height in enumerate(heights):
        pools.append([height - i * gap])
        while len(pools) > 1 and np.mean(pools[-2]) > np.mean(pools[-1]):
            last = pools.pop()
            pools[-1] += last
    top = max(1 - (len(heights) - 1) * gap, 0.0)
    flat = [min(max(float(np.mean(pool)), 0.0), top) for pool in pools for _ in pool]
    return [height + i * gap for i, height in enumerate(flat)]


def _plot_line(
    axes: Axes, epochs: NDArray[np.float64], values: NDArray[np.float64], **style: Any
) -> None:
    """A curve through the epochs that have a value, with dots while they are few."""
    known = np.isfinite(values)
    axes.plot(epochs[known], values[known], marker='.' if known.sum() <= 20 else '', **style)


def plot_confusion_matrix(counts: NDArray[np.int64], names: Sequence[str], path: Path) -> None:
    """Draw which class is taken for which, in percent of the true class's pixels.

    :param counts: pixels, shape (classes, classes) or with one more column for predictions of no
        class, as ConfusionMatrix.counts; row is truth.
    :param names: class names.
    :param path: PNG to write.
    :raises LinknetError: when matplotlib is missing.
    :raises ValueError: when the names do not fit.
    """
    percent, columns = _row_percent(counts, names)
    rows = len(names)
    figure = _new_figure(4.2 + 0.38 * len(columns), 2.6 + 0.34 * rows)
    axes = figure.subplots()
    # Gray: a class without a true pixel has no shares.
    axes.set_facecolor('0.88')
    image = axes.imshow(percent, cmap='Blues', vmin=0, vmax=100, aspect='auto')
    axes.set_xticks(range(len(columns)), columns, rotation=45, ha='right', rotation_mode='anchor')
    shares = 100 * counts.sum(axis=1) / max(counts.sum(), 1)
    axes.set_yticks(range(rows), [f'{n}  {s:.1f} %' for n, s in zip(names, shares, strict=True)])
    axes.set_xlabel('predicted class')
    axes.set_ylabel('true class, its share of all pixels')
    axes.set_xticks(np.arange(len(columns) + 1) - 0.5, minor=True)
    axes.set_yticks(np.arange(rows + 1) - 0.5, minor=True)
    axes.grid(which='minor', color='0.92', linewidth=0.6)
    axes.tick_params(which='minor', length=0)
    for y, x in np.ndindex(percent.shape):
        value = float(percent[y, x])
        cell = _cell(value)
        if not cell.isdigit():
            continue
        axes.text(
            x,
            y,
            cell,
            ha='center',
            va='center',
            fontsize=8,
            fontweight='bold' if x == y else 'normal',
            color='white' if value > 55 else 'black',
        )
    figure.colorbar(image, label="% of the true class's pixels", fraction=0.05, pad=0.02)
    figure.savefig(path)


def plot_reliability(sources: Mapping[str, tuple[Reliability, Reliability]], path: Path) -> None:
    """Draw accuracy against confidence, before and after calibration.

    :param sources: by name: before and after.
    :param path: PNG to write.
    :raises LinknetError: when matplotlib is missing.
    """
    figure = _new_figure(3.4 * len(sources) + 0.6, 3.9)
    every = figure.subplots(1, len(sources), sharey=True, squeeze=False)[0]
    for axes, (name, (before, after)) in zip(every, sources.items(), strict=True):
        axes.plot([0, 1], [0, 1], color='black', linewidth=0.8, linestyle=':')
        for reliability, color, when in (
            (before, '#b0b0b0', 'before'),
            (after, '#1f77b4', 'after'),
        ):
            bins = reliability.bins()
            confidence = [part.confidence for part in bins]
            accuracy = [part.accuracy for part in bins]
            label = f'{when}: error {100 * reliability.error():.1f} %'
            axes.plot(confidence, accuracy, color=color, marker='o', markersize=3, label=label)
        axes.set_title(name)
        axes.set_xlabel('confidence')
        axes.set_xlim(0, 1)
        axes.set_ylim(0, 1)
        axes.set_aspect('equal')
        axes.grid(alpha=0.3)
        axes.legend(loc='upper left', fontsize='small')
    every[0].set_ylabel('share that is right')
    figure.savefig(path)


def curves_text(history: History, width: int = 60) -> str:
    """Curves as a few lines of text: bars, first and last value, and the extremes.

    :param width: most bars in a line; of several epochs in one bar the mean is shown.
    :raises LinknetError: when no epoch is in the history.
    """
    epochs = _epochs(history)
    keys = [key for key in _keys(history) if key != 'epoch']
    head = f'epochs {epochs[0]:g} to {epochs[-1]:g}'
    name_width = max(len(text) for text in (head, *keys))
    bar_width = min(width, len(epochs))
    lines = [
        f'{head:{name_width}}  {"":{bar_width}}  {"first":>8} {"last":>8} {"min":>8} {"max":>8}'
    ]
    for key in keys:
        values = _values([entry for entry in history if key in entry], key)
        if np.isfinite(values).any():
            low, high = np.nanmin(values), np.nanmax(values)
            figures = ' '.join(f'{v:8.3g}' for v in (values[0], values[-1], low, high))
            bars = _bars(_held(history, key), bar_width)
            lines.append(f'{key:{name_width}}  {bars}  {figures}')
    return '\n'.join(lines)


def confusion_text(counts: NDArray[np.int64], names: Sequence[str]) -> str:
    """Table of which class is taken for which, in percent of the true class's pixels.

    Columns are headed by the number of the class; a dot is what rounds to 0 %, a dash a class
    without a true pixel.

    :param counts: pixels, as in plot_confusion_matrix.
    :param names: class names.
    :raises ValueError: when the names do not fit.
    """
    percent, columns = _row_percent(counts, names)
    corner = '% of true'
    width = max(len(name) for name in (*names, corner))
    numbers = [str(i) if i < len(names) else 'none' for i in range(len(columns))]
    cell_widths = [max(len(number), 3) + 1 for number in numbers]

    def line(number: str, name: str, cells: Sequence[str]) -> str:
        row = ''.join(f'{cell:>{w}}' for cell, w in zip(cells, cell_widths, strict=True))
        return f'{number:>2} {name:{width}}{row}'

    rows = [
        line(str(i), name, [_cell(value) for value in row])
        for i, (name, row) in enumerate(zip(names, percent, strict=True))
    ]
    return '\n'.join([line('', corner, numbers), *rows])


def _row_percent(
    counts: NDArray[np.int64], names: Sequence[str]
) -> tuple[NDArray[np.float64], list[str]]:
    """Percent of each row, NaN for an empty one, and the names of the columns.

    The column of predictions that name no class is left out when there are none.
    """
    classes = len(names)
    if counts.shape not in ((classes, classes), (classes, classes + 1)):
        raise ValueError(f'counts are {counts.shape} and there are {classes} class names')
    columns = list(names)
    if counts.shape[1] > classes and counts[:, classes].any():
        columns.append(_NO_CLASS)
    with np.errstate(invalid='ignore'):
        percent = 100 * counts / counts.sum(axis=1, keepdims=True)
    return percent[:, : len(columns)], columns


def _cell(percent: float) -> str:
    if math.isnan(percent):
        return '-'
    # A number that rounds to 0 would only hide the others.
    return '.' if round(percent) == 0 else f'{percent:.0f}'


def _held(history: History, key: str) -> NDArray[np.float64]:
    """One value per epoch; between two evaluations that of the former."""
    values, last = [], math.nan
    for entry in history:
        if key in entry:
            last = _values([entry], key)[0]
        values.append(last)
    return np.array(values)


def _bars(values: NDArray[np.float64], width: int) -> str:
    """Bars from the least to the greatest value; a blank for NaN."""
    parts = [part[np.isfinite(part)] for part in np.array_split(values, width)]
    means = [part.mean() if part.size else math.nan for part in parts]
    low, high = np.nanmin(means), np.nanmax(means)
    step = (high - low) / (len(_BARS) - 1)
    return ''.join(
        ' ' if math.isnan(mean) else _BARS[round((mean - low) / step) if step else 0]
        for mean in means
    )


def _keys(history: History) -> list[str]:
    """Keys in order of first appearance."""
    return list(dict.fromkeys(key for entry in history for key in entry))


def _epochs(history: History) -> NDArray[np.float64]:
    if not history:
        raise LinknetError('the history has no epoch to show', 'train for one first')
    return _values(history, 'epoch')


def _values(history: History, key: str) -> NDArray[np.float64]:
    """One value per epoch, NaN where there is none (history.json has null for NaN)."""
    found = [entry.get(key) for entry in history]
    return np.array([math.nan if value is None else value for value in found], np.float64)


def _new_figure(width: float, height: float) -> Figure:
    """Empty figure, inches. Without pyplot, which would keep it and want a screen."""
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise LinknetError(
            'plots need matplotlib, which is not installed: pip install matplotlib'
        ) from error
    return Figure(figsize=(width, height), dpi=120, layout='constrained')
