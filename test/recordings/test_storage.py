"""Storage files record by record and row by row; test_bag_reader.py has those of recorders."""

import sqlite3
import struct
import zlib

import pytest

from linknet_ros.errors import RecordingError
from linknet_ros.recordings.storage import Channel, McapFile, SqliteFile

COUNT = 300
MAGIC = b'\x89MCAP0\r\n'
CDR = b'\0\1\0\0'


@pytest.fixture(autouse=True)
def libraries():
    pytest.importorskip('rosbags', reason='needs rosbags (pip install .[bags])')
    pytest.importorskip('mcap', reason='needs mcap (pip install .[bags])')


def packed(name, data):
    if name == 'zstd':
        return pytest.importorskip('zstandard').compress(data)
    return pytest.importorskip('lz4.frame').compress(data)


def record(opcode, *parts):
    content = b''.join(parts)
    return bytes([opcode]) + struct.pack('<Q', len(content)) + content


def text(value):
    return struct.pack('<I', len(value)) + value.encode()


def schema(number=1, kind='a/msg/B', form='ros2msg', content='int8 x'):
    return record(3, struct.pack('<H', number), text(kind), text(form), text(content))


def channel(number=7, topic='/b', of=1, encoding='cdr'):
    return record(4, struct.pack('<HH', number, of), text(topic), text(encoding), text(''))


def message(at, data=CDR + b'x', of=7):
    return record(5, struct.pack('<HIQQ', of, 0, at, at), data)


def chunk(*records, compression='', raw=None, checksum=None, size=None):
    content = b''.join(records)
    checksum = zlib.crc32(content) if checksum is None else checksum
    head = struct.pack('<QQQI', 0, 0, len(content) if size is None else size, checksum)
    data = content if raw is None else raw
    return record(6, head, text(compression), struct.pack('<Q', len(data)), data)


FOOTER = record(15, bytes(4)) + record(2, bytes(20)) + MAGIC


def mcap(tmp_path, *parts, profile='ros2'):
    path = tmp_path / 'a.mcap'
    path.write_bytes(MAGIC + record(1, text(profile), text('')) + b''.join(parts))
    return McapFile(path)


def times(file):
    """Times of receipt of all messages, and the damage."""
    found = [at for _, at, _ in file.messages(file.channels)]
    return found, file.damage


@pytest.mark.parametrize('profile', ['ros2', '', 'ros1', 'x'])
def test_sound_mcap_without_an_index(tmp_path, profile):
    private = record(0x80, b'of somebody else')
    parts = [schema(), channel(), private, message(1), chunk(message(2), message(3)), FOOTER]
    file = mcap(tmp_path, *parts, profile=profile)
    assert times(file) == ([1, 2, 3], [])
    assert file.channels == [Channel('/b', 'a/msg/B')]
    assert (file.channels[0].form, file.channels[0].schema) == ('ros2msg', b'int8 x')
    assert [data for _, _, data in file.messages(file.channels)] == [CDR + b'x'] * 3
    assert list(file.messages([])) == []


@pytest.mark.parametrize(
    ('encoding', 'form', 'kind'),
    [
        ('protobuf', 'protobuf', 'foxglove.Pose'),
        ('json', 'jsonschema', 'pose'),
        ('ros1', 'ros1msg', 'a/B'),
        ('x', 'y', 'z'),
    ],
)
def test_mcap_of_other_encodings(tmp_path, encoding, form, kind):
    """What starts like packed data is what it is: only messages of CDR may be packed."""
    data = b'\x28\xb5\x2f\xfd: not packed'
    other = schema(2, kind, form), channel(8, '/c', 2, encoding), channel(9, '/d', 0, encoding)
    parts = [schema(), channel(), *other, message(1), message(2, data, 8), message(3, data, 9)]
    file = mcap(tmp_path, *parts, FOOTER)
    assert file.channels[1:] == [Channel('/c', kind, encoding), Channel('/d', '', encoding)]
    assert file.channels[1].form == form
    assert [m[1:] for m in file.messages(file.channels[1:])] == [(2, data), (3, data)]
    assert str(file.channels[1]) == f'{kind} in {encoding}'


@pytest.mark.parametrize(
    'bad',
    [
        chunk(message(2), checksum=5),
        chunk(message(2), checksum=0, size=3),
        chunk(message(2), compression='secret', raw=b'nonsense'),
        chunk(message(2), compression='zstd', raw=b'nonsense'),
        chunk(message(2), compression='lz4', raw=b'nonsense'),
    ],
)
def test_bad_chunk_alone_is_lost(tmp_path, bad):
    found, damage = times(mcap(tmp_path, schema(), channel(), bad, chunk(message(3)), FOOTER))
    assert found == [3]
    assert len(damage) == 1
    assert 'the chunk at byte' in damage[0]
    assert 'is lost' in damage[0]


def test_chunk_that_ends_in_a_message(tmp_path):
    torn = message(2) + message(3)[:-1]
    found, damage = times(mcap(tmp_path, schema(), channel(), chunk(torn), message(4), FOOTER))
    assert found == [2, 4]
    assert 'cannot be read to its end' in damage[0]


@pytest.mark.parametrize('name', ['zstd', 'lz4'])
def test_packed_chunk_and_packed_message(tmp_path, name):
    big = CDR + bytes(500)
    inside = message(2, big)
    good = chunk(inside, compression=name, raw=packed(name, inside))
    file = mcap(tmp_path, schema(), channel(), good, message(3, packed(name, big)), FOOTER)
    assert times(file) == ([2, 3], [])
    assert [data for _, _, data in file.messages(file.channels)] == [big, big]


@pytest.mark.parametrize(
    ('end', 'damage'),
    [
        (b'', 'is cut short at byte'),
        (message(2)[:-1], 'is cut short at byte'),
        (FOOTER[:-1], 'is cut short at byte'),
        (bytes(500) + message(2), 'cannot be read from byte'),
        (b'\x05' + b'\xff' * 8, 'cannot be read from byte'),
    ],
)
def test_mcap_with_a_bad_end(tmp_path, end, damage):
    found, lines = times(mcap(tmp_path, schema(), channel(), message(1), end))
    assert found == [1]
    assert damage in lines[0]


def test_mcap_without_channels(tmp_path):
    with pytest.raises(RecordingError, match=r'nothing in .* can be read; copy it again'):
        mcap(tmp_path, schema(), FOOTER)


@pytest.fixture
def path(bags, tmp_path):
    messages = [('/a', i, bags.text(f'{i} ' * 2000)) for i in range(COUNT)]
    return bags.write(tmp_path / 'bag.db3', messages)


def edit(path, *commands):
    database = sqlite3.connect(path)
    for command in commands:
        database.execute(command)
    database.commit()
    database.close()


@pytest.mark.parametrize('salvage', [False, True])
def test_sound_sqlite(path, bags, salvage):
    file = SqliteFile(path)
    if salvage:
        assert file.salvage()
        assert not file.salvage()
    for _ in range(2):
        assert times(file) == (list(range(COUNT)), [])
    assert [data for _, _, data in file.messages(file.channels)] == [
        bags.text(f'{i} ' * 2000)[1] for i in range(COUNT)
    ]
    assert file.channels == [Channel('/a', 'std_msgs/msg/String')]
    assert b'string data' in file.channels[0].schema
    assert list(file.messages([])) == []
    file.close()


def test_sqlite_in_the_order_of_time(path):
    edit(path, f'UPDATE messages SET timestamp = {COUNT} - timestamp')
    assert times(SqliteFile(path))[0] == list(range(1, COUNT + 1))


def test_sqlite_with_a_hole(path):
    data = bytearray(path.read_bytes())
    middle = len(data) // 2 // 4096 * 4096
    data[middle : middle + 8192] = b'\xff' * 8192
    path.write_bytes(data)
    file = SqliteFile(path)
    file.salvage()
    found, damage = times(file)
    lost = COUNT - len(found)
    assert 0 < lost < 20
    assert found == sorted(set(found))
    assert found[0] == 0
    assert found[-1] == COUNT - 1
    assert damage == [f'{lost} messages of bag.db3 cannot be read']


@pytest.mark.parametrize('salvage', [False, True])
def test_rows_that_are_not_messages(path, salvage):
    edit(
        path,
        "INSERT INTO messages VALUES (9001, 1, 'late', 'text')",
        "INSERT INTO messages VALUES (9002, 77, 5, x'00')",
    )
    file = SqliteFile(path)
    if salvage:
        file.salvage()
    assert times(file)[0] == list(range(COUNT))


def test_deleted_messages_are_no_damage(path):
    edit(path, 'DELETE FROM messages WHERE id BETWEEN 20 AND 40')
    file = SqliteFile(path)
    file.salvage()
    found, damage = times(file)
    assert (len(found), damage) == (COUNT - 21, [])


def test_bag_of_foxy(tmp_path):
    """No QoS, no definitions."""
    path = tmp_path / 'old.db3'
    edit(
        path,
        'CREATE TABLE topics(id INTEGER PRIMARY KEY, name TEXT, type TEXT, '
        'serialization_format TEXT)',
        'CREATE TABLE messages(id INTEGER PRIMARY KEY, topic_id INTEGER, timestamp INTEGER, '
        'data BLOB)',
        "INSERT INTO topics VALUES (1, '/a', 'std_msgs/msg/String', 'cdr')",
        "INSERT INTO messages VALUES (1, 1, 5, x'00')",
    )
    file = SqliteFile(path)
    assert file.channels == [Channel('/a', 'std_msgs/msg/String')]
    assert times(file) == ([5], [])


def test_no_bag(tmp_path):
    edit(tmp_path / 'other.db3', 'CREATE TABLE something(id)')
    with pytest.raises(RecordingError, match=r'nothing in .* can be read \(no such table'):
        SqliteFile(tmp_path / 'other.db3')
