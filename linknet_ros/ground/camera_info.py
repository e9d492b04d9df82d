"""Numbers out of CameraInfo messages, of rclpy or of a recording: both have the same fields."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from linknet_ros.errors import CalibrationError
from linknet_ros.ground.camera import CameraModel

#: Scales along x and y may differ by this share, for sizes that were rounded.
SAME_SHAPE = 0.03

#: Types of messages that size_of takes.
SIZED = ('sensor_msgs/msg/Image', 'sensor_msgs/msg/CameraInfo', 'sensor_msgs/msg/PointCloud2')


def size_of(message: Any) -> tuple[int, int] | None:
    """Width and height of what an Image, a CameraInfo or a PointCloud2 is about.

    :returns: None for a cloud that is not organised, and an empty message.
    """
    width, height = message.width, message.height
    if hasattr(message, 'distortion_model') and message.roi.width:
        width, height = message.roi.width, message.roi.height
    width //= max(1, getattr(message, 'binning_x', 1))
    height //= max(1, getattr(message, 'binning_y', 1))
    organised = height > 1 or not hasattr(message, 'point_step')
    return (width, height) if width and height and organised else None


def check_camera_info(
    info: Any,
    topic: str,
    frame_id: str,
    fix: str = 'remap camera_info to the topic of the same camera',
) -> None:
    """Check that CameraInfo is of the camera that took an image.

    Without a frame_id it is: some drivers leave it empty.

    :param info: sensor_msgs/CameraInfo, or None.
    :param topic: where it comes from, for the message.
    :param frame_id: of the image.
    :param fix: what to do if it is another camera's.
    :raises CalibrationError: when there is none, or it is of another camera.
    """
    if info is None:
        raise CalibrationError(f'no camera_info on {topic}', 'remap it to the camera')
    if info.header.frame_id not in ('', frame_id):
        raise CalibrationError(
            f"{topic} is of frame '{info.header.frame_id}', the image of '{frame_id}'",
            fix,
        )


def fitted_matrices(
    info: Any, width: int, height: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """K and P of an image of a size, with region of interest and binning worked into them.

    An image of the calibrated size has the camera's numbers, one of the size that region and
    binning give has those of that window. One of another size is taken for a scaled one, as
    image_proc's resize node does it, which assumes that both sizes show the same field of view:
    one of another shape was turned or cropped, and nobody can say how.
    Without a size (0) the numbers are taken to be those of the image.

    :param info: sensor_msgs/CameraInfo.
    :returns: (9,) and (12,) float64.
    :raises CalibrationError: for an image of another shape.
    """
    k, p = np.array(info.k, np.float64), np.array(info.p, np.float64)
    if not info.width or not info.height or (width, height) == (info.width, info.height):
        return k, p
    # By the comments in CameraInfo.msg: width and height are the calibrated resolution, roi a
    # window of it, binning divides what is left.
    roi, across, down = info.roi, max(1, info.binning_x), max(1, info.binning_y)
    left, top = (roi.x_offset, roi.y_offset) if roi.width else (0, 0)
    window = (
        max(1, (roi.width or info.width) // across),
        max(1, (roi.height or info.height) // down),
    )
    _check_shape((width, height), window)
    x, y = width / window[0] / across, height / window[1] / down
    # From calibrated pixels to the image's. Zeros stay zeros, so an uncalibrated camera
    # (K[0] == 0) stays one.
    move = np.array([[x, 0, -left * x], [0, y, -top * y], [0, 0, 1]])
    return (move @ k.reshape(3, 3)).ravel(), (move @ p.reshape(3, 4)).ravel()


def scaled_matrices(
    info: Any, width: int, height: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """K and P of the same field of view at another size, which may have another shape.

    Integers are the centres of pixels, so the outer edges lie half a pixel beyond: a column c
    becomes (c + 0.5) * scale - 0.5. Distortion is of directions, and stays.

    :param info: sensor_msgs/CameraInfo without region and binning.
    :param width: of the other size [px].
    :param height: of the other size [px].
    :returns: (9,) and (12,) float64.
    """
    k, p = np.array(info.k, np.float64), np.array(info.p, np.float64)
    if not info.width or not info.height or (width, height) == (info.width, info.height):
        return k, p
    x, y = width / info.width, height / info.height
    move = np.array([[x, 0, (x - 1) / 2], [0, y, (y - 1) / 2], [0, 0, 1]])
    return (move @ k.reshape(3, 3)).ravel(), (move @ p.reshape(3, 4)).ravel()


def _check_shape(image: tuple[int, int], window: tuple[int, int]) -> None:
    """Refuse an image that is not a scaled one: with two scales it would have other focal lengths.

    :raises CalibrationError: naming both sizes.
    """
    (width, height), (across, down) = image, window
    apart = (width * down) / (height * across)
    # A pixel more or less is rounding.
    if abs(apart - 1) <= SAME_SHAPE or abs(width - height * across / down) <= 2:
        return
    swapped = (height * down) / (width * across)
    how = 'turned' if abs(math.log(swapped)) < abs(math.log(apart)) else 'cropped'
    raise CalibrationError(
        f'the image of {width}x{height} does not have the shape of the {across}x{down} of '
        f'camera_info: it was {how}',
        'calibrate the camera with its images as they are, or let the driver set roi',
    )


def camera_model_of(info: Any, rectified: bool) -> CameraModel:
    """The camera model of an image.

    :param info: sensor_msgs/CameraInfo of that very image, without region and binning.
    :param rectified: whether the image is rectified: then P counts, not K and D.
    :raises CalibrationError: when the numbers cannot be used.
    """
    matrix, row = (info.p, 4) if rectified else (info.k, 3)
    fx, cx, fy, cy = (float(matrix[i]) for i in (0, 2, row + 1, row + 2))
    model, distortion = ('', ()) if rectified else (info.distortion_model, info.d)
    numbers = (info.width, info.height, fx, fy, cx, cy)
    return CameraModel(*numbers, model, tuple(map(float, distortion)))
