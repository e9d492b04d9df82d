"""Records of MCAP files that were made by hand; test_bag_reader.py has the ones of recorders."""

import struct
import zlib

import pytest

from linknet_ros.errors import RecordingError
from linknet_ros.recordings.salvage_mcap import McapSalvage

MAGIC = b'\x89MCAP0\r\n'


def record(opcode, *parts):
    content = b''.join(parts)
    return bytes([opcode]) + struct.pack('<Q', len(content)) + content


def text(value):
    return struct.pack('<I', len(value)) + value.encode()


def schema(number=1):
    return record(3, struct.pack('<H', number), text('a/msg/B'), text('ros2msg'), text('int8 x'))


def channel(number=7, topic='/b', of=1):
    return record(4, struct.pack('<HH', number, of), text(topic), text('cdr'), text(''))


def message(at, data=b'\0\1\0\0x', of=7):
    return record(5, struct.pack('<HIQQ', of, 0, at, at), data)


def chunk(*records, compression='', raw=None, checksum=None):
    content = b''.join(records)
    checksum = zlib.crc32(content) if checksum is None else checksum
    head = struct.pack('<QQQI', 0, 0, len(content), checksum)
    data = content if raw is None else raw
    return record(6, head, text(compression), struct.pack('<Q', len(data)), data)


def times(tmp_path, *parts):
    path = tmp_path / 'a.mcap'
    path.write_bytes(MAGIC + record(1, text('ros2'), text('')) + b''.join(parts))
    salvaged = McapSalvage(path)
    return [at for _, at, _ in salvaged.messages()], salvaged.damage


FOOTER = record(2, bytes(20)) + MAGIC


@pytest.fixture(autouse=True)
def rosbags():
    pytest.importorskip('rosbags', reason='needs rosbags (pip install .[bags])')


def test_sound(tmp_path):
    parts = [schema(), channel(), message(1), chunk(message(2), message(3)), FOOTER]
    assert times(tmp_path, *parts) == ([1, 2, 3], [])


def test_fields(tmp_path):
    times(tmp_path, schema(), channel(), message(1, b'\0\1\0\0abc'), FOOTER)
    salvaged = McapSalvage(tmp_path / 'a.mcap')
    ((connection, at, data),) = salvaged.messages()
    assert (connection.topic, connection.msgtype, connection.msgdef.data) == (
        '/b',
        'a/msg/B',
        'int8 x',
    )
    assert (at, data) == (1, b'\0\1\0\0abc')


def test_wrong_checksum_loses_one_chunk(tmp_path):
    bad = chunk(message(2), checksum=5)
    found, damage = times(tmp_path, schema(), channel(), bad, chunk(message(3)), FOOTER)
    assert found == [3]
    assert [line.partition(' (')[2] for line in damage] == ['its checksum or size is wrong)']


@pytest.mark.parametrize('compression', ['zstd', 'lz4', 'secret'])
def test_chunk_that_cannot_be_unpacked(tmp_path, compression):
    bad = chunk(message(2), compression=compression, raw=b'nonsense')
    found, damage = times(tmp_path, schema(), channel(), bad, chunk(message(3)), FOOTER)
    assert found == [3]
    assert len(damage) == 1
    assert 'is lost' in damage[0]


def test_lz4(tmp_path):
    frame = pytest.importorskip('lz4.frame')
    packed = frame.compress(message(2))
    good = chunk(message(2), compression='lz4', raw=packed)
    assert times(tmp_path, schema(), channel(), good, FOOTER) == ([2], [])


def test_nonsense_ends_it(tmp_path):
    found, damage = times(tmp_path, schema(), channel(), message(1), bytes(500), message(2))
    assert found == [1]
    assert 'cannot be read from byte' in damage[0]


def test_without_footer(tmp_path):
    found, damage = times(tmp_path, schema(), channel(), message(1))
    assert found == [1]
    assert 'is cut short at byte' in damage[0]


def test_nothing(tmp_path):
    with pytest.raises(RecordingError, match='nothing in it can be read; copy it again'):
        times(tmp_path, schema(), FOOTER)
