"""Rays over the ground: distances by hand, and no pixel is missed."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from linknet_ros.errors import CalibrationError
from linknet_ros.ground.camera import CameraModel
from linknet_ros.ground.mount import Mount
from linknet_ros.ground.rays import ground_rays

#: Horizon at row 20: a pixel of row v sees the ground 60 / (v - 20) m ahead of a level camera
#: 1 m above it.
LEVEL = CameraModel(81, 61, 60.0, 60.0, 40.0, 20.0)
END = 81 * 61


def middle_ray(rays):
    """Pixels and distances of the ray straight ahead, without the padding."""
    ray = int(np.abs(rays.azimuth).argmin())
    count = int((rays.pixels[ray] != END).sum())
    return rays.pixels[ray, :count], rays.near[ray, : count + 1]


def seen_pixels(camera, mount, max_range, plane_z=0.0):
    """Indices of the pixels whose centres see the ground, computed one by one."""
    found = []
    for row in range(camera.height):
        pixels = np.stack([np.arange(camera.width), np.full(camera.width, row)], 1)
        rays = camera.rays(pixels) @ mount.matrix.T
        for column, (x, y, z) in enumerate(rays):
            if z < 0:
                scale = (mount.position[2] - plane_z) / -z
                at = mount.position[0] + scale * x, mount.position[1] + scale * y
                if math.hypot(*at) <= max_range:
                    found.append(row * camera.width + column)
    return found


def test_straight_ahead():
    rays = ground_rays(LEVEL, Mount.from_angles(z=1.0), max_range=10.01)
    pixels, near = middle_ray(rays)
    # Column 40 of rows 60 to 26, where the ground is 10 m away.
    assert pixels.tolist() == [row * 81 + 40 for row in range(60, 25, -1)]
    # A ray enters a pixel at its lower edge, half a row below its centre.
    expected = [60 / (row + 0.5 - 20) for row in range(60, 24, -1)]
    np.testing.assert_allclose(near, expected, rtol=0.01)
    assert (rays.foot, rays.height, rays.heading) == ((0, 0), 1, 0)
    assert rays.reaches[np.abs(rays.azimuth) < 0.3].all()
    assert len(rays.gaps) == 0


def test_looking_down():
    # Pitch 45 degrees: the middle row, 20, is at 1 m, row 60 at tan(45 - 33.7 degrees).
    rays = ground_rays(LEVEL, Mount.from_angles(z=1.0, pitch=math.pi / 4), max_range=10.0)
    pixels, near = middle_ray(rays)
    at = {int(pixel) // 81: distance for pixel, distance in zip(pixels, near, strict=False)}

    def reach(row):
        return math.tan(math.pi / 4 - math.atan((row + 0.5 - 20) / 60))

    for row in (60, 40, 20, 0):
        assert at[row] == pytest.approx(reach(row), rel=0.01)


def test_mount_moves_and_turns_the_rays():
    rays = ground_rays(LEVEL, Mount.from_angles(2, 3, 1.5, yaw=2.0), plane_z=0.5, max_range=10.0)
    assert rays.foot == (2, 3)
    assert rays.height == 1
    assert rays.heading == pytest.approx(2)
    _, near = middle_ray(rays)
    assert near[0] == pytest.approx(60 / 40.5, rel=0.01)
    middle = np.abs(rays.azimuth).argmin()
    np.testing.assert_allclose(rays.directions()[middle], (math.cos(2), math.sin(2)), atol=0.02)
    azimuth, away = rays.polar(np.array([2 + math.cos(2.25)]), np.array([3 + math.sin(2.25)]))
    assert (azimuth[0], away[0]) == (pytest.approx(0.25), pytest.approx(1))
    # The range is that of the base frame.
    ends = np.array(rays.foot) + rays.near.max(1)[:, None] * rays.directions()
    assert np.hypot(*ends[rays.reaches].T).max() < 13


LENSES = [
    CameraModel(40, 30, 40.0, 38.0, 19.0, 12.0),
    CameraModel(40, 30, 30.0, 30.0, 22.0, 15.0, 'plumb_bob', (-0.2, 0.03, 0.002, -0.001, 0)),
    CameraModel(40, 30, 14.0, 14.0, 19.5, 14.5, 'equidistant', (0.02, 0, 0, 0)),
]


@settings(deadline=None, max_examples=25)
@given(
    st.sampled_from(LENSES),
    st.floats(-0.1, 0.9),
    st.floats(-0.6, 0.6),
    st.floats(-3, 3),
    st.floats(0.2, 3),
)
def test_every_pixel_of_the_ground_is_on_a_ray(camera, pitch, roll, yaw, height):
    mount = Mount.from_angles(0.2, -0.1, height, roll, pitch, yaw)
    expected = seen_pixels(camera, mount, 8.0)
    if len(expected) < 20:
        return
    rays = ground_rays(camera, mount, max_range=8.0)
    end = camera.width * camera.height
    assert set(rays.pixels.ravel().tolist()) - {end} == set(expected)
    # From near to far, each pixel once per ray.
    for pixels, near in zip(rays.pixels, rays.near, strict=True):
        count = int((pixels != end).sum())
        assert (pixels[count:] == end).all()
        assert (np.diff(near[: count + (count > 0)]) > 0).all()
    assert (np.diff(rays.azimuth) > 0).all()


@pytest.mark.parametrize(
    ('pitch', 'roll', 'yaw', 'height'),
    [
        (0.6171875, 0.0, 0.0, 1.0),
        (0.61505814, -0.07395373, 0.0, 1.0),
        (0.48335965, -0.52101981, 1.88364706, 1.28117612),
    ],
)
def test_pixel_beside_the_foot_is_on_a_ray(pitch, roll, yaw, height):
    """The foot is half a pixel from the centre of one, at the border of the image."""
    mount = Mount.from_angles(0.2, -0.1, height, roll, pitch, yaw)
    rays = ground_rays(LENSES[2], mount, max_range=8.0)
    assert set(rays.pixels.ravel().tolist()) >= set(seen_pixels(LENSES[2], mount, 8.0))


def test_nadir_in_the_image():
    mount = Mount.from_angles(z=1.0, pitch=math.pi / 2)
    camera = LENSES[2]
    expected = seen_pixels(camera, mount, 3.0)
    rays = ground_rays(camera, mount, max_range=3.0)
    found = set(rays.pixels.ravel().tolist())
    # The image's upward direction is ahead.
    assert rays.heading == pytest.approx(0)
    assert len(expected) > 600
    assert found - {40 * 30} == set(expected)


def test_ego_mask_leaves_a_gap():
    mask = np.zeros((61, 81), np.uint8)
    mask[40:50, 38:43] = 255
    mask[58:] = 1
    rays = ground_rays(LEVEL, Mount.from_angles(z=1.0), max_range=10.01, ego_mask=mask)
    pixels, near = middle_ray(rays)
    rows = [*range(57, 49, -1), *range(39, 25, -1)]
    assert pixels.tolist() == [row * 81 + 40 for row in rows]
    assert near[0] == pytest.approx(60 / 37.5, rel=0.01)
    middle = int(np.abs(rays.azimuth).argmin())
    ((ray, first, last),) = rays.gaps[rays.gaps[:, 0] == middle]
    assert (ray, first, last) == (
        middle,
        pytest.approx(60 / 29.5, rel=0.01),
        pytest.approx(60 / 19.5, rel=0.01),
    )


def test_all_hidden():
    mask = np.full((61, 81), 255, np.uint8)
    rays = ground_rays(LEVEL, Mount.from_angles(z=1.0), max_range=10.0, ego_mask=mask)
    assert set(rays.pixels.ravel().tolist()) == {END}
    assert not rays.near.any()
    assert not rays.reaches.any()


@pytest.mark.parametrize(
    ('mount', 'options', 'message'),
    [
        (Mount.from_angles(z=0.0), {}, 'camera is 0 m above the ground; set ground.height'),
        (Mount.from_angles(z=1.0), {'plane_z': 2.0}, 'camera is -1 m above'),
        (Mount.from_angles(z=1.0, pitch=-1.0), {}, 'sees no ground within 20 m; check its pitch'),
        (Mount.from_angles(z=1.0), {'max_range': 1.0}, 'sees no ground within 1 m'),
        (Mount.from_angles(x=50.0, z=1.0), {}, 'sees no ground within 20 m'),
    ],
)
def test_no_ground(mount, options, message):
    with pytest.raises(CalibrationError, match=message):
        ground_rays(LEVEL, mount, **options)
