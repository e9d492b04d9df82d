"""The exported network in other arithmetic: float16 throughout, or int8 convolutions.

int8 is the work of onnxruntime.quantization, which is needed anyway and writes plain ONNX Q/DQ
nodes; NNCF would give OpenVINO's own format, ModelOpt needs CUDA's packages, and both are large.
"""

from __future__ import annotations

import copy
import logging
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray
from onnxruntime.quantization import (
    CalibrationDataReader,
    CalibrationMethod,
    QuantFormat,
    QuantType,
    quantize_static,
)

from linknet_ros.inference.fitting import FrameFitter, fit_frame
from linknet_ros.inference.onnx_graph import expand_float16_weights, to_float16

_CONVOLUTIONS = ('Conv', 'ConvTranspose')

#: What gets int8 inputs: the convolutions, and the sums with what skips them, which OpenVINO
#: otherwise computes in float, apart from the convolutions.
_QUANTIZED = [*_CONVOLUTIONS, 'Add']


def to_precision(
    model: onnx.ModelProto, precision: str, frames: Sequence[NDArray[np.uint8]]
) -> onnx.ModelProto:
    """Convert an exported model to one of FILE_PRECISIONS; its metadata stays.

    :param model: from to_onnx; not changed.
    :param frames: (H, W, 3) uint8 BGR of any size to calibrate int8 on; not those that the
        result is measured on.
    :raises ModelError: when a weight does not fit into float16.
    """
    if precision == 'fp32':
        return model
    result = copy.deepcopy(model)
    path = Path('the exported network')
    expand_float16_weights(path, result.graph)
    if precision == 'fp16':
        to_float16(path, result)
        return result
    result = _quantized(result, frames)
    del result.metadata_props[:]
    result.metadata_props.extend(model.metadata_props)
    return result


class _Frames(CalibrationDataReader):  # type: ignore[misc]
    """Frames as the network gets them on the robot, padded to a multiple of 32."""

    def __init__(self, frames: Sequence[NDArray[np.uint8]]) -> None:
        self._left = iter(frames)

    def get_next(self) -> dict[str, NDArray[np.uint8]] | None:
        frame = next(self._left, None)
        if frame is None:
            return None
        height, width = frame.shape[:2]
        fitter = FrameFitter(fit_frame(width, height, width, height))
        return {'image': fitter.to_network(frame)[np.newaxis].copy()}


def _quantized(model: onnx.ModelProto, frames: Sequence[NDArray[np.uint8]]) -> onnx.ModelProto:
    """A float32 model with int8 activations, and int8 weights by output channel.

    Scales are the largest magnitude over 127 (the calibration method MinMax, made symmetric).
    """
    with tempfile.TemporaryDirectory() as folder, _only_errors():
        path = Path(folder) / 'int8.onnx'
        quantize_static(
            model,
            path,
            _Frames(frames),
            quant_format=QuantFormat.QDQ,
            op_types_to_quantize=_QUANTIZED,
            per_channel=True,
            activation_type=QuantType.QInt8,
            weight_type=QuantType.QInt8,
            calibrate_method=CalibrationMethod.MinMax,
            extra_options={
                # TensorRT knows zero points of 0 only, and biases in float.
                'ActivationSymmetric': True,
                'WeightSymmetric': True,
                'QuantizeBias': False,
                # Rounded once, where it is read: Q/DQ between a convolution and its activation
                # would keep the two from being one kernel.
                'OpTypesToExcludeOutputQuantization': _QUANTIZED,
            },
        )
        result = onnx.load(path)
    _join_sums(result.graph)
    return result


def _join_sums(graph: onnx.GraphProto) -> None:
    """Take Q/DQ out between a sum and the branch that was computed for it, in place.

    A convolution and the sum behind it are one kernel in TensorRT only if no rounding is between
    them, and if what is added to it is int8 (NVIDIA's guide to explicit quantization). The first
    input of every sum here is the branch, the second what skips it. OpenVINO is as fast both ways
    (18.7 and 18.8 ms at 480x384, one run).
    """
    writers = {name: node for node in graph.node for name in node.output}
    for node in graph.node:
        dequantize = writers.get(node.input[0]) if node.op_type == 'Add' else None
        if dequantize is not None and dequantize.op_type == 'DequantizeLinear':
            node.input[0] = writers[dequantize.input[0]].input[0]
    while True:
        read = {name for node in graph.node for name in node.input}
        read |= {value.name for value in graph.output}
        unread = [node for node in graph.node if not read & set(node.output)]
        if not unread:
            break
        for node in unread:
            graph.node.remove(node)
    kept = [tensor for tensor in graph.initializer if tensor.name in read]
    del graph.initializer[:]
    graph.initializer.extend(kept)


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
