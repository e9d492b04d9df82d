"""The exported network in other arithmetic: float16 throughout, or int8 convolutions."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray

from linknet_ros.inference.fitting import FrameFitter, fit_frame
from linknet_ros.inference.onnx_graph import expand_float16_weights, to_float16
from linknet_ros.inference.quantization import quantize


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
    quantized: onnx.ModelProto = quantize(result, _padded(frames))
    return quantized


def _padded(frames: Sequence[NDArray[np.uint8]]) -> Iterator[NDArray[np.uint8]]:
    """Frames as the network gets them on the robot, padded to a multiple of 32."""
    for frame in frames:
        height, width = frame.shape[:2]
        yield FrameFitter(fit_frame(width, height, width, height)).to_network(frame)
