"""The grid of costs: the worst class of every cell, obstacles, and what is not known."""

import numpy as np
import pytest

from linknet_ros.classes import CAMVID
from linknet_ros.errors import ClassNameError, ParameterError
from linknet_ros.ground.camera import CameraModel
from linknet_ros.ground.costs import NO_GROUND, cost_table
from linknet_ros.ground.grid import GridArea
from linknet_ros.ground.mount import Mount
from linknet_ros.ground.projection import GroundProjection
from linknet_ros.ground.projector import GroundProjector
from linknet_ros.ground.settings import GroundSettings, GroundState
from linknet_ros.simulation.ground_accuracy import camera_model, camera_mount
from linknet_ros.simulation.street import StreetDrive

ROAD, PAVEMENT, TREE, CAR, SKY = CAMVID.ids(['road', 'pavement', 'tree', 'car', 'sky'])
#: A level camera 1 m above the ground: row v sees 60 / (v - 20) m ahead.
LEVEL = CameraModel(81, 61, 60.0, 60.0, 40.0, 20.0)
MOUNT = Mount.from_angles(z=1.0)
AREA = {'forward': 8.0, 'backward': 1.0, 'sideways': 4.0, 'resolution': 0.2, 'max_range': 10.0}
COSTS = ('road: 0', 'pavement: 30', 'tree: 60')


def project(*frames, camera=LEVEL, mount=MOUNT, **settings):
    """Cells of costs, and of the drivable grid, of the last of some frames of labels."""
    settings = GroundSettings(height=1.0, **(AREA | {'class_costs': COSTS} | settings))
    state = GroundState.prepare(CAMVID, settings)
    projector = GroundProjector()
    for i, labels in enumerate(frames):
        sure = np.full_like(labels, 200)
        ground = projector.project(state, camera, mount, labels, sure, 1.0 + 0.1 * i)
        costs, cells = ground.cost_cells().copy(), ground.cells()
    return costs, cells


def road():
    return np.full((61, 81), ROAD, np.uint8)


def test_costs_of_classes():
    table = cost_table(CAMVID, COSTS, [ROAD])
    assert table[[ROAD, PAVEMENT, TREE]].tolist() == [0, 30, 60]
    assert (np.delete(table, [ROAD, PAVEMENT, TREE]) == NO_GROUND).all()
    # Whoever drives on the pavement and forgets the road must not end up on the road.
    assert cost_table(CAMVID, ['pavement: 0', 'car: 100'], [ROAD])[
        [PAVEMENT, ROAD, CAR]
    ].tolist() == [*(0, NO_GROUND, NO_GROUND)]
    assert np.flatnonzero(cost_table(CAMVID, [], [ROAD]) == 0).tolist() == [ROAD]


@pytest.mark.parametrize('text', ['road', 'road: 99', 'road: -1', 'road: 3.5', 'road: ', ': 5x'])
def test_impossible_costs(text):
    with pytest.raises(ParameterError, match=f"invalid cost '{text}' in ground.class_costs"):
        cost_table(CAMVID, [text], [ROAD])


def test_unknown_classes_are_named():
    with pytest.raises(ClassNameError, match=r'gras.*snow.*pavement'):
        cost_table(CAMVID, ['gras: 1', 'road: 0', 'snow: 2'], [ROAD])


def test_the_worst_pixel_of_a_cell_counts():
    labels = road()
    # Strips of one pixel, at 60 / 20 = 3 m and 60 / 13 = 4.6 m ahead.
    labels[40], labels[33] = PAVEMENT, TREE
    costs, drivable = project(labels)
    ahead = costs[20]
    x = -1 + 0.2 * np.arange(45)
    assert x[ahead == 30].min() < 60 / 20.5 < x[ahead == 30].max() + 0.2
    assert x[ahead == 60].min() < 60 / 13.5 < 60 / 12.5 < x[ahead == 60].max() + 0.2
    # A row is less than 0.15 m deep there, and touches two cells at most; none is lost.
    assert 1 <= (ahead == 30).sum() <= 2
    # Ground that costs something is no obstacle, and what is behind it is seen.
    assert (ahead[x > 1.6] >= 0).all()
    assert not (costs == 100).any()
    assert set(np.unique(costs)) == {-1, 0, 30, 60}
    assert (drivable[20][x > 60 / 20] == -1).all()


def test_obstacles_are_lethal_and_hide_what_is_behind():
    labels = road()
    labels[:41, 30:50] = CAR
    labels[:20] = SKY
    costs, drivable = project(labels)
    assert (costs == 100).sum() > 3
    # All classes that are ground cost nothing here: the same as the drivable grid.
    np.testing.assert_array_equal(costs, drivable)


def test_a_filter_leaves_no_cheap_cell_where_one_frame_sees_an_obstacle():
    labels = road()
    labels[38:43, 38:43] = CAR
    costs, drivable = project(road(), road(), labels, filter=True)
    speck = (costs == -1) & (drivable == 0)
    assert speck.sum() >= 1
    assert not (costs == 100).any()
    assert (costs[drivable == 0][costs[drivable == 0] != -1] == 0).all()


@pytest.mark.parametrize('size', [(480, 360), (800, 600)])
def test_on_the_street(size):
    """Road and pavement where they are, in blocks of pixels too."""
    drive = StreetDrive(3, *size)
    labels = drive.frame(2.0).labels
    costs, drivable = project(
        labels,
        camera=camera_model(drive.camera),
        mount=camera_mount(drive.camera),
        **(AREA | {'forward': 20.0, 'sideways': 10.0, 'resolution': 0.1, 'max_range': 20.0}),
    )
    # What is free in the drivable grid is road, and costs nothing: all of it, and nothing else.
    np.testing.assert_array_equal(costs == 0, drivable == 0)
    area = GridArea(20.0, 1.0, 10.0, 0.1)
    x, y = area.centres()
    true = drive.ground_label(x, y, 2.0)
    pavement = costs == 30
    assert pavement.sum() > 1000
    # Half a cell beside the kerb counts as pavement, which is the worse.
    assert (true[pavement] == PAVEMENT).mean() > 0.9
    assert (true[costs == 0] == ROAD).mean() > 0.99


def test_costs_alone_need_no_other_contacts(monkeypatch):
    asked = []
    contacts = GroundProjection.contacts

    def spy(self, *arguments, **named):
        asked.append(named.get('filtered_as', 'drivable'))
        return contacts(self, *arguments, **named)

    monkeypatch.setattr(GroundProjection, 'contacts', spy)
    state = GroundState.prepare(CAMVID, GroundSettings(height=1.0, class_costs=COSTS, **AREA))
    sure = np.full_like(road(), 200)
    ground = GroundProjector().project(state, LEVEL, MOUNT, road(), sure, 1.0)
    ground.cost_cells()
    assert asked == ['costs']
    # One search serves grid and scan.
    ground.cells()
    ground.ranges()
    assert asked == ['costs', 'drivable']
