"""The grid: what is free, what is occupied, and that nothing is free that no pixel saw."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from linknet_ros.errors import ParameterError
from linknet_ros.ground.camera import CameraModel
from linknet_ros.ground.contacts import CONTACT, ContactFinder, kind_table
from linknet_ros.ground.grid import (
    FREE_CELL,
    OCCUPIED_CELL,
    UNKNOWN_CELL,
    GridArea,
    GroundGrid,
    RangeMinimum,
)
from linknet_ros.ground.mount import Mount
from linknet_ros.ground.rays import ground_rays

#: A level camera 1 m above the ground: row v sees 60 / (v - 20) m ahead, from 1.48 m on, and
#: 2/3 of a metre to each side for every metre ahead.
LEVEL = CameraModel(81, 61, 60.0, 60.0, 40.0, 20.0)
MOUNT = Mount.from_angles(z=1.0)
ROAD, CAR, SKY = 0, 1, 2
TABLE = kind_table(3, [ROAD], [SKY])
AREA = GridArea(forward=8.0, backward=1.0, sideways=4.0, resolution=0.2)


def road(camera=LEVEL):
    return np.full((camera.height, camera.width), ROAD, np.uint8)


def project(labels, area=AREA, camera=LEVEL, mount=MOUNT, max_range=10.0, ego_mask=None):
    rays = ground_rays(camera, mount, max_range=max_range, ego_mask=ego_mask)
    contacts = ContactFinder(rays, (camera.width, camera.height)).find(labels, TABLE)
    return rays, contacts, GroundGrid(rays, area).fill(contacts)


def cell(cells, x, y, area=AREA):
    """Value of the cell that a point is in."""
    column = math.floor((x - area.corner[0]) / area.resolution)
    return cells[math.floor((y - area.corner[1]) / area.resolution), column]


# The area.


def test_area():
    assert (AREA.rows, AREA.columns, AREA.corner) == (40, 45, (-1.0, -4.0))
    # 20 / 0.1 is not quite 200 in floating point; 1.05 / 0.1 needs eleven cells.
    assert (GridArea().rows, GridArea().columns) == (200, 200)
    odd = GridArea(forward=1.05, sideways=0.5, resolution=0.1)
    assert (odd.rows, odd.columns, odd.corner) == (10, 11, (0.0, -0.5))


@pytest.mark.parametrize(
    ('changes', 'message'),
    [
        ({'sideways': 0.0}, 'make 0 cells; choose 1 to 4000000'),
        ({'forward': 0.0}, 'ground.forward 0, backward 0 and sideways 10 m'),
        ({'forward': 200.0, 'sideways': 200.0, 'resolution': 0.01}, 'make 800000000 cells'),
    ],
)
def test_invalid_area(changes, message):
    with pytest.raises(ParameterError, match=message):
        GridArea(**changes)


# Range minimum.


@settings(deadline=None)
@given(st.data())
def test_range_minimum(data):
    values = data.draw(st.lists(st.integers(0, 99), min_size=1, max_size=40))
    index = st.integers(0, len(values) - 1)
    stretches = data.draw(st.lists(st.tuples(index, index).map(sorted), max_size=20))
    first, last = np.array(stretches, np.intp).reshape(-1, 2).T
    minimum = RangeMinimum(first, last, len(values))
    for numbers in (values, values[::-1]):
        expected = [min(numbers[a : b + 1]) for a, b in stretches]
        assert minimum(np.array(numbers, np.float32)).tolist() == expected


# Cells by hand.


def test_empty_road():
    _, _, cells = project(road())
    assert cells.dtype == np.int8
    assert cells.shape == (40, 45)
    # The image begins 1.48 m ahead: everything nearer or behind is unknown.
    assert (cells[:, : 5 + 7] == UNKNOWN_CELL).all()
    assert cell(cells, 1.7, 0.1) == cell(cells, 1.7, -0.1) == FREE_CELL
    assert cell(cells, 7.9, 0.1) == FREE_CELL
    # 2/3 of x to the sides, less one row of cells.
    for x in (2.1, 4.1, 5.5):
        free = [y for y in np.arange(-3.9, 4, 0.2) if cell(cells, x, y) == FREE_CELL]
        assert max(free) == pytest.approx(-min(free))
        assert x * 2 / 3 - 0.5 < max(free) < x * 2 / 3
    assert not (cells == OCCUPIED_CELL).any()


def test_a_pole_in_the_road():
    labels = road()
    # A pole of one pixel, standing 60 / (40.5 - 20) = 2.93 m ahead and (40 - 30) / 60 of that to
    # the left, 0.49 m.
    labels[:41, 30] = CAR
    _, _, cells = project(labels)
    assert cell(cells, 2.95, 0.49) == OCCUPIED_CELL
    assert (cells == OCCUPIED_CELL).sum() == 1
    # Its shadow is unknown, not occupied: nothing is smeared.
    for x in (3.7, 5.1, 6.9):
        assert cell(cells, x, x / 6) == UNKNOWN_CELL
        assert cell(cells, x, x / 6 + 0.6) == FREE_CELL
        assert cell(cells, x, x / 6 - 0.6) == FREE_CELL
    assert cell(cells, 2.3, 2.3 / 6) == FREE_CELL


def test_a_wall_is_closed():
    labels = road()
    # From 60 / 30.5 = 1.97 m at the left to 60 / 10.5 m at the right: a slanting wall.
    for column in range(81):
        labels[: 51 - column // 4, column] = CAR
    _, contacts, cells = project(labels, GridArea(8.0, 1.0, 4.0, 0.1))
    assert (contacts.kind[1:-1] == CONTACT).all()
    occupied = np.argwhere(cells == OCCUPIED_CELL)
    # Each occupied cell has another beside it, on both sides but for the two ends.
    rows = np.unique(occupied[:, 0])
    assert (np.diff(rows) == 1).all()
    steps = [np.abs(occupied - one).max(1) for one in occupied]
    assert sum((step == 1).sum() >= 2 for step in steps) >= len(occupied) - 2
    # Free on this side only.
    rows, columns = np.nonzero(cells == FREE_CELL)
    for row, column in zip(rows, columns, strict=True):
        beyond = cells[row, column:]
        assert not (cells[row, :column] == OCCUPIED_CELL).any() or OCCUPIED_CELL in beyond


def test_grid_follows_the_mount():
    # The camera is 1 m ahead and 0.5 m to the left, and looks to the left.
    mount = Mount.from_angles(1.0, 0.5, 1.0, yaw=math.pi / 2)
    labels = road()
    # One pixel to the left of the middle is a little back.
    labels[:41, 39] = CAR
    _, _, cells = project(labels, GridArea(4.0, 4.0, 8.0, 0.2), mount=mount)
    area = GridArea(4.0, 4.0, 8.0, 0.2)
    assert cell(cells, 0.95, 0.5 + 2.95, area) == OCCUPIED_CELL
    assert cell(cells, 1.7, 0.5 + 2.95, area) == FREE_CELL
    assert cell(cells, 0.3, 0.5 + 2.95, area) == FREE_CELL
    assert cell(cells, 1.0, -1.0, area) == UNKNOWN_CELL


def test_nothing_of_the_last_frame_stays():
    labels = road()
    labels[:41] = CAR
    rays = ground_rays(LEVEL, MOUNT, max_range=10.0)
    finder, grid = ContactFinder(rays, (81, 61)), GroundGrid(rays, AREA)
    before = grid.fill(finder.find(road(), TABLE)).copy()
    grid.fill(finder.find(labels, TABLE))
    np.testing.assert_array_equal(grid.fill(finder.find(road(), TABLE)), before)


def test_what_the_vehicle_hides_is_unknown():
    mask = np.zeros((61, 81), np.uint8)
    # Rows 35 to 40 in the middle: 60 / 20.5 = 2.93 m to 60 / 14.5 = 4.14 m ahead.
    mask[35:41, 35:46] = 255
    _, _, cells = project(road(), ego_mask=mask)
    assert cell(cells, 2.5, 0.1) == FREE_CELL
    assert {int(cell(cells, x, 0.1)) for x in (3.1, 3.5, 3.9, 4.1)} == {UNKNOWN_CELL}
    assert cell(cells, 4.7, 0.1) == FREE_CELL
    assert cell(cells, 3.5, 0.9) == FREE_CELL


# What must hold for any labels.

BARREL = (-0.2, 0.03, 0.002, 0.001, 0)
CAMERAS = [
    (CameraModel(60, 44, 50.0, 48.0, 28.0, 14.0), (0.3, 0.1, 0.8, 0.05, 0.2, 0.3)),
    (CameraModel(60, 44, 45.0, 45.0, 30.0, 20.0, 'plumb_bob', BARREL), (0, 0, 1.2, -0.2, 0.35)),
    (
        CameraModel(60, 44, 20.0, 20.0, 29.5, 21.5, 'equidistant', (0.02, 0, 0, 0)),
        (0.5, 0.0, 0.6, 0.0, 0.5, -2.0),
    ),
]


@settings(deadline=None, max_examples=30)
@given(st.sampled_from(CAMERAS), st.integers(0, 2**32 - 1), st.integers(0, 12), st.booleans())
def test_free_is_what_was_seen_free(place, seed, things, masked):
    camera, mount = place[0], Mount.from_angles(*place[1])
    rng = np.random.default_rng(seed)
    labels, mask = road(camera), np.zeros((camera.height, camera.width), np.uint8)
    for _ in range(things):
        row, column = rng.integers((0, 0), labels.shape)
        high, wide = rng.integers(1, (20, 12))
        labels[row : row + high, column : column + wide] = rng.choice([CAR, SKY, 255])
    if masked:
        row, column = rng.integers((0, 0), labels.shape)
        mask[row : row + 6, column : column + 9] = 255
    area = GridArea(6.0, 4.0, 5.0, 0.15)
    rays, contacts, cells = project(labels, area, camera, mount, 8.0, mask)
    rows, columns = np.nonzero(cells == FREE_CELL)
    corner_x, corner_y = area.corner
    for share_x, share_y in ((0.02, 0.02), (0.98, 0.02), (0.02, 0.98), (0.98, 0.98), (0.5, 0.5)):
        x = corner_x + area.resolution * (columns + share_x)
        y = corner_y + area.resolution * (rows + share_y)
        points = np.stack([x, y, np.zeros(len(x))], 1) - mount.position
        exact = camera.project(points @ mount.matrix)
        # Every part of a free cell is in a drivable pixel, and not behind the vehicle's own; rays
        # run through the middles of pixels, so half a pixel is what they can tell.
        good = np.zeros(len(x), bool)
        for shift in np.array([(0, 0), (1, 1), (1, -1), (-1, 1), (-1, -1)]) / 2:
            pixels = np.round(exact + shift).astype(int)
            inside = ((pixels >= 0) & (pixels < (camera.width, camera.height))).all(1)
            column, row = np.where(inside[:, None], pixels, 0).T
            good |= inside & (labels[row, column] == ROAD) & (mask[row, column] == 0)
        assert good.all()
        # And no ray around it ends before it.
        azimuth, away = rays.polar(x, y)
        ray = np.searchsorted(rays.azimuth, azimuth)
        assert (away <= contacts.limit[ray]).all()
        assert (away <= contacts.limit[ray - 1]).all()
    # Every contact inside the area is in an occupied cell.
    hit = contacts.kind == CONTACT
    points = contacts.limit[hit, None] * rays.directions()[hit] * (1 + 1e-6) + rays.foot
    column, row = np.floor((points - area.corner) / area.resolution).astype(int).T
    inside = (column >= 0) & (column < area.columns) & (row >= 0) & (row < area.rows)
    around = np.pad(cells, 1, constant_values=UNKNOWN_CELL)
    for i, j in zip(row[inside], column[inside], strict=True):
        # Rounding decides on a line between two cells.
        assert (around[i : i + 3, j : j + 3] == OCCUPIED_CELL).any()
    assert not (cells[row[inside], column[inside]] == FREE_CELL).any()


def test_centres_are_the_middles_of_the_cells():
    area = GridArea(forward=1.0, backward=0.5, sideways=0.5, resolution=0.5)
    x, y = area.centres()
    np.testing.assert_allclose(x, [[-0.25, 0.25, 0.75]] * 2)
    np.testing.assert_allclose(y, [[-0.25] * 3, [0.25] * 3])
