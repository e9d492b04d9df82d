"""The command line for images and videos."""

from pathlib import Path

import cv2
import pytest

from linknet_ros.recordings import segment_files


@pytest.fixture
def run(command, on_model, frames):
    """`run(*arguments)`, where drive/ and night/ have two images; see command."""
    for seed, folder in enumerate(['drive', 'night']):
        Path(folder).mkdir()
        for index, frame in enumerate(frames(2, seed=seed)):
            cv2.imwrite(f'{folder}/{index}.png', frame)
    return command(segment_files.main, *on_model)


def test_folder(run):
    code, out, err = run('drive', 'out')
    assert (code, out) == (0, 'drive -> out: 2 frames read, 2 segmented, 0 bad\n')
    assert '100%' in err
    assert {path.name for path in Path('out').iterdir()} == {'classes.json', 'labels', 'overlay'}


def test_several(run):
    code, _, _ = run('drive/', 'night/*.png', '--out-dir', 'out', '--outputs', 'color')
    assert code == 0
    found = sorted(map(str, Path('out').rglob('*.png')))
    assert found == [f'out/{a}/color/{i}.png' for a in ('drive', 'night') for i in (0, 1)]
    code, out, _ = run('drive', 'night', '--out-dir', 'other', '--shard', '2/2')
    assert out.startswith('night -> other/night: 2 frames read')


def test_video(run):
    code, _, _ = run('drive', 'out.mp4', '--outputs', 'overlay', '--rate', '5')
    assert code == 0
    video = cv2.VideoCapture('out.mp4')
    assert (video.get(cv2.CAP_PROP_FRAME_COUNT), video.get(cv2.CAP_PROP_FPS)) == (2, 5)


@pytest.mark.parametrize(
    ('arguments', 'code', 'message'),
    [
        (('drive',), 1, 'segment_files: 1 paths without --out-dir; give one input and one output'),
        (('drive', 'out', '--outputs', 'x'), 1, "segment_files: no output 'x'"),
        (('drive', 'out', '--rate', '0'), 2, "invalid rate '0' (expected frames"),
    ],
)
def test_mistakes(run, arguments, code, message):
    found, _, err = run(*arguments)
    assert found == code
    assert message in err
