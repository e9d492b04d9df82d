"""Segmentation networks as other programs write them: floats in, scores out, no metadata."""

import numpy as np
from onnx import TensorProto, helper, numpy_helper


def network(
    tail=(),
    *,
    classes=4,
    output='scores',
    shape=(1, 3, 'h', 'w'),
    output_shape=(1, 'c', 'h', 'w'),
    types=(TensorProto.FLOAT, TensorProto.FLOAT),
    stride=1,
    opset=17,
    weights=(),
    outputs=(),
):
    """A convolution of 3x3, from `input` to `scores`, with other nodes behind it."""
    random = np.random.default_rng(0)
    weight = random.normal(size=(classes, 3, 3, 3)).astype(np.float32)
    nodes = [
        helper.make_node(
            'Conv', ['input', 'weight'], ['scores'], pads=[1] * 4, strides=[stride] * 2
        )
    ]
    border = [(output, types[1], output_shape), *outputs]
    graph = helper.make_graph(
        [*nodes, *tail],
        'somebody',
        [helper.make_tensor_value_info('input', types[0], shape)],
        [helper.make_tensor_value_info(*value) for value in border],
        [numpy_helper.from_array(weight, 'weight'), *weights],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid('', opset)], ir_version=8)
