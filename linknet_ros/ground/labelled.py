"""Points that know their class, as bytes of a PointCloud2."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

#: Fields of a point, as many others have x, y and z: the next point begins at a multiple of 16.
LABELLED = np.dtype(
    {
        'names': ['x', 'y', 'z', 'label', 'confidence'],
        'formats': ['<f4', '<f4', '<f4', 'u1', 'u1'],
        'offsets': [0, 4, 8, 12, 13],
        'itemsize': 16,
    }
)


def fields_of(kind: np.dtype[Any]) -> Iterator[tuple[str, str, int]]:
    """Name, NumPy's name of the type, and offset of each field."""
    assert kind.fields is not None
    for name, (found, offset, *_) in kind.fields.items():
        yield name, found.str, offset


def labelled(
    points: NDArray[np.floating[Any]],
    label: NDArray[np.uint8],
    confidence: NDArray[np.uint8],
) -> NDArray[np.void]:
    """Points with their classes.

    :param points: (..., 3) x, y, z [m].
    :param label: (...) uint8 class ids.
    :param confidence: (...) uint8.
    :returns: (...) of LABELLED; bytes between the fields are 0.
    """
    made = np.zeros(label.shape, LABELLED)
    for i, axis in enumerate('xyz'):
        made[axis] = points[..., i]
    made['label'], made['confidence'] = label, confidence
    return made
