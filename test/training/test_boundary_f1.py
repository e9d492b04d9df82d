"""Boundary F1 against contours counted by hand and a brute-force search."""

import math

import numpy as np
import pytest

from training.metrics.boundary_f1 import BoundaryF1


def score_of(truth, predicted, classes=2, pixels=1.5):
    """BF score of one image with a tolerance in pixels."""
    truth, predicted = np.array(truth, np.uint8), np.array(predicted, np.uint8)
    metric = BoundaryF1(classes, pixels / math.hypot(*truth.shape))
    metric.add(truth, predicted)
    return metric


def split(*columns, width=12):
    """Rows of class 0 up to a column, then class 1."""
    return [[0] * column + [1] * (width - column) for column in columns]


def test_stairs_by_hand():
    # The lower three rows are right; the upper two change class four columns too late.
    metric = score_of(split(6, 6, 6, 6, 6), split(10, 10, 6, 6, 6))
    # Class 0: predicted contour (0,9) (1,6) (1,7) (1,8) (1,9) (2,5) (3,5) (4,5), of which 4 of 8
    # are beside the true column 5; all 5 true pixels have a match, (0,5) diagonally at (1,6).
    # Class 1: 8 predicted pixels, of which (2,6) (2,7) (3,6) (4,6) match; (0,6) alone is missed.
    f1 = [2 * 0.5 * 1 / 1.5, 2 * 0.5 * 0.8 / 1.3]
    np.testing.assert_allclose(metric.per_class, f1)
    assert metric.score == pytest.approx(sum(f1) / 2)


@pytest.mark.parametrize(('pixels', 'score'), [(1.9, 0), (2, 0), (2.1, 1)])
def test_tolerance_is_strict_and_not_rounded(pixels, score):
    # 3x4 pixels: the diagonal is 5, so that 2 px is exact.
    assert score_of(split(1, 1, 1, width=4), split(3, 3, 3, width=4), pixels=pixels).score == score


def test_default_tolerance_at_480x360():
    # Diagonal 600, so 4.5 px: a shift of 4 columns is a hit, of 5 a miss.
    truth, four, five = (np.zeros((360, 480), np.uint8) for _ in range(3))
    truth[:, 200:], four[:, 204:], five[:, 205:] = 1, 1, 1
    metric = BoundaryF1(2)
    metric.add(truth, four)
    assert metric.score == 1
    metric.add(truth, five)
    assert metric.score == 0.5


def test_contour_of_a_wrong_class_is_no_match():
    truth = [[0, 0, 0, 1, 1, 1]]
    metric = score_of(truth, [[0, 0, 0, 2, 2, 2]], classes=3)
    np.testing.assert_array_equal(metric.per_class, [1, 0, np.nan])


def test_class_that_is_only_predicted_is_not_averaged_but_costs_its_neighbour():
    # SegNet's paper averages over the classes present in the ground truth.
    metric = score_of([[0] * 6 + [1] * 6], [[0] * 6 + [1] * 4 + [2] * 2], classes=3)
    # Class 1: the contour at column 9 is false, that at column 6 right: precision 1/2, recall 1.
    np.testing.assert_allclose(metric.per_class, [1, 2 / 3, np.nan])
    assert metric.score == pytest.approx((1 + 2 / 3) / 2)


def test_image_without_a_contour_has_no_score(recwarn):
    metric = score_of([[0] * 12], [[0] * 12])
    assert math.isnan(metric.score)
    assert np.isnan(metric.per_class).all()
    assert not recwarn.list


def test_border_to_void_is_no_contour():
    # Void at columns 4 to 7 hides where class 0 ends; the prediction ends it there too.
    void = [[0] * 4 + [255] * 4 + [1] * 4]
    for column in (4, 5, 8):
        assert math.isnan(score_of(void, split(column)).score)


@pytest.mark.parametrize(('column', 'counts'), [(13, False), (14, True)])
def test_contour_beside_void_may_match_one_hidden_in_it(column, counts):
    # True contour at columns 4 and 5, void at 10 and 11. Tolerance 1.5: a false contour nearer
    # than 2.5 px to void may be the hidden one. Column 13 is 2 px away; 14 is 3 px away.
    truth = [[0] * 5 + [1] * 5 + [255] * 2 + [1] * 8]
    predicted = [[0] * 5 + [1] * (column - 5 + 1) + [0] * (20 - column - 1)]
    # Class 1 ends at `column`; the contour of class 0 starts one column to the right.
    metric = score_of(truth, predicted)
    assert metric.per_class[1] == pytest.approx(2 / 3 if counts else 1)


@pytest.mark.parametrize('void', [2, 11, 255])
def test_whatever_is_predicted_in_void_changes_nothing(void):
    rng = np.random.default_rng(0)
    truth = np.array(split(*rng.integers(4, 20, 24), width=24), np.uint8)
    truth[rng.random(truth.shape) < 0.02] = void
    truth[8:14, 3:20] = void
    predicted = truth.copy()
    hidden = truth == void
    predicted[hidden] = rng.integers(0, 3, hidden.sum())
    metric = score_of(truth, predicted, pixels=1.1)
    np.testing.assert_array_equal(metric.per_class, [1, 1])


def test_true_contour_is_found_by_a_prediction_that_runs_in_void():
    # Row 0: the true contour at columns 4 | 5, and void from 6 on. The prediction is late by one
    # and so its class 1 starts in void.
    metric = score_of([[0] * 5 + [1] + [255] * 6], split(6))
    np.testing.assert_array_equal(metric.per_class, [1, 1])


def test_unlabelled_prediction_ends_a_region():
    metric = score_of([[0] * 12 + [1] * 2], [[0] * 4 + [255] * 4 + [0] * 4 + [1] * 2])
    # Class 0: contours at columns 3, 8 and 11, of which only the last is right.
    np.testing.assert_allclose(metric.per_class, [2 * (1 / 3) / (4 / 3), 1])


def test_mean_is_over_classes_then_images():
    metric = BoundaryF1(3, 1.5 / 6)
    metric.add(np.array([[0, 0, 1, 1, 2, 2]], np.uint8), np.array([[0, 0, 1, 1, 0, 0]], np.uint8))
    # Class 0 has one false contour, at column 4: precision 1/2. Class 2 is missed.
    np.testing.assert_allclose(metric.per_class, [2 / 3, 1, 0])
    metric.add(np.array([[0, 0, 0, 1, 1, 1]], np.uint8), np.array([[0, 0, 0, 1, 1, 1]], np.uint8))
    np.testing.assert_allclose(metric.per_class, [5 / 6, 1, 0])
    # Not 3.67 / 5, the mean over all pairs of class and image.
    assert metric.score == pytest.approx(((2 / 3 + 1 + 0) / 3 + 1) / 2)


def brute_force(truth, predicted, classes, tolerance):
    """Mean F1 of one image without void, pixel by pixel."""

    def contour(labels, c):
        height, width = labels.shape
        return [
            (y, x)
            for y in range(height)
            for x in range(width)
            if labels[y, x] == c
            and any(
                0 <= y + v < height and 0 <= x + u < width and labels[y + v, x + u] != c
                for v, u in ((-1, 0), (1, 0), (0, -1), (0, 1))
            )
        ]

    def share(points, others):
        return np.mean([any(math.dist(p, q) < tolerance for q in others) for p in points])

    scores = []
    for c in range(classes):
        true, found = contour(truth, c), contour(predicted, c)
        if true and found:
            precision, recall = share(found, true), share(true, found)
            scores.append(2 * precision * recall / max(precision + recall, 1e-9))
        elif true:
            scores.append(0)
    return np.mean(scores)


def test_brute_force_agrees():
    rng = np.random.default_rng(1)
    for tolerance in (0.7, 1.5, 2.9, 5):
        coarse = rng.integers(0, 4, (6, 8), np.uint8)
        truth = coarse.repeat(6, 0).repeat(5, 1)
        predicted = np.roll(truth, (2, -1), (0, 1))
        predicted[5:12, 10:16] = rng.integers(0, 4, (7, 6))
        expected = brute_force(truth, predicted, 4, tolerance)
        assert 0.05 < expected < 0.999
        found = score_of(truth, predicted, classes=4, pixels=tolerance).score
        assert found == pytest.approx(expected)
