"""The facades of the street: terraces of houses, and parks behind fences."""

from __future__ import annotations

import cv2
import numpy as np

from linknet_ros.classes import UNLABELED
from linknet_ros.simulation import figures
from linknet_ros.simulation.figures import BUILDING, FENCE, TREE, Bytes, Color, Light, Texture

#: The world repeats after this distance [m].
PERIOD_M = 192
#: Texels per metre of the ground and the facades.
TEXELS = 24
#: Height of the facade textures [m]; they are see-through above the roofs.
FACADE_M = 15

_BRICKS = ((70, 88, 128), (105, 150, 172), (62, 70, 105), (95, 118, 140))
_RENDERS = ((178, 198, 205), (196, 200, 200), (140, 160, 172), (120, 124, 126))
_ROOFS = ((78, 76, 76), (62, 72, 98), (92, 90, 92))
_FENCES = ((45, 48, 45), (62, 82, 104), (92, 96, 98))
_SHOPS = (
    (120, 40, 30),
    (40, 36, 140),
    (50, 90, 40),
    (150, 150, 150),
    (30, 30, 30),
    (40, 150, 180),
)
_TRIM = (202, 205, 206)


class Facade:
    """One side of the street, drawn house by house.

    :param park_share: probability that a stretch is a park, 0 to 1.
    :param shop_share: probability that a terrace has shops, 0 to 1.
    """

    def __init__(self, rng: np.random.Generator, park_share: float, shop_share: float) -> None:
        self.rng = rng
        self.picture: Bytes = np.zeros((FACADE_M * TEXELS, PERIOD_M * TEXELS, 4), np.uint8)
        self.picture[..., 3] = UNLABELED
        #: (start, end) of the parks, and of the gateways in them [m].
        self.parks: list[tuple[int, int]] = []
        self.gateways: list[tuple[int, int]] = []
        u = 0
        while u < PERIOD_M:
            # Every street has a fence somewhere, so that a drive shows all classes.
            if rng.random() < park_share or (u > PERIOD_M / 2 and not self.parks):
                width = min(2 * int(rng.integers(5, 15)), PERIOD_M - u)
                self._park(u, width)
                u += width
            else:
                u = self._terrace(u, shop=rng.random() < shop_share)

    def _box(
        self, u: float, z: float, width: float, height: float, color: Color, label: int = BUILDING
    ) -> None:
        """Draw a rectangle, given by its lower left corner and size [m]."""
        rows = slice(round((FACADE_M - z - height) * TEXELS), round((FACADE_M - z) * TEXELS))
        cols = slice(round(u * TEXELS), round((u + width) * TEXELS))
        self.picture[rows, cols] = (*color, label)

    def _terrace(self, u: int, shop: bool) -> int:
        """Draw one to four similar houses; returns where they end [m]."""
        rng = self.rng
        wall = figures.pick(rng, _BRICKS if rng.random() < 0.6 else _RENDERS)
        roof, pitch = figures.pick(rng, _ROOFS), float(rng.choice((0.0, 0.5, 1.6, 2.2)))
        width, floors = 2 * int(rng.integers(3, 7)), int(rng.choice((2, 2, 3, 3, 4)))
        columns = max(2, round(width / rng.uniform(2.0, 3.2)))
        glass = width / columns * rng.uniform(0.4, 0.62)
        for _ in range(int(rng.integers(1, 5))):
            if u + width > PERIOD_M:
                width = columns = PERIOD_M - u
                glass = 0.5
            if width:
                self._house(u, width, floors, figures.pick(rng, (wall,), 0.1), roof, pitch)
                self._windows(u, width, floors, columns, glass, shop)
            u += width
        return u

    def _house(
        self, u: int, width: int, floors: int, wall: Color, roof: Color, pitch: float
    ) -> None:
        eaves = floors * 2.9 + 0.4
        self._box(u, 0, width, eaves + pitch, roof)
        self._box(u + 0.3, eaves, 0.9, pitch + 0.6 * (pitch > 1), wall)
        self._box(u, 0, width, eaves, wall)
        courses = self.picture[:: TEXELS // 6, u * TEXELS : (u + width) * TEXELS, :3]
        courses -= courses // 7
        self._box(u, eaves - 0.18, width, 0.2, _TRIM if pitch else wall)
        self._box(u + width - 0.12, 0, 0.1, eaves, (50, 50, 50))

    def _windows(
        self, u: int, width: int, floors: int, columns: int, glass: float, shop: bool
    ) -> None:
        rng = self.rng
        if shop:
            sill, fascia = figures.pick(rng, _SHOPS), figures.pick(rng, _SHOPS)
            self._box(u + 0.1, 0, width - 0.2, 2.5, sill)
            self._box(u + 0.3, 0.5, width - 0.6, 1.9, (52, 48, 44))
            for pane in range(width - 1):
                color = figures.pick(rng, _SHOPS, 0.6)
                self._box(u + 0.5 + pane, 0.6, 0.8, rng.uniform(0.6, 1.7), color)
            self._box(u + 0.1, 2.5, width - 0.2, 0.65, fascia)
            self._box(u + width * 0.3, 2.68, width * 0.4, 0.28, (225, 225, 225))
        for floor in range(int(shop), floors):
            for column in range(columns):
                left = u + (column + 0.5) * width / columns - glass / 2
                z = 0.9 + 2.9 * floor
                if floor == column == 0:
                    self._box(left - 0.12, 0, 1.2, 2.35, _TRIM)
                    self._box(left, 0, 0.96, 2.2, figures.pick(rng, _SHOPS))
                    continue
                level = rng.uniform(25, 95)
                self._box(left - 0.1, z - 0.14, glass + 0.2, 1.78, _TRIM)
                self._box(left, z, glass, 1.5, (level * 1.1, level, level * 0.95))
                self._box(left, z + 1.0, glass, 0.5, (level * 1.6, level * 1.5, level * 1.4))
                self._box(left + glass / 2 - 0.04, z, 0.08, 1.5, _TRIM)
                self._box(left, z + 0.72, glass, 0.08, _TRIM)

    def _park(self, u: int, width: int) -> None:
        """Draw a fence with trees behind it; a long one has a gateway."""
        rng = self.rng
        self.parks.append((u, u + width))
        patch = self.picture[:, u * TEXELS : (u + width) * TEXELS]
        rows, cols = patch.shape[:2]
        depth = figures.clouds(rng, rows, cols, 40, 5)
        leaves = np.array(figures.pick(rng, figures.LEAVES))
        patch[..., :3] = np.clip(leaves * (1 + 0.5 * depth[..., None]), 8, 255)
        tops = rng.uniform(4, 9) + 1.6 * figures.clouds(rng, 1, cols, 96, 4)
        patch[FACADE_M - np.arange(rows)[:, None] / TEXELS + depth < tops, 3] = TREE
        height, (b, g, r) = rng.uniform(1.0, 1.9), figures.pick(rng, _FENCES)
        patch[-round(height * TEXELS) :, :, 3] = FENCE
        planks = rng.random() < 0.5
        if planks:
            self._box(u, 0, width, height, (b, g, r), FENCE)
        for post in np.arange(u, u + width, 0.3 if planks else 0.16):
            self._box(post, 0, 0.06, height, (b * 0.6, g * 0.6, r * 0.6), FENCE)
        for rail in (0.15, height - 0.12):
            self._box(u, rail, width, 0.1, (b, g, r), FENCE)
        if width >= 14:
            self.gateways.append((u + 4, u + 10))

    def texture(self, light: Light, gain: float) -> Texture:
        """The finished facade in a light; `gain` darkens the side away from the sun."""
        bgr = cv2.convertScaleAbs(self.picture[..., :3], alpha=gain)
        worn = figures.weathered(self.rng, np.asarray(bgr, np.uint8), 0.09, 0.1)
        return Texture(light.expose(worn), self.picture[..., 3].copy())
