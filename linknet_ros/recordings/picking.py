"""Which frames of recordings are worth a person's time: measures of a frame, and a choice."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

#: Width at which sharpness and exposure are measured, so that cameras can be compared [pixels].
_WIDTH = 640

#: Width and height of the small picture that frames are compared by.
_SMALL = (32, 18)

#: Luma of 8 bits below and above which a pixel shows nothing.
_DARK, _GLARING = 5, 250

#: Deviation of the luma of the small picture below which it shows nothing, e.g. a lens cap.
_FLAT = 3.0

#: Frames to either side that sharpness is compared with: streets differ, neighbours do not.
_AROUND = 10

#: A frame is blurred below this share of its whole recording's sharpness, whatever is around it.
_RECORDING = 0.2

#: Frames that each part of a recording gives.
_PER_PART = 2

#: Share of a part that frames are apart in time, as long as there are others.
_APART = 0.25

#: Candidates for each frame that is wanted: the network runs on these only.
CANDIDATES = 10


@dataclass(frozen=True)
class Look:
    """What can be said of a frame without a network.

    :param small: its luma, area-averaged to 32x18, (576,) uint8.
    :param sharpness: variance of the Laplacian (Pech-Pacheco et al., Diatom autofocusing in
        brightfield microscopy, ICPR 2000) of the luma at a width of 640, divided by the variance
        of that luma, since less light is not less sharp.
    :param exposure: share of its pixels that are neither black nor white; 0 if it shows nothing.
    """

    small: NDArray[np.uint8]
    sharpness: float
    exposure: float


@dataclass(frozen=True)
class Doubt:
    """How unsure the network is of a frame, each from 0 to 1.

    :param confidence: 1 - mean confidence.
    :param mirror: share of pixels to which the mirrored frame gives another class.
    :param second: share of pixels to which a second model gives another class; NaN without one.
    """

    confidence: float
    mirror: float
    second: float = float('nan')


@dataclass(frozen=True)
class Pick:
    """A chosen frame.

    :param index: into the candidates.
    :param part: of the recordings that it is from, and how many parts there are; from 1.
    :param place: among the candidates of its part by unsureness, and how many they are; from 1.
    :param nearest: least distance to another chosen frame; infinite for the only one.
    """

    index: int
    part: tuple[int, int]
    place: tuple[int, int]
    nearest: float


def look_at(frame: NDArray[np.uint8]) -> Look:
    """Measure a frame, (H, W, 3) uint8 BGR."""
    luma = cv2.cvtColor(frame, cv2.COLOR_BGR2GRAY)
    height, width = luma.shape
    if width > _WIDTH:
        size = (_WIDTH, max(1, round(height * _WIDTH / width)))
        luma = cv2.resize(luma, size, interpolation=cv2.INTER_AREA)
    small = cv2.resize(luma, _SMALL, interpolation=cv2.INTER_AREA).ravel()
    exposure = float(((luma > _DARK) & (luma < _GLARING)).mean())
    return Look(
        np.asarray(small, np.uint8),
        round(float(cv2.Laplacian(luma, cv2.CV_32F).var() / max(luma.var(), 1.0)), 4),
        round(exposure, 4) if small.std() >= _FLAT else 0.0,
    )


def signatures(small: Sequence[NDArray[np.uint8]]) -> NDArray[np.float32]:
    """Small pictures of mean 0 and length 1, (N, 576) float32, whatever the exposure was.

    The distance of two is 1 - their product, so 0 for the same picture, 1 for unrelated ones and
    2 for a negative. Source: D_norm of Torralba, Fergus, Freeman, 80 million tiny images (PAMI
    2008), halved.
    """
    pictures = np.array(small, np.float32).reshape(len(small), -1)
    pictures -= pictures.mean(axis=1, keepdims=True)
    length = np.linalg.norm(pictures, axis=1, keepdims=True)
    result: NDArray[np.float32] = pictures / np.maximum(length, 1e-6)
    return result


def blurred(
    sharpness: Sequence[float], recording: Sequence[int], share: float
) -> NDArray[np.bool_]:
    """Which frames are less sharp than this share of the sharpest quarter of those around them.

    :param recording: that each frame is of; a frame is compared only within its own.
    """
    values, of = np.array(sharpness, np.float64), np.array(recording)
    result = np.zeros(len(values), np.bool_)
    for one in np.unique(of):
        (places,) = np.nonzero(of == one)
        own = values[places]
        least = _RECORDING * np.percentile(own, 75)
        for at, place in enumerate(places):
            around = own[max(0, at - _AROUND) : at + _AROUND + 1]
            result[place] = own[at] < max(least, share * np.percentile(around, 75))
    return result


def candidates(sharpness: Sequence[float], count: int) -> list[int]:
    """Indices of the sharpest frame of each of CANDIDATES * count equal stretches."""
    number = len(sharpness)
    if not number:
        return []
    stretches = np.array_split(np.arange(number), min(number, CANDIDATES * count))
    return [int(stretch[np.argmax(np.take(sharpness, stretch))]) for stretch in stretches]


def unsureness(doubts: Sequence[Doubt]) -> NDArray[np.float64]:
    """How unsure the network is of each frame, as a multiple of its mean over all of them.

    The mean of what the measures of Doubt say, each divided by its own mean.
    """
    table = np.array([[d.confidence, d.mirror, d.second] for d in doubts], np.float64)
    table = table[:, ~np.isnan(table).all(axis=0)]
    mean = table.mean(axis=0)
    scaled = np.where(mean > 0, table / np.where(mean > 0, mean, 1), 1.0)
    result: NDArray[np.float64] = scaled.mean(axis=1)
    return result


def choose(
    unsure: NDArray[np.float64],
    signature: NDArray[np.float32],
    position: Sequence[int],
    count: int,
    least_distance: float,
) -> list[Pick]:
    """Choose frames, the most important first.

    The recordings are cut into parts of equal length, one for every two frames that are wanted.
    In turns, each part gives the frame of which the network is least sure and that is not like
    one that was chosen before, nor next to it. So no part is left out, and none gives more than it
    has.

    :param unsure: of each candidate, see unsureness; at least one.
    :param signature: of each candidate, see signatures.
    :param position: of each candidate in the recordings, rising.
    :param least_distance: between two chosen frames, see signatures.
    """
    parts = max(1, -(-count // _PER_PART))
    places = np.array(position, np.float64) - position[0]
    part_of = (places * parts / (places[-1] + 1)).astype(int)
    waiting: dict[int, list[int]] = {}
    for part in np.unique(part_of):
        (own,) = np.nonzero(part_of == part)
        waiting[int(part)] = own[np.argsort(-unsure[own], kind='stable')].tolist()
    place_of = {i: (n, len(own)) for own in waiting.values() for n, i in enumerate(own, 1)}
    # Least sure first in each turn, since a person may stop in the middle.
    turn = sorted(waiting, key=lambda part: -unsure[waiting[part][0]])
    near, away = np.full((2, len(unsure)), np.inf)
    found: list[int] = []
    # What is too near in time comes only when nothing else is left.
    for gap in ((places[-1] + 1) / parts * _APART, 0.0):
        while len(found) < count:
            before = len(found)
            for part in turn:
                free = (i for i in waiting[part] if near[i] >= least_distance and away[i] >= gap)
                index = next(free, None)
                if index is None or len(found) == count:
                    continue
                waiting[part].remove(index)
                found.append(index)
                near = np.minimum(near, 1 - signature @ signature[index])
                away = np.minimum(away, abs(places - places[index]))
            if len(found) == before:
                break
    between = 1 - signature[found] @ signature[found].T
    np.fill_diagonal(between, np.inf)
    return [
        Pick(i, (int(part_of[i]) + 1, parts), place_of[i], max(0.0, float(row.min())))
        for i, row in zip(found, between, strict=True)
    ]
