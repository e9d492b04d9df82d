"""A drive through a procedural town street, with the exact class of every pixel.

It replaces a data set on a fresh machine: the demo replays it through the network and checks the
resulting labels, and training mixes some of its frames into CamVid.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np
from numpy.typing import ArrayLike, NDArray

from linknet_ros.classes import UNLABELED
from linknet_ros.errors import SourceError
from linknet_ros.simulation.cars import Mesh
from linknet_ros.simulation.drawing import (
    FAR_M,
    NEAR_M,
    Band,
    bands_of,
    draw_band,
    draw_mesh,
    draw_sprite,
)
from linknet_ros.simulation.facade import FACADE_M, PERIOD_M, TEXELS
from linknet_ros.simulation.figures import SKY, Bytes, clouds
from linknet_ros.simulation.looks import LOOKS
from linknet_ros.simulation.world import Placed, StreetWorld

Doubles = NDArray[np.float64]

#: The world of a seed; drives with other cameras through the same street share it.
_world = lru_cache(maxsize=2)(StreetWorld)


@dataclass(frozen=True)
class PinholeCamera:
    """A camera over flat ground that looks straight along the street.

    Integer pixel coordinates are pixel centres, as in ROS. The vehicle frame has its origin on the
    ground below the camera: x forward, y left, z up [m].

    :param width: width of the image [px].
    :param height: height of the image [px].
    :param fx: horizontal focal length [px].
    :param fy: vertical focal length [px].
    :param cx: column of the principal point [px].
    :param cy: row of the principal point [px].
    :param height_m: height above the ground [m].
    :param pitch: angle by which the camera looks down [rad].
    """

    width: int
    height: int
    fx: float
    fy: float
    cx: float
    cy: float
    height_m: float
    pitch: float

    def rays(self) -> tuple[Doubles, Doubles, Doubles]:
        """Directions of the pixels in the vehicle frame: x, y, z, each float64 (H, W)."""
        sin, cos = math.sin(self.pitch), math.cos(self.pitch)
        rows, cols = np.indices((self.height, self.width), np.float64)
        right, down = (cols - self.cx) / self.fx, (rows - self.cy) / self.fy
        return cos - sin * down, -right, -sin - cos * down

    def project(self, points: NDArray[np.floating]) -> Doubles:
        """Project points in the vehicle frame, (n, 3) [m].

        :returns: (n, 3) float of column, row [px] and depth [m].
        """
        sin, cos = math.sin(self.pitch), math.cos(self.pitch)
        x, y, z = points[:, 0], points[:, 1], points[:, 2] - self.height_m
        depth = cos * x - sin * z
        pixels: Doubles = np.empty(points.shape)
        pixels[:, 0] = self.cx - self.fx * y / depth
        pixels[:, 1] = self.cy - self.fy * (sin * x + cos * z) / depth
        pixels[:, 2] = depth
        return pixels


@dataclass(frozen=True)
class StreetFrame:
    """One frame: bgr uint8 (H, W, 3), labels uint8 (H, W) of CamVid class ids."""

    bgr: Bytes
    labels: Bytes


class StreetDrive:
    """An endless, repeatable drive: a frame depends on seed, size, speed and time only.

    :param seed: which street; 0 is a bright one with every class.
    :param width: width of the frames, at least 16 [px].
    :param height: height of the frames, at least 16 [px].
    :param speed: speed of the camera along the street [m/s].
    :param look: one of LOOKS: season, country and place of the camera.
    :raises SourceError: for frames that are too small, a negative seed or speed, an unknown look.
    """

    def __init__(
        self,
        seed: int = 0,
        width: int = 480,
        height: int = 360,
        speed: float = 8.0,
        look: str = 'town',
    ) -> None:
        if min(width, height) < 16:
            raise SourceError(
                f'street frames of {width}x{height} px are too small', 'use 16x16 or more'
            )
        if not 0 <= speed < math.inf:
            raise SourceError(f'invalid street speed {speed} m/s', 'use 0 or more')
        if seed < 0:
            raise SourceError(f'invalid street seed {seed}', 'use 0 or more')
        if look not in LOOKS:
            raise SourceError(f"unknown street look '{look}'", f'use one of {", ".join(LOOKS)}')
        style = LOOKS[look]
        self._tint = style.table() if style.tints else None
        self._speed = speed
        self._world = _world(seed)
        rng = np.random.default_rng((seed, 1))
        # The demo's camera is plain; the others vary, lest a network learn the horizon.
        zoom, aside, raised, tilt = rng.uniform(-1, 1, 4) * (seed != 0)
        focal = width * (0.95 + 0.12 * zoom)
        self.camera = PinholeCamera(
            width=width,
            height=height,
            fx=focal,
            fy=focal,
            cx=(width - 1) / 2 + 0.09 * width * aside,
            cy=(height - 1) / 2,
            height_m=style.height_m + 0.15 * raised,
            pitch=style.pitch + 0.03 * tilt,
        )
        self._bands = [*self._wall_bands(), *self._ground_bands()]
        self._sky = self._painted_sky(rng)
        self._blur = float(rng.uniform(0.3, 0.7))
        noise = rng.standard_normal((height + 32, width + 32, 3), np.float32)
        self._noise = (noise * rng.uniform(1.5, 4.5)).round().astype(np.int8)

    def frame(self, time: float) -> StreetFrame:
        """Render the frame at a time from the start of the drive [s].

        :raises SourceError: for a time before the start.
        """
        travelled, focal = self._travelled(time), self.camera.fx
        # Colour and class share one canvas, so whatever is drawn has both.
        drift = int(math.fmod(0.004 * time, 1) * self.camera.width)
        canvas = self._sky[:, drift : drift + self.camera.width].copy()
        draw_sprite(canvas, self._world.backdrop, self._feet([(FAR_M, 0, 0)])[0], focal)
        for band in self._bands:
            draw_band(canvas, band, travelled)
        ahead = [(self._distance(thing, time), thing) for thing in self._world.placed]
        ahead = [item for item in ahead if item[0] < FAR_M]
        ahead.sort(key=lambda item: -item[0])
        feet = self._feet([(max(x, NEAR_M), thing.y, thing.z) for x, thing in ahead])
        for (x, thing), foot in zip(ahead, feet, strict=True):
            if isinstance(thing.look, Mesh):
                draw_mesh(canvas, thing.look, x, thing.y, self.camera.project)
            elif x > 2 * NEAR_M:
                draw_sprite(canvas, thing.look, foot, focal)
        labels = np.asarray(cv2.extractChannel(canvas, 3), np.uint8)
        return StreetFrame(self._photographed(canvas, time), labels)

    def ground_label(self, x: ArrayLike, y: ArrayLike, time: float) -> Bytes:
        """Class of the bare ground, road or pavement, whatever stands on it.

        :param x: distance ahead of the point below the camera, any shape [m].
        :param y: distance to its left, broadcastable to x [m].
        :param time: time from the start of the drive [s].
        :returns: uint8 class ids of that shape; 255 beyond the facades.
        :raises SourceError: for a time before the start.
        """
        labels = self._world.ground.labels
        v = np.floor((self._world.left_wall - np.asarray(y, np.float64)) * TEXELS)
        u = np.floor((np.asarray(x, np.float64) + self._travelled(time)) * TEXELS)
        inside = (v >= 0) & (v < len(labels))
        found = labels[np.where(inside, v, 0).astype(int), u.astype(int) % labels.shape[1]]
        return np.where(inside, found, np.uint8(UNLABELED))

    def car_footprints(self, time: float) -> Doubles:
        """The rectangles that the cars ahead occupy on the ground.

        :param time: time from the start of the drive [s].
        :returns: (n, 4) float64, x and y of the near right corner, then of the far left one, in
            the vehicle frame [m].
        :raises SourceError: for a time before the start.
        """
        self._travelled(time)
        boxes: list[tuple[float, float, float, float]] = []
        for thing in self._world.placed:
            x = self._distance(thing, time)
            if isinstance(thing.look, Mesh) and x < FAR_M:
                # Without the shadow, which lies on the ground.
                corners = thing.look.corners[thing.look.corners[:, 2] > 0]
                (x0, y0, _), (x1, y1, _) = corners.min(0).tolist(), corners.max(0).tolist()
                boxes.append((x + x0, thing.y + y0, x + x1, thing.y + y1))
        return np.array(boxes, np.float64).reshape(-1, 4)

    def _travelled(self, time: float) -> float:
        """Distance from the start of this round of the world [m]."""
        if not 0 <= time < math.inf:
            raise SourceError(f'invalid street time {time} s', 'use 0 or more')
        return math.fmod(self._speed * time, PERIOD_M)

    def _distance(self, thing: Placed, time: float) -> float:
        """Distance of a thing ahead of the camera along the street, at least -8 [m]."""
        speed = thing.speed - (0.0 if thing.follows else self._speed)
        return (thing.u + math.fmod(speed * time, PERIOD_M) + 8) % PERIOD_M - 8

    def _wall_bands(self) -> list[Band]:
        x, y, z = self.camera.rays()
        bands = []
        for y_wall, texture in zip(
            (self._world.left_wall, self._world.right_wall), self._world.walls, strict=True
        ):
            reach = y_wall / np.where(y * y_wall > 0, y, np.nan)
            below_top = FACADE_M - self.camera.height_m - reach * z
            bands += bands_of(texture, reach * x, below_top, FACADE_M, axis=1)
        return bands

    def _ground_bands(self) -> list[Band]:
        x, y, z = self.camera.rays()
        reach = self.camera.height_m / np.where(z < 0, -z, np.nan)
        from_wall = self._world.left_wall - reach * y
        width = self._world.left_wall - self._world.right_wall
        return bands_of(self._world.ground, reach * x, from_wall, width, axis=0)

    def _painted_sky(self, rng: np.random.Generator) -> Bytes:
        """A sky with clouds, twice side by side so that it can drift, uint8 (H, 2 W, 4)."""
        height, width = self.camera.height, self.camera.width
        top, bottom = np.array([self._world.light.sky_top, self._world.light.sky_bottom])
        share = np.minimum(np.linspace(0, 2, height), 1)[:, None, None]
        noise = clouds(rng, height, width, max(4, width // 4), 5)[..., None]
        cloudy = np.clip(0.4 + rng.uniform(0.5, 1.2) * noise, 0, 1)
        share = share + cloudy * (1 - share)
        sky = np.full((height, width, 4), SKY, np.uint8)
        sky[..., :3] = top + (bottom * rng.uniform(0.9, 1) - top) * share
        return np.hstack([sky, sky])

    def _feet(self, points: list[tuple[float, float, float]]) -> list[list[float]]:
        """Column, row [px] and depth [m] of points in the vehicle frame [m]."""
        feet: list[list[float]] = self.camera.project(np.array(points).reshape(-1, 3)).tolist()
        return feet

    def _photographed(self, canvas: Bytes, time: float) -> Bytes:
        """The canvas as seen by a slightly soft lens and a noisy sensor, uint8 BGR (H, W, 3)."""
        bgr = np.asarray(cv2.cvtColor(canvas, cv2.COLOR_BGRA2BGR), np.uint8)
        if self._tint is not None:
            bgr = self._tint[canvas[..., 3:], bgr, np.arange(3)]
        bgr = np.asarray(cv2.GaussianBlur(bgr, (3, 3), self._blur), np.uint8)
        top, left = (int(math.fmod(time * prime, 32)) for prime in (7919, 6101))
        noise = self._noise[top : top + bgr.shape[0], left : left + bgr.shape[1]]
        return np.asarray(cv2.add(bgr, noise, dtype=cv2.CV_8U), np.uint8)
