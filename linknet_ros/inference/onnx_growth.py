"""How large the tensors of an ONNX graph get, worked out before a back end allocates them."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from linknet_ros.errors import ModelError, first_line
from linknet_ros.inference.onnx_checks import shown, tensors_of

#: Sides of the square images that sizes are worked out for. The small one finds what is large
#: whatever the image, the large one what grows faster than its number of pixels.
_SIDES = (64, 1024)

#: Values of a tensor per pixel of the image, beside as many as there are weights. U-Net has 128.
MAX_VALUES_PER_PIXEL = 512


def check_growth(path: Path, model: Any) -> None:
    """Refuse a graph in which some tensor is far larger than the image and the weights.

    A few bytes can double a tensor, and forty of them make a terabyte. Sizes come from ONNX's
    shape inference, without weights, so that nothing of these sizes is allocated.

    :param path: where the model comes from, for messages.
    :param model: an onnx.ModelProto whose interface and contents are checked.
    :raises ModelError: when a tensor is too large, or its size cannot be told beforehand.
    """
    from onnx import shape_inference

    weights = sum(math.prod(tensor.dims) for tensor in tensors_of(model.graph))
    for side in _SIDES:
        probe = _without_weights(model, side)
        try:
            graph = shape_inference.infer_shapes(probe, strict_mode=True, data_prop=True).graph
        except Exception as error:  # of C++: an InferenceError, a RuntimeError, a ValueError
            raise ModelError(
                f'{path} is no readable ONNX file ({shown(first_line(error))}); '
                'copy or export it again'
            ) from error
        limit = MAX_VALUES_PER_PIXEL * side * side + weights
        sizes = {value.name: _size(value) for value in (*graph.value_info, *graph.output)}
        for node in model.graph.node:
            for name in filter(None, node.output):
                size = sizes.get(name)
                if size is None:
                    raise ModelError(
                        f'{path}: the size of {shown(name)} ({node.op_type}) cannot be told '
                        'before it runs; export the network with fixed shapes inside'
                    )
                if size > limit:
                    raise ModelError(
                        f'{path}: {shown(name)} ({node.op_type}) has {size} values for an image '
                        f'of {side}x{side}, more than the {limit} allowed; use a smaller network'
                    )


def _without_weights(model: Any, side: int) -> Any:
    """The model for an image of one size, with shapes instead of its large weights."""
    from onnx import ModelProto, TensorProto

    probe = ModelProto(ir_version=model.ir_version, opset_import=model.opset_import)
    probe.graph.name = 'probe'
    probe.graph.node.extend(model.graph.node)
    probe.graph.output.extend(model.graph.output)
    for value in probe.graph.output:
        # What it says of itself would be taken for true where nothing can be inferred.
        value.type.tensor_type.ClearField('shape')
    for value in model.graph.input:
        kept = probe.graph.input.add()
        kept.CopyFrom(value)
        if value.name == 'image':
            dims = kept.type.tensor_type.shape.dim
            for dim, size in zip(dims, (1, side, side, 3), strict=True):
                dim.dim_value = size
    for tensor in model.graph.initializer:
        # Small ones may be sizes and axes.
        small = math.prod(tensor.dims) <= 1024
        kept = probe.graph.initializer.add()
        kept.CopyFrom(
            tensor
            if small
            else TensorProto(name=tensor.name, data_type=tensor.data_type, dims=tensor.dims)
        )
    return probe


def _size(value: Any) -> int | None:
    """Number of values of an onnx.ValueInfoProto; None where a side is not known."""
    tensor = value.type.tensor_type
    if not tensor.HasField('shape'):
        return None
    dims = tensor.shape.dim
    if not all(dim.HasField('dim_value') and dim.dim_value >= 0 for dim in dims):
        return None
    return math.prod(int(dim.dim_value) for dim in dims)
