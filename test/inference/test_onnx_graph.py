"""ONNX bytes: parsing, and which weights are expanded and which are not."""

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator

from linknet_ros.errors import ModelError
from linknet_ros.inference.onnx_graph import (
    expand_float16_weights,
    fix_size,
    parse_onnx,
    to_float16,
)

PATH = Path('tiny.onnx')


def cast(source, result, kind):
    return helper.make_node('Cast', [source], [result], to=kind)


def weights_of(graph):
    """Values of the initializers by name."""
    return {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}


# Parsing.


def lose_attribute(proto):
    del proto.graph.node[0].attribute[:]


def read_nothing(proto):
    proto.graph.node[0].input[0] = 'nothing'


def write_twice(proto):
    proto.graph.node.append(proto.graph.node[0])


def take_opset(proto):
    del proto.opset_import[:]


@pytest.mark.parametrize(
    ('damage', 'reason'),
    [
        (lose_attribute, 'Required attribute .*to'),
        (read_nothing, 'nothing'),
        (write_twice, 'SSA'),
        (take_opset, 'opset'),
    ],
)
def test_graph_that_breaks_the_rules(channel_proto, damage, reason):
    damage(channel_proto)
    with pytest.raises(ModelError) as caught:
        parse_onnx(PATH, channel_proto.SerializeToString())
    assert caught.match(
        rf'^tiny\.onnx is not a readable ONNX file \(.*({reason}).*\); copy or export'
    )
    # The checker writes a page; a log wants one line.
    assert '\n' not in str(caught.value)


# Float16 weights.


def test_values_are_those_of_float16(half_proto):
    half_proto.graph.initializer[0].CopyFrom(
        numpy_helper.from_array(np.full((3, 3, 1, 1), 0.1, np.float16), 'weight.float16')
    )
    expand_float16_weights(PATH, half_proto.graph)
    weight = weights_of(half_proto.graph)['weight']
    assert weight.dtype == np.float32
    # The float16 nearest to 0.1 is 1638 / 16384.
    np.testing.assert_array_equal(weight, np.full((3, 3, 1, 1), 0.0999755859375, np.float32))


def test_weight_that_another_node_reads_is_kept(half_proto, half_weight):
    half_proto.graph.node.append(helper.make_node('Shape', ['weight.float16'], ['shape']))
    expand_float16_weights(PATH, half_proto.graph)
    weights = weights_of(half_proto.graph)
    assert {name: array.dtype for name, array in weights.items()} == {
        'weight.float16': np.float16,
        'weight': np.float32,
    }
    for array in weights.values():
        np.testing.assert_array_equal(array, half_weight)
    assert half_proto.graph.node[-1].op_type == 'Shape'
    assert not any('weight' in node.output for node in half_proto.graph.node)


def test_other_weights_and_casts_are_left_alone(half_proto):
    plain = numpy_helper.from_array(np.array([1.5], np.float32), 'plain')
    half_bias = numpy_helper.from_array(np.array([2.5], np.float16), 'half.bias')
    half_proto.graph.initializer.extend([plain, half_bias])
    more = [
        cast('plain', 'plain.again', TensorProto.FLOAT),
        helper.make_node('Identity', ['half.bias'], ['bias']),
        helper.make_node('Constant', [], ['two'], value_float=2.0),
    ]
    half_proto.graph.node.extend(more)
    others = list(half_proto.graph.node)[1:]
    expand_float16_weights(PATH, half_proto.graph)
    assert list(half_proto.graph.node) == others
    assert [tensor.name for tensor in half_proto.graph.initializer] == [
        *('plain', 'half.bias', 'weight')
    ]
    assert half_proto.graph.initializer[0] == plain
    assert half_proto.graph.initializer[1] == half_bias


@pytest.mark.parametrize('size', [0, 4, 5, 20])
def test_damaged_weight(half_proto, size):
    half_proto.graph.initializer[0].raw_data = bytes(size)
    message = r"^tiny\.onnx: weight 'weight\.float16' is damaged \(.+\); copy or export the file"
    with pytest.raises(ModelError, match=message):
        expand_float16_weights(PATH, half_proto.graph)


# For a runtime that takes size and arithmetic from the file.


def test_size_is_fixed(half_proto):
    half_proto.graph.value_info.append(
        helper.make_tensor_value_info('x', TensorProto.FLOAT, (1, 3, 'height', 'width'))
    )
    fix_size(half_proto.graph, 32, 64)
    shapes = {
        value.name: [dim.dim_value for dim in value.type.tensor_type.shape.dim]
        for value in (*half_proto.graph.input, *half_proto.graph.output)
    }
    assert shapes == {'image': [1, 32, 64, 3], 'labels': [1, 32, 64], 'confidence': [1, 32, 64]}
    assert len(half_proto.graph.value_info) == 0
    onnx.checker.check_model(half_proto, full_check=True)


def test_computes_in_float16(half_proto, nan_proto):
    image = np.array([[[200, 10, 20], [10, 201, 20], [10, 20, 202], [7, 7, 7]]], np.uint8)
    for proto in (half_proto, nan_proto):
        expected = ReferenceEvaluator(proto).run(None, {'image': image[None]})
        expand_float16_weights(PATH, proto.graph)
        to_float16(PATH, proto)
        onnx.checker.check_model(proto, full_check=True)
        types = {t.data_type for t in proto.graph.initializer}
        casts = {a.i for n in proto.graph.node if n.op_type == 'Cast' for a in n.attribute}
        assert TensorProto.FLOAT not in types | casts
        found = ReferenceEvaluator(proto).run(None, {'image': image[None]})
        np.testing.assert_array_equal(found, expected)


def test_constants_become_float16_and_scales_do_not():
    number = helper.make_tensor('', TensorProto.FLOAT, [4], [1, 1, 2, 2])
    graph = helper.make_graph(
        [
            helper.make_node('Constant', [], ['scales'], value=number),
            helper.make_node('Constant', [], ['factor'], value=number),
            helper.make_node('Constant', [], ['axes'], value_ints=[1, 2]),
            helper.make_node('Resize', ['x', '', 'scales'], ['y']),
        ],
        'resize',
        [],
        [],
    )
    model = helper.make_model(graph)
    to_float16(PATH, model)
    kinds = [node.attribute[0].t.data_type for node in model.graph.node[:3]]
    assert kinds == [TensorProto.FLOAT, TensorProto.FLOAT16, 0]


@pytest.mark.parametrize('value', [65520.0, -1e9, np.inf, np.nan])
def test_weight_that_does_not_fit_into_float16(half_proto, value):
    expand_float16_weights(PATH, half_proto.graph)
    weight = np.full((3, 3, 1, 1), value, np.float32)
    half_proto.graph.initializer[0].CopyFrom(numpy_helper.from_array(weight, 'weight'))
    with pytest.raises(
        ModelError, match="weight 'weight' does not fit into float16; use precision"
    ):
        to_float16(PATH, half_proto)


def test_around_int8_becomes_float16(int8_proto, int8_results):
    """TensorRT 11 takes everything from the file: int8 stays, with float16 scales around it."""
    weight = weights_of(int8_proto.graph)['weight.int8']
    to_float16(PATH, int8_proto)
    onnx.checker.check_model(int8_proto, full_check=True)
    assert [(entry.domain, entry.version) for entry in int8_proto.opset_import] == [('', 19)]
    kept = weights_of(int8_proto.graph)
    np.testing.assert_array_equal(kept['weight.int8'], weight)
    assert {kept[name].dtype for name in ('step', 'weight.scale')} == {np.dtype(np.float16)}
    image = np.random.default_rng(0).integers(0, 256, (32, 64, 3), dtype=np.uint8)
    labels, _ = ReferenceEvaluator(int8_proto).run(None, {'image': image[None]})
    # Scales rounded to 11 bits decide between logits that are as close as that.
    assert (labels[0] == int8_results(image)[0]).mean() > 0.98


def test_scale_that_float16_would_make_zero(int8_proto):
    (scale,) = (t for t in int8_proto.graph.initializer if t.name == 'weight.scale')
    scale.CopyFrom(numpy_helper.from_array(np.array([1, 1, 1e-9], np.float32), 'weight.scale'))
    with pytest.raises(ModelError, match=r"weight 'weight\.scale' does not fit into float16"):
        to_float16(PATH, int8_proto)


def sized_proto(width):
    """A network that computes sizes in float, and makes a tensor of a shape: as exporters do."""
    graph = helper.make_graph(
        [
            helper.make_node('Shape', ['x'], ['shape']),
            helper.make_node('Cast', ['shape'], ['sides'], to=TensorProto.FLOAT),
            helper.make_node('Mul', ['sides', 'by'], ['larger']),
            helper.make_node('Cast', ['larger'], ['sizes'], to=TensorProto.INT64),
            helper.make_node('Resize', ['x', '', '', 'sizes'], ['large'], mode='nearest'),
            helper.make_node('ConstantOfShape', ['sizes'], ['zeros']),
            helper.make_node('Constant', [], ['third'], value_float=1 / 3),
            helper.make_node('Mul', ['large', 'third'], ['part']),
            helper.make_node('Add', ['part', 'zeros'], ['sum']),
            # Sizes and values share this constant.
            helper.make_node('ReduceMax', ['by'], ['one'], keepdims=0),
            helper.make_node('Mul', ['sum', 'one'], ['y']),
        ],
        'sized',
        [helper.make_tensor_value_info('x', TensorProto.FLOAT16, (1, 1, 1, width))],
        [helper.make_tensor_value_info('y', TensorProto.FLOAT16, (1, 1, 1, 'w'))],
        [numpy_helper.from_array(np.ones(4, np.float32), 'by')],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid('', 17)], ir_version=8)


def test_sizes_stay_exact_where_all_else_becomes_float16():
    """float16 has no 2049."""
    proto = sized_proto(2049)
    to_float16(Path('sized.onnx'), proto)
    onnx.checker.check_model(proto, full_check=True)
    kinds = {
        value.name: value.type.tensor_type.elem_type
        for value in onnx.shape_inference.infer_shapes(proto, strict_mode=True).graph.value_info
    }
    assert {name for name, kind in kinds.items() if kind == TensorProto.FLOAT} == {
        *('sides', 'larger')
    }
    x = np.random.default_rng(0).random((1, 1, 1, 2049)).astype(np.float16)
    onnxruntime = pytest.importorskip('onnxruntime')
    (y,) = onnxruntime.InferenceSession(proto.SerializeToString()).run(None, {'x': x})
    assert y.dtype == np.float16
    np.testing.assert_allclose(y, x * np.float16(1 / 3), rtol=2e-3)


def test_cast_of_new_opsets_keeps_its_other_attributes():
    """`saturate` is 1 as the type float32 is."""
    cast = helper.make_node('Cast', ['x'], ['y'], to=TensorProto.UINT8, saturate=1)
    graph = helper.make_graph(
        [cast],
        'cast',
        [helper.make_tensor_value_info('x', TensorProto.FLOAT16, (1,))],
        [helper.make_tensor_value_info('y', TensorProto.UINT8, (1,))],
    )
    proto = helper.make_model(graph, opset_imports=[helper.make_opsetid('', 19)])
    to_float16(Path('cast.onnx'), proto)
    assert {a.name: a.i for a in proto.graph.node[0].attribute} == {'to': 2, 'saturate': 1}
