"""Adapt a model to frames of another place:
`python -m training.adapt --init model.onnx --frames picked/ --labels picked/labels --out RUN`.

Trains on what there is. Labelled frames give the ordinary loss; the others are labelled by the
mean of several views of the averaged network, see training/self_labels.py; data that the model
came from keeps it from forgetting. Ends after --minutes with a checkpoint, OUT/adapted.pt.
"""

from __future__ import annotations

import argparse
import copy
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from linknet_ros.classes import CAMVID, CITYSCAPES, ClassTable
from linknet_ros.errors import LinknetError, SourceError
from linknet_ros.frames.files import read_image
from linknet_ros.inference.model_file import load_model
from linknet_ros.metrics import Scores
from linknet_ros.system.arguments import count, share
from linknet_ros.system.arguments import size as parse_size
from linknet_ros.system.signals import end_quietly, process_ends
from training.checkpoint import config_in, load_checkpoint, save_checkpoint
from training.data_file import (
    Measured,
    is_data_file,
    labelled_frames,
    measured_sources,
    training_sources,
)
from training.data_options import DataOptions, check_classes
from training.datasets import open_dataset
from training.datasets.folder import CLASS_FILE
from training.datasets.frame_pairs import files_by_name
from training.evaluate import evaluate_measured, logits_of
from training.export import export
from training.first_weights import config_of, load_first_weights
from training.label_sets import LabelSets
from training.networks import Network, NetworkConfig, build_network
from training.processes import alone
from training.recipes import RECIPES, Recipe
from training.samples import Source
from training.self_labels import SelfLabelled
from training.trainer import Trainer

#: Samples of an epoch; between two epochs frames are labelled again.
_SAMPLES = 96

#: Share of the time in which the learning rate falls to 0.
_FALL = 0.35

#: Say of the first network in the labels, where no data that it came from is at hand.
_ANCHOR = 0.3

#: Frames that a model file's folded batch norms are measured on, and that it is exported on.
_STATISTICS_FRAMES, _COMPARED_FRAMES = 12, 8


@dataclass(frozen=True)
class Start:
    """A model before it is adapted.

    :param size: (width, height) that it was trained for.
    """

    path: Path
    config: NetworkConfig
    classes: ClassTable
    size: tuple[int, int]

    def size_for(self, shape: Sequence[int]) -> tuple[int, int]:
        """(width, height) of about as many pixels as it was trained for, multiples of 32.

        :param shape: height and width of the frames.
        """
        scale = (self.size[0] * self.size[1] / (shape[0] * shape[1])) ** 0.5
        width, height = (max(32, round(side * scale / 32) * 32) for side in (shape[1], shape[0]))
        return width, height


def read_start(path: Path) -> Start:
    """Read a model file or checkpoint.

    :raises LinknetError: when it is neither, or nothing says what its classes look like.
    """
    if path.suffix == '.onnx':
        model = load_model(path)
        return Start(path, config_of(path), model.classes, model.default_size)
    state = load_checkpoint(path)
    config = config_in(state, path)
    names = tuple(state.get('classes', CAMVID.names))
    table = next((t for t in (CAMVID, CITYSCAPES) if t.names == names), None)
    if table is None:
        raise SourceError(
            f'{path} does not say which colours its classes have and which are drivable',
            'export it and give the .onnx file as --init',
        )
    size = state['data']['size']
    return Start(path, config, table, (size[0], size[1]) if size else (480, 360))


def adapt(
    trainer: Trainer,
    taught: SelfLabelled,
    first: Network,
    anchor: float,
    minutes: float,
    epochs: int | None = None,
) -> None:
    """Train for so long.

    :param trainer: its first source is `taught`.
    :param first: network before the training.
    :param anchor: its say in the labels.
    :param epochs: to train, whatever the time.
    """
    begin = time.monotonic()
    rng = np.random.default_rng((trainer.recipe.seed, 1))
    longest = 0.0
    while trainer.epoch < min(trainer.end, epochs or trainer.end):
        start = time.monotonic()
        teachers: list[tuple[Network, float]] = [(trainer.averaged.module.eval(), 1 - anchor)]
        if anchor:
            teachers.append((first, anchor))
        frames = trainer.samples.frames_of(0, trainer.epoch).tolist()
        kept = taught.label(frames, teachers, trainer.autocast, rng)
        loss = trainer.train_epoch()
        longest = max(longest, time.monotonic() - start)
        done = time.monotonic() - begin
        print(
            f'epoch {trainer.epoch}: loss {loss:.3f}, {kept:.0%} of the pixels without labels '
            f'are sure, {done / 60:.1f} min',
            flush=True,
        )
        left = 60 * minutes - done
        if trainer.decay is not None:
            continue
        if epochs is not None:
            if trainer.epoch >= round(epochs * (1 - _FALL)):
                trainer.start_decay(max(1, epochs - trainer.epoch))
        elif left < _FALL * 60 * minutes + longest / 2:
            trainer.start_decay(max(1, round(left / longest)))


def mix(network: torch.nn.Module, first: torch.nn.Module, share: float) -> None:
    """Move a network's weights towards those it started from.

    See training/interpolate.py.

    :param share: 1 leaves it as it is, 0 makes it the first.
    """
    old = first.state_dict()
    mixed = {
        name: share * value + (1 - share) * old[name] if value.is_floating_point() else value
        for name, value in network.state_dict().items()
    }
    network.load_state_dict(mixed)


def matched_temperature(
    network: Network, first: Network, frames: Sequence[NDArray[np.uint8]]
) -> float:
    """Temperature at which a network is as sure of frames, on average, as the first one is.

    A network that learns from its own labels becomes surer, whether right or not; that of the
    first one was calibrated. 1 for a network that is not surer.
    """

    def sureness(logits: Sequence[NDArray[np.float32]], temperature: float) -> float:
        parts = [(part - part.max(0)) / temperature for part in logits]
        return float(np.mean([(1 / np.exp(part).sum(0)).mean() for part in parts]))

    ours, theirs = (
        [logits_of(one, frame)[:, ::4, ::4] for frame in frames] for one in (network, first)
    )
    aim = sureness(theirs, 1.0)
    low, high = 1.0, 4.0
    if sureness(ours, low) <= aim:
        return low
    for _ in range(20):
        middle = (low + high) / 2
        low, high = (middle, high) if sureness(ours, middle) > aim else (low, middle)
    return round(low, 3)


def run(options: argparse.Namespace) -> None:
    """Adapt, measure and write.

    :raises LinknetError: for what is wrong with the options or what they name.
    """
    out = options.out / 'adapted.pt'
    if out.exists():
        raise SourceError(f'{out} exists', 'use another --out')
    start = read_start(options.init)
    folder = options.frames / 'frames'
    folder = folder if folder.is_dir() else options.frames
    paths = [path for _, path in sorted(files_by_name(folder).items())]
    if not paths:
        raise SourceError(f'no image in {folder}')
    size = options.size or start.size_for(read_image(paths[0]).shape)
    taught = SelfLabelled(paths, size)
    sets = LabelSets(start.classes)
    sources = _sources(options, start, taught, folder, sets)
    measured = _measured(options, start)
    network = build_network(start.config)
    frames = [
        source.frames[i][0]
        for source in sources
        for i in range(0, len(source.frames), 1 + len(source.frames) // _STATISTICS_FRAMES)
    ]
    load_first_weights(network, start.path, frames)
    recipe = _recipe(options, size, len(network.encoder))
    trainer = Trainer(recipe, network, start.config, sources, alone(), options.workers, sets)
    first = copy.deepcopy(trainer.network).eval()
    for source in sources:
        print(f'{source.samples} samples an epoch of {len(source.frames)} frames: {source.name}')
    before = _scores(first, measured)
    anchor = 0.0 if options.rehearse else _ANCHOR
    adapt(trainer, taught, first, anchor, options.minutes, options.epochs)
    adapted = trainer.averaged.module
    mix(adapted, first, options.mixture)
    after = _scores(adapted, measured)
    step = 1 + len(taught) // _COMPARED_FRAMES
    compared = [taught.frame(i) for i in range(0, len(taught), step)]
    temperature = matched_temperature(adapted, first, compared)
    print(_table(measured, before, after) + f'temperature {temperature}')
    state = {
        **trainer.state(),
        'data': DataOptions('folder', size).to_dict(),
        'classes': list(start.classes.names),
        'temperature': temperature,
    }
    options.out.mkdir(parents=True, exist_ok=True)
    save_checkpoint(out, state)
    print(f'checkpoint {out}')
    if options.export:
        same = export(
            adapted,
            options.export,
            classes=start.classes,
            dataset=f'{start.path.stem}, adapted to {options.frames.resolve().name}',
            label_set=f'{len(start.classes)} classes of {start.path.stem}',
            default_size=size,
            frames=compared,
            measure=lambda model: {'val_miou': round(after[0].miou, 4)} if after else {},
            temperature=temperature,
        )
        print(f'{options.export}: {same:.4%} of labels agree with PyTorch')
        # Where the first model sees which class may not hold at another place.
        print(
            'tell its scene check what frames of this place look like: '
            f'python -m training.fit_scene_check {options.export} --fit {folder}'
        )


def _sources(
    options: argparse.Namespace,
    start: Start,
    taught: SelfLabelled,
    folder: Path,
    sets: LabelSets,
) -> list[Source]:
    """What is trained on, frames without labels first; how much of each."""
    labelled = _labelled(options, start, taught, folder, sets) if options.labels else []
    rehearsed = _opened(options, options.rehearse, start, sets) if options.rehearse else []
    old = round(_SAMPLES * options.rehearse_share) if rehearsed else 0
    own = (_SAMPLES - old) // 2 if labelled else 0
    frames = Source('as the network labels them', taught, _SAMPLES - old - own, counted=False)
    return [frames, *_share_out(labelled, own), *_share_out(rehearsed, old)]


def _labelled(
    options: argparse.Namespace,
    start: Start,
    taught: SelfLabelled,
    folder: Path,
    sets: LabelSets,
) -> list[Source]:
    path = options.labels
    if is_data_file(path) or (path / CLASS_FILE).exists():
        return _opened(options, path, start, sets)
    return [labelled_frames('labelled', folder, path, sets, taught.size)]


def _opened(
    options: argparse.Namespace, path: Path, start: Start, sets: LabelSets
) -> list[Source]:
    """Training frames of a data set file or of a folder that has the model's classes."""
    if is_data_file(path):
        return list(training_sources(path, options.root, sets, options.cache))
    dataset = open_dataset(_kind(path), path, 'train', cache=options.cache)
    size = start.size_for(dataset[0][1].shape)
    dataset = open_dataset(_kind(path), path, 'train', size=size, cache=options.cache)
    check_classes(dataset, len(start.classes), start.path, start.classes.names)
    return [Source(dataset.title, dataset)]


def _measured(options: argparse.Namespace, start: Start) -> tuple[Measured, ...]:
    if not options.val:
        return ()
    measured = measured_sources(options.val, options.root, _kind(options.val))
    for source in measured:
        check_classes(source.frames, len(start.classes), start.path, start.classes.names)
    if is_data_file(options.val):
        return measured
    height, width = measured[0].frames[0][1].shape
    size = None if (width, height) == start.size else start.size_for((height, width))
    return (replace(measured[0], network_size=size),)


def _kind(path: Path) -> str:
    return 'folder' if (path / CLASS_FILE).exists() else 'camvid'


def _share_out(sources: Sequence[Source], samples: int) -> list[Source]:
    """The sources with so many samples an epoch in all, in the proportions that they ask for."""
    asked = sum(source.samples for source in sources)
    return [
        replace(source, per_epoch=max(1, round(samples * source.samples / asked)))
        for source in sources
    ]


def _recipe(options: argparse.Namespace, size: tuple[int, int], parts: int) -> Recipe:
    """For a network whose encoder has so many parts."""
    recipe = RECIPES['adapt']
    return replace(
        recipe,
        learning_rate=options.learning_rate,
        seed=options.seed,
        frozen=min(recipe.frozen, parts),
        encoder_rate=recipe.encoder_rate if parts else 1.0,
        crop_width=min(recipe.crop_width, size[0]),
        crop_height=min(recipe.crop_height, size[1]),
    )


def _scores(network: Network, measured: Sequence[Measured]) -> list[Scores]:
    return [evaluate_measured(network, source, alone()).scores() for source in measured]


def _table(measured: Sequence[Measured], before: Sequence[Scores], after: Sequence[Scores]) -> str:
    """IoU of each label in %, before and after; empty if nothing was measured."""
    text = ''
    for source, old, new in zip(measured, before, after, strict=True):
        text += f'{source.name}, {len(source.frames)} frames: IoU in %, before  after\n'
        rows: Mapping[str, tuple[float, float]] = {
            **{
                name: (float(a), float(b))
                for name, a, b in zip(source.score.names, old.iou, new.iou, strict=True)
            },
            'mean': (old.miou, new.miou),
        }
        for name, (a, b) in rows.items():
            text += f'{name:20} {100 * a:6.1f} {100 * b:6.1f}\n'
    return text


def _above_zero(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 < value < float('inf'):
        raise argparse.ArgumentTypeError(f"'{text}' is not a number above 0")
    return value


def main(arguments: list[str] | None = None) -> None:
    """Command line."""
    parser = argparse.ArgumentParser(
        prog='python -m training.adapt', description=__doc__.partition(':')[0]
    )
    folder_or_file = 'a folder, or a data set file (.yaml)'
    parser.add_argument('--init', type=Path, required=True, help='model file or checkpoint')
    parser.add_argument(
        '--frames', type=Path, required=True, help='folder of images, or of pick_frames'
    )
    parser.add_argument(
        '--labels', type=Path, help=f'of some frames: ids of the same names, or {folder_or_file}'
    )
    parser.add_argument('--rehearse', type=Path, help=f'what it came from: {folder_or_file}')
    parser.add_argument('--rehearse-share', type=share, default=0.25, help='of the samples')
    parser.add_argument('--val', type=Path, help=f'measured before and after: {folder_or_file}')
    parser.add_argument('--root', type=Path, help="what data set files' paths are relative to")
    parser.add_argument('--out', type=Path, required=True, help='folder of this run')
    parser.add_argument('--export', type=Path, help='the model file to write (.onnx)')
    parser.add_argument('--minutes', type=_above_zero, default=10.0, help='of training')
    parser.add_argument(
        '--epochs',
        type=count,
        help='to train instead: the result does not depend on time',
    )
    parser.add_argument(
        '--mixture', type=share, default=0.75, help='share of new weights, the rest are the first'
    )
    parser.add_argument('--size', type=parse_size, metavar='WxH', help='of frames in the network')
    parser.add_argument('--cache', type=Path, help='folder that keeps resized frames')
    parser.add_argument(
        '--learning-rate', type=_above_zero, default=RECIPES['adapt'].learning_rate
    )
    parser.add_argument('--seed', type=int, default=0, help='of order and random changes')
    parser.add_argument(
        '--workers', type=partial(count, least=0), default=1, help='processes that augment'
    )
    options = parser.parse_args(arguments)
    try:
        run(options)
    except (LinknetError, OSError) as error:
        sys.exit(f'error: {error}')


if __name__ == '__main__':
    end_quietly(endless=False)
    main()
    process_ends()
