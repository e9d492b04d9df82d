"""A drive through a procedural town street, with the exact class of every pixel.

It stands in for a data set on a fresh machine: the demo replays it through the network and checks
the labels that come out, and training mixes some of its frames into CamVid.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import ArrayLike, NDArray

from linknet_ros.classes import UNLABELED
from linknet_ros.errors import SourceError
from linknet_ros.street_figures import SKY, Bytes, Floats, Mesh, Sprite, Strip, clouds
from linknet_ros.street_world import FACADE_M, FAR_M, PERIOD_M, TEXELS, Placed, StreetWorld

#: Nothing nearer to the camera than this is drawn [m].
_NEAR_M = 0.8
#: A level of detail of a texture per entry: how many texels it merges along and across the street.
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

    def rays(self) -> tuple[Floats, Floats, Floats]:
        """Ray of each pixel in the vehicle frame: x, y and z, float32 of one depth unit."""
        down = (np.arange(self.height)[:, None] - self.cy) / self.fy
        right = (np.arange(self.width)[None] - self.cx) / self.fx
        sin, cos = math.sin(self.pitch), math.cos(self.pitch)
        ones = np.ones((self.height, self.width))
        x, y, z = (cos - down * sin) * ones, -right * ones, (-sin - down * cos) * ones
        return x.astype(np.float32), y.astype(np.float32), z.astype(np.float32)

    def project(self, points: NDArray[np.floating]) -> NDArray[np.float64]:
        """Pixel (column, row) of points in the vehicle frame: (n, 3) to (n, 2)."""
        sin, cos = math.sin(self.pitch), math.cos(self.pitch)
        x, y, z = points[:, 0], points[:, 1], points[:, 2] - self.height_m
        depth = x * cos - z * sin
        columns = self.cx - self.fx * y / depth
        rows = self.cy + self.fy * (-x * sin - z * cos) / depth
        return np.stack([columns, rows], axis=1).astype(np.float64)


@dataclass(frozen=True)
class StreetFrame:
    """One frame: bgr uint8 (H, W, 3), labels uint8 (H, W) of CamVid class ids."""

    bgr: Bytes
    labels: Bytes


@dataclass(frozen=True)
class _Band:
    """A rectangle of the picture that shows one level of a texture.

    `u` and `v` are the column and row in that level that each pixel sees at the start of the
    drive; moving ahead by a metre adds `texels_per_m` to u.
    """

    rows: slice
    cols: slice
    u: Floats
    v: Floats
    texels_per_m: float
    strip: Strip


class StreetDrive:
    """An endless, repeatable drive: a frame depends on nothing but seed, size, speed and time.

    :param seed: which street; 0 is a bright one with everything in it.
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
        jitter = rng.uniform(-1, 1, 4) * (seed != 0)
        focal = width * (0.95 + 0.12 * jitter[0])
        self.camera = PinholeCamera(
            width,
            height,
            focal,
            focal,
            (width - 1) / 2 + 0.09 * width * jitter[1],
            (height - 1) / 2,
            1.5 + 0.15 * jitter[2],
            0.055 + 0.03 * jitter[3],
        )
        self._bands = [*self._facade_bands(), *self._ground_bands()]
        self._sky = self._painted_sky(rng)
        self._blur = float(rng.uniform(0.3, 0.7))
        spread = float(rng.uniform(1.5, 4.5))
        noise = rng.normal(0, spread, (height + 32, width + 32, 3))
        self._noise = noise.round().clip(-127, 127).astype(np.int8)

    def frame(self, time: float) -> StreetFrame:
        """The picture and its labels at a time from the start of the drive [s].

        :raises SourceError: for a time before the start.
        """
        travelled = self._travelled(time)
        camera, world = self.camera, self._world
        # Colour and label share one four-channel canvas: what paints one paints the other.
        drift = int(time * 0.004 * camera.width) % camera.width
        canvas = self._sky[:, drift : drift + camera.width].copy()
        self._draw_sprite(canvas, world.backdrop, FAR_M, 0.0, 0.0)
        for band in self._bands:
            _draw_band(canvas, band, travelled)
        placed = [(self._ahead(thing, time), thing) for thing in world.objects]
        for x, thing in sorted(placed, key=lambda item: -item[0]):
            if x > FAR_M:
                continue
            if isinstance(thing.look, Mesh):
                self._draw_mesh(canvas, thing.look, x, thing.y)
            else:
                self._draw_sprite(canvas, thing.look, x, thing.y, thing.z)
        labels = cv2.extractChannel(canvas, 3).astype(np.uint8, copy=False)
        return StreetFrame(self._photographed(canvas, time), labels)

    def ground_label(self, x: ArrayLike, y: ArrayLike, time: float) -> Bytes:
        """Class of the bare ground, road or pavement, whatever stands or drives on it.

        :param x: metres ahead of the point below the camera, any shape.
        :param y: metres to its left, of a shape that goes with x.
        :returns: uint8 class ids of that shape; 255 beyond the facades, where no ground is.
        :raises SourceError: for a time before the start.
        """
        labels = self._world.ground.labels
        across = (self._world.section.left_wall - np.asarray(y, np.float64)) * TEXELS
        along = (np.asarray(x, np.float64) + self._travelled(time)) * TEXELS
        rows, cols = np.broadcast_arrays(np.floor(across).astype(int), np.floor(along).astype(int))
        inside = (rows >= 0) & (rows < len(labels))
        found = labels[np.where(inside, rows, 0), cols % labels.shape[1]]
        return np.where(inside, found, np.uint8(UNLABELED)).astype(np.uint8)

    def _travelled(self, time: float) -> float:
        """Distance from the start of the current round of the world [m]."""
        if not 0 <= time < math.inf:
            raise SourceError(f'street time {time} s is not on the drive; give 0 or more')
        return math.fmod(self._speed * time, PERIOD_M)

    def _ahead(self, thing: Placed, time: float) -> float:
        """Distance of a thing from the camera along the street [m], from -8 on."""
        speed = thing.speed - (0.0 if thing.follows else self._speed)
        swing = thing.swing * math.sin(0.4 * time + thing.u)
        return (thing.u + speed * time + swing + 8) % PERIOD_M - 8

    def _facade_bands(self) -> list[_Band]:
        """The parts of the picture where the walls are, nearest ray first."""
        x, y, z = self.camera.rays()
        section, world = self._world.section, self._world
        bands = []
        for wall, strip in ((section.left_wall, world.left), (section.right_wall, world.right)):
            toward = np.where(y * wall > 0, y, np.nan)
            along, up = wall * x / toward, self.camera.height_m + wall * z / toward
            seen = (along < FAR_M) & (up >= 0) & (up <= FACADE_M)
            footprint = np.abs(along * x / toward) / self.camera.fx * TEXELS
            bands += _bands(strip, along, FACADE_M - up, seen, footprint.mean(0), axis=1)
        return bands

    def _ground_bands(self) -> list[_Band]:
        """The part of the picture where the ground is, and not a wall before it."""
        x, y, z = self.camera.rays()
        toward = np.where(z < 0, -z, np.nan)
        reach = self.camera.height_m / toward
        along, across = reach * x, self._world.section.left_wall - reach * y
        rows = len(self._world.ground.labels) / TEXELS
        seen = (along < FAR_M) & (across >= 0) & (across < rows)
        footprint = along * reach / self.camera.height_m / self.camera.fy * TEXELS
        return _bands(self._world.ground, along, across, seen, footprint.mean(1), axis=0)

    def _painted_sky(self, rng: np.random.Generator) -> Bytes:
        """Sky with clouds, two frames wide so that it can drift, uint8 (H, 2 W, 4)."""
        height, width = self.camera.height, self.camera.width
        light = self._world.light
        height_share = np.linspace(0, 1, height)[:, None, None] / 0.45
        top, bottom = np.array(light.sky_top), np.array(light.sky_bottom)
        sky = top + (bottom - top) * np.minimum(height_share, 1)
        cloud = clouds(rng, height, width, max(4, width // 4), 5)[..., None]
        density = np.clip(0.4 + rng.uniform(0.5, 1.2) * cloud, 0, 1)
        white = np.array(light.sky_bottom) * rng.uniform(0.9, 1.02)
        sky = np.clip(sky + density * (white - sky), 0, 255)
        sky = np.dstack([sky, np.full((height, width), SKY)]).astype(np.uint8)
        return np.hstack([sky, sky])

    def _draw_sprite(self, canvas: Bytes, sprite: Sprite, x: float, y: float, z: float) -> None:
        if x < 2 * _NEAR_M:
            return
        foot, head = self.camera.project(np.array([(x, y, z), (x, y, z + sprite.height_m)]))
        scale = (foot[1] - head[1]) / sprite.height_m
        half = scale * sprite.width_m / 2
        left, right = max(0, math.ceil(foot[0] - half)), math.floor(foot[0] + half) + 1
        top, bottom = max(0, math.ceil(head[1])), math.floor(foot[1]) + 1
        view = canvas[top : max(top, bottom), left : max(left, right)]
        if view.size == 0:
            return
        texels = sprite.levels[0].labels.shape[0] / sprite.height_m
        level = int(np.clip(round(math.log2(texels / scale)), 0, len(sprite.levels) - 1))
        picture = sprite.levels[level]
        rows, cols = picture.labels.shape
        step_x, step_y = cols / (2 * half), rows / (foot[1] - head[1])
        shift_x, shift_y = (left - foot[0] + half) * step_x, (top - head[1]) * step_y
        matrix = np.array([[step_x, 0, shift_x - 0.5], [0, step_y, shift_y - 0.5]])
        size, flags = (view.shape[1], view.shape[0]), cv2.WARP_INVERSE_MAP
        border = cv2.BORDER_REPLICATE
        labels = cv2.warpAffine(picture.labels, matrix, size, None, flags, border)
        flags |= cv2.INTER_LINEAR
        colors = cv2.warpAffine(picture.bgr, matrix, size, None, flags, border)
        _stamp(view, colors, labels)

    def _draw_mesh(self, canvas: Bytes, mesh: Mesh, x: float, y: float) -> None:
        corners = mesh.corners + np.array((x, y, 0), np.float32)
        if corners[:, 0].max() <= _NEAR_M:
            return
        # Faces run along the street or across it, so that moving corners up to the near plane
        # cuts them there; only parts outside the picture change shape.
        corners[:, 0] = np.maximum(corners[:, 0], _NEAR_M)
        pixels = self.camera.project(corners)
        points = np.clip(pixels * 16, -(2**20), 2**20).round().astype(np.int32)
        for start, end, color in mesh.faces:
            face = points[start:end]
            if cv2.contourArea(face.astype(np.float32), oriented=True) > 0:
                cv2.fillPoly(canvas, [face], color, cv2.LINE_8, 4)

    def _photographed(self, canvas: Bytes, time: float) -> Bytes:
        """The canvas through a slightly soft lens and a noisy sensor."""
        bgr = cv2.cvtColor(canvas, cv2.COLOR_BGRA2BGR)
        bgr = cv2.GaussianBlur(bgr, (3, 3), self._blur)
        top, left = (int(time * prime) % 32 for prime in (7919, 6101))
        noise = self._noise[top : top + bgr.shape[0], left : left + bgr.shape[1]]
        return cv2.add(bgr, noise, dtype=cv2.CV_8U).astype(np.uint8, copy=False)


def _bands(
    strip: Strip,
    along: Floats,
    across: Floats,
    seen: NDArray[np.bool_],
    footprint: Floats,
    axis: int,
) -> list[_Band]:
    """Cut the view of a texture into rectangles of one level of detail each.

    :param along: distance along the street [m] of each pixel of the frame.
    :param across: distance from row 0 of the strip [m].
    :param seen: which pixels show the strip.
    :param footprint: texels that a pixel spans along the street, per row or column of the frame.
    :param axis: the axis of the frame that footprint runs over.
    """
    wanted = np.zeros(len(footprint), int)
    for merged, _ in _LEVELS[1:]:
        wanted += np.nan_to_num(footprint, nan=np.inf) > 0.7 * merged
    bands = []
    for level, (merge_u, merge_v) in enumerate(_LEVELS):
        part = seen & np.expand_dims(wanted == level, 1 - axis)
        if not part.any():
            continue
        rows, cols = (np.flatnonzero(part.any(1 - i)) for i in (0, 1))
        box = (slice(rows[0], rows[-1] + 1), slice(cols[0], cols[-1] + 1))
        u = np.where(part, along * (TEXELS / merge_u), -9)[box] - 0.5
        v = np.where(part, across * (TEXELS / merge_v), -9)[box] - 0.5
        bands.append(
            _Band(
                *box,
                u.astype(np.float32),
                v.astype(np.float32),
                TEXELS / merge_u,
                _merged(strip, merge_u, merge_v),
            )
        )
    return bands


def _merged(strip: Strip, merge_u: int, merge_v: int) -> Strip:
    """A coarser level of a texture, with the start repeated at its end for the view ahead."""
    rows, cols = strip.labels.shape
    size = (cols // merge_u, rows // merge_v)
    bgr = cv2.resize(strip.bgr, size, interpolation=cv2.INTER_AREA)
    labels = strip.labels[merge_v // 2 :: merge_v, merge_u // 2 :: merge_u][: size[1], : size[0]]
    extra = math.ceil((FAR_M + 2) * TEXELS / merge_u)
    return Strip(np.hstack([bgr, bgr[:, :extra]]), np.hstack([labels, labels[:, :extra]]))


def _draw_band(canvas: Bytes, band: _Band, travelled: float) -> None:
    u = band.u + np.float32(travelled * band.texels_per_m)
    nearest, linear, border = cv2.INTER_NEAREST, cv2.INTER_LINEAR, cv2.BORDER_CONSTANT
    outside = (UNLABELED,)
    labels = cv2.remap(band.strip.labels, u, band.v, nearest, None, border, outside)
    colors = cv2.remap(band.strip.bgr, u, band.v, linear, None, cv2.BORDER_REPLICATE)
    _stamp(canvas[band.rows, band.cols], colors, labels)


def _stamp(view: Bytes, colors: cv2.typing.MatLike, labels: cv2.typing.MatLike) -> None:
    """Paint colours and labels where the label is not see-through."""
    patch = cv2.merge([colors, labels])
    cv2.copyTo(patch, cv2.compare(labels, UNLABELED, cv2.CMP_NE), view)
