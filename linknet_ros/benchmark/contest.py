"""Back ends and precisions of one model file, measured against each other on this machine."""

from __future__ import annotations

import json
import statistics
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from linknet_ros.benchmark.report import FIGURES
from linknet_ros.errors import LinknetError
from linknet_ros.inference.backend import BACKENDS, PRECISIONS
from linknet_ros.simulation.street import StreetDrive
from linknet_ros.system.child_process import Outcome, ask

#: Street frames that a cell goes through.
PICTURES = 8

#: Seconds of the drive from one of them to the next.
_STEP_S = 2.0

#: For a cell; TensorRT builds an engine first.
CELL_SECONDS = 1800.0

Contender = tuple[str, str]
Size = tuple[int, int]


@dataclass
class Benchmark:
    """A run of the benchmark.

    :param folder: for the frames and labels, which are gone afterwards.
    :param frames: that are timed per contender, size and round.
    :param threads: processor threads of the back end, 0 lets it choose.
    :param int8_model: file of the same network that int8 cells run; None for `model`.
    :param backends: that may run, of BACKENDS; empty for all, as `precisions`.
    :param pictures: (H, W, 3) uint8 BGR of any sizes to run on; empty for those of the street.
    :param left_out: why a contender, or one of its cells, is missing.
    """

    model: Path
    folder: Path
    frames: int
    threads: int
    int8_model: Path | None = None
    backends: Sequence[str] = ()
    precisions: Sequence[str] = ()
    pictures: Sequence[NDArray[np.uint8]] = ()
    left_out: dict[str, str] = field(default_factory=dict)

    def contenders(self, size: Size) -> list[Contender]:
        """Back ends and precisions that open, tried at one size.

        :raises LinknetError: when none does.
        """
        found: list[Contender] = []
        for backend in self.backends or BACKENDS:
            for precision in self.precisions or PRECISIONS:
                if precision == 'auto':
                    continue
                outcome = self.run((backend, precision), size, 1)
                if not outcome.works:
                    self.left_out[f'{backend} {precision}'] = outcome.reason
                elif outcome.value['precision'] == precision:
                    found.append((backend, precision))
        if not found:
            reasons = '; '.join(f'{name}: {why}' for name, why in self.left_out.items())
            raise LinknetError(f'no back end runs {self.model}: {reasons}')
        return found

    def auto(self, size: Size) -> str:
        """What backend and precision `auto` take, e.g. 'openvino int8'; empty where none opens."""
        outcome = self.run(('auto', 'auto'), size, 1)
        return f'{outcome.value["backend"]} {outcome.value["precision"]}' if outcome.works else ''

    def rows(
        self, contenders: list[Contender], reference: Contender, sizes: list[Size], rounds: int
    ) -> list[dict[str, Any]]:
        """Measure all; one row per size and contender."""
        cells: dict[tuple[Size, Contender], list[Any]] = {
            (size, contender): [] for size in sizes for contender in contenders
        }
        for number in range(rounds):
            for size in sizes:
                # Nobody is always first, on a processor that has just cooled.
                first = number % len(contenders)
                for contender in (*contenders[first:], *contenders[:first]):
                    name = f'{" ".join(contender)} at {size_text(size)}'
                    progress(f'round {number + 1} of {rounds}: {name}')
                    if name in self.left_out:
                        continue
                    labels = None if number else self.labels_path(contender, size)
                    outcome = self.run(contender, size, self.frames, labels)
                    if outcome.works:
                        cells[size, contender].append(outcome.value)
                    else:
                        self.left_out[name] = outcome.reason
        rows = []
        for (size, contender), runs in cells.items():
            # A cell that failed in any round has no pairs to compare.
            whole = runs if len(runs) == rounds else []
            base = cells[size, reference] if len(cells[size, reference]) == rounds else []
            row = {
                'size': size_text(size),
                'contender': ' '.join(contender),
                **figures(whole, base),
            }
            row['agreement'] = self.agreement(contender, reference, size) if whole else None
            rows.append(row)
        return rows

    def run(
        self, contender: Contender, size: Size, frames: int, labels: Path | None = None
    ) -> Outcome:
        """Measure a cell; see cell.measure.

        :param labels: file to write the labels to.
        """
        pictures = str(self._pictures(size))
        model = self.int8_model or self.model if contender[1] == 'int8' else self.model
        cell = [str(model), *contender, self.threads, pictures, frames]
        cell.append(None if labels is None else str(labels))
        return ask('linknet_ros.benchmark.cell', json.dumps(cell), seconds=CELL_SECONDS)

    def _pictures(self, size: Size) -> Path:
        path = self.folder / f'{size_text(size)}.npy'
        if not path.exists():
            if self.pictures:
                pictures = [cv2.resize(picture, size) for picture in self.pictures]
            else:
                pictures = street(size, PICTURES)
            np.save(path, np.stack(pictures))
        return path

    def labels_path(self, contender: Contender, size: Size) -> Path:
        """File for the labels of a cell."""
        return self.folder / f'{"-".join(contender)}-{size_text(size)}.npy'

    def agreement(self, contender: Contender, reference: Contender, size: Size) -> float | None:
        """Share of pixels with the reference's label, None where there is none."""
        paths = [self.labels_path(c, size) for c in (contender, reference)]
        if not all(path.exists() for path in paths):
            return None
        mine, theirs = (np.load(path) for path in paths)
        return float((mine == theirs).mean())


def figures(runs: list[Any], base: list[Any]) -> dict[str, Any]:
    """What one cell's runs say, and their ratio to the reference's, round by round."""
    if not runs:
        return dict.fromkeys(FIGURES)
    times = np.concatenate([run['ms'] for run in runs])
    medians = [statistics.median(run['ms']) for run in runs]
    theirs = [statistics.median(run['ms']) for run in base]
    ratios = [a / b for a, b in zip(medians, theirs, strict=True)] if base else []
    memory = {
        field: None if None in values else statistics.median(values)
        for field in ('peak_mb', 'held_mb')
        for values in [[run[field] for run in runs]]
    }
    return {
        'median_ms': float(np.median(times)),
        'p90_ms': float(np.percentile(times, 90)),
        'fps': 1e3 * len(times) / float(times.sum()),
        'ratio': statistics.median(ratios) if ratios else None,
        'ratio_range': (min(ratios), max(ratios)) if ratios else None,
        'ready_s': statistics.median(run['ready_s'] for run in runs),
        **memory,
        'round_medians_ms': medians,
    }


def street(size: Size, pictures: int) -> list[NDArray[np.uint8]]:
    """Frames of the street, (H, W, 3) uint8 BGR."""
    drive = StreetDrive(width=size[0], height=size[1])
    return [drive.frame(i * _STEP_S).bgr for i in range(pictures)]


def size_text(size: Size) -> str:
    """A size as '640x360'."""
    return f'{size[0]}x{size[1]}'


def progress(text: str) -> None:
    """Say what is done now."""
    print(text, file=sys.stderr, flush=True)
