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
    """

    name: str
    frames: Frames
    per_epoch: int | None = None
    scale: tuple[float, float] | None = None

    @property
    def samples(self) -> int:
        """Drawn in an epoch."""
        return len(self.frames) if self.per_epoch is None else self.per_epoch


class TrainingSamples(Dataset[tuple[Tensor, Tensor]]):
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
    """

    def __init__(
        self,
        sources: Sequence[Source],
        augment: Augment,
        seed: int,
        paste: float = 0.0,
        paste_classes: Sequence[int] = (),
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
        self.start_epoch(0)

    def start_epoch(self, epoch: int) -> None:
        """Draw and shuffle the samples of an epoch; call it before iterating."""
        self._epoch = epoch
        drawn = []
        for number, source in enumerate(self._sources):
            frames = self._frames_of(source, number, epoch)
            drawn.append(np.stack([np.full_like(frames, number), frames], 1))
        every = np.concatenate(drawn)
        self._index = np.random.default_rng((self._seed, epoch)).permutation(every)

    def _frames_of(self, source: Source, number: int, epoch: int) -> NDArray[np.int64]:
        """Frames that a source gives in an epoch: the next ones of its shuffled rounds."""
        frames = len(source.frames)
        places = np.arange(epoch * source.samples, (epoch + 1) * source.samples)
        rounds = {
            r: np.random.default_rng((self._seed, number, r)).permutation(frames)
            for r in set((places // frames).tolist())
        }
        return np.array([rounds[p // frames][p % frames] for p in places.tolist()], np.int64)

    def __len__(self) -> int:
        return len(self._index)

    def __getitem__(self, position: int) -> tuple[Tensor, Tensor]:
        """Frame (H, W, 3) and labels (H, W), both uint8."""
        rng = np.random.default_rng((self._seed, self._epoch, position))
        frame, labels = self._warped(position, rng)
        if rng.random() < self._paste:
            other_frame, other_labels = self._warped(rng.integers(len(self._index)), rng)
            mask = np.isin(other_labels, self._paste_classes)
            frame = np.where(mask[..., None], other_frame, frame)
            labels = np.where(mask, other_labels, labels)
        # After pasting: one light over the whole frame, or the seams would reveal the objects.
        frame = self._augment.recolor(frame, rng)
        return torch.from_numpy(frame), torch.from_numpy(labels)

    def _warped(self, position: int, rng: np.random.Generator) -> Pair:
        source, frame = self._index[position]
        return self._augments[source].warp(*self._sources[source].frames[frame], rng)


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
