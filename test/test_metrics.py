"""Confusion matrix and the figures read off it, against numbers worked out by hand."""

import math

import numpy as np
import pytest

from linknet_ros.metrics import ConfusionMatrix

# Truth and prediction of 8 pixels: one void, one predicted as no class.
TRUTH = np.array([[0, 0, 0, 1], [1, 1, 255, 0]], np.uint8)
PREDICTED = np.array([[0, 0, 1, 1], [1, 0, 2, 255]], np.uint8)


def matrix_of(truth, predicted, classes=3):
    matrix = ConfusionMatrix(classes)
    matrix.add(np.array(truth, np.uint8), np.array(predicted, np.uint8))
    return matrix


def test_counts():
    counts = matrix_of(TRUTH, PREDICTED).counts
    # Rows: truth; columns: predicted 0, 1, 2, no class. The void pixel is nowhere.
    assert counts.tolist() == [[2, 1, 0, 1], [1, 2, 0, 0], [0, 0, 0, 0]]


def test_scores():
    scores = matrix_of(TRUTH, PREDICTED).scores()
    # Class 0: hits 2, false 1, missed 2. Class 1: hits 2, false 1, missed 1. Class 2: never.
    np.testing.assert_allclose(scores.iou, [2 / 5, 2 / 4, np.nan])
    np.testing.assert_allclose(scores.accuracy, [2 / 4, 2 / 3, np.nan])
    assert scores.global_accuracy == pytest.approx(4 / 7)
    assert scores.miou == pytest.approx((2 / 5 + 2 / 4) / 2)
    assert scores.class_accuracy == pytest.approx((2 / 4 + 2 / 3) / 2)


def test_class_that_is_only_predicted_counts_as_zero_iou():
    scores = matrix_of([0, 0], [0, 2]).scores()
    np.testing.assert_allclose(scores.iou, [1 / 2, np.nan, 0])
    np.testing.assert_allclose(scores.accuracy, [1 / 2, np.nan, np.nan])
    assert scores.miou == pytest.approx(1 / 4)
    assert scores.class_accuracy == pytest.approx(1 / 2)


def test_unlabelled_prediction_is_a_miss_and_no_false_hit():
    scores = matrix_of([0, 0, 1], [255, 0, 1]).scores()
    np.testing.assert_allclose(scores.iou, [1 / 2, 1, np.nan])


@pytest.mark.parametrize('void', [3, 11, 255])
def test_truth_outside_the_classes_is_ignored(void):
    assert matrix_of([0, void, void], [0, 0, 1]).counts.tolist() == [
        [1, 0, 0, 0],
        [0, 0, 0, 0],
        [0, 0, 0, 0],
    ]


def test_images_add_up_to_the_same_as_one_batch():
    together = matrix_of([TRUTH, TRUTH[::-1]], [PREDICTED, PREDICTED[::-1]])
    one_by_one = ConfusionMatrix(3)
    one_by_one.add(TRUTH, PREDICTED)
    one_by_one.add(TRUTH[::-1], PREDICTED[::-1])
    assert one_by_one.counts.tolist() == together.counts.tolist()
    assert one_by_one.counts.sum() == 14


def test_nothing_added_gives_nan_and_no_warning(recwarn):
    scores = ConfusionMatrix(2).scores()
    assert math.isnan(scores.miou)
    assert math.isnan(scores.class_accuracy)
    assert math.isnan(scores.global_accuracy)
    assert not recwarn.list


def test_254_classes():
    matrix = matrix_of([253, 0], [253, 254], classes=254)
    assert matrix.counts[253, 253] == 1
    assert matrix.counts[0, 254] == 1


def test_counts_are_a_copy():
    matrix = matrix_of([0], [0])
    matrix.counts[:] = 99
    assert matrix.counts[0, 0] == 1


def test_shapes_must_agree():
    with pytest.raises(ValueError, match=r'truth is \(2, 4\) and the prediction \(4, 2\)'):
        ConfusionMatrix(3).add(TRUTH, PREDICTED.T)


def test_table():
    table = matrix_of(TRUTH, PREDICTED).scores().table(('road', 'car', 'sky'))
    assert [line.split() for line in table.splitlines()] == [
        ['class', 'IoU', 'accuracy'],
        ['road', '0.400', '0.500'],
        ['car', '0.500', '0.667'],
        ['sky', 'nan', 'nan'],
        ['mean', '0.450', '0.583'],
        ['global', 'accuracy', '0.571'],
    ]


def test_table_needs_a_name_for_each_class():
    with pytest.raises(ValueError, match=r'zip\(\) argument'):
        matrix_of(TRUTH, PREDICTED).scores().table(('road', 'car'))


def test_classes_that_are_left_out():
    """Their pixels are ignored, they have no scores, and who is taken for one is missed."""
    matrix = ConfusionMatrix(3, left_out=[1])
    truth = np.array([0, 0, 0, 1, 1, 2], np.uint8)
    matrix.add(truth, np.array([0, 0, 1, 0, 1, 0], np.uint8))
    scores = matrix.scores()
    np.testing.assert_allclose(scores.iou, [2 / 4, np.nan, 0])
    np.testing.assert_allclose(scores.accuracy, [2 / 3, np.nan, 0])
    assert scores.miou == 0.25
    assert scores.global_accuracy == 0.5
    again = ConfusionMatrix.from_counts(matrix.counts, matrix.left_out)
    assert again.scores().miou == 0.25
