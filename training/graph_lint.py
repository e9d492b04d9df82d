"""Checks an exported graph for TensorRT, OpenVINO and ONNX Runtime, without any of them.

The rules are TensorRT's, the strictest of the three: its parser's operators.md, NvInfer.h, and
its guide to explicit quantization. A Jetson far away must not be the first to see a violation. The
tests ask the parser and builder of TensorRT-RTX 1.7 about each rule: some violations it refuses,
some cost a kernel or the int8; what else is here is documented for TensorRT 10.3 or for ONNX
Runtime, or is about accuracy.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper, shape_inference

from linknet_ros.errors import ModelError

#: What the parser of TensorRT 10.3 (JetPack 6) documents.
_OPSETS = range(9, 21)

#: Older ONNX Runtimes refuse a newer IR ("max supported IR version: 10").
_MAX_IR = 10

_CONVOLUTIONS = ('Conv', 'ConvTranspose')
_FLOATS = (TensorProto.FLOAT, TensorProto.FLOAT16)
_QUANTIZERS = ('QuantizeLinear', 'DequantizeLinear')


class Graph:
    """A graph with what the rules ask of it.

    :param precision: one of FILE_PRECISIONS.
    """

    def __init__(self, model: onnx.ModelProto, precision: str) -> None:
        inferred = shape_inference.infer_shapes(model, strict_mode=True, data_prop=True).graph
        self.model, self.precision, self.nodes = model, precision, list(model.graph.node)
        self.inputs = {value.name for value in model.graph.input}
        self.outputs = {value.name for value in model.graph.output}
        self.constants = {tensor.name: tensor for tensor in model.graph.initializer}
        self.types = {name: tensor.data_type for name, tensor in self.constants.items()}
        for value in (*inferred.value_info, *inferred.input, *inferred.output):
            self.types[value.name] = value.type.tensor_type.elem_type
        for node in self.nodes:
            if node.op_type == 'Constant' and node.attribute[0].name == 'value':
                self.constants[node.output[0]] = node.attribute[0].t
            elif node.op_type in ('Identity', 'Cast') and node.input[0] in self.constants:
                # Equal weights are stored once, large ones as float16.
                self.constants[node.output[0]] = self.constants[node.input[0]]
        self.writers = {name: node for node in self.nodes for name in node.output}

    def of(self, *operators: str) -> Iterator[tuple[onnx.NodeProto, dict[str, Any]]]:
        """Nodes of some operators with their attributes."""
        for node in self.nodes:
            if node.op_type in operators:
                yield node, {a.name: helper.get_attribute_value(a) for a in node.attribute}

    def readers(self, name: str) -> list[str]:
        """Operators that read a tensor."""
        return [node.op_type for node in self.nodes if name in node.input]

    def value(self, name: str) -> NDArray[Any] | None:
        """Value of a constant; None for what is computed."""
        tensor = self.constants.get(name)
        return None if tensor is None else numpy_helper.to_array(tensor)

    def dequantized(self, name: str) -> onnx.NodeProto | None:
        """The DequantizeLinear that writes a tensor, if one does."""
        node = self.writers.get(name)
        return node if node is not None and node.op_type == 'DequantizeLinear' else None


def known_versions(graph: Graph) -> Iterator[str]:
    """Every TensorRT from 10.3 and every ONNX Runtime in use must parse the file."""
    opset = {entry.domain or 'ai.onnx': entry.version for entry in graph.model.opset_import}
    if opset.get('ai.onnx') not in _OPSETS:
        yield f'opset {opset.get("ai.onnx")} is not within {_OPSETS[0]} to {_OPSETS[-1]}'
    if graph.model.ir_version > _MAX_IR:
        yield f'IR version {graph.model.ir_version} is above {_MAX_IR}'


def standard_operators(graph: Graph) -> Iterator[str]:
    """An operator of another domain needs a plugin that a robot does not have."""
    for node in graph.nodes:
        if node.domain not in ('', 'ai.onnx'):
            yield f'{node.domain}::{node.op_type} is not a standard operator'


def bytes_at_the_border(graph: Graph) -> Iterator[str]:
    """TensorRT has uint8 at inputs and outputs only, to and from float by Cast."""
    for name, kind in graph.types.items():
        if kind != TensorProto.UINT8:
            continue
        if name in graph.inputs:
            others = sorted(set(graph.readers(name)) - {'Cast'})
            if others:
                yield f'{name} is uint8 and read by {", ".join(others)}, not by Cast only'
            continue
        if name not in graph.outputs or graph.readers(name):
            yield f'{name} is uint8 inside the graph'
        writer = graph.writers.get(name)
        if name in graph.outputs and writer is not None:
            source = graph.types.get(writer.input[0])
            if writer.op_type != 'Cast' or source not in _FLOATS:
                yield f'{name} is uint8 and not written by a Cast from float'


def fixed_flow(graph: Graph) -> Iterator[str]:
    """What depends on the data cannot be recorded in a CUDA graph."""
    for node, _ in graph.of('Loop', 'If', 'Scan', 'NonZero', 'NonMaxSuppression'):
        yield f'{node.name} is a {node.op_type}, whose work depends on the data'


def plain_resizes(graph: Graph) -> Iterator[str]:
    """The parser knows these coordinates only, and no antialiasing."""
    coordinates = (b'half_pixel', b'pytorch_half_pixel', b'asymmetric', b'align_corners')
    for node, about in graph.of('Resize'):
        place = about.get('coordinate_transformation_mode')
        if about.get('antialias'):
            yield f'{node.name} is a Resize with antialiasing'
        if (place or b'half_pixel') not in coordinates:
            yield f'{node.name} is a Resize with coordinates {place.decode()}'


def short_output_padding(graph: Graph) -> Iterator[str]:
    """Beyond the end padding, the parser adds a layer that pads and splits the bias off."""
    for node, about in graph.of('ConvTranspose'):
        extra, pads = about.get('output_padding', [0, 0]), about.get('pads', [0] * 4)
        if any(more > end for more, end in zip(extra, pads[len(pads) // 2 :], strict=True)):
            yield f'{node.name} has an output padding of {extra} for pads of {pads}'


def constant_axes(graph: Graph) -> Iterator[str]:
    """The parser must know axes, and how many of the highest are wanted, when it builds."""
    operators = {'ReduceMax': 1, 'ReduceSum': 1, 'ReduceMean': 1, 'Squeeze': 1, 'TopK': 1}
    for node, _ in graph.of(*operators):
        for name in list(node.input)[operators[node.op_type] :]:
            if name not in graph.constants:
                yield f'{node.name} computes the axes or count of its {node.op_type}'


def pooling_without_indices(graph: Graph) -> Iterator[str]:
    """TensorRT's pooling has no second output."""
    for node, _ in graph.of('MaxPool'):
        if len(node.output) > 1:
            yield f'{node.name} is a MaxPool with indices'


def symmetric_scales(graph: Graph) -> Iterator[str]:
    """TensorRT quantises symmetrically to int8: zero points of 0, scales that are constant."""
    for node, _ in graph.of(*_QUANTIZERS):
        scale = graph.value(node.input[1])
        if scale is None or not (np.isfinite(scale).all() and (scale > 0).all()):
            yield f'{node.name} has a scale that is not a positive constant'
        # Without a zero point, the type would be uint8.
        zero = graph.value(node.input[2]) if len(node.input) > 2 else np.zeros(1, np.uint8)
        if zero is None or zero.dtype != np.int8 or zero.any():
            yield f'{node.name} has a zero point that is not int8 and 0'


def quantized_convolutions(graph: Graph) -> Iterator[str]:
    """Input and weight both behind DequantizeLinear make int8 kernels; one alone makes none.

    Weights by output channel: that is axis 0 of a Conv and 1 of a ConvTranspose.
    """
    for node, _ in graph.of(*_CONVOLUTIONS):
        image, weight = (graph.dequantized(name) for name in node.input[:2])
        if graph.precision != 'int8' or image is None or weight is None:
            if graph.precision == 'int8' or image is not None or weight is not None:
                yield f'{node.name} is not quantised as {graph.precision} asks for'
            continue
        values, scale = graph.value(weight.input[0]), graph.value(weight.input[1])
        expected = int(node.op_type == 'ConvTranspose')
        axis = next((a.i for a in weight.attribute if a.name == 'axis'), 1)
        if values is None or values.dtype != np.int8:
            yield f'{node.name} has a weight that is not kept as int8'
        elif scale is None or scale.shape != (values.shape[expected],) or axis != expected:
            yield f'{node.name} has weights that are not scaled by output channel'


def rounding_in_its_place(graph: Graph) -> Iterator[str]:
    """Q/DQ belongs before convolutions and sums: before a Relu it splits a kernel, and what is
    behind the logits must not be rounded.
    """
    for node in graph.nodes:
        if node.op_type in (*_CONVOLUTIONS, *_QUANTIZERS, 'Add'):
            continue
        if any(graph.dequantized(name) is not None for name in node.input):
            yield f'{node.name} is a {node.op_type} of rounded values'


def weights_of_the_precision(graph: Graph) -> Iterator[str]:
    """TensorRT 11 computes in the types of the file, so these must be what its metadata say."""
    expected = {'fp32': TensorProto.FLOAT, 'fp16': TensorProto.FLOAT16, 'int8': TensorProto.FLOAT}
    for node, _ in graph.of(*_CONVOLUTIONS):
        if graph.types.get(node.input[1]) != expected[graph.precision]:
            yield f'{node.name} is not of the type that {graph.precision} asks for'
    said = {entry.key: entry.value for entry in graph.model.metadata_props}.get(
        'precision', 'fp32'
    )
    if said != graph.precision:
        yield f"the metadata say precision '{said}', the graph is {graph.precision}"


RULES: tuple[Callable[[Graph], Iterator[str]], ...] = (
    known_versions,
    standard_operators,
    bytes_at_the_border,
    fixed_flow,
    plain_resizes,
    short_output_padding,
    constant_axes,
    pooling_without_indices,
    symmetric_scales,
    quantized_convolutions,
    rounding_in_its_place,
    weights_of_the_precision,
)


def lint(model: onnx.ModelProto, precision: str) -> None:
    """Check an exported model by every rule.

    :param precision: one of FILE_PRECISIONS, what the file is made for.
    :raises ModelError: with the first violation, its reason, and how many there are.
    """
    graph = Graph(model, precision)
    found = [(problem, rule) for rule in RULES for problem in rule(graph)]
    if found:
        problem, rule = found[0]
        reason = ' '.join((rule.__doc__ or '').partition('\n\n')[0].split())
        more = f' (and {len(found) - 1} more)' if len(found) > 1 else ''
        raise ModelError(f'the exported graph would not run everywhere: {problem}{more}; {reason}')
