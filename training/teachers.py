"""What other networks say of frames, to be learnt besides the labels or in place of them.

Knowledge distillation (Hinton et al., "Distilling the Knowledge in a Neural Network", arXiv
1503.02531): the student learns how probable its teachers find each class. A teacher is what it is
everywhere here: a model file, or a teacher file. Its classes need not be the student's: each
stands for one of them, for any of several, or for nothing.

What a teacher says of a frame is kept on disk, at a quarter of the frame's size, for all of its
own channels: other maps, temperatures and weights need no second look.
"""

from __future__ import annotations

import os
import struct
import zlib
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from typing import Any, Protocol
from uuid import uuid4

import cv2
import numpy as np
import yaml
from numpy.typing import NDArray
from tqdm import tqdm

from linknet_ros.classes import ClassTable
from linknet_ros.errors import BackendError, SourceError, first_line
from linknet_ros.inference.fitting import FrameFitter, fit_frame
from linknet_ros.inference.model_file import ModelFile, load_model
from linknet_ros.inference.onnx_graph import parse_onnx
from linknet_ros.inference.teacher import (
    Teacher,
    TeacherFile,
    check_probabilities,
    meant_ids,
    read_teacher_file,
    softmax,
)
from training.processes import Processes
from training.samples import Source

#: Sides of the squares of pixels that one answer is kept and learnt for.
CELL = 4

#: Share of a teacher's probability that must have a meaning here, or it says nothing of a place.
_LEAST = 0.5

#: Raise it when the same teacher and frame would give another answer than before.
_VERSION = 1

#: Of -ln p, whose root is kept in a byte: so probabilities are within 0.008, and small ones, which
#: a temperature raises, within a twentieth of their value down to e^-8.
_LONGEST = 20.0
_DECODED = np.exp(-_LONGEST * (np.arange(256) / 255) ** 2).astype(np.float32)
_DECODED[255] = 0

_HEADER = struct.Struct('<3H')


class Network(Protocol):
    """Gives the probabilities of a teacher's own channels."""

    def probabilities(self, frame: NDArray[np.uint8]) -> NDArray[np.float32]:
        """(channels, h, w) float32 of a whole frame (H, W, 3) uint8 BGR, at a size of its own."""


class ModelTeacher:
    """The probabilities inside of a model file, of which its outputs are the highest.

    Where a graph has none, what the confidence leaves of 1 is not said of any class; of two
    classes, it is the other one's.

    :raises BackendError: when OpenVINO is missing or cannot read it.
    """

    def __init__(self, model: ModelFile) -> None:
        try:
            from linknet_ros.inference.openvino_core import float_options, openvino_core
        except ImportError as error:
            raise BackendError(
                f'a teacher needs OpenVINO ({error})', 'pip install openvino'
            ) from error
        self._model = model
        self._core, self._options = openvino_core(), float_options()
        self._scores = _scores_of(model)
        self._compiled: dict[tuple[int, int], Any] = {}
        self._fitters: dict[tuple[int, int], FrameFitter] = {}

    def probabilities(self, frame: NDArray[np.uint8]) -> NDArray[np.float32]:
        """See Network; fitted in as on the robot."""
        height, width = frame.shape[:2]
        if (width, height) not in self._fitters:
            model = self._model
            fit = fit_frame(width, height, *model.network_size(), model.steps)
            self._fitters[width, height] = FrameFitter(fit)
        fitter = self._fitters[width, height]
        image = fitter.to_network(frame)
        result = self._open(image.shape[0], image.shape[1])(image[None])
        if self._scores is None:
            share = self._shares(np.asarray(result['labels'][0]), result['confidence'][0])
        else:
            scores = np.asarray(result[self._scores.name], np.float32)
            share = self._scores.probabilities(scores)
        check_probabilities(share, len(self._model.classes) - 1, self._model.path.name)
        columns, rows = fitter.fit.upright_size
        return share[:, :rows, :columns]

    def _shares(
        self, labels: NDArray[np.uint8], confidence: NDArray[np.uint8]
    ) -> NDArray[np.float32]:
        classes = len(self._model.classes)
        sure = confidence.astype(np.float32) / 255
        rest = (1 - sure) if classes == 2 else np.zeros_like(sure)
        return np.stack([np.where(labels == c, sure, rest) for c in range(classes)])

    def _open(self, height: int, width: int) -> Any:
        if (height, width) not in self._compiled:
            try:
                network = self._core.read_model(self._model.graph())
                if self._scores is not None:
                    network.add_outputs(self._scores.name)
                network.reshape({'image': [1, height, width, 3]})
                self._compiled[height, width] = self._core.compile_model(
                    network, 'CPU', self._options
                )
            except RuntimeError as error:
                raise BackendError(
                    f'OpenVINO cannot load {self._model.path}: {first_line(error)}'
                ) from error
        return self._compiled[height, width]


#: Operators that leave values as they are, and those that give probabilities.
_MOVING = ('Cast', 'Identity', 'Reshape', 'Resize', 'Squeeze', 'Transpose', 'Unsqueeze')
_SHARING = ('Clip', 'HardSigmoid', 'Sigmoid', 'Softmax')


@dataclass(frozen=True)
class _Scores:
    """What a graph takes the highest of.

    :param name: of the tensor.
    :param axis: that of the classes.
    :param logits: whether a softmax is still to be taken.
    """

    name: str
    axis: int
    logits: bool

    def probabilities(self, scores: NDArray[np.float32]) -> NDArray[np.float32]:
        """(classes, h, w) of the tensor's value."""
        scores = np.moveaxis(scores, self.axis, 1)[0]
        if self.logits:
            return np.asarray(softmax(scores), np.float32)
        result: NDArray[np.float32] = scores / np.maximum(scores.sum(0), 1e-6)
        return result


def _scores_of(model: ModelFile) -> _Scores | None:
    """What a model file's graph takes the highest of; None where that cannot be told."""
    graph = parse_onnx(model.path, model.graph()).graph
    writers = {name: node for node in graph.node for name in node.output}

    def writer(name: str) -> Any:
        while name in writers and writers[name].op_type in _MOVING:
            name = writers[name].input[0]
        return writers.get(name)

    top = writer('labels')
    if top is None or top.op_type not in ('TopK', 'ArgMax'):
        return None
    axes = [attribute.i for attribute in top.attribute if attribute.name == 'axis']
    source = writer(top.input[0])
    return _Scores(
        top.input[0],
        axes[0] if axes else {'TopK': -1, 'ArgMax': 0}[top.op_type],
        source is None or source.op_type not in _SHARING,
    )


@dataclass(frozen=True)
class Statement:
    """What one plane of the answers says: one of these classes, among those that are known.

    :param allowed: ids of the student's classes, any of which is right.
    :param known: ids of all classes that whoever says it can tell; it says nothing of others.
    """

    allowed: frozenset[int]
    known: frozenset[int]


class OneTeacher:
    """A teacher, what its channels mean for the student, and where its answers are kept.

    :param path: model file (.onnx), teacher file (.yaml), or OpenVINO file (.xml) with a teacher
        file beside it.
    :param classes: the student's.
    :param renamed: what a class of a model file means, by its name, as `means` in a teacher file.
    :param folder: for the answers of all teachers.
    :raises LinknetError: when it cannot be read, or means nothing from which one could learn.
    """

    def __init__(
        self, path: Path, classes: ClassTable, renamed: Mapping[str, Any], folder: Path
    ) -> None:
        self._file: ModelFile | TeacherFile
        #: Of its classes, where it is a model file.
        self.names: tuple[str, ...]
        own: list[tuple[str, tuple[int, ...], Any]]
        if path.suffix == '.onnx':
            self._file = model = load_model(path)
            self.names = model.classes.names
            own = [(name, (i,), renamed.get(name, name)) for i, name in enumerate(self.names)]
            unknown = {n for n, _, m in own if m == n and n not in classes.names}
            key = model.sha256.encode()
        else:
            self._file = file = read_teacher_file(path)
            self.names = ()
            own = [(f'id {label.id}', label.outputs, label.means) for label in file.labels]
            unknown = {n for n, _, means in own if means is None}
            key = _key_of(file)
        self.name = self._file.path.name
        #: Classes of its own that mean nothing here.
        self.left_out = [n for n, _, means in own if n in unknown or means == 'void']
        planes: dict[frozenset[int], list[int]] = {}
        for name, outputs, means in own:
            if name not in unknown:
                meant = meant_ids(means, classes, f'{path}: {name}')
                planes.setdefault(meant, []).extend(outputs)
        planes.pop(frozenset(range(len(classes))), None)
        if len(planes) < 2:
            raise SourceError(
                f'{path} says too little of the classes {", ".join(classes.names)} to learn from',
                _way_out(self._file, classes),
            )
        known = frozenset().union(*planes)
        self.statements = tuple(Statement(allowed, known) for allowed in planes)
        self._outputs = tuple(map(tuple, planes.values()))
        digest = blake2b(key + bytes([_VERSION, CELL]), digest_size=8).hexdigest()
        self._folder = folder / f'{self._file.path.stem}-{digest}'
        said = repr((digest, [sorted(s.allowed) for s in self.statements], self._outputs))
        #: Of the networks and what they mean; the same for a run that is continued.
        self.identity = f'{self.name} {blake2b(said.encode(), digest_size=8).hexdigest()}'
        self._network: Network | None = None

    def has(self, frame: NDArray[np.uint8]) -> bool:
        """Whether the answer to a frame is kept, in one piece."""
        return self._read(self._place(frame)) is not None

    def ask(self, frame: NDArray[np.uint8]) -> None:
        """Let the network look at a frame, and keep the answer.

        :raises LinknetError: when the network cannot be run, does not have the channels that are
            spoken of, or gives no probabilities; or when the answer cannot be kept.
        """
        if self._network is None:
            file = self._file
            self._network = (
                ModelTeacher(file) if isinstance(file, ModelFile) else Teacher(file.path)
            )
        share = self._network.probabilities(frame)
        height, width = (-(-side // CELL) for side in frame.shape[:2])
        shrinks = width <= share.shape[2] and height <= share.shape[1]
        how = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
        _write(
            self._place(frame), [cv2.resize(p, (width, height), interpolation=how) for p in share]
        )

    def close(self) -> None:
        """Let go of the network; kept answers are still there."""
        self._network = None

    def planes(self, frame: NDArray[np.uint8], temperature: float) -> NDArray[np.float32]:
        """What is said of a frame, a plane for each of `statements`.

        :returns: (statements, h, w); the sum over the planes is 1, or 0 where nothing is said.
        :raises SourceError: when its answer is not there any more.
        """
        path = self._place(frame)
        codes = self._read(path)
        if codes is None:
            raise SourceError(f'{path} is gone or damaged', 'start again with --resume')
        own = _DECODED[codes]
        share = np.stack([own[list(outputs)].sum(0) for outputs in self._outputs])
        meant = share.sum(0)
        says = meant >= _LEAST
        if temperature != 1:
            # What a softmax of logits that are divided by it would have given.
            share **= 1 / temperature
            meant = share.sum(0)
        result: NDArray[np.float32] = np.where(says, share / np.maximum(meant, 1e-12), 0)
        return result

    def _place(self, frame: NDArray[np.uint8]) -> Path:
        height, width = frame.shape[:2]
        seen = blake2b(
            np.ascontiguousarray(frame).data, digest_size=16, person=b'%dx%d' % (width, height)
        )
        return self._folder / f'{seen.hexdigest()}.answer'

    @staticmethod
    def _read(path: Path) -> NDArray[np.uint8] | None:
        try:
            data = path.read_bytes()
            shape = _HEADER.unpack_from(data)
            codes = np.frombuffer(zlib.decompress(data[_HEADER.size :]), np.uint8)
            return codes.reshape(shape)
        except (FileNotFoundError, zlib.error, struct.error, ValueError):
            return None


class Teachers:
    """All teachers of a run; see training.samples.Answers.

    Their mean counts, of those that say anything of a place.

    :param temperature: that the logits of teachers and student are divided by.
    """

    cell = CELL

    def __init__(self, teachers: Sequence[OneTeacher], temperature: float) -> None:
        self._teachers = tuple(teachers)
        self._temperature = temperature
        every = (statement for teacher in teachers for statement in teacher.statements)
        self.statements = tuple(dict.fromkeys(every))
        self._planes = [[self.statements.index(s) for s in t.statements] for t in teachers]

    @property
    def count(self) -> int:
        """Number of planes."""
        return len(self.statements)

    @property
    def identities(self) -> tuple[str, ...]:
        """Of all teachers, for the checkpoint."""
        return tuple(teacher.identity for teacher in self._teachers)

    @property
    def known(self) -> frozenset[int]:
        """Classes of the student that at least one teacher can tell."""
        return frozenset().union(*(statement.known for statement in self.statements))

    def about(self, classes: ClassTable) -> str:
        """Lines that say what is not learnt from whom.

        :param classes: the student's.
        """
        lines = [
            f'teacher {teacher.name}: {", ".join(teacher.left_out)} means nothing here'
            for teacher in self._teachers
            if teacher.left_out
        ]
        alone = [name for i, name in enumerate(classes.names) if i not in self.known]
        if alone:
            lines.append(f'no teacher knows {", ".join(alone)}')
        return '\n'.join(lines)

    def of(self, frame: NDArray[np.uint8]) -> NDArray[np.float32]:
        """See Answers."""
        height, width = (-(-side // CELL) for side in frame.shape[:2])
        total = np.zeros((self.count, height, width), np.float32)
        speaking = np.zeros((height, width), np.float32)
        for teacher, planes in zip(self._teachers, self._planes, strict=True):
            said = teacher.planes(frame, self._temperature)
            total[planes] += said
            speaking += said.any(0)
        total /= np.maximum(speaking, 1)
        return total

    def ask(self, sources: Sequence[Source], processes: Processes) -> None:
        """Let all teachers look at the frames that they have not seen, shared among processes."""
        frames = [
            (source, i) for source in sources if source.taught for i in range(len(source.frames))
        ]
        mine = frames[processes.rank :: processes.count]
        asked = 0
        for source, i in tqdm(
            mine, desc='ask the teachers', leave=False, disable=not processes.first or None
        ):
            frame = source.frames[i][0]
            for teacher in self._teachers:
                if not teacher.has(frame):
                    teacher.ask(frame)
                    asked += 1
        for teacher in self._teachers:
            teacher.close()
        processes.wait()
        if processes.first:
            kept = len(mine) * len(self._teachers) - asked
            print(f'{asked} answers of teachers are new, {kept} were kept')


def open_teachers(
    paths: Sequence[Path],
    classes: ClassTable,
    renamed: Mapping[str, Any],
    folder: Path,
    temperature: float,
) -> Teachers:
    """Open all teachers of a run.

    :param classes: the student's.
    :param renamed: see OneTeacher.
    :param folder: where their answers are kept.
    :raises LinknetError: see OneTeacher; also for a renamed class that no teacher has.
    """
    teachers = [OneTeacher(path, classes, renamed, folder) for path in paths]
    own = {name for teacher in teachers for name in teacher.names}
    for name in renamed:
        if name not in own:
            raise SourceError(
                f"no teacher that is a model file has the class '{name}' of --teacher-map",
                f'theirs are {", ".join(sorted(own))}' if own else 'use means in the teacher file',
            )
    return Teachers(teachers, temperature)


def read_map(texts: Sequence[str]) -> dict[str, Any]:
    """What classes of teachers mean.

    :param texts: each 'theirs=ours', 'theirs=ours,another', 'theirs=void', or the path of a YAML
        file with a mapping from their names to what `means` of a teacher file may say.
    :raises SourceError: for anything else.
    """
    result: dict[str, Any] = {}
    for text in texts:
        theirs, equals, ours = text.partition('=')
        if equals:
            names = [name.strip() for name in ours.split(',')]
            result[theirs.strip()] = names[0] if len(names) == 1 else names
            continue
        try:
            said = yaml.safe_load(Path(text).read_text('utf-8'))
        except OSError as error:
            raise SourceError(
                f'cannot read {text}: {error.strerror}',
                '--teacher-map is THEIRS=OURS or a YAML file of such pairs',
            ) from error
        except (yaml.YAMLError, UnicodeDecodeError) as error:
            raise SourceError(f'{text} is not YAML: {" ".join(str(error).split())}') from error
        if not isinstance(said, dict):
            raise SourceError(f'{text} is not a mapping', 'write lines such as terrain: tree')
        result |= {str(theirs): ours for theirs, ours in said.items()}
    return result


def _way_out(file: ModelFile | TeacherFile, classes: ClassTable) -> str:
    if isinstance(file, TeacherFile):
        return (
            f'add means: {classes.names[0]}, or means: {{not: {classes.names[0]}}}, to two labels '
            'or more'
        )
    first = next((n for n in file.classes.names if n not in classes.names), file.classes.names[0])
    return f'say what its own mean: --teacher-map "{first}={classes.names[0]}"'


def _key_of(file: TeacherFile) -> bytes:
    """Tells two teachers apart that may answer differently; what answers mean is no part of it."""
    digest = blake2b(repr((file.size, file.rgb, file.mean, file.std, file.softmax)).encode())
    for model in file.models:
        for path in (model, model.with_suffix('.bin')):
            if path.is_file():
                digest.update(blake2b(path.read_bytes()).digest())
    return digest.digest()


def _write(path: Path, planes: Sequence[NDArray[np.float32]]) -> None:
    long = -np.log(np.maximum(np.stack(planes), np.exp(-_LONGEST)))
    codes = np.round(255 * np.sqrt(np.maximum(long, 0) / _LONGEST)).astype(np.uint8)
    part = path.with_name(f'{path.name}.{uuid4().hex}.part')
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        part.write_bytes(_HEADER.pack(*codes.shape) + zlib.compress(codes.tobytes(), 3))
        os.replace(part, path)
    except OSError as error:
        with suppress(OSError):
            part.unlink()
        raise SourceError(
            f'cannot write {path}: {error.strerror}', 'free some space, or give another --cache'
        ) from error
