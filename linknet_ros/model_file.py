"""The model file: an ONNX graph that describes itself.

The graph takes `image`, uint8 (1, H, W, 3) BGR with H and W multiples of 32, and gives `labels`
and `confidence`, both uint8 (1, H, W). Class names, colours and all else that a node must know
are in the file's metadata, so nothing about a model is written down a second time.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import onnx
from google.protobuf.message import DecodeError
from onnx import TensorProto, numpy_helper

from linknet_ros.classes import ClassTable
from linknet_ros.errors import ClassNameError, ModelError

#: Version of the metadata layout that this package writes and reads.
FORMAT_VERSION = 1

#: Height and width that the graph accepts are multiples of this.
STRIDE = 32

#: A file larger than this is refused before it is read; LinkNet has 23 MB.
MAX_BYTES = 512 * 1024 * 1024

_OUTPUTS = ('labels', 'confidence')


@dataclass(frozen=True)
class ModelFile:
    """What a model file says of itself.

    :param path: where it was read from.
    :param classes: class table; a class id in `labels` is an index into it.
    :param architecture: the network, as 'LinkNet (ResNet-18)'.
    :param dataset: what it was trained on, as 'CamVid'.
    :param label_set: which of the data set's label sets.
    :param default_size: (width, height) in pixels of the frames it was made for.
    :param accuracy: measured figures by name, as {'val_miou': 0.65}.
    :param sha256: of the file, hexadecimal.
    """

    path: Path
    classes: ClassTable
    architecture: str
    dataset: str
    label_set: str
    default_size: tuple[int, int]
    accuracy: Mapping[str, float]
    sha256: str

    @property
    def name(self) -> str:
        """File name, for messages."""
        return self.path.name

    def float32_graph(self) -> bytes:
        """The ONNX graph with float16 weights expanded to float32 initializers.

        The file keeps weights as float16, each behind a Cast, to be half the size. A back end
        gets them as plain float32, so that none of them has to fold a Cast on a weight.

        :raises ModelError: when the file has changed since it was read.
        """
        data = _read(self.path)
        if hashlib.sha256(data).hexdigest() != self.sha256:
            raise ModelError(f'{self.path} has changed since it was loaded; configure again')
        model = _parse(self.path, data)
        _expand_float16_weights(model.graph)
        serialized: bytes = model.SerializeToString()
        return serialized


def load_model_file(path: str | os.PathLike[str]) -> ModelFile:
    """Read and check a model file.

    :raises ModelError: when it is missing, damaged, or not a model of this package.
    """
    path = Path(path)
    data = _read(path)
    model = _parse(path, data)
    metadata = {entry.key: entry.value for entry in model.metadata_props}
    version = metadata.get('format_version')
    if version is None:
        raise ModelError(
            f'{path} is an ONNX file without the metadata of this package; '
            'make one with python -m training.export'
        )
    if version != str(FORMAT_VERSION):
        raise ModelError(
            f'{path} has format version {version}, this package reads {FORMAT_VERSION}; '
            'export it again or update the package'
        )
    _check_interface(path, model.graph)
    try:
        rows = json.loads(metadata['classes'])
        classes = ClassTable(
            names=tuple(row['name'] for row in rows),
            colors=tuple((int(r), int(g), int(b)) for r, g, b in (row['color'] for row in rows)),
            drivable=tuple(bool(row['drivable']) for row in rows),
        )
        width, height = (int(number) for number in metadata['default_size'].split('x'))
        accuracy = {str(k): float(v) for k, v in json.loads(metadata['accuracy']).items()}
        record = ModelFile(
            path=path,
            classes=classes,
            architecture=metadata['architecture'],
            dataset=metadata['dataset'],
            label_set=metadata['label_set'],
            default_size=(width, height),
            accuracy=MappingProxyType(accuracy),
            sha256=hashlib.sha256(data).hexdigest(),
        )
    except (
        AttributeError,  # accuracy is a list
        KeyError,
        OverflowError,  # a colour of Infinity
        RecursionError,  # brackets without end
        TypeError,
        ValueError,
        ClassNameError,
    ) as error:
        raise ModelError(
            f'{path} has damaged metadata ({type(error).__name__}: {error}); '
            'make it again with python -m training.export'
        ) from error
    if width < STRIDE or height < STRIDE:
        raise ModelError(f'{path} has a default size of {width}x{height}, at least 32x32 works')
    return record


def metadata_of(
    classes: ClassTable,
    *,
    architecture: str,
    dataset: str,
    label_set: str,
    default_size: tuple[int, int],
    accuracy: Mapping[str, float],
) -> dict[str, str]:
    """Metadata entries for the ONNX file, as load_model_file reads them."""
    rows = [
        {'name': name, 'color': list(color), 'drivable': drivable}
        for name, color, drivable in zip(
            classes.names, classes.colors, classes.drivable, strict=True
        )
    ]
    return {
        'format_version': str(FORMAT_VERSION),
        'architecture': architecture,
        'dataset': dataset,
        'label_set': label_set,
        'classes': json.dumps(rows),
        'default_size': '{}x{}'.format(*default_size),
        'accuracy': json.dumps(dict(accuracy)),
    }


def _read(path: Path) -> bytes:
    try:
        size = path.stat().st_size
        if size > MAX_BYTES:
            raise ModelError(
                f'{path} has {size} bytes, more than the {MAX_BYTES} that a model may have'
            )
        return path.read_bytes()
    except FileNotFoundError:
        raise ModelError(
            f"no model file '{path}'; check the model parameter, or train and export one"
        ) from None
    except OSError as error:
        raise ModelError(f"cannot read model file '{path}': {error.strerror}") from error


def _parse(path: Path, data: bytes) -> Any:
    if data.startswith(b'version https://git-lfs'):
        raise ModelError(f'{path} is a Git LFS pointer, not the model; run git lfs pull')
    try:
        model = onnx.load_model_from_string(data)
        onnx.checker.check_model(model)
    except (DecodeError, onnx.checker.ValidationError, ValueError) as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise ModelError(
            f'{path} is no readable ONNX file ({reason}); copy or export it again'
        ) from error
    return model


def _check_interface(path: Path, graph: Any) -> None:
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
            problems.append(f'{value.name} is not uint8')
    if problems:
        raise ModelError(
            f'{path} is not a model of this package: {"; ".join(problems)}; '
            'make it with python -m training.export'
        )


def _expand_float16_weights(graph: Any) -> None:
    half = {t.name: t for t in graph.initializer if t.data_type == TensorProto.FLOAT16}
    kept = []
    expanded = set()
    for node in graph.node:
        if node.op_type == 'Cast' and node.input[0] in half:
            values = numpy_helper.to_array(half[node.input[0]]).astype(np.float32)
            graph.initializer.append(numpy_helper.from_array(values, node.output[0]))
            expanded.add(node.input[0])
        else:
            kept.append(node)
    rest = [t for t in graph.initializer if t.name not in expanded]
    del graph.node[:], graph.initializer[:]
    graph.node.extend(kept)
    graph.initializer.extend(rest)
