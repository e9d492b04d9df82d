"""Frames and their annotation files: found, paired, read, and checked against each other."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from linknet_ros.errors import SourceError
from linknet_ros.frames.files import IMAGE_SUFFIXES, check_size, read_ids, read_image
from training.datasets.dataset import SPLITS
from training.samples import Pair


class FramePair(NamedTuple):
    """A frame's name and its two files."""

    name: str
    frame: Path
    annotation: Path


def check_split(title: str, split: str) -> None:
    """Refuse an unknown split.

    :raises SourceError: naming those there are.
    """
    if split not in SPLITS:
        raise SourceError(f"unknown {title} split '{split}'", f'use one of {", ".join(SPLITS)}')


def files_by_name(
    folder: Path, endings: Sequence[str] = IMAGE_SUFFIXES, pattern: str = '*'
) -> dict[str, Path]:
    """Files of a folder by their name without the ending.

    Hidden ones are left out: archives packed on a Mac bring a `._name.png` for every frame.

    :param endings: what the names end in, in capitals or not.
    :param pattern: of the files among which to look, '*/*' for those of all subfolders.
    :raises SourceError: when two files have one name.
    """
    found: dict[str, Path] = {}
    for path in sorted(folder.glob(pattern)):
        ending = next((e for e in endings if path.name.lower().endswith(e.lower())), None)
        if ending is None or path.name.startswith('.'):
            continue
        name = path.name[: -len(ending)]
        if name in found:
            raise SourceError(
                f'{found[name]} and {path} are two files of the same name', 'keep one of them'
            )
        found[name] = path
    return found


def annotations_by_name(folder: Path) -> dict[str, Path]:
    """Annotation files of a folder by name: PNG files, which keep every id.

    :raises SourceError: for a JPEG among them, or two of one name.
    """
    lossy = files_by_name(folder, ('.jpg', '.jpeg'))
    if lossy:
        raise SourceError(
            f'{min(lossy.values())} is not an annotation: JPEG changes ids', 'export PNG files'
        )
    return files_by_name(folder, ('.png',))


def pair_up(
    frames: dict[str, Path], annotations: dict[str, Path], way_out: str
) -> list[FramePair]:
    """Pair frames with annotations by name, sorted by name.

    :param way_out: fix of the error, e.g. 'the CamVid download is incomplete'.
    :raises SourceError: when one is without the other: a part of the download is missing, and
        training on what is left would give another result than everybody else's.
    """
    for these, others, what, lack in (
        (frames, annotations, 'frames', 'annotation'),
        (annotations, frames, 'annotations', 'frame'),
    ):
        alone = sorted(these.keys() - others.keys())
        if alone:
            raise SourceError(
                f'{len(alone)} of {len(these)} {what} have no {lack}, first {these[alone[0]]}',
                way_out,
            )
    return [FramePair(name, frames[name], annotations[name]) for name in sorted(frames)]


class FramePairs(ABC):
    """A data set that reads a pair of files each time it is asked; `CachedFrames` keeps them.

    :param split: one of SPLITS.
    :param pairs: in the order of the data set.
    """

    #: Ids of classes that do not count in scores.
    left_out: tuple[int, ...] = ()

    def __init__(self, split: str, pairs: Iterable[FramePair]) -> None:
        self.split = split
        self._pairs = list(pairs)
        self.names = [pair.name for pair in self._pairs]

    def __len__(self) -> int:
        return len(self._pairs)

    def files(self, index: int) -> tuple[Path, ...]:
        """The frame's file and the annotation's."""
        return self._pairs[index].frame, self._pairs[index].annotation

    def __getitem__(self, index: int) -> Pair:
        """Frame (H, W, 3) uint8 BGR and labels (H, W) uint8 with 255 for void; read-only.

        :raises SourceError: when a file cannot be read, or the two do not fit.
        """
        pair = self._pairs[index]
        frame = read_image(pair.frame)
        annotation = self._read(pair.annotation)
        check_size(pair.annotation, annotation, pair.frame, frame.shape)
        labels = self._labels(pair.annotation, annotation)
        frame.setflags(write=False)
        labels.setflags(write=False)
        return frame, labels

    def _read(self, path: Path) -> NDArray[np.generic]:
        """The annotation image, as `_labels` takes it."""
        return read_ids(path)

    def annotation_ids(self, index: int) -> list[int]:
        """Values in the annotation's file."""
        ids: list[int] = np.unique(self._read(self._pairs[index].annotation)).tolist()
        return ids

    @abstractmethod
    def _labels(self, path: Path, annotation: NDArray[np.generic]) -> NDArray[np.uint8]:
        """Class ids (H, W) with 255 for void, from an annotation image as its file has it."""


def check_id_image(path: Path, image: NDArray[np.generic], dtype: type, hint: str) -> None:
    """Refuse an image that does not hold one id per pixel.

    :param dtype: NumPy type that the ids must have.
    :param hint: what to do.
    :raises SourceError: naming what the file holds.
    """
    if image.ndim == 2 and image.dtype == np.uint16 and dtype is np.uint8:
        raise SourceError(f'{path} has id {image.max()}', 'ids go from 0 to 255')
    if image.ndim != 2 or image.dtype != dtype:
        channels = 1 if image.ndim == 2 else image.shape[2]
        raise SourceError(
            f'{path} has {channels} channel(s) of {image.dtype}, expected one of '
            f'{np.dtype(dtype)}',
            hint,
        )
