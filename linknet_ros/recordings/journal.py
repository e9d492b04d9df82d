"""What the network said of each frame so far, kept for a run that goes on where another ended.

An output is always written from its beginning, by the same code; a run that goes on only skips
the network for the frames that are in the journal. So its output is that of a single run.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import sqlite3
import threading
import zlib
from pathlib import Path
from urllib.parse import quote

import numpy as np
from numpy.typing import NDArray

from linknet_ros.errors import RecordingError

#: What frames begin with that were packed with LZ4; those of zlib begin with 0x78.
_LZ4 = b'\x04\x22\x4d\x18'

#: Bytes at either end of a file that are looked at to know it again.
_ENDS = 65536

Arrays = tuple[NDArray[np.uint8], NDArray[np.uint8]]


class ResultJournal:
    """Labels and confidence by frame, in an SQLite file; what cannot be read is computed again.

    Threads may share it.

    :param path: of the file; made where there is none.
    :param fingerprint: of all that decides the results.
    :raises RecordingError: when the file was begun with another fingerprint.
    :raises sqlite3.Error: when it cannot be written.
    """

    def __init__(self, path: Path, fingerprint: str) -> None:
        # The part folder has the lock; that of SQLite does not work on every shared disk.
        address = f'file:{quote(str(path.absolute()))}?nolock=1'
        self._lock = threading.Lock()
        try:
            self._database = _open(address)
        except sqlite3.DatabaseError:  # of another format, or torn by a crash of the system
            for file in path.parent.glob(f'{path.name}*'):
                file.unlink()
            self._database = _open(address)
        self._database.execute(
            'INSERT INTO run SELECT ? WHERE NOT EXISTS (SELECT * FROM run)', (fingerprint,)
        )
        if self._database.execute('SELECT fingerprint FROM run').fetchone() != (fingerprint,):
            self._database.close()
            raise RecordingError(
                f'{path.parent} was begun with another recording, model, topic, back end or '
                'setting',
                'give the same ones, or start again with --overwrite',
            )

    def get(self, index: int) -> Arrays | None:
        """Labels and confidence of a frame, (H, W) uint8, the caller's own; None if unknown."""
        with contextlib.suppress(sqlite3.DatabaseError, *_DAMAGE):
            with self._lock:
                found = self._database.execute(
                    'SELECT height, width, data FROM frames WHERE id = ?', (index,)
                ).fetchone()
            if found:
                height, width, data = found
                pixels = np.frombuffer(_unpacked(data), np.uint8)
                labels, confidence = pixels.reshape(2, height, width).copy()
                return labels, confidence
        return None

    def put(self, index: int, labels: NDArray[np.uint8], confidence: NDArray[np.uint8]) -> None:
        """Add a frame; it survives the end of this process.

        :param labels: (H, W) uint8.
        :param confidence: the same.
        :raises sqlite3.Error: when it cannot be written.
        """
        row = (index, *labels.shape, _packed(labels.tobytes() + confidence.tobytes()))
        with self._lock:
            self._database.execute('INSERT OR REPLACE INTO frames VALUES (?, ?, ?, ?)', row)

    def close(self) -> None:
        """Close the file."""
        self._database.close()


#: What data leads to that are damaged, or packed with a library that is not here.
_DAMAGE = (zlib.error, RuntimeError, ValueError, ImportError)


def _packed(data: bytes) -> bytes:
    """Pack with a checksum: with LZ4 in an eighth of zlib's time, where it came with `mcap`."""
    try:
        from lz4.frame import compress
    except ImportError:
        return zlib.compress(data, 1)
    packed: bytes = compress(data, content_checksum=True)
    return packed


def _unpacked(data: bytes) -> bytes:
    """The opposite.

    :raises Exception: one of _DAMAGE.
    """
    if not data.startswith(_LZ4):
        return zlib.decompress(data)
    from lz4.frame import decompress

    unpacked: bytes = decompress(data)
    return unpacked


def _open(address: str) -> sqlite3.Connection:
    database = sqlite3.connect(address, uri=True, isolation_level=None, check_same_thread=False)
    try:
        # A kill loses nothing that was written; who pulls the plug has the check below.
        database.execute('PRAGMA synchronous=OFF')
        if database.execute('PRAGMA quick_check(1)').fetchone() != ('ok',):
            raise sqlite3.DatabaseError('pages are missing')
        database.execute('CREATE TABLE IF NOT EXISTS run (fingerprint TEXT)')
        database.execute(
            'CREATE TABLE IF NOT EXISTS frames '
            '(id INTEGER PRIMARY KEY, height INTEGER, width INTEGER, data BLOB)'
        )
    except BaseException:
        database.close()
        raise
    return database


def fingerprint(path: Path) -> str:
    """Name, size and both ends of a file: enough to tell one recording from another."""
    with path.open('rb') as file:
        first = file.read(_ENDS)
        size = file.seek(0, os.SEEK_END)
        file.seek(max(0, size - _ENDS))
        digest = hashlib.sha256(first + file.read(_ENDS))
    return f'{path.name} {size} {digest.hexdigest()}'
