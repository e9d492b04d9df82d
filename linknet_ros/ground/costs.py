"""The grid of costs by class: which ground is better to drive on."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

import cv2
import numpy as np

from linknet_ros.classes import ClassTable
from linknet_ros.errors import ParameterError
from linknet_ros.ground.contacts import Contacts, worst
from linknet_ros.ground.grid import FREE_CELL, Cells, GroundGrid
from linknet_ros.ground.rays import Bytes, Floats, GroundRays, Indices

#: Largest cost of ground; 99 is an obstacle's inscribed radius to newer versions of Nav2
#: (inscribed_obstacle_cost_value), and 100 is an obstacle.
MOST_COST, OBSTACLE_COST = 98, 100

#: Cost of a class that is not ground; as int8 it is -1, unknown.
NO_GROUND: Final = 255

#: Cells whose tables are made at once, to bound the memory.
_CELLS = 20_000


def cost_table(classes: ClassTable, costs: Iterable[str], drivable: Iterable[int]) -> Bytes:
    """Look-up table from class id to cost, (256,) uint8: 0 to MOST_COST, or NO_GROUND.

    :param costs: as 'pavement: 30'. A class that is not named is an obstacle, also a drivable one.
    :param drivable: ids of the classes that cost 0 if no cost is given at all.
    :raises ParameterError: for a text of another form, or a cost that cannot be.
    :raises ClassNameError: for a class that the model does not know.
    """
    table = np.full(256, NO_GROUND, np.uint8)
    by_name = dict(map(_parsed, costs))
    for number, cost in zip(classes.ids([*by_name]), by_name.values(), strict=True):
        table[number] = cost
    if not by_name:
        table[list(drivable)] = 0
    return table


def _parsed(text: str) -> tuple[str, int]:
    name, colon, number = text.rpartition(':')
    try:
        cost = int(number)
    except ValueError:
        cost = -1
    if not colon or not (0 <= cost <= MOST_COST or cost == OBSTACLE_COST):
        raise ParameterError(
            f"invalid cost '{text}' in ground.class_costs (expected CLASS: COST)",
            f"use 0 to {MOST_COST}, or {OBSTACLE_COST} for an obstacle, e.g. 'pavement: 30'",
        )
    return name.strip(), cost if cost <= MOST_COST else NO_GROUND


class CostGrid:
    """Gives the free cells of a grid the highest cost of the pixels that cover them.

    :param grid: the grid; its tables are used, and its cells are filled.
    :param rays: those of the grid.
    :param size: (width, height) of the image that the rays index [px].
    :param block: see ContactFinder.
    """

    def __init__(
        self, grid: GroundGrid, rays: GroundRays, size: tuple[int, int], block: int
    ) -> None:
        self._grid = grid
        self._block = block
        width, height = size
        self._full = np.zeros((block * height, block * width), np.uint8)
        # One more entry for the index that ends a ray.
        self._costs = np.full(width * height + 1, NO_GROUND, np.uint8)
        self._image = self._costs[:-1].reshape(height, width)
        tables = _PixelTables(rays)
        spans = [
            tables.pixels(*(part[i : i + _CELLS] for part in grid.spans))
            for i in range(0, len(grid.chosen), _CELLS)
        ]
        self._pixels = np.concatenate([np.empty(0, np.intp), *(pixels for pixels, _ in spans)])
        self._values = np.empty(len(self._pixels), np.uint8)
        counts = np.concatenate([np.empty(0, np.intp), *(counts for _, counts in spans)])
        self._starts = np.cumsum(counts) - counts

    def fill(self, contacts: Contacts, labels: Bytes, costs: Bytes) -> Cells:
        """Fill the grid with a frame.

        A pixel of no ground inside a free cell, which only a filter of contacts can leave there,
        makes it unknown.

        :param contacts: what rays meet where the classes of a cost are free.
        :param labels: (H, W) uint8 class ids of the frame.
        :param costs: from cost_table.
        :returns: (rows, columns) int8: the cost, 100 at contacts, -1 where unknown; see
            GroundGrid.fill.
        """
        cells = self._grid.fill(contacts)
        image = self._image if self._block == 1 else self._full[: len(labels), : len(labels[0])]
        cv2.LUT(labels, costs, image)
        if self._block > 1:
            worst(self._full, self._block, self._image)
        if len(self._starts):
            np.take(self._costs, self._pixels, out=self._values, mode='clip')
            highest = np.maximum.reduceat(self._values, self._starts)
            chosen = cells.reshape(-1)[self._grid.chosen]
            np.copyto(chosen, highest.view(np.int8), where=chosen == FREE_CELL)
            cells.reshape(-1)[self._grid.chosen] = chosen
        return cells


class _PixelTables:
    """Finds the pixels of stretches of rays."""

    def __init__(self, rays: GroundRays) -> None:
        most = rays.pixels.shape[1]
        # A ray's distances increase up to where it leaves its last pixel; with a step from ray to
        # ray, all of them are one increasing array.
        self._step = 2.0 * float(rays.near.max()) + 1
        last = rays.near.argmax(1)
        near = np.where(np.arange(most) <= last[:, None], rays.near, self._step / 2)
        self._near = (near + self._step * np.arange(len(rays))[:, None]).ravel()
        self._pixels = rays.pixels.ravel()

    def pixels(
        self, first: Indices, last: Indices, near: Floats, far: Floats
    ) -> tuple[Indices, Indices]:
        """Pixels of cells, cell after cell, and how many each has.

        :param first: (n,) first ray of each cell.
        :param last: (n,) last ray of each.
        :param near: (n,) distance at which each begins [m].
        :param far: (n,) distance at which it ends [m].
        """
        cell, ray = _expanded(first, last - first + 1)
        shift = self._step * ray
        begin = np.searchsorted(self._near, near[cell] + shift, 'right') - 1
        end = np.searchsorted(self._near, far[cell] + shift, 'left')
        stretch, index = _expanded(begin, end - begin)
        counts = np.bincount(cell[stretch], minlength=len(first))
        return self._pixels[index], counts


def _expanded(first: Indices, count: Indices) -> tuple[Indices, Indices]:
    """Indices of stretches, and all their numbers: first, first + 1, ... of each."""
    which = np.repeat(np.arange(len(first)), count)
    before = np.cumsum(count) - count
    return which, np.arange(len(which)) - before[which] + first[which]
