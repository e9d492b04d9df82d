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
        for message in _nodes_and_tensors(graph):
            if isinstance(message, TensorProto):
                if message.data_location == TensorProto.EXTERNAL or message.external_data:
                    raise ModelError(
                        f'{path} keeps the weight {message.name!r} in another file',
                        'export it as one file',
                    )
            elif message.domain not in ('', 'ai.onnx'):
                raise ModelError(
                    f'{path} uses {message.op_type!r} of {message.domain!r}',
                    'export it with standard ONNX operators only',
                )


def _nodes_and_tensors(graph: Any) -> Iterator[Any]:
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
                yield from _nodes_and_tensors(inner)


def check_interface(path: Path, graph: Any) -> None:
    """Check inputs and outputs: names, types, ranks.

    :param graph: an onnx.GraphProto.
    :raises ModelError: unless it takes `image`, uint8 (1, H, W, 3) with H and W free, and gives
        `labels` and `confidence`, uint8 (1, H, W).
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
        shape = [
            dim.dim_value if dim.HasField('dim_value') else '?'
            for dim in inputs['image'].type.tensor_type.shape.dim
        ]
        if shape not in ([1, '?', '?', 3], ['?', '?', '?', 3]):
            problems.append(f'image has shape {shape}, expected [1, ?, ?, 3]')
    for value in outputs.values():
        if len(value.type.tensor_type.shape.dim) != 3:
            problems.append(f'{value.name!r} is not (1, H, W)')
    if problems:
        raise ModelError(
            f'{path} is not a model of this package: {"; ".join(problems)}',
            'make it with python -m training.export',
        )
