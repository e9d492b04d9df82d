"""The loss against teachers: by hand, and what it leaves alone."""

import pytest
import torch
from torch.nn import functional

from training.distillation import DistillationLoss
from training.teachers import CELL, Statement


def statements(*allowed, known=None):
    known = frozenset().union(*allowed) if known is None else frozenset(known)
    return [Statement(frozenset(a), known) for a in allowed]


def logits_of(values, height=1, width=1):
    """Logits that are the same everywhere, of so many squares."""
    values = torch.tensor(values, dtype=torch.float32)
    return values.view(1, -1, 1, 1).repeat(1, 1, CELL * height, CELL * width).requires_grad_()


def answers_of(values, height=1, width=1):
    values = torch.tensor(values, dtype=torch.float32)
    return values.view(1, -1, 1, 1).repeat(1, 1, height, width)


@pytest.mark.parametrize('temperature', [1.0, 3.0])
def test_divergence_of_the_same_classes_is_torchs(temperature):
    torch.manual_seed(0)
    logits = torch.randn(2, 5, 3 * CELL + 1, 4 * CELL + 2, requires_grad=True)
    answers = torch.randn(2, 5, 3, 4).softmax(1)
    loss = DistillationLoss(statements({0}, {1}, {2}, {3}, {4}), 5, temperature)
    ours = loss(logits, answers)
    means = functional.avg_pool2d(logits, CELL)
    theirs = (
        functional.kl_div((means / temperature).log_softmax(1), answers, reduction='none')
        .sum(1)
        .mean()
    )
    torch.testing.assert_close(ours, temperature**2 * theirs)
    assert loss(answers.log().repeat_interleave(CELL, 2).repeat_interleave(CELL, 3), answers) == (
        pytest.approx(0, abs=1e-5) if temperature == 1 else pytest.approx(0, abs=9)
    )


def test_gradient_hardly_depends_on_the_temperature():
    """Hinton et al., section 2.1: soft targets and logits that differ little."""
    gradients = []
    for temperature in (10.0, 20.0):
        logits = logits_of([0.1, 0.0, -0.1])
        aim = (torch.tensor([-0.3, 0.1, 0.2]) / temperature).softmax(0)
        DistillationLoss(statements({0}, {1}, {2}), 3, temperature)(
            logits, aim.view(1, 3, 1, 1)
        ).backward()
        gradients.append(logits.grad.sum((2, 3)))
    torch.testing.assert_close(gradients[0], gradients[1], rtol=0.05, atol=1e-3)


def test_class_that_no_teacher_knows_is_neither_raised_nor_lowered():
    logits = logits_of([1.0, 0.0, 3.0])
    DistillationLoss(statements({0}, {1}), 3, 1.0)(logits, answers_of([0.2, 0.8])).backward()
    by_class = logits.grad.sum((0, 2, 3))
    torch.testing.assert_close(by_class[2], torch.tensor(0.0), rtol=0, atol=1e-6)
    assert by_class[0] > 0.1
    torch.testing.assert_close(by_class[1], -by_class[0])


def test_group_does_not_say_which_of_its_classes():
    """0.6 for {1, 2}, of which the student gives to 1 as much more than to 2 as before."""
    logits = logits_of([0.0, 2.0, 1.0])
    loss = DistillationLoss(statements({0}, {1, 2}), 3, 1.0)
    share = logits[0, :, 0, 0].detach().softmax(0)
    aim = torch.tensor([0.4, 0.6])
    value = loss(logits, answers_of(aim.tolist()))
    expected = (aim * (aim / torch.stack([share[0], share[1] + share[2]])).log()).sum()
    torch.testing.assert_close(value, expected)
    value.backward()
    gradient = logits.grad.sum((0, 2, 3))
    torch.testing.assert_close(gradient[1] / gradient[2], share[1] / share[2])


def test_statements_of_several_teachers():
    """One tells three classes, one tells road from anything else; each has half of the say."""
    both = [*statements({0}, {1}, {2}), *statements({0}, {1, 2})]
    assert both[0] == both[3]  # they know the same
    several = [*both[:3], both[4], *statements({0}, {1}, known={0, 1})]
    answers = [0.3, 0.1, 0.1, 0.0, 0.25, 0.25]
    logits = logits_of([0.5, -0.5, 1.5])
    share = logits[0, :, 0, 0].detach().softmax(0)
    among = share / (share[0] + share[1])
    expected = (
        0.3 * (0.3 / share[0]).log()
        + 0.1 * (0.1 / share[1]).log()
        + 0.1 * (0.1 / share[2]).log()
        + 0.25 * (0.25 / among[0]).log()
        + 0.25 * (0.25 / among[1]).log()
    )
    torch.testing.assert_close(
        DistillationLoss(several, 3, 1.0)(logits, answers_of(answers)), expected
    )


def test_places_of_which_little_is_said_get_no_gradient_and_do_not_count():
    logits = logits_of([1.0, 0.0], 1, 3)
    answers = answers_of([0.2, 0.8], 1, 3)
    answers[..., 1] = 0
    answers[..., 2] *= 0.4
    loss = DistillationLoss(statements({0}, {1}), 2, 1.0)
    assert loss.spoken(answers) == 1
    value = loss(logits, answers)
    torch.testing.assert_close(value, loss(logits[..., :CELL], answers[..., :1]))
    value.backward()
    assert logits.grad[..., :CELL].all()
    assert not logits.grad[..., CELL:].any()
    # Of more than half of a square, what is said is a whole.
    torch.testing.assert_close(
        loss(logits[..., :CELL], 0.7 * answers[..., :1]), value, rtol=1e-5, atol=1e-6
    )
    silent = loss(logits, torch.zeros_like(answers))
    silent.backward()
    assert silent == 0


def test_mean_over_parts_is_the_loss_of_the_batch():
    torch.manual_seed(1)
    logits = torch.randn(4, 3, 2 * CELL, 2 * CELL)
    answers = torch.randn(4, 3, 2, 2).softmax(1)
    answers[0] = 0
    loss = DistillationLoss(statements({0}, {1}, {2}), 3, 2.0)
    divisor = loss.spoken(answers) / 2
    parts = [loss(logits[i : i + 2], answers[i : i + 2], divisor) for i in (0, 2)]
    torch.testing.assert_close(sum(parts) / 2, loss(logits, answers))


def test_certain_student_gives_a_finite_loss():
    logits = logits_of([200.0, -200.0])
    loss = DistillationLoss(statements({0}, {1}), 2, 1.0)(logits, answers_of([0.0, 1.0]))
    loss.backward()
    assert loss.isfinite()
    assert logits.grad.isfinite().all()
