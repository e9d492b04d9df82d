"""Bags that are written, read back with rosbags."""

import sqlite3

import pytest

from linknet_ros.errors import RecordingError
from linknet_ros.recordings.bag_messages import Messages
from linknet_ros.recordings.bag_reader import Recording
from linknet_ros.recordings.bag_writer import BagWriter


@pytest.fixture
def messages(bags):
    return Messages()


def parse_qos(text):
    from rosbags.rosbag2 import metadata

    return metadata.parse_qos(text)


@pytest.mark.parametrize('storage', ['mcap', 'sqlite3'])
def test_writes(bags, messages, tmp_path, storage):
    folder = tmp_path / 'out'
    with BagWriter(folder, storage, messages, about={'made by': 'us'}) as writer:
        writer.add('/a', 'std_msgs/msg/String')
        writer.write('/a', 5, bags.text('x')[1])
    assert writer.file.suffix == {'mcap': '.mcap', 'sqlite3': '.db3'}[storage]
    (entry,) = bags.read(folder)['/a']
    assert (entry[0], entry[1].data) == (5, 'x')
    assert '"made by": "us"' in (folder / 'metadata.yaml').read_text()
    with Recording(folder) as recording:
        (qos,) = parse_qos(recording.topics['/a'].qos)
    assert (qos.reliability.name, qos.durability.name, qos.depth) == ('RELIABLE', 'VOLATILE', 10)


def copy(bags, messages, source, folder, storage='mcap'):
    """Copy a bag; its channels before and after, and what copy returned."""
    with Recording(source) as recording:
        before = recording.topics
        names = list(before)
        with BagWriter(folder, storage, messages) as writer:
            known = [writer.copy(channel) for channel in before.values()]
            for topic, at, data in recording.messages(names):
                writer.write(topic, at, data)
    with Recording(folder) as recording:
        return before, recording.topics, known


@pytest.mark.parametrize('source', ['mcap', 'db3'])
@pytest.mark.parametrize('storage', ['mcap', 'sqlite3'])
def test_copies_with_definition_and_qos(bags, messages, tmp_path, source, storage):
    path = tmp_path / f'in.{source}'
    with BagWriter(tmp_path / 'made', 'mcap' if source == 'mcap' else 'sqlite3', messages) as made:
        made.add('/a', 'std_msgs/msg/String')
        made.add('/b', 'sensor_msgs/msg/Image')
        made.write('/a', 5, bags.text('x')[1])
    made.file.rename(path)
    before, after, known = copy(bags, messages, path, tmp_path / 'out', storage)
    assert known == [True, True]
    assert list(after) == ['/a', '/b']
    for name, channel in after.items():
        assert channel == before[name]
        assert (channel.form, channel.schema) == ('ros2msg', before[name].schema)
        assert channel.digest == bags.store.hash_rihs01(channel.kind)
        assert parse_qos(channel.qos) == parse_qos(before[name].qos)


def test_type_that_nobody_knows(bags, messages, tmp_path):
    path = bags.write(tmp_path / 'in_db3', [('/a', 5, bags.text('x'))])
    file = next(path.glob('*.db3'))
    database = sqlite3.connect(file)
    database.execute("UPDATE topics SET type = 'our_msgs/msg/Secret'")
    database.execute('DELETE FROM message_definitions')
    database.commit()
    database.close()
    _, after, known = copy(bags, messages, file, tmp_path / 'out')
    assert known == [False]
    assert after['/a'].kind == 'our_msgs/msg/Secret'
    with Recording(tmp_path / 'out') as recording:
        assert list(recording.messages(['/a'])) == [('/a', 5, bags.text('x')[1])]


def test_compress(bags, messages, tmp_path):
    for compress in (False, True):
        with BagWriter(tmp_path / str(compress), 'mcap', messages, compress=compress) as writer:
            writer.add('/a', 'std_msgs/msg/String')
            writer.write('/a', 5, bags.text('x' * 100_000)[1])
    assert bags.read(tmp_path / 'True')['/a'][0][1].data == 'x' * 100_000
    sizes = [next((tmp_path / n).glob('*.mcap')).stat().st_size for n in ('False', 'True')]
    assert sizes[1] < sizes[0] / 10
    with pytest.raises(RecordingError, match=r'--compress needs an \.mcap output'):
        BagWriter(tmp_path / 'other', 'sqlite3', messages, compress=True)
