"""What is truly free in a frame of the procedural street, whose geometry is known."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from linknet_ros.classes import CAMVID
from linknet_ros.simulation.street import PinholeCamera, StreetDrive

Bytes = NDArray[np.uint8]
Bools = NDArray[np.bool_]
Doubles = NDArray[np.float64]

#: Scale of the frames of open_finer.
_FINER = 4
#: Angle from one bearing to the next, per metre of step along them [rad/m].
_RAD_PER_M = math.radians(2.5)
#: Nearest distance that is examined [m].
_NEAREST = 0.5
#: What ends free ground.
NOTHING, KERB, CAR, OTHER = range(4)

_ROAD, _PAVEMENT, _CAR = CAMVID.ids(['road', 'pavement', 'car'])


@dataclass(frozen=True)
class FreeGround:
    """How far the ground of a frame is free, by bearing around the camera's foot.

    :param azimuth: (n,) float64 bearings to the left, increasing in equal steps [rad].
    :param limit: (n,) float64 distance to the first obstacle, inf without one [m].
    :param reason: (n,) uint8, what that is: NOTHING, KERB, CAR or OTHER.
    :param cut: (n,) bool: the obstacle is at the lower border of the image and may stand nearer,
        so its distance is unknown.
    :param max_range: largest distance examined [m].
    :param camera: camera that sees the frame.
    """

    azimuth: Doubles
    limit: Doubles
    reason: Bytes
    cut: Bools
    max_range: float
    camera: PinholeCamera

    def nearest(self, azimuth: Doubles) -> NDArray[np.intp]:
        """Index of the bearing nearest to each azimuth [rad]."""
        step = self.azimuth[1] - self.azimuth[0]
        index = np.round((azimuth - self.azimuth[0]) / step).astype(np.intp)
        clipped: NDArray[np.intp] = np.clip(index, 0, len(self.azimuth) - 1)
        return clipped

    def free(self, x: Doubles, y: Doubles) -> Bools:
        """Whether points on the ground are visible, in range, and not behind or at an obstacle.

        :param x: distance ahead of the point below the camera, any shape [m].
        :param y: distance to its left, same shape [m].
        """
        limit = np.minimum(self.limit, self.max_range)[self.nearest(np.arctan2(y, x))]
        free: Bools = _visible(self.camera, x, y) & (np.hypot(x, y) < limit)
        return free


class StreetTruth:
    """Finds where free ground ends in each frame, along fixed bearings.

    A kerb is where the bare ground stops being road, a car begins with its footprint; where
    anything else stands is read from the labels, point by point. Nothing here uses the tables of
    the ground projection.

    :param drive: drive of the frames.
    :param camera: camera of the labels: the drive's own, or for a finer truth that of open_finer.
    :param max_range: largest distance examined [m].
    :param step: distance from one point to the next along a bearing [m].
    """

    def __init__(
        self,
        drive: StreetDrive,
        camera: PinholeCamera,
        max_range: float = 20.0,
        step: float = 0.02,
    ) -> None:
        self._drive, self._max_range = drive, max_range
        own = drive.camera
        aside = math.atan(max(own.cx, own.width - own.cx) / own.fx) + 0.02
        self._azimuth = np.arange(-aside, aside, step * _RAD_PER_M)
        self._away = np.arange(_NEAREST, max_range + step / 2, step)
        self._x = self._away * np.cos(self._azimuth)[:, None]
        self._y = self._away * np.sin(self._azimuth)[:, None]
        # Only visible ground counts; an obstacle that stands nearer blocks from where that begins.
        self._visible = _visible(own, self._x, self._y)
        self._begin = self._visible.argmax(1)
        points = np.stack([self._x.ravel(), self._y.ravel(), np.zeros(self._x.size)], 1)
        col, row, _ = np.round(camera.project(points).T)
        inside = (col >= 0) & (col < camera.width) & (row >= 0) & (row < camera.height)
        #: The points that are inside the labels, and their pixels.
        self._inside = np.flatnonzero(inside)
        self._pixels = (row[inside] * camera.width + col[inside]).astype(np.intp)

    def at(self, time: float, labels: Bytes) -> FreeGround:
        """Find the free ground of a frame.

        :param time: time of the frame [s].
        :param labels: true labels of the camera at that time, (H, W) uint8.
        """
        x, y = self._x, self._y
        # Road outside the image.
        found = np.full(x.size, _ROAD, np.uint8)
        found[self._inside] = labels.reshape(-1)[self._pixels]
        found = found.reshape(x.shape)
        reason = np.zeros(x.shape, np.uint8)
        reason[(found != _ROAD) & (found != _PAVEMENT)] = OTHER
        # Tyres, which touch the ground.
        reason[found == _CAR] = CAR
        reason[self._drive.ground_label(x, y, time) != _ROAD] = KERB
        for x0, y0, x1, y1 in self._drive.car_footprints(time):
            reason[(x >= x0) & (x <= x1) & (y >= y0) & (y <= y1)] = CAR
        blocked = (reason != NOTHING) & self._visible
        first = blocked.argmax(1)
        some = blocked.any(1)
        return FreeGround(
            azimuth=self._azimuth,
            limit=np.where(some, self._away[first], np.inf),
            reason=np.where(some, reason[np.arange(len(x)), first], NOTHING).astype(np.uint8),
            cut=some & (first <= self._begin),
            max_range=self._max_range,
            camera=self._drive.camera,
        )


def open_finer(drive: StreetDrive, seed: int) -> StreetDrive:
    """Open the same drive with a camera of four times the width and height in pixels."""
    camera = drive.camera
    return StreetDrive(seed, _FINER * camera.width, _FINER * camera.height)


def _visible(camera: PinholeCamera, x: Doubles, y: Doubles) -> Bools:
    """Whether points on the ground are in the image."""
    points = np.stack([x.ravel(), y.ravel(), np.zeros(x.size)], 1)
    col, row, depth = camera.project(points).T
    inside = (np.abs(col - (camera.width - 1) / 2) <= camera.width / 2) & (depth > 0)
    inside &= np.abs(row - (camera.height - 1) / 2) <= camera.height / 2
    visible: Bools = inside.reshape(x.shape)
    return visible
