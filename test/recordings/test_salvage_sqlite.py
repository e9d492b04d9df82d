"""SQLite bags with holes; test_bag_reader.py cuts them short."""

import sqlite3

import pytest

from linknet_ros.errors import RecordingError
from linknet_ros.recordings.salvage_sqlite import SqliteSalvage

COUNT = 300


@pytest.fixture
def path(bags, tmp_path):
    messages = [('/a', i, bags.text(f'{i} ' * 2000)) for i in range(COUNT)]
    return bags.write(tmp_path / 'bag.db3', messages)


def times(salvaged):
    (connection,) = salvaged.connections
    assert (connection.topic, connection.msgtype) == ('/a', 'std_msgs/msg/String')
    return [at for _, at, _ in salvaged.messages()]


def test_whole(path, bags):
    salvaged = SqliteSalvage(path)
    for _ in range(2):
        assert times(salvaged) == list(range(COUNT))
        assert salvaged.damage == []
    assert [data for _, _, data in salvaged.messages()] == [
        bags.text(f'{i} ' * 2000)[1] for i in range(COUNT)
    ]
    assert 'string data' in salvaged.connections[0].msgdef.data
    salvaged.close()


def test_hole(path):
    data = bytearray(path.read_bytes())
    middle = len(data) // 2 // 4096 * 4096
    data[middle : middle + 8192] = b'\xff' * 8192
    path.write_bytes(data)
    salvaged = SqliteSalvage(path)
    found = times(salvaged)
    lost = COUNT - len(found)
    assert 0 < lost < 20
    assert found == sorted(set(found))
    assert found[0] == 0
    assert found[-1] == COUNT - 1
    assert salvaged.damage == [f'bag.db3 lacks {lost} messages that cannot be read']


def test_rows_that_are_no_messages(path):
    database = sqlite3.connect(path)
    database.execute("INSERT INTO messages VALUES (9001, 1, 'late', 'text')")
    database.execute("INSERT INTO messages VALUES (9002, 77, 5, x'00')")
    database.commit()
    database.close()
    assert times(SqliteSalvage(path)) == list(range(COUNT))


def test_deleted_messages_are_no_damage(path):
    database = sqlite3.connect(path)
    database.execute('DELETE FROM messages WHERE id BETWEEN 20 AND 40')
    database.commit()
    database.close()
    salvaged = SqliteSalvage(path)
    assert len(times(salvaged)) == COUNT - 21
    assert salvaged.damage == []


def test_older_bag(tmp_path, bags):
    """As of ROS 2 Foxy: no QoS, no definitions."""
    path = tmp_path / 'old.db3'
    database = sqlite3.connect(path)
    database.execute(
        'CREATE TABLE topics(id INTEGER PRIMARY KEY, name TEXT, type TEXT, '
        'serialization_format TEXT)'
    )
    database.execute(
        'CREATE TABLE messages(id INTEGER PRIMARY KEY, topic_id INTEGER, timestamp INTEGER, '
        'data BLOB)'
    )
    database.execute("INSERT INTO topics VALUES (1, '/a', 'std_msgs/msg/String', 'cdr')")
    database.execute("INSERT INTO messages VALUES (1, 1, 5, x'00')")
    database.commit()
    database.close()
    assert times(SqliteSalvage(path)) == [5]


def test_no_bag(tmp_path, bags):
    path = tmp_path / 'other.db3'
    database = sqlite3.connect(path)
    database.execute('CREATE TABLE something(id)')
    database.close()
    with pytest.raises(RecordingError, match=r'nothing in it can be read \(no such table'):
        SqliteSalvage(path)
