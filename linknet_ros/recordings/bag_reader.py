"""A recording, opened for reading; a damaged one as far as it can be read."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from linknet_ros.errors import RecordingError, first_line
from linknet_ros.recordings.salvage_mcap import McapSalvage
from linknet_ros.recordings.salvage_sqlite import SqliteSalvage

#: Storage by the suffix of its files.
STORAGES = {'.mcap': 'mcap', '.db3': 'sqlite3'}


class Recording:
    """A bag of rosbag2: a folder, or one of its .mcap or .db3 files; a context manager.

    `survey` comes before `messages`: it reads the topics once, to know how many messages there
    are, and to find damage before anything is made of them.

    :raises RecordingError: when there is no bag, or nothing of it can be read.
    :raises OSError: when the system refuses to read it.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        #: What is wrong with it, a line each.
        self.damage: list[str] = []
        self._parts: list[Any] = []
        if not path.exists():
            raise RecordingError(f'no recording {path}; give a folder or file of rosbag2')
        self.files = _files(path) if path.is_dir() else [path]
        for file in self.files:
            file.open('rb').close()  # what the system refuses is no damage
        #: 'mcap' or 'sqlite3'.
        self.storage = STORAGES.get(Path(self.files[0].name.removesuffix('.zstd')).suffix, 'mcap')
        self._recorded: Counter[str] = _recorded(path) if path.is_dir() else Counter()
        if path.is_dir():
            self._open_folder()
        else:
            self._parts = [self._open_file(path)]

    def __enter__(self) -> Recording:
        """Begin."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close it."""
        for part in self._parts:
            part.close()

    @property
    def distribution(self) -> str:
        """ROS distribution that recorded it, empty if it does not say so."""
        metadata = getattr(getattr(self._parts[0], 'storage', None), 'metadata', None)
        return str(getattr(metadata, 'ros_distro', None) or '')

    @property
    def topics(self) -> dict[str, Any]:
        """Connection of each topic; of several, the first."""
        found: dict[str, Any] = {}
        for part in self._parts:
            for connection in part.connections:
                found.setdefault(connection.topic, connection)
        return dict(sorted(found.items()))

    def survey(self, topics: Iterable[str]) -> Counter[str]:
        """Messages by topic that can be read; adds to `damage` what cannot."""
        wanted = set(topics)
        while True:
            counts: Counter[str] = Counter()
            promised: Counter[str] = Counter()
            for number, part in enumerate(self._parts):
                chosen = [c for c in part.connections if c.topic in wanted]
                promised.update({c.topic: c.msgcount for c in chosen})
                try:
                    counts.update(c.topic for c, _, _ in _messages(part, wanted))
                except Exception as error:  # whatever a parser makes of damaged data
                    self._replace(number, error)
                    break
            else:
                break
        for part in self._parts:
            self.damage += [
                line for line in getattr(part, 'damage', ()) if line not in self.damage
            ]
        for topic in sorted(wanted):
            number = max(promised[topic], self._recorded[topic])
            if counts[topic] < number:
                self.damage.append(
                    f'{number} messages of {topic} were recorded, {counts[topic]} are there'
                )
        return counts

    def messages(self, topics: Iterable[str]) -> Iterator[tuple[str, int, bytes]]:
        """Topic, time of receipt in ns, and data of each message of some topics."""
        wanted = set(topics)
        for part in self._parts:
            for connection, received, data in _messages(part, wanted):
                yield connection.topic, received, data

    def _open_folder(self) -> None:
        if any(_log_of(file) for file in self.files):
            self._open_each('its recorder did not close it')
            return
        try:
            self._parts = [_open(self.path)]
        except Exception as error:  # as above
            self._open_each(_reason(error))

    def _open_each(self, reason: str) -> None:
        """Open the files of a folder one by one, since together they cannot be read."""
        self.damage.append(reason)
        opened = []
        for file in self.files:
            try:
                opened.append(self._open_file(file))
            except RecordingError as error:
                self.damage.append(str(error))
        if not opened:
            raise RecordingError(f'{self.path}: nothing in it can be read: {self.damage[-1]}')
        self._parts = opened

    def _open_file(self, file: Path) -> Any:
        if file.suffix not in STORAGES:
            raise RecordingError(
                f'{file} is no .mcap or .db3 file of rosbag2'
                + ('; unpack it with zstd -d' if file.suffix == '.zstd' else '')
            )
        if _log_of(file):
            self.damage.append(f'{file.name} was not closed by its recorder')
            return _salvage(file)
        try:
            return _open(file)
        except Exception as error:  # as above
            self.damage.append(f'{file.name}: {_reason(error)}')
            return _salvage(file)

    def _replace(self, number: int, error: Exception) -> None:
        """Open a part that failed in the midst in another way."""
        part = self._parts.pop(number)
        if not hasattr(part, 'path'):
            raise RecordingError(f'{self.path} cannot be read: {_reason(error)}') from error
        part.close()
        if part.path.is_dir():
            self._open_each(_reason(error))
        else:
            self.damage.append(f'{part.path.name}: {_reason(error)}')
            self._parts.insert(number, _salvage(part.path))


def _open(path: Path) -> Any:
    from rosbags.rosbag2 import Reader

    reader = Reader(path)
    reader.open()
    return reader


def _salvage(file: Path) -> McapSalvage | SqliteSalvage:
    return SqliteSalvage(file) if file.suffix == '.db3' else McapSalvage(file)


def _messages(part: Any, wanted: set[str]) -> Iterator[tuple[Any, int, bytes]]:
    chosen = [c for c in part.connections if c.topic in wanted]
    # Without any, rosbags would give those of all.
    return part.messages(chosen) if chosen else iter(())


def _files(folder: Path) -> list[Path]:
    """Storage files of a folder in the order of their numbers."""
    suffixes = tuple(s + packed for s in STORAGES for packed in ('', '.zstd'))
    files = [f for f in folder.iterdir() if f.name.endswith(suffixes)]
    if not files:
        raise RecordingError(f'no .mcap or .db3 file in {folder}; is it a folder of rosbag2?')
    # bag_10 comes after bag_9.
    return sorted(files, key=lambda f: ([int(n) for n in re.findall(r'\d+', f.name)], f.name))


def _recorded(folder: Path) -> Counter[str]:
    """Messages by topic that metadata.yaml speaks of; nothing where it cannot be read."""
    from ruamel.yaml import YAML

    counts: Counter[str] = Counter()
    try:
        metadata = YAML(typ='safe').load((folder / 'metadata.yaml').read_text('utf-8'))
        for entry in metadata['rosbag2_bagfile_information']['topics_with_message_count']:
            counts[str(entry['topic_metadata']['name'])] += int(entry['message_count'])
    except Exception:  # missing or damaged, which rosbags tells more of
        counts.clear()
    return counts


def _log_of(file: Path) -> Path | None:
    """The write-ahead log that a recorder left beside an SQLite file, if there is one."""
    log = file.with_name(f'{file.name}-wal')
    return log if file.suffix == '.db3' and log.exists() and log.stat().st_size else None


def _reason(error: Exception) -> str:
    return first_line(error).rstrip('.')
