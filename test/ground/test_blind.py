"""The blind range of a mount, by hand."""

import math

import numpy as np
import pytest

from linknet_ros.ground.blind import BlindRange, blind_ranges
from linknet_ros.ground.camera import CameraModel
from linknet_ros.ground.contacts import ContactFinder, kind_table
from linknet_ros.ground.mount import Mount
from linknet_ros.ground.rays import ground_rays
from linknet_ros.ground.scan import GroundScan

#: A level camera 1 m above the ground: its last row, 60, ends 60 / 40.5 m ahead.
LEVEL = CameraModel(81, 61, 60.0, 60.0, 40.0, 20.0)
AHEAD = 60 / 40.5
#: The image's edge is 40.5 / 60 to the side for each metre ahead.
SIDE = AHEAD * math.hypot(1, 40.5 / 60)


def blind(mount, ego_mask=None):
    return BlindRange.of(ground_rays(LEVEL, mount, max_range=20.0, ego_mask=ego_mask))


def approx(value):
    return pytest.approx(value, rel=0.01)


def test_nearest_ground_by_bearing():
    found = blind(Mount.from_angles(z=1.0))
    assert (found.nearest, found.ahead) == (approx(AHEAD), approx(AHEAD))
    assert found.farthest == approx(SIDE)
    assert found.slivers == 0
    # 1.79 m, and 0.2 m more.
    assert found.clearing_from == 2.0
    assert str(found) == '1.5 m ahead, 1.5 to 1.8 m by bearing'


def test_distances_are_from_the_base_frame():
    found = blind(Mount.from_angles(2.0, 0.5, 1.0))
    assert found.ahead == approx(math.hypot(2 + AHEAD, 0.5))
    assert found.farthest == approx(math.hypot(2 + AHEAD, 0.5 + AHEAD * 40.5 / 60))
    # A camera that looks back over the base frame's origin.
    found = blind(Mount.from_angles(2.0, 0.0, 1.0, yaw=math.pi))
    assert found.ahead == approx(2 - AHEAD)


def test_what_the_vehicle_hides_is_blind():
    mask = np.zeros((61, 81), np.uint8)
    mask[41:] = 255
    assert blind(Mount.from_angles(z=1.0), mask).ahead == approx(60 / 20.5)
    found = blind(Mount.from_angles(z=1.0), np.full((61, 81), 255, np.uint8))
    assert (found.nearest, found.farthest, found.clearing_from) == (math.inf,) * 3
    assert str(found) == 'the ego mask hides all the ground'


@pytest.mark.parametrize('roll', [0.0, 0.2])
def test_scan_is_never_nearer_than_its_range_min_and_has_no_slivers(roll):
    rays = ground_rays(LEVEL, Mount.from_angles(z=1.0, roll=roll), max_range=20.0)
    found, scan = BlindRange.of(rays), GroundScan(rays, 20.0)
    assert scan.range_min == found.nearest
    # With a roll, the raised side of the image sees the ground at its edge only far away.
    starts = blind_ranges(rays)
    late = starts[np.isfinite(starts)].max()
    assert (late > 2 * found.farthest) == (found.slivers > 0) == (roll > 0)
    table = kind_table(2, [0])
    finder = ContactFinder(rays, (81, 61))
    for label in (0, 1):
        ranges = scan.fill(finder.find(np.full((61, 81), label, np.uint8), table))
        reading = ~np.isnan(ranges)
        assert reading.mean() > 0.8
        # Everything is free, or everything an obstacle that stands where its bearing begins.
        assert np.isinf(ranges[reading]).all() == (label == 0)
        if label:
            assert ranges[reading].min() == approx(scan.range_min)
            assert ranges[reading].max() <= found.farthest * 1.01
            # No contact is nearer than that: consumers would drop it.
            assert scan.range_min_of(ranges) <= ranges[reading].min()
            assert scan.range_min_of(0.5 * ranges) == ranges[reading].min() / 2
