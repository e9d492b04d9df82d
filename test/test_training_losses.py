"""The loss, worked out by hand on a picture of four pixels."""

import math

import pytest

pytest.importorskip('torch', reason='PyTorch (extra "train") not installed')

import torch

from training.losses import SegmentationLoss, dice_loss

#: One image of 2 x 2 with two classes: pixel by pixel the probability of class 1.
PROBABILITY = torch.tensor([[0.25, 0.5], [0.75, 0.875]])
LOGITS = torch.stack([torch.log(1 - PROBABILITY), torch.log(PROBABILITY)]).unsqueeze(0)
#: Void in the last pixel, whatever the network says there.
LABELS = torch.tensor([[[0, 1], [1, 255]]])


def test_dice_by_hand():
    class0 = 2 * 0.75 / ((0.75 + 0.5 + 0.25) + 1)
    class1 = 2 * (0.5 + 0.75) / ((0.25 + 0.5 + 0.75) + 2)
    assert dice_loss(LOGITS, LABELS).item() == pytest.approx(1 - (class0 + class1) / 2)


def test_dice_leaves_out_classes_that_the_batch_does_not_have():
    labels = torch.tensor([[[1, 1], [1, 255]]])
    class1 = 2 * 1.5 / (1.5 + 3)
    assert dice_loss(LOGITS, labels).item() == pytest.approx(1 - class1)


def test_void_gets_no_gradient():
    logits = LOGITS.clone().requires_grad_()
    dice_loss(logits, LABELS).backward()
    assert (logits.grad[0, :, 1, 1] == 0).all()
    assert (logits.grad[0, :, 0, 0] != 0).all()


def test_cross_entropy_by_hand_and_dice_on_top():
    weights = torch.tensor([1.0, 3.0])
    errors = -(1 * math.log(0.75) + 3 * math.log(0.5) + 3 * math.log(0.75)) / 7
    assert SegmentationLoss(weights)(LOGITS, LABELS).item() == pytest.approx(errors)
    both = errors + 0.5 * dice_loss(LOGITS, LABELS).item()
    assert SegmentationLoss(weights, dice=0.5)(LOGITS, LABELS).item() == pytest.approx(both)
