"""An SQLite bag that its library refuses: pages are missing, or were never written back."""

from __future__ import annotations

import contextlib
import itertools
import sqlite3
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

from linknet_ros.errors import RecordingError
from linknet_ros.recordings.salvage import Message, connection_of, plain

#: Messages in a row that a file may lack before the rest is given up.
_PATIENCE = 10_000


class SqliteSalvage:
    """An SQLite file, read message by message; pages may be missing."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.damage: list[str] = []
        # A log that the recorder did not write back has messages, too; it is read only then.
        log = path.with_name(f'{path.name}-wal')
        how = 'mode=ro' if log.exists() and log.stat().st_size else 'immutable=1'
        try:
            self._database = sqlite3.connect(f'file:{quote(str(path.absolute()))}?{how}', uri=True)
            # Else SQLite refuses a file that is shorter than its header says.
            self._database.execute('PRAGMA writable_schema=ON')
            definitions = self._definitions()
            self._database.row_factory = sqlite3.Row
            self.connections = [
                connection_of(
                    row['id'],
                    row['name'],
                    row['type'],
                    *definitions.get(row['type'], ('', '', '')),
                    dict(row).get('offered_qos_profiles', ''),
                )
                for row in self._database.execute('SELECT * FROM topics ORDER BY id')
            ]
            self._database.row_factory = None
        except sqlite3.Error as error:
            raise RecordingError(
                f'{path}: nothing in it can be read ({error}); copy it again'
            ) from error

    def _definitions(self) -> dict[str, tuple[str, str, str]]:
        with contextlib.suppress(sqlite3.Error):  # older bags have none
            rows = self._database.execute(
                'SELECT topic_type, encoding, encoded_message_definition, type_description_hash '
                'FROM message_definitions'
            )
            return {name: (encoding, text, digest) for name, encoding, text, digest in rows}
        return {}

    def messages(self, connections: Collection[Any] = ()) -> Iterator[Message]:
        """Connection, time of receipt in ns, and data of each message."""
        wanted = {c.id: c for c in connections or self.connections}
        for topic, received, data in self._rows():
            if topic in wanted and isinstance(data, bytes) and isinstance(received, int):
                yield wanted[topic], received, plain(data)

    def close(self) -> None:
        """Close the file."""
        self._database.close()

    def _rows(self) -> Iterator[tuple[int, int, bytes]]:
        columns = 'SELECT id, topic_id, timestamp, data FROM messages WHERE id'
        last, lost = 0, 0
        self.damage.clear()
        while True:
            try:
                for row in self._database.execute(f'{columns} > ? ORDER BY id', (last,)):
                    last = row[0]
                    yield row[1], row[2], row[3]
                break
            except sqlite3.DatabaseError:
                pass
            # One by one past what is missing; the way to each starts at the root.
            for number in itertools.count(last + 1):
                if number > last + _PATIENCE:
                    self.damage.append(f'{self._path.name} is cut short or damaged at its end')
                    return
                try:
                    found = self._database.execute(f'{columns} = ?', (number,)).fetchone()
                except sqlite3.DatabaseError:
                    lost += 1
                    continue
                if found:
                    last = number
                    yield found[1], found[2], found[3]
                    break
        if lost:
            self.damage.append(f'{self._path.name} lacks {lost} messages that cannot be read')
