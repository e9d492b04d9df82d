"""Several model files side by side: `python -m linknet_ros benchmark --models a.onnx b.onnx`."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from linknet_ros.benchmark.accuracy import labelled_frames
from linknet_ros.benchmark.contest import (
    CELL_SECONDS,
    PICTURES,
    Benchmark,
    Contender,
    Size,
    figures,
    progress,
    size_text,
)
from linknet_ros.classes import ClassTable
from linknet_ros.errors import LinknetError
from linknet_ros.frames.files import FolderSource, read_image
from linknet_ros.inference.cost import cost_of
from linknet_ros.inference.int8_twin import int8_twin
from linknet_ros.inference.model_file import ModelFile
from linknet_ros.system.child_process import ask


@dataclass(frozen=True)
class Choice:
    """What is run, beside the models.

    :param frames: that are timed per cell and round.
    :param threads: see Benchmark, as for `backends` and `precisions`.
    :param size: (width, height) in pixels that frames are fitted into; None for each file's own,
        which one of a fixed size has anyway.
    :param images: folder of frames to run on; None for the street.
    :param labels: folder of their labels, in the classes of the first model; None for none.
    """

    frames: int
    rounds: int
    threads: int
    backends: Sequence[str] = ()
    precisions: Sequence[str] = ()
    size: Size | None = None
    images: Path | None = None
    labels: Path | None = None


class Entry:
    """A model file in the comparison."""

    def __init__(self, model: ModelFile, name: str, folder: Path, choice: Choice) -> None:
        self.model, self.name = model, name
        self.size = model.fixed_size or model.network_size(choice.size or (0, 0))
        self._int8 = model if model.precision == 'int8' else int8_twin(model)
        folder.mkdir()
        self.benchmark = Benchmark(
            model.path.resolve(),
            folder,
            choice.frames,
            choice.threads,
            self._int8.path.resolve() if self._int8 else None,
            backends=choice.backends,
            precisions=choice.precisions,
            pictures=_pictures(choice.images) if choice.images else (),
        )
        self.contenders = self.benchmark.contenders(self.size)
        self._runs: dict[Contender, list[Any]] = {c: [] for c in self.contenders}

    def measure(self, contender: Contender, frames: int, *, labels: bool) -> None:
        """Run a cell once more.

        :param labels: whether to keep what it says of the pictures.
        """
        path = self.benchmark.labels_path(contender, self.size) if labels else None
        outcome = self.benchmark.run(contender, self.size, frames, path)
        if outcome.works:
            self._runs[contender].append(outcome.value)
        else:
            self.benchmark.left_out[' '.join(contender)] = outcome.reason

    def row(self, contender: Contender, first: Entry, rounds: int) -> dict[str, Any]:
        """What was measured of a cell; times are None if it failed in any round.

        :param first: that times are compared with, in the same contender.
        """
        mine, base = (
            runs if len(runs) == rounds else []
            for runs in (self._runs[contender], first._runs.get(contender, []))
        )
        fp32 = (contender[0], 'fp32')
        return {
            'model': self.name,
            'size': size_text(self.size),
            'contender': ' '.join(contender),
            **vars(cost_of(self.model, self.size)),
            **figures(mine, base),
            'as_fp32': self.benchmark.agreement(contender, fp32, self.size),
            'miou': None,
            'drivable': None,
        }

    def accuracy(
        self,
        contender: Contender,
        frames: Sequence[tuple[str, str]],
        classes: ClassTable,
        threads: int,
    ) -> dict[str, Any]:
        """Accuracy on labelled frames, see accuracy.measure; empty where it fails.

        :param classes: of the labels.
        """
        file = self._int8 or self.model if contender[1] == 'int8' else self.model
        cell = [str(file.path.resolve()), *contender, threads, self.size, frames]
        cell += [classes.names, classes.drivable]
        outcome = ask('linknet_ros.benchmark.accuracy', json.dumps(cell), seconds=CELL_SECONDS)
        if not outcome.works:
            self.benchmark.left_out[f'{" ".join(contender)}, accuracy'] = outcome.reason
        return outcome.value if outcome.works else {}


def compare(
    models: Sequence[ModelFile], folder: Path, choice: Choice
) -> tuple[list[dict[str, Any]], dict[str, str]]:
    """Measure all: one row per file and contender, and why what is missing is missing.

    Every file takes its turn in every back end in every round, so that what else the machine does
    falls on all of them alike.

    :param folder: for what is gone afterwards.
    :raises LinknetError: when a file runs nowhere, or there are no frames.
    """
    frames: list[tuple[str, str]] = []
    if choice.labels:
        if choice.images is None:
            raise LinknetError('--labels without frames', 'add --images FOLDER')
        frames = labelled_frames(choice.images, choice.labels)
    entries = []
    for index, model in enumerate(models):
        # Two files may have one name in different folders.
        alone = [other.name for other in models].count(model.name) == 1
        name = model.name if alone else str(model.path)
        progress(f'trying {name}')
        entries.append(Entry(model, name, folder / str(index), choice))
    cells = [(entry, contender) for entry in entries for contender in entry.contenders]
    for number in range(choice.rounds):
        first = number % len(cells)
        for entry, contender in (*cells[first:], *cells[:first]):
            place = f'{entry.name}, {" ".join(contender)}'
            progress(f'round {number + 1} of {choice.rounds}: {place}')
            entry.measure(contender, choice.frames, labels=not number)
    rows = []
    for entry, contender in cells:
        row = entry.row(contender, entries[0], choice.rounds)
        if frames and row['median_ms'] is not None:
            progress(f'labelled frames: {entry.name}, {" ".join(contender)}')
            row |= entry.accuracy(contender, frames, models[0].classes, choice.threads)
        rows.append(row)
    return rows, {
        f'{e.name}, {k}': why for e in entries for k, why in e.benchmark.left_out.items()
    }


def _pictures(folder: Path) -> list[NDArray[np.uint8]]:
    """Some images of a folder, evenly spread."""
    paths = FolderSource(folder).paths
    return [read_image(path) for path in paths[:: max(1, len(paths) // PICTURES)][:PICTURES]]
