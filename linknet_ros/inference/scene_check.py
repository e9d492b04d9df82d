"""Whether a frame shows a street, seen by a camera that sees: a cheap look at picture and labels.

A network names a class for every pixel of anything, a lens cap too, and may be sure of it. What
such a frame cannot hide are its statistics: a picture without light or detail, and labels that lie
where streets do not have them. `training.fit_scene_check` finds what is usual with a network, and
writes it into the model file.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import TypeVar

import cv2
import numpy as np
from numpy.typing import NDArray

from linknet_ros.inference.scene_model import MEASURES, PARTS, SceneModel
from linknet_ros.inference.segmenter import Fitted, Inferred

#: The picture is looked at with so many times fewer columns and rows.
_REDUCTION = 4

#: A luma of no more than this is black, one of no less than that is white.
_BLACK, _WHITE = 8, 250

#: Columns and rows in which the deviation of the luma is taken.
_WINDOW = (5, 5)

#: Rows and columns of the labels that are looked up in the layout.
SAMPLED = (48, 64)
_GRID = np.ogrid[: SAMPLED[0], : SAMPLED[1]]

Floats = NDArray[np.float32]
Item = TypeVar('Item', bound=np.generic)


@dataclass(frozen=True)
class Look:
    """What a picture says without the network.

    :param luma: (h, w) uint8, of a quarter of the columns and rows that the network gets.
    :param measures: figures by their names in MEASURES.
    """

    luma: NDArray[np.uint8]
    measures: dict[str, float]


def look_at(fitted: Fitted) -> Look:
    """Look at a frame as the network sees it; from any thread."""
    content = fitted.fitter.crop(fitted.image)
    size = [max(1, side // _REDUCTION) for side in content.shape[1::-1]]
    small = cv2.resize(content, size, interpolation=cv2.INTER_AREA)
    luma = np.asarray(cv2.cvtColor(small, cv2.COLOR_BGR2GRAY), np.uint8)
    levels = luma.size
    mean = cv2.boxFilter(luma, cv2.CV_32F, _WINDOW)
    variance = cv2.sqrBoxFilter(luma, cv2.CV_32F, _WINDOW) - mean * mean
    slope = np.abs(cv2.Sobel(luma, cv2.CV_16S, 1, 0)) + np.abs(cv2.Sobel(luma, cv2.CV_16S, 0, 1))
    bend = np.abs(cv2.Laplacian(luma, cv2.CV_16S))
    detail = math.sqrt(max(0.0, _quantile(variance, 0.9)))
    ratio = 4 * _quantile(bend, 0.99) / max(4.0, _quantile(slope, 0.99))
    return Look(
        luma,
        {
            'black': float(np.count_nonzero(luma <= _BLACK)) / levels,
            'white': float(np.count_nonzero(luma >= _WHITE)) / levels,
            'detail': detail,
            # Black is at most a sixteenth of white, or its noise would be contrast.
            'contrast': detail / (float(luma.mean()) + 16),
            'sharpness': ratio,
            'noise': ratio,
        },
    )


def _quantile(values: NDArray[np.generic], share: float) -> float:
    flat = values.reshape(-1)
    place = int(share * (flat.size - 1))
    return float(np.partition(flat, place)[place])


class SceneCheck:
    """Compares frames with what is usual of a network's.

    :param scene: of the model file.
    """

    def __init__(self, scene: SceneModel) -> None:
        self._limits = scene.limits
        self._weights = scene.weights
        self._costs: Floats | None = None
        if scene.layout:
            layout = np.array(scene.layout, np.float32) / 100
            # By turn, row and column of SAMPLED, and class.
            turns = [np.rot90(layout, quarters) for quarters in range(4)]
            self._costs = np.stack([sampled(turn) for turn in turns])

    def measures(self, look: Look, inferred: Inferred) -> dict[str, float]:
        """All figures of a frame: those of MEASURES, and the PARTS of `street`."""
        if self._costs is None:
            return look.measures
        labels = np.minimum(sampled(inferred.labels), self._costs.shape[-1] - 1)
        costs = self._costs[(slice(None), *_GRID, labels)].mean((1, 2))
        upright = float(costs[0])
        parts = {
            'layout': -upright,
            'turned': upright - float(costs[1:].min()),
            'confidence': float(sampled(inferred.confidence).mean()) / 255,
        }
        street = sum(w * parts[name] for w, name in zip(self._weights, PARTS, strict=True))
        return {**look.measures, **parts, 'street': street}

    def fault(self, look: Look, inferred: Inferred) -> str:
        """What is wrong with a frame; '' for nothing."""
        figures = self.measures(look, inferred)
        for name, measure in MEASURES.items():
            limit, figure = self._limits.get(name), figures.get(name)
            if limit is None or figure is None:
                continue
            if figure > limit if measure.most else figure < limit:
                return measure.fault
        return ''


def sampled(image: NDArray[Item]) -> NDArray[Item]:
    """An image or table at SAMPLED places of its first two axes, evenly spread."""
    rows, columns = _places(*image.shape[:2])
    return image[rows[:, None], columns]


@lru_cache(8)
def _places(height: int, width: int) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    rows, columns = (
        ((np.arange(count) + 0.5) * side / count).astype(np.intp)
        for count, side in zip(SAMPLED, (height, width), strict=True)
    )
    return rows, columns
