"""Frames of any size into the network's buffer, and its labels back to the frame's size.

A frame is scaled, keeping its shape, to fit into the network size, and written into the top left
of a buffer whose sides are multiples of 32; the rest repeats the frame's last column and row, as
in training. Labels are cropped and scaled back without ever mixing two ids.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from linknet_ros.inference.model_file import STRIDE


@dataclass(frozen=True)
class Fit:
    """How frames of one size lie in the network's buffer; all in pixels."""

    frame_width: int
    frame_height: int
    scaled_width: int
    scaled_height: int

    @property
    def buffer_width(self) -> int:
        """Width of the network's input."""
        return _round_up(self.scaled_width)

    @property
    def buffer_height(self) -> int:
        """Height of the network's input."""
        return _round_up(self.scaled_height)

    @property
    def whole_reduction(self) -> int:
        """Largest whole number that the frame can be divided by without getting too small."""
        width, height = self.frame_width, self.frame_height
        most = min(width // self.scaled_width, height // self.scaled_height)
        wholes = (n for n in range(most, 1, -1) if width % n == height % n == 0)
        return next(wholes, 1)

    @property
    def scales(self) -> bool:
        """Whether the frame has to be resized at all."""
        return (self.scaled_width, self.scaled_height) != (self.frame_width, self.frame_height)


def fit_frame(frame_width: int, frame_height: int, network_width: int, network_height: int) -> Fit:
    """The largest size of the frame's shape that fits into the network size.

    Small frames are enlarged: the network knows objects of the size that they have at its own
    resolution.
    """
    scale = min(network_width / frame_width, network_height / frame_height)
    return Fit(
        frame_width,
        frame_height,
        max(1, min(network_width, round(frame_width * scale))),
        max(1, min(network_height, round(frame_height * scale))),
    )


class FrameFitter:
    """Fits frames of one size; owns the buffers that the network reads.

    There are two, so that a frame can be fitted while the network reads the one before.

    :param fit: from fit_frame.
    """

    def __init__(self, fit: Fit) -> None:
        self.fit = fit
        shape = (fit.buffer_height, fit.buffer_width, 3)
        self._buffers = [np.zeros(shape, np.uint8) for _ in range(2)]
        # Bilinear sampling skips pixels where it shrinks to less than a half, averaging does not;
        # by a whole number that is fast, by any other it takes five times as long as both steps.
        by = fit.whole_reduction
        width, height = fit.frame_width // by, fit.frame_height // by
        self._reduced = np.zeros((height, width, 3), np.uint8) if by > 1 else None
        skips = width > 2 * fit.scaled_width or height > 2 * fit.scaled_height
        self._how = cv2.INTER_AREA if skips else cv2.INTER_LINEAR

    def to_network(self, frame: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """The network's input for a frame.

        :param frame: (frame_height, frame_width, 3) uint8 BGR.
        :returns: (buffer_height, buffer_width, 3) uint8, overwritten by the call after the next.
        """
        self._buffers.reverse()
        buffer = self._buffers[0]
        width, height = self.fit.scaled_width, self.fit.scaled_height
        content = buffer[:height, :width]
        if self.fit.scales:
            if self._reduced is not None:
                size = self._reduced.shape[1::-1]
                frame = cv2.resize(frame, size, dst=self._reduced, interpolation=cv2.INTER_AREA)
            cv2.resize(frame, (width, height), dst=content, interpolation=self._how)
        else:
            np.copyto(content, frame)
        if width < self.fit.buffer_width:
            buffer[:height, width:] = buffer[:height, width - 1 : width]
        if height < self.fit.buffer_height:
            buffer[height:] = buffer[height - 1]
        return buffer

    def crop(self, image: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """View of the part of a network output that shows the frame."""
        return image[: self.fit.scaled_height, : self.fit.scaled_width]

    def to_frame(self, image: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """A cropped output at the frame's size; nearest neighbour, so that ids stay ids.

        :param image: (scaled_height, scaled_width) uint8.
        :returns: (frame_height, frame_width) uint8; the argument itself when the sizes agree.
        """
        if not self.fit.scales:
            return image
        size = (self.fit.frame_width, self.fit.frame_height)
        resized: NDArray[np.uint8] = cv2.resize(
            np.ascontiguousarray(image), size, interpolation=cv2.INTER_NEAREST_EXACT
        )
        return resized


def _round_up(side: int) -> int:
    return -(-side // STRIDE) * STRIDE
