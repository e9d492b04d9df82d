"""What an ONNX graph may contain: checked before a library or a back end allocates for it.

Operators are those on a list, not all but those on one: what is not needed for a network of
convolutions cannot surprise anybody. Control flow, functions, custom domains, random numbers and
whatever makes sizes from data are left out with that.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from linknet_ros.errors import ModelError

#: What training.export writes for all networks, normalisations, activations and precisions, and
#: what another network of convolutions may need beside it: arithmetic and pooling.
# fmt: off
OPERATORS = frozenset((
    'Abs', 'Add', 'And', 'ArgMax', 'AveragePool', 'BatchNormalization', 'Cast', 'Clip', 'Concat',
    'Constant', 'Conv', 'ConvTranspose', 'DepthToSpace', 'DequantizeLinear', 'Div', 'Elu',
    'Equal', 'Erf', 'Exp', 'Floor', 'Gather', 'Gelu', 'GlobalAveragePool', 'Greater',
    'GreaterOrEqual', 'HardSigmoid', 'HardSwish', 'Identity', 'InstanceNormalization',
    'LeakyRelu', 'Less', 'Log', 'MatMul', 'Max', 'MaxPool', 'Min', 'Mul', 'Neg', 'Not', 'Or',
    'PRelu', 'Pad', 'Pow', 'QuantizeLinear', 'Reciprocal', 'ReduceMax', 'ReduceMean', 'ReduceSum',
    'Relu', 'Reshape', 'Resize', 'Round', 'Shape', 'Sigmoid', 'Slice', 'Softmax', 'Split', 'Sqrt',
    'Squeeze', 'Sub', 'Tanh', 'TopK', 'Transpose', 'Unsqueeze', 'Where',
))
# fmt: on

#: Bytes of a value by TensorProto.DataType, and the field that has it where raw_data has not.
_TYPES = {
    1: (4, 'float_data'),  # FLOAT
    2: (1, 'int32_data'),  # UINT8
    3: (1, 'int32_data'),  # INT8
    6: (4, 'int32_data'),  # INT32
    7: (8, 'int64_data'),  # INT64
    9: (1, 'int32_data'),  # BOOL
    10: (2, 'int32_data'),  # FLOAT16
    11: (8, 'double_data'),  # DOUBLE
}

#: Characters of a name; PyTorch's longest here has 132.
_MAX_NAME = 1024


def check_contents(path: Path, model: Any) -> None:
    """Refuse operators, weights and names that no model of this package has.

    :param path: where the model comes from, for messages.
    :param model: an onnx.ModelProto; nothing in it is trusted.
    :raises ModelError: naming the first problem.
    """
    for problem in _problems(model):
        raise ModelError(f'{path} {problem}')


def _problems(model: Any) -> Iterator[str]:
    graph = model.graph
    if len(model.functions) or len(model.training_info):
        yield 'has functions or training steps in it; export it for inference, as plain operators'
    if len(graph.sparse_initializer):
        yield 'has sparse weights; export it with plain ones'
    for node in graph.node:
        if node.domain not in ('', 'ai.onnx'):
            yield (
                f'uses {shown(node.op_type)} of {shown(node.domain)}; '
                'export it with standard ONNX operators only'
            )
        if node.op_type not in OPERATORS:
            yield (
                f'uses the operator {shown(node.op_type)}, which a model here must not; '
                'make it with python -m training.export'
            )
        for attribute in node.attribute:
            if attribute.ref_attr_name or any(
                (
                    attribute.HasField('g') or attribute.HasField('tp'),
                    attribute.HasField('sparse_tensor'),
                    len(attribute.graphs) or len(attribute.tensors),
                    len(attribute.type_protos) or len(attribute.sparse_tensors),
                )
            ):
                yield (
                    f'has more than a value in attribute {shown(attribute.name)} of a '
                    f'{node.op_type}; export it as plain operators'
                )
        for name in (node.name, *node.input, *node.output):
            if not _is_name(name):
                yield f'has a name of no use ({shown(name)}); export it again'
    for tensor in tensors_of(graph):
        yield from _tensor_problems(tensor)


def _tensor_problems(tensor: Any) -> Iterator[str]:
    name = shown(tensor.name) if tensor.name else 'a constant'
    if not _is_name(tensor.name):
        yield f'has a name of no use ({name}); export it again'
    if tensor.data_location or len(tensor.external_data):
        yield 'keeps weights in other files; export it as one file'
    if tensor.data_type not in _TYPES or tensor.HasField('segment'):
        yield f'has weights of a type that is not read ({name}); export it as float or int8'
        return
    item, field = _TYPES[tensor.data_type]
    if len(tensor.dims) > 8 or any(dim < 0 for dim in tensor.dims):
        yield f'has a damaged shape of {name}; copy or export it again'
        return
    # In Python's integers, which do not overflow.
    values = math.prod(tensor.dims)
    raw = len(tensor.raw_data)
    held = raw // item if tensor.HasField('raw_data') else len(getattr(tensor, field))
    if values != held or raw % item:
        yield (
            f'is no readable ONNX file ({name} has {held} values, but its shape '
            f'{"x".join(map(str, tensor.dims)) or "of one"} needs {values}); '
            'copy or export it again'
        )


def tensors_of(graph: Any) -> Iterator[Any]:
    """Weights, and the constants in attributes."""
    yield from graph.initializer
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.HasField('t'):
                yield attribute.t


def _is_name(text: str) -> bool:
    return len(text) <= _MAX_NAME and (text.isprintable() or not text)


def shown(text: str) -> str:
    """Somebody else's text for a line of ours: short, without what moves a terminal's cursor."""
    text = ''.join(c if c.isprintable() else '?' for c in text[:200])
    return text if len(text) <= 120 else f'{text[:117]}...'
