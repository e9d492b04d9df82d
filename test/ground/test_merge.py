"""What several cameras see as one: obstacles win over free, free over unknown."""

import math

import numpy as np

from linknet_ros.ground.grid import FREE_CELL, OCCUPIED_CELL, UNKNOWN_CELL
from linknet_ros.ground.merge import ScanRanges, merged_cells, merged_scan

INF, NAN = math.inf, math.nan
DEGREE = math.radians(1)


def scan(start, ranges, step=1.0, nearest=0.5):
    """A scan whose first step begins at an angle [degrees]."""
    ranges = np.array(ranges, np.float32)
    return ScanRanges(ranges, (start + step / 2) * DEGREE, step * DEGREE, nearest, 20.0)


def at(merged, degrees):
    """The range of the step that an angle is in."""
    turned = (degrees * DEGREE + math.pi) % (2 * math.pi)
    return float(merged.ranges[int(turned / merged.increment)])


def test_cells():
    values = [FREE_CELL, OCCUPIED_CELL, UNKNOWN_CELL]
    one, other = (np.array(m, np.int8) for m in np.meshgrid(values, values))
    merged = merged_cells([one, other])
    assert merged.dtype == np.int8
    # Rows: the other is free, occupied, unknown.
    expected = [[0, 100, 0], [100, 100, 100], [0, 100, -1]]
    np.testing.assert_array_equal(merged, expected)


def test_where_scans_meet_the_obstacle_wins():
    one = scan(0, [5, INF, NAN, INF, 4, NAN])
    other = scan(0, [3, 7, INF, INF, INF, NAN])
    merged = merged_scan([one, other])
    assert len(merged.ranges) == 360
    assert [at(merged, 0.5 + n) for n in range(5)] == [3, 7, INF, INF, 4]
    assert math.isnan(at(merged, 5.5))
    assert np.isnan(merged.ranges).sum() == 360 - 5
    assert (merged.range_min, merged.range_max) == (0.5, 20.0)


def test_scans_of_other_directions_stand_side_by_side():
    # Backwards: bearings beyond pi, as scans have them.
    rear = scan(176, [2] * 8, nearest=0.3)
    merged = merged_scan([scan(-3, [INF] * 6), rear])
    for degrees in (*range(176, 180), *range(-180, -176)):
        assert at(merged, degrees + 0.5) == 2
    assert [at(merged, n + 0.5) for n in (-3, 2)] == [INF, INF]
    assert all(math.isnan(at(merged, n + 0.5)) for n in (-4, 3, 175, -176))
    assert merged.range_min == 0.3


def test_nothing_is_free_that_is_not_free_throughout():
    # Steps of half a degree and of 0.8: the merged ones have the latter.
    fine = scan(0, [INF] * 10 + [6] + [INF] * 3 + [NAN] + [INF] * 13, step=0.5)
    merged = merged_scan([fine, scan(100, [INF] * 4, step=0.8)])
    step = math.degrees(merged.increment)
    assert 0.8 <= step < 0.81
    for index, value in enumerate(merged.ranges):
        start = index * step - 180
        inside = [
            fine.ranges[n] if 0 <= n < len(fine.ranges) else NAN
            for n in range(math.floor(start / 0.5 + 0.01), math.ceil((start + step) / 0.5 - 0.01))
        ]
        if start > 90:
            continue
        if 6 in inside:
            assert value == 6
        elif any(math.isnan(v) for v in inside):
            assert math.isnan(value), start
        else:
            assert value == INF
