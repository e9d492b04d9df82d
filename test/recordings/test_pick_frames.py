"""The command line that picks frames."""

import csv
from pathlib import Path

import cv2
import numpy as np
import pytest

from linknet_ros.recordings import frame_scores, pick_frames


def scene(seed, brightness=1.0):
    """A frame of 96x64 unlike those of other seeds; a darker one has less confidence."""
    small = np.random.default_rng(seed).integers(60, 256, (8, 12, 3), np.uint8)
    frame = cv2.resize(small, (96, 64), interpolation=cv2.INTER_NEAREST)
    return (frame * brightness).astype(np.uint8)


@pytest.fixture
def run(command, on_model):
    """`run(*arguments)`; see command."""
    return command(pick_frames.main, *on_model)


def drive(bags, path):
    """A bag of 12 scenes, each twice in a row, the second time darker."""
    made = [scene(index // 2, 0.6 + 0.4 * (index % 2 == 0)) for index in range(24)]
    made[6] = cv2.GaussianBlur(made[6], (0, 0), 4)
    made[7] = cv2.GaussianBlur(made[7], (0, 0), 4)
    made[9][:] = 255
    bags.write(path, [('/camera', i, bags.image(f, i + 1)) for i, f in enumerate(made)])
    return made


def rows(out):
    with (Path(out) / 'frames.csv').open(newline='') as file:
        return list(csv.DictReader(file))


def contents(out):
    return {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in Path(out).rglob('*.*')}


def test_picks_sharp_unsure_different_frames(run, bags, tmp_path):
    made = drive(bags, tmp_path / 'a.mcap')
    code, text, _ = run('a.mcap', 'out', '--count', '20')
    assert code == 0
    assert 'a.mcap -> out: 11 frames of 24 (1 badly exposed, 2 blurred)\n' in text
    assert '--least-distance 0.05 takes more' in text
    found = rows('out')
    # Of each scene the one that the network is less sure of: the darker, where it shows anything.
    assert sorted(int(row['index']) for row in found) == [1, 3, 5, 8, *range(11, 24, 2)]
    assert [row['rank'] for row in found] == [str(n) for n in range(1, 12)]
    for row in found:
        index = int(row['index'])
        assert row['stamp'] == f'{index + 1}.{index + 1:09d}'
        assert row['file'] == f'frames/a_{index + 1:06d}_{index + 1:09d}.png'
        np.testing.assert_array_equal(cv2.imread(f'out/{row["file"]}'), made[index])
        expected = 1 - made[index].max(axis=2).mean() / 255
        assert float(row['doubt_confidence']) == pytest.approx(expected, abs=1e-3)
        assert float(row['nearest']) >= 0.1
    assert len(list(Path('out/frames').iterdir())) == 11
    assert cv2.imread('out/sheet_1.jpg').shape[1] == 6 * 252


def test_the_same_command_changes_nothing(run, bags, tmp_path):
    drive(bags, tmp_path / 'a.mcap')
    assert run('a.mcap', 'out', '--count', '3')[0] == 0
    before = contents('out')
    assert run('a.mcap', 'out', '--count', '3') == (0, 'out: already there, kept\n', '')
    assert contents('out') == before
    code, _, text = run('a.mcap', 'out', '--count', '4')
    assert (code, contents('out')) == (1, before)
    assert text.startswith('pick_frames: out was picked with another count; name another output')


@pytest.mark.parametrize('stop_at', [5, 30])
def test_a_killed_run_goes_on(run, bags, tmp_path, monkeypatch, stop_at):
    drive(bags, tmp_path / 'a.mcap')
    assert run('a.mcap', 'whole', '--count', '6')[0] == 0
    worked = []

    def counted(name):
        original = getattr(frame_scores, name)

        def work(*arguments):
            if len(worked) == stop_at:
                raise KeyboardInterrupt
            worked.append(name)
            return original(*arguments)

        monkeypatch.setattr(frame_scores, name, work)

    counted('look_at')
    counted('_doubt')
    with pytest.raises(KeyboardInterrupt):
        run('a.mcap', 'out', '--count', '6')
    assert not Path('out').exists()
    with open('out.part/scores.jsonl', 'a') as file:
        file.write('["look", 0, 9, [')  # torn by the kill
    stop_at = -1
    assert run('a.mcap', 'out', '--count', '6')[0] == 0
    # Each frame was looked at, and each candidate asked, once in all.
    assert (worked.count('look_at'), worked.count('_doubt')) == (24, 21)
    assert not Path('out.part').exists()
    for path in Path('whole').rglob('*.*'):
        assert Path('out', path.relative_to('whole')).read_bytes() == path.read_bytes()
    (tmp_path / 'out').rename('moved')
    Path('out.part').mkdir()
    Path('out.part/scores.jsonl').write_text('another\n')
    assert 'was begun with other recordings' in run('a.mcap', 'out', '--count', '6')[2]


def test_second_model(run, bags, tmp_path, half_proto, write_model):
    drive(bags, tmp_path / 'a.mcap')
    second = write_model(half_proto, 'second.onnx')
    assert run('a.mcap', 'out', '--count', '4', '--second-model', second)[0] == 0
    row = rows('out')[0]
    frame = cv2.imread(f'out/{row["file"]}')
    other = np.stack([frame[..., 2], frame[..., 1] / 2, frame[..., 0] / 4], 2).argmax(2)
    expected = (frame.argmax(2) != other).mean()
    assert float(row['doubt_second']) == pytest.approx(expected, abs=1e-3)


def test_several_sources_share_the_count(run, bags, tmp_path):
    drive(bags, tmp_path / 'a.mcap')
    (tmp_path / 'photos').mkdir()
    for seed in range(30, 42):
        cv2.imwrite(f'photos/{seed}.jpg', scene(seed))
    (tmp_path / 'photos' / '35.jpg').write_bytes(b'no image')
    code, _, text = run('a.mcap', 'photos', 'out', '--count', '8')
    assert code == 3
    assert 'photos/35.jpg is not a readable image' in text
    sources = [row['source'] for row in rows('out')]
    assert 2 <= sources.count('photos') <= 6
    kept = next(row['file'] for row in rows('out') if row['source'] == 'photos')
    name = kept.removeprefix('frames/photos_')
    assert Path('out', kept).read_bytes() == Path('photos', name).read_bytes()


def test_images_of_one_name_are_kept_apart(run, tmp_path):
    for seed, folder in enumerate(['x/cam', 'y/cam']):
        (tmp_path / folder).mkdir(parents=True)
        cv2.imwrite(f'{folder}/0.png', scene(seed))
    assert run('*/cam/0.png', 'out')[0] == 0
    assert {path.name for path in Path('out/frames').iterdir()} == {'cam_0.png', 'cam_0-1.png'}


def test_images_of_one_stem_are_kept_apart(run, tmp_path):
    """Also where what would keep them apart is a name already."""
    (tmp_path / 'cam').mkdir()
    for seed, name in enumerate(['x-2.bmp', 'x.bmp', 'x.png']):
        cv2.imwrite(f'cam/{name}', scene(seed))
    assert run('cam', 'out')[0] == 0
    found = {path.stem for path in Path('out/frames').iterdir()}
    assert found == {'cam_x-2', 'cam_x', 'cam_x-2-2'}


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        (('drive',), 'no output is named; give recordings, then a folder'),
        (('drive', 'drive/out'), 'drive/out would lie in its own source'),
        (('drive', 'other'), 'other already exists; name another output'),
        (('nothing.mcap', 'out'), "no recording 'nothing.mcap'"),
        (('drive', 'out', '--least-exposure', '1'), 'none of 1 frames can be used (1 badly'),
    ],
)
def test_mistakes(run, tmp_path, arguments, message):
    for folder in ('drive', 'other'):
        (tmp_path / folder).mkdir()
        cv2.imwrite(f'{folder}/0.png', np.full((64, 96, 3), 255, np.uint8))
    code, _, text = run(*arguments)
    assert code == 1
    assert text.startswith(f'pick_frames: {message}')
