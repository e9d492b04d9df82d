"""The ground projection of one camera: sizes, masks and points."""

import cv2
import numpy as np
import pytest

from linknet_ros.errors import FrameError, SourceError
from linknet_ros.ground.camera import CameraModel
from linknet_ros.ground.contacts import CONTACT, kind_table
from linknet_ros.ground.grid import FREE_CELL, GridArea
from linknet_ros.ground.mount import Mount
from linknet_ros.ground.projection import GroundOptions, GroundProjection, load_ego_mask

LEVEL = CameraModel(81, 61, 60.0, 60.0, 40.0, 20.0)
OPTIONS = GroundOptions(10.0, 0.0, GridArea(8.0, 0.0, 4.0, 0.2))
ROAD, CAR = 0, 1
TABLE = kind_table(2, [ROAD])


def projection(mount=None, options=OPTIONS, ego_mask=None):
    return GroundProjection(LEVEL, mount or Mount.from_angles(z=1.0), options, ego_mask)


def wall():
    labels = np.full((61, 81), ROAD, np.uint8)
    labels[:41] = CAR
    return labels


def test_points_are_on_the_ground_in_the_base_frame():
    mount = Mount.from_angles(2.0, 0.5, 0.9)
    ground = projection(mount, GroundOptions(10.0, -0.1, OPTIONS.area))
    contacts = ground.contacts(wall(), TABLE)
    points = ground.points(contacts)
    assert points.dtype == np.float32
    assert points.shape == (int((contacts.kind == CONTACT).sum()), 3)
    # The wall stands 60 / 20.5 m ahead of the camera, which is 1 m above the ground.
    np.testing.assert_allclose(points[:, 0], 2 + 60 / 20.5, rtol=0.01)
    np.testing.assert_allclose(points[:, 2], -0.1, rtol=1e-6)
    assert points[:, 1].min() == pytest.approx(0.5 - 60 / 20.5 * 2 / 3, abs=0.1)
    assert points[:, 1].max() == pytest.approx(0.5 + 60 / 20.5 * 2 / 3, abs=0.1)


def test_grid_and_scan_follow_the_options():
    ground = projection()
    contacts = ground.contacts(wall(), TABLE)
    cells = ground.grid.fill(contacts)
    assert cells.shape == (40, 40)
    assert (cells[:, 15:] != FREE_CELL).all()
    assert (cells == FREE_CELL).sum() > 60
    assert ground.scan.range_max == 10
    assert np.nanmin(ground.scan.fill(contacts)) == pytest.approx(60 / 20.5, rel=0.01)
    assert ground.grid is ground.grid


def test_confidence_clearance_and_filter_have_effect():
    ground = projection()
    middle = int(np.abs(ground.rays.azimuth).argmin())
    table = kind_table(2, [ROAD], overhanging=[CAR])
    plain = float(ground.contacts(wall(), table).limit[middle])
    confidence = np.full((61, 81), 9, np.uint8)
    assert ground.contacts(wall(), table, confidence, 10).limit[middle] < plain
    assert ground.contacts(wall(), table, clearance=0.5).limit[middle] == plain / 2
    road = np.full((61, 81), ROAD, np.uint8)
    ground.contacts(road, table, filtered_at=1.0)
    ground.contacts(road, table, filtered_at=1.1)
    assert ground.contacts(wall(), table, filtered_at=1.2).limit[middle] > 9
    assert ground.contacts(wall(), table, filtered_at=1.3).limit[middle] == plain


def test_labels_of_another_size():
    with pytest.raises(FrameError, match='labels of 80x60 do not match the camera_info of 81x'):
        projection().contacts(np.zeros((60, 80), np.uint8), TABLE)


def test_ego_mask_of_another_size_is_scaled():
    mask = np.zeros((122, 162), np.uint8)
    mask[100:] = 255
    rays = projection(ego_mask=mask).rays
    rows = {index // 81 for index in rays.pixels.ravel().tolist()} - {61}
    assert max(rows) == 49
    full = projection(ego_mask=np.full((61, 81), 255, np.uint8))
    contacts = full.contacts(wall(), TABLE)
    assert (full.grid.fill(contacts) == -1).all()
    assert np.isnan(full.scan.fill(contacts)).all()
    assert len(full.points(contacts)) == 0


def test_load_ego_mask(tmp_path):
    path = str(tmp_path / 'mask.png')
    cv2.imwrite(path, np.array([[0, 127], [128, 255]], np.uint8))
    assert load_ego_mask(path).tolist() == [[0, 0], [255, 255]]
    with pytest.raises(SourceError, match=r'cannot read the ego mask /nowhere\.png'):
        load_ego_mask('/nowhere.png')


# Large images are reduced by blocks.


def test_a_large_image_gives_the_same_ground():
    # 18 times LEVEL is 1458 x 1098: blocks of 3.
    large = CameraModel(1458, 1098, 1080.0, 1080.0, 728.5, 368.5)
    ground = GroundProjection(large, Mount.from_angles(z=1.0), OPTIONS)
    labels = np.full((1098, 1458), ROAD, np.uint8)
    labels[:738] = CAR
    contacts = ground.contacts(labels, TABLE)
    assert ground.rays.pixels.max() == 486 * 366
    points = ground.points(contacts)
    # The wall's lower edge is at row 737.5, 369 below the horizon.
    np.testing.assert_allclose(points[:, 0], 1080 / 369, rtol=0.005)
    assert len(points) > 450


@pytest.mark.parametrize('size', [(1298, 706), (1300, 707)])
def test_no_obstacle_pixel_of_a_large_image_is_missed(size):
    width, height = size
    camera = CameraModel(width, height, 900.0, 900.0, width / 2, 100.0)
    ground = GroundProjection(camera, Mount.from_angles(z=1.0), OPTIONS)
    labels = np.full((height, width), ROAD, np.uint8)
    rng = np.random.default_rng(0)
    spots = [(height - 1, 0), (height - 1, width - 1), (300, width - 1)]
    spots += [(int(r), int(c)) for r, c in rng.integers((250, 0), (height, width), (40, 2))]
    for row, column in spots:
        labels[row, column] = CAR
        points = ground.points(ground.contacts(labels, TABLE))
        assert len(points), (row, column)
        ahead, aside = 900 / (row - 100), (width / 2 - column) / 900
        assert points[:, 0] == pytest.approx(ahead, rel=0.02)
        assert points[:, 1] / points[:, 0] == pytest.approx(aside, abs=0.004)
        labels[row, column] = ROAD
    confidence = np.full((height, width), 200, np.uint8)
    confidence[650, :] = 3
    found = ground.contacts(labels, TABLE, confidence, 4)
    ahead = found.limit * np.cos(ground.rays.azimuth)
    # The row of blocks that row 650 is in.
    assert 900 / (652 - 100) < ahead.max() < 900 / (647 - 100)


def test_ego_mask_of_a_large_image():
    camera = CameraModel(1298, 706, 900.0, 900.0, 649.0, 100.0)
    mask = np.zeros((706, 1298), np.uint8)
    mask[640:] = 255
    rays = GroundProjection(camera, Mount.from_angles(z=1.0), OPTIONS, mask).rays
    # Blocks of 3: 433 in a row; the row of blocks from 639 on is hidden, though only in part.
    assert {int(i) // 433 for i in np.unique(rays.pixels)[:-1]} == set(range(64, 213))


@pytest.mark.parametrize(('rotate', 'roll'), [(90, 90), (180, 180), (270, -90)])
def test_a_camera_that_is_mounted_turned_sees_the_same_ground(rotate, roll):
    """What `rotate` turns clockwise to be upright leans to the right by as much."""
    labels = np.full((61, 81), ROAD, np.uint8)
    labels[:32] = labels[:45, 50:60] = CAR
    upright = projection(Mount.from_angles(z=1.0, pitch=0.1))
    expected = upright.grid.fill(upright.contacts(labels, TABLE))
    lying = np.ascontiguousarray(np.rot90(labels, rotate // 90))
    cx, cy = {90: (20.0, 40.0), 180: (40.0, 40.0), 270: (40.0, 40.0)}[rotate]
    height, width = lying.shape
    camera = CameraModel(width, height, 60.0, 60.0, cx, cy)
    mount = Mount.from_angles(z=1.0, pitch=0.1, roll=np.radians(roll))
    turned = GroundProjection(camera, mount, OPTIONS)
    cells = turned.grid.fill(turned.contacts(lying, TABLE))
    assert (expected == FREE_CELL).sum() > 100
    np.testing.assert_array_equal(cells, expected)
