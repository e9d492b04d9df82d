"""What every format is read into."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from linknet_ros.errors import SourceError

Color = tuple[int, int, int]

#: Index of a pixel without a label.
VOID = -1

#: Parts of a data set, by what folders of them are called.
SPLITS = {
    **dict.fromkeys(('train', 'training'), 'train'),
    **dict.fromkeys(('val', 'valid', 'validation'), 'val'),
    **dict.fromkeys(('test', 'testing'), 'test'),
}


@dataclass(frozen=True)
class Item:
    """A labelled frame.

    :param name: of its file, perhaps with folders before it.
    :param read: gives (H, W) int32, indices into the labels, VOID for none.
    :param source: file that the labels are in, for messages.
    :param image: the frame's file; None: to be looked for by its name.
    :param split: 'train', 'val', 'test', or '' where the source does not say.
    """

    name: str
    read: Callable[[], NDArray[np.int32]]
    source: Path
    image: Path | None = None
    split: str = ''


@dataclass
class Labelled:
    """A source of labels.

    :param title: of the format.
    :param labels: names; may grow while items are read.
    :param colors: (red, green, blue) by name, where known.
    :param notes: what was left out or supposed, a line each.
    """

    title: str
    labels: list[str] = field(default_factory=list)
    colors: dict[str, Color] = field(default_factory=dict)
    items: list[Item] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def index(self, label: str) -> int:
        """Index of a label, a new one if need be."""
        if label not in self.labels:
            self.labels.append(label)
        return self.labels.index(label)


def split_of(*parts: str) -> str:
    """The split that the first part of a path which names one is of."""
    return next((SPLITS[part.lower()] for part in parts if part.lower() in SPLITS), '')


def damaged(path: Path, why: object) -> SourceError:
    """An error for a file that is not as its format has it."""
    return SourceError(f'{path} is damaged ({why})', 'export it again')
