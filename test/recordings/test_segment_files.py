"""The command line for images and videos."""

import cv2
import numpy as np
import pytest

from linknet_ros.recordings import segment_files


@pytest.fixture
def run(model, frames, tmp_path, monkeypatch, capsys):
    """`run(*arguments)`: exit code, stdout and stderr, where drive/ and night/ have two images."""
    monkeypatch.chdir(tmp_path)
    for seed, folder in enumerate(['drive', 'night']):
        (tmp_path / folder).mkdir()
        for index, frame in enumerate(frames(2, seed=seed)):
            cv2.imwrite(f'{folder}/{index}.png', frame)
    settings = ('--model', str(model.path), '--backend', 'onnxruntime', '--precision', 'fp32')

    def run(*arguments):
        with pytest.raises(SystemExit) as stop:
            segment_files.main([*arguments, *settings])
        code = stop.value.code
        shown = capsys.readouterr()
        return (code, shown.out, shown.err) if isinstance(code, int) else (1, '', code)

    return run


def test_folder(run, frames, tmp_path):
    code, out, err = run('drive', 'out')
    assert (code, out) == (0, 'drive -> out: 2 frames read, 2 segmented, 0 bad\n')
    assert '100%' in err
    assert sorted(p.name for p in (tmp_path / 'out').iterdir()) == [
        'classes.json',
        'labels',
        'overlay',
    ]
    for index, frame in enumerate(frames(2)):
        labels = cv2.imread(f'out/labels/{index}.png', cv2.IMREAD_UNCHANGED)
        np.testing.assert_array_equal(labels, frame.argmax(2))


def test_several(run, tmp_path):
    code, _, _ = run('drive/', 'night/*.png', '--out-dir', 'out', '--outputs', 'color')
    assert code == 0
    found = sorted(p.relative_to(tmp_path).as_posix() for p in (tmp_path / 'out').rglob('*.png'))
    assert found == [f'out/{a}/color/{i}.png' for a in ('drive', 'night') for i in (0, 1)]
    code, out, _ = run('drive', 'night', '--out-dir', 'other', '--shard', '2/2')
    assert out.startswith('night -> other/night: 2 frames read')


def test_video(run, tmp_path):
    code, _, _ = run('drive', 'out.mp4', '--outputs', 'overlay', '--rate', '5')
    assert code == 0
    video = cv2.VideoCapture('out.mp4')
    assert (video.get(cv2.CAP_PROP_FRAME_COUNT), video.get(cv2.CAP_PROP_FPS)) == (2, 5)


@pytest.mark.parametrize(
    ('arguments', 'code', 'message'),
    [
        (('drive',), 1, 'segment_files: 1 paths without --out-dir; give one input and one output'),
        (('drive', 'drive/out'), 1, 'segment_files: drive/out would lie in its own source'),
        (('drive', 'out', '--outputs', 'x'), 1, "segment_files: no output 'x'"),
        (('drive', 'out', '--rate', '0'), 2, "invalid rate '0' (expected frames"),
    ],
)
def test_mistakes(run, arguments, code, message):
    found, _, err = run(*arguments)
    assert found == code
    assert message in err


def test_missing_source_is_in_the_report(run):
    code, out, _ = run('nothing', 'out')
    assert code == 1
    assert out.startswith("nothing: error: no folder or video 'nothing'")
