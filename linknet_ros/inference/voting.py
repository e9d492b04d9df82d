"""Labels of one frame by several networks: voted, and void where they are unsure or disagree."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from linknet_ros.classes import UNLABELED, ClassTable
from linknet_ros.errors import ModelError, SourceError
from linknet_ros.inference.model_file import ModelFile, load_model
from linknet_ros.inference.segmenter import Segmenter
from linknet_ros.inference.teacher import Teacher, meant_ids

#: Pixels whose votes are counted at a time: with 254 classes 8 MB.
_AT_A_TIME = 1 << 15


class Labeller(Protocol):
    """Gives ids to the pixels of a frame."""

    def label(self, frame: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Ids (H, W) uint8 of a frame (H, W, 3) uint8 BGR; 255 where it is not sure."""


@dataclass(frozen=True)
class Voter:
    """One network, and what its ids mean.

    :param allowed: (256, classes) bool, the classes that each id allows; one that allows all or
        none says nothing.
    """

    labeller: Labeller
    allowed: NDArray[np.bool_]


class MirroredModel:
    """A model file that must say the same of a frame and of its mirror image.

    :param segmenter: of the model file.
    :param least_confidence: of a pixel, 0 to 1.
    """

    def __init__(self, segmenter: Segmenter, least_confidence: float) -> None:
        self._segmenter, self._least = segmenter, least_confidence

    def label(self, frame: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """See Labeller."""
        labels = self._segmenter.segment(frame, self._least).labels
        mirrored = self._segmenter.segment(np.ascontiguousarray(frame[:, ::-1]), self._least)
        same = labels == mirrored.labels[:, ::-1]
        return np.where(same, labels, np.uint8(UNLABELED))


def open_voter(
    path: Path,
    classes: ClassTable,
    open_segmenter: Callable[[ModelFile], Segmenter],
    least_confidence: float,
    renamed: Mapping[str, str],
) -> Voter:
    """Open a network by its file.

    :param path: a model file (.onnx), a teacher file (.yaml), or an OpenVINO file (.xml) with a
        teacher file of the same name beside it.
    :param classes: to vote for.
    :param least_confidence: of a model file's pixels; a teacher file has thresholds of its own.
    :param renamed: class of a model file by the name in `classes`.
    :raises LinknetError: when it cannot be used, or means none of the classes.
    """
    if path.suffix == '.onnx':
        model = load_model(path)
        allowed = np.zeros((256, len(classes)), np.bool_)
        for id_, name in enumerate(model.classes.names):
            name = renamed.get(name, name)
            if name in classes.names:
                allowed[id_, classes.names.index(name)] = True
        if not allowed.any():
            raise ModelError(
                f'{path} has none of the classes {", ".join(classes.names)}',
                f'say what its own mean: --map {model.classes.names[0]}={classes.names[0]}',
            )
        return Voter(MirroredModel(open_segmenter(model), least_confidence), allowed)
    teacher = Teacher(path)
    allowed = np.zeros((256, len(classes)), np.bool_)
    for label in teacher.labels:
        if label.means is None:
            raise SourceError(
                f'{teacher.file.path} does not say which class its id {label.id} means',
                f'add means: {classes.names[0]}, or means: {{not: {classes.names[0]}}}',
            )
        where = f'{teacher.file.path}: id {label.id}'
        allowed[label.id, list(meant_ids(label.means, classes, where))] = True
    return Voter(teacher, allowed)


def vote(
    frame: NDArray[np.uint8], voters: Sequence[Voter], agreement: float = 1.0
) -> NDArray[np.uint8]:
    """Label a frame.

    A pixel gets the one class that most voters allow, if at least this share of those that say
    anything of it do; else it is void.

    :param frame: (H, W, 3) uint8 BGR.
    :param voters: at least one.
    :param agreement: above 0, at most 1.
    :returns: (H, W) uint8 class ids, 255 for void.
    """
    answers = []
    for voter in voters:
        allows = voter.allowed.sum(axis=1)
        # Of a single class, that one says something; of several, all of them say nothing.
        says = (allows > 0) & (allows < max(2, voter.allowed.shape[1]))
        answers.append((voter.labeller.label(frame).ravel(), voter.allowed, says))
    result = np.full(frame.shape[0] * frame.shape[1], UNLABELED, np.uint8)
    for at in range(0, len(result), _AT_A_TIME):
        part = slice(at, at + _AT_A_TIME)
        votes = np.zeros((len(result[part]), voters[0].allowed.shape[1]), np.uint8)
        speaking = np.zeros(len(votes), np.uint8)
        for ids, allowed, says in answers:
            heard = says[ids[part]]
            votes += (allowed[ids[part]] & heard[:, None]).view(np.uint8)
            speaking += heard.view(np.uint8)
        most = votes.max(axis=1)
        clear = (votes == most[:, None]).sum(axis=1) == 1
        enough = (most > 0) & (most >= agreement * speaking)
        chosen = votes.argmax(axis=1).astype(np.uint8)
        result[part] = np.where(clear & enough, chosen, UNLABELED)
    return result.reshape(frame.shape[:2])
