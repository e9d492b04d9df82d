"""Labels by a teacher: what it is fed with, and which of its outputs are trusted."""

import cv2
import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from linknet_ros.errors import SourceError
from linknet_ros.inference.teacher import Teacher
from training.teacher_labels import main

TEACHER = """
models: [teacher.onnx]
size: [8, 4]
channels: rgb
mean: [10, 0, 0]
std: [20, 1, 1]
labels:
  4: {outputs: [0], above: 0.9}
  7: {outputs: [1, 2], above: 0.6}
"""


@pytest.fixture
def folder(tmp_path):
    """A teacher whose three outputs are what it is fed with."""
    value = {
        name: helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 3, 4, 8])
        for name in ('x', 'y')
    }
    one = numpy_helper.from_array(np.float32([1]), 'one')
    node = helper.make_node('Mul', ['x', 'one'], ['y'])
    graph = helper.make_graph([node], 'teacher', [value['x']], [value['y']], [one])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid('', 17)], ir_version=8)
    onnx.save(model, tmp_path / 'teacher.onnx')
    (tmp_path / 'teacher.yaml').write_text(TEACHER)
    return tmp_path


def frame(red, green, blue):
    return np.full((8, 16, 3), (blue, green, red), np.uint8)


@pytest.mark.parametrize(
    ('color', 'expected'),
    [
        ((30, 0, 0), 4),  # (30 - 10) / 20 is 1
        ((26, 0, 0), 255),  # 0.8 is not sure enough
        ((10, 1, 0), 7),
        ((10, 0, 1), 7),
        ((10, 0, 0), 255),
        ((30, 1, 1), 7),  # 2 beats 1
    ],
)
def test_sure_outputs_become_ids(folder, color, expected):
    ids = Teacher(folder / 'teacher.yaml').label(frame(*color))
    assert ids.shape == (8, 16)
    assert ids.dtype == np.uint8
    assert (ids == expected).all()


def test_several_models_are_averaged_behind_a_softmax(folder):
    text = TEACHER.replace('[teacher.onnx]', '[teacher.onnx, teacher.onnx]')
    (folder / 'two.yaml').write_text(text + 'softmax: true\n')
    ids = Teacher(folder / 'two.yaml').label(frame(10, 0, 0))
    assert (ids == 7).all()  # a third each, two thirds for the second label


def test_command_writes_a_mask_for_every_frame(folder, capsys):
    (folder / 'frames').mkdir()
    for name, color in (('a.png', (30, 0, 0)), ('b.png', (10, 1, 0))):
        cv2.imwrite(str(folder / 'frames' / name), frame(*color))
    arguments = [str(folder / 'teacher.yaml'), '--frames', str(folder / 'frames'), '--out']
    main([*arguments, str(folder / 'out')])
    for name, id_ in (('a.png', 4), ('b.png', 7)):
        ids = cv2.imread(str(folder / 'out' / name), cv2.IMREAD_UNCHANGED)
        np.testing.assert_array_equal(ids, np.full((8, 16), id_, np.uint8))
    assert capsys.readouterr().out == 'id 4: 50.0% of the pixels\nid 7: 50.0% of the pixels\n'
    (folder / 'out/a.png').unlink()
    (folder / 'out/a.png').mkdir()
    with pytest.raises(SystemExit, match=r"error: .*out/a\.png'"):
        main([*arguments, str(folder / 'out')])


@pytest.mark.parametrize(
    ('old', 'new', 'error'),
    [
        ('[teacher.onnx]', '[gone.onnx]', r'names the model .*gone\.onnx, which does not exist'),
        ('size: [8, 4]', 'size: 8', 'is not a teacher file'),
        ('channels: rgb', 'channels: hsv', 'is not a teacher file'),
        ('labels:', 'label:', 'unknown key label'),
    ],
)
def test_what_is_wrong_is_named(folder, old, new, error):
    (folder / 'teacher.yaml').write_text(TEACHER.replace(old, new))
    with pytest.raises(SourceError, match=error):
        Teacher(folder / 'teacher.yaml')
