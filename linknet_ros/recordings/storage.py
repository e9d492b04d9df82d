"""The storage files of a recording, .mcap and .db3: sound, unusual or damaged.

Both readers give the messages of a sound file in the order of their time. Once `salvage` was
called, they read what is whole in the order of the file, and `damage` says what is not.
"""

from __future__ import annotations

import contextlib
import itertools
import sqlite3
from collections import Counter
from collections.abc import Collection, Generator, Iterator
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from typing import IO, Any, BinaryIO, cast
from urllib.parse import quote

from linknet_ros.errors import RecordingError, first_line

#: What a message starts with that a recorder packed by itself; one of CDR starts with a zero.
_ZSTD, _LZ4 = b'\x28\xb5\x2f\xfd', b'\x04\x22\x4d\x18'

#: Opcode of an MCAP chunk, and bytes of a record's opcode and length; https://mcap.dev/spec.
_CHUNK, _HEAD = 6, 9

#: Largest rest of a cut chunk that is read, bytes.
_LARGEST_REST = 1 << 30

#: Ids of messages in a row that may be missing before the rest of an SQLite file is given up.
_PATIENCE = 10_000


@dataclass(frozen=True)
class Channel:
    """A topic of a recording, as its recorder described it; equal where messages read alike.

    :param kind: name of the type, e.g. 'sensor_msgs/msg/Image'.
    :param encoding: of the messages: 'cdr' for ROS 2; 'ros1', 'protobuf', 'json', ...
    :param form: of the schema: 'ros2msg', 'ros2idl', 'ros1msg', 'protobuf', ...; empty for none.
    :param digest: hash of the type, empty where it is not recorded.
    :param qos: profiles that were offered, in YAML.
    """

    topic: str
    kind: str
    encoding: str = 'cdr'
    form: str = field(default='', compare=False)
    schema: bytes = field(default=b'', compare=False)
    digest: str = field(default='', compare=False)
    qos: str = field(default='', compare=False)

    def __str__(self) -> str:
        """Type and encoding in words, e.g. 'foxglove.CompressedImage in protobuf'."""
        kind = self.kind or 'messages of an unnamed type'
        return kind if self.encoding == 'cdr' else f'{kind} in {self.encoding or "no encoding"}'


#: Channel, time of receipt in ns, and data.
Message = tuple[Channel, int, bytes]


class McapFile:
    """An MCAP file.

    :raises RecordingError: when nothing in it can be read.
    :raises OSError: when the system refuses to read it.
    """

    def __init__(self, path: Path) -> None:
        from mcap.reader import SeekingReader

        self.path = path
        self.damage: list[str] = []
        #: Number of messages by channel that the file itself promises.
        self.promised: Counter[Channel] = Counter()
        self._file = _Exact(path.open('rb'))
        self._channels: dict[int, Channel] = {}
        self._reader: SeekingReader | None = None
        try:
            reader = SeekingReader(cast('IO[bytes]', self._file), validate_crcs=True)
            summary = reader.get_summary()
            # Without an index of chunks, the library would read the file into memory to sort it.
            if summary is not None and summary.chunk_indexes:
                self._channels = {
                    number: _channel(channel, summary.schemas.get(channel.schema_id))
                    for number, channel in summary.channels.items()
                }
                counts = summary.statistics and summary.statistics.channel_message_counts
                for number, count in (counts or {}).items():
                    self.promised[self._channels[number]] += count
                self._reader = reader
        except Exception:  # whatever a damaged file leads to
            self._reader = None
        if self._reader is None:
            self.salvage()

    @property
    def channels(self) -> list[Channel]:
        """Topics in it."""
        return list(dict.fromkeys(self._channels.values()))

    def salvage(self) -> bool:
        """Read it from its beginning to its end, without its index.

        :returns: whether that is new.
        """
        if self._reader is None and self._channels:
            return False
        from mcap.records import Channel as Described
        from mcap.records import Schema

        self._reader = None
        self._channels.clear()
        self.damage.clear()
        schemas: dict[int, Schema] = {}
        for record in self._records(self.damage):
            if isinstance(record, Schema):
                schemas.setdefault(record.id, record)
            elif isinstance(record, Described) and (
                record.schema_id == 0 or record.schema_id in schemas
            ):
                described = _channel(record, schemas.get(record.schema_id))
                self._channels.setdefault(record.id, described)
        if not self._channels:
            raise RecordingError(f'nothing in {self.path} can be read', 'copy it again')
        return True

    def messages(self, channels: Collection[Channel]) -> Iterator[Message]:
        """Messages of some channels.

        :raises Exception: of many kinds, when a file turns out to be damaged; not after salvage.
        """
        from mcap.records import Message as Record

        wanted = {n: channel for n, channel in self._channels.items() if channel in channels}
        records = self._records([])
        if self._reader is not None:
            topics = {channel.topic for channel in wanted.values()}
            records = (record for _, _, record in self._reader.iter_messages(topics))
        for record in records:
            if isinstance(record, Record) and record.channel_id in wanted:
                channel = wanted[record.channel_id]
                yield channel, record.log_time, _plain(channel, record.data)

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def _records(self, damage: list[str]) -> Iterator[Any]:
        """Records that are whole, in chunks or not."""
        from mcap.exceptions import EndOfFile, InvalidMagic
        from mcap.records import Chunk
        from mcap.stream_reader import StreamReader, get_chunk_data_stream

        file, name, size = self._file, self.path.name, self._file.size
        file.seek(0)
        records = StreamReader(cast('IO[bytes]', file), emit_chunks=True).records
        while True:
            at = file.tell()
            opcode = file.peek()
            try:
                record = next(records, None)
            except Exception as error:  # whatever a damaged file leads to
                if at == 0 and isinstance(error, (InvalidMagic, EndOfFile)):
                    raise RecordingError(
                        f'{self.path} is not an MCAP file, or its beginning is lost'
                    ) from error
                if opcode == _CHUNK:
                    yield from _cut_chunk(file, at)
                damage.append(
                    f'{name} is cut short at byte {size}; read as far as it goes'
                    if isinstance(error, EndOfFile) and opcode
                    else f'{name} cannot be read from byte {at} of {size} on'
                )
                return
            if record is None:
                return
            if not isinstance(record, Chunk):
                yield record
                continue
            try:
                stream, length = get_chunk_data_stream(record, validate_crc=True)
                if length != record.uncompressed_size:
                    raise ValueError(f'{length} bytes instead of {record.uncompressed_size}')
                data = stream.read(length)
            except Exception as error:  # whatever a decoder makes of damaged data
                damage.append(f'the chunk at byte {at} of {name} is lost ({first_line(error)})')
                continue
            if not (yield from _inside(data)):
                damage.append(f'the chunk at byte {at} of {name} cannot be read to its end')


class SqliteFile:
    """An SQLite file.

    :raises RecordingError: when nothing in it can be read.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.damage: list[str] = []
        #: Nothing is promised: the messages are counted in the file itself.
        self.promised: Counter[Channel] = Counter()
        # A log that the recorder did not write back has messages, too; it is read only then.
        log = write_ahead_log(path)
        how = 'mode=ro' if log else 'immutable=1'
        if log:
            self.damage.append(f'{path.name} was not closed by its recorder')
        self._salvaged = False
        try:
            self._database = sqlite3.connect(f'file:{quote(str(path.absolute()))}?{how}', uri=True)
            # Else SQLite refuses a file that is shorter than its header says.
            self._database.execute('PRAGMA writable_schema=ON')
            definitions = self._definitions()
            columns = self._database.execute('SELECT * FROM topics ORDER BY id')
            names = [column[0] for column in columns.description]
            self._channels: dict[int, Channel] = {}
            for row in columns:
                topic = dict(zip(names, row, strict=True))
                form, schema, digest = definitions.get(topic['type'], ('', '', ''))
                self._channels[topic['id']] = Channel(
                    topic['name'],
                    topic['type'],
                    topic.get('serialization_format') or 'cdr',
                    form,
                    schema.encode(),
                    topic.get('type_description_hash') or digest,
                    topic.get('offered_qos_profiles') or '',
                )
        except sqlite3.Error as error:
            raise RecordingError(
                f'nothing in {path} can be read ({error})', 'copy it again'
            ) from error

    @property
    def channels(self) -> list[Channel]:
        """Topics in it."""
        return list(dict.fromkeys(self._channels.values()))

    def salvage(self) -> bool:
        """Read it message by message, since pages are missing.

        :returns: whether that is new.
        """
        new, self._salvaged = not self._salvaged, True
        return new

    def messages(self, channels: Collection[Channel]) -> Iterator[Message]:
        """Messages of some channels.

        :raises sqlite3.Error: when pages are missing; not after salvage.
        """
        wanted = {n: channel for n, channel in self._channels.items() if channel in channels}
        for number, received, data in self._rows() if self._salvaged else self._ordered(wanted):
            # SQLite may hold anything in any column.
            if number in wanted and isinstance(data, bytes) and isinstance(received, int):
                yield wanted[number], received, _plain(wanted[number], data)

    def close(self) -> None:
        """Close the file."""
        self._database.close()

    def _definitions(self) -> dict[str, tuple[str, str, str]]:
        with contextlib.suppress(sqlite3.Error):  # older bags have none
            rows = self._database.execute(
                'SELECT topic_type, encoding, encoded_message_definition, type_description_hash '
                'FROM message_definitions'
            )
            return {name: (form, text, digest) for name, form, text, digest in rows}
        return {}

    def _ordered(self, wanted: Collection[int]) -> Iterator[tuple[int, int, bytes]]:
        marks = ','.join('?' * len(wanted))
        return self._database.execute(
            'SELECT topic_id, timestamp, data FROM messages '
            f'WHERE topic_id IN ({marks}) ORDER BY timestamp, id',
            list(wanted),
        )

    def _rows(self) -> Iterator[tuple[int, int, bytes]]:
        columns = 'SELECT id, topic_id, timestamp, data FROM messages WHERE id'
        last, lost = 0, 0
        self.damage = [line for line in self.damage if 'not closed' in line]
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
                    self.damage.append(f'{self.path.name} is cut short or damaged at its end')
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
            self.damage.append(f'{lost} messages of {self.path.name} cannot be read')


def write_ahead_log(file: Path) -> Path | None:
    """The log that a recorder left beside an SQLite file, if there is one."""
    log = file.with_name(f'{file.name}-wal')
    return log if log.exists() and log.stat().st_size else None


class _Exact:
    """A file of which every read is whole; the library of MCAP takes short ones for whole."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.size = file.seek(0, 2)
        self.seek, self.tell, self.close = file.seek, file.tell, file.close
        self.seek(0)

    def read(self, length: int = -1) -> bytes:
        """Read so many bytes, or raise EndOfFile."""
        from mcap.exceptions import EndOfFile

        if length > self.size - self.tell():
            raise EndOfFile
        return self._file.read(length)

    def peek(self) -> int:
        """The next byte, -1 at the end."""
        byte = self._file.read(1)
        self.seek(-len(byte), 1)
        return byte[0] if byte else -1


def _channel(channel: Any, schema: Any) -> Channel:
    """A channel from its records in MCAP; it may have no schema."""
    return Channel(
        channel.topic,
        schema.name if schema else '',
        channel.message_encoding,
        schema.encoding if schema else '',
        schema.data if schema else b'',
        channel.metadata.get('topic_type_hash', ''),
        channel.metadata.get('offered_qos_profiles', ''),
    )


def _inside(data: bytes) -> Generator[Any, None, bool]:
    """Records in a chunk; returns whether it could be read to its end."""
    from mcap.stream_reader import StreamReader

    file = _Exact(BytesIO(data))
    records = StreamReader(cast('IO[bytes]', file), skip_magic=True).records
    while file.tell() < file.size:
        try:
            yield next(records)
        except Exception:  # whatever damaged data leads to
            return False
    return True


def _cut_chunk(file: _Exact, at: int) -> Iterator[Any]:
    """Records that are whole in a chunk that is not: the last of a file that is cut short."""
    file.seek(at)
    rest = file.read(min(file.size - at, _LARGEST_REST))
    # Behind the head: times, size and checksum in 28 bytes, the compression, and 8 bytes of size.
    name_at = _HEAD + 28
    start = name_at + 4 + int.from_bytes(rest[name_at : name_at + 4], 'little')
    with contextlib.suppress(Exception):  # whatever a decoder makes of damaged data
        data = _unpack(rest[name_at + 4 : start].decode(), rest[start + 8 :])
        yield from _inside(data)


def _unpack(compression: str, data: bytes) -> bytes:
    """Unpack; of data that ends too early, what there is of it."""
    if compression == 'zstd':
        import zstandard

        return zstandard.ZstdDecompressor().decompressobj().decompress(data)
    if compression == 'lz4':
        from lz4.frame import LZ4FrameDecompressor

        return bytes(LZ4FrameDecompressor().decompress(data))
    return data


def _plain(channel: Channel, data: bytes) -> bytes:
    """A message of CDR that may have been packed by itself."""
    if channel.encoding == 'cdr':
        with contextlib.suppress(Exception):  # damaged: nothing of it is used later on
            if data.startswith(_ZSTD):
                return _unpack('zstd', data)
            if data.startswith(_LZ4):
                return _unpack('lz4', data)
    return data
