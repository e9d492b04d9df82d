"""How far the confidence can be trusted: reliability, calibration error, and its temperature."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

#: Levels of the confidence as the robot gets it: round(255 * softmax maximum).
_LEVELS = 256

#: Bins of equal width in which confidence and accuracy are compared (Guo et al., "On Calibration
#: of Modern Neural Networks", arXiv 1706.04599).
BINS = 15


@dataclass(frozen=True)
class Bin:
    """Pixels of about one confidence.

    :param share: of all pixels.
    :param confidence: their mean.
    :param accuracy: share of them whose label was right.
    """

    share: float
    confidence: float
    accuracy: float


class Reliability:
    """Counts of pixels by predicted label, by confidence, and by whether the label was right.

    :param labels: number of labels.
    """

    def __init__(self, labels: int) -> None:
        self._counts: NDArray[np.int64] = np.zeros((labels, 2, _LEVELS), np.int64)

    def add(
        self,
        truth: NDArray[np.uint8],
        predicted: NDArray[np.uint8],
        confidence: NDArray[np.uint8],
    ) -> None:
        """Add pixels; void truth and predictions of no label are left out.

        :param truth: label ids of any shape.
        :param predicted: label ids, of the same shape.
        :param confidence: round(255 * softmax maximum), of the same shape.
        """
        labels = len(self._counts)
        valid = (truth < labels) & (predicted < labels)
        label, right = predicted[valid].astype(np.int64), truth[valid] == predicted[valid]
        index = (label * 2 + right) * _LEVELS + confidence[valid]
        self._counts += np.bincount(index, minlength=self._counts.size).reshape(self._counts.shape)

    def bins(self, label: int | None = None) -> list[Bin]:
        """Confidence against accuracy, in bins that have pixels.

        :param label: of the pixels that were given it; None for all.
        """
        counts = self._of(label)
        level = np.arange(_LEVELS)
        # The highest level is in the last bin, not in one of its own.
        bin_of = np.minimum(level * BINS // (_LEVELS - 1), BINS - 1)
        total = max(1, int(counts.sum()))
        result = []
        for number in range(BINS):
            inside = counts[:, bin_of == number]
            pixels = inside.sum()
            if pixels:
                mean = (inside.sum(0) * level[bin_of == number]).sum() / pixels / (_LEVELS - 1)
                result.append(
                    Bin(float(pixels / total), float(mean), float(inside[1].sum() / pixels))
                )
        return result

    def error(self, label: int | None = None) -> float:
        """Expected calibration error, 0 to 1: mean of |accuracy - confidence| over the pixels.

        :param label: of the pixels that were given it; None for all.
        :returns: NaN where there are none.
        """
        bins = self.bins(label)
        if not bins:
            return float('nan')
        return sum(part.share * abs(part.accuracy - part.confidence) for part in bins)

    def kept(self, threshold: float) -> float:
        """Share of the pixels whose confidence is at least the threshold (min_confidence)."""
        counts = self._counts.sum((0, 1))
        return float(counts[_level(threshold) :].sum() / max(1, counts.sum()))

    def accuracy(self, threshold: float = 0.0) -> float:
        """Share of the pixels kept at a threshold whose label is right; NaN where none is kept."""
        counts = self._counts.sum(0)[:, _level(threshold) :]
        return float(counts[1].sum() / counts.sum()) if counts.sum() else float('nan')

    def falsely(self, label: int, threshold: float) -> float:
        """Share of all pixels that are wrongly given a label, as sure as a threshold or more."""
        wrong = self._counts[label, 0, _level(threshold) :].sum()
        return float(wrong / max(1, self._counts.sum()))

    def found(self, label: int, threshold: float) -> float:
        """Of the pixels rightly given a label, the share that is kept at a threshold."""
        right = self._counts[label, 1]
        return float(right[_level(threshold) :].sum() / max(1, right.sum()))

    def threshold_for(self, label: int, falsely: float) -> float | None:
        """Lowest threshold at which no more than a share of all pixels is wrongly given a label.

        :returns: None when even the surest pixels are wrong more often.
        """
        for level in range(1, _LEVELS):
            threshold = level / (_LEVELS - 1)
            if self.falsely(label, threshold) <= falsely:
                return threshold
        return None

    def _of(self, label: int | None) -> NDArray[np.int64]:
        counts: NDArray[np.int64] = self._counts.sum(0) if label is None else self._counts[label]
        return counts


def _level(threshold: float) -> int:
    # As Segmenter.finish compares; 0 is never given.
    return max(1, round((_LEVELS - 1) * threshold))


def fit_temperature(logits: NDArray[np.float32], labels: NDArray[np.uint8]) -> float:
    """Temperature by which logits are divided for the likeliest labels (Guo et al., 2017).

    :param logits: (pixels, classes).
    :param labels: (pixels,) class ids below the number of classes.
    :returns: from 0.1 to 10; argmax does not change with it.
    """
    true = np.take_along_axis(logits, labels[:, None].astype(np.int64), 1)[:, 0]

    def cost(log_temperature: float) -> float:
        scaled = logits / np.float32(np.exp(log_temperature))
        highest = scaled.max(1)
        log_sum = highest + np.log(np.exp(scaled - highest[:, None]).sum(1))
        return float((log_sum - true / np.float32(np.exp(log_temperature))).mean())

    # The cost is convex in the inverse temperature, so it has one minimum: golden section.
    low, high = np.log(0.1), np.log(10.0)
    ratio = (5**0.5 - 1) / 2
    while high - low > 1e-3:
        left, right = high - ratio * (high - low), low + ratio * (high - low)
        if cost(left) < cost(right):
            high = right
        else:
            low = left
    return float(np.exp((low + high) / 2))
