"""The grid around the robot, of free, occupied and unknown cells."""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from linknet_ros.errors import ParameterError
from linknet_ros.ground.contacts import Contacts, outline
from linknet_ros.ground.rays import Bytes, Doubles, Floats, GroundRays, Indices

Cells = NDArray[np.int8]

#: Values of nav_msgs/OccupancyGrid as Nav2 reads them.
FREE_CELL, OCCUPIED_CELL, UNKNOWN_CELL = 0, 100, -1

_MOST_CELLS = 4_000_000


@dataclass(frozen=True)
class GridArea:
    """A rectangle of square cells around the base frame's origin, whole cells to each side.

    :param forward: extent ahead of the origin [m].
    :param backward: extent behind it [m].
    :param sideways: extent to the left, and to the right [m].
    :param resolution: side of a cell [m].
    :raises ParameterError: for an area without cells, or with more than four million.
    """

    forward: float = 20.0
    backward: float = 0.0
    sideways: float = 10.0
    resolution: float = 0.1

    def __post_init__(self) -> None:
        cells = self.rows * self.columns
        if not 0 < cells <= _MOST_CELLS:
            raise ParameterError(
                f'ground.forward {self.forward:g}, backward {self.backward:g} and sideways '
                f'{self.sideways:g} m at a resolution of {self.resolution:g} m make {cells} '
                'cells',
                f'choose 1 to {_MOST_CELLS} cells',
            )

    def _cells(self, metres: float) -> int:
        # 20 / 0.1 may be 200.00000000000003.
        return math.ceil(round(metres / self.resolution, 6))

    @property
    def rows(self) -> int:
        """Number of cells along y."""
        return 2 * self._cells(self.sideways)

    @property
    def columns(self) -> int:
        """Number of cells along x."""
        return self._cells(self.forward) + self._cells(self.backward)

    @property
    def corner(self) -> tuple[float, float]:
        """The outer corner of cell (0, 0): x and y in the base frame [m]."""
        return (
            -self._cells(self.backward) * self.resolution,
            -self._cells(self.sideways) * self.resolution,
        )

    def centres(self) -> tuple[Doubles, Doubles]:
        """X and y of the cells' centres in the base frame, (rows, columns) float64 [m]."""
        x = self.corner[0] + self.resolution * (np.arange(self.columns) + 0.5)
        y = self.corner[1] + self.resolution * (np.arange(self.rows) + 0.5)
        grid_x, grid_y = np.meshgrid(x, y)
        return grid_x, grid_y


class RangeMinimum:
    """Minima over many fixed intervals of an array at once.

    A sparse table holds the minima of 1, 2, 4, ... neighbours; two of them cover each interval
    (Bender and Farach-Colton, "The LCA problem revisited", 2000).

    :param first: (n,) index of the first value of each interval.
    :param last: (n,) index of the last value of each interval.
    :param length: number of values.
    """

    def __init__(self, first: Indices, last: Indices, length: int) -> None:
        count = last - first + 1
        level = np.frexp(count)[1] - 1
        self._table = np.full((int(level.max(initial=0)) + 1, length), np.inf, np.float32)
        self._left = (level * length + first).astype(np.intp)
        self._right = (level * length + last - (1 << level) + 1).astype(np.intp)
        self._out = np.empty(len(first), np.float32)
        self._other = np.empty(len(first), np.float32)

    def __call__(self, values: Floats) -> Floats:
        """The minima, (n,) float32; overwritten by the next call."""
        table = self._table
        table[0] = values
        for level in range(1, len(table)):
            half = 1 << (level - 1)
            np.minimum(table[level - 1, :-half], table[level - 1, half:], out=table[level, :-half])
        flat = table.ravel()
        np.take(flat, self._left, out=self._out, mode='clip')
        np.take(flat, self._right, out=self._other, mode='clip')
        return np.minimum(self._out, self._other, out=self._out)


class GroundGrid:
    """Turns contacts into cells, with tables that are computed once.

    A cell is free only if every ray that touches it, and the next one on either side, sees the
    ground before and throughout the cell and is still free at its far corner: nothing is free
    that no pixel saw. A cell with a contact is occupied, whatever else is in it. All others are
    unknown.

    :param rays: rays of the camera.
    :param area: area of the grid.
    """

    def __init__(self, rays: GroundRays, area: GridArea) -> None:
        self.area = area
        self._rays = rays
        x0, y0 = area.corner
        shape = (area.rows, area.columns)
        self._cells = np.full(shape, UNKNOWN_CELL, np.int8)
        lines_x = x0 + area.resolution * np.arange(area.columns + 1)
        lines_y = y0 + area.resolution * np.arange(area.rows + 1)
        azimuth, away = rays.polar(*np.meshgrid(lines_x, lines_y))
        corners = [(slice(i, i + area.rows), slice(j, j + area.columns)) for i, j in _CORNERS]
        azimuths = np.stack([azimuth[corner] for corner in corners])
        lowest, highest = azimuths.min(0), azimuths.max(0)
        far = np.max([away[corner] for corner in corners], 0)
        # The nearest point of a cell may lie on its side.
        dx = np.clip(rays.foot[0], lines_x[:-1], lines_x[1:]) - rays.foot[0]
        dy = np.clip(rays.foot[1], lines_y[:-1], lines_y[1:]) - rays.foot[1]
        near = np.hypot(dx[None, :], dy[:, None])
        first = np.searchsorted(rays.azimuth, lowest, 'right') - 1
        last = np.searchsorted(rays.azimuth, highest, 'left')
        # Around the foot, and where bearings wrap behind the camera, corners say nothing.
        usable = (first >= 0) & (last < len(rays)) & (highest - lowest < math.pi) & (near > 0)
        usable &= self._hidden(azimuth) == 0
        # The largest start is the smallest of the negatives.
        chosen = np.flatnonzero(usable)
        latest = -RangeMinimum(first.flat[chosen], last.flat[chosen], len(rays))(-rays.starts)
        chosen = chosen[latest <= near.flat[chosen]]
        self._minimum = RangeMinimum(first.flat[chosen], last.flat[chosen], len(rays))
        #: Flat indices of the cells that can be free.
        self.chosen = chosen
        #: First and last ray that must be free for each of them, and its distances [m].
        self.spans = (
            first.flat[chosen].astype(np.int32),
            last.flat[chosen].astype(np.int32),
            near.flat[chosen].astype(np.float32),
            far.flat[chosen].astype(np.float32),
        )
        self._far = self.spans[-1]
        self._free = np.empty(len(chosen), np.bool_)
        self._values = np.empty(len(chosen), np.int8)
        # Fine enough to skip no cell between two contacts that belong together.
        depth = (np.max(rays.near) ** 2 + rays.height**2) / rays.height * rays.pixel_angle
        self._parts = int(np.clip(math.ceil(1.5 * depth / area.resolution), 1, 16))

    def fill(self, contacts: Contacts) -> Cells:
        """Fill the grid with the contacts of a frame.

        :returns: (rows, columns) int8 of FREE_CELL, OCCUPIED_CELL and UNKNOWN_CELL; row 0 is at
            the smallest y, column 0 at the smallest x. The next call overwrites it.
        """
        cells = self._cells
        cells.fill(UNKNOWN_CELL)
        np.greater_equal(self._minimum(contacts.limit), self._far, out=self._free)
        # True becomes 0, free, and False -1, unknown.
        np.subtract(self._free.view(np.int8), 1, out=self._values)
        cells.reshape(-1)[self.chosen] = self._values
        points, _ = outline(self._rays, contacts, self._parts)
        column, row = self._cell_of(points)
        inside = (column >= 0) & (column < self.area.columns) & (row >= 0) & (row < self.area.rows)
        cells[row[inside], column[inside]] = OCCUPIED_CELL
        return cells

    def _cell_of(self, points: Doubles) -> Indices:
        """Columns and rows of points; one on a line belongs to the cell away from the foot."""
        away = points - self._rays.foot
        outwards = away / np.maximum(np.hypot(away[:, :1], away[:, 1:]), 1e-9)
        cells = (points + 1e-3 * outwards - self.area.corner) / self.area.resolution
        return np.floor(cells).astype(np.intp).T

    def _hidden(self, azimuth: Doubles) -> Bytes:
        """Mask of the cells that a gap of a ray, widened to the neighbouring rays, touches."""
        rays, area = self._rays, self.area
        mask = np.zeros((area.rows, area.columns), np.uint8)
        last = len(rays) - 1
        for ray, near, far in rays.gaps:
            sides = rays.azimuth[[max(int(ray) - 1, 0), min(int(ray) + 1, last)]] + rays.heading
            x = rays.foot[0] + np.outer([near, far], np.cos(sides))
            y = rays.foot[1] + np.outer([near, far], np.sin(sides))
            quad = np.stack([x, y], -1).reshape(4, 2)[[0, 1, 3, 2]]
            # OpenCV has cell centres at integers; 4 fractional bits.
            pixels = (quad - area.corner) / area.resolution - 0.5
            # A gap that ends far away may overflow OpenCV's integers.
            pixels = np.clip(pixels, -(2**15), 2**15)
            cv2.fillPoly(mask, [(pixels * 16).round().astype(np.int32)], (255,), cv2.LINE_8, 4)
        # fillPoly draws what lies within half a cell of the edges.
        return np.asarray(cv2.dilate(mask, np.ones((3, 3), np.uint8)), np.uint8)


_CORNERS = ((0, 0), (0, 1), (1, 0), (1, 1))
