"""Teacher files: what no teacher can be is named, when it is read or at the first frame."""

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from linknet_ros.classes import ClassTable
from linknet_ros.errors import SourceError
from linknet_ros.inference.teacher import Teacher, read_teacher_file
from linknet_ros.inference.voting import open_voter

CLASSES = ClassTable(('road', 'car'), ((1, 1, 1), (2, 2, 2)), (True, False))

TEACHER = """
models: [net.onnx]
size: [8, 4]
mean: [10, 0, 0]
std: [20, 1, 1]
labels:
  4: {outputs: [0], means: road}
  7: {outputs: [1, 2], means: car}
"""


@pytest.fixture
def write(tmp_path):
    """`write(old, new)`: a teacher file, changed; its network gives what it is fed with."""
    value = {
        name: helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 3, 4, 8])
        for name in ('x', 'y')
    }
    node = helper.make_node('Abs', ['x'], ['y'])
    graph = helper.make_graph([node], 'teacher', [value['x']], [value['y']])
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid('', 17)], ir_version=8)
    onnx.save(made, tmp_path / 'net.onnx')

    def write(old='', new=''):
        path = tmp_path / 'teacher.yaml'
        path.write_text(TEACHER.replace(old, new))
        return path

    return write


def frame(red):
    return np.full((8, 16, 3), (0, 0, red), np.uint8)


@pytest.mark.parametrize(
    ('old', 'new', 'error'),
    [
        ('[net.onnx]', 'net.onnx', r'models is net\.onnx, not a list of files; write models: \['),
        ('[net.onnx]', '[]', r'models is \[\], not a list of files'),
        ('[net.onnx]', '[5]', r'models is \[5\], not a list of files'),
        ('[10, 0, 0]', '10', r'mean is 10, not three numbers; write mean: \[0, 0, 0\]'),
        ('[20, 1, 1]', '[20, 1]', r'std is \[20, 1\], not three numbers; write std: \[1, 1, 1\]'),
        ('[20, 1, 1]', '[a, b, c]', r"std is \['a', 'b', 'c'\], not three numbers"),
        ('[20, 1, 1]', 'abc', 'std is abc, not three numbers'),
        ('[0]', '[]', 'is not a teacher file .*id 4 has the outputs'),
        ('[0]', '[-1]', 'is not a teacher file .*id 4 has the outputs'),
    ],
)
def test_what_no_teacher_file_says(write, old, new, error):
    with pytest.raises(SourceError, match=rf'teacher\.yaml:? {error}'):
        read_teacher_file(write(old, new))


def test_what_the_network_does_not_give(write):
    pytest.importorskip('openvino')
    assert (Teacher(write()).label(frame(30)) == 4).all()
    with pytest.raises(
        SourceError, match=r'teacher\.yaml gives 0 to 2, which are no prob.*softmax'
    ):
        Teacher(write()).label(frame(50))
    with pytest.raises(
        SourceError, match=r'teacher\.yaml speaks of output 3, but the network has'
    ):
        Teacher(write('[1, 2]', '[1, 3]')).label(frame(30))


@pytest.mark.parametrize(
    ('means', 'error'),
    [
        ('5', "id 7 means 5: 'int' object"),
        ('{not: 5}', "id 7 means {'not': 5}: 'int' object"),
        ('tram', "id 7 means tram: unknown class 'tram'"),
        ('[]', 'id 7 means no class; name at least one, or void'),
    ],
)
def test_meanings_that_cannot_be(write, means, error):
    pytest.importorskip('openvino')
    path = write('means: car', f'means: {means}')
    with pytest.raises(SourceError, match=rf'teacher\.yaml: {error}'):
        open_voter(path, CLASSES, None, 0.5, {})
