"""Make the confidence mean something: `python -m training.calibrate CHECKPOINT --data DIR`.

Fits the temperature that training.export stores in the file (`--temperature`), and reports how far
the confidence can be trusted before and after, and what a robot that asks for more of it is left
with. Frames of one drive are alike, so the temperature is also fitted on each half of the drive
and judged on the other.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from linknet_ros.classes import UNLABELED
from linknet_ros.errors import LinknetError
from training.data_file import Measured, measured_sources
from training.data_options import add_data_options
from training.evaluate import logits_of
from training.export import open_network
from training.networks import Network
from training.plots import plot_reliability
from training.reliability import Reliability, fit_temperature

#: Every n-th pixel of every n-th row is taken: its neighbours are of the same opinion.
_STEP = 3

#: Confidences that the table has a line for.
_THRESHOLDS = (0.0, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.98, 0.99)

#: Share of all pixels that may be wrongly called drivable in the last line of the table.
_FALSELY = 0.001


@dataclass(frozen=True)
class Pixels:
    """Pixels of a source, in the order of its frames.

    :param logits: (pixels, classes) float32.
    :param truth: (pixels,) uint8 ids of the source's own files.
    """

    logits: NDArray[np.float32]
    truth: NDArray[np.uint8]

    def half(self, which: int) -> Pixels:
        """The first (0) or second (1) half of the drive."""
        middle = len(self.truth) // 2
        part = slice(None, middle) if which == 0 else slice(middle, None)
        return Pixels(self.logits[part], self.truth[part])

    def temperature(self, measured: Measured) -> float:
        """The best one for these; the source's labels must be the classes themselves."""
        truth = measured.score.truth[self.truth]
        known = truth != UNLABELED
        return fit_temperature(self.logits[known], truth[known])

    def reliability(self, measured: Measured, temperature: float) -> Reliability:
        """In the source's own labels."""
        score = measured.score
        result = Reliability(len(score.names))
        # In parts: the exponentials of all of it would take as much memory again.
        for start in range(0, len(self.truth), 1 << 18):
            part = slice(start, start + (1 << 18))
            logits = self.logits[part] / np.float32(temperature)
            exponent = np.exp(logits - logits.max(1, keepdims=True))
            confidence = np.rint(255 / exponent.sum(1)).astype(np.uint8)
            predicted = score.predicted[logits.argmax(1)]
            result.add(score.truth[self.truth[part]], predicted, confidence)
        return result


def pixels_of(network: Network, measured: Measured) -> Pixels:
    """Logits and truth of every third pixel of every third row."""
    logits, truths = [], []
    title = f'calibrate {measured.name}'
    for i in tqdm(range(len(measured.frames)), desc=title, leave=False, disable=None):
        frame, truth = measured.frames[i]
        scores = logits_of(network, frame, measured.network_size)[:, ::_STEP, ::_STEP]
        logits.append(scores.reshape(len(scores), -1).T.copy())
        truths.append(truth[::_STEP, ::_STEP].ravel())
    return Pixels(np.concatenate(logits), np.concatenate(truths))


def error_table(measured: Measured, before: Reliability, after: Reliability) -> str:
    """Calibration error of every label and of all, in %."""
    lines = [f'{measured.name}: expected calibration error, % before  after']
    rows: list[tuple[str, int | None]] = [(n, i) for i, n in enumerate(measured.score.names)]
    for name, label in [*rows, ('all', None)]:
        one, two = 100 * before.error(label), 100 * after.error(label)
        lines.append(f'{name:38} {one:9.2f} {two:6.2f}')
    return '\n'.join(lines)


def threshold_table(measured: Measured, reliability: Reliability, label: int) -> str:
    """What a min_confidence leaves of a label, of everything, and of the mistakes."""
    name = measured.score.names[label]
    lines = [
        f'{measured.name}: min_confidence, falsely {name} (% of all pixels), {name} still found '
        f'(% of what is found at 0), labelled (% of all pixels), right of those (%)'
    ]
    lowest = reliability.threshold_for(label, _FALSELY)
    for threshold in (*_THRESHOLDS, *([] if lowest is None else [lowest])):
        lines.append(
            f'{threshold:5.3f} {100 * reliability.falsely(label, threshold):7.3f} '
            f'{100 * reliability.found(label, threshold):6.1f} '
            f'{100 * reliability.kept(threshold):6.1f} '
            f'{100 * reliability.accuracy(threshold):6.2f}'
        )
    return '\n'.join(lines)


def calibrate(
    network: Network, sources: Sequence[Measured], drivable: str, out: Path | None
) -> float:
    """Fit on the first source, report on all.

    :param drivable: class whose false alarms are counted.
    :param out: PNG of the reliability diagram.
    :returns: temperature.
    """
    first = sources[0]
    pixels = pixels_of(network, first)
    temperature = pixels.temperature(first)
    print(f'temperature {temperature:.3f}, fitted on {first.name}')
    for which in (0, 1):
        fitted = pixels.half(which).temperature(first)
        other = pixels.half(1 - which)
        errors = [100 * other.reliability(first, t).error() for t in (1.0, fitted)]
        print(
            f'fitted on half {which + 1} of {first.name}: {fitted:.3f}; error on the other half '
            f'{errors[0]:.2f} % before, {errors[1]:.2f} % after'
        )
    curves = {}
    for measured in sources:
        if measured is not first:
            pixels = pixels_of(network, measured)
        before, after = (pixels.reliability(measured, t) for t in (1.0, temperature))
        label = int(measured.score.predicted[first.score.names.index(drivable)])
        print(f'\n{error_table(measured, before, after)}')
        print(f'\n{threshold_table(measured, after, label)}')
        curves[measured.name] = (before, after)
    if out is not None:
        plot_reliability(curves, out)
    return temperature


def main(arguments: list[str] | None = None) -> None:
    """Command line."""
    parser = argparse.ArgumentParser(
        prog='python -m training.calibrate', description=__doc__.partition(':')[0]
    )
    parser.add_argument('source', type=Path, help='a checkpoint (.pt) or an fp32 model file')
    parser.add_argument('--drivable', default='road', help='class whose false alarms are counted')
    parser.add_argument('--diagram', type=Path, help='write the reliability diagram here, as .png')
    add_data_options(parser, default=None)
    options = parser.parse_args(arguments)
    try:
        network, _, _, data = open_network(options.source, options.dataset, options.size)
        sources = measured_sources(options.data, options.root, data.dataset, data.size)
        sources[0].frames.classes.ids([options.drivable])
        calibrate(network, sources, options.drivable, options.diagram)
    except (LinknetError, OSError) as error:
        sys.exit(f'error: {error}')


if __name__ == '__main__':
    main()
