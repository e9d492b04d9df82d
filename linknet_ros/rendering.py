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
