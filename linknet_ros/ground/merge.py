"""What several cameras say of the ground as one grid and one scan."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from linknet_ros.ground.grid import Cells
from linknet_ros.ground.rays import Floats


@dataclass(frozen=True, eq=False)
class ScanRanges:
    """Ranges by bearing around the base frame's origin, as LaserScan has them.

    :param ranges: (n,) float32 [m]: a number at a contact, inf where free, NaN where unknown.
    :param angle_min: bearing of the middle of the first range's step [rad].
    :param increment: from one bearing to the next [rad].
    :param range_min: nearest distance that counts as measured [m].
    :param range_max: largest distance that counts as measured; the same for scans to merge, since
        inf is free as far as that [m].
    """

    ranges: Floats
    angle_min: float
    increment: float
    range_min: float
    range_max: float


def merged_cells(grids: Sequence[Cells]) -> Cells:
    """One grid of several of the same area: occupied wins over free, free over unknown.

    That is the order of their values.
    """
    merged: Cells = np.maximum.reduce(grids)
    return merged


def merged_scan(scans: Sequence[ScanRanges]) -> ScanRanges:
    """One scan all around of several: a contact wins over free, free over unknown.

    Its step is the largest of theirs, or a little more so that it divides the circle. A step that
    one scan covers in part, or does not know in part, is not free by that scan; of several
    contacts the nearest counts.
    """
    count = max(1, int(2 * math.pi / max(scan.increment for scan in scans)))
    increment = 2 * math.pi / count
    merged = np.full(count, np.nan, np.float32)
    for scan in scans:
        np.fmin(merged, _around(scan, increment, count), out=merged)
    return ScanRanges(
        merged,
        -math.pi + increment / 2,
        increment,
        min(scan.range_min for scan in scans),
        min(scan.range_max for scan in scans),
    )


def _around(scan: ScanRanges, increment: float, count: int) -> Floats:
    """A scan's ranges in the steps of a circle that begins behind, at -pi."""
    # An unknown one on either side: what is beyond the ends is covered in part.
    ranges = np.pad(scan.ranges, 1, constant_values=np.nan)
    middles = scan.angle_min + scan.increment * np.arange(-1, len(ranges) - 1)
    nearest = np.full(count, np.inf, np.float32)
    unknown = np.zeros(count, np.bool_)
    seen = np.zeros(count, np.bool_)
    # Both edges: a step of the scan is in no more than two of the circle, which are no smaller.
    for edge in (-0.499, 0.499):
        turned = (middles + edge * scan.increment + math.pi) % (2 * math.pi)
        step = np.minimum((turned / increment).astype(np.intp), count - 1)
        np.minimum.at(nearest, step, np.where(np.isnan(ranges), np.float32(np.inf), ranges))
        unknown[step[np.isnan(ranges)]] = True
        seen[step] = True
    nearest[np.isinf(nearest) & (unknown | ~seen)] = np.nan
    return nearest
