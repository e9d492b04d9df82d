"""The loss of a network against what teachers say."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from training.teachers import CELL, Statement

#: Share of a square that something must be said of, or nothing is learnt there.
_LEAST = 0.5


class DistillationLoss(nn.Module):
    """Divergence of the student from its teachers, times the square of the temperature.

    As Hinton et al. have it (arXiv 1503.02531, section 2): both are softened by the temperature,
    and its square keeps the gradients as large as they would be at 1. A statement's probability is
    the sum of those of the classes that it allows, among the classes that the teacher can tell; so
    a class that no teacher knows is neither raised nor lowered.

    :param statements: of the planes of the answers.
    :param classes: of the student.
    """

    def __init__(self, statements: Sequence[Statement], classes: int, temperature: float) -> None:
        super().__init__()
        self.temperature = temperature
        for name in ('allowed', 'known'):
            table = torch.zeros(len(statements), classes)
            for row, statement in zip(table, statements, strict=True):
                row[list(getattr(statement, name))] = 1
            self.register_buffer(name, table)

    def spoken(self, answers: Tensor) -> Tensor:
        """Number of squares of which anything is said, ()."""
        return (answers.sum(1) >= _LEAST).sum().to(answers.dtype)

    def forward(self, logits: Tensor, answers: Tensor, divisor: Tensor | None = None) -> Tensor:
        """Loss of a batch or of a part of one.

        :param logits: (N, classes, H, W) float32.
        :param answers: (N, statements, H // CELL, W // CELL) float32.
        :param divisor: of the sum over the squares, () float32: the mean `spoken` of all parts of
            the batch; the part's own if None.
        """
        logarithm = (functional.avg_pool2d(logits, CELL) / self.temperature).log_softmax(1)
        probability = logarithm.exp()
        said, among = (
            torch.einsum('kc,nchw->nkhw', table, probability).clamp_min(1e-12).log()
            for table in (self.allowed, self.known)
        )
        total = answers.sum(1)
        aim = answers / total.clamp_min(_LEAST).unsqueeze(1)
        divergence = (torch.xlogy(aim, aim) - aim * (said - among)).sum(1)
        divisor = self.spoken(answers) if divisor is None else divisor
        summed = (divergence * (total >= _LEAST)).sum()
        return self.temperature**2 * summed / divisor.clamp_min(1e-12)
