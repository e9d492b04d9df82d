"""ROS images to BGR arrays and back, without cv_bridge, and the camera_info that fits them."""

import copy
import functools
from array import array as byte_array
from typing import Any, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray
from sensor_msgs.msg import CameraInfo, Image
from std_msgs.msg import Header

from linknet_ros.errors import FrameError

# No camera is larger; a header that says so is damaged, and its frame must not be allocated.
MAX_SIDE = 16384

# Of a whole frame. A mono8 image of 16384 x 16384 has 268 MB; as BGR it would be 805 MB, and what
# is computed for it as much again. 67 million are 200 MB.
MAX_PIXELS = 1 << 26


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
_LAYOUTS = {
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
    'nv24': _Layout(1, None, rows_per_pair=6),
}

# BGR from (Y, U, V, 1): ITU-R BT.601, Y in 16..235, as in OpenCV's other conversions from YUV.
_BGR_FROM_YUV = np.array(
    [
        [1.164, 2.018, 0.0, -276.928],
        [1.164, -0.391, -0.813, 135.488],
        [1.164, 0.0, 1.596, -222.912],
    ]
)

# What a cv_bridge built for another NumPy raises, at the import or at the first use.
_CV_BRIDGE_BROKEN = (ImportError, AttributeError, SystemError)


def image_to_bgr(message: Image) -> NDArray[np.uint8]:
    """Return the pixels of an image message of any usual encoding.

    For bgr8 and 8UC3 this is a read-only view of `message.data`, without a copy (rows may lie
    `step` bytes apart); every other encoding gives a new array. 16-bit samples keep their high
    byte: a fixed scale, so the brightness that the network sees does not jump from frame to
    frame as it would with one taken from each frame's minimum and maximum.

    :param message: an image; row padding and both byte orders are understood.
    :returns: (H, W, 3) uint8, BGR; it may share memory with the message.
    :raises FrameError: the message is damaged or its encoding cannot be converted.
    """
    layout = _LAYOUTS.get(message.encoding)
    _check(message, layout)
    if layout is None:
        return _bgr_by_cv_bridge(message)
    if message.encoding == 'nv24':
        return _bgr_from_nv24(message)
    samples = _samples(message, layout)
    if layout.code is None:
        return samples
    return np.asarray(cv2.cvtColor(samples, layout.code), np.uint8)


def array_to_image(array: NDArray[np.uint8], encoding: str, header: Header) -> Image:
    """Make an image message without row padding.

    :param array: uint8, (H, W) for mono8, (H, W, 3) BGR for bgr8; any strides.
    :param encoding: 'mono8' or 'bgr8'.
    :param header: header of the frame that the array was computed from; used, not copied.
    :returns: a message with its own copy of the pixels.
    :raises ValueError: array and encoding do not fit together.
    """
    channels = {'mono8': (), 'bgr8': (3,)}.get(encoding)
    if channels is None:
        raise ValueError(f"encoding must be 'mono8' or 'bgr8', not {encoding!r}")
    if array.dtype != np.uint8 or array.ndim < 2 or array.shape[2:] != channels:
        shape = ('H', 'W', *channels)
        raise ValueError(f'{encoding} needs uint8 {shape}, not {array.dtype} {array.shape}')
    height, width = array.shape[:2]
    # An array.array is the one type that rosidl takes as it is; bytes are checked one by one.
    data = byte_array('B')
    data.frombytes(np.ascontiguousarray(array).data)
    return Image(
        header=header,
        height=height,
        width=width,
        encoding=encoding,
        is_bigendian=0,
        step=width * (channels or (1,))[0],
        data=data,
    )


def camera_info_for(info: CameraInfo, header: Header, width: int, height: int) -> CameraInfo:
    """Return the camera_info of an image of the given size and header.

    A camera_info of that very size, or one whose region of interest and binning give that size,
    keeps its numbers. One of another size is scaled as image_proc's resize node does it, which
    assumes that both sizes show the same field of view. Without a size (0) the numbers are
    taken to be those of the image.

    :param info: what the camera driver published; not modified.
    :param header: header of the image; used, not copied.
    :param width: of the image, in pixels.
    :param height: of the image, in pixels.
    :returns: a new message.
    """
    result = copy.deepcopy(info)
    result.header = header
    if not info.width or not info.height:
        result.width, result.height = width, height
        return result
    # Size of the images that the driver delivers, by the comments in CameraInfo.msg: width and
    # height are the calibrated resolution, roi a window of it, binning divides what is left.
    delivered = (
        max(1, (info.roi.width or info.width) // max(1, info.binning_x)),
        max(1, (info.roi.height or info.height) // max(1, info.binning_y)),
    )
    if (width, height) in (delivered, (info.width, info.height)):
        return result
    x, y = width / delivered[0], height / delivered[1]
    result.width, result.height = round(info.width * x), round(info.height * y)
    # Zeros stay zeros, so an uncalibrated camera (K[0] == 0) stays one.
    result.k = info.k * np.array([x, 1, x, 1, y, y, 1, 1, 1])
    result.p = info.p * np.array([x, 1, x, x, 1, y, y, 1, 1, 1, 1, 1])
    result.roi.x_offset = round(info.roi.x_offset * x)
    result.roi.width = round(info.roi.width * x)
    result.roi.y_offset = round(info.roi.y_offset * y)
    result.roi.height = round(info.roi.height * y)
    return result


def _check(message: Image, layout: _Layout | None) -> None:
    """Raise FrameError unless the message's numbers agree; an unknown layout is checked less."""
    width, height, step = message.width, message.height, message.step
    size = f'{message.encoding!r} image of {width} x {height}'
    if min(width, height) < 1:
        raise FrameError(f'{size}: width and height must be at least 1; check the camera driver')
    if max(width, height) > MAX_SIDE:
        raise FrameError(
            f'{size} is over the limit of {MAX_SIDE} pixels a side: the message is damaged, '
            'or the camera must be set to a smaller size'
        )
    if width * height > MAX_PIXELS:
        raise FrameError(
            f'{size} is over the limit of {MAX_PIXELS} pixels: the message is damaged, or the '
            'camera must be set to a smaller size'
        )
    if layout is not None:
        if width % layout.width_multiple or height % layout.height_multiple:
            sides = 'width' if layout.height_multiple == 1 else 'width and height'
            raise FrameError(f'{size}: this encoding needs an even {sides}; set another size')
        if message.encoding.startswith('bayer') and min(width, height) < 4:
            # OpenCV would return black.
            raise FrameError(
                f'{size}: a Bayer image needs at least 4 x 4 pixels; set a larger one'
            )
        if step < layout.row_bytes(width):
            raise FrameError(
                f'{size} has step {step}, but a row needs {layout.row_bytes(width)} bytes; '
                'the camera driver must set step to its row length in bytes'
            )
    rows = layout.rows(height) if layout is not None else height
    if len(message.data) < step * rows:
        counted = f'height {height}' if rows == height else f'{rows} rows (chroma included)'
        raise FrameError(
            f'{size} has {len(message.data)} bytes, but step {step} * {counted} needs '
            f'{step * rows}; the frame was cut short, or the camera driver sets a wrong step'
        )


def _samples(message: Image, layout: _Layout) -> NDArray[np.uint8]:
    """Return (rows, W, channels) uint8 without row padding: a view, or a copy of high bytes."""
    rows = layout.rows(message.height)
    flat = np.frombuffer(message.data, np.uint8, count=message.step * rows)
    flat.flags.writeable = False
    image = flat.reshape(rows, message.step)[:, : layout.row_bytes(message.width)]
    if layout.sample_bytes == 1:
        return image.reshape(rows, message.width, layout.channels)
    high_byte = 0 if message.is_bigendian else 1
    samples = image.reshape(rows, message.width, layout.channels, 2)[..., high_byte]
    return np.ascontiguousarray(samples)


def _bgr_from_nv24(message: Image) -> NDArray[np.uint8]:
    """Convert a Y plane and, in rows of twice the step, a plane of U and V for every pixel."""
    width, height, step = message.width, message.height, message.step
    flat = np.frombuffer(message.data, np.uint8, count=3 * step * height)
    luma = flat[: step * height].reshape(height, step)[:, :width]
    chroma = flat[step * height :].reshape(height, 2 * step)[:, : 2 * width]
    yuv = np.dstack([luma, chroma.reshape(height, width, 2)])
    return np.asarray(cv2.transform(yuv, _BGR_FROM_YUV), np.uint8)


@functools.cache
def _open_cv_bridge() -> Any:
    """Return a CvBridge, or the exception that says why there is none.

    Asked once only: a broken binary makes NumPy print a page at every attempt.
    """
    try:
        from cv_bridge import CvBridge
    except _CV_BRIDGE_BROKEN as error:
        return error
    return CvBridge()


def _bgr_by_cv_bridge(message: Image) -> NDArray[np.uint8]:
    """Convert an encoding that is not in the table, where cv_bridge is there and can do it."""
    problem = f'image encoding {message.encoding!r} cannot be converted to BGR'
    way_out = 'set the camera driver to bgr8, rgb8, mono8, yuyv or another colour encoding'
    bridge = _open_cv_bridge()
    if isinstance(bridge, Exception):
        raise FrameError(
            f'{problem}, and cv_bridge does not load ({bridge}); {way_out}'
        ) from bridge
    try:
        return np.asarray(bridge.imgmsg_to_cv2(message, desired_encoding='bgr8'), np.uint8)
    # CvBridgeError is a TypeError; wrong sizes give the others.
    except (*_CV_BRIDGE_BROKEN, RuntimeError, TypeError, ValueError) as error:
        raise FrameError(f'{problem}, and cv_bridge refuses it ({error}); {way_out}') from error
