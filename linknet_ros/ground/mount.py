"""Where a camera is mounted on the robot."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from linknet_ros.errors import CalibrationError

Doubles = NDArray[np.float64]

#: Columns: the axes of the optical frame (x right, y down, z ahead) in the camera's body frame
#: (x ahead, y left, z up); REP 103, "Suffix Frames".
_BODY_FROM_OPTICAL = np.array([[0.0, 0.0, 1.0], [-1.0, 0.0, 0.0], [0.0, -1.0, 0.0]])


@dataclass(frozen=True)
class Mount:
    """The rigid transform from a camera's optical frame into the robot's base frame.

    :param rotation: rows of the 3 x 3 matrix that rotates optical directions into the base frame.
    :param position: x, y, z of the camera in the base frame [m].
    """

    rotation: tuple[tuple[float, ...], ...]
    position: tuple[float, float, float]

    @classmethod
    def from_angles(
        cls,
        x: float = 0.0,
        y: float = 0.0,
        z: float = 0.0,
        roll: float = 0.0,
        pitch: float = 0.0,
        yaw: float = 0.0,
    ) -> Mount:
        """Make a mount from the position [m] and angles [rad] of the camera's body frame.

        The angles are those of REP 103 and URDF: about the fixed axes x, y, z in this order,
        right-handed. Positive pitch looks down, positive yaw to the left, positive roll leans to
        the right.
        """
        (sr, sp, sy), (cr, cp, cy) = (
            [function(angle) for angle in (roll, pitch, yaw)] for function in (math.sin, math.cos)
        )
        body = np.array(
            [
                [cy * cp, cy * sp * sr - sy * cr, cy * sp * cr + sy * sr],
                [sy * cp, sy * sp * sr + cy * cr, sy * sp * cr - cy * sr],
                [-sp, cp * sr, cp * cr],
            ]
        )
        return cls._of(body @ _BODY_FROM_OPTICAL, (x, y, z))

    @classmethod
    def from_quaternion(
        cls,
        translation: tuple[float, float, float],
        quaternion: tuple[float, float, float, float],
    ) -> Mount:
        """Make a mount from the transform of the optical frame in the base frame, as tf gives it.

        :param translation: x, y, z [m].
        :param quaternion: x, y, z, w, as in geometry_msgs; need not be normalised.
        :raises CalibrationError: for a quaternion of length 0 or numbers that are not finite.
        """
        length = math.hypot(*quaternion)
        if not (math.isfinite(length) and length > 1e-9 and np.isfinite(translation).all()):
            raise CalibrationError(
                f'tf has an invalid transform of the camera (translation {translation}, rotation '
                f'{quaternion})',
                'mend its publisher',
            )
        x, y, z, w = (part / length for part in quaternion)
        rotation = np.array(
            [
                [1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)],
                [2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)],
                [2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)],
            ]
        )
        return cls._of(rotation, translation)

    @classmethod
    def _of(cls, rotation: Doubles, position: tuple[float, float, float]) -> Mount:
        x, y, z = position
        rows = tuple(tuple(float(value) for value in row) for row in rotation)
        return cls(rows, (float(x), float(y), float(z)))

    def near(self, other: Mount, metres: float, radians: float) -> bool:
        """Whether another mount differs by no more than a distance and an angle."""
        moved = math.dist(self.position, other.position)
        turned = self.matrix.T @ other.matrix
        # Trace of a rotation by an angle: 1 + 2 cos(angle).
        cosine = (float(np.trace(turned)) - 1) / 2
        return moved <= metres and cosine >= math.cos(radians)

    @property
    def matrix(self) -> Doubles:
        """The rotation, (3, 3) float64."""
        return np.array(self.rotation)
