"""Numbers out of CameraInfo messages, of rclpy or of a recording: both have the same fields."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from linknet_ros.ground.camera import CameraModel


def fitted_matrices(
    info: Any, width: int, height: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """K and P of an image of a size, with region of interest and binning worked into them.

    An image of the calibrated size has the camera's numbers, one of the size that region and
    binning give has those of that window. One of another size is taken for a scaled one, as
    image_proc's resize node does it, which assumes that both sizes show the same field of view.
    Without a size (0) the numbers are taken to be those of the image.

    :param info: sensor_msgs/CameraInfo.
    :returns: (9,) and (12,) float64.
    """
    k, p = np.array(info.k, np.float64), np.array(info.p, np.float64)
    if not info.width or not info.height or (width, height) == (info.width, info.height):
        return k, p
    # By the comments in CameraInfo.msg: width and height are the calibrated resolution, roi a
    # window of it, binning divides what is left.
    roi, across, down = info.roi, max(1, info.binning_x), max(1, info.binning_y)
    left, top = (roi.x_offset, roi.y_offset) if roi.width else (0, 0)
    x = width / max(1, (roi.width or info.width) // across) / across
    y = height / max(1, (roi.height or info.height) // down) / down
    # From calibrated pixels to the image's. Zeros stay zeros, so an uncalibrated camera
    # (K[0] == 0) stays one.
    move = np.array([[x, 0, -left * x], [0, y, -top * y], [0, 0, 1]])
    return (move @ k.reshape(3, 3)).ravel(), (move @ p.reshape(3, 4)).ravel()


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
