"""Images as cameras send them to BGR arrays; reads fields of a message, without ROS."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from linknet_ros.errors import FrameError
from linknet_ros.frames.encoded import decode_image
from linknet_ros.frames.sixteen_bits import to_eight_bits
from linknet_ros.limits import MAX_PIXELS, MAX_SIDE

#: isColor() of sensor_msgs/image_encodings.hpp.
_COLORS = tuple(f'{order}{bits}' for order in ('rgb', 'bgr', 'rgba', 'bgra') for bits in (8, 16))


class _Layout(NamedTuple):
    """How one encoding lies in `Image.data`, and what turns it into BGR."""

    channels: int  # samples per pixel in a row of `step` bytes
    code: int | None  # of cv2.cvtColor; None: already BGR
    sample_bytes: int = 1
    width_multiple: int = 1
    height_multiple: int = 1
    rows_per_pair: int = 2  # rows of `step` bytes for two image rows, chroma planes included

    def row_bytes(self, width: int) -> int:
        """Return the bytes of a row without its padding."""
        return width * self.channels * self.sample_bytes

    def rows(self, height: int) -> int:
        """Return the rows of `step` bytes in `Image.data`."""
        return height * self.rows_per_pair // 2


def _bayer(code: int, sample_bytes: int) -> _Layout:
    return _Layout(1, code, sample_bytes, width_multiple=2, height_multiple=2)


def _yuv422(code: int) -> _Layout:
    return _Layout(2, code, width_multiple=2)


def _yuv420(code: int) -> _Layout:
    return _Layout(1, code, width_multiple=2, height_multiple=2, rows_per_pair=3)


# Names and layouts: sensor_msgs/image_encodings.hpp. ROS names a Bayer pattern after its first
# pixels, OpenCV after the pixels at (1, 1) and (1, 2), so RGGB is OpenCV's BG, and so on.
LAYOUTS = {
    'bgr8': _Layout(3, None),
    '8UC3': _Layout(3, None),
    'rgb8': _Layout(3, cv2.COLOR_RGB2BGR),
    'bgra8': _Layout(4, cv2.COLOR_BGRA2BGR),
    '8UC4': _Layout(4, cv2.COLOR_BGRA2BGR),
    'rgba8': _Layout(4, cv2.COLOR_RGBA2BGR),
    'mono8': _Layout(1, cv2.COLOR_GRAY2BGR),
    '8UC1': _Layout(1, cv2.COLOR_GRAY2BGR),
    'bgr16': _Layout(3, None, 2),
    '16UC3': _Layout(3, None, 2),
    'rgb16': _Layout(3, cv2.COLOR_RGB2BGR, 2),
    'bgra16': _Layout(4, cv2.COLOR_BGRA2BGR, 2),
    '16UC4': _Layout(4, cv2.COLOR_BGRA2BGR, 2),
    'rgba16': _Layout(4, cv2.COLOR_RGBA2BGR, 2),
    'mono16': _Layout(1, cv2.COLOR_GRAY2BGR, 2),
    # Of depth images (REP 118), and of some infrared cameras: see image_to_bgr.
    '16UC1': _Layout(1, cv2.COLOR_GRAY2BGR, 2),
    'bayer_rggb8': _bayer(cv2.COLOR_BayerBG2BGR, 1),
    'bayer_bggr8': _bayer(cv2.COLOR_BayerRG2BGR, 1),
    'bayer_gbrg8': _bayer(cv2.COLOR_BayerGR2BGR, 1),
    'bayer_grbg8': _bayer(cv2.COLOR_BayerGB2BGR, 1),
    'bayer_rggb16': _bayer(cv2.COLOR_BayerBG2BGR, 2),
    'bayer_bggr16': _bayer(cv2.COLOR_BayerRG2BGR, 2),
    'bayer_gbrg16': _bayer(cv2.COLOR_BayerGR2BGR, 2),
    'bayer_grbg16': _bayer(cv2.COLOR_BayerGB2BGR, 2),
    'uyvy': _yuv422(cv2.COLOR_YUV2BGR_UYVY),
    'yuv422': _yuv422(cv2.COLOR_YUV2BGR_UYVY),
    'yuyv': _yuv422(cv2.COLOR_YUV2BGR_YUY2),
    'yuv422_yuy2': _yuv422(cv2.COLOR_YUV2BGR_YUY2),
    'nv12': _yuv420(cv2.COLOR_YUV2BGR_NV12),
    'nv21': _yuv420(cv2.COLOR_YUV2BGR_NV21),
    # In planes, each converted by a function of its own.
    'nv24': _Layout(1, None, rows_per_pair=6),
    'nv16': _Layout(1, None, width_multiple=2, rows_per_pair=4),
    'i420': _yuv420(cv2.COLOR_YUV2BGR_I420),
    'yu12': _yuv420(cv2.COLOR_YUV2BGR_I420),
    'yuv420': _yuv420(cv2.COLOR_YUV2BGR_I420),
    'yv12': _yuv420(cv2.COLOR_YUV2BGR_YV12),
}

#: Encodings of three planes, whose chroma rows have half the step.
_THREE_PLANES = ('i420', 'yu12', 'yuv420', 'yv12')

#: Encodings of depth images (REP 118), which have distances for colours.
_DEPTH = ('16UC1', '32FC1')

# BGR from (Y, U, V, 1): ITU-R BT.601, Y in 16..235, as in OpenCV's other conversions from YUV.
_BGR_FROM_YUV = np.array(
    [
        [1.164, 2.018, 0.0, -276.928],
        [1.164, -0.391, -0.813, 135.488],
        [1.164, 0.0, 1.596, -222.912],
    ]
)

#: What to do about an encoding that is not in the table.
FIX = 'set the camera driver to bgr8, rgb8, mono8, yuyv or another colour encoding'


def _refuse(message: Any) -> NDArray[np.uint8]:
    raise FrameError(f'image encoding {message.encoding!r} cannot be converted to BGR', FIX)


def image_to_bgr(
    message: Any,
    otherwise: Callable[[Any], NDArray[np.uint8]] = _refuse,
    mono16_max: int = 0,
) -> NDArray[np.uint8]:
    """Return the pixels of an image message of any usual encoding.

    For bgr8 and 8UC3 this is a read-only view of `message.data`, without a copy (rows may lie
    `step` bytes apart); every other encoding gives a new array. For 16-bit samples see
    to_eight_bits.

    :param message: has the fields of sensor_msgs/Image, whichever library read it; row padding
        and both byte orders are understood.
    :param otherwise: converts an encoding that is not in LAYOUTS, once its size was checked.
    :param mono16_max: see to_eight_bits. 16UC1 is taken for grey if it is given, else for depth.
    :returns: (H, W, 3) uint8, BGR; it may share memory with the message.
    :raises FrameError: the message is damaged or its encoding cannot be converted.
    """
    layout = LAYOUTS.get(message.encoding)
    _check(message, layout)
    if message.encoding in _DEPTH and not (layout and mono16_max):
        raise FrameError(
            f'{message.encoding!r} is a depth image: it shows distances, not colours',
            'take the colour camera; for a grey camera of 16 bits, set the driver to mono16, or '
            'set mono16_max',
        )
    if layout is None:
        return otherwise(message)
    if message.encoding == 'nv24':
        return _bgr_from_nv24(message)
    if message.encoding == 'nv16':
        return _bgr_from_nv16(message)
    if message.encoding in _THREE_PLANES:
        return _bgr_from_planes(message, layout)
    samples = _samples(message, layout, mono16_max)
    if layout.code is None:
        return samples
    return np.asarray(cv2.cvtColor(samples, layout.code), np.uint8)


def compressed_to_bgr(message: Any, mono16_max: int = 0) -> NDArray[np.uint8]:
    """Return the pixels of a compressed image message.

    What `format` means is written in the sources of compressed_image_transport
    (ros-perception/image_transport_plugins, compressed_publisher.cpp and
    compressed_subscriber.cpp): 'rgb8; jpeg compressed bgr8' is an image that was rgb8, is a JPEG,
    and was converted to bgr8 for it, so that it decodes as any JPEG does. Nothing after
    'compressed' stands for not converted: a Bayer mosaic is one still. Older releases and other
    publishers write 'jpeg' or 'png' only.

    Whether it is a JPEG or PNG is seen from the data; the format says what the decoded samples
    are.

    :param message: has the fields of sensor_msgs/CompressedImage, whichever library read it.
    :param mono16_max: for 16 bits, see to_eight_bits.
    :returns: (H, W, 3) uint8, BGR; a new array.
    :raises FrameError: it is empty, cut short, damaged, too large, or of another format.
    """
    source, _, codec = message.format.partition(';')
    try:
        if 'compressedDepth' in message.format:
            raise FrameError('shows distances, not colours', 'take the colour camera')
        pixels = decode_image(bytes(message.data))
    except FrameError as error:
        size = f'{len(message.data)} bytes'
        problem = f'compressed image ({message.format!r}, {size}) {error.problem}'
        raise FrameError(problem, error.fix) from error
    if pixels.dtype == np.uint16:
        pixels = to_eight_bits(np.asarray(pixels, np.uint16), mono16_max)
    if pixels.ndim == 2 and source.startswith('bayer') and not _target(codec):
        height, width = pixels.shape
        mosaic = SimpleNamespace(
            encoding=source.replace('16', '8'),
            height=height,
            width=width,
            step=width,
            is_bigendian=0,
            data=np.ascontiguousarray(pixels).reshape(-1),
        )
        return image_to_bgr(mosaic)
    if pixels.ndim == 2:
        pixels = cv2.cvtColor(pixels, cv2.COLOR_GRAY2BGR)
    elif pixels.shape[2] == 4:
        pixels = cv2.cvtColor(pixels, cv2.COLOR_BGRA2BGR)
    if source in _COLORS and codec and not _target(codec).startswith('bgr'):
        # From before colours were put into the order that JPEG's encoder takes.
        pixels = cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR)
    return np.asarray(pixels, np.uint8)


def _check(message: Any, layout: _Layout | None) -> None:
    """Raise FrameError unless the message's numbers agree; an unknown layout is checked less."""
    width, height, step = message.width, message.height, message.step
    size = f'{message.encoding!r} image of {width} x {height}'
    if min(width, height) < 1:
        raise FrameError(f'{size}: width and height must be at least 1', 'check the camera driver')
    too_long = max(width, height) > MAX_SIDE
    if too_long or width * height > MAX_PIXELS:
        limit = f'{MAX_SIDE} pixels a side' if too_long else f'{MAX_PIXELS} pixels'
        raise FrameError(
            f'{size} is over the limit of {limit}: the message is damaged',
            'otherwise set the camera to a smaller size',
        )
    if layout is not None:
        if width % layout.width_multiple or height % layout.height_multiple:
            sides = 'width' if layout.height_multiple == 1 else 'width and height'
            raise FrameError(f'{size}: this encoding needs an even {sides}', 'set another size')
        if message.encoding.startswith('bayer') and min(width, height) < 4:
            # OpenCV would return black.
            raise FrameError(
                f'{size}: a Bayer image needs at least 4 x 4 pixels', 'set a larger size'
            )
        if step < layout.row_bytes(width):
            raise FrameError(
                f'{size} has step {step}, but a row needs {layout.row_bytes(width)} bytes',
                'the camera driver must set step to its row length in bytes',
            )
    rows = layout.rows(height) if layout is not None else height
    if len(message.data) < step * rows:
        counted = f'height {height}' if rows == height else f'{rows} rows (chroma included)'
        raise FrameError(
            f'{size} has {len(message.data)} bytes, but step {step} * {counted} needs '
            f'{step * rows}',
            'the frame was cut short, or the camera driver sets a wrong step',
        )


def _samples(message: Any, layout: _Layout, mono16_max: int = 0) -> NDArray[np.uint8]:
    """Return (rows, W, channels) uint8 without row padding: a view, or a copy of 16 bits."""
    rows = layout.rows(message.height)
    flat = np.frombuffer(message.data, np.uint8, count=message.step * rows)
    flat.flags.writeable = False
    image = flat.reshape(rows, message.step)[:, : layout.row_bytes(message.width)]
    if layout.sample_bytes == 1:
        return image.reshape(rows, message.width, layout.channels)
    order = '>u2' if message.is_bigendian else '<u2'
    samples = np.ascontiguousarray(image).view(order).astype(np.uint16, copy=False)
    return to_eight_bits(samples, mono16_max).reshape(rows, message.width, layout.channels)


def _bgr_from_nv24(message: Any) -> NDArray[np.uint8]:
    """Convert a Y plane and, in rows of twice the step, a plane of U and V for every pixel."""
    width, height, step = message.width, message.height, message.step
    flat = np.frombuffer(message.data, np.uint8, count=3 * step * height)
    luma = flat[: step * height].reshape(height, step)[:, :width]
    chroma = flat[step * height :].reshape(height, 2 * step)[:, : 2 * width]
    yuv = np.dstack([luma, chroma.reshape(height, width, 2)])
    return np.asarray(cv2.transform(yuv, _BGR_FROM_YUV), np.uint8)


def _bgr_from_nv16(message: Any) -> NDArray[np.uint8]:
    """Convert a Y plane and a plane of U and V in turn, which is yuyv once they are paired."""
    width, height, step = message.width, message.height, message.step
    planes = np.frombuffer(message.data, np.uint8, count=2 * step * height)
    luma, chroma = planes.reshape(2, height, step)[..., :width]
    return np.asarray(cv2.cvtColor(np.dstack([luma, chroma]), cv2.COLOR_YUV2BGR_YUY2), np.uint8)


def _bgr_from_planes(message: Any, layout: _Layout) -> NDArray[np.uint8]:
    """Convert planes of Y, and of U and V in half the size and half the step."""
    width, height, step = message.width, message.height, message.step
    if step % 2:
        raise FrameError(
            f'{message.encoding!r} image has an odd step {step}', 'the camera driver must set it'
        )
    flat = np.frombuffer(message.data, np.uint8, count=step * height * 3 // 2)
    luma = flat[: step * height].reshape(height, step)[:, :width]
    chroma = flat[step * height :].reshape(height, step // 2)[:, : width // 2]
    planes = np.concatenate([luma.ravel(), chroma.ravel()]).reshape(height * 3 // 2, width)
    assert layout.code is not None
    return np.asarray(cv2.cvtColor(planes, layout.code), np.uint8)


def _target(codec: str) -> str:
    """What the samples were converted to, empty if they were not."""
    return codec.partition('compressed')[2].strip()
