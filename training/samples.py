"""Training samples: frames of one or more sources, augmented, in an order that can be resumed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset

Pair = tuple[NDArray[np.uint8], NDArray[np.uint8]]


class Frames(Protocol):
    """Frames with labels: CamVid, the procedural street, or your own."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> Pair: ...


class TrainingSamples(Dataset[tuple[Tensor, Tensor]]):
    """One augmented variant of every frame per epoch.

    The order and every random draw depend only on (seed, epoch, position), never on what ran
    before, so a run that was killed and resumed sees the same samples as one that was not.

    :param sources: what to draw from; each source's frames come once an epoch.
    :param augment: function of (frame, labels, rng).
    :param seed: of the whole run.
    """

    def __init__(
        self,
        sources: Sequence[Frames],
        augment: Callable[[NDArray[np.uint8], NDArray[np.uint8], np.random.Generator], Pair],
        seed: int,
    ) -> None:
        self._index = [(source, i) for source in sources for i in range(len(source))]
        self._augment = augment
        self._seed = seed
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
        frame, labels = self._augment(*source[i], rng)
        return torch.from_numpy(frame), torch.from_numpy(labels).long()
