"""Rays over the ground: the pixels that a camera sees along each bearing, and their distances.

An upright object hides the ground behind it along the bearing from the camera's foot, the point on
the ground below the camera. So the ground's pixels are sorted by bearing and range once, and each
frame is searched along the rays from near to far.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from linknet_ros.errors import CalibrationError
from linknet_ros.ground.camera import CameraModel
from linknet_ros.ground.mount import Mount
from linknet_ros.ground.pixels import GroundPixels

Bools = NDArray[np.bool_]
Bytes = NDArray[np.uint8]
Doubles = NDArray[np.float64]
Floats = NDArray[np.float32]
Indices = NDArray[np.intp]

#: Rays are traced in parts of this many points, to bound the memory.
_POINTS = 1 << 19


@dataclass(frozen=True)
class GroundRays:
    """The pixels along rays over the ground, for one camera, mount and ego mask.

    Every pixel whose centre sees ground in range is on at least one ray. A ray lists each pixel
    that it crosses once, from near to far.

    :param foot: x, y of the camera's foot in the base frame [m].
    :param height: height of the camera above the ground [m].
    :param heading: bearing of the image's middle in the base frame [rad].
    :param azimuth: (rays,) float64 bearings to the left of the heading, increasing, -pi to pi
        [rad].
    :param pixels: (rays, most + 1) intp indices into the flat image; width * height ends a ray.
    :param near: (rays, most + 1) float32 distance from the foot at which a ray enters each pixel;
        at the end of a ray, where it leaves the last one; 0 for a ray without pixels [m].
    :param reaches: (rays,) bool: the ray ends at the largest range, not at the image's border.
    :param gaps: (n, 3) float64: index of a ray, and the distances between which the vehicle hides
        the ground there [m].
    :param pixel_angle: median angle that a pixel spans [rad].
    :param coarsest_angle: largest angle that one spans, but for one in a hundred [rad].
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
    coarsest_angle: float

    def __len__(self) -> int:
        return len(self.azimuth)

    @property
    def starts(self) -> Floats:
        """Distance at which each ray begins to see the ground [m]; inf for one without pixels."""
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
    """Sort the pixels that see the ground into rays.

    :param camera: model of the camera, for the size of the labels.
    :param mount: where it is on the robot.
    :param plane_z: height of the ground in the base frame [m].
    :param max_range: largest distance of ground from the base frame's origin [m].
    :param ego_mask: (H, W), not 0 where the vehicle itself is in the image; None for nowhere.
    :raises CalibrationError: when the camera is not above the ground, or sees none of it.
    """
    height = mount.position[2] - plane_z
    if not height > 0:
        raise CalibrationError(
            f'the camera is {height:g} m above the ground',
            'set ground.height, or set '
            'ground.plane_z to the height of the ground in the base frame',
        )
    ground = GroundPixels(camera, mount, height, max_range, ego_mask)
    azimuth = ground.bearings()
    parts = [
        ground.trace(part)
        for part in np.array_split(azimuth, -(-len(azimuth) * ground.steps // _POINTS))
    ]
    most = max(pixels.shape[1] for pixels, *_ in parts)
    end = camera.width * camera.height
    before = np.cumsum([0, *(len(pixels) for pixels, *_ in parts)])
    for (*_, gaps), first in zip(parts, before, strict=False):
        gaps[:, 0] += first
    return GroundRays(
        foot=mount.position[:2],
        height=height,
        heading=ground.heading,
        azimuth=azimuth,
        pixels=np.concatenate([_widened(pixels, most, end) for pixels, *_ in parts]),
        near=np.concatenate([_widened(near, most, 0) for _, near, *_ in parts]),
        reaches=np.concatenate([reaches for _, _, reaches, _ in parts]),
        gaps=np.concatenate([gaps for *_, gaps in parts]),
        pixel_angle=ground.pixel_angle,
        coarsest_angle=ground.coarsest_angle,
    )


def _widened(table: NDArray[np.generic], most: int, fill: int) -> NDArray[np.generic]:
    return np.pad(table, ((0, 0), (0, most - table.shape[1])), constant_values=fill)
