"""The blind range of a mount: how near the ground may be before the camera no longer sees it."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from linknet_ros.ground.rays import GroundRays

#: Bearings that begin to see the ground beyond this multiple of the blind range of three quarters
#: of them are slivers at a side of the image, which a rolled camera or a lens has. A scan without
#: them has a narrower field of view; with them, no consumer could clear anything near.
_SLIVER = 1.5
#: What is added to the blind range for consumers that clear along rays: two cells of a costmap
#: that are only partly inside, and the nodding of the robot [m].
_MARGIN = 0.2


@dataclass(frozen=True)
class BlindRange:
    """Distances from the base frame's origin at which bearings begin to see the ground.

    What stands nearer is invisible: a consumer must neither take that ground as free nor forget an
    obstacle there. If the vehicle hides all the ground, the distances are inf.

    :param nearest: at the bearing that sees the nearest ground [m].
    :param ahead: at the bearing of the image's middle [m].
    :param farthest: at the bearing that begins last, slivers excluded [m].
    :param slivers: share of the bearings that are slivers, 0 to 1.
    """

    nearest: float
    ahead: float
    farthest: float
    slivers: float

    @classmethod
    def of(cls, rays: GroundRays) -> BlindRange:
        """Compute the blind range of a camera's rays; what the ego mask hides is not seen."""
        starts = blind_ranges(rays)
        seen = np.flatnonzero(np.isfinite(starts))
        if not seen.size:
            return cls(math.inf, math.inf, math.inf, 0.0)
        middle = seen[np.abs(rays.azimuth[seen]).argmin()]
        scanned = scanned_rays(rays)
        return cls(
            nearest=float(starts[seen].min()),
            ahead=float(starts[middle]),
            farthest=float(starts[scanned].max()),
            slivers=float(1 - scanned.sum() / seen.size),
        )

    @property
    def clearing_from(self) -> float:
        """Least distance from which a consumer may clear along the readings of the scan [m].

        Nav2 calls it raytrace_min_range; with less it clears ground that nobody sees.
        """
        if not math.isfinite(self.farthest):
            return math.inf
        return math.ceil(10 * (self.farthest + _MARGIN)) / 10

    def __str__(self) -> str:
        if not math.isfinite(self.nearest):
            return 'the ego mask hides all the ground'
        return f'{self.ahead:.1f} m ahead, {self.nearest:.1f} to {self.farthest:.1f} m by bearing'


def blind_ranges(rays: GroundRays) -> NDArray[np.float64]:
    """Distance from the base frame's origin at which each ray begins to see the ground.

    :returns: (rays,) float64 [m]; inf for rays without pixels.
    """
    starts = rays.starts.astype(np.float64)
    seen = np.isfinite(starts)
    points = np.where(seen, starts, 0)[:, None] * rays.directions() + rays.foot
    return np.where(seen, np.hypot(points[:, 0], points[:, 1]), np.inf)


def scanned_rays(rays: GroundRays) -> NDArray[np.bool_]:
    """Which rays a scan is made of, (rays,) bool: those that see the ground, but no slivers."""
    starts = blind_ranges(rays)
    seen = np.isfinite(starts)
    if not seen.any():
        return seen
    within: NDArray[np.bool_] = starts <= _SLIVER * np.quantile(starts[seen], 0.75)
    return within
