"""Made-up faults of a camera, from frames of a good one; and what only looks like a fault.

Each takes a frame (H, W, 3) uint8 BGR and a generator, and gives a new frame.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial

import cv2
import numpy as np
from numpy.typing import NDArray

Frame = NDArray[np.uint8]
Change = Callable[[Frame, np.random.Generator], Frame]


def _bytes(values: NDArray[np.floating]) -> Frame:
    return np.clip(np.rint(values), 0, 255).astype(np.uint8)


def _exposed(frame: Frame, rng: np.random.Generator, gain: float, offset: float = 0) -> Frame:
    """Other light, and the noise of a sensor."""
    noise = rng.normal(0, 2, frame.shape).astype(np.float32)
    return _bytes(frame * np.float32(gain) + np.float32(offset) + noise)


def _blurred(frame: Frame, rng: np.random.Generator, share: float) -> Frame:
    """Out of focus.

    :param share: standard deviation of the blur, of the frame's width.
    """
    sigma = share * frame.shape[1]
    blurred = cv2.GaussianBlur(frame, (0, 0), sigma, borderType=cv2.BORDER_REPLICATE)
    return _exposed(np.asarray(blurred, np.uint8), rng, 1)


def _clouds(frame: Frame, rng: np.random.Generator, size: float) -> NDArray[np.float32]:
    """Smooth random values of about unit variance, (H, W, 1).

    :param size: of what is of one value, of the frame's width.
    """
    height, width = frame.shape[:2]
    cells = [max(2, round(1 / size)), max(2, round(height / width / size))]
    coarse = rng.normal(0, 1, cells[::-1]).astype(np.float32)
    cloud = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)
    return np.asarray(cloud, np.float32)[..., None]


def _covered(frame: Frame, rng: np.random.Generator, share: float = 1) -> Frame:
    """Something right before the lens.

    :param share: of the picture that it covers.
    """
    cover = rng.uniform(5, 90, 3).astype(np.float32) + 8 * _clouds(frame, rng, 0.4)
    place = _clouds(frame, rng, 0.3)
    edge = np.quantile(place, 1 - share)
    alpha = np.clip((place - edge) * 8, 0, 1) if share < 1 else np.float32(1)
    return _exposed(_bytes(frame * (1 - alpha) + cover * alpha), rng, 1)


def _wall(frame: Frame, rng: np.random.Generator) -> Frame:
    """Plaster from near, lit from one side."""
    light = np.linspace(*rng.uniform(-25, 25, 2), len(frame), dtype=np.float32)
    wall = rng.uniform(60, 200, 3).astype(np.float32) + light[:, None, None]
    for size, contrast in ((0.004, 4), (0.01, 6), (0.2, 12)):
        wall = wall + contrast * _clouds(frame, rng, size)
    return _exposed(_bytes(wall), rng, 1)


def _piece(frame: Frame, rng: np.random.Generator) -> Frame:
    """A tenth to a quarter of the upper half, as large as the whole: something from near."""
    height, width = frame.shape[:2]
    share = rng.uniform(0.1, 0.25)
    top, left = rng.uniform(0, 0.5 - share / 2) * height, rng.uniform(0, 1 - share) * width
    part = frame[int(top) : int(top + share * height), int(left) : int(left + share * width)]
    return np.asarray(cv2.resize(part, (width, height), interpolation=cv2.INTER_CUBIC), np.uint8)


def _random(frame: Frame, rng: np.random.Generator) -> Frame:
    return rng.integers(0, 256, frame.shape, np.uint8)


def _grain(frame: Frame, rng: np.random.Generator) -> Frame:
    return _bytes(frame + rng.normal(0, 70, frame.shape).astype(np.float32))


def _turned(frame: Frame, rng: np.random.Generator, quarters: int) -> Frame:
    return np.ascontiguousarray(np.rot90(frame, quarters))


def _mirrored(frame: Frame, rng: np.random.Generator) -> Frame:
    return np.ascontiguousarray(frame[:, ::-1])


def _rows(frame: Frame, rng: np.random.Generator, first: float, last: float) -> Frame:
    """A camera that looks further down, or up."""
    return np.ascontiguousarray(frame[int(first * len(frame)) : int(last * len(frame))])


AS_IT_IS = 'as it is'

#: What must be found.
FAULTS: Mapping[str, Change] = {
    'black': lambda frame, rng: _exposed(frame, rng, 0.0),
    'nearly black': lambda frame, rng: _exposed(frame, rng, 0.04),
    'overexposed': lambda frame, rng: _exposed(frame, rng, 4, 120),
    'covered': _covered,
    'covered to 70 %': partial(_covered, share=0.7),
    'out of focus, 2 %': partial(_blurred, share=0.02),
    'out of focus, 1 %': partial(_blurred, share=0.01),
    'fogged up': lambda frame, rng: _exposed(frame, rng, 0.1, 180),
    'noise': _random,
    'grain': _grain,
    'wall': _wall,
    'something from near': _piece,
    'upside down': partial(_turned, quarters=2),
    'turned left': partial(_turned, quarters=1),
    'turned right': partial(_turned, quarters=3),
}

#: What must not be taken for a fault.
HARMLESS: Mapping[str, Change] = {
    AS_IT_IS: lambda frame, rng: frame,
    'mirrored': _mirrored,
    'looking down': partial(_rows, first=0.35, last=1),
    'looking up': partial(_rows, first=0, last=0.75),
    'dusk': lambda frame, rng: _exposed(frame, rng, 0.35),
    'bright': lambda frame, rng: _exposed(frame, rng, 1.5, 10),
    'soft': partial(_blurred, share=0.003),
}
