"""The temporal filter: quiet, and never slow to see an obstacle."""

import numpy as np
import pytest

from linknet_ros.inference.temporal_filter import SURE, TemporalFilter

ROAD, CAR, SKY, LANE = range(4)
DRIVABLE = (True, False, False, True)
STEP = 10**8


def run(frames, start=1, step=STEP, size=(1, 1)):
    """Labels and confidences of one pixel after each frame, given as (class, confidence)."""
    filtered, results = TemporalFilter(DRIVABLE), []
    for number, (label, confidence) in enumerate(frames):
        labels, confidences = np.full(size, label, np.uint8), np.full(size, confidence, np.uint8)
        # Others keep their class: a picture that is all new is another scene.
        labels[1:], confidences[1:] = SKY, 255
        filtered.apply(labels, confidences, start + number * step if start else 0)
        results.append((labels[0, 0], confidences[0, 0]))
    return results


def labels_of(frames, **how):
    return [label for label, _ in run(frames, size=(4, 1), **how)]


@pytest.mark.parametrize('start', [1, 0])
def test_flicker_is_gone(start):
    """However sure the network is each time."""
    frames = [(CAR, 255), (SKY, 255)] * 20
    assert labels_of(frames, start=start) == [CAR] * 40


def test_a_change_that_stays_is_taken_over_with_the_second_frame():
    assert labels_of([(CAR, 255)] * 4 + [(SKY, 255)] * 4) == [CAR] * 5 + [SKY] * 3


def test_obstacle_that_is_sure_acts_at_once():
    assert labels_of([(ROAD, 255)] * 9 + [(CAR, SURE)]) == [ROAD] * 9 + [CAR]


@pytest.mark.parametrize('confidence', [1, 90, SURE - 1])
def test_obstacle_that_is_unsure_acts_with_the_second_frame(confidence):
    frames = [(LANE, 255)] * 9 + [(CAR, confidence), (SKY, confidence)]
    results = run(frames, size=(4, 1))
    assert [label for label, _ in results] == [LANE] * 10 + [SKY]
    # Of the one frame in between no more is claimed than the other opinion leaves.
    assert results[9][1] == min(255 - confidence, (255 - confidence) // 2)


def test_obstacle_goes_slowly():
    frames = [(CAR, 255)] * 9 + [(ROAD, 200)] + [(ROAD, 255)] * 2
    assert labels_of(frames) == [CAR] * 10 + [ROAD] * 2


def test_between_drivable_classes_nothing_is_in_a_hurry():
    assert labels_of([(ROAD, 255)] * 9 + [(LANE, 255)] * 3) == [ROAD] * 10 + [LANE] * 2


def test_nonsense_is_not_covered_up():
    """A confidence of 0 is NaN in the network; it is unlabelled later, and must stay 0."""
    assert run([(ROAD, 255)] * 9 + [(CAR, 0), (ROAD, 0)], size=(4, 1))[9:] == [(CAR, 0), (ROAD, 0)]


def test_confidence_of_the_same_opinion_stays():
    assert [c for _, c in run([(ROAD, 255), (ROAD, 40), (ROAD, 90)], size=(4, 1))] == [255, 40, 90]


@pytest.mark.parametrize('step', [STEP * 6, -STEP])
def test_gap_and_jump_back_in_time(step):
    assert labels_of([(CAR, 240), (ROAD, 100)], start=10**10, step=step) == [CAR, ROAD]


def test_another_scene():
    """More than half of the pixels are of another opinion."""
    assert [label for label, _ in run([(CAR, 240), (ROAD, 100)])] == [CAR, ROAD]


def test_another_size_and_reset():
    filtered = TemporalFilter(DRIVABLE)
    for size, forget in (((4, 6), False), ((6, 4), False), ((6, 4), True)):
        if forget:
            filtered.reset()
        labels = np.random.default_rng(0).integers(0, 4, size, np.uint8)
        expected = labels.copy()
        filtered.apply(labels, np.full(size, 255, np.uint8), 1)
        np.testing.assert_array_equal(labels, expected)


def test_same_as_pixel_by_pixel():
    """Against the rules written out, on random frames."""
    rng = np.random.default_rng(3)
    filtered = TemporalFilter(DRIVABLE)
    shape = (40, 30)
    base = rng.integers(0, 4, shape, np.uint8)
    shown = evidence = before = None
    for number in range(30):
        noisy = rng.random(shape) < 0.3
        labels = np.where(noisy, rng.integers(0, 4, shape), base).astype(np.uint8)
        confidence = rng.integers(0, 256, shape, np.uint8)
        result, left = labels.copy(), confidence.copy()
        filtered.apply(result, left, 1 + number * STEP)
        if shown is None:
            shown, evidence = labels.astype(int), confidence.astype(int)
        else:
            for y, x in np.ndindex(shape):
                new, sure = int(labels[y, x]), int(confidence[y, x])
                sign = 1 if new == shown[y, x] else -1
                evidence[y, x] = (evidence[y, x] + sign * sure) // 2
                blocked = DRIVABLE[shown[y, x]] and not DRIVABLE[new]
                twice = not DRIVABLE[before[y, x]]
                gone = evidence[y, x] < -86 or not sure or (blocked and (sure >= SURE or twice))
                if gone:
                    shown[y, x], evidence[y, x] = new, sure // 2
                if new != shown[y, x]:
                    assert left[y, x] == max(1, min(evidence[y, x], 255 - sure))
        before = labels
        np.testing.assert_array_equal(result, shown)
