"""An MCAP file that its library refuses: cut short, or damaged inside."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

from linknet_ros.errors import RecordingError, first_line
from linknet_ros.recordings.salvage import Message, connection_of, plain, zstd_module

# Opcodes of MCAP's records, https://mcap.dev/spec.
_MAGIC = b'\x89MCAP0\r\n'
_FOOTER, _SCHEMA, _CHANNEL, _MESSAGE, _CHUNK = 2, 3, 4, 5, 6
_LAST_OPCODE = 0x0F


class McapSalvage:
    """An MCAP file, read record by record from its beginning; its index is not needed."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.damage: list[str] = []
        self.connections: list[Any] = []
        schemas: dict[int, tuple[str, str, str]] = {}
        ids: set[int] = set()
        for opcode, record in self._records(self.damage):
            fields = _Fields(record)
            # A channel stands before its first message and once more at the end.
            if opcode == _SCHEMA:
                number = fields.number(2)
                schemas[number] = (fields.text(), fields.text(), fields.text())
            elif opcode == _CHANNEL:
                number, schema = fields.number(2), fields.number(2)
                if number in ids or schema not in schemas:
                    continue
                ids.add(number)
                name, encoding, text = schemas[schema]
                topic, _, metadata = fields.text(), fields.text(), _Fields(fields.block())
                entries = dict(metadata.pairs())
                qos = entries.get('offered_qos_profiles', '')
                connection = connection_of(number, topic, name, encoding, text, '', qos)
                self.connections.append(connection)
        if not self.connections:
            raise RecordingError(f'{path}: nothing in it can be read; copy it again')

    def messages(self, connections: Collection[Any] = ()) -> Iterator[Message]:
        """Connection, time of receipt in ns, and data of each message."""
        wanted = {c.id: c for c in connections or self.connections}
        for opcode, record in self._records([]):
            if opcode == _MESSAGE and len(record) >= 22:
                channel, _, received, _ = struct.unpack_from('<HIQQ', record)
                if channel in wanted:
                    yield wanted[channel], received, plain(bytes(record[22:]))

    def close(self) -> None:
        """Nothing is open."""

    def _records(self, damage: list[str]) -> Iterator[tuple[int, memoryview]]:
        """Opcode and content of what is whole, in chunks or not."""
        size = self._path.stat().st_size
        with self._path.open('rb') as file:
            if file.read(len(_MAGIC)) != _MAGIC:
                raise RecordingError(f'{self._path} is no MCAP file, or its beginning is lost')
            while True:
                at = file.tell()
                head = file.read(9)
                opcode, length = (head or b'\0')[0], int.from_bytes(head[1:], 'little')
                if opcode == _FOOTER:
                    return
                if len(head) < 9 or at + 9 + length > size:
                    if opcode == _CHUNK and len(head) == 9:
                        yield from _chunk(memoryview(file.read()), False, at, [])
                    damage.append(
                        f'{self._path.name} is cut short at byte {size}; read as far as it goes'
                    )
                    return
                if not 0 < opcode <= _LAST_OPCODE:
                    damage.append(f'{self._path.name} cannot be read from byte {at} of {size} on')
                    return
                if opcode in (_SCHEMA, _CHANNEL, _MESSAGE):
                    yield opcode, memoryview(file.read(length))
                elif opcode == _CHUNK:
                    yield from _chunk(memoryview(file.read(length)), True, at, damage)
                else:
                    file.seek(length, 1)


def _chunk(
    data: memoryview, whole: bool, at: int, damage: list[str]
) -> Iterator[tuple[int, memoryview]]:
    """Records of a chunk; of one that is cut, those that are whole."""
    try:
        size, checksum = struct.unpack_from('<QI', data, 16)
        fields = _Fields(data[28:])
        compression, length = fields.text(), fields.number(8)
        packed = fields.rest[:length]
        raw = memoryview(_decompress(packed, compression, size))
    except Exception as error:  # whatever a decoder makes of damaged data
        damage.append(f'the chunk at byte {at} is lost ({first_line(error)})')
        return
    if whole and ((checksum and zlib.crc32(raw) != checksum) or len(raw) != size):
        damage.append(f'the chunk at byte {at} is lost (its checksum or size is wrong)')
        return
    while raw:
        end = 9 + int.from_bytes(raw[1:9], 'little')
        if len(raw) < max(9, end) or not 0 < raw[0] <= _LAST_OPCODE:
            if whole:
                damage.append(f'the chunk at byte {at} cannot be read to its end')
            return
        yield raw[0], raw[9:end]
        raw = raw[end:]


class _Fields:
    """Fields of an MCAP record, one after the other."""

    def __init__(self, record: memoryview) -> None:
        self.rest = record

    def number(self, size: int) -> int:
        """An unsigned number of so many bytes."""
        value, self.rest = int.from_bytes(self.rest[:size], 'little'), self.rest[size:]
        return value

    def block(self) -> memoryview:
        """Bytes behind their number."""
        size = self.number(4)
        value, self.rest = self.rest[:size], self.rest[size:]
        return value

    def text(self) -> str:
        """A text behind its length."""
        return bytes(self.block()).decode('utf-8', 'replace')

    def pairs(self) -> Iterator[tuple[str, str]]:
        """Names and values to the end."""
        while self.rest:
            yield self.text(), self.text()


def _decompress(data: memoryview, compression: str, size: int) -> bytes | memoryview:
    """Decompress; of data that ends too early, what there is of it."""
    if not compression:
        return data
    decompressor: Any
    if compression == 'zstd':
        decompressor = zstd_module().ZstdDecompressor()
    elif compression == 'lz4':
        from lz4.frame import LZ4FrameDecompressor

        decompressor = LZ4FrameDecompressor()
    else:
        raise RecordingError(f'compression {compression!r} is not known')
    raw: bytes = decompressor.decompress(data, max_length=size)
    return raw
