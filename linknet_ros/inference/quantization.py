"""int8 for a float32 network: Q/DQ nodes around its convolutions, calibrated on images.

The work of onnxruntime.quantization, which writes plain ONNX Q/DQ nodes; NNCF would give
OpenVINO's own format, ModelOpt needs CUDA's packages, and both are large. What is rounded, and
how, is what TensorRT, OpenVINO and ONNX Runtime all compute in int8 (NVIDIA's guide to explicit
quantization): weights by output channel, activations with one scale, both symmetric with zero
points of 0. Biases, activations, pooling, softmax, and matrix products stay in float.
"""

from __future__ import annotations

import copy
import logging
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from numpy.typing import NDArray

from linknet_ros.errors import ModelError, first_line
from linknet_ros.inference.onnx_graph import QUANTIZERS, drop_unread
from linknet_ros.system.temporary_folder import temporary_folder

CONVOLUTIONS = ('Conv', 'ConvTranspose')

#: What a runtime computes in one kernel with the convolution before it.
_FUSED = ('BatchNormalization', 'Relu', 'Clip', 'LeakyRelu', 'PRelu', 'HardSwish')


#: Smallest scale of a weight: the smallest of float16 that has four digits, in which TensorRT has
#: scales. Channels that training has left without use have smaller ones.
_LEAST_SCALE = 2.0**-20


def quantize(model: Any, images: Iterable[NDArray[np.uint8]]) -> Any:
    """The network with int8 convolutions; metadata stay.

    Scales are the largest magnitude over 127 (the calibration method MinMax, made symmetric).

    :param model: an onnx.ModelProto of the model file's interface with float32 weights; not
        changed.
    :param images: (H, W, 3) uint8 BGR as the network gets them, to calibrate on; not those that
        the result is measured on.
    :returns: an onnx.ModelProto.
    :raises ModelError: when there is nothing to quantize, or it is quantized already, or the
        library fails.
    """
    try:
        import onnx
        from onnxruntime.quantization import (
            CalibrationMethod,
            QuantFormat,
            QuantType,
            quantize_static,
        )
    except ImportError as error:
        raise ModelError(
            f'int8 needs ONNX Runtime ({error})', 'pip install onnxruntime'
        ) from error
    result = copy.deepcopy(model)
    if any(node.op_type in QUANTIZERS for node in result.graph.node):
        raise ModelError('the network is quantized already', 'give the fp32 file it was made from')
    _plain_weights(result.graph)
    _name_nodes(result.graph)
    convolutions, sums = _convolutions(result.graph), _sums(result.graph)
    if not convolutions:
        raise ModelError('the network has no convolution with constant weights')
    with temporary_folder(of_libraries=True) as folder, _only_errors():
        path = folder / 'int8.onnx'
        try:
            quantize_static(
                result,
                path,
                _reader(images),
                quant_format=QuantFormat.QDQ,
                op_types_to_quantize=[*CONVOLUTIONS, 'Add'],
                nodes_to_quantize=[*convolutions, *sums],
                per_channel=True,
                activation_type=QuantType.QInt8,
                weight_type=QuantType.QInt8,
                calibrate_method=CalibrationMethod.MinMax,
                extra_options={
                    # TensorRT knows zero points of 0 only, and biases in float.
                    'ActivationSymmetric': True,
                    'WeightSymmetric': True,
                    'QuantizeBias': False,
                    # Rounded once, where it is read: Q/DQ between a convolution and its
                    # activation would keep the two from being one kernel.
                    'OpTypesToExcludeOutputQuantization': [*CONVOLUTIONS, 'Add'],
                },
            )
        except Exception as error:  # the library's errors share no base but Exception
            raise ModelError(f'the network cannot be quantized ({first_line(error)})') from error
        result = onnx.load(path)
    _join_sums(result.graph, sums)
    _raise_scales(result.graph)
    del result.metadata_props[:]
    result.metadata_props.extend(model.metadata_props)
    return result


def _raise_scales(graph: Any) -> None:
    """Let no scale of a weight be below _LEAST_SCALE, in place."""
    from onnx import numpy_helper

    tensors = {tensor.name: tensor for tensor in graph.initializer}
    for node in graph.node:
        if node.op_type != 'DequantizeLinear' or node.input[0] not in tensors:
            continue
        weight, scale = (tensors[name] for name in node.input[:2])
        weights, scales = numpy_helper.to_array(weight), numpy_helper.to_array(scale)
        raised = np.maximum(scales, np.float32(_LEAST_SCALE))
        axis = next((a.i for a in node.attribute if a.name == 'axis'), 1)
        by_channel = np.moveaxis(weights, axis, -1) * (scales / raised)
        rounded = np.moveaxis(np.rint(by_channel), -1, axis).astype(weights.dtype)
        weight.CopyFrom(numpy_helper.from_array(np.ascontiguousarray(rounded), weight.name))
        scale.CopyFrom(numpy_helper.from_array(raised, scale.name))


def _reader(images: Iterable[NDArray[np.uint8]]) -> Any:
    """The images as the library takes them."""
    from onnxruntime.quantization import CalibrationDataReader

    class Reader(CalibrationDataReader):
        def __init__(self) -> None:
            self._left = iter(images)

        def get_next(self) -> dict[str, NDArray[np.uint8]] | None:
            image = next(self._left, None)
            return None if image is None else {'image': image[np.newaxis].copy()}

    return Reader()


def _plain_weights(graph: Any) -> None:
    """Let convolutions read their weights directly: not from a Constant node, nor an Identity.

    Some exporters write them so, and the library takes what a node gives for computed.
    """
    from onnx import numpy_helper

    writers = {name: node for node in graph.node for name in node.output}
    tensors = {tensor.name: tensor for tensor in graph.initializer}
    for name in {node.input[1] for node in graph.node if node.op_type in CONVOLUTIONS}:
        source = name
        while source in writers and writers[source].op_type == 'Identity':
            source = writers[source].input[0]
        tensor = tensors.get(source)
        if source in writers and writers[source].op_type == 'Constant':
            tensor = writers[source].attribute[0].t
        if name in tensors or tensor is None:
            continue
        graph.initializer.append(numpy_helper.from_array(numpy_helper.to_array(tensor), name))
        graph.node.remove(writers[name])
    drop_unread(graph)


def _name_nodes(graph: Any) -> None:
    """Give every node a name of its own, by which the library knows it."""
    counts = Counter(node.name for node in graph.node)
    for index, node in enumerate(graph.node):
        if not node.name or counts[node.name] > 1:
            node.name = f'{node.op_type}.{index}'


def _convolutions(graph: Any) -> list[str]:
    """Names of convolutions whose weights are constant."""
    weights = {tensor.name for tensor in graph.initializer}
    return [
        node.name
        for node in graph.node
        if node.op_type in CONVOLUTIONS and node.input[1] in weights
    ]


def _sums(graph: Any) -> dict[str, int]:
    """Sums of a convolution and of what skips it: the name of each, and its input that is the
    convolution's.

    OpenVINO computes such a sum in float, apart from the convolution, unless what skips it is
    int8. A convolution is the branch of a sum only if nothing else reads it on the way.
    """
    weights = {tensor.name for tensor in graph.initializer}
    writers = {name: node for node in graph.node for name in node.output}
    reads = Counter(name for node in graph.node for name in node.input)

    def is_branch(name: str) -> bool:
        node = writers.get(name)
        while node is not None and reads[name] == 1 and node.op_type in _FUSED:
            name = node.input[0]
            node = writers.get(name)
        return node is not None and reads[name] == 1 and node.op_type in CONVOLUTIONS

    sums = {}
    for node in graph.node:
        if node.op_type == 'Add' and all(name in writers for name in node.input):
            branch = next((i for i, name in enumerate(node.input) if is_branch(name)), None)
            if branch is not None and not weights.intersection(node.input):
                sums[node.name] = branch
    return sums


def _join_sums(graph: Any, sums: dict[str, int]) -> None:
    """Take Q/DQ out between a sum and the branch that was computed for it, in place.

    A convolution and the sum behind it are one kernel in TensorRT only if no rounding is between
    them, and if what is added to it is int8 (NVIDIA's guide to explicit quantization). OpenVINO
    is as fast both ways (18.7 and 18.8 ms at 480x384, one run).
    """
    writers = {name: node for node in graph.node for name in node.output}
    for node in graph.node:
        if node.name not in sums:
            continue
        branch = sums[node.name]
        dequantize = writers.get(node.input[branch])
        if dequantize is not None and dequantize.op_type == 'DequantizeLinear':
            node.input[branch] = writers[dequantize.input[0]].input[0]
    drop_unread(graph)


def quantized_convolutions(model: Any) -> tuple[int, int]:
    """How many convolutions of an onnx.ModelProto are int8, and how many there are."""
    dequantized = {
        name
        for node in model.graph.node
        for name in node.output
        if node.op_type == 'DequantizeLinear'
    }
    found = [node for node in model.graph.node if node.op_type in CONVOLUTIONS]
    return sum(dequantized.issuperset(node.input[:2]) for node in found), len(found)


@contextmanager
def _only_errors() -> Iterator[None]:
    """Silence the library's advice to prepare the graph, which would undo our placement."""
    logger = logging.getLogger()
    before = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(before)
