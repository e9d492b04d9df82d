"""The confusion matrix and the accuracy scores computed from it, in NumPy."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


class ConfusionMatrix:
    """Counts of (true class, predicted class) pairs over any number of images.

    Pixels whose true id is outside 0 to classes - 1 are void and ignored. A prediction outside
    that range (255, unlabelled) counts as a miss of the true class, and as no other class.

    :param left_out: ids of classes that do not count: pixels that are one of them are ignored, and
        they have no scores; a pixel of another class that is taken for one is a miss. So does
        cityscapesScripts with its void labels.
    """

    def __init__(self, classes: int, left_out: Collection[int] = ()) -> None:
        self.classes = classes
        self.left_out = tuple(left_out)
        # One more column than classes, for predictions without a class.
        self._counts: NDArray[np.int64] = np.zeros((classes, classes + 1), np.int64)

    @classmethod
    def from_counts(
        cls, counts: NDArray[np.int64], left_out: Collection[int] = ()
    ) -> ConfusionMatrix:
        """Make a matrix of counts from elsewhere, e.g. from another process.

        :param counts: (classes, classes + 1) int64, as the property `counts`.
        :param left_out: see the class.
        :raises ValueError: for another shape.
        """
        classes = counts.shape[0]
        if counts.shape != (classes, classes + 1):
            raise ValueError(
                f'invalid shape of counts {counts.shape} (expected (classes, classes + 1))'
            )
        matrix = cls(classes, left_out)
        matrix._counts += counts
        return matrix

    @property
    def counts(self) -> NDArray[np.int64]:
        """A copy of the counts, (classes, classes + 1) int64; rows are the truth, the last column
        is 'no class'.
        """
        return self._counts.copy()

    def add(self, truth: NDArray[np.uint8], predicted: NDArray[np.uint8]) -> None:
        """Add an image or a batch.

        :param truth: uint8 class ids of any shape.
        :param predicted: uint8 class ids of the same shape.
        :raises ValueError: if the shapes differ.
        """
        if truth.shape != predicted.shape:
            raise ValueError(f'truth is {truth.shape} and the prediction {predicted.shape}')
        valid = truth < self.classes
        column = np.minimum(predicted[valid], self.classes).astype(np.int64)
        index = truth[valid].astype(np.int64) * (self.classes + 1) + column
        count = np.bincount(index, minlength=self._counts.size)
        self._counts += count.reshape(self._counts.shape)

    def scores(self) -> Scores:
        """Scores of everything added so far; NaN for a class that never occurred."""
        counts = self._counts.astype(np.float64)
        counts[list(self.left_out)] = 0
        hits = np.diag(counts[:, : self.classes]).copy()
        true = counts.sum(axis=1)
        predicted = counts[:, : self.classes].sum(axis=0)
        predicted[list(self.left_out)] = 0
        union = true + predicted - hits
        with np.errstate(invalid='ignore', divide='ignore'):
            iou = hits / union
            accuracy = hits / true
            total = hits.sum() / true.sum()
        return Scores(iou=iou, accuracy=accuracy, global_accuracy=float(total))


@dataclass(frozen=True)
class Scores:
    """Accuracy scores from 0 to 1.

    :param iou: (classes,) intersection over union, tp / (tp + fp + fn); NaN if neither the truth
        nor the prediction has the class.
    :param accuracy: (classes,) share of the true pixels that were found, tp / (tp + fn).
    :param global_accuracy: share of all labelled pixels that are correct.
    """

    iou: NDArray[np.float64]
    accuracy: NDArray[np.float64]
    global_accuracy: float

    @property
    def miou(self) -> float:
        """Mean IoU over the classes that occur."""
        return _mean_of_numbers(self.iou)

    @property
    def class_accuracy(self) -> float:
        """Mean class accuracy over the classes that occur in the truth."""
        return _mean_of_numbers(self.accuracy)

    def table(self, names: Sequence[str]) -> str:
        """A text table with one line per class, and the means below."""
        width = max(len('global accuracy'), *(len(name) for name in names))
        lines = [f'{"class":{width}}    IoU  accuracy']
        for name, iou, accuracy in zip(names, self.iou, self.accuracy, strict=True):
            lines.append(f'{name:{width}}  {iou:.3f}     {accuracy:.3f}')
        lines.append(f'{"mean":{width}}  {self.miou:.3f}     {self.class_accuracy:.3f}')
        lines.append(f'{"global accuracy":{width}}            {self.global_accuracy:.3f}')
        return '\n'.join(lines)


def _mean_of_numbers(values: NDArray[np.float64]) -> float:
    numbers = values[~np.isnan(values)]
    return float(numbers.mean()) if numbers.size else float('nan')
