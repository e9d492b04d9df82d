"""Compare the back ends and precisions of this machine: `python -m linknet_ros.benchmark`.

`python -m linknet_ros benchmark recordings` is about recordings.

Every figure comes from one run. Each cell of the table is measured in processes of its own, and
all contenders take their turn in every round, so that what else the machine does then falls on
all of them alike.
"""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
import sys
import tempfile
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from linknet_ros.benchmark import recordings
from linknet_ros.benchmark.machine import machine
from linknet_ros.benchmark.report import FIGURES, doubt, plot, table
from linknet_ros.errors import LinknetError
from linknet_ros.inference.backend import BACKENDS, PRECISIONS
from linknet_ros.inference.int8_twin import int8_twin
from linknet_ros.inference.model_file import load_model
from linknet_ros.simulation.street import StreetDrive
from linknet_ros.system.arguments import count
from linknet_ros.system.arguments import size as parse_size
from linknet_ros.system.child_process import Outcome, ask
from linknet_ros.system.package_files import package_file, shipped_model
from linknet_ros.system.signals import before_end, end_quietly

SIZES = ((480, 360), (640, 360), (1024, 512), (1280, 720))

#: What everything is compared with, where it opens; else the first in fp32 that does.
REFERENCE = ('openvino', 'fp32')

#: Street frames that a cell goes through, and seconds of the drive between them.
_PICTURES, _STEP_S = 8, 2.0

#: For a cell; TensorRT builds an engine first.
_CELL_SECONDS = 1800.0

Contender = tuple[str, str]
Size = tuple[int, int]


class Benchmark:
    """A run of the benchmark.

    :param folder: for the frames and labels, which are gone afterwards.
    :param frames: that are timed per contender, size and round.
    :param threads: processor threads of the back end, 0 lets it choose.
    :param int8_model: file of the same network that int8 cells run; None for `model`.
    """

    def __init__(
        self,
        model: Path,
        folder: Path,
        frames: int,
        threads: int,
        int8_model: Path | None = None,
    ) -> None:
        self._model = model
        self._int8_model = int8_model or model
        self._folder = folder
        self._frames = frames
        self._threads = threads
        #: Why a contender, or one of its cells, is missing.
        self.left_out: dict[str, str] = {}

    def contenders(self, size: Size) -> list[Contender]:
        """Back ends and precisions that open, tried at one size.

        :raises LinknetError: when none does.
        """
        found: list[Contender] = []
        for backend in BACKENDS:
            for precision in PRECISIONS:
                if precision == 'auto':
                    continue
                outcome = self._run((backend, precision), size, 1)
                if not outcome.works:
                    self.left_out[f'{backend} {precision}'] = outcome.reason
                elif (backend, outcome.value['precision']) not in found:
                    found.append((backend, outcome.value['precision']))
        if not found:
            reasons = '; '.join(f'{name}: {why}' for name, why in self.left_out.items())
            raise LinknetError(f'no back end runs {self._model}: {reasons}')
        return found

    def auto(self, size: Size) -> str:
        """What backend and precision `auto` take, e.g. 'openvino int8'; empty where none opens."""
        outcome = self._run(('auto', 'auto'), size, 1)
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
                    name = f'{" ".join(contender)} at {_text(size)}'
                    _progress(f'round {number + 1} of {rounds}: {name}')
                    if name in self.left_out:
                        continue
                    labels = None if number else self._labels_path(contender, size)
                    outcome = self._run(contender, size, self._frames, labels)
                    if outcome.works:
                        cells[size, contender].append(outcome.value)
                    else:
                        self.left_out[name] = outcome.reason
        rows = []
        for (size, contender), runs in cells.items():
            # A cell that failed in any round has no pairs to compare.
            whole = runs if len(runs) == rounds else []
            base = cells[size, reference] if len(cells[size, reference]) == rounds else []
            row = {'size': _text(size), 'contender': ' '.join(contender), **_figures(whole, base)}
            row['agreement'] = self._agreement(contender, reference, size) if whole else None
            rows.append(row)
        return rows

    def _run(
        self, contender: Contender, size: Size, frames: int, labels: Path | None = None
    ) -> Outcome:
        pictures = str(self._pictures(size))
        model = self._int8_model if contender[1] == 'int8' else self._model
        cell = [str(model), *contender, self._threads, pictures, frames]
        cell.append(None if labels is None else str(labels))
        return ask('linknet_ros.benchmark.cell', json.dumps(cell), seconds=_CELL_SECONDS)

    def _pictures(self, size: Size) -> Path:
        path = self._folder / f'{_text(size)}.npy'
        if not path.exists():
            drive = StreetDrive(width=size[0], height=size[1])
            np.save(path, np.stack([drive.frame(i * _STEP_S).bgr for i in range(_PICTURES)]))
        return path

    def _labels_path(self, contender: Contender, size: Size) -> Path:
        return self._folder / f'{"-".join(contender)}-{_text(size)}.npy'

    def _agreement(self, contender: Contender, reference: Contender, size: Size) -> float | None:
        """Share of pixels with the reference's label, None where there is none."""
        paths = [self._labels_path(c, size) for c in (contender, reference)]
        if not all(path.exists() for path in paths):
            return None
        mine, theirs = (np.load(path) for path in paths)
        return float((mine == theirs).mean())


def _figures(runs: list[Any], base: list[Any]) -> dict[str, Any]:
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


def _text(size: Size) -> str:
    return f'{size[0]}x{size[1]}'


def _progress(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def main(arguments: list[str] | None = None) -> None:
    """Command line."""
    given = sys.argv[1:] if arguments is None else arguments
    if given[:1] == ['recordings']:
        recordings.main(given[1:])
        return
    parser = argparse.ArgumentParser(
        prog='python -m linknet_ros.benchmark', description=__doc__.partition(':')[0]
    )
    parser.add_argument('--model', type=Path, help='the model that ships by default')
    parser.add_argument('--sizes', nargs='+', type=parse_size, default=list(SIZES), metavar='WxH')
    parser.add_argument('--frames', type=count, default=20, help='timed per cell and round')
    parser.add_argument('--rounds', type=count, default=3)
    parser.add_argument(
        '--threads',
        type=partial(count, least=0, most=256),
        default=0,
        help='0: the back end chooses',
    )
    parser.add_argument('--out', type=Path, default=Path('out/benchmark'))
    options = parser.parse_args(arguments)
    try:
        model = load_model(options.model or package_file(shipped_model('auto')))
        int8 = int8_twin(model) or model
        options.out.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory() as folder:
            before_end(partial(shutil.rmtree, folder, ignore_errors=True))
            run = Benchmark(
                model.path.resolve(),
                Path(folder),
                options.frames,
                options.threads,
                int8.path.resolve(),
            )
            about = machine()
            contenders = run.contenders(options.sizes[0])
            auto = run.auto(options.sizes[0])
            in_fp32 = [c for c in contenders if c[1] == 'fp32']
            reference = REFERENCE if REFERENCE in contenders else (in_fp32 or contenders)[0]
            rows = run.rows(contenders, reference, options.sizes, options.rounds)
    except LinknetError as error:
        sys.exit(f'error: {error}')
    except OSError as error:
        sys.exit(f'error: cannot write {error.filename}: {error.strerror}; see --out and TMPDIR')
    text = table(rows, ' '.join(reference))
    print(text)
    print(f'auto takes {auto}')
    if doubt(rows):
        print(f'note: {doubt(rows)}')
    for name, reason in run.left_out.items():
        print(f'left out: {name}: {reason}')
    settings = {name: getattr(options, name) for name in ('frames', 'rounds', 'threads')}
    record = {
        'model': model.name,
        'sha256': model.sha256,
        'int8_model': int8.name,
        'machine': about,
        'auto': auto,
        **settings,
        'reference': ' '.join(reference),
        'rows': rows,
        'left_out': run.left_out,
    }
    (options.out / 'benchmark.md').write_text(text + '\n')
    (options.out / 'benchmark.json').write_text(json.dumps(record, indent=1) + '\n')
    try:
        plot(rows, options.out / 'benchmark.png')
    except LinknetError as error:
        print(error)


if __name__ == '__main__':
    end_quietly(endless=False)
    main()
