"""Depth: which message belongs to a frame, and where its points are."""

from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from linknet_ros.errors import CalibrationError
from linknet_ros.ground.camera import CameraModel
from linknet_ros.ground.depth import TOGETHER, DepthPoints, StampMatcher, check_depth

MS = 1_000_000
SIZE = (8, 6)
K = [10.0, 0, 3.5, 0, 10, 2.5, 0, 0, 1]
P = [5.0, 0, 3.5, 0, 0, 5, 2.5, 0, 0, 0, 1, 0]
D = (0.2, -0.1, 0.01, 0.02, 0.0)


def info_at(width, height, d=()):
    return SimpleNamespace(width=width, height=height, k=K, p=P, d=d, distortion_model='plumb_bob')


def image(depth, encoding, padding=0, big=False, frame_id=''):
    kind = np.dtype(('>' if big else '<') + ('f4' if encoding == '32FC1' else 'u2'))
    rows = np.ascontiguousarray(depth.astype(kind)).view(np.uint8).reshape(len(depth), -1)
    rows = np.pad(rows, ((0, 0), (0, padding)), constant_values=77)
    return SimpleNamespace(
        header=SimpleNamespace(frame_id=frame_id),
        height=len(depth),
        width=depth.shape[1],
        encoding=encoding,
        is_bigendian=int(big),
        step=rows.shape[1],
        data=rows.tobytes(),
    )


def cloud(points, big=False):
    """Organised, with 8 bytes of something else before x, and 4 after each row."""
    height, width = points.shape[:2]
    kind = np.dtype([('other', 'u8'), ('p', ('>' if big else '<') + 'f4', 3)])
    data = np.zeros((height, width), kind)
    data['p'] = points
    rows = np.pad(data.view(np.uint8).reshape(height, -1), ((0, 0), (0, 4)))
    fields = [
        SimpleNamespace(name=name, offset=8 + 4 * i, datatype=7, count=1)
        for i, name in enumerate('xyz')
    ]
    return SimpleNamespace(
        header=SimpleNamespace(frame_id='elsewhere'),
        height=height,
        width=width,
        fields=fields,
        is_bigendian=big,
        point_step=20,
        row_step=rows.shape[1],
        data=rows.tobytes(),
    )


# Which belongs to which.


def test_depth_before_and_after_its_frame():
    matcher = StampMatcher()
    matcher.add_depth(1000, 'early')
    matcher.add_frame(1000, 'a')
    assert matcher.matched() == ([('a', 'early')], 0)
    matcher.add_frame(2000, 'b')
    assert matcher.matched() == ([], 0)
    matcher.add_depth(2000, 'late')
    assert matcher.matched() == ([('b', 'late')], 0)
    assert len(matcher) == 0


def test_the_nearest_is_known_when_a_later_one_has_come():
    matcher = StampMatcher()
    matcher.add_depth(100 * MS - TOGETHER // 2, 'before')
    matcher.add_frame(100 * MS, 'a')
    assert matcher.matched() == ([], 0)
    matcher.add_depth(100 * MS + TOGETHER // 4, 'after')
    assert matcher.matched() == ([('a', 'after')], 0)
    matcher.add_frame(200 * MS, 'b')
    matcher.add_depth(201 * MS + TOGETHER, 'too late')
    assert matcher.matched() == ([], 1)


def test_at_the_end_the_nearest_is_enough():
    matcher = StampMatcher()
    matcher.add_depth(100 * MS, 'before')
    matcher.add_frame(101 * MS, 'a')
    matcher.add_frame(101 * MS + TOGETHER, 'too far away')
    assert matcher.matched() == ([], 0)
    assert matcher.matched(ended=True) == ([('a', 'before')], 1)
    matcher = StampMatcher()
    matcher.add_frame(101 * MS, 'without any')
    assert matcher.matched(ended=True) == ([], 1)
    assert len(matcher) == 0


@settings(deadline=None)
@given(st.permutations(range(6)), st.data())
def test_every_order_gives_the_same_pairs(order, data):
    """What a recording says does not depend on when things came; depth itself is in order."""
    frames = [100 * MS * i for i in range(3)]
    depths = [stamp + data.draw(st.integers(-12, 12)) * MS for stamp in frames] + [900 * MS]
    matcher, found, lost = StampMatcher(), {}, 0
    coming = iter(depths)
    for event in [*order, 6]:
        if event < 3:
            matcher.add_frame(frames[event], event)
        else:
            stamp = next(coming)
            matcher.add_depth(stamp, stamp)
        pairs, gone = matcher.matched()
        found |= dict(pairs)
        lost += gone
    assert found == {i: depths[i] for i in range(3)}
    assert lost == 0


def test_neither_frames_nor_depth_pile_up():
    matcher = StampMatcher()
    for i in range(100):
        matcher.add_frame(i, i)
    assert len(matcher) < 10
    matcher.add_depth(5, 'old')
    matcher.add_depth(99, 'new')
    pairs, lost = matcher.matched()
    assert (99, 'new') in pairs
    assert (len(pairs), lost) == (8, 92)


# Where the points are.


@pytest.mark.parametrize('rectified', [False, True])
@pytest.mark.parametrize(('encoding', 'unit'), [('32FC1', 1.0), ('16UC1', 1000), ('mono16', 1000)])
def test_points_project_to_their_pixels(encoding, unit, rectified):
    depth = np.random.default_rng(0).integers(500, 9000, SIZE[::-1]) / 1000
    message = image(
        np.float32(np.round(depth * 1000) * unit / 1000), encoding, padding=6, big=rectified
    )
    points = DepthPoints().of(message, lambda w, h: info_at(w, h, D), rectified)
    assert (points.shape, points.dtype) == ((6, 8, 3), np.float32)
    np.testing.assert_allclose(points[..., 2], depth, rtol=1e-6)
    numbers = (5.0, 5.0, 3.5, 2.5) if rectified else (10.0, 10.0, 3.5, 2.5, 'plumb_bob', D)
    pixels = CameraModel(*SIZE, *numbers).project(points.reshape(-1, 3))
    rows, columns = np.indices(SIZE[::-1])
    np.testing.assert_allclose(pixels, np.stack([columns, rows], -1).reshape(-1, 2), atol=0.02)


@pytest.mark.parametrize(
    ('encoding', 'values'),
    [('32FC1', [np.nan, np.inf, -np.inf, 0.0, -1.0]), ('16UC1', [0, 0, 0, 0, 0])],
)
def test_what_was_not_measured(encoding, values):
    depth = np.full(SIZE[::-1], 2.0 if encoding == '32FC1' else 2000.0)
    depth[0, :5] = values
    points = DepthPoints().of(image(depth, encoding), info_at, False)
    assert np.isnan(points[0, :5]).all()
    assert np.isfinite(points[0, 5:]).all()
    assert np.isfinite(points[1:]).all()


@pytest.mark.parametrize('big', [False, True])
def test_points_of_a_cloud_stay_as_they_are(big):
    points = np.random.default_rng(1).normal(size=(6, 8, 3)).astype(np.float32)
    points[2, 3, 1] = np.nan
    found = DepthPoints().of(cloud(points, big), info_at, False)
    points[2, 3] = np.nan
    np.testing.assert_array_equal(found, points)


def test_another_camera_another_plane():
    made = DepthPoints()
    depth = image(np.ones(SIZE[::-1]), '32FC1')
    first = made.of(depth, info_at, False)
    again = made.of(depth, info_at, True)
    np.testing.assert_allclose(again[..., 0], 2 * first[..., 0], rtol=1e-6)


def test_what_cannot_be_read():
    made = DepthPoints()
    with pytest.raises(CalibrationError, match=r"encoding 'bgr8'.*32FC1 or 16UC1"):
        made.of(image(np.ones((6, 8)), 'bgr8'), info_at, False)
    short = image(np.ones((6, 8)), '32FC1')
    short.data = short.data[:-4]
    with pytest.raises(CalibrationError, match='shorter than it says'):
        made.of(short, info_at, False)
    flat = cloud(np.ones((6, 8, 3), np.float32))
    flat.fields = flat.fields[:2]
    with pytest.raises(CalibrationError, match='no x, y and z'):
        made.of(flat, info_at, False)


@pytest.mark.parametrize(
    ('message', 'error'),
    [
        (cloud(np.ones((1, 48, 3))), 'the cloud on /depth is not organised'),
        (cloud(np.ones((8, 6, 3))), r'/depth is 6x8.* not the shape of the image \(640x480\)'),
        (image(np.ones((6, 8)), '32FC1', frame_id='ir'), "/depth is of frame 'ir', .* 'optical'"),
    ],
)
def test_depth_of_another_camera_is_refused(message, error):
    with pytest.raises(CalibrationError, match=error):
        check_depth(message, '/depth', 'optical', 640, 480)


def test_registered_depth_may_be_smaller():
    check_depth(image(np.ones((6, 8)), '32FC1', frame_id='optical'), '/d', 'optical', 640, 480)
    check_depth(cloud(np.ones((6, 8, 3))), '/d', 'optical', 641, 480)
