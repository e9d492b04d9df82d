"""Labels that flicker less: evidence of a few frames for each pixel, and none against safety."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

#: Evidence is a moving average of the confidence, (before + new) / 2, in which a frame of another
#: opinion counts as negative. Below this number that opinion wins: two sure frames of it get there
#: (-128), and frames of two opinions in turn, equally sure, never do (-255 / 3).
_LOST = -86

#: Confidence from which one frame is enough to make drivable ground an obstacle: 0.8 of 255.
SURE = 204

#: Share of pixels of another opinion from which on it is another scene.
_OTHER_SCENE = 0.5

#: Seconds without a frame after which what was seen before says nothing.
_GAP = 0.5


class TemporalFilter:
    """Filters the labels of one camera's frames, at the network's size, in place.

    A pixel keeps its class until the evidence for it is used up. Only from drivable to anything
    else it goes fast: at once where the network is sure, else with the second frame in a row.

    :param drivable: by class.
    """

    def __init__(self, drivable: Sequence[bool]) -> None:
        self._table = np.zeros(256, np.uint8)
        self._table[: len(drivable)] = drivable
        self._stamp = 0
        self._allocate((0, 0))

    def reset(self) -> None:
        """Forget all frames."""
        self._empty = True

    def apply(self, labels: NDArray[np.uint8], confidence: NDArray[np.uint8], stamp: int) -> None:
        """Filter the next frame.

        :param labels: (H, W) uint8 class ids; become the filtered ones.
        :param confidence: (H, W) uint8; where the frame is of another opinion than the result, it
            becomes no more than what that opinion leaves. 0 means nonsense and stays.
        :param stamp: of the frame [ns]; 0 for none.
        """
        if labels.shape != self._shown.shape:
            self._allocate(labels.shape)
        elapsed = stamp - self._stamp if stamp and self._stamp else 0
        self._stamp = stamp
        np.not_equal(labels, self._shown, out=self._other)
        others = np.count_nonzero(self._other)
        shown, evidence = self._shown, self._evidence
        cv2.LUT(labels, self._table, self._free.view(np.uint8))
        if self._empty or not 0 <= elapsed <= _GAP * 1e9 or others > _OTHER_SCENE * labels.size:
            np.copyto(shown, labels)
            np.copyto(evidence, confidence)
            np.copyto(self._free_before, self._free)
            np.copyto(self._free_shown, self._free)
            self._empty = False
            return
        signed, switch, work = self._signed, self._switch, self._work
        np.copyto(signed, confidence)
        np.negative(signed, out=signed, where=self._other)
        np.add(evidence, signed, out=evidence)
        np.right_shift(evidence, 1, out=evidence)
        # Drivable, and now something else, surely or for the second time.
        np.greater_equal(confidence, SURE, out=switch)
        np.logical_not(self._free_before, out=work)
        np.logical_or(switch, work, out=switch)
        np.greater(self._free_shown, self._free, out=work)
        np.logical_and(switch, work, out=switch)
        np.less(evidence, _LOST, out=work)
        np.logical_or(switch, work, out=switch)
        # Nonsense must not be covered up.
        np.equal(confidence, 0, out=work)
        np.logical_or(switch, work, out=switch)
        np.copyto(shown, labels, where=switch)
        np.absolute(signed, out=signed)
        np.right_shift(signed, 1, out=signed)
        np.copyto(evidence, signed, where=switch)
        # What remains of another opinion.
        np.not_equal(labels, shown, out=self._other)
        np.subtract(255, confidence, out=self._left)
        np.minimum(evidence, self._left, out=signed)
        # Not 0, which would be nonsense and hide an obstacle that is disputed.
        np.maximum(signed, 1, out=signed)
        np.copyto(confidence, signed, where=self._other, casting='unsafe')
        np.copyto(labels, shown)
        np.copyto(self._free_before, self._free)
        cv2.LUT(shown, self._table, self._free_shown.view(np.uint8))

    def _allocate(self, shape: tuple[int, ...]) -> None:
        self._shown = np.zeros(shape, np.uint8)
        self._left = np.zeros(shape, np.uint8)
        self._evidence = np.zeros(shape, np.int16)
        self._signed = np.zeros(shape, np.int16)
        self._other, self._switch, self._work = (np.zeros(shape, np.bool_) for _ in range(3))
        self._free, self._free_before, self._free_shown = (
            np.zeros(shape, np.bool_) for _ in range(3)
        )
        self._empty = True
