"""Several model files side by side: the order of the cells, the table, labelled frames."""

import json
from pathlib import Path

import cv2
import numpy as np
import onnx
import pytest

from linknet_ros.benchmark import contest
from linknet_ros.benchmark.accuracy import labelled_frames, measure
from linknet_ros.benchmark.benchmark import main
from linknet_ros.benchmark.models import Choice, compare
from linknet_ros.errors import SourceError
from linknet_ros.frames.encode import encode_palette_png
from linknet_ros.inference.model_file import load_model
from linknet_ros.system.child_process import Outcome


@pytest.fixture
def two(half_proto, mixed_proto, write_model):
    return [write_model(half_proto, 'a.onnx'), write_model(mixed_proto, 'b.onnx')]


@pytest.fixture
def labelled(tmp_path):
    """Two frames that are red (0, road) above, and blue (2, sky) below; one has void as well."""
    (tmp_path / 'frames').mkdir()
    (tmp_path / 'ids').mkdir()
    for name, void in (('x', 0), ('y', 16)):
        frame, ids = np.zeros((32, 64, 3), np.uint8), np.zeros((32, 64), np.uint8)
        frame[:16, :, 2], frame[16:, :, 0] = 255, 255
        ids[16:] = 2
        ids[:void] = 255
        cv2.imwrite(str(tmp_path / 'frames' / f'{name}.png'), frame)
        cv2.imwrite(str(tmp_path / 'ids' / f'{name}.png'), ids)
    cv2.imwrite(str(tmp_path / 'frames' / 'without.png'), frame)
    return tmp_path / 'frames', tmp_path / 'ids'


def accuracy_of(path, labelled, names, drivable):
    frames = labelled_frames(*labelled)
    return measure(str(path), 'onnxruntime', 'fp32', 1, (64, 32), frames, names, drivable)


def test_labelled_frames(two, labelled):
    assert [Path(image).name for image, _ in labelled_frames(*labelled)] == ['x.png', 'y.png']
    names = ('road', 'car', 'sky')
    assert accuracy_of(two[0], labelled, names, (True, False, False)) == {
        'miou': 1.0,
        'drivable': 1.0,
    }
    # Ids of another order, by their names: the truth says car where the network says road.
    found = accuracy_of(two[0], labelled, ('car', 'road', 'sky'), (False, True, False))
    assert found == {'miou': pytest.approx(1 / 3), 'drivable': 0.0}
    # Classes that the network does not have: what is drivable can be compared all the same.
    found = accuracy_of(two[0], labelled, ('street', 'car', 'sky'), (True, False, False))
    assert found == {'miou': None, 'drivable': 1.0}
    # Nothing there is drivable, and the network says so nowhere else.
    assert accuracy_of(two[0], labelled, ('a', 'b', 'c'), (False,) * 3)['drivable'] == 0.0


def test_labels_that_are_none(two, labelled, tmp_path):
    with pytest.raises(SourceError, match=r'no frame of .*frames has labels in .*; give the fold'):
        labelled_frames(labelled[0], tmp_path)
    colours = np.full((32, 64, 3), (0, 1, 2), np.uint8)
    for image, reason in (
        (colours, 'x.png has no ids from 0 to 255; give ids of classes, not colours'),
        (colours[:8, :, 0], 'x.png .*64x8.*64x32'),
    ):
        cv2.imwrite(str(labelled[1] / 'x.png'), image)
        with pytest.raises(SourceError, match=reason):
            accuracy_of(two[0], labelled, ('road',), (True,))


def test_labels_with_a_palette(two, labelled):
    """As pre_label writes them: an index is an id, whatever its colour."""
    for path in labelled[1].glob('*.png'):
        ids = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
        path.write_bytes(encode_palette_png(ids, np.zeros((256, 3), np.uint8)))
    names = ('road', 'car', 'sky')
    assert accuracy_of(two[0], labelled, names, (True, False, False))['miou'] == 1.0


def test_command(two, labelled, tmp_path, capsys):
    words = f'--backends onnxruntime --precisions fp32 --frames 1 --rounds 1 --out {tmp_path}/o'
    frames = ['--images', str(labelled[0]), '--labels', str(labelled[1])]
    main(['--models', *map(str, two), *words.split(), *frames])
    table = (tmp_path / 'o' / 'models.md').read_text()
    assert capsys.readouterr().out.startswith(table)
    record = json.loads((tmp_path / 'o' / 'models.json').read_text())
    first, second = record['rows']
    assert (first['model'], first['size'], first['contender']) == (
        'a.onnx',
        '96x64',
        'onnxruntime fp32',
    )
    assert (first['parameters'], first['macs']) == (9, 9 * 96 * 64)
    assert (first['miou'], first['drivable'], first['as_fp32'], first['ratio']) == (1, 1, 1, 1)
    assert (second['model'], second['parameters']) == ('b.onnx', 448)
    assert second['ratio'] > 0
    assert '| a.onnx | 96x64 | 0.00 | 0.00 | onnxruntime fp32 |' in table
    assert '| x a.onnx |' in table


@pytest.fixture
def answers(monkeypatch):
    """Cells that answer from a table of times; the list of cells so far."""
    calls = []

    def ask(module, cell, seconds):
        model, backend, precision, _, pictures, frames, labels = json.loads(cell)
        if precision == 'fp16':
            return Outcome(failure='BackendError', message='no fp16')
        name = Path(model).stem
        if labels:
            np.save(labels, np.load(pictures)[..., 0] // (2 if precision == 'bf16' else 1))
        if frames > 1:
            calls.append(f'{name} {backend} {precision}')
        times = {'a': 4.0, 'b': 2.0, 'b_int8': 1.0}
        value = {'precision': precision, 'ms': [times[name]] * frames, 'ready_s': 1.0}
        return Outcome(value=value | {'peak_mb': None, 'held_mb': None})

    monkeypatch.setattr(contest, 'ask', ask)
    return calls


def test_order_and_figures(two, answers, tmp_path):
    models = [load_model(path) for path in two]
    choice = Choice(2, 2, 0, ('openvino',), ('fp32', 'fp16', 'bf16'), size=(64, 32))
    rows, left_out = compare(models, tmp_path, choice)
    cells = ['a openvino fp32', 'a openvino bf16', 'b openvino fp32', 'b openvino bf16']
    assert answers == [*cells, *cells[1:], cells[0]]
    assert left_out == {'a.onnx, openvino fp16': 'no fp16', 'b.onnx, openvino fp16': 'no fp16'}
    assert [(row['model'], row['contender'], row['ratio']) for row in rows] == [
        ('a.onnx', 'openvino fp32', 1.0),
        ('a.onnx', 'openvino bf16', 1.0),
        ('b.onnx', 'openvino fp32', 0.5),
        ('b.onnx', 'openvino bf16', 0.5),
    ]
    assert {row['size'] for row in rows} == {'64x32'}
    assert [row['as_fp32'] for row in rows][::2] == [1.0, 1.0]
    assert rows[1]['as_fp32'] < 0.1
    assert rows[0]['miou'] is None


def test_twin_runs_in_int8(two, answers, tmp_path, int8_proto, write_model, with_metadata):
    write_model(with_metadata(int8_proto), 'b_int8.onnx')
    write_model(with_metadata(onnx.load(two[1]), int8_twin='b_int8.onnx'), 'b.onnx')
    models = [load_model(path) for path in two]
    rows, _ = compare(models, tmp_path, Choice(2, 1, 0, ('openvino',), ('int8',)))
    assert answers == ['a openvino int8', 'b_int8 openvino int8']
    assert [row['ratio'] for row in rows] == [1.0, 0.25]


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        (['--models', 'none.onnx'], "error: no model file 'none.onnx'"),
        (['--models', 'a.onnx', '--sizes', '64x32', '96x64'], 'error: --models with several --si'),
        (['--models', 'a.onnx', '--labels', '.'], 'error: --labels without frames; add --images'),
        (['--models', 'a.onnx', '--images', 'ids'], 'error: no image in folder ids'),
        (['--images', '.'], 'error: --images and --labels are for several networks; add --models'),
        (['--precisions', 'auto'], "invalid choice: 'auto'"),
    ],
)
def test_mistakes(two, tmp_path, monkeypatch, capsys, arguments, message):
    monkeypatch.chdir(tmp_path)
    (tmp_path / 'ids').mkdir()
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert message in f'{ended.value.code}{capsys.readouterr().err}'
