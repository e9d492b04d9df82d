"""Compare the back ends and precisions of this machine: `python -m linknet_ros benchmark`.

`--models a.onnx b.onnx` compares networks; `python -m linknet_ros benchmark recordings` is about
recordings.

Every figure comes from one run. Each cell of the table is measured in processes of its own, and
all contenders take their turn in every round, so that what else the machine does then falls on
all of them alike.
"""

from __future__ import annotations

import argparse
import json
import sys
from functools import partial
from pathlib import Path
from typing import Any

from linknet_ros.benchmark import recordings
from linknet_ros.benchmark.contest import Benchmark
from linknet_ros.benchmark.machine import machine
from linknet_ros.benchmark.models import Choice, compare
from linknet_ros.benchmark.report import doubt, models_table, plot, table
from linknet_ros.errors import LinknetError
from linknet_ros.inference.backend import BACKENDS, PRECISIONS
from linknet_ros.inference.int8_twin import int8_twin
from linknet_ros.inference.model_file import load_model
from linknet_ros.system.arguments import count
from linknet_ros.system.arguments import size as parse_size
from linknet_ros.system.package_files import model_path
from linknet_ros.system.temporary_folder import temporary_folder

SIZES = ((480, 360), (640, 360), (1024, 512), (1280, 720))

#: What everything is compared with, where it opens; else the first in fp32 that does.
REFERENCE = ('openvino', 'fp32')


def main(arguments: list[str] | None = None) -> None:
    """Command line."""
    given = sys.argv[1:] if arguments is None else arguments
    if given[:1] == ['recordings']:
        recordings.main(given[1:])
        return
    options = _parser().parse_args(arguments)
    try:
        options.out.mkdir(parents=True, exist_ok=True)
        with temporary_folder() as folder:
            (_compare_models if options.models else _compare_backends)(options, folder)
    except LinknetError as error:
        sys.exit(f'error: {error}')
    except OSError as error:
        sys.exit(f'error: cannot write {error.filename}: {error.strerror}; see --out and TMPDIR')


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog='python -m linknet_ros benchmark', description=__doc__.partition(':')[0]
    )
    add = parser.add_argument
    add('--model', type=Path, help='the model that ships by default')
    add(
        '--sizes',
        nargs='+',
        type=parse_size,
        metavar='WxH',
        help="of frames; with --models one, by default each file's own",
    )
    add('--frames', type=count, default=20, help='timed per cell and round')
    add('--rounds', type=count, default=3)
    add(
        '--threads',
        type=partial(count, least=0, most=256),
        default=0,
        help='0: the back end chooses',
    )
    add('--backends', nargs='+', choices=BACKENDS, default=(), help='default: all')
    add('--precisions', nargs='+', choices=PRECISIONS[1:], default=(), help='default: all')
    add('--out', type=Path, default=Path('out/benchmark'))
    group = parser.add_argument_group('networks')
    add = group.add_argument
    add('--models', nargs='+', type=Path, default=(), metavar='FILE', help='compare model files')
    add('--images', type=Path, metavar='FOLDER', help='frames to run on, instead of the street')
    add(
        '--labels',
        type=Path,
        metavar='FOLDER',
        help='ids of the first file for each frame of --images, as <name of the frame>.png',
    )
    return parser


def _compare_models(options: argparse.Namespace, folder: Path) -> None:
    if options.sizes and len(options.sizes) > 1:
        raise LinknetError('--models with several --sizes', 'give one, or none')
    models = [load_model(path) for path in options.models]
    choice = Choice(
        options.frames,
        options.rounds,
        options.threads,
        options.backends,
        options.precisions,
        options.sizes[0] if options.sizes else None,
        options.images,
        options.labels,
    )
    about = machine()
    rows, left_out = compare(models, folder, choice)
    record = {'models': {model.name: model.sha256 for model in models}, 'machine': about}
    _report(options, 'models', models_table(rows), rows, left_out, record)


def _compare_backends(options: argparse.Namespace, folder: Path) -> None:
    if options.images or options.labels:
        raise LinknetError('--images and --labels are for several networks', 'add --models FILE')
    model = load_model(model_path(options.model, 'auto'))
    int8 = int8_twin(model) or model
    sizes = options.sizes or ([model.fixed_size] if model.fixed_size else list(SIZES))
    for size in sizes:
        model.network_size(size)  # refuses one that the network does not take
    run = Benchmark(
        model.path.resolve(),
        folder,
        options.frames,
        options.threads,
        int8.path.resolve(),
        backends=options.backends,
        precisions=options.precisions,
    )
    about = machine()
    contenders = run.contenders(sizes[0])
    auto = run.auto(sizes[0])
    in_fp32 = [c for c in contenders if c[1] == 'fp32']
    reference = REFERENCE if REFERENCE in contenders else (in_fp32 or contenders)[0]
    rows = run.rows(contenders, reference, sizes, options.rounds)
    record = {
        'model': model.name,
        'sha256': model.sha256,
        'int8_model': int8.name,
        'machine': about,
        'auto': auto,
        'reference': ' '.join(reference),
    }
    text = table(rows, ' '.join(reference))
    _report(options, 'benchmark', text, rows, run.left_out, record)
    print(f'auto takes {auto}')
    try:
        plot(rows, options.out / 'benchmark.png')
    except LinknetError as error:
        print(error)


def _report(
    options: argparse.Namespace,
    name: str,
    text: str,
    rows: list[dict[str, Any]],
    left_out: dict[str, str],
    record: dict[str, Any],
) -> None:
    """Print the table, and write it and all figures.

    :param name: of the files.
    """
    print(text)
    if doubt(rows):
        print(f'note: {doubt(rows)}')
    for what, reason in left_out.items():
        print(f'left out: {what}: {reason}')
    settings = {key: getattr(options, key) for key in ('frames', 'rounds', 'threads')}
    record |= {**settings, 'rows': rows, 'left_out': left_out}
    (options.out / f'{name}.md').write_text(text + '\n')
    (options.out / f'{name}.json').write_text(json.dumps(record, indent=1) + '\n')
