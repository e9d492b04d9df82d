"""BGR arrays and labels to PNG and JPEG, the same for topics and for files."""

from __future__ import annotations

import zlib

import cv2
import numpy as np
from numpy.typing import NDArray

# Labels are large areas with edges that go on in the next row: runs of what differs from the row
# above. A 1/50 to 1/100 of the raw size, half of what OpenCV's default (runs of what differs from
# the left) makes in a tenth of the time, and less than level 6 makes in five times the time. A
# photograph becomes 5 % larger than by default:
# python -m timeit -s "import cv2; from linknet_ros.frames.encode import _PNG as p; from
# linknet_ros.simulation.street import StreetDrive as D; a = D(3, 1280, 720).frame(2.0).labels"
# "cv2.imencode('.png', a, p)", against [] and [cv2.IMWRITE_PNG_COMPRESSION, 6] for p.
# OpenCV up to 4.11 cannot be given the filter; with a level given it tries them all, which takes
# three times as long and more, so it is left alone. The level comes first: it resets the strategy.
_PNG = (
    [
        *(cv2.IMWRITE_PNG_COMPRESSION, 1),
        *(cv2.IMWRITE_PNG_STRATEGY, cv2.IMWRITE_PNG_STRATEGY_RLE),
        *(cv2.IMWRITE_PNG_FILTER, cv2.IMWRITE_PNG_FILTER_UP),
    ]
    if hasattr(cv2, 'IMWRITE_PNG_FILTER')
    else []
)


def encode_png(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Compress without loss, so that every class id stays what it is.

    :param image: (H, W) or (H, W, 3) BGR, uint8; any strides.
    :returns: (bytes,) uint8.
    """
    encoded: NDArray[np.uint8] = cv2.imencode('.png', image, _PNG)[1]
    return encoded


def encode_palette_png(ids: NDArray[np.uint8], palette: NDArray[np.uint8]) -> bytes:
    """Class ids as a PNG that viewers show in colours: its pixels are indices of a palette.

    A grey PNG of 8 bits with another colour type and a palette between header and data; source:
    the PNG specification (ISO/IEC 15948), chapter 11.2.

    :param ids: (H, W) uint8.
    :param palette: (256, 3) uint8 BGR.
    """
    grey = encode_png(ids).tobytes()
    header = bytearray(grey[12:29])  # name and body of IHDR
    header[4 + 9] = 3
    colors = b'PLTE' + np.ascontiguousarray(palette[:, ::-1]).tobytes()
    chunks = b''.join(
        (len(chunk) - 4).to_bytes(4, 'big') + chunk + zlib.crc32(chunk).to_bytes(4, 'big')
        for chunk in (bytes(header), colors)
    )
    return grey[:8] + chunks + grey[33:]


def encode_jpeg(image: NDArray[np.uint8], quality: int) -> NDArray[np.uint8]:
    """Compress for people.

    :param image: (H, W, 3) uint8 BGR; any strides.
    :param quality: 1 to 100.
    :returns: (bytes,) uint8.
    """
    encoded: NDArray[np.uint8] = cv2.imencode('.jpg', image, [cv2.IMWRITE_JPEG_QUALITY, quality])[
        1
    ]
    return encoded
