"""What is really free in a frame of the procedural street, whose geometry is known."""

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

#: How much larger the frame of open_finer is.
_FINER = 4
#: Angle from one bearing to the next, for a metre of step along them [rad/m].
_RAD_PER_M = math.radians(2.5)
#: Nearest distance that is looked at [m].
_NEAREST = 0.5
#: What free ground ends at.
NOTHING, KERB, CAR, OTHER = range(4)

_ROAD, _PAVEMENT, _CAR = CAMVID.ids(['road', 'pavement', 'car'])


@dataclass(frozen=True)
class FreeGround:
    """How far the ground of a frame is free, by bearing around the camera's foot.

    :param azimuth: (n,) float64, to the left, rising in equal steps [rad].
    :param limit: (n,) float64 distance to the first thing, inf where there is none [m].
    :param reason: (n,) uint8, what that is: NOTHING, KERB, CAR or OTHER.
    :param cut: (n,) bool: it is at the near end of the view and may stand nearer, so that its
        distance is not known.
    :param max_range: how far it was looked at [m].
    :param camera: that sees it.
    """

    azimuth: Doubles
    limit: Doubles
    reason: Bytes
    cut: Bools
    max_range: float
    camera: PinholeCamera

    def nearest(self, azimuth: Doubles) -> NDArray[np.intp]:
        """Index of the bearing next to each azimuth."""
        step = self.azimuth[1] - self.azimuth[0]
        index = np.round((azimuth - self.azimuth[0]) / step).astype(np.intp)
        clipped: NDArray[np.intp] = np.clip(index, 0, len(self.azimuth) - 1)
        return clipped

    def free(self, x: Doubles, y: Doubles) -> Bools:
        """Whether points of the ground are in the picture and in range, and nothing stands there
        or before.

        :param x: metres ahead of the point below the camera, any shape.
        :param y: metres to its left.
        """
        limit = np.minimum(self.limit, self.max_range)[self.nearest(np.arctan2(y, x))]
        free: Bools = _seen(self.camera, x, y) & (np.hypot(x, y) < limit)
        return free


class StreetTruth:
    """Finds what free ground ends at, frame by frame, along bearings that are looked at once.

    The kerb is where the bare ground is no road any more, a car is where its footprint begins;
    where anything else stands is read in labels, point by point. None of it goes through the
    tables of the ground projection.

    :param drive: of the frames.
    :param view: camera of the labels: the drive's own, or for more exact ones that of open_finer.
    :param max_range: how far from the camera's foot the ground is looked at [m].
    :param step: from one point to the next along a bearing [m].
    """

    def __init__(
        self,
        drive: StreetDrive,
        view: PinholeCamera,
        max_range: float = 20.0,
        step: float = 0.02,
    ) -> None:
        self._drive, self._max_range = drive, max_range
        camera = drive.camera
        aside = math.atan(max(camera.cx, camera.width - camera.cx) / camera.fx) + 0.02
        self._azimuth = np.arange(-aside, aside, step * _RAD_PER_M)
        self._away = np.arange(_NEAREST, max_range + step / 2, step)
        self._x = self._away * np.cos(self._azimuth)[:, None]
        self._y = self._away * np.sin(self._azimuth)[:, None]
        # Where the view begins is all that counts; a thing that stands nearer blocks from there.
        self._seen = _seen(camera, self._x, self._y)
        self._begin = self._seen.argmax(1)
        points = np.stack([self._x.ravel(), self._y.ravel(), np.zeros(self._x.size)], 1)
        col, row, _ = np.round(view.project(points).T)
        inside = (col >= 0) & (col < view.width) & (row >= 0) & (row < view.height)
        #: Which of the points are in the labels, and at which of their pixels.
        self._inside = np.flatnonzero(inside)
        self._pixels = (row[inside] * view.width + col[inside]).astype(np.intp)

    def at(self, time: float, labels: Bytes) -> FreeGround:
        """The free ground of a frame.

        :param time: of the frame [s].
        :param labels: true ones of the view at that time, (H, W) uint8.
        """
        x, y = self._x, self._y
        # Beyond the picture as if road.
        seen_there = np.full(x.size, _ROAD, np.uint8)
        seen_there[self._inside] = labels.reshape(-1)[self._pixels]
        seen_there = seen_there.reshape(x.shape)
        reason = np.zeros(x.shape, np.uint8)
        reason[(seen_there != _ROAD) & (seen_there != _PAVEMENT)] = OTHER
        # Tyres, which touch the ground.
        reason[seen_there == _CAR] = CAR
        reason[self._drive.ground_label(x, y, time) != _ROAD] = KERB
        for x0, y0, x1, y1 in self._drive.car_footprints(time):
            reason[(x >= x0) & (x <= x1) & (y >= y0) & (y <= y1)] = CAR
        blocked = (reason != NOTHING) & self._seen
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
    """The same drive through a camera with four times the pixels a side."""
    camera = drive.camera
    return StreetDrive(seed, _FINER * camera.width, _FINER * camera.height)


def _seen(camera: PinholeCamera, x: Doubles, y: Doubles) -> Bools:
    """Whether points of the ground are in the picture."""
    points = np.stack([x.ravel(), y.ravel(), np.zeros(x.size)], 1)
    col, row, depth = camera.project(points).T
    inside = (np.abs(col - (camera.width - 1) / 2) <= camera.width / 2) & (depth > 0)
    inside &= np.abs(row - (camera.height - 1) / 2) <= camera.height / 2
    seen: Bools = inside.reshape(x.shape)
    return seen
