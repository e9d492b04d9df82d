"""Compressed image messages to BGR arrays and back, as compressed_image_transport has them.

What `format` means is written in its sources (ros-perception/image_transport_plugins,
compressed_publisher.cpp and compressed_subscriber.cpp): 'rgb8; jpeg compressed bgr8' is an image
that was rgb8, is a JPEG, and was converted to bgr8 for it, so that it decodes as any JPEG does.
Nothing after 'compressed' stands for not converted: a Bayer mosaic is one still. Older releases
and other publishers write 'jpeg' or 'png' only.
"""

from __future__ import annotations

from array import array as byte_array

import cv2
import numpy as np
from numpy.typing import NDArray
from sensor_msgs.msg import CompressedImage, Image
from std_msgs.msg import Header

from linknet_ros.encoded_images import decode_image
from linknet_ros.errors import FrameError
from linknet_ros.ros_images import array_to_image, image_to_bgr

#: What is added to the name of an image's topic.
SUFFIX = '/compressed'

#: isColor() of sensor_msgs/image_encodings.hpp.
_COLORS = tuple(f'{order}{bits}' for order in ('rgb', 'bgr', 'rgba', 'bgra') for bits in (8, 16))

# Labels are large areas with edges that go on in the next row: runs of what differs from the row
# above. A 1/50 to 1/100 of the raw size, half of what OpenCV's default (runs of what differs from
# the left) makes in the same time, and less than level 6 makes in five times the time:
# python -m timeit -s "import cv2; from linknet_ros.ros_compressed import _PNG as p; from
# linknet_ros.street_drive import StreetDrive; a = StreetDrive(3, 1280, 720).frame(2.0).labels"
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


def compressed_to_bgr(message: CompressedImage) -> NDArray[np.uint8]:
    """Return the pixels of a compressed image message.

    The data tell whether they are JPEG or PNG; the format, what the decoded samples are. Of 16
    bits the high byte is kept, as in image_to_bgr.

    :returns: (H, W, 3) uint8, BGR; a new array.
    :raises FrameError: it is empty, cut short, damaged, too large, or of another format.
    """
    source, _, codec = message.format.partition(';')
    try:
        if 'compressedDepth' in message.format:
            raise FrameError('shows distances, no colours; take the colour camera')
        pixels = decode_image(bytes(message.data))
    except FrameError as error:
        size = f'{len(message.data)} bytes'
        raise FrameError(f'compressed image ({message.format!r}, {size}) {error}') from error
    if pixels.dtype != np.uint8:
        pixels = (pixels >> 8).astype(np.uint8)
    if pixels.ndim == 2 and source.startswith('bayer') and not _target(codec):
        mosaic = array_to_image(pixels, 'mono8', message.header)
        mosaic.encoding = source.replace('16', '8')
        return image_to_bgr(mosaic)
    if pixels.ndim == 2:
        pixels = cv2.cvtColor(pixels, cv2.COLOR_GRAY2BGR)
    elif pixels.shape[2] == 4:
        pixels = cv2.cvtColor(pixels, cv2.COLOR_BGRA2BGR)
    if source in _COLORS and codec and not _target(codec).startswith('bgr'):
        # From before colours were put into the order that JPEG's encoder takes.
        pixels = cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR)
    return np.asarray(pixels, np.uint8)


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


def _target(codec: str) -> str:
    """What the samples were converted to, empty if they were not."""
    return codec.partition('compressed')[2].strip()


def _message(
    suffix: str, image: NDArray[np.uint8], how: list[int], form: str, header: Header
) -> CompressedImage:
    _, encoded = cv2.imencode(suffix, image, how)
    # See array_to_image.
    data = byte_array('B')
    data.frombytes(encoded.data)
    return CompressedImage(header=header, format=form, data=data)
