"""The loss, worked out by hand on a picture of four pixels, and against brute force."""

import itertools
import math

import numpy as np
import pytest
import torch
from torch import nn

from training.losses import SegmentationLoss, dice_loss, lovasz_softmax

#: One image of 2 x 2 with two classes: pixel by pixel the probability of class 1.
PROBABILITY = torch.tensor([[0.25, 0.5], [0.75, 0.875]])
BOTH = torch.stack([1 - PROBABILITY, PROBABILITY]).unsqueeze(0)
LOGITS = torch.log(BOTH)
#: Void in the last pixel, whatever the network says there.
LABELS = torch.tensor([[[0, 1], [1, 255]]])
WEIGHTS = torch.tensor([1.0, 3.0])
#: Weighted cross-entropy of the three labelled pixels.
ERRORS = (-math.log(0.75), -3 * math.log(0.5), -3 * math.log(0.75))


def random_batch(seed=0, count=4, classes=5):
    """Logits (count, classes, 6, 7) and labels with some void, the more the later the image."""
    rng = np.random.default_rng(seed)
    logits = torch.tensor(rng.normal(0, 2, (count, classes, 6, 7)), dtype=torch.float32)
    labels = rng.integers(0, classes, (count, 6, 7))
    labels[rng.random(labels.shape) < np.linspace(0.1, 0.7, count)[:, None, None]] = 255
    return logits.requires_grad_(), torch.from_numpy(labels)


RANDOM_WEIGHTS = torch.tensor([0.5, 1.0, 2.0, 4.0, 0.25])


def test_dice_by_hand():
    class0 = 2 * 0.75 / ((0.75 + 0.5 + 0.25) + 1)
    class1 = 2 * (0.5 + 0.75) / ((0.25 + 0.5 + 0.75) + 2)
    assert dice_loss(BOTH, LABELS).item() == pytest.approx(1 - (class0 + class1) / 2)


@pytest.mark.parametrize('term', [dice_loss, lovasz_softmax])
def test_void_gets_no_gradient(term):
    logits = LOGITS.clone().requires_grad_()
    term(logits.softmax(1), LABELS).backward()
    assert (logits.grad[0, :, 1, 1] == 0).all()
    assert (logits.grad[0, :, 0, 0] != 0).all()


def test_cross_entropy_by_hand_and_the_other_terms_on_top():
    errors = sum(ERRORS) / 7
    assert SegmentationLoss(WEIGHTS)(LOGITS, LABELS).item() == pytest.approx(errors)
    dice, lovasz = dice_loss(BOTH, LABELS).item(), lovasz_softmax(BOTH, LABELS).item()
    for loss, expected in (
        (SegmentationLoss(WEIGHTS, dice=0.5), errors + 0.5 * dice),
        (SegmentationLoss(WEIGHTS, lovasz=2), errors + 2 * lovasz),
        (SegmentationLoss(WEIGHTS, 0.5, 2), errors + 0.5 * dice + 2 * lovasz),
    ):
        assert loss(LOGITS, LABELS).item() == pytest.approx(expected)


@pytest.mark.parametrize(
    ('weights', 'smoothing'), [(RANDOM_WEIGHTS, 0.0), (torch.full((5,), 1.0), 0.1)]
)
def test_cross_entropy_and_its_gradient_are_torchs(weights, smoothing):
    logits, labels = random_batch()
    theirs = nn.CrossEntropyLoss(weights, ignore_index=255, label_smoothing=smoothing)
    expected = theirs(logits, labels)
    (expected_gradient,) = torch.autograd.grad(expected, logits)
    loss = SegmentationLoss(weights, smoothing=smoothing)(logits, labels)
    (gradient,) = torch.autograd.grad(loss, logits)
    torch.testing.assert_close(loss, expected)
    torch.testing.assert_close(gradient, expected_gradient, atol=1e-7, rtol=1e-4)


def test_smoothing_keeps_the_weight_of_the_true_class():
    """By hand: 0.8 of a pixel's error and 0.2 of its mean over the classes, weighted alike.

    PyTorch weights that mean by every class' own weight instead, which rewards rare classes where
    they are not.
    """
    even = [
        -(math.log(0.75) + math.log(0.25)) / 2,
        -3 * math.log(0.5),
        -3 * (math.log(0.25) + math.log(0.75)) / 2,
    ]
    expected = (0.8 * sum(ERRORS) + 0.2 * sum(even)) / 7
    loss = SegmentationLoss(WEIGHTS, smoothing=0.2)(LOGITS, LABELS)
    assert loss.item() == pytest.approx(expected)


@pytest.mark.parametrize(
    ('hardest', 'expected'),
    [
        (0.7, (ERRORS[1] + ERRORS[2]) / 6),  # two of three; int(2.1)
        (0.4, ERRORS[1] / 3),
        (0.01, ERRORS[1] / 3),  # one at least
        (1.0, sum(ERRORS) / 7),
    ],
)
def test_hardest_pixels_by_hand(hardest, expected):
    loss = SegmentationLoss(WEIGHTS, hardest=hardest)(LOGITS, LABELS)
    assert loss.item() == pytest.approx(expected)


def test_hardest_pixels_alone_get_a_gradient():
    logits = LOGITS.clone().requires_grad_()
    SegmentationLoss(WEIGHTS, hardest=0.4)(logits, LABELS).backward()
    touched = (logits.grad[0] != 0).any(0)
    assert touched.tolist() == [[False, True], [False, False]]


@pytest.mark.parametrize('smoothing', [0.0, 0.1])
@pytest.mark.parametrize('void_part', [False, True])
def test_mean_over_parts_is_the_loss_of_the_batch(smoothing, void_part):
    """Four parts with more and more void; the mean of their own means would be another loss."""
    logits, labels = random_batch()
    if void_part:
        labels[2] = 255
    loss = SegmentationLoss(RANDOM_WEIGHTS, smoothing=smoothing)
    whole = loss(logits, labels)
    (expected,) = torch.autograd.grad(whole, logits)
    divisor = sum(loss.weight_of(labels[i : i + 1]) for i in range(4)) / 4
    parts = [loss(logits[i : i + 1], labels[i : i + 1], divisor) for i in range(4)]
    mean = torch.stack(parts).mean()
    (gradient,) = torch.autograd.grad(mean, logits)
    torch.testing.assert_close(mean, whole)
    torch.testing.assert_close(gradient, expected, atol=1e-8, rtol=1e-4)
    if not void_part:
        plain = torch.stack([loss(logits[i : i + 1], labels[i : i + 1]) for i in range(4)])
        assert abs(plain.mean() - whole) > 1e-3


@pytest.mark.parametrize(
    'options',
    [
        {},
        {'dice': 1},
        {'lovasz': 1},
        {'hardest': 0.3},
        {'smoothing': 0.1},
        {'dice': 1, 'lovasz': 1, 'hardest': 0.3, 'smoothing': 0.1},
    ],
)
@pytest.mark.parametrize('divisor', [None, 0.0, 3.0])
def test_batch_of_void_only(options, divisor):
    logits, labels = random_batch()
    labels[:] = 255
    divisor = None if divisor is None else torch.tensor(divisor)
    loss = SegmentationLoss(RANDOM_WEIGHTS, **options)(logits, labels, divisor)
    loss.backward()
    assert loss.item() == 0
    assert (logits.grad == 0).all()


@pytest.mark.parametrize('hardest', [1.0, 0.3])
def test_gradients_are_finite_where_the_network_is_certain(hardest):
    logits, labels = random_batch()
    logits = (logits.detach() * 1000).requires_grad_()
    loss = SegmentationLoss(RANDOM_WEIGHTS, 1, 1, hardest, 0.1)(logits, labels)
    loss.backward()
    assert torch.isfinite(loss)
    assert torch.isfinite(logits.grad).all()
    assert (logits.grad != 0).any()


def jaccard_loss(wrong, truth):
    """1 - intersection over union of a class whose pixels `wrong` are predicted wrongly."""
    predicted = truth ^ wrong
    return 1 - (predicted & truth).sum() / (predicted | truth).sum()


def lovasz_by_definition(probability, labels):
    """Integral over the level t of the Jaccard loss when all errors of at least t are mistakes.

    :param probability: (classes, pixels).
    :param labels: (pixels,).
    """
    losses = []
    for c in np.unique(labels[labels != 255]):
        truth = (labels == c)[labels != 255]
        error = np.abs(truth - probability[c][labels != 255])
        levels = np.unique(np.concatenate([[0], error]))
        # Between two levels the set of mistakes does not change.
        losses.append(
            sum(
                (high - low) * jaccard_loss(error >= high, truth)
                for low, high in itertools.pairwise(levels)
            )
        )
    return np.mean(losses)


def test_lovasz_by_hand():
    """Class 0: errors 0.25 (true), 0.5, 0.25; class 1 the same errors, two of them true."""
    # Sorted 0.5 (false): union 2, J = 1 - 1/2; then the true one: J = 1; the last adds nothing.
    # With the two of 0.25 the other way round: J = 1 - 1/3, then 1. The sum is the same.
    class0 = 0.5 * 0.5 + 0.25 * 0.5
    # Sorted 0.5 (true): J = 1 - 1/2; then 0.25 twice for the rest up to J = 1.
    class1 = 0.5 * 0.5 + 0.25 * 0.5
    expected = (class0 + class1) / 2
    assert lovasz_softmax(BOTH, LABELS).item() == pytest.approx(expected)


@pytest.mark.parametrize('seed', range(5))
def test_lovasz_by_its_definition(seed):
    logits, labels = random_batch(seed, count=2)
    labels[labels == 3] = 255  # a class that the batch does not have
    probability = logits.softmax(1)
    flat = probability.detach().double().movedim(1, 0).flatten(1).numpy()
    expected = lovasz_by_definition(flat, labels.flatten().numpy())
    loss = lovasz_softmax(probability, labels)
    assert loss.item() == pytest.approx(expected, rel=1e-5)


# Labels that allow several classes


@pytest.fixture
def sets():
    """Of five classes: 5 is "one of 1 and 3", 6 is "not 0"."""
    allowed = torch.zeros(256, 5, dtype=torch.bool)
    allowed[:5] = torch.eye(5, dtype=torch.bool)
    allowed[5, [1, 3]] = True
    allowed[6, 1:] = True
    allowed[255] = True
    return allowed


def test_set_costs_minus_the_log_of_its_probability(sets):
    torch.manual_seed(0)
    logits = torch.randn(1, 5, 1, 4, requires_grad=True)
    p = logits.detach().softmax(1)[0, :, 0]
    labels = torch.tensor([[[5, 6, 2, 255]]])
    loss = SegmentationLoss(torch.ones(5), allowed=sets)(logits, labels)
    each = -torch.stack([p[[1, 3], 0].sum(), p[1:, 1].sum(), p[2, 2]]).log()
    assert loss.item() == pytest.approx(each.mean().item(), rel=1e-5)
    loss.backward()
    gradient = logits.grad[0, :, 0] * 3
    # Softmax minus what the label allows of it, scaled to 1; nothing where it says nothing.
    for pixel, allowed in enumerate(([1, 3], [1, 2, 3, 4], [2])):
        share = torch.zeros(5)
        share[allowed] = p[allowed, pixel] / p[allowed, pixel].sum()
        torch.testing.assert_close(gradient[:, pixel], p[:, pixel] - share)
    assert not gradient[:, 3].any()


def test_plain_labels_cost_the_same_with_and_without_sets(sets):
    logits, labels = random_batch()
    options = {'dice': 0.5, 'smoothing': 0.1}
    one = SegmentationLoss(RANDOM_WEIGHTS, **options)(logits, labels)
    two = SegmentationLoss(RANDOM_WEIGHTS, **options, allowed=sets)(logits, labels)
    assert one.item() == pytest.approx(two.item(), rel=1e-5)


def test_set_weighs_as_its_classes_do_on_average(sets):
    loss = SegmentationLoss(torch.tensor([1.0, 2, 3, 4, 5]), allowed=sets)
    assert loss.weight_of(torch.tensor([[[5, 6, 0, 255]]])).item() == 3 + 3.5 + 1 + 0


def test_dice_and_lovasz_look_past_sets(sets):
    """Pixels with a set in place of void change the cross-entropy alone."""
    logits = torch.randn(1, 5, 2, 3)
    labels = torch.tensor([[[0, 1, 2], [3, 5, 6]]])
    void = labels.masked_fill(labels > 4, 255)
    for options in ({'dice': 1.0}, {'lovasz': 1.0}):
        with_, without = (
            SegmentationLoss(torch.ones(5), **options, allowed=sets)(logits, ids)
            - SegmentationLoss(torch.ones(5), allowed=sets)(logits, ids)
            for ids in (labels, void)
        )
        assert with_.item() == pytest.approx(without.item(), rel=1e-4)


def test_probability_that_rounds_to_nothing_gives_a_finite_loss(sets):
    logits = torch.zeros(1, 5, 1, 1)
    logits[0, 0] = 500
    assert torch.isfinite(
        SegmentationLoss(torch.ones(5), allowed=sets)(logits, torch.tensor([[[6]]]))
    )
