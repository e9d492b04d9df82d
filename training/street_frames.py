"""Frames of the procedural street as training samples."""

from __future__ import annotations

import numpy as np

from linknet_ros.simulation.street import StreetDrive
from training.samples import Pair

#: Frames taken from one street; more streets teach more than more frames of one.
_FRAMES_PER_STREET = 4

#: Streets the demo shows come from small seeds; training never sees those.
_FIRST_SEED = 1000


class StreetFrames:
    """A fixed set of rendered frames, 480x360, from many streets.

    :param count: number of frames.
    :param seed: another seed gives other streets.
    """

    def __init__(self, count: int, seed: int = 0) -> None:
        rng = np.random.default_rng((seed, count))
        self._pairs: list[Pair] = []
        for start in range(0, count, _FRAMES_PER_STREET):
            street = StreetDrive(_FIRST_SEED + seed * 10_000 + start)
            for time in rng.uniform(0, 60, min(_FRAMES_PER_STREET, count - start)):
                frame = street.frame(float(time))
                self._pairs.append((frame.bgr, frame.labels))

    def __len__(self) -> int:
        return len(self._pairs)

    def __getitem__(self, index: int) -> Pair:
        """Frame (360, 480, 3) uint8 BGR and labels (360, 480) uint8."""
        return self._pairs[index]
