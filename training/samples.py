"""Training samples: frames of one or more sources, augmented, in an order that can be resumed."""

from __future__ import annotations

from collections.abc import Sequence
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


class TrainingSamples(Dataset[tuple[Tensor, Tensor]]):
    """One augmented variant of every frame per epoch.

    The order and every random draw depend only on (seed, epoch, position), never on what ran
    before, so a run that was killed and resumed, or is spread over processes, sees the same
    samples as one that was not.

    :param sources: what to draw from; each source's frames come once an epoch.
    :param augment: random changes.
    :param seed: of the whole run.
    :param paste: probability that objects of another frame are pasted in, as ClassMix does (Olsson
        et al., arXiv 2007.07936), here with true labels.
    :param paste_classes: ids of the classes that are pasted.
    """

    def __init__(
        self,
        sources: Sequence[Frames],
        augment: Augment,
        seed: int,
        paste: float = 0.0,
        paste_classes: Sequence[int] = (),
    ) -> None:
        self._index = [(source, i) for source in sources for i in range(len(source))]
        self._augment = augment
        self._seed = seed
        self._paste = paste
        self._paste_classes = np.array(paste_classes, np.uint8)
        self.start_epoch(0)

    def start_epoch(self, epoch: int) -> None:
        """Shuffle for an epoch; call it before iterating."""
        self._epoch = epoch
        self._order = np.random.default_rng((self._seed, epoch)).permutation(len(self._index))

    def __len__(self) -> int:
        return len(self._index)

    def __getitem__(self, position: int) -> tuple[Tensor, Tensor]:
        """Frame (H, W, 3) uint8 BGR and labels (H, W) int64."""
        source, i = self._index[self._order[position]]
        rng = np.random.default_rng((self._seed, self._epoch, position))
        frame, labels = self._augment.warp(*source[i], rng)
        if rng.random() < self._paste:
            source, i = self._index[rng.integers(len(self._index))]
            other_frame, other_labels = self._augment.warp(*source[i], rng)
            mask = np.isin(other_labels, self._paste_classes)
            frame = np.where(mask[..., None], other_frame, frame)
            labels = np.where(mask, other_labels, labels)
        # After pasting: one light over the whole frame, or the seams would reveal the objects.
        frame = self._augment.recolor(frame, rng)
        return torch.from_numpy(frame), torch.from_numpy(labels).long()


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
