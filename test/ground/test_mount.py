"""Mounts of a camera from angles and quaternions, by hand."""

import math

import numpy as np
import pytest

from linknet_ros.errors import CalibrationError
from linknet_ros.ground.mount import Mount

RIGHT, DOWN, AHEAD = np.eye(3)
QUARTER = math.pi / 2


@pytest.mark.parametrize(
    ('angles', 'ahead', 'right'),
    [
        # x ahead, y left, z up.
        ({}, (1, 0, 0), (0, -1, 0)),
        ({'pitch': QUARTER}, (0, 0, -1), (0, -1, 0)),
        ({'pitch': math.pi / 6}, (math.sqrt(0.75), 0, -0.5), (0, -1, 0)),
        ({'yaw': QUARTER}, (0, 1, 0), (1, 0, 0)),
        # Leaning to the right, the image's right is further down.
        ({'roll': QUARTER}, (1, 0, 0), (0, 0, -1)),
        # Roll first, yaw last.
        ({'roll': QUARTER, 'yaw': QUARTER}, (0, 1, 0), (0, 0, -1)),
        ({'pitch': QUARTER, 'yaw': QUARTER}, (0, 0, -1), (1, 0, 0)),
    ],
)
def test_angles(angles, ahead, right):
    matrix = Mount.from_angles(1, 2, 3, **angles).matrix
    assert Mount.from_angles(1, 2, 3, **angles).position == (1, 2, 3)
    np.testing.assert_allclose(matrix @ AHEAD, ahead, atol=1e-12)
    np.testing.assert_allclose(matrix @ RIGHT, right, atol=1e-12)
    np.testing.assert_allclose(matrix @ DOWN, np.cross(ahead, right), atol=1e-12)


@pytest.mark.parametrize('length', [1, 3])
def test_quaternion_of_an_optical_frame(length):
    # The usual one of static_transform_publisher, yaw -90 and roll -90 degrees.
    parts = tuple(length * part for part in (-0.5, 0.5, -0.5, 0.5))
    mount = Mount.from_quaternion((1, 2, 3), parts)
    np.testing.assert_allclose(mount.matrix, Mount.from_angles().matrix, atol=1e-12)
    assert mount.position == (1, 2, 3)


def test_quaternion_about_z():
    mount = Mount.from_quaternion((0, 0, 0), (0, 0, math.sin(0.2), math.cos(0.2)))
    c, s = math.cos(0.4), math.sin(0.4)
    np.testing.assert_allclose(mount.matrix, [[c, -s, 0], [s, c, 0], [0, 0, 1]])


@pytest.mark.parametrize('quaternion', [(0, 0, 0, 0), (math.nan, 0, 0, 1)])
def test_invalid_rotation(quaternion):
    with pytest.raises(CalibrationError, match='tf has an invalid transform'):
        Mount.from_quaternion((0, 0, 0), quaternion)


def test_near():
    mount = Mount.from_angles(1, 0, 1, pitch=0.1)
    assert mount.near(mount, 0, 1e-6)
    assert mount.near(Mount.from_angles(1.004, 0, 1, pitch=0.1004), 0.005, 0.0005)
    assert not mount.near(Mount.from_angles(1.006, 0, 1, pitch=0.1), 0.005, 0.0005)
    assert not mount.near(Mount.from_angles(1, 0, 1, pitch=0.1006), 0.005, 0.0005)
