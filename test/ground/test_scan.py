"""The scan: ranges, inf and NaN by hand."""

import math

import numpy as np
import pytest

from linknet_ros.ground.camera import CameraModel
from linknet_ros.ground.contacts import ContactFinder, kind_table
from linknet_ros.ground.mount import Mount
from linknet_ros.ground.rays import ground_rays
from linknet_ros.ground.scan import GroundScan

#: A level camera 1 m above the ground: row v sees 60 / (v - 20) m ahead.
LEVEL = CameraModel(81, 61, 60.0, 60.0, 40.0, 20.0)
ROAD, CAR, SKY = 0, 1, 2
TABLE = kind_table(3, [ROAD], [SKY])


def measure(labels, mount=None, max_range=10.0):
    mount = mount or Mount.from_angles(z=1.0)
    rays = ground_rays(LEVEL, mount, max_range=max_range)
    scan = GroundScan(rays, max_range)
    return scan, scan.fill(ContactFinder(rays, (81, 61)).find(labels, TABLE))


def road():
    return np.full((61, 81), ROAD, np.uint8)


def at(scan, ranges, bearing):
    """Range of the step that a bearing is in."""
    return ranges[round((bearing - scan.angle_min) / scan.increment)]


def test_free_road_is_inf():
    scan, ranges = measure(road())
    assert ranges.dtype == np.float32
    assert scan.range_max == 10
    assert np.isinf([at(scan, ranges, bearing) for bearing in (0, 0.4, -0.4)]).all()
    # The field of view is 2 atan(40.5 / 60) wide.
    assert scan.angle_min == pytest.approx(-0.594, abs=0.03)
    assert scan.angle_max == pytest.approx(0.594, abs=0.03)
    assert scan.angle_min + (len(ranges) - 1) * scan.increment == pytest.approx(scan.angle_max)


def test_a_wall():
    labels = road()
    labels[:41] = CAR
    scan, ranges = measure(labels)
    for bearing in (0, 0.3, -0.5):
        expected = 60 / 20.5 / math.cos(bearing)
        assert at(scan, ranges, bearing) == pytest.approx(expected, rel=0.02)
    assert np.isfinite(ranges[2:-2]).all()


def test_a_pole():
    labels = road()
    labels[:41, 20] = CAR
    scan, ranges = measure(labels)
    bearing = math.atan(20 / 60)
    assert at(scan, ranges, bearing) == pytest.approx(60 / 20.5 / math.cos(bearing), rel=0.02)
    assert np.isfinite(ranges).sum() <= 3
    assert np.isinf(at(scan, ranges, bearing + 0.05))
    assert np.isinf(at(scan, ranges, bearing - 0.05))


def test_unknown_is_nan():
    labels = road()
    labels[:41, 40:] = SKY
    scan, ranges = measure(labels)
    assert np.isnan(at(scan, ranges, -0.1))
    assert np.isnan(at(scan, ranges, -0.5))
    assert np.isinf(at(scan, ranges, 0.1))


@pytest.mark.parametrize(
    ('mount', 'x', 'y'),
    [
        # The pole is 60 / 20.5 m ahead of the camera and a third of that to its left.
        (Mount.from_angles(2.0, 0.0, 1.0), 2 + 60 / 20.5, 60 / 20.5 / 3),
        # The left of a camera that looks back is the right of the robot.
        (Mount.from_angles(-0.5, 0.0, 1.0, yaw=math.pi), -0.5 - 60 / 20.5, -60 / 20.5 / 3),
    ],
)
def test_ranges_are_from_the_origin_not_the_camera(mount, x, y):
    labels = road()
    labels[:41, 20] = CAR
    scan, ranges = measure(labels, mount)
    # Beyond pi for the camera that looks back.
    bearing = math.atan2(y, x) % (2 * math.pi)
    assert scan.angle_min < bearing < scan.angle_max
    assert at(scan, ranges, bearing) == pytest.approx(math.hypot(x, y), rel=0.02)
    assert np.isfinite(ranges).sum() <= 3


def test_nothing_of_the_last_frame_stays():
    rays = ground_rays(LEVEL, Mount.from_angles(z=1.0), max_range=10.0)
    finder, scan = ContactFinder(rays, (81, 61)), GroundScan(rays, 10.0)
    labels = road()
    labels[:41] = CAR
    scan.fill(finder.find(labels, TABLE))
    assert not np.isfinite(scan.fill(finder.find(road(), TABLE))).any()
