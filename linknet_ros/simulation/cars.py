"""Cars of the street drive, a few polygons each.

Colours are B, G, R; lengths are metres.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from linknet_ros.simulation.figures import (
    BLACK,
    CAR,
    PAINTS,
    ROAD,
    Bytes,
    Color,
    Floats,
    Light,
    pick,
)

#: Side outline of a car from tail to nose: (x, z) as shares of its length and height, and which
#: segments are glass.
_HATCHBACK = (
    ((0, 0.2), (0, 0.62), (0.1, 0.97), (0.22, 1), (0.52, 0.98), (0.74, 0.64), (1, 0.5), (1, 0.2)),
    (0, 1, 0, 0, 1, 0, 0),
)
_VAN = (
    ((0, 0.14), (0, 0.55), (0.01, 0.95), (0.03, 1), (0.72, 1), (0.86, 0.62), (1, 0.48), (1, 0.14)),
    (0, 1, 0, 0, 1, 0, 0),
)


@dataclass(frozen=True)
class Mesh:
    """Polygons in drawing order; the origin is on the ground, at the near end.

    :param corners: (n, 3) float32 x ahead, y left, z up [m].
    :param starts: (faces,) int64 index of each face's first corner; a face is visible if its
        corners run clockwise in the image.
    :param colors: (faces, 4) uint8 blue, green, red and class id.
    """

    corners: Floats
    starts: NDArray[np.int64]
    colors: Bytes


def car(rng: np.random.Generator, light: Light, oncoming: bool) -> Mesh:
    """Make a car of about 4.2 by 1.7 by 1.5 m, or a van; seen from behind unless oncoming."""
    van = rng.random() < 0.1
    length, width, height = (4.9, 1.95, 2.2) if van else (rng.uniform(3.8, 4.5), 1.72, 1.48)
    outline, glass = _VAN if van else _HATCHBACK
    paint, belt = pick(rng, PAINTS), 0.62 * height
    side = [(x * length, z * height) for x, z in outline]
    if oncoming:
        side, glass = [(length - x, z) for x, z in reversed(side)], glass[::-1]
    faces: list[list[tuple[float, float, float]]] = []
    colors: list[tuple[Color, int]] = []

    def face(corners: list[tuple[float, float, float]], color: Color, gain: float = 1.0) -> None:
        faces.append(corners)
        colors.append(((color[0] * gain, color[1] * gain, color[2] * gain), CAR))

    def half(z: float) -> float:
        # Above the belt line the cabin leans inwards.
        return width / 2 * (1 - 0.3 * max(0.0, z - belt) / height)

    def across(x0: float, z0: float, x1: float, z1: float) -> list[tuple[float, float, float]]:
        return [(x0, half(z0), z0), (x1, half(z1), z1), (x1, -half(z1), z1), (x0, -half(z0), z0)]

    for ((x0, z0), (x1, z1)), pane in reversed(list(zip(pairwise(side), glass, strict=True))):
        flat = abs(x1 - x0) / (abs(x1 - x0) + abs(z1 - z0))
        face(
            across(x0, z0, x1, z1),
            (74, 70, 66) if pane else paint,
            1 if pane else 0.8 + 0.4 * flat,
        )
    turn = np.linspace(0, 2 * np.pi, 12, endpoint=False)
    for hand in (1, -1):
        # Clockwise as seen from outside.
        flank = [(x, hand * half(z), z) for x, z in side][::-hand]
        face(flank, paint, 0.95)
        cabin = [(x, y, min(z, 0.95 * height)) for x, y, z in flank if z > belt]
        face(cabin, (40, 38, 36))
        for low, high, gain in ((0.2, 0.34, 0.45), (0.47 * height, 0.56 * height, 1.2)):
            band = [(0, low), (0, high), (length, high), (length, low)][::-hand]
            face([(x, hand * width / 2, z) for x, z in band], paint, gain)
        for hub in (0.19 * length, 0.81 * length):
            for radius, color in ((0.34, BLACK), (0.19, (120, 120, 122))):
                rim = zip(hub + radius * np.sin(turn), 0.34 + radius * np.cos(turn), strict=True)
                face([(x, hand * width / 2, z) for x, z in rim][::-hand], color)
    details: list[tuple[float, float, float, float, Color]]
    details = [(0.0, 0.2, width / 2, 0.42, paint), (0.0, 0.5, 0.26, 0.62, (215, 218, 218))]
    lamp: Color = (225, 225, 220) if oncoming else (36, 30, 165)
    details += [(y, 0.42 * height, 0.16, 0.52 * height, lamp) for y in (-0.4 * width, 0.4 * width)]
    details += [(y, 0.0, 0.11, 0.3, BLACK) for y in (-0.38 * width, 0.38 * width)]
    for y, low, reach, high, tint in details:
        corners = [(y + reach, low), (y + reach, high), (y - reach, high), (y - reach, low)]
        face([(0, j, z) for j, z in corners], tint, 0.5 if tint is paint else 1.0)
    # Below a car is only road, so its shadow is dark road.
    edge = width / 2 + 0.08
    faces.insert(0, [(-0.15, edge, 0), (length, edge, 0), (length, -edge, 0), (-0.15, -edge, 0)])
    colors.insert(0, ((28, 27, 27), ROAD))
    starts = np.cumsum([0, *(len(corners) for corners in faces[:-1])])
    seen = light.expose(np.clip([[color for color, _ in colors]], 0, 255).astype(np.uint8))[0]
    labels = np.array([[label] for _, label in colors], np.uint8)
    points = np.array([corner for corners in faces for corner in corners], np.float32)
    return Mesh(points, starts, np.hstack([seen, labels]))
