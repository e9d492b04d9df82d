"""The street drive and its source: repeatable, moving, varied, with exactly true labels."""

from __future__ import annotations

import math
from itertools import islice

import numpy as np
import pytest

from linknet_ros.classes import CAMVID, UNLABELED
from linknet_ros.errors import SourceError
from linknet_ros.simulation.looks import LOOKS
from linknet_ros.simulation.sources import open_source
from linknet_ros.simulation.street import StreetDrive

SKY, BUILDING, ROAD, PAVEMENT, CAR = CAMVID.ids(('sky', 'building', 'road', 'pavement', 'car'))


@pytest.fixture(scope='module')
def drive():
    return StreetDrive(seed=0)


def ground_points(camera):
    """Where the pixels below the horizon meet z = 0, computed one by one."""
    rows, cols, forward, left = [], [], [], []
    for row in range(camera.height):
        below = math.atan2(row - camera.cy, camera.fy) + camera.pitch
        if below <= 0.02:
            continue
        x = camera.height_m / math.tan(below)
        depth = x * math.cos(camera.pitch) + camera.height_m * math.sin(camera.pitch)
        for col in range(camera.width):
            rows.append(row)
            cols.append(col)
            forward.append(x)
            left.append(-(col - camera.cx) / camera.fx * depth)
    return np.array(rows), np.array(cols), np.array(forward), np.array(left)


def test_the_same_seed_and_time_give_the_same_frame(drive):
    drive.frame(7.0)
    again = StreetDrive(seed=0).frame(3.25)
    frame = drive.frame(3.25)
    np.testing.assert_array_equal(frame.bgr, again.bgr)
    np.testing.assert_array_equal(frame.labels, again.labels)


def test_other_seeds_and_times_give_other_frames(drive):
    other = StreetDrive(seed=1)
    assert other.camera != drive.camera
    assert (other.frame(0).labels != drive.frame(0).labels).mean() > 0.1
    before, after = drive.frame(2.0), drive.frame(2.5)
    assert (before.labels != after.labels).mean() > 0.02
    assert np.abs(before.bgr.astype(int) - after.bgr).mean() > 5


def test_source_replays_the_drive_at_its_rate():
    source, drive = open_source('street', seed=3, size=(64, 48), rate=4.0), StreetDrive(3, 64, 48)
    for _ in range(2):
        frames = islice(source.frames(), 3)
        for frame, time in zip(frames, (0.0, 0.25, 0.5), strict=True):
            np.testing.assert_array_equal(frame.bgr, drive.frame(time).bgr)
            np.testing.assert_array_equal(frame.labels, drive.frame(time).labels)
    assert source.camera == drive.camera


def test_a_parked_drive_keeps_its_ground_while_traffic_moves():
    drive = StreetDrive(seed=0, speed=0.0)
    x, y = np.meshgrid(np.linspace(2, 100, 50), np.linspace(-8, 4, 50))
    np.testing.assert_array_equal(drive.ground_label(x, y, 0.0), drive.ground_label(x, y, 9.0))
    assert (drive.frame(0.0).labels != drive.frame(3.0).labels).any()


@pytest.mark.parametrize(
    ('seed', 'time', 'size'), [(0, 0, (480, 360)), (3, 12.3, (480, 360)), (5, 1e5, (641, 203))]
)
def test_ground_pixels_show_what_ground_label_says(seed, time, size):
    drive = StreetDrive(seed, *size)
    frame = drive.frame(time)
    rows, cols, x, y = ground_points(drive.camera)
    seen = frame.labels[rows, cols]
    expected = drive.ground_label(x, y, time)
    visible = (seen == ROAD) | (seen == PAVEMENT)
    # A pixel on an edge may have either class, and a car's shadow may cover an edge.
    assert visible.sum() > 0.2 * seen.size
    assert (seen[visible] == expected[visible]).mean() > 0.999
    assert set(np.unique(seen[visible])) == {ROAD, PAVEMENT}


def test_a_point_ahead_projects_to_where_a_pinhole_says(drive):
    camera = drive.camera
    x, y, z = 10.0, 2.0, 0.5
    angle = math.atan2(camera.height_m - z, x) - camera.pitch
    reach = math.hypot(x, camera.height_m - z)
    column = camera.cx - camera.fx * y / (reach * math.cos(angle))
    row = camera.cy + camera.fy * math.tan(angle)
    (found,) = camera.project(np.array([(x, y, z)]))
    assert found == pytest.approx((column, row, reach * math.cos(angle)))


def test_the_kerb_lies_where_the_ground_changes(drive):
    left = np.arange(-20.0, 20.0, 0.01)
    labels = drive.ground_label(np.full_like(left, 30.0), left, 0.0)
    inside = labels[labels != UNLABELED]
    assert labels[0] == labels[-1] == UNLABELED
    assert set(np.unique(inside)) == {ROAD, PAVEMENT}
    assert drive.ground_label(5.0, 0.0, 0.0) == ROAD
    road = left[labels == ROAD]
    assert 5 < road.max() - road.min() < 20


def test_the_ground_passes_below_the_camera(drive):
    x, y = np.meshgrid(np.linspace(0, 60, 200), np.linspace(-12, 6, 90))
    now = drive.ground_label(x + 8.0, y, 4.0)
    np.testing.assert_array_equal(now, drive.ground_label(x, y, 5.0))


def test_every_class_appears_within_a_short_drive():
    for seed in (0, 1, 2):
        drive = StreetDrive(seed)
        present = set()
        for time in range(0, 24, 4):
            present |= set(np.unique(drive.frame(time).labels).tolist())
        assert present == set(range(len(CAMVID)))


def test_road_is_ahead_and_sky_above(drive):
    for time in (0.0, 6.0, 13.0):
        labels = drive.frame(time).labels
        assert (labels[-20:, 220:260] == ROAD).all()
        assert (labels[:40] == SKY).mean() > 0.2
        assert not (labels[200:] == SKY).any()


@pytest.mark.parametrize('size', [(97, 51), (16, 16), (640, 360), (1920, 1080), (200, 400)])
def test_any_size_works_and_the_scene_scales(size):
    width, height = size
    drive = StreetDrive(0, width, height)
    frame = drive.frame(2.0)
    assert frame.bgr.shape == (height, width, 3)
    assert frame.labels.shape == (height, width)
    assert frame.labels.max() < len(CAMVID)
    assert drive.camera.fx == pytest.approx(0.95 * width)
    assert frame.labels[-1, width // 2] == ROAD


def test_colours_follow_the_labels(drive):
    frame = drive.frame(1.0)
    bgr, labels = frame.bgr.astype(int), frame.labels
    assert all(frame.bgr[labels == label].std() > 3 for label in np.unique(labels))
    means = {label: bgr[labels == label].mean(0) for label in (SKY, BUILDING, ROAD, PAVEMENT)}
    assert means[SKY].mean() > 200
    assert means[PAVEMENT].mean() > means[ROAD].mean() + 15
    # Neighbours of two classes differ by more than neighbours of one.
    step = np.abs(np.diff(bgr, axis=1)).sum(2)
    for upper, lower in ((SKY, BUILDING), (PAVEMENT, ROAD)):
        first, second = labels[:, :-1], labels[:, 1:]
        border = ((first == upper) & (second == lower)) | ((first == lower) & (second == upper))
        within = (first == lower) & (second == lower)
        assert border.sum() > 20
        assert step[border].mean() > 1.5 * step[within].mean()


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        ({'width': 15}, r'15x360 px are too small; use 16x16'),
        ({'height': 0}, r'480x0 px are too small'),
        ({'speed': -1.0}, 'invalid street speed -1.0 m/s; use 0 or more'),
        ({'speed': math.nan}, r'speed nan m/s'),
        ({'seed': -3}, 'invalid street seed -3; use'),
        ({'look': 'rain'}, "look 'rain'; use one of town, snow, sand"),
    ],
)
def test_invalid_drive(arguments, message):
    with pytest.raises(SourceError, match=message):
        StreetDrive(**arguments)


@pytest.mark.parametrize('time', [-0.1, math.nan, math.inf])
def test_invalid_time(drive, time):
    for call in (drive.frame, drive.car_footprints, lambda time: drive.ground_label(1, 0, time)):
        with pytest.raises(SourceError, match=r'invalid street time .* s; use 0 or more'):
            call(time)


def test_cars_are_where_their_footprints_say(drive):
    camera, time = drive.camera, 4.0
    boxes = drive.car_footprints(time)
    assert boxes.shape[1] == 4
    assert len(boxes) > 3
    # As long and wide as cars are.
    length, width = (boxes[:, 2:] - boxes[:, :2]).T
    assert ((length > 3.7) & (length < 5)).all()
    assert ((width > 1.7) & (width < 2)).all()
    labels = drive.frame(time).labels
    # The rear of the nearest one that is fully visible.
    ahead = boxes[(boxes[:, 0] > 5) & (np.abs(boxes[:, 1:4:2]).max(1) < 0.4 * boxes[:, 0])]
    x, right, _, left = min(ahead.tolist())
    points = np.array([[x, y, 0.8] for y in np.linspace(right + 0.2, left - 0.2, 5)])
    cols, rows, _ = np.round(camera.project(points).T).astype(int)
    assert set(labels[rows, cols].tolist()) == {CAMVID.names.index('car')}


def test_a_look_covers_classes_and_moves_the_camera(drive):
    snow = StreetDrive(0, look='snow')
    assert snow.camera.height_m == 0.75
    frame, town = snow.frame(2.0), drive.frame(2.0)
    for id_, lighter in ((ROAD, 50), (PAVEMENT, 50)):
        means = [one.bgr[one.labels == id_].mean() for one in (frame, town)]
        assert means[0] > means[1] + lighter
    table = LOOKS['snow'].table()
    # Half of nothing and half of white would be 128; cars stay what they are.
    assert table[ROAD, 0].tolist() == [123, 118, 114]
    np.testing.assert_array_equal(table[CAR], np.arange(256)[:, None].repeat(3, 1))
