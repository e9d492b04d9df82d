"""The loss: weighted cross-entropy, and Dice where rare classes must count."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from linknet_ros.classes import UNLABELED


class SegmentationLoss(nn.Module):
    """Cross-entropy with class weights plus a share of soft Dice.

    Dice looks at each class as a whole, so that a class of few pixels counts as much as the road.

    :param weights: of the classes in the cross-entropy, shape (classes,), float32.
    :param dice: factor of the Dice loss, 0 leaves it out.
    """

    def __init__(self, weights: Tensor, dice: float = 0.0) -> None:
        super().__init__()
        self.cross_entropy = nn.CrossEntropyLoss(weights, ignore_index=UNLABELED)
        self.dice = dice

    def forward(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Loss of a batch.

        :param logits: (N, classes, H, W) float32.
        :param labels: (N, H, W) int64, 255 is ignored.
        """
        loss: Tensor = self.cross_entropy(logits, labels)
        if self.dice:
            loss = loss + self.dice * dice_loss(logits, labels)
        return loss


def dice_loss(logits: Tensor, labels: Tensor) -> Tensor:
    """1 minus the mean soft Dice coefficient, 2 * sum(p * y) / (sum(p) + sum(y)) over a batch, of
    the classes that the batch has (Milletari et al., V-Net, arXiv 1606.04797, without squares).

    :param logits: (N, classes, H, W) float32.
    :param labels: (N, H, W) int64, 255 is ignored.
    """
    labelled = (labels != UNLABELED).unsqueeze(1)
    probability = logits.softmax(1) * labelled
    ids = labels.masked_fill(labels == UNLABELED, 0)
    # Probability that each pixel gives to its true class, summed per class.
    true = probability.gather(1, ids.unsqueeze(1)).flatten()
    pixels = labelled.flatten().to(true.dtype)
    classes = logits.shape[1]
    hits = torch.zeros(classes, device=logits.device).index_add(0, ids.flatten(), true)
    count = torch.zeros(classes, device=logits.device).index_add(0, ids.flatten(), pixels)
    dice = 2 * hits / (probability.sum((0, 2, 3)) + count).clamp_min(1e-6)
    return 1 - dice[count > 0].mean()
