"""Specks: what is too small to be an obstacle is none, and nothing else is taken out."""

import numpy as np
import pytest

from linknet_ros.classes import CAMVID
from linknet_ros.ground.camera import CameraModel
from linknet_ros.ground.contacts import CONTACT, OPEN, UNKNOWN, ContactFinder, kind_table
from linknet_ros.ground.mount import Mount
from linknet_ros.ground.rays import ground_rays
from linknet_ros.simulation.ground_accuracy import camera_model, camera_mount
from linknet_ros.simulation.street import StreetDrive

#: A level camera 1 m above the ground: row v sees 240 / (v - 80) m ahead; a pixel in the middle
#: is 1/240 of its distance from the camera wide.
CAMERA = CameraModel(321, 241, 240.0, 240.0, 160.0, 80.0)
RAYS = ground_rays(CAMERA, Mount.from_angles(z=1.0), max_range=10.0)
FINDER = ContactFinder(RAYS, (321, 241))
ROAD, CAR, SKY = 0, 1, 2
TABLE = kind_table(3, [ROAD], [SKY])
#: Of the ray in the middle.
MIDDLE = np.abs(RAYS.azimuth).argmin()


def road():
    return np.full((241, 321), ROAD, np.uint8)


def find(labels, smallest=0.05, finder=FINDER, **more):
    return finder.find(labels, TABLE, smallest=smallest, **more)


def patch(width, height, bottom=180, label=CAR):
    """Road with a patch in the middle; row 180 is 2.4 m ahead, where 4.6 pixels are 5 cm wide."""
    labels, left = road(), 160 - width // 2
    labels[bottom - height + 1 : bottom + 1, left : left + width] = label
    return labels


@pytest.mark.parametrize(
    ('width', 'height', 'bottom', 'smallest', 'kind'),
    [
        # 2.4 m ahead, 2.6 m from the camera: 4.6 pixels wide and 5 high are 5 cm.
        (1, 1, 180, 0.05, OPEN),
        (4, 4, 180, 0.05, OPEN),
        (5, 4, 180, 0.05, CONTACT),
        (4, 6, 180, 0.05, CONTACT),
        # A thin pole, and a flat bar.
        (1, 60, 180, 0.05, CONTACT),
        (60, 1, 180, 0.05, CONTACT),
        # The same pixels are larger further away: 7.7 m ahead.
        (1, 1, 111, 0.05, OPEN),
        (2, 2, 111, 0.05, CONTACT),
        # Another size, and none.
        (5, 4, 180, 0.1, OPEN),
        (1, 1, 180, 0.0, CONTACT),
    ],
)
def test_size_where_it_stands(width, height, bottom, smallest, kind):
    assert find(patch(width, height, bottom), smallest).kind[MIDDLE] == kind


def test_every_patch_of_a_frame_by_itself():
    labels = patch(2, 2)
    labels[150:190, 100:110] = CAR
    labels[:60] = SKY
    found, alone = find(labels), find(np.where(labels == CAR, labels, ROAD))
    assert found.kind[MIDDLE] == OPEN
    contacts = found.kind == CONTACT
    assert contacts.sum() >= 10
    np.testing.assert_array_equal(contacts, alone.kind == CONTACT)
    bearings = np.arctan2(160 - np.array([99.0, 110]), 240)
    assert (RAYS.azimuth[contacts] > bearings[1]).all()
    assert (RAYS.azimuth[contacts] < bearings[0]).all()


@pytest.mark.parametrize('away', [2, 5, 8])
def test_beside_something_larger_it_stays(away):
    labels = patch(2, 2)
    labels[140:200, 161 + away - 1 : 200] = CAR
    assert find(labels).kind[MIDDLE] == CONTACT
    labels[140:200, 161 + away - 1 : 161 + 8] = ROAD
    assert find(labels).kind[MIDDLE] == OPEN


def test_at_the_border_of_the_image_it_may_be_a_part_of_more():
    assert find(patch(2, 2, bottom=240)).kind[MIDDLE] == CONTACT
    assert find(patch(2, 2, bottom=238)).kind[MIDDLE] == OPEN


def test_several_together_are_not_known():
    labels = patch(2, 2)
    labels[185:187, 163:165] = CAR
    assert find(labels).kind[MIDDLE] == UNKNOWN
    labels[185:187, 163:165] = ROAD
    labels[185:187, 190:192] = CAR
    assert find(labels).kind[MIDDLE] == OPEN


def test_what_is_not_sure_stays_unsure():
    """255, or too low a confidence, never becomes free, alone or around a speck."""
    assert find(patch(2, 2, label=255)).kind[MIDDLE] == UNKNOWN
    labels = patch(4, 4, label=255)
    labels[178:180, 160:162] = CAR
    assert find(labels).kind[MIDDLE] == UNKNOWN
    confidence = np.full_like(labels, 200)
    confidence[179:181, 159:162] = 10
    found = find(patch(2, 2), confidence=confidence, min_confidence=100)
    assert found.kind[MIDDLE] == UNKNOWN


def test_in_blocks_of_pixels_too():
    finder = ContactFinder(RAYS, (321, 241), 2)
    labels = patch(2, 2).repeat(2, 0).repeat(2, 1)
    assert finder.find(labels, TABLE, smallest=0.05).kind[MIDDLE] == OPEN
    assert finder.find(labels, TABLE).kind[MIDDLE] == CONTACT


@pytest.mark.parametrize('seed', [0, 4])
def test_nothing_of_a_street_vanishes(seed):
    """With its own labels, nothing on the street is a speck, near or far."""
    drive = StreetDrive(seed)
    camera = camera_model(drive.camera)
    rays = ground_rays(camera, camera_mount(drive.camera), max_range=20.0)
    finder = ContactFinder(rays, (camera.width, camera.height))
    table = kind_table(len(CAMVID), CAMVID.ids(['road']), CAMVID.ids(['sky']))
    for moment in (0.0, 7.0):
        labels = drive.frame(moment).labels
        found, all_of_it = (finder.find(labels, table, smallest=size) for size in (0.05, 0.0))
        np.testing.assert_array_equal(found.kind, all_of_it.kind)
        np.testing.assert_array_equal(found.limit, all_of_it.limit)
