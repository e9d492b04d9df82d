"""Compressed image messages to BGR arrays and back, as compressed_image_transport has them."""

from __future__ import annotations

from array import array as byte_array

import cv2
import numpy as np
from numpy.typing import NDArray
from sensor_msgs.msg import CompressedImage, Image
from std_msgs.msg import Header

from linknet_ros.frames.raw import compressed_to_bgr
from linknet_ros.ros.images import image_to_bgr

__all__ = ['SUFFIX', 'bgr_to_jpeg', 'compressed_to_bgr', 'labels_to_png', 'message_to_bgr']

#: What is added to the name of an image's topic.
SUFFIX = '/compressed'

# Labels are large areas with edges that go on in the next row: runs of what differs from the row
# above. A 1/50 to 1/100 of the raw size, half of what OpenCV's default (runs of what differs from
# the left) makes in the same time, and less than level 6 makes in five times the time:
# python -m timeit -s "import cv2; from linknet_ros.ros.compressed import _PNG as p; from
# linknet_ros.simulation.street import StreetDrive as D; a = D(3, 1280, 720).frame(2.0).labels"
# "cv2.imencode('.png', a, p)", against [] and [cv2.IMWRITE_PNG_COMPRESSION, 6] for p.
# OpenCV up to 4.11 cannot be told the filter; with a level given it tries them all, which takes
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


def message_to_bgr(message: Image | CompressedImage) -> NDArray[np.uint8]:
    """Return the pixels of either kind of image message.

    :returns: (H, W, 3) uint8, BGR; it may share memory with the message.
    :raises FrameError: see image_to_bgr and compressed_to_bgr.
    """
    if isinstance(message, CompressedImage):
        return compressed_to_bgr(message)
    return image_to_bgr(message)


def labels_to_png(labels: NDArray[np.uint8], header: Header) -> CompressedImage:
    """Make a PNG message, which keeps every id as it is.

    :param labels: (H, W) uint8; any strides.
    :param header: of the frame; used, not copied.
    """
    return _message('.png', labels, _PNG, 'mono8; png compressed ', header)


def bgr_to_jpeg(image: NDArray[np.uint8], quality: int, header: Header) -> CompressedImage:
    """Make a JPEG message.

    :param image: (H, W, 3) uint8 BGR; any strides.
    :param quality: 1 to 100.
    :param header: of the frame; used, not copied.
    """
    how = [cv2.IMWRITE_JPEG_QUALITY, quality]
    return _message('.jpg', image, how, 'bgr8; jpeg compressed bgr8', header)


def _message(
    suffix: str, image: NDArray[np.uint8], how: list[int], form: str, header: Header
) -> CompressedImage:
    _, encoded = cv2.imencode(suffix, image, how)
    # See array_to_image.
    data = byte_array('B')
    data.frombytes(encoded.data)
    return CompressedImage(header=header, format=form, data=data)
