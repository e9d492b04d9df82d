"""The model file: an ONNX graph that describes itself.

The graph takes `image`, uint8 (1, H, W, 3) BGR, and gives `labels` and `confidence`, both uint8
(1, H, W). H and W are multiples of the stride that the metadata says, or fixed by the graph. Class
names, colours and all else that a node must know are in the metadata too, so nothing about a
model is written down a second time.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from linknet_ros.classes import ClassTable
from linknet_ros.errors import BackendError, ClassNameError, ModelError, ParameterError
from linknet_ros.inference.onnx_checks import check_interface, fixed_size_of
from linknet_ros.inference.onnx_graph import expand_float16_weights, parse_onnx
from linknet_ros.inference.scene_model import SceneModel
from linknet_ros.limits import MAX_MODEL_BYTES
from linknet_ros.system.bounded_file import read_file
from linknet_ros.system.package_files import SHIPPED_INT8_MODEL

#: Version of the metadata layout that this package writes and reads.
FORMAT_VERSION = 1

#: Height and width that a graph accepts are multiples of this, unless its metadata says another.
STRIDE = 32

#: Largest stride that a file may say.
MAX_STRIDE = 512

#: Characters of a metadata entry that goes into logs and diagnostics, e.g. the architecture.
MAX_TEXT = 256

#: Longest side of the frames that a model may be made for, pixels.
MAX_SIDE = 8192

#: Arithmetics that a file can be made for: float32 (weights kept as float16), float16, or int8
#: convolutions between QuantizeLinear and DequantizeLinear nodes.
FILE_PRECISIONS = ('fp32', 'fp16', 'int8')


@dataclass(frozen=True)
class ModelFile:
    """A model file in memory, and what it says of itself; read once, then passed on.

    :param path: where it was read from.
    :param classes: class table; a class id in `labels` is an index into it.
    :param architecture: the network, e.g. 'LinkNet (ResNet-18)'.
    :param dataset: what it was trained on, e.g. 'CamVid'.
    :param label_set: which of the data set's label sets.
    :param default_size: (width, height) in pixels of the frames it was made for.
    :param accuracy: measured figures by name, e.g. {'val_miou': 0.65}; of this very file.
    :param sha256: of the file, hexadecimal.
    :param precision: one of FILE_PRECISIONS, the arithmetic that the graph is made for.
    :param int8_twin: name of the file in the same folder that has the network in int8; empty for
        none.
    :param quantized_from: sha256 of the fp32 file that an int8 file was made from, where it says
        so; else empty.
    :param scene: what is usual of frames that it is made for, see SceneModel.
    :param data: the bytes of the file.
    :param stride: sides of the image are multiples of it [pixels].
    :param fixed_size: the only (width, height) that the graph takes; None where it is free.
    """

    path: Path
    classes: ClassTable
    architecture: str
    dataset: str
    label_set: str
    default_size: tuple[int, int]
    accuracy: Mapping[str, float]
    sha256: str
    precision: str
    int8_twin: str
    quantized_from: str
    scene: SceneModel
    data: bytes = field(repr=False, compare=False)
    stride: int = STRIDE
    fixed_size: tuple[int, int] | None = None

    @property
    def name(self) -> str:
        """File name, for messages."""
        return self.path.name

    @property
    def steps(self) -> tuple[int, int]:
        """The width and the height of the image are multiples of these; for fit_frame."""
        return self.fixed_size or (self.stride, self.stride)

    def network_size(self, asked: tuple[int, int] = (0, 0)) -> tuple[int, int]:
        """The (width, height) in pixels that frames are fitted into.

        :param asked: by the user; a 0 stands for the file's own.
        :raises ParameterError: when it is too small, or not the one size that the network takes.
        """
        width, height = (n or d for n, d in zip(asked, self.default_size, strict=True))
        if self.fixed_size and (width, height) != self.fixed_size:
            own = '{}x{}'.format(*self.fixed_size)
            raise ParameterError(
                f'network size {width}x{height} does not fit {self.name}, which takes {own} only',
                f'leave the network size at 0, or set it to {own}',
            )
        if min(width, height) < self.stride and not self.fixed_size:
            raise ParameterError(
                f'network size {width}x{height} is too small',
                f'use {self.stride}x{self.stride} or more',
            )
        return width, height

    def graph(self) -> bytes:
        """The ONNX graph as a back end takes it.

        An fp32 file keeps its weights as float16, each behind a Cast, to be half the size. A back
        end gets them as plain float32, so that none of them has to fold a Cast on a weight. The
        weights of an fp16 file stay float16, those of an int8 file int8 with their scales: there
        the types say what is to be computed.

        :raises ModelError: when a weight is damaged.
        """
        model = parse_onnx(self.path, self.data)
        expand_float16_weights(self.path, model.graph)
        serialized: bytes = model.SerializeToString()
        return serialized

    def check_precision(self, precision: str) -> None:
        """Refuse an arithmetic that the file is not made for: int8 files only run in int8.

        :param precision: one of PRECISIONS. An fp16 file may be run in fp32 or bf16: only its
            weights and constants are rounded then.
        :raises BackendError: for an int8 file that shall run in something else, or the reverse.
        """
        if self.precision == 'int8' and precision not in ('auto', 'int8'):
            raise BackendError(
                f'{self.path} is made for int8, not {precision}',
                'use precision auto or int8, or the fp32 file of the same network',
            )
        if self.precision != 'int8' and precision == 'int8':
            raise BackendError(
                f'{self.path} is made for {self.precision}, not int8',
                f'use {SHIPPED_INT8_MODEL} (taken where no model is named), or make one with '
                'quantize_model',
            )


def load_model(path: str | os.PathLike[str]) -> ModelFile:
    """Read and check a model file.

    :raises ModelError: when it is missing, damaged, or not a model of this package.
    """
    path = Path(path)
    data = _read(path)
    model = parse_onnx(path, data)
    metadata = _metadata(path, model)
    version = metadata.get('format_version')
    if version is None:
        raise ModelError(
            f'{path} is an ONNX file without the metadata of this package',
            'import it with ros2 run linknet_ros import_model',
        )
    if version != str(FORMAT_VERSION):
        raise ModelError(
            f'{path} has format version {version}, this package reads {FORMAT_VERSION}',
            'export it again or update the package',
        )
    check_interface(path, model.graph)
    fixed_size = fixed_size_of(model.graph)
    try:
        rows = json.loads(metadata['classes'])
        classes = ClassTable(
            names=tuple(str(row['name']) for row in rows),
            colors=tuple((int(r), int(g), int(b)) for r, g, b in (row['color'] for row in rows)),
            drivable=tuple(row['drivable'] is True for row in rows),
        )
        width, height = (int(number) for number in metadata['default_size'].split('x'))
        accuracy = {str(k): float(v) for k, v in json.loads(metadata['accuracy']).items()}
        if not all(map(math.isfinite, accuracy.values())):
            raise ValueError('accuracy must be finite numbers')
        # Files from before there was a choice do not say.
        precision = metadata.get('precision', 'fp32')
        twin = metadata.get('int8_twin', int8_twin_of(path) if precision != 'int8' else '')
        if twin != os.path.basename(twin):
            raise ValueError('int8_twin must be the name of a file in the same folder')
        stride = int(metadata.get('stride', STRIDE))
        if not 1 <= stride <= MAX_STRIDE:
            raise ValueError(f'stride must be 1 to {MAX_STRIDE}')
        if fixed_size not in (None, (width, height)):
            raise ValueError(f'default_size must be the fixed {fixed_size[0]}x{fixed_size[1]}')
        record = ModelFile(
            path=path,
            classes=classes,
            architecture=metadata['architecture'],
            dataset=metadata['dataset'],
            label_set=metadata['label_set'],
            default_size=(width, height),
            accuracy=accuracy,
            sha256=hashlib.sha256(data).hexdigest(),
            precision=precision,
            int8_twin=twin,
            quantized_from=metadata.get('quantized_from', ''),
            scene=SceneModel.of(metadata.get('scene_check', ''), len(classes)),
            data=data,
            stride=stride,
            fixed_size=fixed_size,
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
            f'{path} has damaged metadata ({type(error).__name__}: {error})',
            'make it again with python -m training.export or import_model',
        ) from error
    least = 1 if fixed_size else stride
    if min(width, height) < least or max(width, height) > MAX_SIDE:
        raise ModelError(
            f'{path} has a default size of {width}x{height}',
            f'export it with sides of {least} to {MAX_SIDE}',
        )
    if precision not in FILE_PRECISIONS:
        raise ModelError(
            f"{path} is made for precision '{precision}', this package knows "
            f'{", ".join(FILE_PRECISIONS)}',
            'update the package',
        )
    return record


def int8_twin_of(path: Path) -> str:
    """The usual name of a model file's int8 twin."""
    return f'{path.stem}_int8{path.suffix}'


def metadata_of(
    classes: ClassTable,
    *,
    architecture: str,
    dataset: str,
    label_set: str,
    default_size: tuple[int, int],
    accuracy: Mapping[str, float],
    precision: str = 'fp32',
    int8_twin: str = '',
    stride: int = STRIDE,
    scene: SceneModel | None = None,
) -> dict[str, str]:
    """Metadata entries for the ONNX file, as load_model reads them.

    :param precision: one of FILE_PRECISIONS; the others as in ModelFile.
    :param scene: None leaves it to what holds for pictures of anything.
    """
    rows = [
        {'name': name, 'color': list(color), 'drivable': drivable}
        for name, color, drivable in zip(
            classes.names, classes.colors, classes.drivable, strict=True
        )
    ]
    return {
        'format_version': str(FORMAT_VERSION),
        # Before entries that must be there: a file that was cut off does not lose it unnoticed.
        'precision': precision,
        'int8_twin': int8_twin,
        **({} if scene is None else {'scene_check': scene.text()}),
        'architecture': architecture,
        'dataset': dataset,
        'label_set': label_set,
        'classes': json.dumps(rows),
        'default_size': '{}x{}'.format(*default_size),
        **({'stride': str(stride)} if stride != STRIDE else {}),
        'accuracy': json.dumps(dict(accuracy)),
    }


def _metadata(path: Path, model: Any) -> dict[str, str]:
    """The file's metadata; what people get to see is fit for it."""
    metadata = {entry.key: entry.value for entry in model.metadata_props}
    for key in (
        *('format_version', 'architecture', 'dataset', 'label_set', 'default_size', 'int8_twin'),
    ):
        text = metadata.get(key, '')
        if len(text) > MAX_TEXT or not text.isprintable():
            raise ModelError(
                f'{path} has damaged metadata ({key} is not one line of at most {MAX_TEXT} '
                'characters)',
                'make it again with python -m training.export or import_model',
            )
    return metadata


def _read(path: Path) -> bytes:
    try:
        return read_file(path, MAX_MODEL_BYTES)
    except FileNotFoundError:
        raise ModelError(
            f"no model file '{path}'", 'check the model parameter, or train and export one'
        ) from None
    except OSError as error:
        raise ModelError(f"cannot read model file '{path}': {error.strerror}") from error
