"""What is usual of the frames that a network is made for, as its model file says it."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Measure:
    """One figure of a frame.

    :param fault: what is wrong where it is beyond its limit.
    :param most: whether the limit is the largest good value; else it is the smallest.
    """

    fault: str
    most: bool = False


#: By name, in the order in which they are asked: the first one beyond its limit is the fault.
#:
#: black, white: share of the picture, 0 to 1. detail: local deviation of the luma in the richest
#: tenth of the picture. contrast: the same relative to the mean luma. sharpness, noise: second
#: against first derivatives of the luma where they are large. street: a weighted sum, see
#: SceneModel.
MEASURES: Mapping[str, Measure] = {
    'black': Measure('black: no light, or the lens is covered', most=True),
    'white': Measure('overexposed', most=True),
    'detail': Measure('no detail: dark, or the lens is covered'),
    'contrast': Measure('no contrast: a wall, or the lens is covered or fogged up'),
    'sharpness': Measure('no sharp edge: out of focus'),
    'noise': Measure('nothing but noise', most=True),
    'street': Measure('no street: upside down, turned, or something else'),
}

#: What holds for pictures of anything, measured in training/RESULTS.md: far from all good frames
#: there, by night and in snow too.
PICTURE_LIMITS: Mapping[str, float] = {
    'black': 0.95,
    'white': 0.55,
    'detail': 3.5,
    'contrast': 0.05,
    'sharpness': 0.48,
    'noise': 2.2,
}

#: What `street` is the sum of: how likely the places of the classes are, how much more likely
#: turned by one to three quarters, and the mean confidence.
PARTS = ('layout', 'turned', 'confidence')


@dataclass(frozen=True)
class SceneModel:
    """Limits of good frames, and where a network sees which class.

    :param limits: by the names of MEASURES; what has none is not asked.
    :param weights: of PARTS, for the measure `street`.
    :param layout: -100 times the natural logarithm of how often a class is seen in a cell of the
        picture, by row, column and class; () where that is not known.
    """

    limits: Mapping[str, float] = field(default_factory=lambda: dict(PICTURE_LIMITS))
    weights: tuple[float, ...] = ()
    layout: tuple[tuple[tuple[int, ...], ...], ...] = ()

    def text(self) -> str:
        """For the metadata of a model file."""
        said = {'limits': dict(self.limits), 'weights': self.weights, 'layout': self.layout}
        return json.dumps(said, separators=(',', ':'))

    @classmethod
    def of(cls, text: str, classes: int) -> SceneModel:
        """From the metadata of a model file.

        :param text: '' for none.
        :param classes: of the model.
        :raises KeyError, TypeError, ValueError: when it is damaged.
        """
        if not text:
            return cls()
        said: dict[str, Any] = json.loads(text)
        # Names of a newer version are not asked.
        limits = {n: float(limit) for n, limit in said['limits'].items() if n in MEASURES}
        weights = tuple(float(weight) for weight in said['weights'])
        layout = tuple(
            tuple(tuple(int(cost) for cost in cell) for cell in row) for row in said['layout']
        )
        widths = {len(row) for row in layout}
        depths = {len(cell) for row in layout for cell in row}
        if not all(map(math.isfinite, (*limits.values(), *weights))):
            raise ValueError('scene_check must have finite numbers')
        if layout and (len(widths), depths, len(weights)) != (1, {classes}, len(PARTS)):
            raise ValueError('scene_check does not fit the classes')
        return cls(limits, weights, layout)
