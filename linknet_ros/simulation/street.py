"""A drive through a procedural town street, with the exact class of every pixel.

It stands in for a data set on a fresh machine: the demo replays it through the network and checks
the labels that come out, and training mixes some of its frames into CamVid.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise

import cv2
import numpy as np
from numpy.typing import ArrayLike, NDArray

from linknet_ros.classes import UNLABELED
from linknet_ros.errors import SourceError
from linknet_ros.simulation.cars import Mesh
from linknet_ros.simulation.figures import SKY, Bytes, Floats, Sprite, Texture, clouds
from linknet_ros.simulation.world import FACADE_M, PERIOD_M, TEXELS, Placed, StreetWorld

Doubles = NDArray[np.float64]

#: What is nearer than this or further than that is not drawn [m].
_NEAR_M = 0.8
_FAR_M = 128.0
#: Levels of detail of a texture: how many texels are merged along and across the street.
_LEVELS = ((1, 1), (4, 1), (16, 2), (48, 4))


@dataclass(frozen=True)
class PinholeCamera:
    """A camera over flat ground that looks straight along the street.

    Whole pixel coordinates are pixel centres, as in ROS. The vehicle frame has its origin on the
    ground below the camera: x forward, y left, z up [m].

    :param fx: focal length and, with fy, cx and cy, the intrinsics [px].
    :param height_m: height above the ground [m].
    :param pitch: how far the camera looks down [rad].
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
        """Directions through the pixels in the vehicle frame: x, y, z, each float64 (H, W)."""
        sin, cos = math.sin(self.pitch), math.cos(self.pitch)
        rows, cols = np.indices((self.height, self.width), np.float64)
        right, down = (cols - self.cx) / self.fx, (rows - self.cy) / self.fy
        return cos - sin * down, -right, -sin - cos * down

    def project(self, points: NDArray[np.floating]) -> Doubles:
        """Pixels of points in the vehicle frame: (n, 3) to (n, 3) of column, row, depth [m]."""
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


@dataclass(frozen=True)
class _Band:
    """A rectangle of the picture and the texture it shows, at one level of detail.

    `u` and `v` are the texture column and row that each pixel sees at the start of the drive.
    """

    box: tuple[slice, slice]
    u: Floats
    v: Floats
    texels_per_m: float
    texture: Texture


class StreetDrive:
    """An endless, repeatable drive: a frame depends on nothing but seed, size, speed and time.

    :param seed: which street; 0 is a bright one with something of everything.
    :param width: frame width [px], at least 16.
    :param height: frame height [px], at least 16.
    :param speed: of the camera along the street [m/s].
    :raises SourceError: for a frame that is too small, a negative seed or a negative speed.
    """

    def __init__(
        self, seed: int = 0, width: int = 480, height: int = 360, speed: float = 8.0
    ) -> None:
        if min(width, height) < 16:
            raise SourceError(
                f'street frames of {width}x{height} px are too small; ask for 16x16 or more'
            )
        if not 0 <= speed < math.inf:
            raise SourceError(f'street speed {speed} m/s cannot be driven; give 0 or more')
        if seed < 0:
            raise SourceError(f'street seed {seed} is negative; give 0 or more')
        self._speed = speed
        self._world = StreetWorld(seed)
        rng = np.random.default_rng((seed, 1))
        # The demo's camera is a plain one; the others differ, so that a network learns no horizon.
        zoom, aside, raised, tilt = rng.uniform(-1, 1, 4) * (seed != 0)
        focal = width * (0.95 + 0.12 * zoom)
        self.camera = PinholeCamera(
            width=width,
            height=height,
            fx=focal,
            fy=focal,
            cx=(width - 1) / 2 + 0.09 * width * aside,
            cy=(height - 1) / 2,
            height_m=1.5 + 0.15 * raised,
            pitch=0.055 + 0.03 * tilt,
        )
        self._bands = [*self._wall_bands(), *self._ground_bands()]
        self._sky = self._painted_sky(rng)
        self._blur = float(rng.uniform(0.3, 0.7))
        noise = rng.standard_normal((height + 32, width + 32, 3), np.float32)
        self._noise = (noise * rng.uniform(1.5, 4.5)).round().astype(np.int8)

    def frame(self, time: float) -> StreetFrame:
        """The picture and its labels at a time from the start of the drive [s].

        :raises SourceError: for a time before the start.
        """
        travelled = self._travelled(time)
        # Colour and class share one four-channel canvas: what paints the one paints the other.
        drift = int(math.fmod(0.004 * time, 1) * self.camera.width)
        canvas = self._sky[:, drift : drift + self.camera.width].copy()
        self._draw_sprite(canvas, self._world.backdrop, *self._feet([(_FAR_M, 0, 0)])[0])
        for band in self._bands:
            _draw_band(canvas, band, travelled)
        ahead = [(self._distance(thing, time), thing) for thing in self._world.placed]
        ahead = [item for item in ahead if item[0] < _FAR_M]
        ahead.sort(key=lambda item: -item[0])
        feet = self._feet([(max(x, _NEAR_M), thing.y, thing.z) for x, thing in ahead])
        for (x, thing), foot in zip(ahead, feet, strict=True):
            if isinstance(thing.look, Mesh):
                self._draw_mesh(canvas, thing.look, x, thing.y)
            elif x > 2 * _NEAR_M:
                self._draw_sprite(canvas, thing.look, *foot)
        labels = np.asarray(cv2.extractChannel(canvas, 3), np.uint8)
        return StreetFrame(self._photographed(canvas, time), labels)

    def ground_label(self, x: ArrayLike, y: ArrayLike, time: float) -> Bytes:
        """Class of the bare ground, road or pavement, whatever stands or drives on it.

        :param x: metres ahead of the point below the camera, any shape.
        :param y: metres to its left, of a shape that goes with x.
        :returns: uint8 class ids of that shape; 255 beyond the facades, where no ground is.
        :raises SourceError: for a time before the start.
        """
        labels = self._world.ground.labels
        v = np.floor((self._world.left_wall - np.asarray(y, np.float64)) * TEXELS)
        u = np.floor((np.asarray(x, np.float64) + self._travelled(time)) * TEXELS)
        inside = (v >= 0) & (v < len(labels))
        found = labels[np.where(inside, v, 0).astype(int), u.astype(int) % labels.shape[1]]
        return np.where(inside, found, np.uint8(UNLABELED))

    def car_footprints(self, time: float) -> Doubles:
        """Where the cars ahead stand: (n, 4) float64 of x and y of the near right corner and x and
        y of the far left one, in the vehicle frame [m].

        :raises SourceError: for a time before the start.
        """
        self._travelled(time)
        boxes: list[tuple[float, float, float, float]] = []
        for thing in self._world.placed:
            x = self._distance(thing, time)
            if isinstance(thing.look, Mesh) and x < _FAR_M:
                # What lies on the ground itself is the shadow.
                corners = thing.look.corners[thing.look.corners[:, 2] > 0]
                (x0, y0, _), (x1, y1, _) = corners.min(0).tolist(), corners.max(0).tolist()
                boxes.append((x + x0, thing.y + y0, x + x1, thing.y + y1))
        return np.array(boxes, np.float64).reshape(-1, 4)

    def _travelled(self, time: float) -> float:
        """Distance from the start of this round of the world [m]."""
        if not 0 <= time < math.inf:
            raise SourceError(f'street time {time} s is not on the drive; give 0 or more')
        return math.fmod(self._speed * time, PERIOD_M)

    def _distance(self, thing: Placed, time: float) -> float:
        """How far ahead of the camera a thing is along the street, from -8 on [m]."""
        speed = thing.speed - (0.0 if thing.follows else self._speed)
        return (thing.u + math.fmod(speed * time, PERIOD_M) + 8) % PERIOD_M - 8

    def _wall_bands(self) -> list[_Band]:
        x, y, z = self.camera.rays()
        bands = []
        for y_wall, texture in zip(
            (self._world.left_wall, self._world.right_wall), self._world.walls, strict=True
        ):
            reach = y_wall / np.where(y * y_wall > 0, y, np.nan)
            below_top = FACADE_M - self.camera.height_m - reach * z
            bands += _bands(texture, reach * x, below_top, FACADE_M, axis=1)
        return bands

    def _ground_bands(self) -> list[_Band]:
        x, y, z = self.camera.rays()
        reach = self.camera.height_m / np.where(z < 0, -z, np.nan)
        from_wall = self._world.left_wall - reach * y
        width = self._world.left_wall - self._world.right_wall
        return _bands(self._world.ground, reach * x, from_wall, width, axis=0)

    def _painted_sky(self, rng: np.random.Generator) -> Bytes:
        """Sky with clouds, twice side by side so that it can drift, uint8 (H, 2 W, 4)."""
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
        """Pixel column, row and depth of points in the vehicle frame [m]."""
        feet: list[list[float]] = self.camera.project(np.array(points).reshape(-1, 3)).tolist()
        return feet

    def _draw_sprite(
        self, canvas: Bytes, sprite: Sprite, column: float, row: float, depth: float
    ) -> None:
        """Draw a sprite upright, its foot on a pixel, as large as it is at that depth [m]."""
        scale = self.camera.fx / depth
        left, top = column - scale * sprite.width / 2, row - scale * sprite.height
        first_col, first_row = max(0, math.ceil(left)), max(0, math.ceil(top))
        view = canvas[
            first_row : max(first_row, math.floor(row) + 1),
            first_col : max(first_col, math.floor(column + scale * sprite.width / 2) + 1),
        ]
        if view.size == 0:
            return
        texels = sprite.levels[0].labels.shape[0] / sprite.height
        level = min(max(0, round(math.log2(texels / scale))), len(sprite.levels) - 1)
        texture = sprite.levels[level]
        step = texels / 2**level / scale
        matrix = np.array(
            [
                (step, 0, (first_col - left) * step - 0.5),
                (0, step, (first_row - top) * step - 0.5),
            ]
        )
        size, nearest = (view.shape[1], view.shape[0]), cv2.WARP_INVERSE_MAP | cv2.INTER_NEAREST
        linear, edge = cv2.WARP_INVERSE_MAP | cv2.INTER_LINEAR, cv2.BORDER_REPLICATE
        labels = cv2.warpAffine(texture.labels, matrix, size, None, nearest, edge)
        colors = cv2.warpAffine(texture.bgr, matrix, size, None, linear, edge)
        _stamp(view, colors, labels)

    def _draw_mesh(self, canvas: Bytes, mesh: Mesh, x: float, y: float) -> None:
        corners = mesh.corners + np.array((x, y, 0), np.float32)
        if corners[:, 0].max() <= _NEAR_M:
            return
        # The sides of a car run along the street, so pulling corners up to the near plane cuts
        # them there; whatever else it bends is beside the picture.
        corners[:, 0] = np.maximum(corners[:, 0], _NEAR_M)
        pixels = self.camera.project(corners)[:, :2]
        following = np.arange(1, len(pixels) + 1)
        following[np.append(mesh.starts[1:], len(pixels)) - 1] = mesh.starts
        turned = pixels[following]
        cross = pixels[:, 0] * turned[:, 1] - pixels[:, 1] * turned[:, 0]
        # Twice the area of each face in the picture; negative where its back is seen.
        areas = np.add.reduceat(cross, mesh.starts).tolist()
        points = (pixels * 16).round().astype(np.int32)
        bounds = pairwise([*mesh.starts.tolist(), len(points)])
        for (start, end), area, color in zip(bounds, areas, mesh.colors.tolist(), strict=True):
            if area > 1:
                cv2.fillPoly(canvas, [points[start:end]], color, cv2.LINE_8, 4)

    def _photographed(self, canvas: Bytes, time: float) -> Bytes:
        """The canvas through a slightly soft lens and a noisy sensor."""
        bgr = cv2.cvtColor(canvas, cv2.COLOR_BGRA2BGR)
        bgr = cv2.GaussianBlur(bgr, (3, 3), self._blur)
        top, left = (int(math.fmod(time * prime, 32)) for prime in (7919, 6101))
        noise = self._noise[top : top + bgr.shape[0], left : left + bgr.shape[1]]
        return np.asarray(cv2.add(bgr, noise, dtype=cv2.CV_8U), np.uint8)


def _bands(
    texture: Texture, along: Doubles, across: Doubles, width: float, axis: int
) -> list[_Band]:
    """Cut the view of a texture into one rectangle per level of detail.

    :param along: distance along the street of what each pixel of the frame sees [m].
    :param across: its distance from row 0 of the texture [m], which is `width` wide.
    :param axis: the axis of the frame along which the distance changes most.
    """
    seen = (along < _FAR_M) & (across >= 0) & (across < width)
    # Texels per pixel decide the level: the coarsest that still has about one texel per pixel.
    texels = np.abs(np.gradient(along, axis=axis)) * TEXELS
    texels = np.where(seen, texels, 0).max(1 - axis, keepdims=True)
    wanted = sum((texels > 0.7 * merge_u).astype(int) for merge_u, _ in _LEVELS[1:])
    bands = []
    for level, (merge_u, merge_v) in enumerate(_LEVELS):
        part = seen & (wanted == level)
        if not part.any():
            continue
        rows, cols = np.flatnonzero(part.any(1)), np.flatnonzero(part.any(0))
        box = (slice(rows[0], rows[-1] + 1), slice(cols[0], cols[-1] + 1))
        # Far outside is see-through.
        u = np.where(part, along * (TEXELS / merge_u) - 0.5, -(2**14))[box].astype(np.float32)
        v = np.where(part, across * (TEXELS / merge_v) - 0.5, -9)[box].astype(np.float32)
        merged = _merged(texture, merge_u, merge_v)
        bands.append(_Band(box, u, v, TEXELS / merge_u, merged))
    return bands


def _merged(texture: Texture, merge_u: int, merge_v: int) -> Texture:
    """A coarser level of a texture, with its start again at its end for the view ahead."""
    rows, cols = texture.labels.shape
    bgr = cv2.resize(
        texture.bgr, (cols // merge_u, -(-rows // merge_v)), interpolation=cv2.INTER_AREA
    )
    labels = texture.labels[:, merge_u // 2 :: merge_u][merge_v // 2 :: merge_v]
    again = math.ceil((_FAR_M + 2) * TEXELS / merge_u)
    return Texture(np.hstack([bgr, bgr[:, :again]]), np.hstack([labels, labels[:, :again]]))


def _draw_band(canvas: Bytes, band: _Band, travelled: float) -> None:
    u = band.u + np.float32(travelled * band.texels_per_m)
    outside = (UNLABELED,)
    labels = cv2.remap(
        band.texture.labels, u, band.v, cv2.INTER_NEAREST, None, cv2.BORDER_CONSTANT, outside
    )
    colors = cv2.remap(band.texture.bgr, u, band.v, cv2.INTER_LINEAR, None, cv2.BORDER_REPLICATE)
    _stamp(canvas[band.box], colors, labels)


def _stamp(view: Bytes, colors: cv2.typing.MatLike, labels: cv2.typing.MatLike) -> None:
    """Paint colours and labels wherever the label is not see-through."""
    _, opaque = cv2.threshold(labels, UNLABELED - 1, 255, cv2.THRESH_BINARY_INV)
    cv2.copyTo(cv2.merge([colors, labels]), opaque, view)
