"""A recording, opened for reading; a damaged one as far as it can be read."""

from __future__ import annotations

import contextlib
import re
import shutil
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO, Any, cast

from linknet_ros.errors import RecordingError, first_line
from linknet_ros.recordings.storage import Channel, McapFile, SqliteFile
from linknet_ros.system.temporary_folder import temporary_folder

#: Storage by the suffix of its files.
STORAGES = {'.mcap': 'mcap', '.db3': 'sqlite3'}

#: Suffixes of files that a recorder packed as a whole.
PACKED = ('.zstd', '.zst', '.lz4')

#: How a bag of ROS 1 begins.
_ROS1 = b'#ROSBAG'


class Recording:
    """A bag of rosbag2: a folder, or one of its .mcap or .db3 files; a context manager.

    `survey` comes before `messages`: it reads the topics once, to know how many messages there
    are, and to find damage before anything is made of them.

    :raises RecordingError: when there is no bag, or nothing in it can be read.
    :raises OSError: when the system refuses to read it.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        #: What is wrong with it, a line each.
        self.damage: list[str] = []
        #: What is unusual about it, but no damage, a line each.
        self.notes: list[str] = []
        self._stack = contextlib.ExitStack()
        if not path.exists():
            raise RecordingError(
                f"no recording '{path}'", 'give a folder of rosbag2 or one of its files'
            )
        self.files = self._files(path) if path.is_dir() else [path]
        #: 'mcap' or 'sqlite3'.
        self.storage = STORAGES.get(unpacked_name(self.files[0]).suffix, 'mcap')
        #: ROS distribution that recorded it, empty where it does not say so.
        self.distribution = ''
        self._recorded: Counter[str] = Counter()
        if path.is_dir():
            self._read_metadata(path / 'metadata.yaml')
        try:
            self._parts = self._open()
        except BaseException:
            self._stack.close()
            raise
        self.topics = self._topics()

    def __enter__(self) -> Recording:
        """Begin."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close it."""
        self._stack.close()

    def survey(self, topics: Iterable[str]) -> Counter[str]:
        """Messages by topic that can be read; adds to `damage` what cannot."""
        names = set(topics)
        wanted = self._wanted(names)
        counts: Counter[str] = Counter()
        promised = self._recorded.copy()
        for part in self._parts:
            try:
                found = Counter(channel.topic for channel, _, _ in part.messages(wanted))
            except Exception as error:  # whatever a parser makes of damaged data
                if not part.salvage():
                    raise RecordingError(
                        f'{part.path} cannot be read: {first_line(error)}'
                    ) from error
                found = Counter(channel.topic for channel, _, _ in part.messages(wanted))
            counts += found
        for channel in wanted:
            sums = sum(part.promised[channel] for part in self._parts)
            promised[channel.topic] = max(promised[channel.topic], sums)
        found_damage = [line for part in self._parts for line in part.damage]
        found_damage += [
            f'{promised[topic]} messages of {topic} were recorded, {counts[topic]} are there'
            for topic in sorted(names)
            if counts[topic] < promised[topic]
        ]
        # It may be called again.
        self.damage += [line for line in found_damage if line not in self.damage]
        return counts

    def messages(self, topics: Iterable[str]) -> Iterator[tuple[str, int, bytes]]:
        """Topic, time of receipt in ns, and data of each message of some topics."""
        wanted = self._wanted(topics)
        for part in self._parts:
            for channel, received, data in part.messages(wanted):
                yield channel.topic, received, data

    def _wanted(self, topics: Iterable[str]) -> set[Channel]:
        return {self.topics[topic] for topic in topics if topic in self.topics}

    def _topics(self) -> dict[str, Channel]:
        """Channel of each topic: of several, the first of ROS 2; the others are left out."""
        found: dict[str, list[Channel]] = {}
        for part in self._parts:
            for channel in part.channels:
                same = found.setdefault(channel.topic, [])
                if channel not in same:
                    same.append(channel)
        chosen = {}
        for topic, channels in sorted(found.items()):
            first, *others = sorted(channels, key=lambda channel: channel.encoding != 'cdr')
            chosen[topic] = first
            self.notes += [
                f'{topic} also has messages of {other}, which are left out' for other in others
            ]
        return chosen

    def _open(self) -> list[McapFile | SqliteFile]:
        """The files that can be opened; those that cannot are damage."""
        parts: list[McapFile | SqliteFile] = []
        for file in self.files:
            try:
                parts.append(self._open_file(file))
            except RecordingError as error:
                if len(self.files) == 1:
                    raise
                self.damage.append(str(error))
        if not parts:
            raise RecordingError(f'nothing in {self.path} can be read: {self.damage[-1]}')
        return parts

    def _open_file(self, file: Path) -> McapFile | SqliteFile:
        with file.open('rb') as opened:  # what the system refuses is not damage
            start = opened.read(len(_ROS1))
        if start == _ROS1 or file.suffix == '.bag':
            raise RecordingError(
                f'{file} is a recording of ROS 1',
                f'convert it: rosbags-convert --src {file} --dst {file.with_suffix("")}',
            )
        suffix = unpacked_name(file).suffix
        if suffix not in STORAGES:
            raise RecordingError(f'{file} is not an .mcap or .db3 file of rosbag2')
        if file.suffix in PACKED:
            file = self._unpack(file)
        part = SqliteFile(file) if suffix == '.db3' else McapFile(file)
        self._stack.callback(part.close)
        return part

    def _unpack(self, file: Path) -> Path:
        """Unpack a file into a folder that goes with this object."""
        folder = self._stack.enter_context(temporary_folder())
        target = folder / file.with_suffix('').name
        with file.open('rb') as packed, target.open('wb') as plain:
            try:
                shutil.copyfileobj(_decoder(file, packed), plain, 1 << 20)
            except OSError:
                raise
            except Exception as error:  # whatever a decoder makes of damaged data
                self.damage.append(f'{file.name} cannot be unpacked whole ({first_line(error)})')
        return target

    def _files(self, folder: Path) -> list[Path]:
        """Storage files of a folder in the order of their numbers."""
        files = {
            file.name: file
            for file in folder.iterdir()
            if unpacked_name(file).suffix in STORAGES and file.is_file()
        }
        # A recorder that was killed while it packed a file leaves both.
        chosen = [
            file
            for name, file in files.items()
            if file.suffix not in PACKED or unpacked_name(file).name not in files
        ]
        if not chosen:
            raise RecordingError(
                f'no .mcap or .db3 file in {folder}', 'give a folder that rosbag2 recorded'
            )
        # bag_10 comes after bag_9.
        return sorted(chosen, key=lambda f: ([int(n) for n in re.findall(r'\d+', f.name)], f.name))

    def _read_metadata(self, path: Path) -> None:
        """What metadata.yaml says of the messages, the distribution and the files."""
        from ruamel.yaml import YAML

        if not path.exists():
            self.notes.append('there is no metadata.yaml (was its recorder killed?)')
            return
        try:
            metadata = YAML(typ='safe').load(path.read_text('utf-8'))
            information = metadata['rosbag2_bagfile_information']
            for entry in information['topics_with_message_count']:
                self._recorded[str(entry['topic_metadata']['name'])] += int(entry['message_count'])
            self.distribution = str(information.get('ros_distro') or '')
            names = [Path(str(name)).name for name in information['relative_file_paths']]
        except Exception as error:  # whatever a parser makes of damaged data
            self._recorded.clear()
            self.damage.append(f'metadata.yaml cannot be read ({first_line(error)})')
            return
        there = {unpacked_name(file).name for file in self.files}
        self.damage += [
            f'{name} is missing' for name in names if unpacked_name(Path(name)).name not in there
        ]


def unpacked_name(file: Path) -> Path:
    """The path of a file without the suffix of what it was packed with as a whole."""
    return file.with_suffix('') if file.suffix in PACKED else file


def _decoder(file: Path, packed: IO[bytes]) -> IO[bytes]:
    opened: Any
    if file.suffix == '.lz4':
        import lz4.frame

        opened = lz4.frame.open(packed)
    else:
        import zstandard

        opened = zstandard.ZstdDecompressor().stream_reader(packed, read_across_frames=True)
    return cast('IO[bytes]', opened)
