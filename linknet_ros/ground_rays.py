"""Rays over the ground: which pixels a camera sees along each bearing, and how far away.

A standing thing hides the ground behind it along the bearing from the camera's foot, the point of
the ground below the camera. So the pixels of the ground are sorted by bearing and range once, and
each frame is looked through from near to far.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from linknet_ros.camera_model import CameraModel
from linknet_ros.camera_mount import Mount
from linknet_ros.errors import CalibrationError

Bools = NDArray[np.bool_]
Bytes = NDArray[np.uint8]
Doubles = NDArray[np.float64]
Floats = NDArray[np.float32]
Indices = NDArray[np.intp]

#: What a pixel is to the ground: seen, hidden by the vehicle itself, sky or too far away, nothing.
_SEEN, _HIDDEN, _BEYOND, _NOTHING = range(4)
#: Steps along a ray are this share of a pixel, so that none is stepped over.
_STEP = 0.2
#: A ray goes through this middle share of a pixel, or it does not count as hit.
_MIDDLE = 0.8
#: Rays are traced in parts of so many points, to bound the memory.
_POINTS = 1 << 19


@dataclass(frozen=True)
class GroundRays:
    """The pixels along rays over the ground, for one camera, mount and mask.

    Every pixel whose centre sees the ground within the range is on a ray at least; a ray has
    each pixel that it crosses once, from near to far.

    :param foot: x, y of the camera's foot in the base frame [m].
    :param height: of the camera above the ground [m].
    :param heading: bearing of the middle of the view in the base frame [rad].
    :param azimuth: (rays,) float64, to the left of the heading, rising, within -pi to pi [rad].
    :param pixels: (rays, most + 1) intp indices into the flat image; width * height ends a ray.
    :param near: (rays, most + 1) float32 distance from the foot at which a ray enters the pixel
        [m]; at the end of a ray, where it leaves the last one; 0 for a ray without any.
    :param reaches: (rays,) whether the end is the largest range, not the image's border.
    :param gaps: (n, 3) float64: ray, and from and to which distance the vehicle hides the ground.
    :param pixel_angle: how much a pixel's row spans, in the middle [rad].
    """

    foot: tuple[float, float]
    height: float
    heading: float
    azimuth: Doubles
    pixels: Indices
    near: Floats
    reaches: Bools
    gaps: Doubles
    pixel_angle: float

    def __len__(self) -> int:
        return len(self.azimuth)

    @property
    def starts(self) -> Floats:
        """Distance at which each ray begins to see the ground, inf for one without pixels [m]."""
        return np.where(self.near[:, 1] > 0, self.near[:, 0], np.float32(np.inf))

    def directions(self) -> Doubles:
        """Unit vectors of the rays in the base frame, (rays, 2) float64."""
        bearing = self.heading + self.azimuth
        return np.stack([np.cos(bearing), np.sin(bearing)], 1)

    def polar(self, x: Doubles, y: Doubles) -> tuple[Doubles, Doubles]:
        """Azimuth [rad] and distance from the foot [m] of points in the base frame [m]."""
        x, y = x - self.foot[0], y - self.foot[1]
        cos, sin = math.cos(self.heading), math.sin(self.heading)
        return np.arctan2(cos * y - sin * x, cos * x + sin * y), np.hypot(x, y)


def ground_rays(
    camera: CameraModel,
    mount: Mount,
    *,
    plane_z: float = 0.0,
    max_range: float = 20.0,
    ego_mask: Bytes | None = None,
) -> GroundRays:
    """Sort the pixels of the ground.

    :param camera: of the labels' image.
    :param mount: where it is on the robot.
    :param plane_z: height of the ground in the base frame [m].
    :param max_range: how far from the base frame's origin the ground is looked at [m].
    :param ego_mask: (H, W), not 0 where the vehicle itself is in the picture.
    :raises CalibrationError: when the camera is not above the ground, or sees none of it.
    """
    height = mount.position[2] - plane_z
    if not height > 0:
        raise CalibrationError(
            f'the camera is {height:g} m above the ground; set ground.height, or ground.plane_z '
            'to the height of the ground in the base frame'
        )
    view = _View(camera, mount, height, max_range, ego_mask)
    azimuth = view.bearings()
    parts = [
        view.trace(part)
        for part in np.array_split(azimuth, -(-len(azimuth) * view.steps // _POINTS))
    ]
    most = max(pixels.shape[1] for pixels, *_ in parts)
    end = camera.width * camera.height
    before = np.cumsum([0, *(len(pixels) for pixels, *_ in parts)])
    for (*_, gaps), first in zip(parts, before, strict=False):
        gaps[:, 0] += first
    return GroundRays(
        foot=mount.position[:2],
        height=height,
        heading=view.heading,
        azimuth=azimuth,
        pixels=np.concatenate([_widened(pixels, most, end) for pixels, *_ in parts]),
        near=np.concatenate([_widened(near, most, 0) for _, near, *_ in parts]),
        reaches=np.concatenate([reaches for _, _, reaches, _ in parts]),
        gaps=np.concatenate([gaps for *_, gaps in parts]),
        pixel_angle=view.pixel_angle,
    )


class _View:
    """What each pixel sees, and the way back."""

    def __init__(
        self,
        camera: CameraModel,
        mount: Mount,
        height: float,
        max_range: float,
        ego_mask: Bytes | None,
    ) -> None:
        self.camera, self.height = camera, height
        self.rotation = mount.matrix
        # Straight ahead, or for a camera that looks down, what is up in the picture.
        ahead, up = self.rotation[:2, 2], -self.rotation[:2, 1]
        ahead = ahead if np.hypot(*ahead) > 0.1 else up
        self.heading = math.atan2(ahead[1], ahead[0])
        shape = (camera.height, camera.width)
        rows, cols = np.indices(shape)
        rays = camera.rays(np.stack([cols.ravel(), rows.ravel()], 1)) @ self.rotation.T
        x, y, z = rays.T
        away = np.hypot(x, y)
        azimuth = self._turned(np.arctan2(y, x)).reshape(shape)
        #: Angle below the horizon.
        depression = np.arctan2(-z, away)
        with np.errstate(divide='ignore', invalid='ignore'):
            reach = np.where(z < 0, height * away / -z, np.inf)
            px = mount.position[0] + reach * x / away
            py = mount.position[1] + reach * y / away
            within = (z < 0) & (np.hypot(px, py) <= max_range)
        status = np.where(within, _SEEN, _BEYOND)
        status[np.isnan(z)] = _NOTHING
        ground = within.reshape(shape)
        if not ground.any():
            raise CalibrationError(
                f'the camera sees no ground within {max_range:g} m; check its pitch (positive '
                'looks down), height, and ground.max_range'
            )
        if ego_mask is not None:
            status[within & (ego_mask.ravel() != 0)] = _HIDDEN
        # One more for all that is outside the image.
        self.status = np.append(status, _NOTHING).astype(np.uint8)
        self.pixel_angle, down = self._pixel_angles(ground, azimuth, depression.reshape(shape))
        low, high = depression[ground.ravel()].min(), depression[ground.ravel()].max()
        # A pixel more on both sides: tables are of pixels whose centres see the ground.
        low = max(low - 1.5 * down, low / 3)
        high = min(high + 1.5 * self.pixel_angle, math.pi / 2 - 1e-6)
        self.steps = int((high - low) / (_STEP * down)) + 2
        self.depressions = np.linspace(high, low, self.steps)

    def _turned(self, bearing: Doubles) -> Doubles:
        """Bearings to the left of the heading, -pi to pi."""
        return (bearing - self.heading + math.pi) % (2 * math.pi) - math.pi

    def _pixel_angles(
        self, ground: Bools, azimuth: Doubles, depression: Doubles
    ) -> tuple[float, float]:
        """Keep what azimuth each pixel of the ground spans; returns its usual and least size."""
        spans = np.zeros(ground.shape)
        sizes = np.full(ground.shape, np.inf)
        for axis in (0, 1):
            across = (np.diff(azimuth, axis=axis) + math.pi) % (2 * math.pi) - math.pi
            down = np.diff(depression, axis=axis)
            # On the unit sphere.
            size = np.hypot(across * np.cos(depression[: down.shape[0], : down.shape[1]]), down)
            pads = ((0, 1), (0, 0)) if axis == 0 else ((0, 0), (0, 1))
            back = pads[0][::-1], pads[1][::-1]
            for values, total, join in (
                (np.abs(across), spans, np.add),
                (size, sizes, np.minimum),
            ):
                fill = np.nan
                both = np.fmin(
                    np.pad(values, pads, constant_values=fill),
                    np.pad(values, back, constant_values=fill),
                )
                join(
                    total,
                    np.where(np.isnan(both), total if join is np.minimum else 0, both),
                    out=total,
                )
        self.azimuths = azimuth[ground]
        self.half_spans = _MIDDLE / 2 * spans[ground]
        sizes = sizes[ground]
        sizes = sizes[np.isfinite(sizes)]
        if not sizes.size:
            raise CalibrationError('the camera sees the ground with a single pixel')
        return float(np.median(sizes)), float(np.percentile(sizes, 1))

    def bearings(self) -> Doubles:
        """Fewest azimuths such that a ray goes through the middle of every pixel of the ground.

        The classical greedy: the next ray is at the first right end of all spans that no ray has
        stabbed yet.
        """
        # Behind the camera bearings jump; what lies on the jump is stabbed on one side of it.
        left = np.maximum(self.azimuths - self.half_spans, -math.pi)
        right = np.minimum(self.azimuths + self.half_spans, math.pi)
        order = np.argsort(left)
        lefts = left[order].tolist()
        first_right = np.minimum.accumulate(right[order][::-1])[::-1].tolist()
        found: list[float] = []
        at = 0
        while at < len(lefts):
            found.append(first_right[at])
            at = bisect_right(lefts, found[-1])
        # Two spare rays at the ends bound the view; where no pixel is, rays without pixels tell
        # the cells there that nothing sees them.
        step = float(np.median(np.diff(found))) if len(found) > 1 else self.pixel_angle
        azimuth = np.array([found[0] - step / 2, *found, found[-1] + step / 2])
        wide = np.flatnonzero(np.diff(azimuth) > 4 * step)
        between = [(azimuth[wide] * (3 - i) + azimuth[wide + 1] * i) / 3 for i in (1, 2)]
        return np.sort(np.concatenate([azimuth, *between]))

    def trace(self, azimuth: Doubles) -> tuple[Indices, Floats, Bools, Doubles]:
        """Follow rays from near to far; see GroundRays."""
        camera, count = self.camera, len(azimuth)
        bearing = self.heading + azimuth[:, None]
        cos, sin = np.cos(self.depressions), -np.sin(self.depressions)
        directions = np.stack(
            [
                np.cos(bearing) * cos,
                np.sin(bearing) * cos,
                np.broadcast_to(sin, (count, len(sin))),
            ],
            -1,
        ).reshape(-1, 3)
        found = camera.project(directions @ self.rotation)
        cols, rows = np.floor(np.nan_to_num(found, nan=-9.0, posinf=-9, neginf=-9).T + 0.5)
        inside = (cols >= 0) & (cols < camera.width) & (rows >= 0) & (rows < camera.height)
        end = camera.width * camera.height
        index = np.where(inside, rows * camera.width + cols, end).astype(np.intp)
        index = index.reshape(count, self.steps)
        status = self.status[index]
        seen = status == _SEEN
        # Half way between two steps a ray passes from one pixel to the next.
        ranges = self.height / np.tan(self.depressions)
        middles = (self.depressions[1:] + self.depressions[:-1]) / 2
        edges = np.concatenate([ranges[:1], self.height / np.tan(middles), ranges[-1:]])
        enters = seen.copy()
        enters[:, 1:] &= index[:, 1:] != index[:, :-1]
        ray, step = np.nonzero(enters)
        rank = (np.cumsum(enters, 1) - 1)[ray, step]
        numbers = enters.sum(1)
        pixels = np.full((count, max(1, int(numbers.max())) + 1), end, np.intp)
        near = np.zeros(pixels.shape, np.float32)
        pixels[ray, rank], near[ray, rank] = index[ray, step], edges[step]
        # The last pixel of each ray, and what comes after it.
        last = self.steps - 1 - seen[:, ::-1].argmax(1)
        some = numbers > 0
        rays = np.arange(count)
        near[rays[some], numbers[some]] = edges[last[some] + 1]
        after = status[rays, np.minimum(last + 1, self.steps - 1)]
        reaches = some & ((after == _BEYOND) | (last == self.steps - 1))
        return pixels, near, reaches, self._gaps(seen, last, some, edges)

    def _gaps(self, seen: Bools, last: Indices, some: Bools, edges: Doubles) -> Doubles:
        """Stretches between the first and the last pixel of a ray that are not seen, (n, 3)."""
        steps = np.arange(seen.shape[1])
        first = seen.argmax(1)
        between = (steps > first[:, None]) & (steps < last[:, None]) & some[:, None] & ~seen
        change = np.diff(between.astype(np.int8), axis=1, prepend=0, append=0)
        ray, start = np.nonzero(change == 1)
        _, stop = np.nonzero(change == -1)
        return np.stack([ray, edges[start], edges[stop]], 1).astype(np.float64)


def _widened(table: NDArray[np.generic], most: int, fill: int) -> NDArray[np.generic]:
    return np.pad(table, ((0, 0), (0, most - table.shape[1])), constant_values=fill)
