"""Pictures of the page, encoded only when a browser asks for them."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

import cv2
import numpy as np
from numpy.typing import NDArray

from linknet_ros.errors import FrameError
from linknet_ros.frames.encode import encode_jpeg, encode_png
from linknet_ros.products.colors import grid_picture

#: Wider camera frames are reduced to this width [px]; the overlay keeps the frame's size.
MAX_WIDTH = 960

#: Of camera frames.
JPEG_QUALITY = 80

#: Longest side of the grid's picture [px], and the largest grid that is drawn [cells].
_GRID_SIDE, _MAX_CELLS = 640, 4_000_000


class Picture:
    """A picture that is encoded once, on first use.

    :param encode: returns the encoded bytes, or raises LinknetError; called from any thread.
    :param kind: MIME type of the bytes.
    :param caption: a line of text below the picture.
    """

    def __init__(
        self, encode: Callable[[], bytes], kind: str = 'image/jpeg', caption: str = ''
    ) -> None:
        #: When it arrived, on the clock of time.monotonic [s].
        self.time = time.monotonic()
        self.kind = kind
        self.caption = caption
        self._encode = encode
        self._lock = threading.Lock()
        self._bytes: bytes | None = None

    def data(self) -> bytes:
        """The encoded bytes.

        :raises LinknetError: if `encode` does.
        """
        with self._lock:
            if self._bytes is None:
                self._bytes = self._encode()
            return self._bytes


def frame_jpeg(frame: NDArray[np.uint8]) -> bytes:
    """Encode a camera frame as JPEG, at most MAX_WIDTH pixels wide.

    :param frame: (H, W, 3) uint8 BGR.
    """
    height, width = frame.shape[:2]
    if width > MAX_WIDTH:
        size = (MAX_WIDTH, max(1, round(height * MAX_WIDTH / width)))
        frame = np.asarray(cv2.resize(frame, size, interpolation=cv2.INTER_AREA), np.uint8)
    return encode_jpeg(frame, JPEG_QUALITY).tobytes()


def grid_png(cells: NDArray[np.int8]) -> bytes:
    """Encode a grid as PNG, see products.colors.grid_picture.

    :param cells: (rows along y, columns along x) int8 cells of an OccupancyGrid.
    :raises FrameError: for a grid that is empty, or too large to be drawn.
    """
    if not 0 < cells.size <= _MAX_CELLS:
        raise FrameError(
            f'cannot draw a grid of {cells.shape[1]}x{cells.shape[0]} cells (1 to {_MAX_CELLS} '
            'can be drawn)',
            'set ground.resolution, ground.forward and ground.sideways',
        )
    scale = max(1, _GRID_SIDE // max(cells.shape))
    return encode_png(grid_picture(cells, scale)).tobytes()
