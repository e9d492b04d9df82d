"""Frames of any size into the network's buffer, and its labels back to the frame's size.

A frame is scaled, keeping its shape, to fit into the network size, and written into the top left
of a buffer whose sides are multiples of the network's stride; the rest repeats the frame's last
column and row, as in training. Labels are cropped and scaled back without ever mixing two ids. A
frame of a camera that is mounted turned is turned upright on the way, and its labels are turned
back.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from linknet_ros.inference.model_file import STRIDE

#: Turns of an image, clockwise, and what OpenCV calls them [degrees].
TURNS = (0, 90, 180, 270)
_TURN = {90: cv2.ROTATE_90_CLOCKWISE, 180: cv2.ROTATE_180, 270: cv2.ROTATE_90_COUNTERCLOCKWISE}


def turned(image: NDArray[np.uint8], clockwise: int) -> NDArray[np.uint8]:
    """An image turned by one of TURNS; itself for none.

    :param image: (H, W) or (H, W, 3) uint8.
    """
    if not clockwise:
        return image
    return np.asarray(cv2.rotate(image, _TURN[clockwise]), np.uint8)


@dataclass(frozen=True)
class Fit:
    """How frames of one size lie in the network's buffer; all in pixels.

    :param scaled_width: of the scaled frame, which is turned after that; so is `scaled_height`.
    :param rotate: what turns the frame upright, one of TURNS.
    """

    frame_width: int
    frame_height: int
    scaled_width: int
    scaled_height: int
    steps: tuple[int, int] = (STRIDE, STRIDE)
    rotate: int = 0

    @property
    def upright_size(self) -> tuple[int, int]:
        """(width, height) of the scaled frame, upright."""
        size = (self.scaled_width, self.scaled_height)
        return size[::-1] if self.rotate in (90, 270) else size

    @property
    def buffer_width(self) -> int:
        """Width of the network's input."""
        return _round_up(self.upright_size[0], self.steps[0])

    @property
    def buffer_height(self) -> int:
        """Height of the network's input."""
        return _round_up(self.upright_size[1], self.steps[1])

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


def fit_frame(
    frame_width: int,
    frame_height: int,
    network_width: int,
    network_height: int,
    steps: tuple[int, int] = (STRIDE, STRIDE),
    rotate: int = 0,
) -> Fit:
    """The largest size of the frame's shape that fits into the network size.

    Small frames are enlarged: the network knows objects of the size that they have at its own
    resolution.

    :param steps: what the buffer's width and height are multiples of, see ModelFile.steps.
    :param rotate: what turns the frame upright, one of TURNS.
    """
    if rotate in (90, 270):
        network_width, network_height = network_height, network_width
    scale = min(network_width / frame_width, network_height / frame_height)
    return Fit(
        frame_width,
        frame_height,
        max(1, min(network_width, round(frame_width * scale))),
        max(1, min(network_height, round(frame_height * scale))),
        steps,
        rotate,
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
        # A scaled frame that has yet to be turned.
        scaled = (fit.scaled_height, fit.scaled_width, 3)
        self._lying = np.zeros(scaled, np.uint8) if fit.rotate else None

    def to_network(self, frame: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """The network's input for a frame.

        :param frame: (frame_height, frame_width, 3) uint8 BGR.
        :returns: (buffer_height, buffer_width, 3) uint8, overwritten by the call after the next.
        """
        self._buffers.reverse()
        buffer = self._buffers[0]
        width, height = self.fit.upright_size
        content = buffer[:height, :width]
        scaled = content if self._lying is None else self._lying
        if self.fit.scales:
            if self._reduced is not None:
                size = self._reduced.shape[1::-1]
                frame = cv2.resize(frame, size, dst=self._reduced, interpolation=cv2.INTER_AREA)
            cv2.resize(frame, scaled.shape[1::-1], dst=scaled, interpolation=self._how)
        else:
            np.copyto(scaled, frame)
        if self._lying is not None:
            cv2.rotate(self._lying, _TURN[self.fit.rotate], dst=content)
        if width < self.fit.buffer_width:
            buffer[:height, width:] = buffer[:height, width - 1 : width]
        if height < self.fit.buffer_height:
            buffer[height:] = buffer[height - 1]
        return buffer

    def crop(self, image: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """View of the part of a network output that shows the frame, upright."""
        width, height = self.fit.upright_size
        return image[:height, :width]

    def to_frame(self, image: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """A cropped output as the frame lies, at its size; nearest neighbour, so ids stay ids.

        :param image: uint8 of the `upright_size`.
        :returns: (frame_height, frame_width) uint8; the argument itself when the sizes agree.
        """
        return nearest(
            turned(image, -self.fit.rotate % 360), self.fit.frame_width, self.fit.frame_height
        )


def nearest(image: NDArray[np.uint8], width: int, height: int) -> NDArray[np.uint8]:
    """An image at another size, by nearest neighbour between the centres of pixels.

    :param image: (H, W) uint8.
    :returns: (height, width) uint8; the argument itself when that is its size.
    """
    if image.shape == (height, width):
        return image
    resized: NDArray[np.uint8] = cv2.resize(
        np.ascontiguousarray(image), (width, height), interpolation=cv2.INTER_NEAREST_EXACT
    )
    return resized


def _round_up(side: int, step: int) -> int:
    return -(-side // step) * step
