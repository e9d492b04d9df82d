"""Builds the model file's graph around a network: bytes in, bytes out."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from linknet_ros.classes import UNLABELED
from linknet_ros.errors import ModelError, first_line
from linknet_ros.importing.interface import Head, Interface

#: Oldest opset whose operators mean what they mean here; older networks become OPSET.
_OLDEST_OPSET, OPSET = 13, 17

#: No score is that high; what is was infinite. float16 holds it.
_HIGHEST = 60000.0

#: Of the network's own names, so that they are not those of the model file.
_PREFIX = 'network/'


def wrap(
    path: Path,
    network: Any,
    interface: Interface,
    metadata: Mapping[str, str],
    *,
    classes: int,
    threshold: float = 0.5,
) -> Any:
    """The model file's graph around a network.

    :param path: where the network comes from, for messages.
    :param network: an onnx.ModelProto of one file and standard operators.
    :param metadata: from metadata_of.
    :param classes: number of classes; ids that are not below it become unlabelled.
    :param threshold: see ImportOptions.
    :returns: an onnx.ModelProto: `image`, uint8 (1, H, W, 3) BGR, to `labels` and `confidence`,
        uint8 (1, H, W). H and W are free or fixed as in `interface`.
    :raises ModelError: when the network's opset cannot be brought up to date.
    """
    from onnx import TensorProto, compose, helper

    network = compose.add_prefix(_in_known_opset(path, network), _PREFIX)
    inner = network.graph
    nodes = _Nodes()
    image = _prepared(nodes, inner, interface)
    before, nodes.made = nodes.made, []
    labels, confidence = _labels_and_confidence(
        nodes, _planes(nodes, interface), interface.head, classes, threshold
    )
    nodes.add('Cast', [labels], output='labels', to=TensorProto.UINT8)
    nodes.add(
        'Cast',
        [nodes.add('Round', [nodes.add('Mul', [confidence, nodes.constant(255.0)])])],
        output='confidence',
        to=TensorProto.UINT8,
    )
    for node in inner.node:
        for index, name in enumerate(node.input):
            if name == _PREFIX + interface.input:
                node.input[index] = image
    width, height = interface.fixed_size or ('width', 'height')
    graph = helper.make_graph(
        [*before, *inner.node, *nodes.made],
        inner.name or 'network',
        [helper.make_tensor_value_info('image', TensorProto.UINT8, (1, height, width, 3))],
        [
            helper.make_tensor_value_info(name, TensorProto.UINT8, (1, height, width))
            for name in ('labels', 'confidence')
        ],
        [*inner.initializer, *nodes.constants],
        sparse_initializer=inner.sparse_initializer,
    )
    opsets = [entry for entry in network.opset_import if entry.domain in ('', 'ai.onnx')]
    # The oldest that the opset allows: a runtime may be older than the exporter.
    version = max(8, helper.find_min_ir_version_for(opsets))
    model = helper.make_model(graph, opset_imports=opsets, ir_version=version)
    helper.set_model_props(model, dict(metadata))
    return model


class _Nodes:
    """Nodes and constants around the network, in the order of computation."""

    def __init__(self) -> None:
        self.made: list[Any] = []
        self.constants: list[Any] = []
        self._count = 0

    def add(self, operator: str, inputs: list[str], *, output: str = '', **attributes: Any) -> str:
        """Add a node of one output, whose name is returned."""
        from onnx import helper

        output = output or self._name(operator)
        self.made.append(helper.make_node(operator, inputs, [output], output, **attributes))
        return output

    def top(self, x: str) -> tuple[str, str]:
        """Highest value along axis 1 and its index, as float."""
        from onnx import TensorProto, helper

        value, index = self._name('highest'), self._name('index')
        one = self.constant(np.array([1], np.int64))
        self.made.append(helper.make_node('TopK', [x, one], [value, index], value, axis=1))
        # TensorRT writes uint8 from float only.
        return value, self.add('Cast', [index], to=TensorProto.FLOAT)

    def constant(self, value: Any) -> str:
        """A constant; a float is float32."""
        from onnx import numpy_helper

        name = self._name('constant')
        array = np.asarray(value, np.float32 if isinstance(value, float) else None)
        self.constants.append(numpy_helper.from_array(array, name))
        return name

    def _name(self, what: str) -> str:
        self._count += 1
        return f'linknet_ros/{what}_{self._count}'


def _in_known_opset(path: Path, network: Any) -> Any:
    from onnx import version_converter

    opset = next(o.version for o in network.opset_import if o.domain in ('', 'ai.onnx'))
    if opset >= _OLDEST_OPSET:
        return network
    try:
        return version_converter.convert_version(network, OPSET)
    except Exception as error:  # of its C++ part, without a type of its own
        raise ModelError(
            f'{path} has opset {opset}, which cannot be raised to {OPSET} ({first_line(error)})',
            f'export it with opset {OPSET}',
        ) from error


def _prepared(nodes: _Nodes, inner: Any, interface: Interface) -> str:
    """The image as the network takes it."""
    from onnx import TensorProto

    # The Cast must be the only reader of the uint8 input (TensorRT).
    x = nodes.add('Cast', ['image'], to=TensorProto.FLOAT)
    normalization = interface.normalization
    channels, shape = 3, (1, 1, 1, 3)
    if interface.layout == 'NCHW':
        x = nodes.add('Transpose', [x], perm=[0, 3, 1, 2])
        channels, shape = 1, (1, 3, 1, 1)
    if normalization.order == 'rgb':
        turned = nodes.constant(np.array([2, 1, 0], np.int64))
        x = nodes.add('Gather', [x, turned], axis=channels)
    mean = np.array(normalization.mean, np.float64).reshape(shape) * 255
    scale = 1 / (np.array(normalization.std, np.float64).reshape(shape) * 255)
    if mean.any():
        x = nodes.add('Sub', [x, nodes.constant(mean.astype(np.float32))])
    if not np.allclose(scale, 1, rtol=0, atol=1e-12):
        x = nodes.add('Mul', [x, nodes.constant(scale.astype(np.float32))])
    if interface.type == TensorProto.FLOAT:
        return x
    readers = {n.op_type for n in inner.node if _PREFIX + interface.input in n.input}
    if interface.type == TensorProto.UINT8 and readers == {'Cast'}:
        # Whole numbers either way, and TensorRT computes nothing else with uint8.
        return x
    return nodes.add('Cast', [x], to=interface.type)


def _planes(nodes: _Nodes, interface: Interface) -> str:
    """The head as float32 (1, channels, H, W), of the image's size."""
    from onnx import TensorProto

    head = interface.head
    x = nodes.add('Cast', [_PREFIX + head.output], to=TensorProto.FLOAT)
    if head.layout == 'NHWC':
        x = nodes.add('Transpose', [x], perm=[0, 3, 1, 2])
    elif head.layout == 'NHW':
        x = nodes.add('Unsqueeze', [x, nodes.constant(np.array([1], np.int64))])
    if head.shrink == (1, 1):
        return x
    how: dict[str, Any] = {'mode': 'linear', 'coordinate_transformation_mode': 'half_pixel'}
    if head.kind == 'ids':
        how |= {'mode': 'nearest', 'nearest_mode': 'round_prefer_floor'}
    if interface.fixed_size:
        width, height = interface.fixed_size
        sizes = nodes.constant(np.array([1, head.channels, height, width], np.int64))
        return nodes.add('Resize', [x, '', '', sizes], **how)
    scales = nodes.constant(np.array([1, 1, *head.shrink], np.float32))
    return nodes.add('Resize', [x, '', scales], **how)


def _labels_and_confidence(
    nodes: _Nodes, x: str, head: Head, classes: int, threshold: float
) -> tuple[str, str]:
    """Class ids and the confidence of 0 to 1, both float32 (1, H, W).

    Where the network gives NaN, or an infinite score, the confidence is 0: no class.
    """
    from onnx import TensorProto

    def squeezed(name: str) -> str:
        return nodes.add('Squeeze', [name, nodes.constant(np.array([1], np.int64))])

    if head.kind == 'ids':
        low = nodes.add('Less', [nodes.constant(-0.5), x])
        known = nodes.add('And', [low, nodes.add('Less', [x, nodes.constant(classes - 0.5)])])
        one, zero = nodes.constant(1.0), nodes.constant(0.0)
        labels = nodes.add('Where', [known, x, nodes.constant(float(UNLABELED))])
        return squeezed(labels), squeezed(nodes.add('Where', [known, one, zero]))
    if head.channels == 1:
        share = x if head.kind == 'probabilities' else nodes.add('Sigmoid', [x])
        is_one = nodes.add('Greater', [share, nodes.constant(threshold)])
        other = nodes.add('Sub', [nodes.constant(1.0), share])
        confidence = nodes.add('Where', [is_one, share, other])
        labels = nodes.add('Cast', [is_one], to=TensorProto.FLOAT)
        size = nodes.add('Abs', [x])
    else:
        share = x if head.kind == 'probabilities' else nodes.add('Softmax', [x], axis=1)
        confidence, labels = nodes.top(share)
        # A softmax is NaN for all classes if one score is. What is not made by one may be NaN for
        # one class only, which a TopK may pass over.
        size = confidence
        if head.kind == 'probabilities':
            size = nodes.add('ReduceSum', [x, nodes.constant(np.array([1], np.int64))])
    # NaN is not less than anything.
    known = nodes.add('Less', [size, nodes.constant(_HIGHEST)])
    confidence = nodes.add('Where', [known, confidence, nodes.constant(0.0)])
    return squeezed(labels), squeezed(confidence)
