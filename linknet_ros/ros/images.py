"""ROS images to BGR arrays and back, without cv_bridge, and the camera_info that fits them."""

from __future__ import annotations

import copy
import functools
from array import array as wire_array
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sensor_msgs.msg import CameraInfo, CompressedImage, Image, RegionOfInterest
from std_msgs.msg import Header

from linknet_ros.errors import FrameError
from linknet_ros.frames import raw
from linknet_ros.frames.encode import encode_jpeg
from linknet_ros.ground.camera_info import fitted_matrices, scaled_matrices

#: What is added to the name of an image's topic for its compressed form.
SUFFIX = '/compressed'

# What a cv_bridge built for another NumPy raises, at the import or at the first use.
_CV_BRIDGE_BROKEN = (ImportError, AttributeError, SystemError)


def image_to_bgr(message: Image | CompressedImage, mono16_max: int = 0) -> NDArray[np.uint8]:
    """Return the pixels of an image message of any usual encoding, or of a JPEG or PNG.

    cv_bridge is asked about encodings that frames.raw does not know.

    :param mono16_max: of 16-bit samples, see frames.sixteen_bits.
    :returns: (H, W, 3) uint8, BGR; it may share memory with the message.
    :raises FrameError: the message is damaged or its encoding cannot be converted.
    """
    if isinstance(message, CompressedImage):
        return raw.compressed_to_bgr(message, mono16_max)
    return raw.image_to_bgr(message, _bgr_by_cv_bridge, mono16_max)


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
    return Image(
        header=header,
        height=height,
        width=width,
        encoding=encoding,
        is_bigendian=0,
        step=width * (channels or (1,))[0],
        data=wire_data(array),
    )


def encoded_to_message(
    encoded: NDArray[np.uint8], message_format: str, header: Header
) -> CompressedImage:
    """Make a compressed image message.

    :param encoded: (bytes,) uint8, PNG or JPEG.
    :param message_format: see products.message_format.
    :param header: see array_to_image.
    """
    return CompressedImage(header=header, format=message_format, data=wire_data(encoded))


def bgr_to_jpeg(image: NDArray[np.uint8], quality: int, header: Header) -> CompressedImage:
    """Make a JPEG message of a camera's image.

    :param image: (H, W, 3) uint8 BGR; any strides.
    :param quality: 1 to 100.
    :param header: see array_to_image.
    """
    return encoded_to_message(encode_jpeg(image, quality), 'bgr8; jpeg compressed bgr8', header)


def camera_info_for(info: CameraInfo, header: Header, width: int, height: int) -> CameraInfo:
    """Return the camera_info of an image of the given size and header.

    Region of interest and binning are worked into K and P, and are none in the result: nvblox and
    others ignore both. For sizes see fitted_matrices.

    :param info: what the camera driver published; not modified.
    :param header: header of the image; used, not copied.
    :param width: of the image, in pixels.
    :param height: of the image, in pixels.
    :returns: a new message, of that width and height.
    """
    result = copy.deepcopy(info)
    result.header, result.width, result.height = header, width, height
    result.roi, result.binning_x, result.binning_y = RegionOfInterest(), 0, 0
    result.k, result.p = fitted_matrices(info, width, height)
    return result


def scaled_camera_info(info: CameraInfo, width: int, height: int) -> CameraInfo:
    """The camera_info of the same field of view at another size; see scaled_matrices.

    :param info: from camera_info_for; not modified.
    """
    if (info.width, info.height) == (width, height):
        return info
    result = copy.copy(info)
    result.k, result.p = scaled_matrices(info, width, height)
    result.width, result.height = width, height
    return result


def nanoseconds(header: Header) -> int:
    """The stamp of a header; rclpy's Time raises for one below 0, which a message can hold."""
    return int(header.stamp.sec) * 10**9 + int(header.stamp.nanosec)


def wire_data(values: NDArray[np.generic], code: str = 'B') -> wire_array[Any]:
    """An array as the one type that rosidl takes as it is; bytes are checked one by one.

    :param values: copied; any strides.
    :param code: of array.array.
    """
    data = wire_array(code)
    data.frombytes(np.ascontiguousarray(values).view(np.uint8).data)
    return data


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
    bridge = _open_cv_bridge()
    if isinstance(bridge, Exception):
        raise FrameError(f'{problem}, and cv_bridge does not load ({bridge})', raw.FIX) from bridge
    try:
        return np.asarray(bridge.imgmsg_to_cv2(message, desired_encoding='bgr8'), np.uint8)
    # CvBridgeError is a TypeError; wrong sizes give the others.
    except (*_CV_BRIDGE_BROKEN, RuntimeError, TypeError, ValueError) as error:
        raise FrameError(f'{problem}, and cv_bridge refuses it ({error})', raw.FIX) from error
