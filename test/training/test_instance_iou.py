"""iIoU against pixels counted and weighted by hand."""

import math

import numpy as np
import pytest

from linknet_ros.classes import CITYSCAPES
from linknet_ros.errors import SourceError
from training.metrics.instance_iou import AVERAGE_SIZE, CATEGORIES, LABEL_IDS, InstanceIoU

ROAD, PERSON, RIDER, CAR, TRUCK = CITYSCAPES.ids(['road', 'person', 'rider', 'car', 'truck'])
VOID = 255
#: Every instance class has 12 pixels on average, so an instance of n weighs 12 / n.
TWELVE = dict.fromkeys(AVERAGE_SIZE, 12.0)


def row(*runs):
    """One row of (id, pixels) runs."""
    return np.array([[value for value, length in runs for _ in range(length)]], np.int32)


def scores_of(truth, instances, predicted, ids='train', average_size=TWELVE):
    metric = InstanceIoU(ids, average_size)
    metric.add(truth.astype(np.uint8), instances, predicted.astype(np.uint8))
    return metric.scores()


def test_two_cars_of_different_size_have_the_same_say():
    # A car of 8 pixels of which 6 are found, one of 2 of which none is, 3 road pixels too many.
    truth = row((CAR, 8), (CAR, 2), (ROAD, 10))
    instances = row((26001, 8), (26002, 2), (7, 10))
    predicted = row((CAR, 6), (ROAD, 4), (CAR, 3), (ROAD, 7))
    scores = scores_of(truth, instances, predicted)
    # Weights 12/8 and 12/2: itp 6 * 1.5 = 9, ifn 2 * 1.5 + 2 * 6 = 15; fp 3, not weighted.
    assert scores.iiou[CAR] == pytest.approx(9 / (9 + 15 + 3))
    assert scores.mean == scores.iiou[CAR]
    # The plain IoU is kinder to whoever finds the large one: 6 / (10 + 3).
    assert scores.category_iou['vehicle'] == pytest.approx(6 / 13)
    assert scores.category_iiou['vehicle'] == scores.iiou[CAR]


def test_classes_without_instances_are_nan():
    scores = scores_of(row((ROAD, 4), (CAR, 4)), row((7, 4), (26001, 4)), row((ROAD, 4), (CAR, 4)))
    assert scores.iiou.shape == (19,)
    assert np.flatnonzero(~np.isnan(scores.iiou)).tolist() == [CAR]
    assert scores.iiou[CAR] == 1
    assert scores.category_mean == 1
    # Flat and vehicle, without the five categories that are not there.
    assert scores.category_miou == 1


def test_instance_class_that_is_only_predicted_scores_zero():
    scores = scores_of(
        row((ROAD, 4), (CAR, 2)), row((7, 4), (26001, 2)), row((TRUCK, 1), (ROAD, 3), (CAR, 2))
    )
    assert scores.iiou[TRUCK] == 0
    assert scores.iiou[CAR] == 1
    assert scores.mean == 0.5


def test_group_is_no_instance_and_no_false_positive():
    # 6 pixels of a group of cars (id 26, below 1000), of which 2 are missed, and a car of 4.
    truth = row((CAR, 6), (CAR, 4))
    instances = row((26, 6), (26001, 4))
    predicted = row((CAR, 4), (ROAD, 2), (CAR, 3), (ROAD, 1))
    scores = scores_of(truth, instances, predicted)
    # Only the car counts, with weight 3: itp 9, ifn 3, fp 0.
    assert scores.iiou[CAR] == pytest.approx(9 / 12)
    assert scores.category_iou['vehicle'] == pytest.approx(7 / 10)


def test_other_class_on_a_group_is_a_false_positive():
    scores = scores_of(row((CAR, 6), (TRUCK, 4)), row((26, 6), (27001, 4)), row((TRUCK, 10)))
    # Truck: weight 3, itp 12, ifn 0, fp 6. No car instance and no car predicted: no car score.
    assert scores.iiou[TRUCK] == pytest.approx(12 / 18)
    assert math.isnan(scores.iiou[CAR])
    # In the category all is right: no fp from a label of the same category.
    assert scores.category_iiou['vehicle'] == 1


def test_predictions_on_ignored_pixels_count_nowhere():
    # Void, and a caravan instance (label 29), which is void in train ids.
    truth = row((VOID, 5), (VOID, 5), (CAR, 4))
    instances = row((0, 5), (29001, 5), (26001, 4))
    scores = scores_of(truth, instances, row((CAR, 14)))
    assert scores.iiou[CAR] == 1
    assert scores.category_iiou['vehicle'] == 1
    assert scores.category_iou['vehicle'] == 1


def test_label_ids_with_a_predicted_caravan():
    # Labels: road 7, car 26, caravan 29. A caravan predicted on a car misses the car, but has
    # the right category for iIoU, while the plain category IoU knows no ignored label; a caravan
    # on the road is a false positive of the category for iIoU alone.
    truth = row((26, 4), (7, 4))
    predicted = row((26, 1), (29, 3), (29, 2), (7, 2))
    scores = scores_of(truth, row((26001, 4), (7, 4)), predicted, ids='label')
    assert scores.iiou[CAR] == pytest.approx(1 / 4)
    assert scores.category_iiou['vehicle'] == pytest.approx(12 / (12 + 2))
    assert scores.category_iou['vehicle'] == pytest.approx(1 / 4)


def test_category_weighs_by_the_class_of_the_instance():
    sizes = TWELVE | {'person': 8.0, 'rider': 6.0}
    truth = row((PERSON, 4), (RIDER, 2), (ROAD, 4))
    instances = row((24001, 4), (25001, 2), (7, 4))
    predicted = row((RIDER, 3), (ROAD, 1), (RIDER, 1), (ROAD, 1), (PERSON, 1), (ROAD, 3))
    scores = scores_of(truth, instances, predicted, average_size=sizes)
    # Person weighs 2, rider 3. Person: itp 0, ifn 8, fp 1. Rider: itp 3, ifn 3, fp 3.
    assert scores.iiou[PERSON] == 0
    assert scores.iiou[RIDER] == pytest.approx(3 / 9)
    # Human: itp 3 * 2 + 1 * 3, ifn 1 * 2 + 1 * 3, fp 1.
    assert scores.category_iiou['human'] == pytest.approx(9 / 15)
    assert scores.category_iou['human'] == pytest.approx(4 / 7)


def test_frames_add_up_and_the_same_id_in_two_frames_is_two_instances():
    metric = InstanceIoU(average_size=TWELVE)
    for pixels, found in ((6, 6), (2, 1)):
        metric.add(
            row((CAR, pixels)).astype(np.uint8),
            row((26001, pixels)).astype(np.uint16),
            row((CAR, found), (ROAD, pixels - found)).astype(np.uint8),
        )
    # As one instance of 8 pixels it would be 7 / 8; as two it is (12 + 6) / 24.
    assert metric.scores().iiou[CAR] == pytest.approx(18 / 24)


def test_own_sizes_at_full_frame():
    truth = np.full((1024, 2048), ROAD, np.uint8)
    instances = np.full(truth.shape, 7, np.uint16)
    truth[:50, :40], instances[:50, :40] = PERSON, 24003
    predicted = truth.copy()
    predicted[:50, :10] = ROAD
    predicted[100, :1000] = PERSON
    metric = InstanceIoU()
    metric.add(truth, instances, predicted)
    # 2000 pixels, 1500 found; the average person has 3462.48 pixels.
    expected = 0.75 * 3462.4756337644 / (3462.4756337644 + 1000)
    assert metric.scores().iiou[PERSON] == pytest.approx(expected)


def test_own_sizes_refuse_another_frame_size():
    with pytest.raises(SourceError, match='at 2048x1024 and this frame is 4x1; scale the pred'):
        scores_of(row((CAR, 4)), row((26001, 4)), row((CAR, 4)), average_size=None)


@pytest.mark.parametrize(
    ('ids', 'wrong', 'other'), [('train', 26, 'label'), ('label', 255, 'train')]
)
def test_ids_of_the_other_kind_are_refused(ids, wrong, other):
    with pytest.raises(SourceError, match=f"id {wrong}, not one of .* use ids='{other}'"):
        scores_of(row((wrong, 4)), row((0, 4)), row((ROAD, 4)), ids=ids)


def test_instances_of_another_data_set_are_refused():
    with pytest.raises(SourceError, match=r'instance id 99000 is not label id \* 1000 \+ number'):
        scores_of(row((CAR, 4)), row((99000, 4)), row((CAR, 4)))


def test_tables_fit_the_class_table():
    assert len(LABEL_IDS) == len(CITYSCAPES)
    assert set(AVERAGE_SIZE) <= set(CITYSCAPES.names)
    assert LABEL_IDS[CAR] == 26
    assert [i for members in CATEGORIES.values() for i in members] == list(range(7, 34))
