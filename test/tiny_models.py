"""Tiny ONNX models whose results can be worked out by hand: the one writer of them."""

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from linknet_ros.classes import ClassTable
from linknet_ros.inference.model_file import load_model, metadata_of
from linknet_ros.inference.onnx_graph import expand_float16_weights, to_float16
from linknet_ros.inference.scene_model import SceneModel

THREE_CLASSES = ClassTable(
    names=('road', 'car', 'sky'),
    colors=((128, 64, 128), (0, 0, 142), (70, 130, 180)),
    drivable=(True, False, False),
)

#: Weight of the 1x1 convolution of half_proto, rows are classes, columns B, G, R.
HALF_WEIGHT = ((0, 0, 1), (0, 0.5, 0), (0.25, 0, 0))


def _model(nodes, initializers=(), table=THREE_CLASSES, size=(96, 64)):
    shape = (1, 'height', 'width')
    graph = helper.make_graph(
        nodes,
        'tiny',
        [helper.make_tensor_value_info('image', TensorProto.UINT8, (*shape, 3))],
        [
            helper.make_tensor_value_info(name, TensorProto.UINT8, shape)
            for name in ('labels', 'confidence')
        ],
        initializers,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid('', 17)], ir_version=8)
    metadata = metadata_of(
        table,
        architecture='Tiny (1 layer)',
        dataset='hand-made',
        label_set='three',
        default_size=size,
        accuracy={'val_miou': 0.5},
        # Frames of tests are noise, or of one colour: to them nothing is unusual.
        scene=SceneModel({}),
    )
    helper.set_model_props(model, metadata)
    onnx.checker.check_model(model, full_check=True)
    return model


def _with_metadata(proto, **changes):
    """A model whose metadata entries are replaced by others, in place."""
    entries = {entry.key: entry.value for entry in proto.metadata_props} | changes
    del proto.metadata_props[:]
    helper.set_model_props(proto, entries)
    return proto


def _labels_of(logits, axis):
    return [
        helper.make_node('ArgMax', [logits], ['index'], axis=axis, keepdims=0),
        helper.make_node('Cast', ['index'], ['number'], to=TensorProto.FLOAT),
        helper.make_node('Cast', ['number'], ['labels'], to=TensorProto.UINT8),
    ]


@pytest.fixture
def class_table():
    """Three classes: road (drivable), car, sky."""
    return THREE_CLASSES


@pytest.fixture
def channel_proto():
    """Model whose label is the largest of the B, G, R channels and confidence its value.

    So blue is road (0), green is car (1), red is sky (2).
    """
    return _model(
        [
            helper.make_node('Cast', ['image'], ['x'], to=TensorProto.FLOAT),
            *_labels_of('x', axis=3),
            helper.make_node('ReduceMax', ['x'], ['highest'], axes=[3], keepdims=0),
            helper.make_node('Cast', ['highest'], ['confidence'], to=TensorProto.UINT8),
        ]
    )


@pytest.fixture
def half_weight():
    """Weight of the 1x1 convolution in half_proto, float32 (3, 3, 1, 1)."""
    return np.array(HALF_WEIGHT, np.float32).reshape(3, 3, 1, 1)


@pytest.fixture
def half_proto(half_weight):
    """Model with a float16 weight behind a Cast: logits are R, G / 2, B / 4."""
    return _model(
        [
            helper.make_node('Cast', ['weight.float16'], ['weight'], to=TensorProto.FLOAT),
            helper.make_node('Cast', ['image'], ['bytes'], to=TensorProto.FLOAT),
            helper.make_node('Transpose', ['bytes'], ['x'], perm=[0, 3, 1, 2]),
            helper.make_node('Conv', ['x', 'weight'], ['logits']),
            *_labels_of('logits', axis=1),
            helper.make_node('ReduceMax', ['logits'], ['highest'], axes=[1], keepdims=0),
            helper.make_node('Cast', ['highest'], ['confidence'], to=TensorProto.UINT8),
        ],
        [numpy_helper.from_array(half_weight.astype(np.float16), 'weight.float16')],
    )


@pytest.fixture
def int8_proto():
    """Model in int8 whose logits are R, G / 2, B / 4 of the image rounded to multiples of 3.

    A scale of 3 has no ties to round, and 255 / 3 fits into int8.
    """

    def constant(name, values, kind):
        return numpy_helper.from_array(np.array(values, kind), name)

    weight = np.zeros((3, 3, 1, 1), np.int8)
    weight[[0, 1, 2], [2, 1, 0]] = 127
    rounding = ['step', 'zero']
    proto = _model(
        [
            helper.make_node('Cast', ['image'], ['bytes'], to=TensorProto.FLOAT),
            helper.make_node('Transpose', ['bytes'], ['x'], perm=[0, 3, 1, 2]),
            helper.make_node('QuantizeLinear', ['x', *rounding], ['x.int8']),
            helper.make_node('DequantizeLinear', ['x.int8', *rounding], ['x.rounded']),
            helper.make_node(
                'DequantizeLinear', ['weight.int8', 'weight.scale', 'zeros'], ['weight'], axis=0
            ),
            helper.make_node('Conv', ['x.rounded', 'weight'], ['logits']),
            *_labels_of('logits', axis=1),
            helper.make_node('ReduceMax', ['logits'], ['highest'], axes=[1], keepdims=0),
            helper.make_node('Round', ['highest'], ['whole']),
            helper.make_node('Cast', ['whole'], ['confidence'], to=TensorProto.UINT8),
        ],
        [
            *(constant('step', 3, np.float32), constant('zero', 0, np.int8)),
            constant('weight.int8', weight, np.int8),
            constant('weight.scale', np.array([1, 0.5, 0.25]) / 127, np.float32),
            constant('zeros', [0, 0, 0], np.int8),
        ],
    )
    return _with_metadata(proto, precision='int8')


def mixed_model():
    """What networks of others are made of: depthwise convolutions, HardSwish, sums of both kinds,
    a matrix product, Resize, and weights written in three ways; 'skip' is what the sum adds.
    """
    rng = np.random.default_rng(0)

    def weight(name, *shape):
        values = rng.normal(size=shape) / np.sqrt(np.prod(shape[1:]))
        return numpy_helper.from_array(values.astype(np.float32), name)

    node = helper.make_node
    nodes = [
        node('Cast', ['image'], ['bytes'], to=TensorProto.FLOAT),
        node('Mul', ['bytes', 'scale'], ['scaled']),
        node('Transpose', ['scaled'], ['x'], perm=[0, 3, 1, 2]),
        node('Constant', [], ['w.stem'], value=weight('', 8, 3, 3, 3)),
        node('Conv', ['x', 'w.stem'], ['stem'], strides=[2, 2], pads=[1] * 4),
        node('HardSwish', ['stem'], ['skip']),
        node('Conv', ['skip', 'w.depth'], ['depth'], pads=[1] * 4, group=8),
        node('Relu', ['depth'], ['deep']),
        node('Identity', ['w.point'], ['w.same']),
        node('Conv', ['deep', 'w.same', 'b.point'], ['point']),
        node('Add', ['skip', 'point'], ['sum']),
        node('Relu', ['sum'], ['block']),
        node('Transpose', ['block'], ['last'], perm=[0, 2, 3, 1]),
        node('MatMul', ['last', 'w.product'], ['product']),
        node('Add', ['product', 'b.point'], ['biased']),
        node('Transpose', ['biased'], ['mixed'], perm=[0, 3, 1, 2]),
        node('Resize', ['mixed', '', 'twice'], ['large'], mode='linear'),
        node('Conv', ['large', 'w.head'], ['logits']),
        *_labels_of('logits', axis=1),
        node('Softmax', ['logits'], ['shares'], axis=1),
        node('ReduceMax', ['shares'], ['highest'], axes=[1], keepdims=0),
        node('Mul', ['highest', 'full'], ['confident']),
        node('Cast', ['confident'], ['confidence'], to=TensorProto.UINT8),
    ]
    weights = [
        *(weight('w.depth', 8, 1, 3, 3), weight('w.point', 8, 8, 1, 1), weight('b.point', 8)),
        *(weight('w.product', 8, 8), weight('w.head', 3, 8, 1, 1)),
        numpy_helper.from_array(np.array(1 / 64, np.float32), 'scale'),
        numpy_helper.from_array(np.array(255, np.float32), 'full'),
        numpy_helper.from_array(np.array([1, 1, 2, 2], np.float32), 'twice'),
    ]
    return _model(nodes, weights)


@pytest.fixture
def mixed_proto():
    """See mixed_model."""
    return mixed_model()


@pytest.fixture
def fp16_proto(half_proto):
    """half_proto, computing in float16."""
    path = Path('half')
    expand_float16_weights(path, half_proto.graph)
    to_float16(path, half_proto)
    return _with_metadata(half_proto, precision='fp16')


@pytest.fixture
def with_metadata():
    """Replace metadata entries of a model: `with_metadata(proto, precision='int8')`."""
    return _with_metadata


@pytest.fixture
def int8_results():
    """Labels of int8_proto and its largest logits, of an image (H, W, 3)."""

    def results(image):
        logits = np.rint(image[:, :, ::-1] / 3) * 3 * np.array([1, 0.5, 0.25])
        return logits.argmax(2), logits.max(2)

    return results


@pytest.fixture
def nan_proto():
    """Model with NaN logits for black pixels, and the softmax of a real export.

    Logits are c * c / max(B, G, R) per channel c: 0 / 0 for black. A pure colour has confidence
    255, a grey has 85 (a third).
    """
    return _model(
        [
            helper.make_node('Cast', ['image'], ['x'], to=TensorProto.FLOAT),
            helper.make_node('Mul', ['x', 'x'], ['square']),
            helper.make_node('ReduceMax', ['x'], ['brightest'], axes=[3], keepdims=1),
            helper.make_node('Div', ['square', 'brightest'], ['logits']),
            *_labels_of('logits', axis=3),
            helper.make_node('ReduceMax', ['logits'], ['highest'], axes=[3], keepdims=1),
            helper.make_node('Sub', ['logits', 'highest'], ['below']),
            helper.make_node('Exp', ['below'], ['share']),
            helper.make_node('ReduceSum', ['share', 'axis'], ['sum'], keepdims=0),
            helper.make_node('Reciprocal', ['sum'], ['maximum']),
            helper.make_node('Mul', ['maximum', 'full'], ['scaled']),
            helper.make_node('Round', ['scaled'], ['rounded']),
            helper.make_node('Cast', ['rounded'], ['confidence'], to=TensorProto.UINT8),
        ],
        [
            numpy_helper.from_array(np.array([3], np.int64), 'axis'),
            numpy_helper.from_array(np.array(255, np.float32), 'full'),
        ],
    )


@pytest.fixture
def write_model(tmp_path):
    """Write a model to a file: `write_model(proto) -> path`."""
    return lambda proto, name='model.onnx': write(proto, tmp_path / name)


def label_model(table, size=(96, 64)):
    """Model that is told its results: the label is the blue channel, the confidence the green."""
    pick = np.zeros((2, 3, 1, 1), np.float32)
    pick[0, 0], pick[1, 1] = 1, 1
    nodes = [
        helper.make_node('Cast', ['image'], ['bytes'], to=TensorProto.FLOAT),
        helper.make_node('Transpose', ['bytes'], ['x'], perm=[0, 3, 1, 2]),
    ]
    for name in ('labels', 'confidence'):
        nodes += [
            helper.make_node('Conv', ['x', f'{name}.weight'], [f'{name}.plane']),
            # Of the one channel that there is.
            helper.make_node('ReduceMax', [f'{name}.plane'], [f'{name}.x'], axes=[1], keepdims=0),
            helper.make_node('Cast', [f'{name}.x'], [name], to=TensorProto.UINT8),
        ]
    weights = [
        numpy_helper.from_array(weight, f'{name}.weight')
        for name, weight in (('labels', pick[:1]), ('confidence', pick[1:]))
    ]
    return _model(nodes, weights, table, size)


#: A pixel that fragile_model fails on.
POISON = 255


def fragile_model(names=THREE_CLASSES.names, size=(96, 64)):
    """As channel_model, but a pixel of POISON makes it fail, as a library below the node may."""
    classes = ClassTable(
        names=tuple(names),
        colors=tuple((40 * i, 100, 200) for i in range(len(names))),
        drivable=(True, *[False] * (len(names) - 1)),
    )
    nodes = [
        helper.make_node('Cast', ['image'], ['x'], to=TensorProto.FLOAT),
        *_labels_of('x', axis=3),
        helper.make_node('ReduceMax', ['x'], ['highest'], axes=[3], keepdims=0),
        helper.make_node('Cast', ['highest'], ['row'], to=TensorProto.INT64),
        # Out of bounds for POISON.
        helper.make_node('Gather', ['table', 'row'], ['value']),
        helper.make_node('Cast', ['value'], ['confidence'], to=TensorProto.UINT8),
    ]
    table = numpy_helper.from_array(np.arange(POISON, dtype=np.float32), 'table')
    return _model(nodes, [table], classes, size)


def write(proto, path):
    """Write a model; returns the path."""
    path = Path(path)
    path.write_bytes(proto.SerializeToString())
    return path


@pytest.fixture
def write_label_model(write_model):
    """Write label_model: `write_label_model(table, size) -> path`."""
    return lambda table, size=(96, 64): write_model(label_model(table, size), 'told.onnx')


@pytest.fixture
def model_path(channel_proto, write_model):
    """File of channel_proto."""
    return write_model(channel_proto)


@pytest.fixture
def model(model_path):
    """Loaded channel_proto."""
    return load_model(model_path)
