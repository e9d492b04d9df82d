"""The true free ground of the street, against the street's own geometry."""

import numpy as np
import pytest

from linknet_ros.classes import CAMVID
from linknet_ros.ground.grid import GridArea
from linknet_ros.simulation.street import StreetDrive
from linknet_ros.simulation.truth import CAR, KERB, NOTHING, OTHER, StreetTruth, open_finer


@pytest.fixture(scope='module')
def street():
    """Street 0, a finer camera in it, and its truth."""
    drive = StreetDrive(0)
    finer = open_finer(drive, 0)
    return drive, finer, StreetTruth(drive, finer.camera)


@pytest.fixture(scope='module')
def truth(street):
    """At 4 s."""
    drive, finer, truth = street
    return drive, truth.at(4.0, finer.frame(4.0).labels)


def test_finer_drive_sees_the_same():
    drive = StreetDrive(5, 64, 48)
    finer = open_finer(drive, 5)
    points = np.array([[5.0, 1, 0], [12, -3, 1]])
    large, small = finer.camera.project(points), drive.camera.project(points)
    # Pixel centres are integers in both.
    np.testing.assert_allclose((large[:, :2] + 0.5) / 4 - 0.5, small[:, :2], atol=1e-6)


def test_truth_ends_where_the_ground_does(truth):
    drive, street = truth
    kerbs = np.flatnonzero(street.reason == KERB)
    cars = np.flatnonzero(street.reason == CAR)
    assert len(kerbs) > 50
    assert len(cars) > 50
    assert set(street.reason.tolist()) <= {NOTHING, KERB, CAR, OTHER}
    road = CAMVID.names.index('road')
    ways = np.stack([np.cos(street.azimuth[kerbs]), np.sin(street.azimuth[kerbs])])
    before, there = (street.limit[kerbs] + offset for offset in (-0.1, 0.01))
    assert (drive.ground_label(*(before * ways), 4.0) == road).all()
    assert (drive.ground_label(*(there * ways), 4.0) != road).all()
    inside = street.azimuth[street.reason == NOTHING]
    assert np.isinf(street.limit[street.reason == NOTHING]).all()
    assert len(inside)


def test_free_is_before_the_limit(truth):
    _, street = truth
    index = int(np.flatnonzero((street.reason == KERB) & (street.limit > 6))[0])
    azimuth, limit = street.azimuth[index], street.limit[index]
    away = np.array([0.5, limit - 0.05, limit + 0.05, limit + 3])
    # The first is nearer than the image begins.
    free = street.free(away * np.cos(azimuth), away * np.sin(azimuth))
    assert free.tolist() == [False, True, False, False]


def test_person_in_the_way_ends_what_is_free():
    """A class drawn into the labels."""
    drive = StreetDrive(0)
    street = StreetTruth(drive, drive.camera)
    labels = drive.frame(4.0).labels.copy()
    before = street.at(4.0, labels)
    col, row, _ = drive.camera.project(np.array([[7.0, 0.0, 0.0]]))[0].round().astype(int)
    assert before.free(np.array([7.0, 6.0]), np.zeros(2)).all()
    labels[row - 40 : row + 1, col - 2 : col + 3] = CAMVID.names.index('pedestrian')
    after = street.at(4.0, labels)
    assert after.free(np.array([6.5, 7.5, 12.0]), np.zeros(3)).tolist() == [True, False, False]
    index = after.nearest(np.zeros(1))[0]
    assert after.limit[index] == pytest.approx(7.0, abs=0.2)
    assert after.reason[index] == OTHER
    # And nothing next to it.
    assert (after.free(np.full(2, 7.0), np.array([0.5, -0.5]))).all()


def test_the_frames_own_labels_are_nearly_as_good_as_finer_ones(street):
    drive, finer, truth = street
    x, y = GridArea().centres()
    coarse = StreetTruth(drive, drive.camera, step=0.05).at(8.0, drive.frame(8.0).labels)
    exact = truth.at(8.0, finer.frame(8.0).labels)
    one, other = coarse.free(x, y), exact.free(x, y)
    assert (one & other).sum() / (one | other).sum() > 0.98
