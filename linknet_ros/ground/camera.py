"""The projection of one camera: directions to pixels and back."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cached_property

import cv2
import numpy as np
from numpy.typing import NDArray

from linknet_ros.errors import CalibrationError

Doubles = NDArray[np.float64]

#: Other names of the models, in small letters with '_' for spaces and dashes: those of Kalibr,
#: RealSense, COLMAP and drivers. Without a name, five coefficients or more are a polynomial.
_NAMES = {
    **dict.fromkeys(('radtan', 'radial_tangential', 'brown_conrady', 'opencv'), 'plumb_bob'),
    **dict.fromkeys(('rational', 'full_opencv'), 'rational_polynomial'),
    **dict.fromkeys(('fisheye', 'equi', 'kannala_brandt', 'kannala_brandt4'), 'equidistant'),
    **dict.fromkeys(('opencv_fisheye', 'pinhole_equidistant'), 'equidistant'),
}
#: How many coefficients OpenCV's polynomial model takes: k1 k2 p1 p2, then k3, then k4 to k6, then
#: s1 to s4, then tau.
_POLYNOMIAL_SIZES = (4, 5, 8, 12, 14)
#: Largest angle to the optical axis at which a model is evaluated [rad]; a polynomial of
#: tan(angle) ends at 90 degrees.
_WIDEST = {'polynomial': np.radians(89.0), 'fisheye': np.radians(179.0)}
#: A pixel has no direction if projecting the direction found for it misses the pixel by more [px].
_ROUND_TRIP_PX = 0.05


@dataclass(frozen=True)
class CameraModel:
    """Intrinsics and distortion of an image.

    Integer pixel coordinates are pixel centres, as in ROS. Directions are in the optical frame: x
    right, y down, z ahead (REP 103). The models are those of sensor_msgs/distortion_models.hpp:
    'plumb_bob' and 'rational_polynomial' as in OpenCV's projectPoints, 'equidistant' as in
    OpenCV's fisheye module. Beyond some angle a polynomial folds back and is meaningless: those
    directions have no pixel.

    :param width: width of the image [px].
    :param height: height of the image [px].
    :param fx: horizontal focal length [px].
    :param fy: vertical focal length [px].
    :param cx: column of the principal point [px].
    :param cy: row of the principal point [px].
    :param model: name of the distortion model, or another one for it, e.g. 'fisheye'.
    :param distortion: coefficients in the order of CameraInfo.d; zeros beyond those of the model
        are left out. With none, or only zeros, the camera is a pinhole, unless the model is
        'equidistant', which always has four.
    :raises CalibrationError: for an uncalibrated camera, an unknown model, or a number of
        coefficients that the model does not take.
    """

    width: int
    height: int
    fx: float
    fy: float
    cx: float
    cy: float
    model: str = 'plumb_bob'
    distortion: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        if min(self.width, self.height) < 1:
            raise CalibrationError(f'camera_info has an image size of {self.width}x{self.height}')
        numbers = (self.fx, self.fy, self.cx, self.cy, *self.distortion)
        if not np.isfinite(numbers).all():
            raise CalibrationError(
                'camera_info has numbers that are not finite', 'calibrate again'
            )
        if self.fx <= 0 or self.fy <= 0:
            raise CalibrationError(
                f'camera_info has focal lengths of {self.fx:g} and {self.fy:g} px: the camera is '
                'not calibrated',
                'run camera_calibration, or fill in K',
            )
        # A frozen dataclass is set up this way.
        name = re.sub('[ -]', '_', self.model.strip().lower())
        name = _NAMES.get(name, name)
        if not name and len(self.distortion) >= 5:
            name = 'plumb_bob'
        object.__setattr__(self, 'model', name)
        if not (any(self.distortion) or self._fisheye):
            return
        if name not in ('plumb_bob', 'rational_polynomial', 'equidistant'):
            raise CalibrationError(
                f"camera_info has an unknown distortion model '{self.model}' (known: plumb_bob, "
                'rational_polynomial, equidistant)',
                'rectify the image first',
            )
        object.__setattr__(self, 'distortion', self._without_extra_zeros())

    def _without_extra_zeros(self) -> tuple[float, ...]:
        """The coefficients, without zeros beyond those of the model.

        :raises CalibrationError: for a number of them that the model does not take.
        """
        given = self.distortion
        sizes = (4,) if self._fisheye else _POLYNOMIAL_SIZES
        for size in reversed(sizes):
            if len(given) >= size and not any(given[size:]):
                return given[:size] if len(given) not in sizes else given
        raise CalibrationError(
            f'camera_info has {len(given)} distortion coefficients, but {self.model} takes '
            f'{" or ".join(map(str, sizes))}',
            'calibrate again',
        )

    @property
    def _fisheye(self) -> bool:
        return self.model == 'equidistant'

    def project(self, directions: NDArray[np.floating]) -> Doubles:
        """Project directions to pixels.

        :param directions: (n, 3) vectors of any length in the optical frame.
        :returns: (n, 2) float64 column and row, which may lie outside the image; NaN for a
            direction without a pixel.
        """
        x, y, z = np.asarray(directions, np.float64).T
        aside = np.hypot(x, y)
        angle = np.arctan2(aside, z)
        with np.errstate(invalid='ignore', divide='ignore'):
            if self._fisheye:
                scale = np.where(aside > 0, self._distorted(angle) / aside, 0)
                plane = np.stack([x * scale, y * scale], 1)
            else:
                plane = self._polynomial(np.stack([x / z, y / z], 1))
        pixels: Doubles = plane * (self.fx, self.fy) + (self.cx, self.cy)
        pixels[~(angle < self._curve[0][-1])] = np.nan
        return pixels

    def rays(self, pixels: NDArray[np.floating]) -> Doubles:
        """Find the directions of pixels, the inverse of project.

        :param pixels: (n, 2) column and row.
        :returns: (n, 3) float64 unit vectors in the optical frame; NaN for a pixel that no
            direction is projected to.
        """
        pixels = np.asarray(pixels, np.float64)
        plane = (pixels - (self.cx, self.cy)) / (self.fx, self.fy)
        away = np.hypot(plane[:, 0], plane[:, 1])
        angles, distorted = self._curve
        angle = np.interp(away, distorted, angles)
        with np.errstate(invalid='ignore', divide='ignore'):
            rays = np.stack(
                [
                    *np.where(away > 0, np.sin(angle) / away, 1)[None] * plane.T,
                    np.cos(angle),
                ],
                1,
            )
        if any(self.distortion) and not self._fisheye:
            rays = self._refined(rays, np.asarray(plane, np.float64))
        rays /= np.linalg.norm(rays, axis=1, keepdims=True)
        missed = np.hypot(*(self.project(rays) - pixels).T)
        rays[~(missed < _ROUND_TRIP_PX)] = np.nan
        return rays

    @cached_property
    def _curve(self) -> tuple[Doubles, Doubles]:
        """Angles to the optical axis [rad], and their distances from the centre at focal length 1.

        Both increase, and end where the model folds back.
        """
        angles = np.linspace(0, _WIDEST['fisheye' if self._fisheye else 'polynomial'], 20001)
        with np.errstate(all='ignore'):
            distorted = self._distorted(angles)
            falls = np.flatnonzero(~(np.diff(distorted) > 0))
        end = falls[0] + 1 if len(falls) else len(angles)
        if end < 2:
            raise CalibrationError(
                'camera_info has a distortion that folds back at the centre', 'calibrate again'
            )
        return angles[:end], distorted[:end]

    def _distorted(self, angle: Doubles) -> Doubles:
        """Distance from the centre for an angle to the axis, without tangential distortion."""
        if self._fisheye:
            k1, k2, k3, k4 = self.distortion
            square = angle**2
            return angle * (1 + square * (k1 + square * (k2 + square * (k3 + square * k4))))
        r = np.tan(angle)
        radial: Doubles = r * self._radial(r**2)
        return radial

    def _polynomial(self, plane: Doubles) -> Doubles:
        """Distort points of the plane at depth 1, (n, 2), by the formula of OpenCV's calib3d."""
        if not any(self.distortion):
            return plane
        if len(self.distortion) > 12:
            # A tilted sensor is rare; OpenCV takes microseconds per point.
            points = np.nan_to_num(np.concatenate([plane, np.ones((len(plane), 1))], 1))
            coefficients, zero = np.array(self.distortion, np.float64), np.zeros(3)
            pixels = cv2.projectPoints(points[:, None], zero, zero, np.eye(3), coefficients)[0]
            tilted: Doubles = pixels[:, 0]
            return tilted
        x, y = plane.T
        _, _, p1, p2, _, _, _, _, s1, s2, s3, s4 = self._twelve
        square = x * x + y * y
        radial = self._radial(square)
        twice = 2 * x * y
        right = x * radial + p1 * twice + p2 * (square + 2 * x * x) + square * (s1 + s2 * square)
        down = y * radial + p2 * twice + p1 * (square + 2 * y * y) + square * (s3 + s4 * square)
        return np.stack([right, down], 1)

    @property
    def _twelve(self) -> tuple[float, ...]:
        """k1 k2 p1 p2 k3 k4 k5 k6 s1 s2 s3 s4, 0 for those not given."""
        return (*self.distortion[:12], *[0.0] * (12 - len(self.distortion)))

    def _radial(self, square: Doubles) -> Doubles:
        """Factor by which radial distortion scales a point, from its squared distance.

        NaN beyond a pole of the fraction.
        """
        k1, k2, _, _, k3, k4, k5, k6, *_ = self._twelve
        above = 1 + square * (k1 + square * (k2 + square * k3))
        below = 1 + square * (k4 + square * (k5 + square * k6))
        return np.where(below > 0, above / below, np.nan)

    def _refined(self, rays: Doubles, target: Doubles) -> Doubles:
        """Add what the radial curve leaves out (tangential, prism) by Newton's method."""
        step = 1e-6
        right_step, down_step = np.array([step, 0]), np.array([0, step])
        with np.errstate(all='ignore'):
            plane = rays[:, :2] / rays[:, 2:]
            for _ in range(3):
                at = self._polynomial(plane)
                a, c = ((self._polynomial(plane + right_step) - at) / step).T
                b, d = ((self._polynomial(plane + down_step) - at) / step).T
                right, down = (target - at).T
                determinant = a * d - b * c
                plane = plane + np.stack(
                    [(d * right - b * down) / determinant, (a * down - c * right) / determinant], 1
                )
        return np.concatenate([plane, np.ones((len(plane), 1))], 1)
