"""Compares a drivable grid with the truth, in numbers and as a picture."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import cv2
import numpy as np
from numpy.typing import NDArray

from linknet_ros.ground.grid import FREE_CELL, OCCUPIED_CELL, UNKNOWN_CELL, Cells
from linknet_ros.products.colors import grid_picture

Bytes = NDArray[np.uint8]
Bools = NDArray[np.bool_]


@dataclass
class GridScore:
    """Numbers of cells, summed over grids.

    :param both: cells that are free in the grid and in truth.
    :param found: cells that are free in the grid.
    :param true: cells that are free in truth.
    :param occupied: cells that are occupied in the grid.
    :param falsely_occupied: of these, cells that are free in truth together with all cells up to
        `margin` around them: next to what is real, a contact may be a little off.
    """

    both: int = 0
    found: int = 0
    true: int = 0
    occupied: int = 0
    falsely_occupied: int = 0
    margin: ClassVar = 2

    def add(self, cells: Cells, truth: Bools, near: Bools | None = None) -> None:
        """Count the cells of a grid.

        :param cells: (H, W) int8 cells of an OccupancyGrid.
        :param truth: (H, W) bool, whether a cell is truly free.
        :param near: (H, W) bool, where cells are counted; None for everywhere.
        """
        around = np.ones((2 * self.margin + 1, 2 * self.margin + 1), np.uint8)
        clear = cv2.erode(truth.astype(np.uint8), around) > 0
        if near is not None:
            cells, truth = np.where(near, cells, np.int8(UNKNOWN_CELL)), truth & near
        occupied = cells == OCCUPIED_CELL
        self.occupied += int(occupied.sum())
        self.falsely_occupied += int((occupied & clear).sum())
        free = cells == FREE_CELL
        self.both += int((free & truth).sum())
        self.found += int(free.sum())
        self.true += int(truth.sum())

    @property
    def iou(self) -> float:
        """Intersection over union of free space, 0 to 1; 0 without any."""
        return self.both / max(self.found + self.true - self.both, 1)

    @property
    def falsely_free(self) -> float:
        """Share of the grid's free cells that are not free in truth, 0 to 1."""
        return (self.found - self.both) / max(self.found, 1)

    @property
    def recall(self) -> float:
        """Share of the truly free cells that are free in the grid, 0 to 1."""
        return self.both / max(self.true, 1)


def truth_picture(picture: Bytes, cells: Cells, truth: Bools) -> Bytes:
    """Put a camera frame, the grid and the truth side by side, ahead at the top.

    In the truth, free cells are white, and cells that the grid has falsely as free are red.

    :param picture: (H, W, 3) uint8 BGR, scaled to the height of the grids.
    :param cells: see GridScore.add.
    :param truth: see GridScore.add.
    :returns: (H, W, 3) uint8 BGR, three pixels per cell.
    """
    found = grid_picture(cells)
    height = len(found)
    width = round(picture.shape[1] * height / picture.shape[0])
    picture = np.asarray(
        cv2.resize(picture, (width, height), interpolation=cv2.INTER_AREA), np.uint8
    )
    return np.hstack([picture, found, grid_picture(marked_truth(cells, truth))])


def marked_truth(cells: Cells, truth: Bools) -> Cells:
    """The truth as a grid: free or unknown, and occupied where `cells` are falsely free."""
    marked = np.where(truth, FREE_CELL, UNKNOWN_CELL).astype(np.int8)
    marked[(cells == FREE_CELL) & ~truth] = OCCUPIED_CELL
    return marked
