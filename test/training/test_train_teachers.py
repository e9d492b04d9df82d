"""Training with teachers: from the command line, resumed, in two processes, without labels."""

import json
import shutil

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper

from training import trainer as training
from training.checkpoint import load_checkpoint, load_network
from training.datasets import open_dataset
from training.evaluate import labels_of
from training.train import main

#: Blue, green and red of what the frames of camvid_folder show: sky, building, road, tree.
COLORS = np.array([(230, 160, 120), (60, 60, 160), (90, 90, 90), (40, 130, 40)], np.float32) + 10

#: Calls them otherwise, so that it shows from whom something was learnt.
TEACHER = """
models: [colors.onnx]
size: [64, 48]
channels: bgr
softmax: true
labels:
  0: {outputs: [0], means: tree}
  1: {outputs: [1], means: road}
  2: {outputs: [2], means: building}
  3: {outputs: [3], means: sky}
"""
OTHERWISE = np.array([5, 3, 255, 1, 255, 0], np.uint8)

MIXED = """
classes: camvid
train:
  bare: {frames: train}
val:
  town: {dataset: camvid, root: .}
"""

#: With dropout, which makes a wrong seed show, on little.
COMMAND = (
    *('--width', '0.25', '--dropout', '0.1', '--recipe', 'onecycle', '--epochs', '2'),
    *('--batch', '2'),
    *('--crop-width', '64', '--crop-height', '32', '--paste', '0.5', '--rare-below', '0.3'),
    *('--average-decay', '0.9', '--precision', 'fp32', '--eval-every', '1', '--workers', '0'),
)
TINY = ('--network', 'tiny', '--recipe', 'paper', '--batch', '2', '--workers', '0')


@pytest.fixture(autouse=True, scope='module')
def _on_the_processor(cheap_pictures):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch.cuda, 'is_available', lambda: False)
        yield


@pytest.fixture(scope='module')
def teacher(tmp_path_factory):
    """A teacher that knows which of the colours is nearest."""
    folder = tmp_path_factory.mktemp('teacher')
    value = {
        name: helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, channels, 'h', 'w'])
        for name, channels in (('x', 3), ('y', 4))
    }
    weights = [
        numpy_helper.from_array(2 / 500 * COLORS[:, :, None, None], 'weight'),
        numpy_helper.from_array(-(COLORS**2).sum(1) / 500, 'bias'),
    ]
    node = helper.make_node('Conv', ['x', 'weight', 'bias'], ['y'])
    graph = helper.make_graph([node], 'colors', [value['x']], [value['y']], weights)
    opset = helper.make_opsetid('', 17)
    onnx.save(
        helper.make_model(graph, opset_imports=[opset], ir_version=8), folder / 'colors.onnx'
    )
    (folder / 'colors.yaml').write_text(TEACHER)
    return folder / 'colors.yaml'


@pytest.fixture
def bare(tmp_path):
    """A data set file of frames without labels."""
    path = tmp_path / 'bare.yaml'
    path.write_text(MIXED)
    return path


def run(*arguments):
    main([str(argument) for argument in arguments])


def assert_one_line_error(arguments, text):
    with pytest.raises(SystemExit, match=f'^error: .*{text}') as caught:
        run(*arguments)
    assert '\n' not in caught.value.code


@pytest.mark.usefixtures('tiny_network')
def test_frames_without_labels_teach_what_the_teacher_says(
    camvid_folder, teacher, bare, tmp_path, capsys
):
    out = tmp_path / 'run'
    command = ('--data', bare, '--root', camvid_folder, '--out', out, *TINY, '--teacher', teacher)
    run(*command, '--epochs', 40, '--optimizer', 'adamw', '--learning-rate', 0.03)
    said = capsys.readouterr().out
    assert '6 answers of teachers are new, 0 were kept' in said
    assert 'no teacher knows pole, pavement, sign, fence, car, pedestrian, bicyclist' in said
    network = load_network(out / 'last.pt')
    val = open_dataset('camvid', camvid_folder, 'val')
    for i in range(len(val)):
        frame, labels = val[i]
        labelled = labels != 255
        same = labels_of(network, frame)[labelled] == OTHERWISE[labels[labelled]]
        assert same.mean() > 0.95


@pytest.mark.usefixtures('tiny_network')
def test_labels_and_teacher_are_added(camvid_folder, teacher, tmp_path):
    """With a rate of 0, the loss of both is that of the labels and so much of the teacher's."""
    losses = {}
    for name, options in {
        'labels': (),
        'both': ('--teacher', teacher),
        'twice': ('--teacher', teacher, '--teacher-weight', 1),
    }.items():
        out = tmp_path / name
        command = ('--data', camvid_folder, '--out', out, *TINY, '--cache', tmp_path / 'cache')
        run(*command, '--epochs', 1, '--learning-rate', 0, *options)
        losses[name] = json.loads((out / 'history.json').read_text())[0]['loss']
    share = losses['both'] - losses['labels']
    assert share > 0.1
    assert losses['twice'] - losses['labels'] == pytest.approx(2 * share, rel=1e-4)
    # All runs with one cache have one copy of the answers.
    assert len(list((tmp_path / 'cache/teachers').rglob('*.answer'))) == 6


def assert_same_weights(one, two):
    first, second = (load_checkpoint(path / 'last.pt') for path in (one, two))
    assert first['data'] == second['data']
    for kind in ('model', 'averaged'):
        for name, tensor in first[kind].items():
            assert torch.equal(tensor, second[kind][name]), name


def test_resumed_run_ends_the_same(camvid_folder, teacher, tmp_path, monkeypatch, capsys):
    command = ('--data', camvid_folder, '--teacher', teacher, *COMMAND)
    whole, cut = tmp_path / 'whole', tmp_path / 'cut'
    run(*command, '--out', whole)
    normalize, steps = training.normalize, []

    def cutting(frames, statistics):
        steps.append(1)
        if len(steps) == 5:
            raise KeyboardInterrupt
        return normalize(frames, statistics)

    with monkeypatch.context() as patch:
        patch.setattr(training, 'normalize', cutting)
        with pytest.raises(KeyboardInterrupt):
            run(*command, '--out', cut)
    assert load_checkpoint(cut / 'last.pt')['epoch'] == 1
    capsys.readouterr()
    run(*command, '--out', cut, '--resume')
    assert '0 answers of teachers are new, 6 were kept' in capsys.readouterr().out
    assert_same_weights(whole, cut)
    # It is another run without the teacher, or with one that means something else.
    other = tmp_path / 'other'
    shutil.copytree(teacher.parent, other)
    (other / 'colors.yaml').write_text(TEACHER.replace('means: sky', 'means: car'))
    arguments = ('--data', camvid_folder, *COMMAND, '--out', cut, '--resume')
    assert_one_line_error(arguments, 'the run was started on')
    arguments = (*arguments, '--teacher', other / 'colors.yaml')
    assert_one_line_error(arguments, 'the run was started on')


def test_two_processes_are_one(camvid_folder, teacher, bare, tmp_path, run_by_two):
    command = (
        *('--data', bare, '--root', camvid_folder, '--teacher', teacher, '--width', '0.25'),
        *('--normalization', 'group', '--recipe', 'paper', '--batch', '4'),
        *('--epochs', '1', '--mirror', 'true', '--precision', 'fp32', '--workers', '0'),
    )
    one, two = tmp_path / 'one', tmp_path / 'two'
    run(*command, '--out', one)
    printed = run_by_two('training.train', *command, '--accumulate', '2', '--out', two)
    assert printed.count('answers of teachers') == 1
    kept = [{p.name: p.read_bytes() for p in out.rglob('*.answer')} for out in (one, two)]
    assert len(kept[0]) == 6
    assert kept[0] == kept[1]
    first, second = (json.loads((out / 'history.json').read_text())[0] for out in (one, two))
    assert first['loss'] > 0.1
    # One step: there is nothing but rounding before it.
    assert second['loss'] == pytest.approx(first['loss'], rel=1e-5)


@pytest.mark.usefixtures('tiny_network')
def test_what_cannot_be_done(camvid_folder, teacher, bare, tmp_path):
    plain = ('--data', camvid_folder, '--out', tmp_path / 'run', *TINY)
    for arguments, error in (
        (
            ('--data', bare, '--root', camvid_folder, '--out', tmp_path / 'run', *TINY),
            'source bare: labels is missing; .* --teacher',
        ),
        ((*plain, '--teacher-map', 'a=b'), '--teacher-map has no effect without --teacher'),
        (
            (*plain, '--teacher', teacher, '--teacher-weight', 0),
            '--teacher-weight must be above 0',
        ),
        (
            (*plain, '--teacher', teacher, '--teacher-temperature', 0),
            'temperature must be above 0',
        ),
        (
            (*plain, '--teacher', teacher, '--teacher-map', 'a=sky'),
            "has the class 'a' of --teacher-map; use means",
        ),
        ((*plain, '--teacher', 'gone.onnx'), r'gone\.onnx'),
        ((*plain, '--teacher', 'gone.xml'), r'nothing says what the outputs of gone\.xml mean'),
    ):
        assert_one_line_error(arguments, error)
    bare.write_text(MIXED.replace('{frames: train}', '{frames: train, ids: {0: road}}'))
    assert_one_line_error(
        ('--data', bare, '--root', camvid_folder, '--out', tmp_path / 'run', *TINY),
        'source bare: has ids, and no labels',
    )
