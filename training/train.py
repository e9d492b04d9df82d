"""Train a network: `python -m training.train --data DIR --out RUN --recipe best`.

Every epoch ends with a checkpoint RUN/last.pt; after a kill, the same command with --resume
continues there and ends with the same weights as a run that was never interrupted. On several GPUs
or machines: `torchrun --nproc-per-node N -m training.train ...`.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import sys
from collections.abc import Iterable, Sequence
from dataclasses import asdict, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from linknet_ros.classes import CAMVID, UNLABELED, ClassTable
from linknet_ros.errors import LinknetError, SourceError
from training.checkpoint import load_checkpoint
from training.data_file import is_data_file, open_data_file, refuse_unlabelled
from training.data_options import DataOptions, add_data_options
from training.datasets import Annotated, ids_in_files
from training.datasets.folder import CLASS_FILE
from training.first_weights import config_of, load_first_weights
from training.networks import NETWORKS, Network, NetworkConfig, build_network
from training.processes import Processes, join_processes
from training.recipes import RECIPES, Recipe
from training.run import Run
from training.samples import Frames, Source
from training.street_frames import StreetFrames
from training.teachers import Teachers, open_teachers, read_map
from training.trainer import Trainer

#: Frames that a model file's folded batch norms are measured on.
_STATISTICS_FRAMES = 40


def recipe_from(options: argparse.Namespace) -> Recipe:
    """The named recipe with the values that the command line changes."""
    values = {field.name: getattr(options, field.name) for field in fields(Recipe)}
    changed = {name: value for name, value in values.items() if value is not None}
    return replace(RECIPES[options.recipe], **changed)


def parse_options(arguments: list[str] | None) -> argparse.Namespace:
    """Options of the command line; every value of a recipe is one."""
    parser = argparse.ArgumentParser(
        prog='python -m training.train', description=__doc__.partition(':')[0]
    )
    add_data_options(parser, default='camvid')
    parser.add_argument('--out', type=Path, required=True, help='folder of this run')
    parser.add_argument('--cache', type=Path, help='folder that keeps resized frames')
    parser.add_argument(
        '--network', choices=tuple(NETWORKS), help='that of --init or --resume, or linknet'
    )
    parser.add_argument('--recipe', choices=tuple(RECIPES), default='best')
    parser.add_argument('--resume', action='store_true', help='continue from OUT/last.pt')
    parser.add_argument(
        '--init', type=Path, help='first weights: a checkpoint, or a model file (.onnx)'
    )
    group = parser.add_argument_group('networks to learn from, besides the labels')
    group.add_argument(
        '--teacher',
        type=Path,
        action='append',
        default=[],
        metavar='FILE',
        help='a model file (.onnx), a teacher file (.yaml), or an OpenVINO file (.xml) with a '
        'teacher file beside it; can be given several times',
    )
    group.add_argument(
        '--teacher-map',
        action='append',
        default=[],
        metavar='THEIRS=OURS',
        help="what a model file's class means: a class, several (OURS,OURS), void; or a YAML file "
        'of such pairs; can be given several times',
    )
    parser.add_argument('--pretrained', action='store_true', help='encoder with ImageNet weights')
    parser.add_argument('--normalization', help="batch, group or none; the network's if left out")
    parser.add_argument('--activation', help="relu, ...; the network's if left out")
    parser.add_argument(
        '--width', type=float, help="of a ResNet-18 LinkNet, as a share of the paper's"
    )
    parser.add_argument('--dropout', type=float, help="the network's if left out")
    parser.add_argument(
        '--hold-out', default='', help='validate on this sequence of train instead of val'
    )
    parser.add_argument('--eval-every', type=_positive, default=5, help='epochs')
    parser.add_argument(
        '--decay-epochs', type=_positive, help='end an open run: the rate falls in so many epochs'
    )
    parser.add_argument('--keep-all', action='store_true', help='keep every evaluated checkpoint')
    parser.add_argument('--workers', type=_natural, default=1, help='processes that augment')
    group = parser.add_argument_group('values of the recipe')
    for field in fields(Recipe):
        kind = {bool: _truth, int: _natural, float: _amount, str: str}[type(field.default)]
        group.add_argument(
            '--' + field.name.replace('_', '-'),
            type=_positive if field.name in _COUNTS else kind,
            choices=field.metadata['choices'],
            help=field.metadata['help'],
        )
    return parser.parse_args(arguments)


def make_run(options: argparse.Namespace, processes: Processes) -> Run:
    """Everything that a run needs, from the command line's options.

    :raises LinknetError: for what is wrong with them.
    """
    last = options.out / 'last.pt'
    if last.exists() and not options.resume:
        raise SourceError(f'{last} exists', 'add --resume to continue, or use another --out')
    if options.teacher_map and not options.teacher:
        raise SourceError('--teacher-map has no effect without --teacher', 'leave it out')
    recipe = recipe_from(options)
    if is_data_file(options.data):
        return _make_mixed_run(options, processes, recipe)
    data = DataOptions(options.dataset, options.size, options.hold_out)
    train, val = data.open_train_and_val(options.data, options.cache)
    teachers = _teachers(options, recipe, train.classes)
    if teachers:
        data = replace(data, teachers=teachers.identities)
    sources = [Source(train.title, train)]
    if recipe.street_frames:
        if train.classes != CAMVID:
            raise SourceError('--street-frames has the classes of CamVid', 'set it to 0')
        street = StreetFrames(recipe.street_frames, recipe.seed)
        sources.append(Source('street', street, taught=False))
    step = max(1, len(train) // _STATISTICS_FRAMES)
    frames = (train[i][0] for i in range(0, len(train), step))
    network, config = _network(options, processes, recipe, len(train.classes), frames)
    if teachers:
        _ask(teachers, sources, train.classes, processes)
    trainer = Trainer(
        recipe, network, config, sources, processes, options.workers, teachers=teachers
    )
    run = Run(trainer, val, options.out, data, options.eval_every, options.keep_all)
    about = f'{train.title} ({train.label_set}), {len(train)} frames'
    return _started(options, processes, run, about, [train])


def _make_mixed_run(options: argparse.Namespace, processes: Processes, recipe: Recipe) -> Run:
    """The same for a data set file."""
    for name in ('size', 'hold_out'):
        if getattr(options, name):
            option = '--' + name.replace('_', '-')
            raise SourceError(f'{option} cannot be used with a data set file', 'set it there')
    if recipe.street_frames:
        raise SourceError(
            '--street-frames cannot be used with a data set file',
            'add a street source to it',
        )
    mixed = open_data_file(options.data, options.root, options.cache)
    teachers = _teachers(options, recipe, mixed.classes)
    if not teachers:
        refuse_unlabelled(options.data, mixed.train)
    first, *beside = mixed.measured
    frames = (
        source.frames[i][0]
        for source in mixed.train
        for i in range(0, len(source.frames), max(1, len(source.frames) // 5))
    )
    network, config = _network(options, processes, recipe, len(mixed.classes), frames)
    if teachers:
        _ask(teachers, mixed.train, mixed.classes, processes)
    trainer = Trainer(
        *(recipe, network, config, mixed.train, processes, options.workers, mixed.sets, teachers)
    )
    data = DataOptions(
        first.dataset, file=mixed.text, teachers=teachers.identities if teachers else ()
    )
    run = Run(
        trainer, first.frames, options.out, data, options.eval_every, options.keep_all, beside
    )
    sources = (f'{s.samples} of {len(s.frames)} frames of {s.name}' for s in mixed.train)
    opened = [source.frames for source in mixed.train]
    return _started(options, processes, run, f'an epoch of {", ".join(sources)}', opened)


def _teachers(options: argparse.Namespace, recipe: Recipe, classes: ClassTable) -> Teachers | None:
    """Those of --teacher, if there are any."""
    if not options.teacher:
        return None
    for name in ('teacher_weight', 'teacher_temperature'):
        if not getattr(recipe, name):
            raise SourceError(f'--{name.replace("_", "-")} must be above 0')
    folder = (options.cache or options.out) / 'teachers'
    return open_teachers(
        options.teacher,
        classes,
        read_map(options.teacher_map),
        folder,
        recipe.teacher_temperature,
    )


def _ask(
    teachers: Teachers, sources: Sequence[Source], classes: ClassTable, processes: Processes
) -> None:
    """Let them look at what they have not seen, and say what cannot be learnt from them."""
    about = teachers.about(classes)
    if about and processes.first:
        print(about)
    teachers.ask(sources, processes)


def _network(
    options: argparse.Namespace,
    processes: Processes,
    recipe: Recipe,
    classes: int,
    frames: Iterable[NDArray[np.uint8]],
) -> tuple[Network, NetworkConfig]:
    """The network with its initial weights; `frames` are read only if those need them."""
    first = options.out / 'last.pt' if options.resume else options.init
    known = config_of(first) if first and not options.network else NetworkConfig()
    config = NetworkConfig(
        options.network or known.network,
        classes,
        options.normalization,
        options.dropout,
        options.activation,
        options.pretrained,
        known.width if options.width is None else options.width,
    )
    # Behind config_of, which may build a network too.
    torch.manual_seed(recipe.seed)
    # A resumed run gets its weights from the checkpoint; nothing is downloaded again.
    network = build_network(replace(config, pretrained=config.pretrained and not options.resume))
    if options.init and not options.resume:
        afresh = load_first_weights(network, options.init, list(frames))
        for name in afresh if processes.first else []:
            print(f'{name} has another shape in {options.init} and starts with its first values')
    return network, config


def _started(
    options: argparse.Namespace,
    processes: Processes,
    run: Run,
    about: str,
    sources: Sequence[Frames],
) -> Run:
    """The run, continued from its checkpoint if it is resumed.

    :param sources: data sets that are trained on.
    :raises SourceError: when none of their pixels has a class.
    """
    absent = [run.val.classes.names[c] for c in run.trainer.absent]
    lack = _lack(absent, sources) if absent else ''
    if len(absent) == len(run.val.classes):
        raise SourceError(lack, 'every pixel would be void')
    if options.resume:
        run.restore(load_checkpoint(options.out / 'last.pt'))
    if options.decay_epochs:
        run.trainer.start_decay(options.decay_epochs)
    if processes.first:
        recipe = run.trainer.recipe
        options.out.mkdir(parents=True, exist_ok=True)
        _write_json(options.out / 'recipe.json', asdict(recipe))
        print(f'{run.trainer.network.title}, {about}')
        print(f'recipe {options.recipe}:\n{recipe.table()}')
        if lack:
            print(f'warning: {lack}')
    return run


def _lack(absent: Sequence[str], sources: Sequence[Frames]) -> str:
    """What is said of classes that have no pixel: which, and what the annotations have instead."""
    found = sorted({i for s in sources if isinstance(s, Annotated) for i in ids_in_files(s)})
    several = 'es' * (len(absent) > 1)
    text = f'no pixel of class{several} {", ".join(absent)} in what is trained on'
    if found:
        text += f'; the annotations hold the ids {", ".join(map(str, found))}'
    if found and set(found) <= {0, UNLABELED}:
        text += (
            f'. {UNLABELED} is void unless it is given a meaning: in {CLASS_FILE} by a line '
            f'{UNLABELED},{absent[0]},..., in a data set file by ids'
        )
    return text


def main(arguments: list[str] | None = None) -> None:
    """Command line."""
    options = parse_options(arguments)
    try:
        with join_processes() as processes:
            run = make_run(options, processes)
            run.finish()
    except (LinknetError, OSError) as error:
        sys.exit(f'error: {error}')
    if processes.first:
        best = options.out / 'best.pt'
        print(f'best val mIoU {run.trainer.best_miou:.4f}, checkpoint {best}')


def _write_json(path: Path, value: Any) -> None:
    temporary = path.with_suffix('.tmp')
    temporary.write_text(json.dumps(value, indent=1) + '\n')
    os.replace(temporary, path)


#: Values of a recipe that count something and start at 1.
_COUNTS = ('epochs', 'batch', 'accumulate', 'loss_stride')


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"'{text}' is not a whole number of 1 or more")
    return int(text)


def _natural(text: str) -> int:
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"'{text}' is not a whole number of 0 or more")
    return int(text)


def _amount(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 <= value < math.inf:
        raise argparse.ArgumentTypeError(f"'{text}' is not a number of 0 or more")
    return value


def _truth(text: str) -> bool:
    if text not in ('true', 'false'):
        raise argparse.ArgumentTypeError(f"'{text}' is neither true nor false")
    return text == 'true'


if __name__ == '__main__':
    main()
