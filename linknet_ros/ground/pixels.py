"""The pixels that see the ground, the bearings that cross all of them, and what each crosses."""

from __future__ import annotations

import math
from bisect import bisect_right

import numpy as np
from numpy.typing import NDArray

from linknet_ros.errors import CalibrationError
from linknet_ros.ground.camera import CameraModel
from linknet_ros.ground.mount import Mount

Bools = NDArray[np.bool_]
Bytes = NDArray[np.uint8]
Doubles = NDArray[np.float64]
Floats = NDArray[np.float32]
Indices = NDArray[np.intp]

#: What a pixel shows: ground, the vehicle itself, sky or ground out of range, nothing.
_SEEN, _HIDDEN, _BEYOND, _NOTHING = range(4)
#: Steps along a ray are this share of a pixel, so that no pixel is skipped.
_STEP = 0.2
#: A ray crosses a pixel only if it goes through this middle share of it.
_MIDDLE = 0.8
#: So many pixels from the camera's foot a difference of azimuths is right to a few percent.
_FEW = 3


class GroundPixels:
    """What each pixel sees of the ground, and the inverse: the pixels along a bearing.

    :param camera: model of the camera.
    :param mount: where it is on the robot.
    :param height: height of the camera above the ground [m].
    :param max_range: largest distance of ground from the base frame's origin [m].
    :param ego_mask: (H, W), not 0 where the vehicle itself is in the image; None for nowhere.
    :raises CalibrationError: when the camera sees no ground.
    """

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
        # The optical axis, or for a camera that looks straight down, the image's upward direction.
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
                f'the camera sees no ground within {max_range:g} m',
                'check its pitch (positive looks down), its height and ground.max_range',
            )
        if ego_mask is not None:
            status[within & (ego_mask.ravel() != 0)] = _HIDDEN
        # One more entry for everything outside the image.
        self.status = np.append(status, _NOTHING).astype(np.uint8)
        angles = self._pixel_angles(ground, azimuth, depression.reshape(shape))
        self.pixel_angle, down, self.coarsest_angle = angles
        low, high = depression[ground.ravel()].min(), depression[ground.ravel()].max()
        # One more pixel at both ends: the tables hold pixels whose centres see the ground.
        low = max(low - 1.5 * down, low / 3)
        high = min(high + 1.5 * self.pixel_angle, math.pi / 2 - 1e-6)
        self.steps = int((high - low) / (_STEP * down)) + 2
        self.depressions = np.linspace(high, low, self.steps)

    def _turned(self, bearing: Doubles) -> Doubles:
        """Bearings to the left of the heading, -pi to pi."""
        return (bearing - self.heading + math.pi) % (2 * math.pi) - math.pi

    def _pixel_angles(
        self, ground: Bools, azimuth: Doubles, depression: Doubles
    ) -> tuple[float, float, float]:
        """Set the azimuths that ground pixels span; return median, smallest and largest angle."""
        spans = np.zeros(ground.shape)
        sizes = np.full(ground.shape, np.inf)
        for axis in (0, 1):
            across = (np.diff(azimuth, axis=axis) + math.pi) % (2 * math.pi) - math.pi
            down = np.diff(depression, axis=axis)
            # On the unit sphere.
            size = np.hypot(across * np.cos(depression[: down.shape[0], : down.shape[1]]), down)
            spans += np.nan_to_num(_nearer(np.abs(across), axis))
            sizes = np.fmin(sizes, _nearer(size, axis))
        self.azimuths = azimuth[ground]
        sizes = sizes[ground]
        from_foot = math.pi / 2 - depression[ground]
        # A few pixels from the camera's foot, azimuths change too fast for differences: there the
        # middle of a pixel is a disc. Any ray crosses the one that has the foot in it.
        radius = _MIDDLE / 2 * sizes
        near = (from_foot > radius) & (from_foot < _FEW * sizes) & np.isfinite(sizes)
        self.half_spans = _MIDDLE / 2 * spans[ground]
        disc = np.arcsin(radius[near] / from_foot[near])
        self.half_spans[near] = np.minimum(self.half_spans[near], disc)
        sizes = sizes[np.isfinite(sizes)]
        if not sizes.size:
            raise CalibrationError(
                'the camera sees only one pixel of ground', 'check its pitch and ground.max_range'
            )
        smallest, largest = np.percentile(sizes, [1, 99]).tolist()
        return float(np.median(sizes)), smallest, largest

    def bearings(self) -> Doubles:
        """The fewest azimuths that cross the middle of every ground pixel [rad], increasing.

        Greedy interval stabbing: the next ray is at the smallest right end of the spans that no
        ray crosses yet.
        """
        # Behind the camera bearings wrap around; a span there is crossed on one side of the wrap.
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
        # Two spare rays bound the image on both sides. In a gap without pixels, rays without
        # pixels mark the cells there as unseen.
        step = float(np.median(np.diff(found))) if len(found) > 1 else self.pixel_angle
        azimuth = np.array([found[0] - step / 2, *found, found[-1] + step / 2])
        wide = np.flatnonzero(np.diff(azimuth) > 4 * step)
        between = [(azimuth[wide] * (3 - i) + azimuth[wide + 1] * i) / 3 for i in (1, 2)]
        return np.sort(np.concatenate([azimuth, *between]))

    def trace(self, azimuth: Doubles) -> tuple[Indices, Floats, Bools, Doubles]:
        """Follow rays from near to far.

        :param azimuth: (n,) bearings to the left of the heading [rad].
        :returns: pixels, near, reaches and gaps of these rays, see GroundRays.
        """
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
        # A ray passes from one pixel to the next halfway between two steps.
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
        """Unseen stretches between the first and the last pixel of each ray, (n, 3) float64."""
        steps = np.arange(seen.shape[1])
        first = seen.argmax(1)
        between = (steps > first[:, None]) & (steps < last[:, None]) & some[:, None] & ~seen
        change = np.diff(between.astype(np.int8), axis=1, prepend=0, append=0)
        ray, start = np.nonzero(change == 1)
        _, stop = np.nonzero(change == -1)
        return np.stack([ray, edges[start], edges[stop]], 1).astype(np.float64)


def _nearer(differences: Doubles, axis: int) -> Doubles:
    """The smaller of the differences of each pixel to its neighbours along an axis, or NaN."""
    before, after = [(0, 0), (0, 0)], [(0, 0), (0, 0)]
    before[axis], after[axis] = (1, 0), (0, 1)
    return np.fmin(*(np.pad(differences, w, constant_values=np.nan) for w in (before, after)))
