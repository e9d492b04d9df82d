"""Frames of a data set at another size, kept in memory and on disk."""

from __future__ import annotations

import re
import sys
from collections import OrderedDict
from contextlib import suppress
from hashlib import blake2b
from pathlib import Path
from typing import TypeVar
from uuid import uuid4
from zlib import crc32

import cv2
import numpy as np
from numpy.typing import NDArray

from linknet_ros.errors import ParameterError, SourceError
from training.datasets.dataset import Dataset, DatasetView, InstanceDataset, annotation_ids
from training.samples import Pair

#: Bytes of pairs held in memory: all of CamVid at 480x360 (0.7 MB a pair), and a small part of
#: Cityscapes (8.4 MB a pair). Every worker process of a loader has its own.
MEMORY = 512 * 1024**2

#: Raise it when loaders or resizing give other pixels than before: old copies are then not used.
_VERSION = 2

_STAMP_BYTES, _CHECKSUM_BYTES = 16, 4

_Ids = TypeVar('_Ids', np.uint8, np.uint16)


class CachedFrames(DatasetView):
    """Frames and labels of a data set, resized, the last used ones in memory.

    With a folder every pair is also kept there, in one file: a lossless PNG of four channels
    (blue, green, red, labels), then a stamp and a checksum. The stamp says what it was made from
    (data set, label set, split, name, size, and size and time of the source files): a copy that
    does not match is made again. Copies are written whole or not at all, so processes can share.

    :param frames: any data set or view.
    :param folder: for the copies; None keeps none.
    :param size: (width, height) in pixels, or None for the size that each frame has.
    :param memory: bytes of pairs to hold.
    :raises ParameterError: for an invalid size.
    :raises SourceError: when the folder cannot be made.
    """

    def __init__(
        self,
        frames: Dataset,
        folder: Path | None,
        size: tuple[int, int] | None,
        memory: int = MEMORY,
    ) -> None:
        if size is not None and (len(size) != 2 or min(size) < 1):
            raise ParameterError(
                f'invalid frame size {size} (expected width and height in pixels)',
                'use two numbers above 0',
            )
        super().__init__(frames)
        self.names = frames.names
        self._frames = frames
        self._size = size
        self._memory = memory
        self._held: OrderedDict[int, Pair] = OrderedDict()
        self._held_bytes = 0
        self._damage_told = False
        self._folder: Path | None = None
        if folder is not None:
            kind = re.sub(r'[^a-z0-9]+', '-', f'{self.title} {self.label_set}'.lower())
            shape = 'full' if size is None else f'{size[0]}x{size[1]}'
            self._folder = folder / kind / f'{self.split}-{shape}'
            try:
                self._folder.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                raise _unwritable(self._folder, error) from error

    def __len__(self) -> int:
        return len(self._frames)

    def files(self, index: int) -> tuple[Path, ...]:
        """Files that the pair is read from; not the copies."""
        return self._frames.files(index)

    def annotation_ids(self, index: int) -> list[int]:
        """Values in the annotation's file; not in the copy."""
        return annotation_ids(self._frames, index)

    def __getitem__(self, index: int) -> Pair:
        """Frame (H, W, 3) uint8 BGR and labels (H, W) uint8 with 255 for void; read-only.

        :raises SourceError: when the source cannot be read, or the copy not be written.
        """
        index = range(len(self))[index]
        if index in self._held:
            self._held.move_to_end(index)
            return self._held[index]
        pair = self._make(index) if self._folder is None else self._from_folder(index)
        for array in pair:
            array.setflags(write=False)
        self._held[index] = pair
        self._held_bytes += _bytes_of(pair)
        while self._held_bytes > self._memory:
            self._held_bytes -= _bytes_of(self._held.popitem(last=False)[1])
        return pair

    def _make(self, index: int) -> Pair:
        frame, labels = self._frames[index]
        if self._size is None:
            return frame, labels
        return resize_frame(frame, self._size), resize_ids(labels, self._size)

    def _from_folder(self, index: int) -> Pair:
        assert self._folder is not None
        path = self._folder / f'{self.names[index]}.png'
        stamp = self._stamp(index)
        pair = self._read(path, stamp)
        if pair is None:
            pair = self._make(index)
            _write(path, pair, stamp)
        return pair

    def _read(self, path: Path, stamp: bytes) -> Pair | None:
        """The copy; None when there is none or it was made from something else."""
        try:
            data = path.read_bytes()
        except FileNotFoundError:
            return None
        except OSError as error:
            raise SourceError(
                f'cannot read the cached copy {path}: {error.strerror}',
                'delete it, or use another --cache',
            ) from error
        body, checksum = data[:-_CHECKSUM_BYTES], data[-_CHECKSUM_BYTES:]
        if crc32(body).to_bytes(_CHECKSUM_BYTES, 'big') != checksum:
            if not self._damage_told:
                self._damage_told = True
                print(
                    f'the cached copy {path} is damaged and is made again, as any others are',
                    file=sys.stderr,
                )
            return None
        if body[-_STAMP_BYTES:] != stamp:
            return None
        image = cv2.imdecode(np.frombuffer(body, np.uint8), cv2.IMREAD_UNCHANGED)
        return np.ascontiguousarray(image[..., :3]), np.ascontiguousarray(image[..., 3])

    def _stamp(self, index: int) -> bytes:
        sources = []
        for path in self._frames.files(index):
            try:
                status = path.stat()
            except OSError as error:
                raise SourceError(
                    f'cannot read {path}: {error.strerror}',
                    'the data set has changed, start again',
                ) from error
            sources.append((path.name, status.st_size, status.st_mtime_ns))
        kind = (_VERSION, self.title, self.label_set, self.classes.names, self.split)
        made_from = (kind, self.names[index], self._size, sources)
        return blake2b(repr(made_from).encode(), digest_size=_STAMP_BYTES).digest()


class CachedInstances(CachedFrames):
    """The same for a data set that knows instances; those are resized and not kept."""

    _frames: InstanceDataset

    def instances(self, index: int) -> NDArray[np.uint16]:
        """Instance ids (H, W) uint16 at the size of the labels; read-only."""
        ids = self._frames.instances(index)
        if self._size is not None:
            ids = resize_ids(ids, self._size)
            ids.setflags(write=False)
        return ids


def resize_frame(frame: NDArray[np.uint8], size: tuple[int, int]) -> NDArray[np.uint8]:
    """Resize to (width, height): INTER_AREA to shrink, which averages, else INTER_LINEAR."""
    height, width = frame.shape[:2]
    if size == (width, height):
        return frame
    shrinks = size[0] <= width and size[1] <= height
    how = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
    resized: NDArray[np.uint8] = cv2.resize(frame, size, interpolation=how)
    return resized


def resize_ids(ids: NDArray[_Ids], size: tuple[int, int]) -> NDArray[_Ids]:
    """Resize to (width, height), every pixel the id at its centre; the dtype stays.

    INTER_NEAREST takes the pixel's corner instead, which shifts labels against frames.
    """
    if size == (ids.shape[1], ids.shape[0]):
        return ids
    resized: NDArray[_Ids] = cv2.resize(ids, size, interpolation=cv2.INTER_NEAREST_EXACT)
    return resized


def _write(path: Path, pair: Pair, stamp: bytes) -> None:
    done, png = cv2.imencode('.png', np.dstack(pair))
    assert done
    body = png.tobytes() + stamp
    part = path.with_name(f'{path.name}.{uuid4().hex}.part')
    try:
        part.write_bytes(body + crc32(body).to_bytes(_CHECKSUM_BYTES, 'big'))
        part.replace(path)
    except OSError as error:
        with suppress(OSError):
            part.unlink()
        raise _unwritable(path, error) from error


def _unwritable(path: Path, error: OSError) -> SourceError:
    return SourceError(
        f'cannot write {path} of the frame cache: {error.strerror}',
        'free some space there, or give another --cache',
    )


def _bytes_of(pair: Pair) -> int:
    return sum(array.nbytes for array in pair)
