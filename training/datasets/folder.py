"""Your own frames: CamVid's layout, with a table of classes beside it."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from linknet_ros.classes import UNLABELED, ClassTable
from linknet_ros.errors import ClassNameError, SourceError
from training.datasets import layouts
from training.datasets.frame_pairs import (
    FramePairs,
    check_id_image,
    check_split,
    files_by_name,
    pair_up,
)

#: File of the classes, in the data set's folder.
CLASS_FILE = 'classes.csv'

COLUMNS = ('id', 'name', 'red', 'green', 'blue', 'drivable')

#: What frames end with; annotations are .png, which loses nothing.
_FRAME_ENDINGS = ('.png', '.jpg', '.jpeg')

#: In the table from id to class: it is not listed. A class id is 253 at most.
_NOT_LISTED = 254

_TRUTHS = {'yes': True, 'true': True, '1': True, 'no': False, 'false': False, '0': False}


class Folder(FramePairs):
    """Frames and labels of one split of a folder with classes of its own.

    :param root: folder with `classes.csv`, `<split>/*.png` or `*.jpg`, and `<split>annot/*.png`.
    :param split: train, val or test.
    :raises SourceError: when the table is wrong, or a frame or annotation is missing.
    """

    def __init__(self, root: Path, split: str) -> None:
        self.title = root.resolve().name or 'folder'
        check_split(self.title, split)
        self._table = root / CLASS_FILE
        frames, annotations = root / split, root / f'{split}annot'
        for folder in (frames, annotations):
            if not folder.is_dir():
                raise layouts.FOLDER.missing(root, folder)
        self.classes, self._class_of_id = read_class_file(self._table)
        self.label_set = f'{CLASS_FILE}, {len(self.classes)} classes'
        found: dict[str, Path] = {}
        for ending in _FRAME_ENDINGS:
            for name, path in files_by_name(frames, f'*{ending}', ending).items():
                if name in found:
                    raise SourceError(
                        f'{found[name]} and {path} are frames of the same name', 'keep one of them'
                    )
                found[name] = path
        if not found:
            raise SourceError(
                f'no frame in {frames}', f'they end with {", ".join(_FRAME_ENDINGS)}'
            )
        labelled = files_by_name(annotations, '*.png', '.png')
        super().__init__(split, pair_up(found, labelled, 'add it, or take the other away'))

    def files(self, index: int) -> tuple[Path, ...]:
        """The frame's file, the annotation's and that of the classes."""
        return *super().files(index), self._table

    def _labels(self, path: Path, annotation: NDArray[np.generic]) -> NDArray[np.uint8]:
        check_id_image(
            path,
            annotation,
            np.uint8,
            f'its pixels must be ids of {CLASS_FILE}: no colours, no palette',
        )
        labels: NDArray[np.uint8] = self._class_of_id[annotation]
        if (labels == _NOT_LISTED).any():
            y, x = (int(v) for v in np.argwhere(labels == _NOT_LISTED)[0])
            raise SourceError(
                f'{path} has id {annotation[y, x]} at column {x}, row {y}, which {self._table} '
                'does not list',
                'add a line for it, with an empty name if it is void',
            )
        return labels


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
