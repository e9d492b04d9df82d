"""A folder of frames and their labels, as `pick_frames` begins it and training reads it.

frames/*.jpg or *.png
labels/*.png            class ids of the same names, as indices of a palette; 255 is void
classes.csv             what each id is
"""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Iterable, Sequence
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from linknet_ros.classes import UNLABELED, ClassTable
from linknet_ros.errors import SourceError
from linknet_ros.frames.encode import encode_jpeg, encode_palette_png
from linknet_ros.frames.files import IMAGE_SUFFIXES, read_ids
from linknet_ros.products.colors import blend, colorize
from linknet_ros.products.contact_sheet import captioned_sheet

FRAMES, LABELS, CLASSES = 'frames', 'labels', 'classes.csv'

#: Frames on a contact sheet, and in a row of it; sheets; width of a frame on them [pixels].
ON_SHEET, _IN_ROW, SHEETS, WIDTH = 60, 3, 10, 240

#: Of the JPEGs of contact sheets.
_QUALITY = 95

#: Of void in the palette, as in Pascal VOC: black may be the colour of a class.
_VOID_BGR = (192, 224, 224)

#: Pictures of a cell of a contact sheet, and its text.
Cell = tuple[list[NDArray[np.uint8]], str]


def frame_files(root: Path) -> dict[str, Path]:
    """The frames of a folder by their name without the ending, sorted.

    :raises SourceError: when there is none, or two have one name.
    """
    folder = root / FRAMES
    found: dict[str, Path] = {}
    for path in sorted(folder.iterdir()) if folder.is_dir() else ():
        if path.suffix.lower() not in IMAGE_SUFFIXES or path.name.startswith('.'):
            continue
        if path.stem in found:
            raise SourceError(
                f'{found[path.stem]} and {path} are two frames of one name', 'rename one of them'
            )
        found[path.stem] = path
    if not found:
        raise SourceError(
            f'no image in {folder}',
            f'make it with pick_frames, or put images ({", ".join(IMAGE_SUFFIXES)}) there',
        )
    return found


def label_file(root: Path, name: str) -> Path:
    """Where the labels of a frame are."""
    return root / LABELS / f'{name}.png'


def class_file(classes: ClassTable) -> str:
    """Text of classes.csv: id, name, colour and drivable flag of each class."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator='\n')
    writer.writerow(('id', 'name', 'red', 'green', 'blue', 'drivable'))
    for id_, (name, color, drivable) in enumerate(
        zip(classes.names, classes.colors, classes.drivable, strict=True)
    ):
        writer.writerow((id_, name, *color, 'yes' if drivable else 'no'))
    return text.getvalue()


def write_labels(root: Path, name: str, ids: NDArray[np.uint8], classes: ClassTable) -> None:
    """Write the labels of a frame, whole or not at all.

    :param ids: (H, W) uint8, 255 for void.
    """
    path = label_file(root, name)
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f'.{path.name}.part')
    palette = classes.palette_bgr()
    palette[UNLABELED] = _VOID_BGR
    part.write_bytes(encode_palette_png(ids, palette))
    os.replace(part, path)


def read_labels(path: Path) -> NDArray[np.uint8]:
    """Class ids (H, W) uint8, see read_ids.

    :raises SourceError: when it cannot be read, or has no ids.
    """
    ids = read_ids(path)
    if ids.ndim != 2 or ids.dtype != np.uint8:
        raise SourceError(f'{path} does not have one 8-bit id per pixel', 'export ids')
    return ids.astype(np.uint8, copy=False)


def count_table(counts: NDArray[np.int64], classes: ClassTable) -> Iterable[str]:
    """Lines that say how many pixels each class has, those without any named as such.

    :param counts: (256,) by id, 255 for void.
    """
    total = max(1, int(counts.sum()))
    width = max(map(len, (*classes.names, 'void')))
    for id_, name in (*enumerate(classes.names), (UNLABELED, 'void')):
        number = int(counts[id_])
        share = f'{number:>13,}  {number / total:6.1%}'.replace(',', ' ')
        yield f'{id_:>3}  {name:<{width}}  {share if number or name == "void" else "no pixel"}'


def label_cell(
    frame: NDArray[np.uint8], ids: NDArray[np.uint8], classes: ClassTable, text: str
) -> Cell:
    """A frame beside its labels; void shows the frame.

    :param frame: (H, W, 3) uint8 BGR.
    :param ids: (H, W) uint8.
    """
    colors = colorize(ids, classes.palette_bgr())
    return [thumbnail(frame), thumbnail(blend(frame, colors, ids, 0.6))], text


def write_sheets(root: Path, stem: str, cells: Sequence[Cell]) -> None:
    """Write contact sheets, `<stem>_1.jpg` and so on, in place of those that are there."""
    for old in root.glob(f'{stem}_[0-9]*.jpg'):
        old.unlink()
    for page, at in enumerate(range(0, len(cells), ON_SHEET), 1):
        sheet = captioned_sheet(cells[at : at + ON_SHEET], _IN_ROW, WIDTH)
        (root / f'{stem}_{page}.jpg').write_bytes(encode_jpeg(sheet, _QUALITY).tobytes())


def thumbnail(picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """A picture, (H, W, 3) uint8 BGR, as it is on a contact sheet."""
    height = max(1, round(picture.shape[0] * WIDTH / picture.shape[1]))
    small = cv2.resize(picture, (WIDTH, height), interpolation=cv2.INTER_AREA)
    return np.asarray(small, np.uint8)
