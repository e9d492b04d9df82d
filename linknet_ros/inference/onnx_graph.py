"""ONNX graphs: parsed from bytes, weights converted, sizes fixed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from linknet_ros.errors import ModelError, first_line
from linknet_ros.inference.onnx_checks import check_contents

#: What makes a network one of int8.
QUANTIZERS = ('QuantizeLinear', 'DequantizeLinear')


def parse_onnx(path: Path, data: bytes) -> Any:
    """The ONNX model in some bytes.

    :param path: where they come from, for messages.
    :returns: an onnx.ModelProto.
    :raises ModelError: when they are not a complete, valid ONNX model, or fail onnx_checks.
    """
    if data.startswith(b'version https://git-lfs'):
        raise ModelError(f'{path} is a Git LFS pointer, not the model', 'run git lfs pull')
    try:
        # Imported here so that one line says so where it is missing.
        import onnx
        from google.protobuf.message import DecodeError
    except ImportError as error:
        raise ModelError(
            f'reading {path} needs the Python package onnx ({error})', 'pip install onnx'
        ) from error
    try:
        model = onnx.load_model_from_string(data)
        check_contents(path, model)
        onnx.checker.check_model(model)
    except (DecodeError, onnx.checker.ValidationError, ValueError) as error:
        raise ModelError(
            f'{path} is not a readable ONNX file ({first_line(error)})', 'copy or export it again'
        ) from error
    return model


def expand_float16_weights(path: Path, graph: Any) -> None:
    """Replace every float16 weight behind a Cast to float32 by a float32 weight, in place.

    :param path: where the graph comes from, for messages.
    :param graph: an onnx.GraphProto.
    :raises ModelError: when a weight is damaged.
    """
    from onnx import TensorProto, numpy_helper

    half = {t.name: t for t in graph.initializer if t.data_type == TensorProto.FLOAT16}
    kept = []
    expanded = []
    for node in graph.node:
        if node.op_type == 'Cast' and node.input[0] in half and _casts_to(node, TensorProto.FLOAT):
            try:
                values = numpy_helper.to_array(half[node.input[0]]).astype(np.float32)
            except ValueError as error:
                raise ModelError(
                    f'{path}: weight {node.input[0]!r} is damaged ({first_line(error)})',
                    'copy or export the file again',
                ) from error
            expanded.append(numpy_helper.from_array(values, node.output[0]))
        else:
            kept.append(node)
    still_read = {name for node in kept for name in node.input}
    rest = [t for t in graph.initializer if t.name not in half or t.name in still_read]
    del graph.node[:], graph.initializer[:]
    graph.node.extend(kept)
    graph.initializer.extend([*rest, *expanded])


def set_metadata(model: Any, **entries: str) -> None:
    """Set entries of a model's metadata, in place; the others stay.

    :param model: an onnx.ModelProto.
    """
    from onnx import helper

    before = {entry.key: entry.value for entry in model.metadata_props}
    # First, before those that must be there: a file that was cut off does not lose them unnoticed.
    helper.set_model_props(model, entries | before | entries)


def fix_size(graph: Any, height: int, width: int) -> None:
    """Fix the size of the image and of both outputs, in place.

    What was inferred for tensors in between is dropped, since it names free sizes.

    :param graph: an onnx.GraphProto.
    :param height: pixels, as `width`.
    """
    for value in (*graph.input, *graph.output):
        sizes = (1, height, width, 3) if value.name == 'image' else (1, height, width)
        for dim, size in zip(value.type.tensor_type.shape.dim, sizes, strict=True):
            dim.dim_value = size
    del graph.value_info[:]


def to_float16(path: Path, model: Any) -> None:
    """Compute in float16 instead of float32, in place: weights, constants and casts.

    For a runtime that takes the arithmetic from the file. Borders stay uint8; between Q/DQ nodes
    stays int8, and what is around them becomes float16.

    :param path: where the model comes from, for messages.
    :param model: an onnx.ModelProto whose weights are float32, or int8 with float32 scales.
    :raises ModelError: when a weight or scale does not fit into float16.
    """
    from onnx import TensorProto, version_converter

    if any(node.op_type in QUANTIZERS for node in model.graph.node):
        # The first opset with float16 scales; other operators may have changed on the way.
        model.CopyFrom(version_converter.convert_version(model, 19))
        model.ir_version = max(model.ir_version, 9)  # that of opset 19
    graph = model.graph
    scales = {node.input[1] for node in graph.node if node.op_type in QUANTIZERS}
    kept, for_sizes = _tensors_of_sizes(model)
    for tensor in graph.initializer:
        if tensor.data_type == TensorProto.FLOAT and tensor.name not in kept:
            _halve(path, tensor, tensor.name, positive=tensor.name in scales)
    nodes = []
    halves: set[str] = set()
    for node in graph.node:
        if not kept.intersection(node.output):
            _compute_in_float16(path, node)
        if not for_sizes.intersection(node.output):
            nodes += _halved_inputs(node, kept, halves)
        nodes.append(node)
    del graph.node[:], graph.value_info[:]
    graph.node.extend(nodes)


def _tensors_of_sizes(model: Any) -> tuple[set[str], set[str]]:
    """Names of the tensors that sizes are computed with: those of float32, and all.

    They stay exact: float16 has no 2049. So do the scales and the region of Resize, which are
    float32 whatever it resizes.
    """
    from onnx import TensorProto, shape_inference

    graph = shape_inference.infer_shapes(model).graph
    values = (*graph.value_info, *graph.input, *graph.output)
    kinds = {value.name: value.type.tensor_type.elem_type for value in values}
    kinds |= {tensor.name: tensor.data_type for tensor in graph.initializer}
    writers = {name: node for node in graph.node for name in node.output}
    image = {value.name for value in graph.input}
    wanted = []
    for node in graph.node:
        if node.op_type not in ('Shape', 'Size') and image.intersection(node.input):
            image.update(node.output)
        if node.op_type == 'Resize':
            wanted += node.input[1:3]
        elif node.op_type == 'Cast' and any(
            _casts_to(node, kind) for kind in (TensorProto.INT32, TensorProto.INT64)
        ):
            wanted += node.input
    found: set[str] = set()
    while wanted:
        name = wanted.pop()
        if name and name not in found and name not in image:
            found.add(name)
            if name in writers and writers[name].op_type not in ('Shape', 'Size'):
                wanted += writers[name].input
    return {name for name in found if kinds.get(name) == TensorProto.FLOAT}, found


def _halved_inputs(node: Any, kept: set[str], made: set[str]) -> list[Any]:
    """Let a node read in float16 what stays float32 for sizes; the nodes that this takes."""
    from onnx import TensorProto, helper

    casts = []
    for index, name in enumerate(node.input):
        takes_float32 = node.op_type == 'Cast' or (node.op_type == 'Resize' and index in (1, 2))
        if name in kept and not takes_float32:
            half = f'{name}.half'
            if half not in made:
                casts.append(helper.make_node('Cast', [name], [half], to=TensorProto.FLOAT16))
                made.add(half)
            node.input[index] = half
    return casts


def _compute_in_float16(path: Path, node: Any) -> None:
    """Let a node make float16 where it says that it makes float32, in place."""
    from onnx import TensorProto, helper

    if node.op_type == 'ConstantOfShape' and not node.attribute:
        zero = helper.make_tensor('value', TensorProto.FLOAT, [1], [0.0])
        node.attribute.append(helper.make_attribute('value', zero))
    for attribute in node.attribute:
        if node.op_type in ('Constant', 'ConstantOfShape'):
            if attribute.name in ('value_float', 'value_floats'):
                values = [attribute.f] if attribute.name == 'value_float' else attribute.floats
                shape = [] if attribute.name == 'value_float' else [len(values)]
                tensor = helper.make_tensor('value', TensorProto.FLOAT, shape, values)
                attribute.CopyFrom(helper.make_attribute('value', tensor))
            if attribute.t.data_type == TensorProto.FLOAT:
                _halve(path, attribute.t, node.output[0])
        elif attribute.name in ('to', 'dtype') and attribute.i == TensorProto.FLOAT:
            attribute.i = TensorProto.FLOAT16


def plain_transposed_convolutions(graph: Any) -> None:
    """Take int8 away from transposed convolutions, in place; for TensorRT.

    It has no int8 kernels for them: it computes them in float16 and unpacks the int8 weights in a
    kernel of its own, for each frame (seen in the listing of layers of TensorRT-RTX 1.7).

    :param graph: an onnx.GraphProto; weights become float32 with the same values.
    """
    from onnx import numpy_helper

    writers = {name: node for node in graph.node for name in node.output}
    constants = {tensor.name: tensor for tensor in graph.initializer}

    def dequantizer(name: str) -> Any:
        node = writers.get(name)
        return node if node is not None and node.op_type == 'DequantizeLinear' else None

    for node in graph.node:
        if node.op_type != 'ConvTranspose':
            continue
        for index, name in enumerate(node.input):
            dequantize = dequantizer(name)
            if dequantize is None:
                continue
            quantize = writers.get(dequantize.input[0])
            if quantize is not None and quantize.op_type == 'QuantizeLinear':
                node.input[index] = quantize.input[0]
            elif dequantize.input[0] in constants:
                values = _dequantized(dequantize, constants)
                graph.initializer.append(numpy_helper.from_array(values, f'{name}.plain'))
                node.input[index] = f'{name}.plain'
    drop_unread(graph)


def _dequantized(node: Any, constants: dict[str, Any]) -> NDArray[np.float32]:
    """Value of a DequantizeLinear of constants (ONNX, operator DequantizeLinear)."""
    from onnx import numpy_helper

    values, scale, *zero = (numpy_helper.to_array(constants[name]) for name in node.input)
    axis = next((a.i for a in node.attribute if a.name == 'axis'), 1)
    shape = [-1 if i == axis % values.ndim else 1 for i in range(values.ndim)]
    shape = shape if scale.ndim else []
    shifted = values.astype(np.float32) - (zero[0].reshape(shape) if zero else 0)
    return np.asarray(shifted * scale.reshape(shape), np.float32)


def drop_unread(graph: Any) -> None:
    """Drop nodes and weights that nothing reads any more, in place."""
    kept = list(graph.node)
    while True:
        read = {name for node in kept for name in node.input} | {v.name for v in graph.output}
        used = [node for node in kept if read.intersection(node.output)]
        if len(used) == len(kept):
            break
        kept = used
    weights = [tensor for tensor in graph.initializer if tensor.name in read]
    del graph.node[:], graph.initializer[:]
    graph.node.extend(kept)
    graph.initializer.extend(weights)


def _halve(path: Path, tensor: Any, name: str, positive: bool = False) -> None:
    """Make a float32 TensorProto a float16 one, in place; a scale must stay positive."""
    from onnx import numpy_helper

    with np.errstate(over='ignore'):
        half = numpy_helper.to_array(tensor).astype(np.float16)
    if not np.isfinite(half).all() or (positive and not (half > 0).all()):
        raise ModelError(
            f'{path}: weight {name!r} does not fit into float16', 'use precision fp32'
        )
    tensor.CopyFrom(numpy_helper.from_array(half, tensor.name))


def _casts_to(node: Any, kind: int) -> bool:
    return any(attribute.name == 'to' and attribute.i == kind for attribute in node.attribute)
