"""Labels as polygons and run lengths, and back.

Coordinates are those of the field: pixel (x, y) covers x to x + 1 and y to y + 1, and belongs to
a polygon if its middle does. So polygons along the edges of pixels give back the same pixels.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from linknet_ros.classes import UNLABELED

#: (N, 2) float or int, x and y of each corner in pixels.
Polygon = NDArray[np.float64]


@dataclass(frozen=True)
class Patch:
    """A connected patch of one class.

    :param id: its class; UNLABELED for void inside of another patch.
    :param outline: its outer edge.
    :param area: inside of the outline, with the holes, in pixels.
    :param holes: their edges.
    """

    id: int
    outline: Polygon
    area: float
    holes: tuple[Polygon, ...] = ()

    def in_one(self) -> Polygon:
        """Outline and holes as one polygon, from the outline's first corner to each and back.

        Inside of it, as the number of edges beside a pixel has it, are the pixels of the patch.
        """
        first = self.outline[:1]
        rings = [part for hole in self.holes for part in (first, hole, hole[:1])]
        return np.concatenate([self.outline, *rings])


def patches(ids: NDArray[np.uint8], tolerance: float = 0.0) -> list[Patch]:
    """The patches of a frame, largest first: drawn in this order, small ones lie on large ones.

    What is in the hole of a patch is a patch itself, and smaller; so no polygon needs a hole, and
    void needs one only where it is inside of another class.

    :param ids: (H, W) uint8, 255 for void.
    :param tolerance: that corners may be away from the edge, so that there are fewer [pixels].
    """
    found = [patch for id_ in np.unique(ids) for patch in _patches_of(ids, int(id_))]
    found.sort(key=lambda patch: -patch.area)
    drawn = np.full(ids.shape, UNLABELED, np.uint8)
    fill(drawn, ((patch.outline, patch.id) for patch in found if patch.id != UNLABELED))
    needed = []
    for patch in found:
        if patch.id == UNLABELED and not _is_hidden(ids, drawn, patch):
            continue
        outline, *holes = (_simpler(ring, tolerance) for ring in (patch.outline, *patch.holes))
        needed.append(Patch(patch.id, outline, patch.area, tuple(holes)))
    return needed


def _simpler(ring: Polygon, tolerance: float) -> Polygon:
    """A ring with fewer corners, unless nothing would be left."""
    simpler = cv2.approxPolyDP(ring.astype(np.float32), tolerance, True)[:, 0]
    return simpler.astype(np.float64) if tolerance and len(simpler) > 2 else ring


def _is_hidden(ids: NDArray[np.uint8], drawn: NDArray[np.uint8], patch: Patch) -> bool:
    """Whether void has been drawn over."""
    inside = _inside(ids.shape, [patch.outline])
    if inside is None:
        return False
    (top, bottom, left, right), mask = inside
    void = mask & (ids[top:bottom, left:right] == UNLABELED)
    return bool((drawn[top:bottom, left:right][void] != UNLABELED).any())


def _patches_of(ids: NDArray[np.uint8], id_: int) -> Iterator[Patch]:
    # Pixels that only touch at corners are apart: else two patches could cross each other there.
    number, patch_of, stats, _ = cv2.connectedComponentsWithStats(
        (ids == id_).view(np.uint8), connectivity=4
    )
    for patch in range(1, number):
        left, top, width, height = stats[patch, : cv2.CC_STAT_AREA]
        mask = (patch_of[top : top + height, left : left + width] == patch).view(np.uint8)
        # Of a picture twice as large, the contour runs along both sides of a line of one pixel;
        # its pixels 2x - 1 and 2x lie at the edge x.
        contours, relations = cv2.findContours(
            mask.repeat(2, 0).repeat(2, 1), cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE
        )
        rings = [_corners(contour[:, 0]) + np.array([left, top]) for contour in contours]
        outer = int(np.flatnonzero(relations[0][:, 3] < 0)[0])
        outline = rings.pop(outer)
        area = float(cv2.contourArea(outline.astype(np.float32)))
        yield Patch(id_, outline, area, tuple(rings))


def _corners(points: NDArray[np.int32]) -> Polygon:
    """Edges of pixels that a contour in a picture twice as large runs along."""
    points = (points + 1) // 2
    points = points[(points != np.roll(points, 1, axis=0)).any(axis=1)]
    back, ahead = points - np.roll(points, 1, axis=0), np.roll(points, -1, axis=0) - points
    turns = back[:, 0] * ahead[:, 1] != back[:, 1] * ahead[:, 0]
    corners: Polygon = points[turns].astype(np.float64)
    return corners


def fill(
    canvas: NDArray[np.integer[Any]], polygons: Iterable[tuple[Polygon | Sequence[Polygon], int]]
) -> None:
    """Draw polygons, one over the other.

    :param canvas: (H, W) of any integers, changed.
    :param polygons: corners, or several rings of which the inner ones are holes, and the value.
    """
    for corners, value in polygons:
        rings = [corners] if isinstance(corners, np.ndarray) else corners
        inside = _inside(canvas.shape, rings)
        if inside is not None:
            (top, bottom, left, right), mask = inside
            canvas[top:bottom, left:right][mask] = value


def _inside(
    shape: tuple[int, ...], rings: Sequence[Polygon]
) -> tuple[tuple[int, int, int, int], NDArray[np.bool_]] | None:
    """Box (top, bottom, left, right) of polygons, and the pixels in it whose middle is inside.

    By the even-odd rule: a pixel is inside if left of its middle there is an odd number of edges.
    """
    starts = np.concatenate(rings)
    ends = np.concatenate([np.roll(ring, -1, axis=0) for ring in rings])
    left, top = np.maximum(np.floor(starts.min(axis=0)), 0).astype(int)
    right, bottom = np.minimum(np.ceil(starts.max(axis=0)), shape[1::-1]).astype(int)
    if left >= right or top >= bottom:
        return None
    low = np.ceil(np.minimum(starts[:, 1], ends[:, 1]) - 0.5).astype(int).clip(top, bottom)
    high = np.ceil(np.maximum(starts[:, 1], ends[:, 1]) - 0.5).astype(int).clip(top, bottom)
    crossed = high - low
    edge = np.repeat(np.arange(len(starts)), crossed)
    first = np.cumsum(crossed) - crossed
    row = np.arange(len(edge)) - first[edge] + low[edge]
    (x0, y0), (x1, y1) = starts[edge].T, ends[edge].T
    x = x0 + (row + 0.5 - y0) * (x1 - x0) / (y1 - y0)
    column = np.ceil(x - 0.5).astype(int).clip(left, right)
    edges = np.zeros((bottom - top, right - left + 1), np.int32)
    np.add.at(edges, (row - top, column - left), 1)
    inside: NDArray[np.bool_] = np.cumsum(edges, axis=1)[:, :-1] % 2 == 1
    return (int(top), int(bottom), int(left), int(right)), inside


def runs(values: NDArray[np.bool_]) -> list[int]:
    """Lengths of runs of a flat mask, of False first, which may be 0."""
    changes = np.flatnonzero(values[1:] != values[:-1]) + 1
    lengths = np.diff(np.concatenate([[0], changes, [len(values)]]))
    result: list[int] = lengths.tolist()
    return [0, *result] if len(values) and values[0] else result


def from_runs(lengths: Sequence[int], size: int) -> NDArray[np.bool_]:
    """A flat mask of its runs.

    :param size: that it must have.
    :raises ValueError: when it has another.
    """
    counts = np.array(lengths, np.int64)
    if (counts < 0).any() or counts.sum() != size:
        raise ValueError(f'runs of {counts.sum()} pixels for {size}')
    mask: NDArray[np.bool_] = np.repeat(np.arange(len(counts)) % 2 == 1, counts)
    return mask
