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
                f'{path.parent} was begun with another recording, model, topic or back end',
                'give the same ones, or start again with --overwrite',
            )

    def __len__(self) -> int:
        """Number of frames in it."""
        (count,) = self._database.execute('SELECT count(*) FROM frames').fetchone()
        return int(count)

    def get(self, index: int) -> Arrays | None:
        """Labels and confidence of a frame, (H, W) uint8, the caller's own; None if unknown."""
        with contextlib.suppress(sqlite3.DatabaseError, zlib.error):
            with self._lock:
                found = self._database.execute(
                    'SELECT height, width, data FROM frames WHERE id = ?', (index,)
                ).fetchone()
            if found:
                height, width, data = found
                pixels = np.frombuffer(zlib.decompress(data), np.uint8)
                labels, confidence = pixels.reshape(2, height, width).copy()
                return labels, confidence
        return None

    def put(self, index: int, labels: NDArray[np.uint8], confidence: NDArray[np.uint8]) -> None:
        """Add a frame; it survives the end of this process.

        :param labels: (H, W) uint8.
        :param confidence: the same.
        :raises sqlite3.Error: when it cannot be written.
        """
        # Level 1: a few milliseconds, where the network takes tens. With a checksum.
        data = zlib.compress(labels.tobytes() + confidence.tobytes(), 1)
        row = (index, *labels.shape, data)
        with self._lock:
            self._database.execute('INSERT OR REPLACE INTO frames VALUES (?, ?, ?, ?)', row)

    def close(self) -> None:
        """Close the file."""
        self._database.close()


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
