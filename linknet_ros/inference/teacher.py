"""Networks of others that OpenVINO reads, from a teacher file (YAML) that says what they mean.

docs/train.md has an example and every key.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from linknet_ros.classes import UNLABELED, ClassTable
from linknet_ros.errors import BackendError, LinknetError, SourceError, first_line
from linknet_ros.limits import MAX_MODEL_BYTES
from linknet_ros.system.bounded_file import read_file

#: What a teacher file may have.
_KEYS = {'models', 'size', 'channels', 'mean', 'std', 'softmax', 'labels'}


@dataclass(frozen=True)
class TeacherLabel:
    """An id that a teacher gives.

    :param id: value in its labels.
    :param outputs: channels of the networks that mean it; their probabilities are added.
    :param above: smallest probability that is trusted where it becomes a label.
    :param means: the class of that name, any of several, or {'not': ...}; None: nobody says.
    """

    id: int
    outputs: tuple[int, ...]
    above: float
    means: Any = None


@dataclass(frozen=True)
class TeacherFile:
    """What a teacher file says.

    :param path: of the file.
    :param models: networks whose probabilities are averaged.
    :param size: (width, height) in pixels of what they get.
    :param rgb: whether they get red, green and blue in this order.
    :param mean: that is subtracted of each channel, `std` what it is then divided by.
    :param softmax: whether they give logits.
    """

    path: Path
    models: tuple[Path, ...]
    size: tuple[int, int]
    rgb: bool
    mean: tuple[float, ...]
    std: tuple[float, ...]
    softmax: bool
    labels: tuple[TeacherLabel, ...]


def read_teacher_file(path: Path) -> TeacherFile:
    """Read a teacher file; none of its networks is opened.

    :param path: of the file (.yaml), or of an OpenVINO file (.xml) with one of the same name
        beside it.
    :raises SourceError: when it cannot be read or says something that no teacher can be.
    """
    if path.suffix == '.xml':
        path = path.with_suffix('.yaml')
        if not path.is_file():
            raise SourceError(
                f'nothing says what the outputs of {path.with_suffix(".xml")} mean',
                f'write {path.name} beside it, see docs/your-model.md',
            )
    if path.suffix not in ('.yaml', '.yml'):
        raise SourceError(
            f'{path} is not a teacher',
            'give a model file (.onnx), a teacher file (.yaml) or an .xml',
        )
    said = _read(path)
    try:
        file = TeacherFile(
            path,
            tuple(path.parent / model for model in _models(path, said)),
            (int(said['size'][0]), int(said['size'][1])),
            {'bgr': False, 'rgb': True}[said.get('channels', 'rgb')],
            _three(path, said, 'mean', 0),
            _three(path, said, 'std', 1),
            bool(said.get('softmax', False)),
            tuple(_label(id_, value) for id_, value in said['labels'].items()),
        )
    except (KeyError, TypeError, ValueError, IndexError, AttributeError) as error:
        raise SourceError(
            f'{path} is not a teacher file ({error!r})', 'see docs/train.md'
        ) from error
    for model in file.models:
        if not model.is_file():
            raise SourceError(f'{path} names the model {model}, which does not exist')
    return file


class Teacher:
    """Networks whose mean probability labels a frame.

    :param path: teacher file, as read_teacher_file takes it.
    :raises SourceError: when it cannot be read or says something that no teacher can be.
    :raises BackendError: when OpenVINO is missing or cannot read a network.
    """

    def __init__(self, path: Path) -> None:
        self.file = file = read_teacher_file(path)
        self.size = file.size
        self.labels = file.labels
        self._mean, self._std = (np.array(values, np.float32) for values in (file.mean, file.std))
        try:
            from linknet_ros.inference.openvino_core import float_options, openvino_core
        except ImportError as error:
            raise BackendError(
                f'a teacher needs OpenVINO ({error})', 'pip install openvino'
            ) from error
        # Trusted from a threshold on: half precision would move pixels across it.
        options = float_options()
        core = openvino_core()
        self._networks = []
        for model in file.models:
            try:
                network = core.read_model(model)
                network.reshape([1, 3, self.size[1], self.size[0]])
                self._networks.append(core.compile_model(network, 'CPU', options))
            except RuntimeError as error:
                raise BackendError(
                    f'OpenVINO cannot take {model} at {self.size[0]}x{self.size[1]} '
                    f'({first_line(error)})',
                    f'correct size in {file.path}',
                ) from error

    def probabilities(self, frame: NDArray[np.uint8]) -> NDArray[np.float32]:
        """What the networks give for a frame, on average, at their own size.

        :param frame: (H, W, 3) uint8 BGR.
        :returns: (channels, h, w) float32.
        :raises SourceError: see check_probabilities.
        """
        width, height = self.size
        # Averages to shrink, and does not mix pixels that are far apart to enlarge.
        shrinks = width <= frame.shape[1] and height <= frame.shape[0]
        how = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
        small = cv2.resize(frame, self.size, interpolation=how).astype(np.float32)
        if self.file.rgb:
            small = small[..., ::-1]
        image = ((small - self._mean) / self._std).transpose(2, 0, 1)[None]
        scores = [np.asarray(network(image)[0][0]) for network in self._networks]
        if self.file.softmax:
            scores = [softmax(score) for score in scores]
        result: NDArray[np.float32] = np.mean(scores, axis=0)
        most = max((output for label in self.labels for output in label.outputs), default=-1)
        check_probabilities(result, most, self.file.path.name)
        return result

    def label(self, frame: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Ids (H, W) uint8 of a frame (H, W, 3) uint8 BGR; 255 where no label is sure enough.

        :raises SourceError: see check_probabilities.
        """
        mean = self.probabilities(frame)
        height, width = frame.shape[:2]
        ids = np.full((height, width), UNLABELED, np.uint8)
        best = np.zeros((height, width), np.float32)
        for label in self.labels:
            probability = cv2.resize(
                mean[list(label.outputs)].sum(0), (width, height), interpolation=cv2.INTER_LINEAR
            )
            chosen = (probability >= label.above) & (probability > best)
            ids[chosen] = label.id
            best[chosen] = probability[chosen]
        return ids


def _models(path: Path, said: dict[str, Any]) -> list[str]:
    models = said['models']
    if not (isinstance(models, list) and models and all(isinstance(m, str) for m in models)):
        raise SourceError(
            f'{path}: models is {models}, not a list of files', 'write models: [FILE.xml]'
        )
    return models


def _three(path: Path, said: dict[str, Any], key: str, usual: float) -> tuple[float, ...]:
    values = said.get(key, [usual] * 3)
    try:
        if len(values) == 3 and not isinstance(values, str):
            return tuple(map(float, values))
    except (TypeError, ValueError):
        pass
    raise SourceError(
        f'{path}: {key} is {values}, not three numbers', f'write {key}: {[usual] * 3}'
    )


def _label(id_: Any, value: Any) -> TeacherLabel:
    if not 0 <= int(id_) < UNLABELED:
        raise ValueError(f'id {id_}')
    outputs = tuple(map(int, value['outputs']))
    if not outputs or min(outputs) < 0:
        raise ValueError(f'id {id_} has the outputs {list(outputs)}')
    return TeacherLabel(int(id_), outputs, float(value.get('above', 0)), value.get('means'))


def _read(path: Path) -> dict[str, Any]:
    import yaml

    try:
        said = yaml.safe_load(read_file(path, MAX_MODEL_BYTES))
    except OSError as error:
        raise SourceError(f'cannot read {path}: {error.strerror}') from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise SourceError(f'{path} is not YAML: {" ".join(str(error).split())}') from error
    if not isinstance(said, dict):
        raise SourceError(f'{path} is not a teacher file', 'see docs/train.md')
    unknown = [str(key) for key in said if key not in _KEYS]
    if unknown:
        raise SourceError(
            f'{path} has the unknown key {", ".join(unknown)}', f'use {", ".join(sorted(_KEYS))}'
        )
    return said


def check_probabilities(values: NDArray[np.float32], most: int, name: str) -> None:
    """Refuse what a network gives if it cannot be what is said of it.

    :param values: (channels, h, w).
    :param most: the highest channel that is spoken of.
    :param name: of the file that does, for the message.
    :raises SourceError: when that channel is missing, or these are no probabilities.
    """
    if most >= len(values):
        raise SourceError(
            f'{name} speaks of output {most}, but the network has {len(values)}, from 0'
        )
    if not (values.min() > -0.01 and values.max() < 1.01):
        raise SourceError(
            f'{name} gives {values.min():.3g} to {values.max():.3g}, which are no probabilities',
            'add softmax: true to the teacher file',
        )


def softmax(scores: NDArray[Any]) -> NDArray[Any]:
    """Probabilities of logits along the first axis."""
    exponent = np.exp(scores - scores.max(0))
    result: NDArray[Any] = exponent / exponent.sum(0)
    return result


def allowed_names(meaning: Any, classes: ClassTable) -> list[str]:
    """Names of the classes that a label may stand for.

    :param meaning: a name, a list of names, {'not': name or names}, or 'void' for all.
    :param classes: those that there are.
    :raises LinknetError: for an unknown class behind 'not'; other names are not looked at.
    """
    if meaning == 'void':
        return list(classes.names)
    if isinstance(meaning, dict) and meaning.keys() == {'not'}:
        others = meaning['not']
        others = [others] if isinstance(others, str) else list(others)
        classes.ids(others)
        return [name for name in classes.names if name not in others]
    return [meaning] if isinstance(meaning, str) else list(meaning)


def meant_ids(meaning: Any, classes: ClassTable, where: str) -> frozenset[int]:
    """Ids of the classes that a label may stand for, see allowed_names.

    :param where: it says so, for messages.
    :raises SourceError: for what names no class, or an unknown one.
    """
    try:
        allowed = frozenset(classes.ids(allowed_names(meaning, classes)))
    except (LinknetError, TypeError) as error:
        raise SourceError(f'{where} means {meaning}: {error}') from error
    if not allowed:
        raise SourceError(f'{where} means no class', 'name at least one, or void')
    return allowed
