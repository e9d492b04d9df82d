"""What a network says of frames that nobody labelled: views, confidence, and what stays void."""

from contextlib import nullcontext

import cv2
import numpy as np
import pytest
import torch
from torch import nn

from training.networks import IMAGENET
from training.self_labels import SelfLabelled, mean_view


class Says(nn.Module):
    """Says class 1 of what is bright, or, if `place`, of the left half; as surely as `logit`."""

    statistics = IMAGENET

    def __init__(self, logit, place=False):
        super().__init__()
        self.logit = nn.Parameter(torch.tensor(float(logit)))
        self.place = place

    def forward(self, image):
        one = image.mean(1, keepdim=True) > 0
        if self.place:
            one = torch.zeros_like(one)
            one[..., : one.shape[3] // 2] = True
        sign = torch.where(one, 1.0, -1.0) * self.logit / 2
        return torch.cat([-sign, sign], 1)


FRAME = np.zeros((40, 60, 3), np.uint8)
FRAME[:, :20] = 255
BRIGHT = FRAME[..., 0] == 255


def test_views_are_laid_over_each_other():
    probability = mean_view(Says(20), FRAME)
    inside = np.abs(np.arange(60) - 19.5) > 3
    np.testing.assert_array_equal((probability[1] > 0.99).numpy()[:, inside], BRIGHT[:, inside])


def test_what_depends_on_the_place_becomes_unsure():
    """Two of the three views say one thing, the mirrored one the other."""
    probability = mean_view(Says(20, place=True), FRAME)
    np.testing.assert_allclose(probability[1, :, :25], 2 / 3, atol=1e-3)


@pytest.fixture
def taught(tmp_path):
    """Two frames; the second is dark."""
    for name, frame in (('a.png', FRAME), ('b.png', FRAME // 4)):
        assert cv2.imwrite(str(tmp_path / name), frame)
    return SelfLabelled([tmp_path / 'a.png', tmp_path / 'b.png'], (60, 40))


def label(taught, indices, *teachers):
    return taught.label(indices, teachers, nullcontext(), np.random.default_rng(0), progress=False)


def test_sure_pixels_are_labelled_and_others_void(taught):
    assert (taught[0][1] == 255).all()
    assert label(taught, [0], (Says(20), 1.0)) > 0.95
    frame, labels = taught[0]
    np.testing.assert_array_equal(frame, FRAME)
    np.testing.assert_array_equal(labels[:, 25:], 0)
    np.testing.assert_array_equal(labels[:, :15], 1)
    assert (taught[1][1] == 255).all()
    # Labelled again: what was not asked for becomes void again.
    label(taught, [1], (Says(20), 1.0))
    assert (taught[0][1] == 255).all()
    assert (taught[1][1] == 0).all()


def test_a_frame_that_is_named_twice_is_labelled_once(taught):
    twice, once = label(taught, [1, 0, 1], (Says(0.5), 1.0)), taught[1][1]
    assert label(taught, [1, 0], (Says(0.5), 1.0)) == twice
    np.testing.assert_array_equal(taught[1][1], once)


def test_pixels_are_kept_by_their_confidence(taught):
    # A confidence of 0.8 is two thirds of the way from 0.5 to 0.95.
    kept = label(taught, [1], (Says(np.log(0.8 / 0.2)), 1.0))
    assert kept == pytest.approx(2 / 3, abs=0.03)
    assert label(taught, [1], (Says(0.1), 1.0)) < 0.1


def test_teachers_share_the_vote(taught):
    """One that is sure of the contrary, with a third of the say: the rest is 2/3 sure."""
    kept = label(taught, [1], (Says(20), 2 / 3), (Says(-20), 1 / 3))
    assert kept == pytest.approx((2 / 3 - 0.5) / 0.45, abs=0.03)
    assert set(np.unique(taught[1][1])) == {0, 255}
