"""Cityscapes, fine annotations, in the layout and with the ids of cityscapesScripts."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from linknet_ros.classes import CITYSCAPES, UNLABELED, ClassTable
from linknet_ros.errors import FrameError, SourceError
from linknet_ros.frames.encode import encode_png
from linknet_ros.frames.files import check_size, read_ids, read_image
from training.datasets import layouts
from training.datasets.frame_pairs import (
    FramePairs,
    check_id_image,
    check_split,
    files_by_name,
    pair_up,
)


class CityscapesLabel(NamedTuple):
    """A row of cityscapesScripts' table.

    :param name: unique.
    :param id: in `_labelIds.png`, and what the benchmark server wants; -1 is never drawn.
    :param train_id: class id for training; 255 (and -1) are not trained.
    :param color: (red, green, blue).
    :param has_instances: whether `_instanceIds.png` separates its instances.
    :param ignore_in_eval: whether the benchmark leaves pixels of it out.
    """

    name: str
    id: int
    train_id: int
    color: tuple[int, int, int]
    has_instances: bool
    ignore_in_eval: bool


#: From cityscapesScripts helpers/labels.py.
LABELS = (
    CityscapesLabel('unlabeled', 0, 255, (0, 0, 0), False, True),
    CityscapesLabel('ego vehicle', 1, 255, (0, 0, 0), False, True),
    CityscapesLabel('rectification border', 2, 255, (0, 0, 0), False, True),
    CityscapesLabel('out of roi', 3, 255, (0, 0, 0), False, True),
    CityscapesLabel('static', 4, 255, (0, 0, 0), False, True),
    CityscapesLabel('dynamic', 5, 255, (111, 74, 0), False, True),
    CityscapesLabel('ground', 6, 255, (81, 0, 81), False, True),
    CityscapesLabel('road', 7, 0, (128, 64, 128), False, False),
    CityscapesLabel('sidewalk', 8, 1, (244, 35, 232), False, False),
    CityscapesLabel('parking', 9, 255, (250, 170, 160), False, True),
    CityscapesLabel('rail track', 10, 255, (230, 150, 140), False, True),
    CityscapesLabel('building', 11, 2, (70, 70, 70), False, False),
    CityscapesLabel('wall', 12, 3, (102, 102, 156), False, False),
    CityscapesLabel('fence', 13, 4, (190, 153, 153), False, False),
    CityscapesLabel('guard rail', 14, 255, (180, 165, 180), False, True),
    CityscapesLabel('bridge', 15, 255, (150, 100, 100), False, True),
    CityscapesLabel('tunnel', 16, 255, (150, 120, 90), False, True),
    CityscapesLabel('pole', 17, 5, (153, 153, 153), False, False),
    CityscapesLabel('polegroup', 18, 255, (153, 153, 153), False, True),
    CityscapesLabel('traffic light', 19, 6, (250, 170, 30), False, False),
    CityscapesLabel('traffic sign', 20, 7, (220, 220, 0), False, False),
    CityscapesLabel('vegetation', 21, 8, (107, 142, 35), False, False),
    CityscapesLabel('terrain', 22, 9, (152, 251, 152), False, False),
    CityscapesLabel('sky', 23, 10, (70, 130, 180), False, False),
    CityscapesLabel('person', 24, 11, (220, 20, 60), True, False),
    CityscapesLabel('rider', 25, 12, (255, 0, 0), True, False),
    CityscapesLabel('car', 26, 13, (0, 0, 142), True, False),
    CityscapesLabel('truck', 27, 14, (0, 0, 70), True, False),
    CityscapesLabel('bus', 28, 15, (0, 60, 100), True, False),
    CityscapesLabel('caravan', 29, 255, (0, 0, 90), True, True),
    CityscapesLabel('trailer', 30, 255, (0, 0, 110), True, True),
    CityscapesLabel('train', 31, 16, (0, 80, 100), True, False),
    CityscapesLabel('motorcycle', 32, 17, (0, 0, 230), True, False),
    CityscapesLabel('bicycle', 33, 18, (119, 11, 32), True, False),
    CityscapesLabel('license plate', -1, -1, (0, 0, 142), False, True),
)

_DRAWN = tuple(label for label in LABELS if label.id >= 0)

#: All 34 ids as classes, void ones included.
CITYSCAPES_34 = ClassTable(
    names=tuple(label.name for label in _DRAWN),
    colors=tuple(label.color for label in _DRAWN),
    drivable=tuple(label.name == 'road' for label in _DRAWN),
)

#: What a table calls each label set.
LABEL_SETS = {'19': 'train ids, 19 classes', '34': 'label ids, 34 classes'}

#: In a table from id to class: an unknown id.
_NO_ID = 254

_FRAME, _LABELS, _INSTANCES = '_leftImg8bit.png', '_gtFine_labelIds.png', '_gtFine_instanceIds.png'


class Cityscapes(FramePairs):
    """Frames and labels of one split.

    The annotations of split 'test' are not public; its files hold the ego vehicle and the borders,
    which are void in the 19 classes. Train and measure on 'train' and 'val'.

    :param root: folder with `leftImg8bit/<split>/<city>/` and `gtFine/<split>/<city>/`, or with
        these in folders of their own, as the archives' names are.
    :param split: train, val or test.
    :param label_set: '19', the classes of the benchmark, or '34', every label id.
    :raises SourceError: when the layout is missing, or a frame or annotation is missing.
    """

    title = 'Cityscapes'

    def __init__(self, root: Path, split: str, label_set: str = '19') -> None:
        check_split(self.title, split)
        if label_set not in LABEL_SETS:
            raise SourceError(
                f"unknown {self.title} label set '{label_set}'",
                f'use one of {", ".join(LABEL_SETS)}',
            )
        frames, annotations = _parts(root, split)
        found = files_by_name(frames, [_FRAME], '*/*')
        if not found:
            raise SourceError(
                f'no <city>/*{_FRAME} in {frames}',
                f'the {self.title} download is incomplete (leftImg8bit_trainvaltest.zip)',
            )
        labelled = files_by_name(annotations, [_LABELS], '*/*')
        way_out = f'the {self.title} download is incomplete'
        super().__init__(split, pair_up(found, labelled, way_out))
        self.label_set = LABEL_SETS[label_set]
        self.classes = CITYSCAPES if label_set == '19' else CITYSCAPES_34
        if label_set == '34':
            self.left_out = tuple(label.id for label in _DRAWN if label.ignore_in_eval)
        self._class_of_id = _class_of_id(label_set)

    def _labels(self, path: Path, annotation: NDArray[np.generic]) -> NDArray[np.uint8]:
        check_id_image(
            path, annotation, np.uint8, 'this is not the file that cityscapesScripts make'
        )
        labels = self._class_of_id[annotation.astype(np.uint8, copy=False)]
        if (labels == _NO_ID).any():
            raise SourceError(
                f'{path} has label id {annotation[labels == _NO_ID][0]}, the table ends at '
                f'{_DRAWN[-1].id}',
                'download the file again',
            )
        return labels

    def instances(self, index: int) -> NDArray[np.uint16]:
        """Instance ids (H, W) uint16; read-only.

        An instance has 1000 * label id + its number; what is below 1000 is a label id, of a class
        without instances or of a group that was not annotated one by one (json2instanceImg.py).
        Label ids are raw ids in both label sets; LABELS has the train ids.

        :raises SourceError: when the file is missing or not such an image.
        """
        pair = self._pairs[index]
        path = pair.annotation.with_name(pair.name + _INSTANCES)
        ids = read_image(path, color=False)
        check_id_image(path, ids, np.uint16, 'this is not the file that cityscapesScripts make')
        # Faster to decode than the frame, and of its size or refused when labels are read.
        check_size(path, ids, pair.frame, read_ids(pair.annotation).shape)
        labels = np.where(ids < 1000, ids, ids // 1000)
        if labels.max() > _DRAWN[-1].id:
            raise SourceError(
                f'{path} has instance id {ids.flat[int(labels.argmax())]}, of label id '
                f'{labels.max()}',
                f'the table ends at {_DRAWN[-1].id}, download the file again',
            )
        result = ids.astype(np.uint16)
        result.setflags(write=False)
        return result


def _parts(root: Path, split: str) -> list[Path]:
    """Folders of a split's frames and annotations.

    The two archives may have been unpacked into one folder, or each into a folder of its own:
    `root` is then one of the two, or the folder around them.

    :raises SourceError: when one is nowhere, or in two places.
    """
    parts = ('leftImg8bit', 'gtFine')
    found = [_part(root, part, split) for part in parts]
    for path, other, part in zip(found, reversed(found), parts, strict=True):
        if path is None and other is not None and not layouts.CITYSCAPES.is_in(root):
            raise SourceError(
                f'{Cityscapes.title} {split}: {other} has no {part}/{split} beside it',
                f'unpack {part}_trainvaltest.zip into {other.parents[2]}',
            )
        if path is None:
            raise layouts.CITYSCAPES.missing(root, root / part / split)
    return [path for path in found if path is not None]


def _part(root: Path, part: str, split: str) -> Path | None:
    root = root.resolve()
    places = [[root / part], sorted(root.glob(f'*/{part}'))]
    if root.name.startswith(('leftImg8bit', 'gtFine')):
        # One archive's folder: the other's is a neighbour.
        places += [[root.parent / part], sorted(root.parent.glob(f'{part}*/{part}'))]
    for level in places:
        there = [place / split for place in level if (place / split).is_dir()]
        if len(there) > 1:
            raise SourceError(
                f'{there[0]} and {there[1]} may both be meant', 'give the folder of one of them'
            )
        if there:
            return there[0]
    return None


def to_label_ids(train_ids: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Label ids, as the benchmark server wants them, of predicted train ids.

    :param train_ids: any shape, uint8, 0 to 18, or 255, which becomes 0 (unlabeled).
    :raises FrameError: for another id, e.g. of a network of 34 classes, whose ids are label ids.
    """
    table = np.full(256, _NO_ID, np.uint8)
    # Backwards, for void to be the first of its labels, as cityscapesScripts' trainId2label.
    for label in reversed(_DRAWN):
        table[label.train_id] = label.id
    label_ids: NDArray[np.uint8] = table[train_ids]
    if (label_ids == _NO_ID).any():
        raise FrameError(
            f'class id {train_ids[label_ids == _NO_ID][0]} is not a Cityscapes train id (0 to '
            f'{len(CITYSCAPES) - 1}, {UNLABELED} for void)',
            'only networks of 19 classes need this',
        )
    return label_ids


def write_label_ids(predicted: NDArray[np.uint8], classes: int, path: Path) -> None:
    """Write labels as the benchmark server reads them: an 8-bit PNG of label ids.

    :param predicted: (H, W) uint8, class ids of a network of 19 or 34 classes.
    :raises OSError: when it cannot be written.
    """
    label_ids = predicted if classes == len(CITYSCAPES_34) else to_label_ids(predicted)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(encode_png(label_ids).tobytes())


def _class_of_id(label_set: str) -> NDArray[np.uint8]:
    """Look-up table from label id to class id, shape (256,); unknown ids _NO_ID.

    255 is what -1 (license plate) becomes in an 8-bit file.
    """
    table = np.full(256, _NO_ID, np.uint8)
    for label in _DRAWN:
        table[label.id] = label.train_id if label_set == '19' else label.id
    table[255] = UNLABELED
    return table
