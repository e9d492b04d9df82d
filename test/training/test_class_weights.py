"""Class frequencies and loss weights, by hand and against the published figures for CamVid."""

from math import e, log

import numpy as np
import pytest
from checkout import SHARED

from training.class_weights import class_frequencies, count_labels, inverse_log_weights
from training.datasets.camvid import CamVid

DATA = SHARED / 'data/camvid'


def test_frequencies_leave_void_out():
    first = np.array([[0, 0, 0], [1, 255, 255]], np.uint8)
    second = np.array([[2, 3, 255]], np.uint8)
    # Labelled with 3 classes: 0 three times, 1 once, 2 once; 3 and 255 are void.
    np.testing.assert_allclose(
        class_frequencies(count_labels([first, second]), 3), [0.6, 0.2, 0.2]
    )


def test_weights_by_hand():
    frequencies = np.array([0.0, e - 1.02, 0.98])
    expected = [1 / log(1.02), 1.0, 1 / log(2)]
    np.testing.assert_allclose(inverse_log_weights(frequencies), expected)


def test_power_softens_the_weights():
    frequencies = np.array([0.0, 0.98])
    expected = [log(1.02) ** -0.5, log(2) ** -0.5]
    np.testing.assert_allclose(inverse_log_weights(frequencies, 0.5), expected)
    np.testing.assert_array_equal(inverse_log_weights(frequencies, 0), [1, 1])


@pytest.fixture(scope='module')
def camvid_frequencies():
    if not DATA.is_dir():
        pytest.skip(f'CamVid is not in {DATA}')
    frames = CamVid(DATA, 'train')
    return class_frequencies(count_labels(frames[i][1] for i in range(len(frames))), 11)


def test_camvid_frequencies_as_published(camvid_frequencies):
    """Per cent of all pixels, of which 3.95 are void, sky to bicyclist."""
    percent = [16.85, 23.26, 0.98, 31.66, 4.49, 9.72, 1.17, 1.13, 5.87, 0.64, 0.29]
    np.testing.assert_allclose(camvid_frequencies * (100 - 3.95), percent, atol=0.0101)


def test_camvid_weights_as_published(camvid_frequencies):
    """1 / ln(1.02 + p) on the 367 training frames at 480x360, printed with three digits."""
    published = [
        *(5.603, 4.295, 33.574, 3.335, 15.486, 8.739),
        *(31.542, 32.012, 12.829, 38.014, 43.907),
    ]
    np.testing.assert_allclose(inverse_log_weights(camvid_frequencies), published, atol=0.00051)
