"""The seeded world of the street drive: light, ground, facades, and where everything stands.

It is made once, when a drive is opened. Coordinates are metres: u along the street, y to the left
of the camera's path, z up.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from linknet_ros.classes import UNLABELED
from linknet_ros.simulation import figures
from linknet_ros.simulation.cars import Mesh, car
from linknet_ros.simulation.facade import FACADE_M, PERIOD_M, TEXELS, Facade
from linknet_ros.simulation.figures import PAVEMENT, ROAD, Bytes, Light, Sprite, Texture

#: Kinds of light: lowest and highest gain, share of direct sun, colours of the sky at the top and
#: at the horizon.
_LIGHTS = {
    'bright': (1.05, 1.35, 1.0, (238, 205, 170), (255, 250, 244)),
    'overcast': (0.75, 1.05, 0.15, (214, 208, 204), (250, 248, 246)),
    'dusk': (0.45, 0.65, 0.1, (150, 138, 128), (232, 224, 216)),
}


@dataclass(frozen=True)
class Placed:
    """A thing in the world, and where it is at the start.

    :param look: what it looks like.
    :param u: position along the street [m].
    :param y: position to the left of the camera's path [m].
    :param z: height of its foot [m].
    :param speed: speed along the street [m/s].
    :param follows: it has the camera's speed instead, like a car ahead in the same lane.
    """

    look: Sprite | Mesh
    u: float
    y: float
    z: float = 0.0
    speed: float = 0.0
    follows: bool = False


class StreetWorld:
    """Everything in a drive that does not depend on time."""

    def __init__(self, seed: int) -> None:
        rng = self._rng = np.random.default_rng(seed)
        # Seed 0 is the demo's: a bright street with every class.
        demo = seed == 0
        kind = 'bright' if demo else str(rng.choice(list(_LIGHTS), p=(0.45, 0.33, 0.22)))
        low, high, sun, top, bottom = _LIGHTS[kind]
        b, g, r = (rng.uniform(low, high) * (1 + rng.normal(0, 0.025, 3))).tolist()
        self.light = Light((b, g, r), float(rng.uniform(0.95, 1.3)), top, bottom, sun)
        self._parking = (False, True) if demo else (rng.random() < 0.45, rng.random() < 0.6)
        self._lane = float(rng.uniform(2.8, 3.4))
        left = self._lane / 2 + 2.2 * self._parking[0] + 0.3
        right = -(1.5 * self._lane + 2.2 * self._parking[1] + 0.3)
        edges = (left + rng.uniform(1.8, 4), left, right, right - rng.uniform(1.8, 4))
        # Whole texels of the coarsest level of detail, so that kerbs are exact at all levels.
        self.left_wall, self.left_kerb, self.right_kerb, self.right_wall = (
            round(edge * TEXELS / 4) * 4 / TEXELS for edge in edges
        )
        park = 0.2 if demo else float(rng.uniform(0.05, 0.35))
        self._facades = [Facade(rng, park, rng.uniform(0.1, 0.9)) for _ in range(2)]
        shaded = int(rng.integers(2)) or int(demo)
        gains = [1.0, 1.0]
        gains[shaded] -= 0.4 * sun
        #: Left and right facade; row 0 is at the top, column 0 at the start of the drive.
        self.walls = [
            facade.texture(self.light, gain)
            for facade, gain in zip(self._facades, gains, strict=True)
        ]
        #: The ground from the left wall (row 0) to the right wall.
        self.ground = self._ground(shaded, shadow=0.35 if demo else rng.uniform(0.35, 1))
        far = self.walls[0]
        end = Texture(far.bgr[:, : 60 * TEXELS], far.labels[:, : 60 * TEXELS].copy())
        self.backdrop = Sprite(figures.pyramid(end), 60, FACADE_M)
        self.placed: list[Placed] = []
        self._furnish(float(rng.uniform(14, 50)))
        self._populate(float(rng.uniform(0.3, 1.0)))

    def _row(self, y: float) -> int:
        return round((self.left_wall - y) * TEXELS)

    def _ground(self, shaded: int, shadow: float) -> Texture:
        """Road and pavements; `shadow` is the length of a house's shadow per metre of height."""
        rng = self._rng
        shape = (self._row(self.right_wall), PERIOD_M * TEXELS)
        left, right = self._row(self.left_kerb), self._row(self.right_kerb)
        labels: Bytes = np.full(shape, PAVEMENT, np.uint8)
        labels[left:right] = ROAD
        bgr: Bytes = np.full((*shape, 3), rng.uniform(112, 150), np.uint8)
        slab = int(rng.integers(14, 24))
        bgr[::slab] -= 26
        bgr[:, ::slab] -= 26
        for stone in (slice(left - 4, left), slice(right, right + 4)):
            bgr[stone] = 165
        for facade, rows in zip(self._facades, (slice(0, left), slice(right, None)), strict=True):
            for start, end in facade.gateways:
                labels[rows, start * TEXELS : end * TEXELS] = ROAD
        bgr[labels == ROAD] = rng.uniform(88, 116)
        self._paint_road(bgr, left, right)
        bgr = figures.weathered(rng, bgr, 0.1, 0.13)
        # The shadow of the houses on the shaded side follows their roof line.
        roofs = (self.walls[shaded].labels != UNLABELED).sum(0) * shadow
        near = np.arange(shape[0])[:, None]
        shade = ((shape[0] - near if shaded else near) < roofs).astype(np.uint8)
        kept = 100 - cv2.GaussianBlur(shade * round(50 * self.light.sun), (0, 0), 3)
        bgr = np.asarray(cv2.multiply(bgr, cv2.merge([kept] * 3), scale=0.01), np.uint8)
        return Texture(self.light.expose(bgr), labels)

    def _paint_road(self, bgr: Bytes, left: int, right: int) -> None:
        """Paint wheel tracks, repairs, lines along the kerbs, centre line and zebra crossings."""
        rng = self._rng
        white = rng.uniform(150, 235)
        for track in (0.75, -0.75, 0.75 - self._lane, -0.75 - self._lane):
            lane = bgr[self._row(track) - 6 : self._row(track) + 6]
            lane -= lane // 14
        for _ in range(int(rng.integers(6, 20))):
            row, col = int(rng.integers(left, right - 24)), int(rng.integers(PERIOD_M * TEXELS))
            size = rng.integers((12, 12), (60, 160))
            repair = bgr[row : min(row + size[0], right), col : col + size[1]]
            repair[:] = repair * rng.uniform(0.78, 1.1)
        for kerb, inward in ((left, 1), (right, -1)):
            gutter = bgr[min(kerb, kerb + 7 * inward) : max(kerb, kerb + 7 * inward)]
            gutter -= gutter // 5
            for line in (8, 13) if rng.random() < 0.6 else ():
                bgr[kerb + line * inward - 1 : kerb + line * inward + 1] = (70, 150, 175)
        middle, period = self._row(-self._lane / 2), int(rng.choice((4, 6, 8)))
        for u in range(0, PERIOD_M, period):
            dash = slice(u * TEXELS, round((u + 0.55 * period) * TEXELS))
            bgr[middle - 1 : middle + 2, dash] = white
        for u in rng.integers(0, PERIOD_M - 4, int(rng.integers(0, 3))):
            for row in range(left + 12, right - 12, TEXELS):
                bgr[row : row + TEXELS // 2, u * TEXELS : (u + 3) * TEXELS] = white

    def _place(
        self,
        looks: list[Sprite] | list[Mesh],
        y: float,
        spacing: float,
        avoid: list[tuple[int, int]],
        z: float = 0.0,
        speed: float = 0.0,
    ) -> None:
        """Place figures about every `spacing` metres, except on the stretches to avoid."""
        rng = self._rng
        for u in np.arange(rng.uniform(0, spacing), PERIOD_M - spacing / 2, spacing):
            at = float(u + rng.uniform(-0.15, 0.15) * (spacing - 6))
            if not any(start - 6 < at < end + 1 for start, end in avoid):
                look = looks[rng.integers(len(looks))]
                self.placed.append(Placed(look, at, y, z, speed))

    def _furnish(self, tree_spacing: float) -> None:
        """Place trees, lamp posts and signs on the pavements, and boards on the walls."""
        rng, light = self._rng, self.light
        trees = [figures.tree(rng, light) for _ in range(3)]
        signs = [figures.sign(rng, light) for _ in range(5)]
        boards = [figures.sign(rng, light, post=False) for _ in range(3)]
        walls, kerbs = (self.left_wall, self.right_wall), (self.left_kerb, self.right_kerb)
        for side, facade, wall, kerb in zip((1, -1), self._facades, walls, kerbs, strict=True):
            lamp = figures.lamp_post(rng, light, side * rng.uniform(0.8, 1.5))
            gates = facade.gateways
            self._place(trees, kerb + side * 0.9, tree_spacing, gates)
            self._place([lamp], kerb + side * 0.45, rng.uniform(22, 30), gates)
            self._place(signs, kerb + side * 0.5, rng.uniform(12, 28), gates)
            self._place(boards, wall - side * 0.75, rng.uniform(10, 24), facade.parks, z=2.7)

    def _populate(self, crowd: float) -> None:
        """Place parked and moving cars, pedestrians and bicyclists; `crowd` is 0 to 1."""
        rng, light, lane = self._rng, self.light, self._lane
        ahead, towards = (
            [car(rng, light, oncoming) for _ in range(6)] for oncoming in (False, True)
        )
        walkers = [figures.person(rng, light) for _ in range(8)]
        riders = [figures.person(rng, light, 'behind') for _ in range(4)]
        resting = [figures.person(rng, light, 'beside') for _ in range(2)]
        walls, kerbs = (self.left_wall, self.right_wall), (self.left_kerb, self.right_kerb)
        for side, kerb, wall, cars in zip((1, -1), kerbs, walls, (ahead, towards), strict=True):
            facade = self._facades[side < 0]
            if self._parking[side < 0]:
                self._place(cars, kerb - side * 1.3, 6.0 + 4 * (1 - crowd), facade.gateways)
            for pace in (-1.3, 0.0, 1.3):
                y = kerb + (wall - kerb) * rng.uniform(0.35, 0.85)
                self._place(walkers, y, 14 / crowd, [], speed=pace)
            self._place(resting, kerb + side * 0.6, 50 / crowd, facade.gateways)
        self._place(riders, lane / 2 - 0.1, 34 / crowd, [], speed=4.0)
        self._place(riders, -1.5 * lane + 0.2, 30 / crowd, [], speed=-4.5)
        self._place(towards, -lane, rng.uniform(25, 70), [], speed=-rng.uniform(6, 9))
        if rng.random() < 0.75:
            self.placed.append(Placed(ahead[0], rng.uniform(10, 32), 0.0, follows=True))
