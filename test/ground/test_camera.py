"""The camera model: directions to pixels and back, against numbers worked out by hand."""

import math

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from linknet_ros.errors import CalibrationError
from linknet_ros.ground.camera import CameraModel

SIZE = (640, 480)


def camera(model='plumb_bob', distortion=(), f=400.0):
    return CameraModel(*SIZE, f, f / 2, 300.0, 200.0, model, distortion)


def pixel(model, *direction):
    return model.project(np.array([direction], float))[0]


def test_pinhole():
    # 400 * 0.5 + 300 and 200 * 0.25 + 200; the length of a direction does not matter.
    np.testing.assert_allclose(pixel(camera(), 0.5, 0.25, 1), (500, 250))
    np.testing.assert_allclose(pixel(camera(), 1, 0.5, 2), (500, 250))
    np.testing.assert_allclose(pixel(camera(), 0, 0, 1), (300, 200))
    ray = camera().rays(np.array([[500.0, 250.0]]))[0]
    np.testing.assert_allclose(ray, np.array([0.5, 0.25, 1]) / math.sqrt(1.3125))


@pytest.mark.parametrize('direction', [(0.5, 0.25, -1), (1, 0, 0), (0, 0, -1), (0, 0, 0.0)])
def test_behind_the_camera_is_no_pixel(direction):
    found = pixel(camera(), *direction)
    # Without a direction there is no angle either; it counts as straight ahead.
    assert np.isnan(found).all() or direction == (0, 0, 0.0)


@pytest.mark.parametrize(
    ('distortion', 'right', 'down'),
    [
        # x (1 + k1 r^2 + k2 r^4 + k3 r^6) of x = 0.6, y = 0: r^2 = 0.36.
        ((-0.1, 0, 0, 0, 0), 0.6 * (1 - 0.036), 0),
        ((0, 0.1, 0, 0, 0), 0.6 * (1 + 0.1 * 0.1296), 0),
        ((0, 0, 0, 0, 0.5), 0.6 * (1 + 0.5 * 0.046656), 0),
        # 2 p1 x y + p2 (r^2 + 2 x^2), and p1 (r^2 + 2 y^2) + 2 p2 x y.
        ((0, 0, 0.01, 0, 0), 0.6, 0.0036),
        ((0, 0, 0, 0.01, 0), 0.6 + 0.01 * 1.08, 0),
        # Divided by 1 + k4 r^2.
        ((0.2, 0, 0, 0, 0, 0.1, 0, 0), 0.6 * 1.072 / 1.036, 0),
    ],
)
def test_polynomial(distortion, right, down):
    model = camera('rational_polynomial' if len(distortion) == 8 else 'plumb_bob', distortion)
    expected = (300 + 400 * right, 200 + 200 * down)
    np.testing.assert_allclose(pixel(model, 0.6, 0, 1), expected, atol=1e-9)
    ray = model.rays(np.array([expected]))[0]
    np.testing.assert_allclose(ray[:2] / ray[2], (0.6, 0), atol=1e-6)


@pytest.mark.parametrize('count', [4, 5, 8, 12, 14])
def test_polynomial_is_that_of_opencv(count):
    given = (-0.2, 0.05, 0.003, -0.002, 0.01, 0.1, -0.02, 0.005, 0.01, -0.02, 0.03, 0.01)
    given = (*given, 0.05, -0.02)
    model = camera('rational_polynomial', given[:count])
    points = np.random.default_rng(0).uniform((-0.6, -0.6, 0.4), (0.6, 0.6, 1.6), (50, 3))
    matrix = np.array([[400.0, 0, 300], [0, 200, 200], [0, 0, 1]])
    expected = cv2.projectPoints(
        points[:, None], np.zeros(3), np.zeros(3), matrix, np.array(given[:count])
    )[0][:, 0]
    inside = (np.abs(points[:, :2]) < 0.6 * points[:, 2:]).all(1)
    assert inside.sum() > 10
    np.testing.assert_allclose(model.project(points)[inside], expected[inside], atol=1e-6)


@pytest.mark.parametrize(
    ('degrees', 'k1', 'f'), [(45, 0.0, 400.0), (45, 0.1, 400.0), (100, 0.0, 100.0)]
)
def test_equidistant(degrees, k1, f):
    """Theta (1 + k1 theta^2); also beyond 90 degrees."""
    angle = math.radians(degrees)
    model = camera('equidistant', (k1, 0, 0, 0), f)
    direction = (math.sin(angle), 0, math.cos(angle))
    seen = (300 + f * angle * (1 + k1 * angle**2), 200)
    np.testing.assert_allclose(pixel(model, *direction), seen)
    np.testing.assert_allclose(model.rays(np.array([seen]))[0], direction, atol=1e-6)


@pytest.mark.parametrize(
    ('model', 'last', 'beyond'),
    [
        # r (1 - 0.3 r^2) is largest at r = 1 / sqrt(0.9) = 1.054. OpenCV puts a direction of 1.8
        # into the middle of the image.
        (camera(distortion=(-0.3, 0, 0, 0, 0)), 1.04, (1.07, 1.8)),
        # 1 - 0.5 r^2 is 0 at r = 1.41.
        (camera('rational_polynomial', (0, 0, 0, 0, 0, -0.5, 0, 0)), 1.3, (1.5,)),
    ],
)
def test_where_a_polynomial_folds_back_there_are_no_pixels(model, last, beyond):
    assert np.isfinite(pixel(model, last, 0, 1)).all()
    assert np.isnan([pixel(model, x, 0, 1) for x in beyond]).all()


def test_pixels_that_no_direction_is_projected_to():
    # The largest r of the first model above is 0.703.
    model = camera(distortion=(-0.3, 0, 0, 0, 0))
    inside, outside = model.rays(np.array([[300 + 400 * 0.69, 200], [300 + 400 * 0.71, 200]]))
    assert np.isfinite(inside).all()
    assert np.isnan(outside).all()


@settings(deadline=None, max_examples=40)
@given(
    st.sampled_from(
        [
            ('plumb_bob', ()),
            ('plumb_bob', (-0.28, 0.08, 0.002, -0.003, 0.0)),
            ('plumb_bob', (0.2, -0.1, -0.001, 0.001, 0.02)),
            ('rational_polynomial', (0.5, -0.2, 0.001, 0, 0.01, 0.8, -0.1, 0.01)),
            ('rational_polynomial', (-0.1, 0.01, 0, 0, 0, 0, 0, 0, 0.01, 0.001, -0.01, 0)),
            ('equidistant', (0.05, -0.01, 0.002, -0.0003)),
        ]
    ),
    st.integers(0, 639),
    st.integers(0, 479),
)
def test_there_and_back(lens, column, row):
    model = camera(*lens)
    ray = model.rays(np.array([[column, row]]))
    if np.isfinite(ray).all():
        np.testing.assert_allclose(np.linalg.norm(ray), 1)
        np.testing.assert_allclose(model.project(ray)[0], (column, row), atol=0.05)
    else:
        assert lens[1]


@pytest.mark.parametrize(
    ('changes', 'message'),
    [
        ({'fx': 0.0}, 'not calibrated; run camera_calibration'),
        ({'fy': -1.0}, 'focal lengths of 400 and -1 px'),
        ({'cx': math.nan}, 'not finite'),
        ({'width': 0}, 'image size of 0x480'),
        ({'model': 'ftheta', 'distortion': (0.1,) * 4}, "unknown distortion model 'ftheta'"),
        (
            {'model': 'plumb_bob', 'distortion': (0.1, 0.2)},
            '2 distortion coefficients, but',
        ),
        ({'model': 'equidistant', 'distortion': ()}, '0 distortion coefficients, but'),
    ],
)
def test_unusable_numbers(changes, message):
    numbers = dict(width=640, height=480, fx=400.0, fy=200.0, cx=300.0, cy=200.0)
    with pytest.raises(CalibrationError, match=message):
        CameraModel(**numbers | changes)


FOUR, FIVE = (0.1, -0.02, 0.003, 0.001), (0.1, -0.02, 0.003, 0.001, 0.01)


@pytest.mark.parametrize(
    ('name', 'given', 'model', 'distortion'),
    [
        # Zeros that drivers append.
        ('equidistant', (*FOUR, 0.0), 'equidistant', FOUR),
        ('equidistant', (*FOUR, 0.0, 0.0, 0.0, 0.0), 'equidistant', FOUR),
        ('plumb_bob', (*FIVE, 0.0), 'plumb_bob', FIVE),
        ('rational_polynomial', (*FIVE, *FOUR, *[0.0] * 5), 'rational_polynomial', None),
        ('plumb_bob', (*FOUR, 0.0), 'plumb_bob', None),
        # Other names.
        ('fisheye', FOUR, 'equidistant', None),
        ('Kannala-Brandt4', FOUR, 'equidistant', None),
        ('PLUMB_BOB', FIVE, 'plumb_bob', None),
        ('Brown Conrady', FIVE, 'plumb_bob', None),
        ('radtan', FOUR, 'plumb_bob', None),
        ('', FIVE, 'plumb_bob', None),
    ],
)
def test_models_as_drivers_write_them(name, given, model, distortion):
    found = camera(name, given)
    assert (found.model, found.distortion) == (model, distortion or given)
    np.testing.assert_array_equal(
        pixel(found, 0.2, 0.1, 1), pixel(camera(model, distortion or given), 0.2, 0.1, 1)
    )


@pytest.mark.parametrize(
    ('name', 'given', 'message'),
    [
        ('equidistant', FIVE, '5 distortion coefficients, but equidistant takes 4'),
        ('equidistant', (0.0,) * 3, '3 distortion coefficients, but equidistant takes 4'),
        ('plumb_bob', (*FIVE, 0.1), '6 distortion coefficients, but plumb_bob takes 4 or 5'),
        ('', FOUR, "unknown distortion model ''"),
        ('Inverse Brown Conrady', FIVE, "unknown distortion model 'inverse_brown_conrady'"),
    ],
)
def test_coefficients_that_could_mean_anything(name, given, message):
    with pytest.raises(CalibrationError, match=message):
        camera(name, given)


def test_a_model_without_coefficients_is_a_pinhole():
    assert pixel(camera('ftheta', (0.0, 0.0)), 0.5, 0.25, 1).tolist() == [500, 250]


def test_distortion_that_folds_at_the_centre():
    model = camera(distortion=(-1e9, 0, 0, 0, 0))
    with pytest.raises(CalibrationError, match='folds back at the centre'):
        pixel(model, 0.1, 0, 1)
