"""What an ONNX model must be to run here: one file of standard operators, with our interface.

Whoever gives you a model file is trusted beyond these checks, see docs/security.md.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from linknet_ros.errors import ModelError

_OUTPUTS = ('labels', 'confidence')


def check_contents(path: Path, model: Any) -> None:
    """Refuse operators that are not of ONNX, and weights in other files.

    :param path: where the model comes from, for messages.
    :param model: an onnx.ModelProto.
    :raises ModelError: naming the first problem.
    """
    from onnx import TensorProto

    for graph in (model.graph, *model.functions):
        for message in nodes_and_tensors(graph):
            if isinstance(message, TensorProto):
                if message.data_location == TensorProto.EXTERNAL or message.external_data:
                    raise ModelError(
                        f'{path} keeps the weight {message.name!r} in another file',
                        'export it as one file (torch.onnx.export: external_data=False), or join '
                        f"them: python -c \"import onnx; onnx.save(onnx.load('{path.name}'), "
                        "'joined.onnx')\"",
                    )
            elif message.domain not in ('', 'ai.onnx'):
                raise ModelError(
                    f'{path} uses {message.op_type!r} of {message.domain!r}',
                    'export it with standard ONNX operators only',
                )


def nodes_and_tensors(graph: Any) -> Iterator[Any]:
    """All nodes and weights of a graph or function, those of inner graphs too."""
    yield from getattr(graph, 'initializer', ())
    for sparse in getattr(graph, 'sparse_initializer', ()):
        yield from (sparse.values, sparse.indices)
    for node in graph.node:
        yield node
        for attribute in node.attribute:
            yield from (attribute.t, *attribute.tensors)
            for sparse in (attribute.sparse_tensor, *attribute.sparse_tensors):
                yield from (sparse.values, sparse.indices)
            for inner in (attribute.g, *attribute.graphs):
                yield from nodes_and_tensors(inner)


def check_interface(path: Path, graph: Any) -> None:
    """Check inputs and outputs: names, types, ranks.

    :param graph: an onnx.GraphProto.
    :raises ModelError: unless it takes `image`, uint8 (1, H, W, 3) with H and W both free or both
        fixed, and gives `labels` and `confidence`, uint8 (1, H, W).
    """
    from onnx import TensorProto

    weights = {tensor.name for tensor in graph.initializer}
    inputs = {value.name: value for value in graph.input if value.name not in weights}
    outputs = {value.name: value for value in graph.output}
    problems = []
    if set(inputs) != {'image'}:
        problems.append(f"inputs are {sorted(inputs)}, expected 'image'")
    if set(outputs) != set(_OUTPUTS):
        problems.append(f'outputs are {sorted(outputs)}, expected {sorted(_OUTPUTS)}')
    for value in (*inputs.values(), *outputs.values()):
        if value.type.tensor_type.elem_type != TensorProto.UINT8:
            problems.append(f'{value.name!r} is not uint8')
    if 'image' in inputs:
        shape = shape_of(inputs['image'])
        sides = shape[1:3]
        if (
            len(shape) != 4
            or shape[0] not in (1, '?')
            or shape[3] != 3
            or (sides != ['?', '?'] and '?' in sides)
            or 0 in sides
        ):
            problems.append(f'image has shape {shape}, expected [1, ?, ?, 3]')
    for value in outputs.values():
        if len(value.type.tensor_type.shape.dim) != 3:
            problems.append(f'{value.name!r} is not (1, H, W)')
    if problems:
        raise ModelError(
            f'{path} is not a model of this package: {"; ".join(problems)}',
            'make it with python -m training.export, or from a network of your own with ros2 run '
            'linknet_ros import_model',
        )


def shape_of(value: Any) -> list[int | str]:
    """Shape of an input or output, an onnx.ValueInfoProto; '?' for a side that is free."""
    return [
        dim.dim_value if dim.HasField('dim_value') else '?'
        for dim in value.type.tensor_type.shape.dim
    ]


def fixed_size_of(graph: Any) -> tuple[int, int] | None:
    """(width, height) that the `image` of a checked graph is fixed to; None where it is free."""
    image = next(value for value in graph.input if value.name == 'image')
    _, height, width, _ = shape_of(image)
    return (width, height) if isinstance(width, int) and isinstance(height, int) else None
