"""Every rule of the graph lint is broken once; the shipped models and an export keep all."""

import re
from threading import Event

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from linknet_ros.errors import BackendError, ModelError
from linknet_ros.inference.onnx_graph import fix_size
from linknet_ros.inference.tensorrt.build import BuildRequest, build_graph
from linknet_ros.inference.tensorrt.library import open_library
from linknet_ros.system.package_files import model_path
from training import graph_lint
from training.graph_lint import RULES, Graph, lint

ROUNDING = ('step', 'zero')


def constant(name, values, kind):
    return numpy_helper.from_array(np.array(values, kind), name)


def node_of(proto, operator):
    return next(node for node in proto.graph.node if node.op_type == operator)


def replace(proto, tensor):
    """Another value for a constant."""
    (old,) = (t for t in proto.graph.initializer if t.name == tensor.name)
    old.CopyFrom(tensor)


def insert(proto, before, *nodes):
    """Nodes in front of the first one of an operator."""
    kept = list(proto.graph.node)
    at = next(i for i, node in enumerate(kept) if node.op_type == before)
    del proto.graph.node[:]
    proto.graph.node.extend([*kept[:at], *nodes, *kept[at:]])


def attribute(node, name, value):
    for index, known in enumerate(node.attribute):
        if known.name == name:
            del node.attribute[index]
            break
    node.attribute.append(helper.make_attribute(name, value))


# Ways to break a rule: each changes int8_proto.


def old_opset(proto):
    proto.opset_import[0].version = 21


def new_ir(proto):
    proto.ir_version = 11


def other_domain(proto):
    proto.opset_import.append(helper.make_opsetid('com.microsoft', 1))
    node_of(proto, 'Round').domain = 'com.microsoft'


def transposed_bytes(proto):
    del proto.graph.node[:2]
    proto.graph.node.insert(0, helper.make_node('Cast', ['turned'], ['x'], to=TensorProto.FLOAT))
    node = helper.make_node('Transpose', ['image'], ['turned'], perm=[0, 3, 1, 2])
    proto.graph.node.insert(0, node)


def bytes_inside(proto):
    insert(
        proto,
        'Transpose',
        helper.make_node('Cast', ['bytes'], ['small'], to=TensorProto.UINT8),
        helper.make_node('Cast', ['small'], ['again'], to=TensorProto.FLOAT),
    )
    node_of(proto, 'Transpose').input[0] = 'again'


def labels_read_again(proto):
    proto.graph.node.append(helper.make_node('Cast', ['labels'], ['unused'], to=TensorProto.FLOAT))


def labels_from_integers(proto):
    casts = [n for n in proto.graph.node if n.output[0] == 'labels']
    casts[0].input[0] = 'index'


def data_dependent(proto):
    insert(proto, 'ArgMax', helper.make_node('NonZero', ['logits'], ['places']))


def resize(proto, **attributes):
    node = helper.make_node('Resize', ['x', '', 'scales'], ['larger'], **attributes)
    insert(proto, 'QuantizeLinear', node)
    proto.graph.initializer.append(constant('scales', [1, 1, 2, 2], np.float32))


def antialiased(proto):
    proto.opset_import[0].version = 18
    resize(proto, mode='linear', antialias=1)


def odd_coordinates(proto):
    resize(proto, mode='linear', coordinate_transformation_mode='tf_crop_and_resize')


def transposed_convolution(proto):
    """Make the convolution a ConvTranspose; its three classes by three channels stay."""
    node = node_of(proto, 'Conv')
    node.op_type = 'ConvTranspose'
    return node


def long_output_padding(proto):
    node = transposed_convolution(proto)
    attribute(node_of_weight(proto), 'axis', 1)
    attribute(node, 'strides', [2, 2])
    attribute(node, 'output_padding', [1, 1])


def computed_axes(proto):
    insert(
        proto,
        'ArgMax',
        helper.make_node('ReduceMax', ['numbers'], ['axes'], axes=[0]),
        helper.make_node('ReduceSum', ['logits', 'axes'], ['sum']),
    )
    proto.graph.initializer.append(constant('numbers', [1, 1], np.int64))


def pooling_with_indices(proto):
    node = helper.make_node('MaxPool', ['logits'], ['most', 'where'], kernel_shape=[2, 2])
    insert(proto, 'ArgMax', node)


def zero_scale(proto):
    replace(proto, constant('step', 0, np.float32))


def shifted_zero(proto):
    replace(proto, constant('zero', 3, np.int8))


def no_zero_point(proto):
    """The type is uint8 then."""
    for node in proto.graph.node:
        if node.op_type in ('QuantizeLinear', 'DequantizeLinear') and 'zero' in node.input:
            del node.input[2]


def float_input(proto):
    node_of(proto, 'Conv').input[0] = 'x'


def node_of_weight(proto):
    return next(node for node in proto.graph.node if node.output[0] == 'weight')


def float_weight(proto):
    node_of_weight(proto).output[0] = 'unused'
    proto.graph.initializer.append(constant('weight', np.ones((3, 3, 1, 1)), np.float32))


def computed_weight(proto):
    node = node_of_weight(proto)
    node.input[0] = 'weight.rounded'
    proto.graph.initializer.append(constant('weight.float', np.ones((3, 3, 1, 1)), np.float32))
    rounded = helper.make_node(
        'QuantizeLinear', ['weight.float', 'weight.scale', 'zeros'], ['weight.rounded'], axis=0
    )
    proto.graph.node.insert(0, rounded)


def wrong_axis(proto):
    attribute(node_of_weight(proto), 'axis', 1)


def axis_of_a_convolution(proto):
    transposed_convolution(proto)


def one_scale(proto):
    replace(proto, constant('weight.scale', 0.1, np.float32))
    replace(proto, constant('zeros', 0, np.int8))


def rounded_logits(proto):
    insert(
        proto,
        'ArgMax',
        helper.make_node('QuantizeLinear', ['logits', *ROUNDING], ['logits.int8']),
        helper.make_node('DequantizeLinear', ['logits.int8', *ROUNDING], ['rough']),
    )
    node_of(proto, 'ArgMax').input[0] = 'rough'


def rounded_before_relu(proto):
    insert(proto, 'Conv', helper.make_node('Relu', ['x.rounded'], ['positive']))
    node_of(proto, 'Conv').input[0] = 'positive'


def wrong_metadata(proto):
    entries = {entry.key: entry.value for entry in proto.metadata_props}
    helper.set_model_props(proto, {**entries, 'precision': 'fp32'})


BROKEN = {
    old_opset: ('known_versions', 'opset 21 is not within 9 to 20'),
    new_ir: ('known_versions', 'IR version 11 is above 10'),
    other_domain: ('standard_operators', 'com.microsoft::Round is not a standard operator'),
    transposed_bytes: ('bytes_at_the_border', 'image is uint8 and read by Transpose'),
    bytes_inside: ('bytes_at_the_border', 'small is uint8 inside'),
    labels_read_again: ('bytes_at_the_border', 'labels is uint8 inside'),
    labels_from_integers: ('bytes_at_the_border', 'labels is uint8 and not written by a Cast fr'),
    data_dependent: ('fixed_flow', 'is a NonZero'),
    antialiased: ('plain_resizes', 'Resize with antialiasing'),
    odd_coordinates: ('plain_resizes', 'coordinates tf_crop_and_resize'),
    long_output_padding: ('short_output_padding', r'output padding of \[1, 1\] for pads of \[0'),
    computed_axes: ('constant_axes', 'computes the axes or count of its ReduceSum'),
    pooling_with_indices: ('pooling_without_indices', 'MaxPool with indices'),
    zero_scale: ('symmetric_scales', 'scale that is not a positive constant'),
    shifted_zero: ('symmetric_scales', 'zero point that is not int8 and 0'),
    no_zero_point: ('symmetric_scales', 'zero point that is not int8 and 0'),
    float_input: ('quantized_convolutions', 'not quantised as int8 asks for'),
    float_weight: ('quantized_convolutions', 'not quantised as int8 asks for'),
    computed_weight: ('quantized_convolutions', 'weight that is not kept as int8'),
    wrong_axis: ('quantized_convolutions', 'not scaled by output channel'),
    axis_of_a_convolution: ('quantized_convolutions', 'not scaled by output channel'),
    one_scale: ('quantized_convolutions', 'not scaled by output channel'),
    rounded_logits: ('rounding_in_its_place', 'ArgMax of rounded values'),
    rounded_before_relu: ('rounding_in_its_place', 'Relu of rounded values'),
    wrong_metadata: ('weights_of_the_precision', "say precision 'fp32', the graph is int8"),
}


#: What NVIDIA's parser and builder (TensorRT-RTX 1.7) make of each: they refuse it, compute the
#: convolution in float, need kernels of their own for it, or take it as it is. The last are rules
#: of TensorRT 10.3's documentation, of ONNX Runtime, or about accuracy.
REFUSED = {transposed_bytes, bytes_inside, data_dependent, antialiased, odd_coordinates}
REFUSED |= {computed_axes, pooling_with_indices, zero_scale, shifted_zero}
IN_FLOAT = {long_output_padding, float_input, float_weight, wrong_axis, axis_of_a_convolution}
IN_FLOAT |= {rounded_before_relu}
TAKEN = {old_opset, new_ir, other_domain, labels_read_again, labels_from_integers}
TAKEN |= {no_zero_point, computed_weight, one_scale, rounded_logits, wrong_metadata}


@pytest.fixture
def named(int8_proto):
    """int8_proto with names for its nodes."""
    for number, node in enumerate(int8_proto.graph.node):
        node.name = f'node{number}'
    return int8_proto


def problems(proto, rule, precision='int8'):
    return list(getattr(graph_lint, rule)(Graph(proto, precision)))


@pytest.mark.parametrize('broken', BROKEN, ids=lambda function: function.__name__)
def test_rule_that_is_broken(named, broken):
    rule, message = BROKEN[broken]
    assert problems(named, rule) == []
    broken(named)
    assert any(re.search(message, problem) for problem in problems(named, rule))
    with pytest.raises(ModelError, match='would not run everywhere'):
        lint(named, 'int8')


def test_every_rule_is_broken_once():
    assert {rule for rule, _ in BROKEN.values()} == {rule.__name__ for rule in RULES}
    assert all(rule.__doc__ for rule in RULES)


def test_sound_graphs(int8_proto, fp16_proto):
    lint(int8_proto, 'int8')
    lint(fp16_proto, 'fp16')


@pytest.mark.parametrize('claimed', ['fp32', 'int8'])
def test_float16_that_is_called_otherwise(fp16_proto, claimed):
    expected = 'not of the type' if claimed == 'fp32' else 'not quantised as int8'
    with pytest.raises(ModelError, match=expected):
        lint(fp16_proto, claimed)


@pytest.mark.parametrize('precision', ['fp32', 'int8'])
def test_shipped_models(precision):
    lint(onnx.load(model_path('', precision)), precision)


@pytest.mark.parametrize('broken', BROKEN, ids=lambda function: function.__name__)
def test_what_the_real_builder_makes_of_it(named, broken, tmp_path):
    pytest.importorskip('tensorrt_rtx_bindings', reason='needs TensorRT-RTX (pip install .[test])')
    broken(named)
    # As the product builds, but for what it would put right before: the graph as it is.
    fix_size(named.graph, 32, 64)
    (tmp_path / 'graph.onnx').write_bytes(named.SerializeToString())
    request = BuildRequest('it', 'rtx', 32, 64, 'int8', target='SM86')
    try:
        _, layers = build_graph(open_library('rtx'), request, tmp_path, Event(), lambda line: None)
        (outcome,) = {layer.precision for layer in layers if layer.convolves}
    except BackendError:
        outcome = 'refused'
    expected = {'refused': REFUSED, 'fp32': IN_FLOAT, 'int8': TAKEN}
    assert broken in expected[outcome]
