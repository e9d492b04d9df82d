"""Recordings, whole and damaged, of both storages."""

import shutil
import sqlite3

import pytest

from linknet_ros.errors import RecordingError
from linknet_ros.recordings.bag_reader import Recording
from linknet_ros.recordings.storage import Channel

A, B = '/camera', '/chatter'
STORAGES = pytest.mark.parametrize('storage', ['mcap', 'db3'])


def texts(bags, count, size=2000):
    """Messages of two topics, each with a text of its own that does not compress away."""
    for i in range(count):
        yield A, 10 * i, bags.text(f'{i} ' * size)
        yield B, 10 * i + 5, bags.text(f'b{i}')


def read(path, topics=(A, B)):
    """Counts, what was read, and the damage."""
    with Recording(path) as recording:
        counts = recording.survey(topics)
        messages = list(recording.messages(topics))
        assert counts == {t: sum(m[0] == t for m in messages) for t in counts}
        assert all(recording.topics[m[0]].kind == 'std_msgs/msg/String' for m in messages)
        return counts, messages, recording.damage


def expected(bags, count, size=2000):
    return [(topic, at, data) for topic, at, (_, data) in texts(bags, count, size)]


def write_parts(bags, folder, messages, storage='mcap'):
    """A folder without metadata.yaml, with a file for each message; by their numbers."""
    folder.mkdir()
    for number, message in messages.items():
        name = f'bag_{number}.{storage}'
        bags.write(folder.parent / name, [(A, number, message)]).rename(folder / name)


@STORAGES
@pytest.mark.parametrize('shape', ['file', 'folder'])
def test_whole(bags, tmp_path, storage, shape):
    path = tmp_path / (f'bag.{storage}' if shape == 'file' else f'bag_{storage}')
    bags.write(path, texts(bags, 20))
    counts, messages, damage = read(path)
    assert counts == {A: 20, B: 20}
    assert messages == expected(bags, 20)
    assert damage == []
    with Recording(path) as recording:
        assert recording.storage == {'mcap': 'mcap', 'db3': 'sqlite3'}[storage]
        assert recording.survey([B]) == {B: 20}
        assert [m[0] for m in recording.messages([B])] == [B] * 20
        assert recording.survey([]) == {}
        assert list(recording.messages([])) == []


@pytest.mark.parametrize(
    ('storage', 'mode'), [('mcap', 'storage'), ('mcap', 'file'), ('db3', 'file')]
)
def test_packed(bags, tmp_path, storage, mode):
    path = bags.write(tmp_path / f'bag_{storage}', texts(bags, 20), compress=mode)
    assert read(path) == ({A: 20, B: 20}, expected(bags, 20), [])


@STORAGES
@pytest.mark.parametrize('share', [0.3, 0.6, 0.9])
def test_cut_short(bags, tmp_path, storage, share):
    """The file alone, and in its folder, which says how much is missing."""
    path = bags.write(tmp_path / f'bag_{storage}', texts(bags, 400, 4000))
    file = next(path.glob(f'*.{storage}'))
    data = file.read_bytes()
    file.write_bytes(data[: int(share * len(data))])
    counts, messages, damage = read(file)
    assert messages == expected(bags, 400, 4000)[: len(messages)]
    # A chunk or a page more or less.
    assert abs(counts[A] - share * 400) < 60
    assert 'cut short' in damage[-1]
    assert read(path)[:2] == (counts, messages)
    assert f'400 messages of {A} were recorded, {counts[A]} are there' in read(path)[2]


@pytest.mark.parametrize('mode', [None, 'storage'])
def test_mcap_cut_anywhere(bags, tmp_path, mode):
    source = bags.write(tmp_path / 'bag_mcap', texts(bags, 4, 3), compress=mode)
    data = next(source.glob('*.mcap')).read_bytes()
    whole = expected(bags, 4, 3)
    path = tmp_path / 'cut.mcap'
    seen = set()
    for size in range(0, len(data), 7):  # the shortest record has 9 bytes: every one is cut
        path.write_bytes(data[:size])
        try:
            _, messages, damage = read(path)
        except RecordingError:
            continue
        assert messages == whole[: len(messages)]
        assert damage
        seen.add(len(messages))
    assert len(whole) in seen
    # Of one packed chunk nothing may be there before the end of it.
    assert mode or seen == set(range(len(whole) + 1))


def pack(file, suffix):
    """Pack a file as a whole, in place of it."""
    packed = file.with_name(file.name + suffix)
    if suffix == '.lz4':
        packed.write_bytes(pytest.importorskip('lz4.frame').compress(file.read_bytes()))
    else:
        packed.write_bytes(pytest.importorskip('zstandard').compress(file.read_bytes()))
    file.unlink()
    return packed


@pytest.mark.parametrize('metadata', ['there', 'missing'])
@pytest.mark.parametrize('pack_as', [None, 'message', '.zstd', '.zst', '.lz4'])
@STORAGES
def test_packed_or_without_metadata_is_not_damaged(bags, tmp_path, storage, pack_as, metadata):
    mode = pack_as if pack_as == 'message' else None
    path = bags.write(tmp_path / f'bag_{storage}', texts(bags, 20), compress=mode)
    file = next(path.glob(f'*.{storage}'))
    if pack_as and not mode:
        file = pack(file, pack_as)
    if metadata == 'missing':
        (path / 'metadata.yaml').unlink()
    for source in (path, file):
        assert read(source) == ({A: 20, B: 20}, expected(bags, 20), [])
        with Recording(source) as recording:
            assert len(recording.notes) == (metadata == 'missing' and source == path)
            assert recording.storage == {'mcap': 'mcap', 'db3': 'sqlite3'}[storage]


@STORAGES
def test_packed_parts_of_a_recorder_that_was_killed(bags, tmp_path, storage):
    """It packs a file when the next one is begun; the plain one goes when the packed is whole."""
    folder = tmp_path / 'bag'
    write_parts(bags, folder, {n: bags.text(f'{n} ' * 2000) for n in range(4)}, storage)
    for number in (0, 1):
        pack(folder / f'bag_{number}.{storage}', '.zstd')
    plain = folder / f'bag_2.{storage}'
    whole = plain.read_bytes()
    half = pack(plain, '.zstd')
    half.write_bytes(half.read_bytes()[:30])
    plain.write_bytes(whole)
    with Recording(folder) as recording:
        assert recording.survey([A]) == {A: 4}
        assert [at for _, at, _ in recording.messages([A])] == [0, 1, 2, 3]
        assert recording.damage == []
    plain.unlink()
    with Recording(folder) as recording:
        assert recording.survey([A]) == {A: 3}
        assert any(f'bag_2.{storage}' in line for line in recording.damage)


def test_topic_of_two_types(bags, tmp_path):
    """Only the first is read, and the other is named: neither is taken for the other."""
    folder = tmp_path / 'bag'
    other = bags.serialize('std_msgs/msg/Int8', data=5)
    write_parts(bags, folder, {0: bags.text('x'), 1: other})
    with Recording(folder) as recording:
        assert recording.survey([A]) == {A: 1}
        assert [m[2] for m in recording.messages([A])] == [bags.text('x')[1]]
        assert recording.topics == {A: Channel(A, 'std_msgs/msg/String')}
        assert f'{A} also has messages of std_msgs/msg/Int8, which are left out' in recording.notes


def test_metadata_that_promises_more(bags, tmp_path):
    path = bags.write(tmp_path / 'bag_mcap', texts(bags, 3))
    text = (path / 'metadata.yaml').read_text()
    (path / 'metadata.yaml').write_text(text.replace('message_count: 3', 'message_count: 5'))
    assert f'5 messages of {A} were recorded, 3 are there' in read(path)[2]
    with Recording(path) as recording:
        recording.survey([A])
        damage = list(recording.damage)
        recording.survey([A])
        assert recording.damage == damage


def test_several_files_in_their_order(bags, tmp_path):
    folder = tmp_path / 'bag'
    write_parts(bags, folder, {number: bags.text(str(number)) for number in (10, 2, 1)})
    (folder / 'bag_2.mcap').write_bytes(b'nothing')
    _, messages, damage = read(folder)
    assert [at for _, at, _ in messages] == [1, 10]
    assert any(
        'bag_2.mcap is not an MCAP file, or its beginning is lost' in line for line in damage
    )


def test_missing_file_is_named(bags, tmp_path):
    path = bags.write(tmp_path / 'bag_mcap', texts(bags, 3))
    metadata = path / 'metadata.yaml'
    metadata.write_text(
        metadata.read_text().replace('- bag_mcap.mcap', '- bag_mcap.mcap\n  - x.mcap')
    )
    assert read(path)[2] == ['x.mcap is missing']
    metadata.write_text('- ]')
    assert 'metadata.yaml cannot be read' in read(path)[2][0]


def test_damage_inside_is_found_before_reading(bags, tmp_path):
    """The index is whole, but a chunk in the midst is not."""
    path = bags.write(tmp_path / 'bag_mcap', texts(bags, 400, 4000), compress='storage')
    file = next(path.glob('*.mcap'))
    data = bytearray(file.read_bytes())
    at = data.index(b'\x28\xb5\x2f\xfd', len(data) // 2)
    data[at : at + 40] = bytes(40)
    file.write_bytes(data)
    counts, messages, damage = read(path)
    whole = expected(bags, 400, 4000)
    assert 0 < counts[A] < 400
    assert set(messages) < set(whole)
    assert messages[-1] == whole[-1]
    assert any('chunk at byte' in line and 'is lost' in line for line in damage)
    assert f'400 messages of {A} were recorded, {counts[A]} are there' in damage


def test_write_ahead_log_is_read(bags, tmp_path):
    """What a recorder left that was killed."""
    path = bags.write(tmp_path / 'bag.db3', texts(bags, 3))
    database = sqlite3.connect(path)
    database.execute('PRAGMA journal_mode=WAL')
    database.execute("INSERT INTO messages (topic_id, timestamp, data) VALUES (1, 99, x'0001')")
    database.commit()
    crashed = tmp_path / 'crashed'
    crashed.mkdir()
    for name in ('bag.db3', 'bag.db3-wal'):
        shutil.copy(tmp_path / name, crashed)
    database.close()
    _, messages, damage = read(crashed / 'bag.db3')
    assert messages == [*expected(bags, 3), (A, 99, b'\x00\x01')]
    assert damage == ['bag.db3 was not closed by its recorder']


@pytest.mark.parametrize(
    ('name', 'content', 'message'),
    [
        ('bag.mcap', None, r"no recording '.*bag\.mcap'; give a folder of rosbag2"),
        ('bag.txt', b'', r'bag\.txt is not an \.mcap or \.db3 file of rosbag2'),
        ('bag.mcap.zstd', b'', r'bag\.mcap is not an MCAP file, or its beginning is lost'),
        ('bag.mcap', b'', r'bag\.mcap is not an MCAP file, or its beginning is lost'),
        ('bag.db3', b'', r'nothing in .*bag\.db3 can be read'),
        ('bag.db3', b'nonsense' * 99, r'nothing in .*bag\.db3 can be read'),
        ('drive.bag', b'#ROSBAG V2.0\n', r'is a recording of ROS 1; convert it: rosbags-convert'),
    ],
)
def test_no_recording(bags, tmp_path, name, content, message):
    path = tmp_path / name
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(RecordingError, match=message):
        Recording(path)


def test_folder_without_a_recording(bags, tmp_path):
    with pytest.raises(RecordingError, match=r'no \.mcap or \.db3 file in'):
        Recording(tmp_path)
