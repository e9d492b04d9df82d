"""What a model file may hold and what its interface must be: each fault in one line."""

from pathlib import Path

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

from linknet_ros.errors import ModelError
from linknet_ros.inference.onnx_checks import check_interface, fixed_size_of
from linknet_ros.inference.onnx_graph import parse_onnx

PATH = Path('tiny.onnx')


def refusal(proto):
    with pytest.raises(ModelError) as caught:
        parse_onnx(PATH, proto.SerializeToString())
    assert '\n' not in str(caught.value)
    return str(caught.value)


def in_graph(proto, node):
    proto.graph.node.append(node)


def in_branch(proto, node):
    graph = helper.make_graph([node], 'branch', [], [])
    proto.graph.node.append(helper.make_node('If', ['a'], ['b'], then_branch=graph))


def in_list_of_graphs(proto, node):
    graph = helper.make_graph([node], 'inner', [], [])
    proto.graph.node.append(helper.make_node('Any', [], [], graphs=[graph]))


def in_function(proto, node):
    opsets = [helper.make_opsetid('', 17)]
    proto.functions.append(helper.make_function('', 'Own', [], [], [node], opsets))


PLACES = [in_graph, in_branch, in_list_of_graphs, in_function]


@pytest.mark.parametrize('place', PLACES)
@pytest.mark.parametrize('domain', ['com.microsoft', 'ai.onnx.ml', 'a\nb'])
def test_operator_of_another_domain(channel_proto, place, domain):
    place(channel_proto, helper.make_node('Gelu', ['x'], ['y'], domain=domain))
    assert refusal(channel_proto) == (
        f"tiny.onnx uses 'Gelu' of {domain!r}; export it with standard ONNX operators only"
    )


def test_any_standard_operator_will_do(channel_proto):
    # Networks of others: control flow, and sizes that depend on data.
    branch = helper.make_graph(
        [helper.make_node('NonZero', ['image'], ['found'])],
        'branch',
        [],
        [helper.make_tensor_value_info('found', TensorProto.INT64, None)],
    )
    yes = numpy_helper.from_array(np.array(True), 'yes')
    channel_proto.graph.initializer.append(yes)
    node = helper.make_node('If', ['yes'], ['z'], then_branch=branch, else_branch=branch)
    channel_proto.graph.node.append(node)
    assert parse_onnx(PATH, channel_proto.SerializeToString()) == channel_proto


def outside():
    """A weight that lies in another file, which is there, as are more than enough of its bytes."""
    tensor = numpy_helper.from_array(np.zeros(3, np.float32), 'w')
    tensor.ClearField('raw_data')
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key='location', value=Path(__file__).name)
    return tensor


def mentioned():
    """Not even where the tensor does not say that it lies there."""
    tensor = numpy_helper.from_array(np.zeros(3, np.float32), 'w')
    tensor.external_data.add(key='location', value='/etc/passwd')
    return tensor


@pytest.mark.parametrize('weight', [outside, mentioned])
def test_weight_in_another_file(half_proto, monkeypatch, weight):
    monkeypatch.chdir(Path(__file__).parent)
    expected = (
        "tiny.onnx keeps the weight 'w' in another file; export it as one file "
        '(torch.onnx.export: external_data=False), or join them: python -c "import onnx; '
        "onnx.save(onnx.load('tiny.onnx'), 'joined.onnx')\""
    )
    ints = numpy_helper.from_array(np.zeros(1, np.int64))

    def put(change):
        proto = type(half_proto)()
        proto.CopyFrom(half_proto)
        change(proto)
        assert refusal(proto) == expected

    put(lambda proto: proto.graph.initializer.append(weight()))
    put(lambda proto: proto.graph.sparse_initializer.add(values=weight(), indices=ints))
    for place in PLACES:
        put(lambda proto, p=place: p(proto, helper.make_node('Constant', [], [], value=weight())))
        put(lambda proto, p=place: p(proto, helper.make_node('Any', [], [], tensors=[weight()])))
    graph = helper.make_graph([], 'branch', [], [], [weight()])
    put(lambda p: p.graph.node.append(helper.make_node('If', ['a'], [], then_branch=graph)))


# The interface.


def set_image_shape(graph, dims):
    image = helper.make_tensor_value_info('image', TensorProto.UINT8, dims)
    graph.input[0].CopyFrom(image)


def test_interface_of_this_package(channel_proto, half_proto):
    check_interface(PATH, channel_proto.graph)
    check_interface(PATH, half_proto.graph)
    set_image_shape(channel_proto.graph, ('batch', 'height', 'width', 3))
    check_interface(PATH, channel_proto.graph)
    # Older exporters list weights among the inputs.
    weight = helper.make_tensor_value_info('weight.float16', TensorProto.FLOAT16, (3, 3, 1, 1))
    half_proto.graph.input.append(weight)
    check_interface(PATH, half_proto.graph)


def test_image_of_a_fixed_size(channel_proto):
    assert fixed_size_of(channel_proto.graph) is None
    set_image_shape(channel_proto.graph, (1, 360, 480, 3))
    check_interface(PATH, channel_proto.graph)
    assert fixed_size_of(channel_proto.graph) == (480, 360)


@pytest.mark.parametrize(
    ('dims', 'shape'),
    [
        ((1, 0, 480, 3), [1, 0, 480, 3]),
        ((1, 'height', 480, 3), [1, '?', 480, 3]),
        ((1, 3, 'height', 'width'), [1, 3, '?', '?']),
        ((1, 'height', 'width', 'channels'), [1, '?', '?', '?']),
        ((2, 'height', 'width', 3), [2, '?', '?', 3]),
        (('height', 'width', 3), ['?', '?', 3]),
        (None, []),
    ],
)
def test_image_of_another_shape(channel_proto, dims, shape):
    set_image_shape(channel_proto.graph, dims)
    with pytest.raises(ModelError) as caught:
        check_interface(PATH, channel_proto.graph)
    assert str(caught.value) == (
        f'tiny.onnx is not a model of this package: image has shape {shape}, expected '
        '[1, ?, ?, 3]; make it with python -m training.export, or from a network of your own '
        'with ros2 run linknet_ros import_model'
    )


def test_plain_network_has_every_problem(channel_proto):
    graph = channel_proto.graph
    image = helper.make_tensor_value_info('input', TensorProto.FLOAT, (1, 3, 360, 480))
    graph.input[0].CopyFrom(image)
    logits = helper.make_tensor_value_info('logits', TensorProto.FLOAT, (1, 11, 360, 480))
    del graph.output[:]
    graph.output.append(logits)
    with pytest.raises(ModelError) as caught:
        check_interface(PATH, graph)
    assert str(caught.value) == (
        "tiny.onnx is not a model of this package: inputs are ['input'], expected 'image'; "
        "outputs are ['logits'], expected ['confidence', 'labels']; 'input' is not uint8; "
        "'logits' is not uint8; 'logits' is not (1, H, W); "
        'make it with python -m training.export, or from a network of your own with ros2 run '
        'linknet_ros import_model'
    )


def test_further_tensors_and_other_types(channel_proto):
    graph = channel_proto.graph
    graph.input.append(helper.make_tensor_value_info('scale', TensorProto.UINT8, (1,)))
    graph.output.append(helper.make_tensor_value_info('logits', TensorProto.UINT8, (1, 'h', 'w')))
    graph.output[1].type.tensor_type.elem_type = TensorProto.INT64
    with pytest.raises(ModelError) as caught:
        check_interface(PATH, graph)
    assert caught.value.problem == (
        "tiny.onnx is not a model of this package: inputs are ['image', 'scale'], expected "
        "'image'; outputs are ['confidence', 'labels', 'logits'], expected ['confidence', "
        "'labels']; 'confidence' is not uint8"
    )
