"""Figures of the street drive: people, trees, posts and signs.

Each is drawn once, in daylight, as a flat picture that faces the camera (`Sprite`). Colours are
B, G, R; lengths are metres.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import cv2
import numpy as np
from numpy.typing import NDArray

from linknet_ros.classes import CAMVID, UNLABELED

Bytes = NDArray[np.uint8]
Floats = NDArray[np.float32]
Color = tuple[float, float, float]
Points = list[tuple[float, float]]

SKY, BUILDING, POLE, ROAD, PAVEMENT, TREE, SIGN, FENCE, CAR, PEDESTRIAN, BICYCLIST = CAMVID.ids(
    CAMVID.names
)
LEAVES = ((52, 92, 78), (42, 74, 58), (72, 88, 92), (84, 96, 106))
_CLOTHES = ((30, 28, 28), (60, 44, 36), (90, 88, 86), (40, 40, 110), (160, 156, 150), (36, 52, 60))
_SKIN = ((120, 150, 195), (70, 95, 140))
PAINTS = (
    *((40, 36, 34), (118, 112, 108), (178, 176, 174), (215, 215, 215), (38, 34, 120)),
    *((96, 52, 28), (58, 62, 40), (70, 66, 64), (30, 28, 28), (40, 40, 160)),
)
_BOARDS = ((150, 70, 22), (60, 96, 28), (215, 215, 215), (40, 36, 160), (30, 30, 30))
BLACK, _GREY, _WHITE = (24, 24, 26), (104, 106, 104), (225, 225, 225)


@dataclass(frozen=True)
class Light:
    """The light of a street.

    :param gain: gain of the camera for daylight, for blue, green and red.
    :param gamma: gamma of the camera.
    :param sky_top: colour of the sky at the top.
    :param sky_bottom: colour of the sky at the horizon.
    :param sun: share of direct sunlight, 0 to 1.
    """

    gain: Color
    gamma: float
    sky_top: Color
    sky_bottom: Color
    sun: float

    def expose(self, bgr: Bytes) -> Bytes:
        """Convert daylight colours, uint8 BGR (..., 3), to those that the camera sees."""
        ramp = (np.arange(256)[:, None] / 255) ** self.gamma
        table = np.clip(255 * ramp * np.array(self.gain), 0, 255).astype(np.uint8)
        return np.asarray(cv2.LUT(bgr, table[None]), np.uint8)


@dataclass(frozen=True)
class Texture:
    """Colours, uint8 BGR (rows, columns, 3), and class ids, uint8 (rows, columns); 255 is
    see-through.
    """

    bgr: Bytes
    labels: Bytes


@dataclass(frozen=True)
class Sprite:
    """An upright picture at full, half, quarter size, and so on.

    :param levels: the picture at each size; its foot is the middle of its lower edge.
    :param width: width of the picture [m].
    :param height: height of the picture [m].
    """

    levels: tuple[Texture, ...]
    width: float
    height: float


def clouds(rng: np.random.Generator, rows: int, cols: int, cell: int, octaves: int = 3) -> Floats:
    """Smooth noise of about -1 to 1, float32 (rows, cols), that wraps around along the columns."""
    noise = np.zeros((rows, cols), np.float32)
    for octave in range(octaves):
        size = max(1, cell >> octave)
        grid = rng.uniform(-1, 1, (rows // size + 2, max(2, cols // size))).astype(np.float32)
        grid[:, -1] = grid[:, 0]
        noise += cv2.resize(grid, (cols, rows), interpolation=cv2.INTER_LINEAR) / 2**octave
    return noise


def weathered(rng: np.random.Generator, bgr: Bytes, grain: float, blotches: float) -> Bytes:
    """Add fine grain and large blotches of the given strengths, 0 to 1, to colours."""
    rows, cols = bgr.shape[:2]
    gain = 1 + blotches * clouds(rng, rows, cols, 64)
    gain += grain * rng.standard_normal((rows, cols), np.float32)
    percent = cv2.convertScaleAbs(gain, alpha=100)
    return np.asarray(cv2.multiply(bgr, cv2.merge([percent] * 3), scale=0.01), np.uint8)


def pick(rng: np.random.Generator, colors: tuple[Color, ...], spread: float = 0.25) -> Color:
    """Pick one of the colours, a little lighter or darker."""
    gain = rng.uniform(1 - spread, 1 + spread)
    b, g, r = (min(255.0, gain * value) for value in colors[rng.integers(len(colors))])
    return (b, g, r)


class _Easel:
    """A sprite being drawn, colour and class at once; x from the middle, z from the ground."""

    def __init__(self, label: int, width: float, height: float, texels: int = 48) -> None:
        self.label, self.width, self.height, self.texels = label, width, height, texels
        self.picture: Bytes = np.zeros(
            (round(height * texels), round(width * texels), 4), np.uint8
        )
        self.picture[..., 3] = UNLABELED

    def polygon(self, points: Points, color: Color) -> None:
        """Draw a filled polygon."""
        pixels = [((x + self.width / 2), (self.height - z)) for x, z in points]
        corners = (np.array(pixels) * self.texels * 16).round().astype(np.int32)
        cv2.fillPoly(self.picture, [corners], (*color, self.label), shift=4)

    def disc(self, x: float, z: float, radius: float, color: Color, stretch: float = 1) -> None:
        """Draw a filled circle; `stretch` scales its height."""
        turn = np.linspace(0, 2 * np.pi, 16, endpoint=False)
        rim = x + radius * np.cos(turn), z + stretch * radius * np.sin(turn)
        self.polygon(list(zip(*(axis.tolist() for axis in rim), strict=True)), color)

    def stroke(self, points: Points, width: float, color: Color) -> None:
        """Draw a line through points."""
        for (x0, z0), (x1, z1) in pairwise(points):
            reach = width / 2 / max(1e-6, float(np.hypot(x1 - x0, z1 - z0)))
            i, k = reach * (z1 - z0), reach * (x0 - x1)
            self.polygon(
                [(x0 + i, z0 + k), (x1 + i, z1 + k), (x1 - i, z1 - k), (x0 - i, z0 - k)], color
            )

    def sprite(self, rng: np.random.Generator, light: Light) -> Sprite:
        """The finished sprite in a light."""
        bgr = light.expose(weathered(rng, np.ascontiguousarray(self.picture[..., :3]), 0.08, 0.15))
        return Sprite(pyramid(Texture(bgr, self.picture[..., 3].copy())), self.width, self.height)


def pyramid(texture: Texture) -> tuple[Texture, ...]:
    """Scale a texture to full, half, quarter size, and so on."""
    levels = [texture]
    while min(levels[-1].labels.shape) >= 8:
        bgr, labels = levels[-1].bgr, levels[-1].labels
        size = (labels.shape[1] // 2, labels.shape[0] // 2)
        _, opaque = cv2.threshold(labels, UNLABELED - 1, 255, cv2.THRESH_BINARY_INV)
        cover = cv2.resize(opaque, size, interpolation=cv2.INTER_AREA)
        seen = cv2.resize(
            cv2.bitwise_and(bgr, bgr, mask=opaque), size, interpolation=cv2.INTER_AREA
        )
        # The colour is the mean of the opaque texels, and any of them makes its block opaque (255
        # is see-through): thin posts neither darken nor vanish with distance.
        mean = seen * (255 / np.maximum(cover, 1))[..., None]
        least = cv2.erode(labels, np.ones((2, 2), np.uint8), anchor=(0, 0))[::2, ::2]
        thinned = least[: size[1], : size[0]].copy()
        levels.append(Texture(np.clip(mean, 0, 255).astype(np.uint8), thinned))
    return tuple(levels)


def person(rng: np.random.Generator, light: Light, bicycle: str = '') -> Sprite:
    """Draw a pedestrian of about 1.7 m, or a bicyclist from 'behind' or from 'beside'."""
    beside = bicycle == 'beside'
    easel = _Easel(BICYCLIST if bicycle else PEDESTRIAN, 1.9 if beside else 0.8, 1.85, 64)
    trousers, coat, frame = pick(rng, _CLOTHES), pick(rng, _CLOTHES, 0.5), pick(rng, PAINTS)
    hip, stride, lean = 0.92, rng.uniform(0.05, 0.25), rng.uniform(-0.03, 0.03)
    if beside:
        hip, stride, lean = 0.98, 0.12, 0.14
        for hub in (-0.55, 0.55):
            easel.disc(hub, 0.34, 0.34, BLACK)
            easel.disc(hub, 0.34, 0.27, (92, 92, 90))
        easel.stroke(
            [(-0.55, 0.34), (-0.2, 0.85), (0.4, 0.8), (0, 0.32), (-0.2, 0.85)], 0.06, frame
        )
        easel.stroke([(0.55, 0.34), (0.38, 1.0), (0.5, 1.05)], 0.06, BLACK)
    elif bicycle:
        hip, stride = 1.0, 0.15
        easel.stroke([(-0.28, 0.98), (0.28, 0.98)], 0.05, BLACK)
    for side in (-1, 1):
        foot = (0.32 + 0.1 * side) if bicycle else 0.06
        easel.stroke(
            [(side * 0.09, hip), (side * stride * 0.8, 0.56), (side * stride, foot)],
            0.16,
            trousers,
        )
        easel.disc(side * stride, foot, 0.11, BLACK, stretch=0.5)
        sleeve = (coat[0] * 0.7, coat[1] * 0.7, coat[2] * 0.7)
        easel.stroke([(lean + side * 0.2, hip + 0.5), (lean + side * 0.27, hip)], 0.11, sleeve)
    if bicycle == 'behind':
        easel.disc(0, 0.34, 0.045, BLACK, stretch=7.5)
        easel.disc(0, 0.75, 0.05, (36, 30, 165))
    shoulders = [(lean - 0.23, hip + 0.48), (lean - 0.1, hip + 0.58), (lean + 0.1, hip + 0.58)]
    easel.polygon(
        [(0.17, hip - 0.1), (-0.17, hip - 0.1), *shoulders, (lean + 0.23, hip + 0.48)], coat
    )
    easel.disc(lean, hip + 0.7, 0.1, pick(rng, _SKIN), stretch=1.35)
    easel.disc(lean, hip + 0.76, 0.105, pick(rng, _CLOTHES))
    return easel.sprite(rng, light)


def tree(rng: np.random.Generator, light: Light) -> Sprite:
    """Draw a tree of 6 to 10 m, in leaf or nearly bare."""
    height, width, bare = rng.uniform(6, 10), rng.uniform(4, 6.5), rng.random() < 0.5
    easel = _Easel(TREE, width, height, 24)
    rows, cols = easel.picture.shape[:2]
    x = (np.arange(cols) / cols - 0.5) * 2.25
    z = (np.arange(rows)[:, None] / rows - 0.36) / 0.38
    crown = x**2 + z**2 + 0.45 * clouds(rng, rows, cols, 32, 5) < 0.85
    crown &= clouds(rng, rows, cols, 6, 2) > (-0.4 if bare else -0.9)
    shade = 1 - 0.25 * z + 0.5 * clouds(rng, rows, cols, 12, 3)
    leaves = np.clip(np.array(pick(rng, LEAVES)) * shade[..., None], 6, 255)
    easel.picture[crown, :3] = leaves[crown]
    easel.picture[crown, 3] = TREE
    bark = pick(rng, ((44, 52, 58), (60, 66, 70)))
    easel.stroke([(0, 0), (0.05, height * 0.55)], rng.uniform(0.25, 0.45), bark)
    for _ in range(16 if bare else 3):
        tip = (rng.uniform(-0.36, 0.36) * width, rng.uniform(0.5, 0.9) * height)
        easel.stroke([(0, height * rng.uniform(0.25, 0.5)), tip], 0.08, bark)
    return easel.sprite(rng, light)


def lamp_post(rng: np.random.Generator, light: Light, arm: float) -> Sprite:
    """Draw a lamp post of 6 m; `arm` is how far its lamp reaches to the right [m]."""
    easel = _Easel(POLE, 3.4, 6.2, 32)
    grey = pick(rng, ((96, 100, 100), (62, 66, 60), (130, 132, 132)))
    easel.stroke([(0, 0), (0, 1.2)], 0.22, grey)
    easel.stroke([(0, 1.2), (0, 5.6), (arm * 0.4, 6.0), (arm, 6.05)], 0.13, grey)
    easel.stroke([(arm * 0.7, 6.02), (arm * 1.1, 6.05)], 0.2, (150, 152, 152))
    return easel.sprite(rng, light)


def sign(rng: np.random.Generator, light: Light, post: bool = True) -> Sprite:
    """Draw a sign or a traffic light on a post; without the post, a sign for a shop."""
    foot = 2.0 if post else 0.0
    easel = _Easel(POLE, 1.5, foot + 1.1)
    if post:
        easel.stroke([(0, 0), (0, 2.4)], 0.11, _GREY)
    easel.label = SIGN
    board, kind = pick(rng, _BOARDS), rng.integers(4 if post else 2)
    if kind == 0:
        easel.disc(0, foot + 0.45, 0.38, board)
        easel.disc(0, foot + 0.45, 0.27, _WHITE)
    elif kind == 1:
        wide = rng.uniform(0.3, 0.7)
        easel.stroke([(-wide, foot + 0.45), (wide, foot + 0.45)], 0.7, board)
        easel.stroke([(-0.8 * wide, foot + 0.5), (0.6 * wide, foot + 0.5)], 0.15, _WHITE)
    elif kind == 2:
        easel.polygon([(-0.5, foot), (0.5, foot), (0, foot + 0.86)], (36, 32, 170))
        easel.polygon([(-0.3, foot + 0.11), (0.3, foot + 0.11), (0, foot + 0.62)], _WHITE)
    else:
        easel.stroke([(0, foot), (0, foot + 1)], 0.36, BLACK)
        easel.disc(0, foot + rng.choice((0.2, 0.5, 0.8)), 0.11, (60, 110, 215))
    return easel.sprite(rng, light)
