"""Labels as pictures for people."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from linknet_ros.classes import UNLABELED


def colorize(labels: NDArray[np.uint8], palette: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Class colours.

    :param labels: (H, W) uint8 class ids.
    :param palette: (256, 3) uint8 BGR, from ClassTable.palette_bgr.
    :returns: (H, W, 3) uint8 BGR.
    """
    # A user colour map of OpenCV is a look-up of three channels at once, five times as fast as
    # indexing the palette with NumPy.
    colors: NDArray[np.uint8] = cv2.applyColorMap(labels, palette.reshape(256, 1, 3))
    return colors


def blend(
    frame: NDArray[np.uint8],
    colors: NDArray[np.uint8],
    labels: NDArray[np.uint8],
    opacity: float,
) -> NDArray[np.uint8]:
    """Class colours over the frame; unlabelled pixels show the frame alone.

    :param frame: (H, W, 3) uint8 BGR.
    :param colors: (H, W, 3) uint8 BGR, from colorize.
    :param labels: (H, W) uint8 class ids.
    :param opacity: of the colours, 0 to 1.
    :returns: (H, W, 3) uint8 BGR.
    """
    blended: NDArray[np.uint8] = cv2.addWeighted(frame, 1 - opacity, colors, opacity, 0)
    # Not cv2.compare, which refuses a frame of 1x1.
    unlabeled = (labels == UNLABELED).view(np.uint8)
    if cv2.countNonZero(unlabeled):
        cv2.copyTo(frame, unlabeled, blended)
    return blended


#: White, red and grey, BGR, of cells that are free (0), occupied (100) and unknown (-1 as 255).
_CELL_COLORS = {0: (255, 255, 255), 100: (40, 40, 200), 255: (128, 128, 128)}


def grid_picture(cells: NDArray[np.int8], scale: int = 3) -> NDArray[np.uint8]:
    """A bird's-eye view of a grid, ahead at the top and left at the left.

    :param cells: (rows along y, columns along x) int8 of 0 free, 100 occupied, -1 unknown.
    :param scale: pixels per cell.
    :returns: (columns * scale, rows * scale, 3) uint8 BGR.
    """
    palette = np.zeros((256, 3), np.uint8)
    for value, color in _CELL_COLORS.items():
        palette[value] = color
    turned = np.ascontiguousarray(cells.T[::-1, ::-1]).view(np.uint8)
    large = turned.repeat(scale, 0).repeat(scale, 1)
    return colorize(large, palette)
