"""The command line for recordings."""

import json
import sys

import numpy as np
import pytest

from linknet_ros.inference import model_file
from linknet_ros.recordings import bags as recorded
from linknet_ros.recordings import segment_bag


@pytest.fixture
def run(command, on_model, bags, frames, tmp_path):
    """`run(*arguments)`, where four recordings lie; see command."""
    for seed, name in enumerate(['a.mcap', 'b.mcap', 'c.mcap', 'd_db3']):
        messages = [
            ('/camera', i, bags.image(frame, i)) for i, frame in enumerate(frames(3, seed=seed))
        ]
        bags.write(tmp_path / name, [*messages, ('/chatter', 9, bags.text('x'))])
    return command(segment_bag.main, *on_model)


def test_one(run, bags, tmp_path):
    code, out, err = run('a.mcap', 'out.mcap')
    assert (code, out) == (0, 'a.mcap -> out.mcap: 3 frames read, 3 segmented, 0 bad\n')
    assert '100%' in err
    assert list(bags.read(tmp_path / 'out.mcap')) == [
        '/linknet/labels',
        '/linknet/overlay/compressed',
    ]


def test_options(run, bags, tmp_path):
    code, out, _ = run(
        *('a.mcap', 'out', '--outputs', 'labels,masks/car', '--prefix', '/seg', '--keep', 'all'),
        *('--topic', '/camera', '--compress', '--min-confidence', '1'),
    )
    assert code == 0
    assert out.endswith('4 other messages kept\n')
    found = bags.read(tmp_path / 'out')
    assert set(found) == {'/seg/labels', '/seg/masks/car', '/camera', '/chatter'}
    labels = np.array([message.data for _, message in found['/seg/labels']])
    assert {*np.unique(labels)} <= {0, 1, 2, 255}
    assert np.mean(labels == 255) > 0.9


def test_many_in_shards(run, tmp_path):
    bags_in = ('c.mcap', 'd_db3', 'a.mcap', 'b.mcap')
    for number, made in ((1, ['a.mcap', 'c.mcap']), (2, ['b.mcap', 'd_db3'])):
        code, out, _ = run(*bags_in, '--out-dir', f'out{number}', '--shard', f'{number}/2')
        assert code == 0
        assert [line.partition(' ')[0] for line in out.splitlines()] == made
        assert sorted(p.name for p in (tmp_path / f'out{number}').iterdir()) == made


def test_one_of_many_is_missing(run, tmp_path):
    code, out, _ = run('a.mcap', 'nothing.mcap', 'b.mcap', '--out-dir', 'out')
    assert code == 1
    assert "nothing.mcap: error: no recording 'nothing.mcap'; give a folder" in out
    assert sorted(p.name for p in (tmp_path / 'out').iterdir()) == ['a.mcap', 'b.mcap']


def test_resume_does_what_is_left(run, tmp_path):
    run('a.mcap', '--out-dir', 'out')
    code, _, err = run('a.mcap', 'b.mcap', '--out-dir', 'out')
    assert (code, err) == (
        1,
        'segment_bag: out/a.mcap already exists; add --overwrite, or name another output',
    )
    assert not (tmp_path / 'out' / 'b.mcap').exists()
    code, out, _ = run('a.mcap', 'b.mcap', '--out-dir', 'out', '--resume')
    assert code == 0
    assert out.splitlines()[0] == 'a.mcap -> out/a.mcap: already there, kept'
    assert '3 segmented' in out.splitlines()[1]


def test_damaged(run, tmp_path):
    path = tmp_path / 'a.mcap'
    size = path.stat().st_size
    path.write_bytes(path.read_bytes()[:-30])
    code, out, _ = run('a.mcap', 'out.mcap', '--json')
    assert code == 3
    (report,) = json.loads(out)
    assert (report['frames'], report['segmented'], report['complete']) == (3, 3, False)
    assert report['damage'] == [f'a.mcap is cut short at byte {size - 30}; read as far as it goes']


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        (('a.mcap',), 'segment_bag: 1 paths without --out-dir; give one input and one output'),
        (('a.mcap', 'out', '--outputs', 'label'), "segment_bag: no output 'label'"),
        (('a.mcap', 'a.mcap'), 'segment_bag: a.mcap would lie in its own source'),
    ],
)
def test_mistakes_are_one_line(run, arguments, message):
    code, _, err = run(*arguments)
    assert code == 1
    assert err.startswith(message)
    assert '\n' not in err


@pytest.mark.parametrize('prefix', ['linknet', '/a/', '/9', '/a b', ''])
def test_prefix(run, prefix):
    code, _, err = run('a.mcap', 'out', f'--prefix={prefix}')
    assert code == 2
    assert f"invalid topic prefix '{prefix}' (expected" in err


def test_without_rosbags(run, monkeypatch):
    monkeypatch.setitem(sys.modules, 'rosbags', None)
    monkeypatch.setitem(sys.modules, 'rosbags.rosbag2', None)
    code, _, err = run('a.mcap', 'out.mcap')
    assert code == 1
    assert err.startswith('segment_bag: reading recordings needs rosbags and mcap (')
    assert err.endswith('); pip install rosbags mcap tqdm')


def test_without_ray(run, monkeypatch):
    monkeypatch.setitem(sys.modules, 'ray', None)
    code, _, err = run('a.mcap', 'out.mcap', '--ray', 'local')
    assert code == 1
    assert err.startswith('segment_bag: --ray needs Ray (')


def test_tasks_of_ray(run, monkeypatch):
    """A real one: test_cluster.py."""
    asked = []

    def run_on_ray(jobs, address, *, gpus):
        asked.extend((str(job.source), str(job.out), address, gpus) for job in jobs)
        return map(recorded.segment_recording, jobs)

    monkeypatch.setattr(segment_bag, 'run_on_ray', run_on_ray)
    code, out, _ = run(
        *('a.mcap', 'b.mcap'), *('--out-dir', 'out', '--ray', 'local', '--ray-gpus', '0.5')
    )
    assert code == 0
    assert out.count(': 3 frames read, 3 segmented') == 2
    assert asked == [(name, f'out/{name}', 'local', 0.5) for name in ('a.mcap', 'b.mcap')]


def test_model_file_is_read_once(run, monkeypatch):
    reads = []
    read = model_file.read_file
    monkeypatch.setattr(model_file, 'read_file', lambda *a: reads.append(a) or read(*a))
    code, _, _ = run('a.mcap', 'b.mcap', '--out-dir', 'out')
    assert (code, len(reads)) == (0, 1)
