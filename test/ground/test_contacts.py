"""What rays meet first, in labels made by hand."""

import numpy as np
import pytest

from linknet_ros.ground.camera import CameraModel
from linknet_ros.ground.contacts import (
    CONTACT,
    OPEN,
    UNKNOWN,
    ContactFilter,
    ContactFinder,
    Contacts,
    kind_table,
    outline,
)
from linknet_ros.ground.mount import Mount
from linknet_ros.ground.rays import ground_rays

#: A level camera 1 m above the ground: row v sees 60 / (v - 20) m ahead.
LEVEL = CameraModel(81, 61, 60.0, 60.0, 40.0, 20.0)
RAYS = ground_rays(LEVEL, Mount.from_angles(z=1.0), max_range=10.0)
MIDDLE = int(np.abs(RAYS.azimuth).argmin())
ROAD, CAR, PERSON, SKY, VOID = 0, 1, 2, 3, 255
TABLE = kind_table(4, drivable=[ROAD], unsure=[SKY])


def road():
    labels = np.full((61, 81), ROAD, np.uint8)
    labels[:20] = SKY
    return labels


def find(labels, table=TABLE, **options):
    return ContactFinder(RAYS, (81, 61)).find(labels, table, **options)


def enters(row):
    """Distance at which the ray straight ahead enters a row."""
    return pytest.approx(60 / (row + 0.5 - 20), rel=0.01)


def test_kind_table():
    table = kind_table(4, drivable=[0, 3], unsure=[1, 3], overhanging=[2])
    # Drivable is stronger; what is no class is unsure.
    assert table[:5].tolist() == [0, 1, 4, 0, 1]
    assert set(table[4:].tolist()) == {1}
    assert kind_table(4, [0], raised=[2])[:5].tolist() == [0, 3, 2, 3, 1]


def test_empty_road_is_open():
    found = find(road())
    inner = np.abs(RAYS.azimuth) < 0.3
    assert (found.kind[inner] == OPEN).all()
    assert (found.limit[inner] >= 9).all()
    assert not (found.kind == CONTACT).any()


def test_unknown_beyond_the_border_of_the_image():
    # With this roll the left bearings leave the image at its upper corner.
    rays = ground_rays(LEVEL, Mount.from_angles(z=1.0, roll=0.9), max_range=10.0)
    found = ContactFinder(rays, (81, 61)).find(np.full((61, 81), ROAD, np.uint8), TABLE)
    assert set(found.kind.tolist()) == {UNKNOWN, OPEN}
    np.testing.assert_array_equal(found.limit, rays.near.max(1))
    assert found.limit[found.kind == OPEN].min() > 8
    ends = found.limit[found.kind == UNKNOWN]
    assert 3 < ends[ends > 0].min() < 5


def test_obstacle_across_the_road():
    labels = road()
    labels[10:36] = CAR
    found = find(labels)
    assert found.kind[MIDDLE] == CONTACT
    assert found.limit[MIDDLE] == enters(35)
    seen = RAYS.near[:, 1] > 0
    assert (found.kind[seen] == CONTACT).all()
    # Straight across, in a line 60 / 15.5 m ahead.
    ahead = found.limit[seen] * np.cos(RAYS.azimuth[seen])
    np.testing.assert_allclose(ahead, 60 / 15.5, rtol=0.02)


def test_only_the_foot_of_an_obstacle_counts():
    labels = road()
    labels[5:41, 38:43] = PERSON
    found = find(labels)
    assert found.limit[MIDDLE] == enters(40)
    hit = found.kind == CONTACT
    # 5 columns of 1 / 60 at the feet; nothing beside.
    assert np.abs(np.tan(RAYS.azimuth[hit])).max() <= 2.6 / 60
    # The head is above the horizon, and the road goes on beside the person.
    assert found.kind[np.abs(RAYS.azimuth) > 0.06].max() != CONTACT


def test_obstacle_at_the_lower_border_is_as_near_as_possible():
    labels = road()
    labels[30:, 35:46] = CAR
    found = find(labels)
    assert found.kind[MIDDLE] == CONTACT
    assert found.limit[MIDDLE] == enters(60)


def test_no_obstacle_pixel_is_missed():
    finder = ContactFinder(RAYS, (81, 61))
    seen = set(RAYS.pixels.ravel().tolist()) - {81 * 61}
    # 35 rows of 81 pixels, but for the corners beyond 10 m.
    assert len(seen) > 2700
    for index in seen:
        labels = road()
        labels.flat[index] = PERSON
        found = finder.find(labels, TABLE)
        hit = np.flatnonzero(found.kind == CONTACT)
        assert len(hit), divmod(index, 81)
        # It is where the pixel is: half a pixel around 60 / (v - 20) ahead, (40 - u) / 60 aside.
        row, column = divmod(index, 81)
        ahead = found.limit[hit] * np.cos(RAYS.azimuth[hit])
        aside = np.tan(RAYS.azimuth[hit])
        assert (ahead >= 60 / (row + 0.51 - 20) * 0.99).all()
        assert (ahead <= 60 / (row - 0.51 - 20)).all()
        assert (np.abs(aside - (40 - column) / 60) < 0.52 / 60).all()


@pytest.mark.parametrize('label', [SKY, VOID, 200])
def test_unsure_ends_the_road_without_a_contact(label):
    labels = road()
    labels[20:41] = label
    found = find(labels)
    assert found.kind[MIDDLE] == UNKNOWN
    assert found.limit[MIDDLE] == enters(40)


@pytest.mark.parametrize(
    ('fringe', 'then', 'kind'),
    [(3, CAR, CONTACT), (8, CAR, CONTACT), (9, CAR, UNKNOWN), (3, ROAD, UNKNOWN)],
)
def test_unsure_fringe_belongs_to_the_obstacle(fringe, then, kind):
    labels = road()
    labels[20:41] = then
    labels[41 - fringe : 41] = VOID
    # An obstacle beyond a free stretch does not reach back over it.
    labels[20:30] = CAR
    found = find(labels)
    assert found.kind[MIDDLE] == kind
    assert found.limit[MIDDLE] == enters(40)


@pytest.mark.parametrize(
    ('road_ahead', 'car', 'near', 'minimum', 'kind', 'row'),
    [
        # Unsure road from row 40 on; the car behind it is ten pixels away.
        (99, 99, 200, 100, UNKNOWN, 40),
        (99, 99, 200, 99, CONTACT, 30),
        (99, 99, 200, 0, CONTACT, 30),
        # An unsure obstacle stays one.
        (255, 0, 255, 255, CONTACT, 30),
        (200, 0, 200, 255, UNKNOWN, 60),
    ],
)
def test_confidence(road_ahead, car, near, minimum, kind, row):
    labels = road()
    labels[10:31] = CAR
    confidence = np.full((61, 81), near, np.uint8)
    confidence[31:41], confidence[10:31] = road_ahead, car
    found = find(labels, confidence=confidence, min_confidence=minimum)
    assert (found.kind[MIDDLE], found.limit[MIDDLE]) == (kind, enters(row))


def test_overhanging_obstacles_are_moved_back():
    table = kind_table(4, [ROAD], [SKY], overhanging=[CAR])
    labels = road()
    labels[10:31, :60] = CAR
    labels[10:31, 60:] = PERSON
    plain, moved = find(labels, table), find(labels, table, clearance=0.25)
    left = RAYS.azimuth > -0.25
    np.testing.assert_allclose(moved.limit[left], plain.limit[left] * 0.75)
    right = RAYS.azimuth < -0.4
    np.testing.assert_array_equal(moved.limit[right], plain.limit[right])
    np.testing.assert_array_equal(moved.kind, plain.kind)
    # An obstacle that hangs higher than the camera leaves nothing free.
    assert find(labels, table, clearance=2.0).limit[MIDDLE] == 0


@pytest.mark.parametrize(
    ('first', 'last', 'behind', 'kind'),
    [
        # Rows 40 to 41 are seen 60 / 21.5 to 60 / 19.5 m ahead: 1 - 19.5 / 21.5, 0.09 m high.
        (40, 41, ROAD, UNKNOWN),
        # 1 - 17.5 / 21.5, 0.19 m, is too high for a marking on the road.
        (38, 41, ROAD, CONTACT),
        # A sign on its post, and one that hides what is behind it.
        (0, 41, SKY, CONTACT),
        (40, 41, PERSON, CONTACT),
    ],
)
def test_raised_class_that_lies_flat_is_a_marking_on_the_road(first, last, behind, kind):
    table = kind_table(5, [ROAD], [SKY], raised=[4])
    labels = road()
    labels[20:first] = behind
    labels[first : last + 1] = 4
    found = find(labels, table)
    assert (found.kind[MIDDLE], found.limit[MIDDLE]) == (kind, enters(last))
    # Of another class, it is an obstacle of any height.
    labels[first : last + 1] = PERSON
    assert find(labels, table).kind[MIDDLE] == CONTACT


@pytest.mark.parametrize('rows', [(58,), (56, 58)])
@pytest.mark.parametrize(('kerb', 'kind'), [(54, CONTACT), (51, UNKNOWN)])
def test_a_marking_just_before_an_obstacle_is_a_part_of_it(rows, kerb, kind):
    table = kind_table(5, [ROAD], [SKY], raised=[4])
    labels = road()
    labels[20 : kerb + 1] = PERSON
    labels[list(rows)] = 4
    # Rows 58, 54 and 51 begin 1.56, 1.74 and 1.90 m ahead.
    found = find(labels, table)
    assert (found.kind[MIDDLE], found.limit[MIDDLE]) == (kind, enters(rows[-1]))


def test_behind_the_ego_mask_goes_on():
    mask = np.zeros((61, 81), np.uint8)
    mask[50:] = 255
    rays = ground_rays(LEVEL, Mount.from_angles(z=1.0), max_range=10.0, ego_mask=mask)
    labels = road()
    labels[50:] = CAR
    found = ContactFinder(rays, (81, 61)).find(labels, TABLE)
    assert not (found.kind == CONTACT).any()
    assert (found.kind[np.abs(rays.azimuth) < 0.3] == OPEN).all()


# Over time.


def frames(*values):
    """Limits of one ray, frame by frame; a None is 20 m of free road."""
    return [
        Contacts(
            np.array([20.0 if value is None else value], np.float32),
            np.array([OPEN if value is None else CONTACT], np.uint8),
            *np.zeros((2, 1), np.uint8),
        )
        for value in values
    ]


def filtered(contacts, times=None):
    kept = ContactFilter()
    times = times or [10 + 0.1 * i for i in range(len(contacts))]
    out = [kept.filter(frame, stamp) for frame, stamp in zip(contacts, times, strict=True)]
    return [None if frame.kind[0] == OPEN else round(float(frame.limit[0]), 3) for frame in out]


@pytest.mark.parametrize(
    ('seen', 'shown'),
    [
        # What only one frame shows is removed.
        ((None, None, 5, None, None), (None, None, None, None, None)),
        # A new obstacle is hidden for one frame.
        ((None, None, 5, 5, 5), (None, None, None, 5, 5)),
        # A frame that misses it.
        ((5, 5, None, 5, 5), (5, 5, 5, 5, 5)),
        # It is gone after one frame.
        ((5, 5, None, None, None), (5, 5, 5, None, None)),
        # What approaches is shown where it is.
        ((None, None, 9, 8.2, 7.4, 6.6), (None, None, None, 8.2, 7.4, 6.6)),
        # The first frames are shown as they are.
        ((5, None, None), (5, None, None)),
        # Another distance each time: never hidden for longer than a frame.
        ((None, None, 12, 7, 3), (None, None, None, 12, 7)),
    ],
)
def test_filter(seen, shown):
    assert filtered(frames(*seen)) == list(shown)


@pytest.mark.parametrize('times', [(10, 10.1, 12), (10, 10.1, 9), (10, 10.1, 10.1)])
def test_filter_starts_again_after_a_jump(times):
    assert filtered(frames(None, None, 5), list(times)) == [None, None, 5]


def test_filter_starts_again_with_other_rays_and_copies():
    kept = ContactFilter()
    for frame in frames(None, None):
        kept.filter(frame, 1.0)
    two = Contacts(
        np.array([5, 6], np.float32),
        np.array([CONTACT, CONTACT], np.uint8),
        *np.zeros((2, 2), np.uint8),
    )
    found = kept.filter(two, 1.1)
    two.limit[:] = 1
    assert found.limit.tolist() == [5, 6]


# Outline.


def test_outline_joins_what_the_image_joins():
    labels = road()
    labels[10:31] = CAR
    labels[30:51, 60:] = CAR
    found = find(labels)
    points, rays = outline(RAYS, found, 4)
    at = np.flatnonzero(found.kind == CONTACT)
    np.testing.assert_allclose(
        points[: len(at)],
        found.limit[at, None] * np.stack([np.cos(RAYS.azimuth[at]), np.sin(RAYS.azimuth[at])], 1),
        rtol=1e-6,
    )
    assert rays[: len(at)].tolist() == at.tolist()
    # Three points between neighbours, but none between the two obstacles, 60 / 10.5 and
    # 60 / 30.5 m away, and none anywhere else.
    assert len(points) == len(at) + 3 * (len(at) - 2)
    far, near = (np.isclose(points[:, 0], 60 / rows, rtol=0.02) for rows in (10.5, 30.5))
    assert (far | near).all()
    assert far.any()
    assert near.any()


def test_outline_of_free_road_is_empty():
    assert [len(part) for part in outline(RAYS, find(road()), 4)] == [0, 0]
