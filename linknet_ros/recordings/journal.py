"""What the network said of each frame so far, kept for a run that goes on where another ended.

An output is always written from its beginning, by the same code; a run that goes on only skips
the network for the frames that are in the journal. So its output is that of a single run.
"""

from __future__ import annotations

import hashlib
import os
import struct
import zlib
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from linknet_ros.errors import RecordingError

_MAGIC = b'linknet_ros journal 1\n'

#: Index of the frame, height, width, bytes of data, CRC-32 of these and the data.
_HEAD = struct.Struct('<QIIII')

#: Bytes at either end of a file that are looked at to know it again.
_ENDS = 65536

Arrays = tuple[NDArray[np.uint8], NDArray[np.uint8]]


class ResultJournal:
    """Labels and confidence by frame, in a file that is only appended to.

    A record that a kill cut short, and what stands behind it, is dropped.

    :param path: of the file; made where there is none.
    :param fingerprint: of all that decides the results; one line.
    :raises RecordingError: when the file was begun with another fingerprint.
    :raises OSError: when it cannot be written.
    """

    def __init__(self, path: Path, fingerprint: str) -> None:
        self._file = os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT, 0o644), 'r+b')
        self._records: dict[int, tuple[int, int, int, int]] = {}
        start = _MAGIC + fingerprint.encode() + b'\n'
        found = self._file.read(len(start))
        if found != start:
            if not start.startswith(found):
                self._file.close()
                raise RecordingError(
                    f'{path.parent} was begun with another recording, model, topic or back end; '
                    'give the same ones, or start anew with --overwrite'
                )
            self._file.seek(0)
            self._file.write(start)
        self._end = len(start)
        self._read()
        self._file.truncate(self._end)

    def __len__(self) -> int:
        """Number of frames in it."""
        return len(self._records)

    def get(self, index: int) -> Arrays | None:
        """Labels and confidence of a frame, (H, W) uint8, the receiver's; None if unknown."""
        record = self._records.get(index)
        if record is None:
            return None
        at, height, width, size = record
        self._file.seek(at)
        pixels = np.frombuffer(zlib.decompress(self._file.read(size)), np.uint8)
        labels, confidence = pixels.reshape(2, height, width).copy()
        return labels, confidence

    def put(self, index: int, labels: NDArray[np.uint8], confidence: NDArray[np.uint8]) -> None:
        """Add a frame; it survives the end of this process.

        :param labels: (H, W) uint8.
        :param confidence: likewise.
        :raises OSError: when it cannot be written.
        """
        # Level 1: a few milliseconds, where the network takes tens.
        data = zlib.compress(labels.tobytes() + confidence.tobytes(), 1)
        head = (index, *labels.shape, len(data))
        self._file.seek(self._end)
        self._file.write(_HEAD.pack(*head, _checksum(head, data)) + data)
        self._file.flush()
        self._add(head)

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def _read(self) -> None:
        while True:
            packed = self._file.read(_HEAD.size)
            if len(packed) < _HEAD.size:
                return
            *head, checksum = _HEAD.unpack(packed)
            data = self._file.read(head[-1])
            if len(data) < head[-1] or _checksum(tuple(head), data) != checksum:
                return
            self._add(tuple(head))

    def _add(self, head: tuple[int, ...]) -> None:
        index, height, width, size = head
        self._records[index] = (self._end + _HEAD.size, height, width, size)
        self._end += _HEAD.size + size


def _checksum(head: tuple[int, ...], data: bytes) -> int:
    return zlib.crc32(data, zlib.crc32(repr(head).encode()))


def fingerprint(path: Path) -> str:
    """Name, size and both ends of a file: enough to tell one recording from another."""
    with path.open('rb') as file:
        first = file.read(_ENDS)
        size = file.seek(0, os.SEEK_END)
        file.seek(max(0, size - _ENDS))
        digest = hashlib.sha256(first + file.read(_ENDS))
    return f'{path.name} {size} {digest.hexdigest()}'
