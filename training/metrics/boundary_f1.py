"""Boundary F1 (BF score): how well the contours between classes are met."""

from __future__ import annotations

import math

import cv2
import numpy as np
from numpy.typing import NDArray


class BoundaryF1:
    """BF score over any number of images.

    Per image and class, precision is the share of the predicted contour within the tolerance of
    the true contour of that class, recall the share of the true contour within the tolerance of
    the predicted one, and F1 their harmonic mean (Csurka, Larlus, Perronnin, "What is a good
    evaluation measure for semantic segmentation?", BMVC 2013). F1 is averaged over the classes
    present in the image's ground truth, then over images (SegNet, PAMI 2017, section 3.3).

    * Contour of a class: its pixels with a 4-neighbour of another class. The border of the image
      is not a contour. MATLAB's bfscore counts it, as matched nearly always, so its scores are
      higher.
    * Tolerance: `distance < tolerance * diagonal` in pixels, strict and not rounded, as in the
      paper's formula and in MATLAB's bfscore (4.5 at 480x360). DAVIS rounds up instead.
    * Void, true ids outside 0 to classes - 1: contours inside void are not annotated, so the
      border of a class to void is not a true contour. A predicted contour pixel is left out of
      precision when void may hide its match, that is nearer than tolerance + 1 pixel (contours
      are drawn inside the class, one pixel beside the void). Recall judges every true contour
      pixel, since the prediction is known in void too.
    * A prediction of no class (255) is one more class that ends a predicted region.
    * A class that has neither a true nor a judged predicted contour, as one that fills the
      image, has no F1 there.

    :param classes: number of classes.
    :param tolerance: share of the image diagonal; 0.0075 in SegNet's paper.
    """

    def __init__(self, classes: int, tolerance: float = 0.0075) -> None:
        if not tolerance > 0:
            raise ValueError(f'tolerance is {tolerance}; give a share of the diagonal above 0')
        self.classes = classes
        self.tolerance = tolerance
        self._f1_sum = np.zeros(classes)
        self._f1_images = np.zeros(classes, np.int64)
        self._image_sum = 0.0
        self._images = 0

    def add(self, truth: NDArray[np.uint8], predicted: NDArray[np.uint8]) -> None:
        """Add one image.

        :param truth: uint8 class ids (H, W).
        :param predicted: uint8 class ids (H, W).
        :raises ValueError: when the shapes differ or are not those of one image.
        """
        if truth.shape != predicted.shape:
            raise ValueError(f'truth is {truth.shape} and the prediction {predicted.shape}')
        if truth.ndim != 2:
            raise ValueError(f'labels are {truth.shape}; add the images of a batch one by one')
        tolerance = self.tolerance * math.hypot(*truth.shape)
        known = truth < self.classes
        judged = ~_nearer(~known, tolerance + 1)
        true_edges = _edges(truth, known)
        predicted_edges = _edges(predicted, np.ones_like(known))
        scores = []
        for c in np.unique(truth[known]):
            f1 = _f1(
                true_edges & (truth == c), predicted_edges & (predicted == c), judged, tolerance
            )
            if f1 is not None:
                self._f1_sum[c] += f1
                self._f1_images[c] += 1
                scores.append(f1)
        if scores:
            self._image_sum += sum(scores) / len(scores)
            self._images += 1

    @property
    def score(self) -> float:
        """Mean over images of the mean over each image's classes, 0 to 1; NaN before the first."""
        return self._image_sum / self._images if self._images else math.nan

    @property
    def per_class(self) -> NDArray[np.float64]:
        """Mean F1 over the images in which a class has a contour, shape (classes,), or NaN."""
        with np.errstate(invalid='ignore'):
            return self._f1_sum / self._f1_images


def _f1(
    true: NDArray[np.bool_],
    predicted: NDArray[np.bool_],
    judged: NDArray[np.bool_],
    tolerance: float,
) -> float | None:
    """F1 of two contours, bool (H, W); None when there is no contour to judge."""
    countable = predicted & judged
    if not true.any() and not countable.any():
        return None
    # A share of nothing is 1: what is wrong shows in the other one.
    precision = _nearer(true, tolerance)[countable].mean() if countable.any() else 1.0
    recall = _nearer(predicted, tolerance)[true].mean() if true.any() else 1.0
    total = precision + recall
    return float(2 * precision * recall / total) if total else 0.0


def _edges(labels: NDArray[np.uint8], known: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Known pixels with a known 4-neighbour of another id, bool (H, W)."""
    edges = np.zeros(labels.shape, np.bool_)
    vertical = (labels[1:] != labels[:-1]) & known[1:] & known[:-1]
    horizontal = (labels[:, 1:] != labels[:, :-1]) & known[:, 1:] & known[:, :-1]
    edges[1:] |= vertical
    edges[:-1] |= vertical
    edges[:, 1:] |= horizontal
    edges[:, :-1] |= horizontal
    return edges


def _nearer(mask: NDArray[np.bool_], distance: float) -> NDArray[np.bool_]:
    """Pixels whose centre is nearer than a distance to a pixel of a mask, bool (H, W)."""
    if not mask.any():
        return np.zeros(mask.shape, np.bool_)  # OpenCV's distance to nothing is not infinite
    to_mask = cv2.distanceTransform((~mask).astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    return np.asarray(to_mask < distance)
