"""The loss: cross-entropy over all or the hardest pixels, and terms over whole classes."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from linknet_ros.classes import UNLABELED


class SegmentationLoss(nn.Module):
    """Cross-entropy with class weights plus shares of soft Dice and Lovasz-softmax.

    Dice and Lovasz treat each class as a whole, so that a class of few pixels counts as much as
    road; they use the pixels whose label is a single class.

    :param weights: of the classes in the cross-entropy, shape (classes,), float32.
    :param dice: factor of the Dice loss, 0 leaves it out.
    :param lovasz: factor of the Lovasz-softmax loss, 0 leaves it out.
    :param hardest: share of the labelled pixels, those of the highest cross-entropy, that the
        cross-entropy is averaged over (OHEM); 1 is all.
    :param smoothing: label smoothing of the cross-entropy, 0 is off.
    :param allowed: which classes each label id allows, bool (256, classes), as
        `LabelSets.table`; None where every label is a class.
    """

    def __init__(
        self,
        weights: Tensor,
        dice: float = 0.0,
        lovasz: float = 0.0,
        hardest: float = 1.0,
        smoothing: float = 0.0,
        allowed: Tensor | None = None,
    ) -> None:
        super().__init__()
        classes = len(weights)
        if allowed is None:
            allowed = torch.zeros(UNLABELED + 1, classes, dtype=torch.bool)
            allowed[:classes] = torch.eye(classes, dtype=torch.bool)
        # A set weighs what its classes do on average; void weighs nothing.
        per_id = (allowed * weights).sum(1) / allowed.sum(1).clamp_min(1)
        per_id[UNLABELED] = 0
        self.register_buffer('weights', weights)
        self.register_buffer('per_id', per_id)
        self.register_buffer('allowed', allowed.float())
        self.classes = classes
        self.has_sets = bool(allowed[classes:UNLABELED].any())
        self.dice = dice
        self.lovasz = lovasz
        self.hardest = hardest
        self.smoothing = smoothing

    def weight_of(self, labels: Tensor) -> Tensor:
        """Sum of the weights of the labelled pixels, what the cross-entropy divides by."""
        weights: Tensor = self.per_id[labels]
        return weights.sum()

    def forward(self, logits: Tensor, labels: Tensor, divisor: Tensor | None = None) -> Tensor:
        """Loss of a batch or of a part of one.

        :param logits: (N, classes, H, W) float32.
        :param labels: (N, H, W) int64, 255 is ignored.
        :param divisor: of the summed cross-entropy, () float32: the mean `weight_of` of all parts
            of the batch, so that the mean of their losses is the loss of the batch; without it,
            the labels' own. Dice, Lovasz and the hardest pixels are those of the part.
        """
        logarithm = functional.log_softmax(logits, 1)
        loss = self._cross_entropy(logarithm, labels, divisor)
        if self.dice or self.lovasz:
            probability = logarithm.exp()
            plain = labels.masked_fill(labels >= self.classes, UNLABELED)
            if self.dice:
                loss = loss + self.dice * dice_loss(probability, plain)
            if self.lovasz:
                loss = loss + self.lovasz * lovasz_softmax(probability, plain)
        return loss

    def _cross_entropy(self, logarithm: Tensor, labels: Tensor, divisor: Tensor | None) -> Tensor:
        weight = self.per_id[labels]
        per_pixel = weight * self._surprise(logarithm, labels)
        if self.smoothing:
            even = -logarithm.mean(1) * weight
            per_pixel = (1 - self.smoothing) * per_pixel + self.smoothing * even
        if self.hardest < 1:
            count = max(1, int(self.hardest * int((labels != UNLABELED).sum())))
            values, order = per_pixel.flatten().topk(count, sorted=False)
            return values.sum() / weight.flatten()[order].sum().clamp_min(1e-12)
        divisor = weight.sum() if divisor is None else divisor
        return per_pixel.sum() / divisor.clamp_min(1e-12)

    def _surprise(self, logarithm: Tensor, labels: Tensor) -> Tensor:
        """Minus the log of the probability of what each label allows, (N, H, W)."""
        if not self.has_sets:
            return functional.nll_loss(logarithm, labels, ignore_index=UNLABELED, reduction='none')
        allowed = self.allowed[labels].movedim(-1, 1)
        # Where rounding leaves nothing of it, the pixel is taken for mislabelled.
        return -(logarithm.exp() * allowed).sum(1).clamp_min(1e-12).log()


def dice_loss(probability: Tensor, labels: Tensor) -> Tensor:
    """1 minus the mean soft Dice coefficient, 2 * sum(p * y) / (sum(p) + sum(y)) over a batch, of
    the classes that the batch has (Milletari et al., V-Net, arXiv 1606.04797, without squares).

    :param probability: (N, classes, H, W) float32, softmax.
    :param labels: (N, H, W) int64, 255 is ignored.
    """
    labelled = (labels != UNLABELED).unsqueeze(1)
    probability = probability * labelled
    ids = labels.masked_fill(labels == UNLABELED, 0)
    # Probability that each pixel gives to its true class, summed per class.
    true = probability.gather(1, ids.unsqueeze(1)).flatten()
    pixels = labelled.flatten().to(true.dtype)
    classes = probability.shape[1]
    hits = torch.zeros(classes, device=true.device).index_add(0, ids.flatten(), true)
    count = torch.zeros(classes, device=true.device).index_add(0, ids.flatten(), pixels)
    dice = 2 * hits / (probability.sum((0, 2, 3)) + count).clamp_min(1e-6)
    present = count > 0
    return ((1 - dice) * present).sum() / present.sum().clamp_min(1)


def lovasz_softmax(probability: Tensor, labels: Tensor) -> Tensor:
    """Lovasz extension of the Jaccard loss, mean over the classes that the batch has (Berman et
    al., arXiv 1705.08790, algorithm 1).

    :param probability: (N, classes, H, W) float32, softmax.
    :param labels: (N, H, W) int64, 255 is ignored.
    """
    classes = probability.shape[1]
    labelled = labels != UNLABELED
    scores = probability.movedim(1, -1)[labelled]  # (pixels, classes)
    ids = labels[labelled]
    losses = []
    for c in range(classes):
        truth = (ids == c).to(scores.dtype)
        total = truth.sum()
        if not total:
            continue
        error, order = (truth - scores[:, c]).abs().sort(descending=True)
        true_first = truth[order].cumsum(0)
        false_first = (1 - truth[order]).cumsum(0)
        jaccard = 1 - (total - true_first) / (total + false_first)
        # Gradient of the Lovasz extension: what each pixel adds to the Jaccard loss.
        gradient = torch.cat([jaccard[:1], jaccard[1:] - jaccard[:-1]])
        losses.append(error @ gradient)
    # Without a labelled pixel there is nothing to learn, but the graph must stay connected.
    return torch.stack(losses).mean() if losses else 0 * probability.sum()
