"""Your own frames: CamVid's layout, with a table of classes beside it."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from linknet_ros.classes import UNLABELED, ClassTable
from linknet_ros.errors import ClassNameError, SourceError
from linknet_ros.frames.files import IMAGE_SUFFIXES, read_palette
from linknet_ros.recordings.label_folder import FRAMES, LABELS
from training.datasets import layouts
from training.datasets.dataset import sequence_of
from training.datasets.frame_pairs import (
    FramePairs,
    annotations_by_name,
    check_id_image,
    check_split,
    files_by_name,
    pair_up,
)

#: File of the classes, in the data set's folder.
CLASS_FILE = 'classes.csv'

COLUMNS = ('id', 'name', 'red', 'green', 'blue', 'drivable')

#: Names of the frames of a split, one a line, where all frames are in one folder.
SPLIT_FILES = {'val': 'val.txt', 'test': 'test.txt'}

#: Of each sequence, one frame in so many is of val where nothing says which; the last ones.
_VAL = 5

#: In the table from id to class: it is not listed. A class id is 253 at most.
_NOT_LISTED = 254

_TRUTHS = {'yes': True, 'true': True, '1': True, 'no': False, 'false': False, '0': False}


class Folder(FramePairs):
    """Frames and labels of one split of a folder with classes of its own.

    All frames may be in one folder: then frames without labels are left out, and `val.txt` and
    `test.txt` name those that are not of train; without them, val is the last fifth of each
    sequence.

    :param root: folder with `classes.csv`, `<split>/*.png` or `*.jpg`, and `<split>annot/*.png`;
        or with `classes.csv`, `frames/` and `labels/`.
    :param split: train, val or test.
    :raises SourceError: when the table is wrong, or a frame or annotation is missing.
    """

    def __init__(self, root: Path, split: str) -> None:
        self.title = root.resolve().name or 'folder'
        check_split(self.title, split)
        self._table = root / CLASS_FILE
        frames, annotations = root / split, root / f'{split}annot'
        together = not frames.is_dir() and (root / LABELS).is_dir()
        if together:
            frames, annotations = root / FRAMES, root / LABELS
        for folder in (frames, annotations):
            if not folder.is_dir():
                raise layouts.FOLDER.missing(root, folder)
        self.classes, self._class_of_id = read_class_file(self._table)
        self.label_set = f'{CLASS_FILE}, {len(self.classes)} classes'
        found = files_by_name(frames)
        if not found:
            raise SourceError(
                f'no frame in {frames}', f'they end with {", ".join(IMAGE_SUFFIXES)}'
            )
        labelled = annotations_by_name(annotations)
        if together:
            found = {name: path for name, path in found.items() if name in labelled}
        pairs = pair_up(found, labelled, 'add it, or take the other away')
        if together:
            chosen = names_of_split(root, [pair.name for pair in pairs], split)
            pairs = [pair for pair in pairs if pair.name in chosen]
        super().__init__(split, pairs)

    def files(self, index: int) -> tuple[Path, ...]:
        """The frame's file, the annotation's and that of the classes."""
        return *super().files(index), self._table

    def _labels(self, path: Path, annotation: NDArray[np.generic]) -> NDArray[np.uint8]:
        check_id_image(
            path,
            annotation,
            np.uint8,
            f'its pixels must be ids of {CLASS_FILE}, not colours',
        )
        self._check_palette(path, annotation)
        labels: NDArray[np.uint8] = self._class_of_id[annotation]
        if (labels == _NOT_LISTED).any():
            y, x = (int(v) for v in np.argwhere(labels == _NOT_LISTED)[0])
            raise SourceError(
                f'{path} has id {annotation[y, x]} at column {x}, row {y}, which {self._table} '
                'does not list',
                'add a line for it, with an empty name if it is void',
            )
        return labels

    def _check_palette(self, path: Path, annotation: NDArray[np.generic]) -> None:
        """Refuse indices that are not the ids: a program that reduces colours renumbers them.

        It shows where all colours of the palette are those of classes, but not of the indices'
        own, or where all are grey values that are listed as ids, but not as the indices' own.
        """
        palette = read_palette(path)
        if palette is None:
            return
        used = [i for i in np.unique(annotation).tolist() if i < len(palette)]
        colors = [tuple(palette[i].tolist()) for i in used]
        names = dict(zip(self.classes.colors, self.classes.names, strict=True))
        if all(color in names for color in colors):
            own = [self._class_of_id[i] for i in used]
            wrong = [
                (i, names[color])
                for i, color, c in zip(used, colors, own, strict=True)
                if c >= len(self.classes) or self.classes.colors[c] != color
            ]
        elif all(
            len(set(color)) == 1 and self._class_of_id[color[0]] != _NOT_LISTED for color in colors
        ):
            wrong = [
                (i, f'id {color[0]}')
                for i, color in zip(used, colors, strict=True)
                if color[0] not in (i, 0, 255)
            ]
        else:
            wrong = []
        if wrong:
            raise SourceError(
                f'{path} has a palette in which index {wrong[0][0]} looks like {wrong[0][1]}',
                f'export ids of {CLASS_FILE} as grey values, without a palette',
            )


def names_of_split(root: Path, names: Sequence[str], split: str) -> set[str]:
    """Which labelled frames of a folder are of a split; see Folder.

    :param names: sorted.
    :raises SourceError: when there are none, or a file lists a frame that is not there.
    """
    listed: dict[str, set[str]] = {}
    for other, file in SPLIT_FILES.items():
        path = root / file
        listed[other] = (
            set(path.read_text('utf-8').split('\n')) - {''} if path.is_file() else set()
        )
        strange = sorted(listed[other] - set(names))
        if strange:
            raise SourceError(
                f'{path} lists {strange[0]}, which has no labels', 'take the line out, or label it'
            )
    if not listed['val']:
        by_sequence: dict[str, list[str]] = {}
        for name in names:
            if name not in listed['test']:
                by_sequence.setdefault(sequence_of(name), []).append(name)
        long = [own for own in by_sequence.values() if len(own) >= _VAL]
        short = [name for own in by_sequence.values() if len(own) < _VAL for name in own]
        for own in (*long, short):
            listed['val'] |= set(own[len(own) - len(own) // _VAL :])
    listed['train'] = set(names) - listed['val'] - listed['test']
    if not listed[split]:
        raise SourceError(
            f'none of the {len(names)} labelled frames in {root} is of {split}',
            f'name some in {SPLIT_FILES.get(split, "neither val.txt nor test.txt")}, one a line',
        )
    return listed[split]


def read_class_file(path: Path) -> tuple[ClassTable, NDArray[np.uint8]]:
    """Classes in the order in which their names first come, and what each id becomes.

    Ids of one name are one class; those without a name, and 255 if it is not listed, are void.

    :returns: the classes, and a look-up table from id to class id, (256,) uint8.
    :raises SourceError: naming the line that is wrong.
    """
    try:
        with path.open(encoding='utf-8-sig', newline='') as file:
            lines = [[cell.strip() for cell in line] for line in csv.reader(file, strict=True)]
    except FileNotFoundError:
        raise SourceError(
            f'no class table {path}',
            f"make one: a line '{','.join(COLUMNS)}', then one for each "
            "id, as '0,road,128,64,128,yes'",
        ) from None
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise SourceError(f'cannot read the class table {path}: {error}') from error
    header = lines[0] if lines else []
    if sorted(header) != sorted(COLUMNS):
        raise SourceError(
            f"{path} starts with '{','.join(header)}'",
            f"its first line must be '{','.join(COLUMNS)}'",
        )
    rows: dict[str, tuple[tuple[int, int, int], bool]] = {}
    class_of_id = np.full(256, _NOT_LISTED, np.uint8)
    class_of_id[255] = UNLABELED
    seen: set[int] = set()
    for number, line in enumerate(lines[1:], 2):
        where = f'{path} line {number}'
        if not any(line):
            continue
        if len(line) != len(header):
            raise SourceError(f'{where} has {len(line)} values, not {len(header)}')
        cells = dict(zip(header, line, strict=True))
        index, name = _byte(cells['id'], f'id of {where}'), cells['name']
        if index in seen:
            raise SourceError(f'{where} lists id {index} again', 'keep one of the lines')
        seen.add(index)
        if not name:
            class_of_id[index] = UNLABELED
            continue
        row = _color_and_drivable(cells, where)
        if rows.setdefault(name, row) != row:
            raise SourceError(
                f"{where}: '{name}' has another colour or drivable flag above",
                'ids of one name are one class',
            )
        class_of_id[index] = list(rows).index(name)
    try:
        colors, drivable = tuple(c for c, _ in rows.values()), tuple(d for _, d in rows.values())
        return ClassTable(tuple(rows), colors, drivable), class_of_id
    except ClassNameError as error:
        raise SourceError(f'{path}: {error}') from error


def _color_and_drivable(cells: dict[str, str], where: str) -> tuple[tuple[int, int, int], bool]:
    red, green, blue = (_byte(cells[c], f'{c} of {where}') for c in ('red', 'green', 'blue'))
    drivable = _TRUTHS.get(cells['drivable'].lower())
    if drivable is None:
        raise SourceError(f"drivable of {where} is '{cells['drivable']}'", 'write yes or no')
    return (red, green, blue), drivable


def _byte(text: str, what: str) -> int:
    if not (text.isascii() and text.isdecimal() and int(text) <= 255):
        raise SourceError(f"{what} is '{text}' (expected a whole number from 0 to 255)")
    return int(text)
