"""Labels frames for a person to correct: pre_label DIR, a folder that pick_frames made.

The current model votes with its mirror image and with any number of teachers. Where they are
unsure or disagree, a pixel stays void. DIR gets labels/ and classes.csv, which training reads,
contact sheets, and the same labels as files for CVAT, Label Studio, COCO tools and Labelme.
Labels that are there already are kept; with --overwrite those are made again that nobody changed.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import sys
from contextlib import ExitStack
from functools import partial
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from linknet_ros.classes import UNLABELED, ClassTable
from linknet_ros.errors import LinknetError, SourceError
from linknet_ros.frames.files import check_size, read_image
from linknet_ros.inference.model_file import ModelFile, load_model
from linknet_ros.inference.segmenter import Segmenter
from linknet_ros.inference.settings import InferenceSettings
from linknet_ros.inference.voting import Voter, open_voter, vote
from linknet_ros.recordings.batch import bar
from linknet_ros.recordings.label_folder import (
    CLASSES,
    ON_SHEET,
    SHEETS,
    Cell,
    class_file,
    count_table,
    frame_files,
    label_cell,
    label_file,
    read_labels,
    write_labels,
    write_sheets,
)
from linknet_ros.recordings.label_tools import ToolFiles
from linknet_ros.system.arguments import count, share
from linknet_ros.system.package_files import model_path
from linknet_ros.system.settings import add_options, made_of
from linknet_ros.system.signals import before_end

#: Folder of the files for labelling tools.
TOOLS = 'tools'

#: What was proposed: the digest of each label file, so that a corrected one is known.
PROPOSED = 'pre_label.json'


def main(arguments: list[str] | None = None) -> None:
    """Command line."""
    options = _parser().parse_args(arguments)
    stopped = 'pre_label: stopped; the same command goes on\n'
    before_end(lambda: os.write(sys.stderr.fileno(), stopped.encode()))
    try:
        _run(options)
    except LinknetError as error:
        sys.exit(f'pre_label: {error}')
    except OSError as error:
        sys.exit(f'pre_label: {error}; the same command goes on')


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog='pre_label',
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument('folder', type=Path, metavar='DIR', help='with frames/ in it')
    parser.add_argument(
        '--overwrite', action='store_true', help='make labels again that nobody has changed'
    )
    group = parser.add_argument_group('who votes')
    group.add_argument(
        '--teacher',
        type=Path,
        action='append',
        default=[],
        metavar='FILE',
        help='another model file (.onnx), a teacher file (.yaml), or an OpenVINO file (.xml) with '
        'a teacher file beside it; can be given several times',
    )
    group.add_argument(
        '--map',
        type=_renaming,
        action='append',
        default=[],
        metavar='OLD=NEW',
        help='class of a teacher that means one of the model; can be given several times',
    )
    group.add_argument(
        '--least-confidence',
        type=share,
        default=0.7,
        metavar='SHARE',
        help='of a model file below which a pixel stays void (default: 0.7)',
    )
    group.add_argument(
        '--agreement',
        type=share,
        default=1.0,
        metavar='SHARE',
        help='of those that say anything of a pixel who must agree (default: 1)',
    )
    group.add_argument(
        '--least-area',
        type=partial(count, least=0),
        default=32,
        metavar='PIXELS',
        help='of a patch of one class below which it stays void (default: 32)',
    )
    group = parser.add_argument_group('with what')
    add_options(group, InferenceSettings, 'model', 'backend', 'precision', 'threads')
    return parser


def _run(options: argparse.Namespace) -> None:
    root: Path = options.folder
    frames = frame_files(root)
    inference = made_of(InferenceSettings, vars(options))
    path = model_path(inference.model, inference.precision)
    classes = load_model(path).classes
    _check_classes(root, classes)
    proposed = _Proposed(root)
    todo = [name for name in frames if proposed.is_open(name, options.overwrite)]
    if todo:
        with ExitStack() as stack:
            voters = _voters(options, inference, path, classes, stack)
            (root / CLASSES).write_text(class_file(classes), 'utf-8')
            with bar('pre_label', len(todo)) as update:
                for done, name in enumerate(todo, 1):
                    ids = vote(read_image(frames[name]), voters, options.agreement)
                    _drop_patches(ids, options.least_area)
                    write_labels(root, name, ids, classes)
                    proposed.add(name)
                    update(done, len(todo))
    counts = _look(root, frames, classes)
    kept = len(frames) - len(todo)
    print(f'{root}: {len(todo)} frames labelled' + (f', {kept} had labels, kept' if kept else ''))
    print('\n'.join(count_table(counts, classes)))


def _voters(
    options: argparse.Namespace,
    inference: InferenceSettings,
    path: Path,
    classes: ClassTable,
    stack: ExitStack,
) -> list[Voter]:
    renamed = dict(options.map)
    classes.ids(tuple(renamed.values()))

    def open_segmenter(model: ModelFile) -> Segmenter:
        segmenter = Segmenter(
            model,
            backend=inference.backend,
            precision=inference.precision if model.path == path else 'auto',
            threads=inference.threads,
        )
        stack.callback(segmenter.close)
        return segmenter

    least = options.least_confidence
    own = open_voter(path, classes, open_segmenter, least, {})
    return [own] + [
        open_voter(teacher, classes, open_segmenter, least, renamed) for teacher in options.teacher
    ]


def _check_classes(root: Path, classes: ClassTable) -> None:
    """Refuse a folder whose labels are of another class table.

    :raises SourceError: if so.
    """
    path = root / CLASSES
    if path.exists() and path.read_text('utf-8') != class_file(classes):
        raise SourceError(
            f"{path} has other classes than the model's {', '.join(classes.names)}",
            'name the model that it is of with --model, or take classes.csv and labels/ away',
        )


def _check_ids(path: Path, ids: NDArray[np.uint8], classes: ClassTable) -> None:
    """Refuse labels with an id that is no class.

    :raises SourceError: if so.
    """
    last = int(ids[ids != UNLABELED].max(initial=0))
    if last >= len(classes):
        raise SourceError(
            f'{path} has the id {last}, the classes are 0 to {len(classes) - 1}',
            'correct it, or take it away so that it is made again; 255 is void',
        )


class _Proposed:
    """Which labels are still those that were proposed."""

    def __init__(self, root: Path) -> None:
        self._root, self._path = root, root / PROPOSED
        self._digests: dict[str, str] = {}
        if self._path.exists():
            self._digests = json.loads(self._path.read_text('utf-8'))

    def is_open(self, name: str, overwrite: bool) -> bool:
        """Whether a frame has no labels, or none that a person changed and they may be lost."""
        path = label_file(self._root, name)
        if not path.exists():
            return True
        return overwrite and self._digests.get(name) == _digest(path)

    def add(self, name: str) -> None:
        """Remember the labels of a frame."""
        self._digests[name] = _digest(label_file(self._root, name))
        part = self._path.with_name(f'.{PROPOSED}.part')
        part.write_text(json.dumps(self._digests, indent=1), 'utf-8')
        os.replace(part, self._path)


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _drop_patches(ids: NDArray[np.uint8], least: int) -> None:
    """Void patches that are smaller; in place."""
    if least < 2:
        return
    for id_ in np.unique(ids[ids != UNLABELED]):
        _, patches, stats, _ = cv2.connectedComponentsWithStats((ids == id_).view(np.uint8))
        small = stats[:, cv2.CC_STAT_AREA] < least
        small[0] = False  # everything else
        ids[small[patches]] = UNLABELED


def _renaming(text: str) -> tuple[str, str]:
    old, equals, new = text.partition('=')
    if not (old and equals and new):
        raise argparse.ArgumentTypeError(f"invalid mapping '{text}' (expected OLD=NEW)")
    return old, new


def _look(root: Path, frames: dict[str, Path], classes: ClassTable) -> NDArray[np.int64]:
    """Make the contact sheets and the files for tools; pixels of each id, (256,).

    :raises SourceError: for labels that a person put there and that do not fit.
    """
    counts = np.zeros(UNLABELED + 1, np.int64)
    cells: list[Cell] = []
    tools = ToolFiles(root / TOOLS, classes)
    for name, path in frames.items():
        file, frame = label_file(root, name), read_image(path)
        ids = read_labels(file)
        check_size(file, ids, path, frame.shape)
        _check_ids(file, ids, classes)
        tools.add(path, ids)
        counts += np.bincount(ids.ravel(), minlength=len(counts))
        if len(cells) < SHEETS * ON_SHEET:
            text = f'{name}  void {(ids == UNLABELED).mean():.0%}'
            cells.append(label_cell(frame, ids, classes, text))
    write_sheets(root, 'labels', cells)
    tools.write()
    return counts
