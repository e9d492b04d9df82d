"""Training samples: frames of one or more sources, augmented, in an order that can be resumed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset

from training.augment import Augment

Pair = tuple[NDArray[np.uint8], NDArray[np.uint8]]


class Answers(Protocol):
    """What teachers say of frames, on a grid that is coarser than the frame."""

    @property
    def cell(self) -> int:
        """Sides of the squares of pixels that one answer is learnt for."""

    @property
    def count(self) -> int:
        """Number of planes, of which each has the probability of one statement."""

    def of(self, frame: NDArray[np.uint8]) -> NDArray[np.float32]:
        """What is said of a frame (H, W, 3) uint8 BGR.

        :returns: (count, h, w); the sum over all planes is 1, or 0 where nothing is said.
        """


class Frames(Protocol):
    """Frames with labels: a data set, the procedural street, or your own."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> Pair: ...


@dataclass(frozen=True)
class Source:
    """Frames with what a mixture of several needs to know of them.

    :param name: for the log.
    :param per_epoch: samples drawn in an epoch; None is every frame once.
    :param scale: smallest and largest enlargement of these frames; None is the recipe's.
    :param counted: whether their labels are known at the start, and count in class frequencies.
    :param taught: whether teachers are asked, if there are any.
    """

    name: str
    frames: Frames
    per_epoch: int | None = None
    scale: tuple[float, float] | None = None
    counted: bool = True
    taught: bool = True

    @property
    def samples(self) -> int:
        """Drawn in an epoch."""
        return len(self.frames) if self.per_epoch is None else self.per_epoch


class TrainingSamples(Dataset[tuple[Tensor, ...]]):
    """Augmented variants of the frames of all sources, shuffled.

    The order and every random draw depend only on (seed, epoch, position), never on what ran
    before, so a run that was killed and resumed, or is spread over processes, sees the same
    samples as one that was not. A source that gives fewer samples than it has frames shows the
    next ones in the next epoch, so that every frame comes as often.

    :param sources: what to draw from.
    :param augment: random changes.
    :param seed: of the whole run.
    :param paste: probability that objects of another frame are pasted in, as ClassMix does (Olsson
        et al., arXiv 2007.07936), here with true labels.
    :param paste_classes: ids of the classes that are pasted.
    :param answers: of the teachers; None where there are none.
    """

    def __init__(
        self,
        sources: Sequence[Source],
        augment: Augment,
        seed: int,
        paste: float = 0.0,
        paste_classes: Sequence[int] = (),
        answers: Answers | None = None,
    ) -> None:
        self._sources = sources
        self._augment = augment
        self._augments = [
            augment if source.scale is None else replace(augment, scale=source.scale)
            for source in sources
        ]
        self._seed = seed
        self._paste = paste
        self._paste_classes = np.array(paste_classes, np.uint8)
        self._answers = answers
        self.start_epoch(0)

    def start_epoch(self, epoch: int) -> None:
        """Draw and shuffle the samples of an epoch; call it before iterating."""
        self._epoch = epoch
        drawn = []
        for number in range(len(self._sources)):
            frames = self.frames_of(number, epoch)
            drawn.append(np.stack([np.full_like(frames, number), frames], 1))
        every = np.concatenate(drawn)
        self._index = np.random.default_rng((self._seed, epoch)).permutation(every)

    def frames_of(self, number: int, epoch: int) -> NDArray[np.int64]:
        """Frames that a source gives in an epoch: the next ones of its shuffled rounds."""
        source = self._sources[number]
        frames = len(source.frames)
        places = np.arange(epoch * source.samples, (epoch + 1) * source.samples)
        rounds = {
            r: np.random.default_rng((self._seed, number, r)).permutation(frames)
            for r in set((places // frames).tolist())
        }
        return np.array([rounds[p // frames][p % frames] for p in places.tolist()], np.int64)

    def __len__(self) -> int:
        return len(self._index)

    def __getitem__(self, position: int) -> tuple[Tensor, ...]:
        """Frame (H, W, 3) and labels (H, W), both uint8.

        With teachers, also what they say of its squares, (count, H // cell, W // cell) float32;
        a square that shows two frames has a share of both.
        """
        rng = np.random.default_rng((self._seed, self._epoch, position))
        frame, labels, answers = self._warped(position, rng)
        if rng.random() < self._paste:
            other = self._warped(int(rng.integers(len(self._index))), rng)
            mask = np.isin(other[1], self._paste_classes)
            frame = np.where(mask[..., None], other[0], frame)
            labels = np.where(mask, other[1], labels)
            if self._answers is not None:
                share = _shares(mask, self._answers.cell)
                answers = answers + share * (other[2] - answers)
        # After pasting: one light over the whole frame, or the seams would reveal the objects.
        frame = self._augment.recolor(frame, rng)
        sample = (torch.from_numpy(frame), torch.from_numpy(labels))
        return sample if self._answers is None else (*sample, torch.from_numpy(answers))

    def _warped(
        self, position: int, rng: np.random.Generator
    ) -> tuple[NDArray[np.uint8], NDArray[np.uint8], NDArray[np.float32]]:
        """Frame, labels, and what teachers say; that is empty where there are none."""
        number, index = self._index[position]
        source, augment = self._sources[number], self._augments[number]
        frame, labels = source.frames[index]
        if self._answers is None:
            return *augment.warp(frame, labels, rng), _NOTHING
        placement = augment.place(labels, rng)
        if source.taught:
            said = self._answers.of(frame)
        else:
            said = np.zeros((self._answers.count, 1, 1), np.float32)
        size = (frame.shape[1], frame.shape[0])
        answers = placement.warp_planes(said, size, self._answers.cell)
        return *placement.warp(frame, labels), answers


#: In place of what is said by no teacher.
_NOTHING = np.zeros((0, 0, 0), np.float32)


def _shares(mask: NDArray[np.bool_], cell: int) -> NDArray[np.float32]:
    """Share of each square of so many pixels that is in a mask (H, W)."""
    height, width = (side // cell for side in mask.shape)
    squares = mask[: height * cell, : width * cell].reshape(height, cell, width, cell)
    shares: NDArray[np.float32] = squares.mean((1, 3), dtype=np.float32)
    return shares


def batch_positions(
    samples: int, batch: int, accumulate: int, rank: int, count: int
) -> list[list[int]]:
    """Positions of the parts of every batch that one process computes, in order.

    Samples that do not fill a batch are left out; the next epoch has another order.

    :param samples: per epoch.
    :param batch: samples per optimiser step, over all processes.
    :param accumulate: parts that a process computes its share of a batch in.
    :param rank: of this process, 0 to count - 1.
    :returns: `accumulate` lists per batch.
    """
    part = batch // (accumulate * count)
    first = [
        start + (rank * accumulate + i) * part
        for start in range(0, samples - batch + 1, batch)
        for i in range(accumulate)
    ]
    return [list(range(position, position + part)) for position in first]
