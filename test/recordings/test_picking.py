"""Which frames are picked: the sharp, the unsure, no two alike, of every part."""

import cv2
import numpy as np
import pytest

from linknet_ros.recordings.picking import (
    Doubt,
    blurred,
    candidates,
    choose,
    look_at,
    signatures,
    unsureness,
)


@pytest.fixture
def texture():
    """A frame of 640x360 with edges in it."""
    small = np.random.default_rng(1).integers(0, 256, (18, 32, 3), np.uint8)
    return cv2.resize(small, (640, 360), interpolation=cv2.INTER_NEAREST)


def distance(*frames):
    a, b = signatures([look_at(frame).small for frame in frames])
    return 1 - float(a @ b)


def test_distance_sees_places_and_not_exposure(texture):
    assert distance(texture, texture) == pytest.approx(0, abs=1e-6)
    assert distance(texture, texture // 2 + 20) < 0.01
    assert distance(texture, cv2.resize(texture, (320, 180))) < 0.01
    assert distance(texture, 255 - texture) > 1.9
    assert distance(texture, texture[::-1]) > 0.5


def test_sharpness_and_exposure(texture):
    sharp = look_at(texture)
    assert look_at(cv2.GaussianBlur(texture, (0, 0), 3)).sharpness < 0.1 * sharp.sharpness
    # The same picture of a larger camera is as sharp.
    larger = cv2.resize(texture, (1280, 720), interpolation=cv2.INTER_NEAREST)
    assert look_at(larger).sharpness == pytest.approx(sharp.sharpness, rel=0.05)
    half_white = texture.clip(20, 230)
    half_white[:, 320:] = 255
    assert look_at(half_white).exposure == 0.5
    assert look_at(np.full_like(texture, 90)).exposure == 0  # a lens cap is no scene


def test_a_frame_is_blurred_among_its_neighbours():
    street, field = [100.0] * 30, [40.0] * 30  # a field has few edges, and is not blurred
    street[10] = 45.0
    found = np.flatnonzero(blurred(street + field, [0] * 60, 0.5)).tolist()
    assert found[0] == 10
    assert set(found) <= {10, *range(30, 36)}
    # A recording is compared with itself only, and what is blurred throughout is blurred.
    assert not blurred(street[:5] + [10.0] * 5, [0] * 5 + [1] * 5, 0.5).any()
    assert blurred([100.0] * 50 + [10.0] * 50, [0] * 100, 0.5)[50:].all()


def test_candidates_are_the_sharpest_of_equal_stretches():
    sharpness = np.arange(100) % 10
    assert candidates(sharpness, 1) == list(range(9, 100, 10))
    assert candidates([3, 8], 1) == [0, 1]
    assert candidates([], 1) == []


def test_unsureness_is_1_on_average_and_needs_no_second_model():
    doubts = [Doubt(0.1, 0.02), Doubt(0.3, 0.06)]
    np.testing.assert_allclose(unsureness(doubts), [0.5, 1.5])
    doubts = [Doubt(0.1, 0.0, 0.3), Doubt(0.1, 0.0, 0.1)]
    np.testing.assert_allclose(unsureness(doubts), [(1 + 1 + 1.5) / 3, (1 + 1 + 0.5) / 3])


def picked(unsure, signature, count, distance=0.1, position=None):
    position = range(len(unsure)) if position is None else position
    return choose(np.array(unsure, float), np.float32(signature), position, count, distance)


def test_every_part_gives_its_least_sure_first():
    unsure = np.arange(40) % 10
    picks = picked(unsure, np.eye(40), 8)
    # Four parts of ten: one of each, then another of each, not its neighbour.
    assert [pick.index for pick in picks] == [9, 19, 29, 39, 6, 16, 26, 36]
    assert [pick.place for pick in picks] == [(1, 10)] * 4 + [(4, 10)] * 4
    assert [pick.part for pick in picks[:4]] == [(n, 4) for n in (1, 2, 3, 4)]
    # A part is of equal length, however many candidates it has.
    sparse = picked([5, 4, 3, 0], np.eye(4), 4, position=[0, 1, 2, 99])
    assert [pick.index for pick in sparse] == [0, 3, 1, 2]


def test_neighbours_are_taken_when_nothing_else_is_left():
    picks = picked(np.arange(8), np.eye(8), 8)
    assert sorted(pick.index for pick in picks) == list(range(8))
    # Two parts of ten frames that are alike but for the last three.
    alike = np.eye(20)[[0] * 17 + [17, 18, 19]]
    picks = picked(np.arange(20), alike, 4)
    assert [pick.index for pick in picks] == [19, 9, 18, 17]


def test_no_two_are_alike():
    alike = np.repeat(np.eye(3), 4, axis=0)
    picks = picked(range(12), alike, 10)
    assert [pick.index // 4 for pick in picks] == [2, 1, 0]
    assert [pick.nearest for pick in picks] == [1, 1, 1]
    assert len(picked(range(12), alike, 10, distance=0)) == 10
    assert picked([1], [[1.0, 0]], 5)[0].nearest == np.inf
