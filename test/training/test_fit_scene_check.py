"""The command that tells a model file what its frames look like, on networks of one layer."""

import hashlib

import cv2
import numpy as np
import onnx
import pytest

from linknet_ros.inference.int8_twin import int8_twin
from linknet_ros.inference.model_file import load_model
from linknet_ros.inference.scene_model import PICTURE_LIMITS
from training import fit_scene_check
from training.camera_faults import AS_IT_IS, FAULTS, HARMLESS
from training.fit_scene_check import main


@pytest.fixture
def folders(tmp_path, monkeypatch):
    """Two folders of eight frames: what is red (class 0) above what is blue (class 2)."""
    monkeypatch.setattr(fit_scene_check, '_EVERY', 2)
    rng = np.random.default_rng(0)
    for name in ('one', 'two'):
        (tmp_path / name).mkdir()
        for number in range(8):
            frame = cv2.resize(rng.integers(0, 60, (5, 7, 3), np.uint8), (96, 64))
            horizon = 24 + 4 * (number % 3)
            frame[:horizon, :, 2] += 190
            frame[horizon:, :, 0] += 190
            cv2.imwrite(str(tmp_path / name / f'{number}.png'), frame)
    return [str(tmp_path / 'one'), str(tmp_path / 'two')]


@pytest.fixture
def pair(half_proto, int8_proto, write_model, with_metadata):
    """A model file, and its int8 twin that knows it by its hash."""
    path = write_model(with_metadata(half_proto, int8_twin='model_int8.onnx'))
    of = hashlib.sha256(path.read_bytes()).hexdigest()
    write_model(with_metadata(int8_proto, quantized_from=of), 'model_int8.onnx')
    return path


def graph(path):
    return onnx.load(path).graph.SerializeToString()


def test_both_files_get_it_and_nothing_else_changes(pair, folders, capsys):
    twin = pair.with_name('model_int8.onnx')
    before = [graph(path) for path in (pair, twin)]
    assert load_model(pair).scene.layout == ()
    main([str(pair), '--fit', *folders, '--measure', folders[1], '--no-street', folders[0]])
    model = load_model(pair)
    assert int8_twin(model).scene == model.scene
    assert [graph(path) for path in (pair, twin)] == before
    scene = model.scene
    assert set(scene.limits) == {*PICTURE_LIMITS, 'street'}
    costs = np.array(scene.layout)
    assert costs.shape == (6, 8, 3)
    np.testing.assert_array_equal(costs, costs[:, ::-1])
    np.testing.assert_allclose(np.exp(-costs / 100).sum(-1), 1, atol=0.02)
    # Where streets have it, a class costs little.
    assert (costs[0].argmin(-1) == 0).all()
    assert (costs[-1].argmin(-1) == 2).all()
    printed = capsys.readouterr().out
    assert printed.count('limits {') == 2
    rows = [line.split(' | ') for line in printed.splitlines() if line.startswith('| ')]
    titles = [row[0].removeprefix('| ') for row in rows[1:]]
    assert titles[1:] == [*HARMLESS, *FAULTS, fit_scene_check.NO_STREET]
    found = {row[0].removeprefix('| '): float(row[2]) for row in rows[1:]}
    assert (found[AS_IT_IS], found['black'], found['noise']) == (0, 100, 100)


@pytest.mark.parametrize('name', [*HARMLESS, *FAULTS])
def test_faults_are_frames_and_the_same_each_time(name):
    frame = np.random.default_rng(0).integers(0, 256, (60, 80, 3), np.uint8)
    kept = frame.copy()
    make = (HARMLESS | FAULTS)[name]
    made, again = (make(frame, np.random.default_rng(3)) for _ in range(2))
    np.testing.assert_array_equal(made, again)
    np.testing.assert_array_equal(frame, kept)
    assert (made.dtype, made.shape[2], made.flags['C_CONTIGUOUS']) == (np.uint8, 3, True)
    assert (name == AS_IT_IS) == np.array_equal(made, frame)


def test_a_part_of_a_folder_by_name(folders):
    frames = fit_scene_check.frames_of(folders[0], 8)
    [part] = fit_scene_check.frames_of(f'{folders[0]}[6:7]', 8)
    np.testing.assert_array_equal(part, frames[6])
    rest = fit_scene_check.frames_of(f'{folders[0]}[5:]', 2)
    np.testing.assert_array_equal(rest, [frames[5], frames[7]])


def test_nothing_to_read(pair, folders, tmp_path):
    with pytest.raises(SystemExit, match='error: no image is left of '):
        main([str(pair), '--measure', f'{folders[0]}[8:]'])
    with pytest.raises(SystemExit, match='error: no image matches'):
        main([str(pair), '--fit', str(tmp_path / '*.jpg')])
