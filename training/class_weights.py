"""Weights of the classes in the loss, from their frequencies."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray


def count_labels(labels: Iterable[NDArray[np.uint8]]) -> NDArray[np.int64]:
    """Pixels of each id, shape (256,), in label images (uint8)."""
    counts = np.zeros(256, np.int64)
    for image in labels:
        counts += np.bincount(image.ravel(), minlength=256)
    return counts


def class_frequencies(counts: NDArray[np.int64], classes: int) -> NDArray[np.float64]:
    """Share of each class among the labelled pixels, shape (classes,), sums to 1.

    :param counts: pixels of each id, (256,); ids from `classes` on are void and not counted.
    """
    labelled = counts[:classes]
    return labelled / max(1, labelled.sum())


def inverse_log_weights(
    frequencies: NDArray[np.float64], power: float = 1.0
) -> NDArray[np.float64]:
    """Class weights 1 / ln(1.02 + p) of ENet (arXiv 1606.02147, section 5.1) and LinkNet.

    :param frequencies: shape (classes,), share p of each class.
    :param power: 1 gives the published weights, 0 equal ones, between them a softer form.
    """
    weights: NDArray[np.float64] = (1 / np.log(1.02 + frequencies)) ** power
    return weights
