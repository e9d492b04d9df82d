"""The contacts as a laser scanner at the robot's origin would measure them."""

from __future__ import annotations

import math

import numpy as np

from linknet_ros.ground.blind import BlindRange, scanned_rays
from linknet_ros.ground.contacts import OPEN, Contacts, outline
from linknet_ros.ground.grid import RangeMinimum
from linknet_ros.ground.rays import Doubles, Floats, GroundRays, Indices

#: Smallest angular step of the scan, that of common laser scanners [rad].
_FINEST = math.radians(0.25)
#: Points from one contact to the next, for an origin that is nearer to them than the camera is.
_PARTS = 4


class GroundScan:
    """A scan around the base frame's origin, over the bearings that the camera sees.

    Slivers are left out, see BlindRange: consumers clear the ground along each reading, from a
    distance that is the same for all of them.

    :param rays: rays of the camera.
    :param max_range: the one that the rays were made with [m].
    """

    def __init__(self, rays: GroundRays, max_range: float) -> None:
        self._rays = rays
        self._scanned = scanned_rays(rays)
        #: Furthest distance that counts as measured [m].
        self.range_max = max_range
        #: Nearest ground that any bearing sees [m]; contacts that are moved back may be nearer.
        self.range_min = min(BlindRange.of(rays).nearest, max_range)
        ends = rays.near.max(1)
        # If the vehicle hides all the ground, the scan has every ray and sees nothing.
        seen = np.flatnonzero(ends > 0) if ends.any() else np.arange(len(rays))
        starts, ends = rays.near[seen, 0].astype(np.float64), ends[seen].astype(np.float64)
        directions = rays.directions()[seen]
        shares = np.linspace(0, 1, 5)[:, None]
        distances = (starts + (ends - starts) * shares)[..., None]
        points = np.array(rays.foot) + distances * directions
        heading = rays.heading
        bearings = np.arctan2(points[..., 1], points[..., 0]) - heading
        bearings = (bearings + math.pi) % (2 * math.pi) - math.pi
        #: Step from one bearing to the next [rad].
        self.increment = max(_FINEST, float(np.median(np.diff(rays.azimuth))))
        first = math.floor(bearings.min() / self.increment)
        count = math.ceil(bearings.max() / self.increment) - first
        count = min(max(count, 1), int(2 * math.pi / self.increment))
        #: Bearings of the first and the last range in the base frame, in the middle of their steps
        #: [rad]. They may exceed pi, as a scan that looks backwards needs.
        self.angle_min = heading + (first + 0.5) * self.increment
        self.angle_max = self.angle_min + (count - 1) * self.increment
        self._ranges = np.empty(count, np.float32)
        self._first = heading + first * self.increment
        self._find_open_bins()

    def _find_open_bins(self) -> None:
        """Tabulate the rays that each bearing of the scan crosses where the camera sees it."""
        rays, count = self._rays, len(self._ranges)
        edges = self._first + self.increment * np.arange(count + 1)
        first = np.full(count, len(rays), np.intp)
        last = np.full(count, -1, np.intp)
        starts = rays.starts
        for distance in np.linspace(0.02, 1, 50) * self.range_max:
            azimuth, away = rays.polar(distance * np.cos(edges), distance * np.sin(edges))
            ray = np.searchsorted(rays.azimuth, azimuth)
            inside = (ray > 0) & (ray < len(rays))
            # No bearing sees what is nearer than the first pixel, and none is stopped by it.
            inside &= away >= starts[np.minimum(ray, len(rays) - 1)]
            both = inside[:-1] & inside[1:] & (np.abs(np.diff(azimuth)) < math.pi / 2)
            low = np.minimum(ray[:-1], ray[1:]) - 1
            high = np.maximum(ray[:-1], ray[1:])
            first = np.where(both, np.minimum(first, low), first)
            last = np.where(both, np.maximum(last, high), last)
        # Only a bearing that is seen out to the largest range can be known to be free.
        self._seen = np.flatnonzero(both & (last >= first))
        self._minimum = RangeMinimum(first[self._seen], last[self._seen], len(rays))

    def fill(self, contacts: Contacts) -> Floats:
        """Compute the ranges of a frame.

        :returns: (n,) float32 [m]: the nearest contact; inf where the ground is free out to the
            largest range; NaN where it is unknown (REP 117). The next call overwrites it.
        """
        ranges = self._ranges
        ranges.fill(np.nan)
        openness = self._minimum(((contacts.kind == OPEN) & self._scanned).astype(np.float32))
        ranges[self._seen[openness > 0]] = np.inf
        points, ray = outline(self._rays, contacts, _PARTS)
        points = points[self._scanned[ray]]
        if len(points):
            away = np.hypot(points[:, 0], points[:, 1])
            bins = self._bins(points)
            inside = (bins >= 0) & (bins < len(ranges)) & (away <= self.range_max)
            nearest = np.full(len(ranges), np.inf, np.float32)
            np.minimum.at(nearest, bins[inside], away[inside].astype(np.float32))
            np.copyto(ranges, nearest, where=nearest < np.inf)
        return ranges

    def range_min_of(self, ranges: Floats) -> float:
        """Smallest range of a scan: range_min, or that of a contact that was moved back nearer.

        Consumers drop readings that are nearer than range_min.
        """
        return float(np.nanmin(ranges, initial=np.float32(self.range_min)))

    def _bins(self, points: Doubles) -> Indices:
        turned = (np.arctan2(points[:, 1], points[:, 0]) - self._first) % (2 * math.pi)
        bins: Indices = np.floor(turned / self.increment).astype(np.intp)
        return bins
