"""What a network costs: its parameters, and its multiply-accumulates for one frame."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from linknet_ros.inference.fitting import fit_frame
from linknet_ros.inference.model_file import ModelFile
from linknet_ros.inference.onnx_graph import QUANTIZERS, fix_size, parse_onnx

#: What these take besides their first input is not a parameter.
_SCALED = (*QUANTIZERS, 'Resize')

_PRODUCTS = ('MatMul', 'Gemm')

Shapes = dict[str, tuple[int, ...]]


@dataclass(frozen=True)
class Cost:
    """What a network costs at a size.

    :param parameters: number of weights and biases; norms are folded where the exporter did so.
    :param macs: multiply-accumulates of convolutions and matrix products for one frame, half of
        what is usually called FLOPs; a frame that is padded counts with its padding. None where
        the graph does not say and ONNX Runtime is not there to find it out.
    """

    parameters: int
    macs: int | None


def cost_of(model: ModelFile, size: tuple[int, int]) -> Cost:
    """Count what a network costs.

    :param size: (width, height) in pixels of the frames.
    """
    fit = fit_frame(*size, *size, model.steps)
    height, width = fit.buffer_height, fit.buffer_width
    proto = parse_onnx(model.path, model.graph())
    fix_size(proto.graph, height, width)
    graph = proto.graph
    shapes = _known_shapes(proto)
    needed = {
        name
        for node in graph.node
        for name in _needed(node)
        if name not in shapes or not all(shapes[name])
    }
    if needed:
        try:
            shapes |= _shapes_of_a_run(proto, needed, height, width)
        except ImportError:
            return Cost(_parameters(graph), None)
    return Cost(_parameters(graph), sum(_macs(node, shapes) for node in graph.node))


def _parameters(graph: Any) -> int:
    """Numbers in constants that computed nodes take, apart from scales and single numbers."""
    from onnx import TensorProto

    kinds = (TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.INT8)
    tensors = {tensor.name: tensor for tensor in graph.initializer}
    for node in graph.node:
        if node.op_type == 'Constant' and node.attribute[0].name == 'value':
            tensors[node.output[0]] = node.attribute[0].t
    left_out = {name for node in graph.node if node.op_type in _SCALED for name in node.input[1:]}
    return sum(
        math.prod(tensor.dims)
        for name, tensor in tensors.items()
        if tensor.data_type in kinds and tensor.dims and name not in left_out
    )


def _needed(node: Any) -> list[str]:
    """Tensors whose shapes say what a node costs."""
    if node.op_type == 'Conv':
        return [node.input[1], node.output[0]]
    if node.op_type == 'ConvTranspose':
        return [node.input[0], node.input[1]]
    return [node.input[0], node.output[0]] if node.op_type in _PRODUCTS else []


def _macs(node: Any, shapes: Shapes) -> int:
    found = [shapes[name] for name in _needed(node)]
    if node.op_type == 'Conv':
        # Weights are (out, in / groups, kernel): one product of each for every output pixel.
        weight, result = found
        return math.prod(weight[1:]) * math.prod(result)
    if node.op_type == 'ConvTranspose':
        # Weights are (in, out / groups, kernel), for every input pixel.
        image, weight = found
        return math.prod(weight[1:]) * math.prod(image)
    if node.op_type in _PRODUCTS:
        left, result = found
        turned = any(a.name == 'transA' and a.i for a in node.attribute)
        return left[0 if turned else -1] * math.prod(result)
    return 0


def _known_shapes(proto: Any) -> Shapes:
    """Shapes that ONNX infers; a side that it does not know is 0."""
    from onnx import shape_inference

    graph = shape_inference.infer_shapes(proto, data_prop=True).graph
    shapes = {tensor.name: tuple(tensor.dims) for tensor in graph.initializer}
    for node in graph.node:
        if node.op_type == 'Constant' and node.attribute[0].name == 'value':
            shapes[node.output[0]] = tuple(node.attribute[0].t.dims)
    for value in (*graph.value_info, *graph.input, *graph.output):
        if value.type.tensor_type.HasField('shape'):
            dims = value.type.tensor_type.shape.dim
            shapes[value.name] = tuple(dim.dim_value for dim in dims)
    return shapes


def _shapes_of_a_run(proto: Any, names: set[str], height: int, width: int) -> Shapes:
    """Shapes of tensors, found out by running the network."""
    import onnx
    import onnxruntime

    run = onnx.ModelProto()
    run.CopyFrom(proto)
    wanted = sorted(names)
    del run.graph.output[:]
    run.graph.output.extend(onnx.ValueInfoProto(name=name) for name in wanted)
    session = onnxruntime.InferenceSession(
        run.SerializeToString(), providers=['CPUExecutionProvider']
    )
    image = np.zeros((1, height, width, 3), np.uint8)
    results = session.run(wanted, {'image': image})
    return {name: result.shape for name, result in zip(wanted, results, strict=True)}
