"""Recipes: everything but data and network that decides the result of a training run."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, field, replace
from typing import Any


def _value(default: Any, explanation: str, choices: tuple[str, ...] | None = None) -> Any:
    return field(default=default, metadata={'help': explanation, 'choices': choices})


@dataclass(frozen=True)
class Recipe:
    """Stored in every checkpoint; each value is also an option of `training.train`."""

    epochs: int = _value(100, 'passes over the training frames')
    batch: int = _value(8, 'frames per optimiser step, over all processes')
    accumulate: int = _value(1, 'parts a batch is computed in, where memory is short')
    optimizer: str = _value('adamw', 'optimiser', ('adamw', 'rmsprop'))
    learning_rate: float = _value(1e-3, 'highest learning rate')
    weight_decay: float = _value(1e-2, 'decoupled for adamw, L2 for rmsprop')
    frozen: int = _value(0, 'first parts of the encoder that keep the weights they start with')
    encoder_rate: float = _value(1.0, "the encoder's learning rate, as a share")
    schedule: str = _value('one-cycle', 'learning rate over time', ('one-cycle', 'step', 'open'))
    warm_up: float = _value(
        0.1, 'part in which the rate rises: share of a one-cycle run, epochs of an open one'
    )
    warm_up_from: float = _value(0.04, 'first rate, as a share of the highest')
    crop_width: int = _value(0, 'pixels; 0 is the whole frame')
    crop_height: int = _value(0, 'pixels; 0 is the whole frame')
    scale_min: float = _value(1.0, 'smallest enlargement of the frame before the crop')
    scale_max: float = _value(1.0, 'largest enlargement of the frame before the crop')
    rotation: float = _value(0.0, 'largest rotation to either side, degrees')
    aspect: float = _value(0.0, 'largest change of width against height, natural logarithm')
    mirror: bool = _value(False, 'mirror every other frame left to right')
    color: float = _value(0.0, 'strength of brightness, contrast, colour and gamma changes')
    blur: float = _value(0.0, 'probability of a light blur')
    noise: float = _value(0.0, 'probability of sensor noise')
    focus: float = _value(0.0, 'probability that a crop is laid around a rare class')
    paste: float = _value(0.0, 'probability that rare classes of another frame are pasted in')
    rare_below: float = _value(0.02, 'share of the pixels below which a class is rare')
    weight_power: float = _value(0.0, 'class weights (1/ln(1.02+p))^POWER: 1 paper, 0 equal')
    hardest: float = _value(1.0, 'share of the pixels the cross-entropy is taken of (OHEM)')
    smoothing: float = _value(0.0, 'label smoothing of the cross-entropy')
    dice: float = _value(0.0, 'factor of the Dice loss')
    lovasz: float = _value(0.0, 'factor of the Lovasz-softmax loss')
    supervision: float = _value(0.0, 'factor of the losses at the decoders (deep supervision)')
    average_decay: float = _value(0.0, 'decay of the moving average of the weights, 0 is off')
    street_frames: int = _value(0, 'frames of the procedural street in every epoch (CamVid)')
    fixed_norms: bool = _value(False, 'batch norms keep the statistics that they start with')
    loss_stride: int = _value(
        1, 'the loss takes every n-th pixel of every n-th row, from a random start'
    )
    precision: str = _value(
        'auto', 'auto: bf16 where the machine has it', ('auto', 'bf16', 'fp32')
    )
    teacher_weight: float = _value(0.5, 'factor of what --teacher says, besides the labels')
    teacher_temperature: float = _value(
        2.0, 'that logits of teachers and network are divided by: more shows the less likely'
    )
    seed: int = _value(0, 'of the first weights, the order and every random change')

    def learning_rate_at(self, progress: float) -> float:
        """Learning rate at a part of the run, progress from 0 to 1.

        'one-cycle' rises linearly and falls in half a cosine to 0 (Smith, arXiv 1708.07120, in
        the two-phase form that libraries ship); 'step' divides by 10 after each third.
        """
        if self.schedule == 'step':
            return self.learning_rate * 0.1 ** int(min(progress, 1 - 1e-9) * 3)
        if progress < self.warm_up:
            return self._rising(progress)
        done = (progress - self.warm_up) / (1 - self.warm_up)
        return self.learning_rate * 0.5 * (1 + math.cos(math.pi * done))

    def open_rate_at(self, epoch: float, decay: tuple[int, int] | None) -> float:
        """Learning rate of an 'open' run: it rises, stays, and falls linearly to 0 at the end.

        So the length need not be known at the start, and what was trained so far can be ended
        well at any time (Haegele et al., "Scaling Laws and Compute-Optimal Training Beyond Fixed
        Training Durations", arXiv 2405.18392).

        :param epoch: from 0 on, with fractions.
        :param decay: first and last epoch of the fall; None while it is not decided.
        """
        if epoch < self.warm_up:
            return self._rising(epoch)
        if decay is None or epoch <= decay[0]:
            return self.learning_rate
        return self.learning_rate * max(0, decay[1] - epoch) / (decay[1] - decay[0])

    def _rising(self, done: float) -> float:
        share = self.warm_up_from + (1 - self.warm_up_from) * done / self.warm_up
        return self.learning_rate * share

    def table(self) -> str:
        """Every value with what it means, one per line."""
        lines = []
        for name, value in asdict(self).items():
            explanation = type(self).__dataclass_fields__[name].metadata['help']
            lines.append(f'{name:19} {value!s:10} {explanation}')
        return '\n'.join(lines)


#: `paper`: LinkNet, arXiv 1707.03718, section IV: RMSProp 5e-4, batch 8 on CamVid (10 on
#: Cityscapes: --batch 10), weights 1 / ln(1.02 + p), whole frames, no augmentation. The number of
#: epochs and the step are those of the authors' code (e-lab/LinkNet: 300, a tenth after each 100).
_PAPER = Recipe(
    epochs=300,
    batch=8,
    optimizer='rmsprop',
    learning_rate=5e-4,
    weight_decay=0.0,
    schedule='step',
    weight_power=1.0,
)

#: `onecycle`: the CamVid run of Atom-101/Linknet-NNFL-Project: AdamW with defaults, one cycle
#: to 3e-3 over 100 epochs, a fifth of them rising, from a fifth of the rate. Its augmentation is
#: left out: it always doubles and shears the frame in training and never in the test.
_ONECYCLE = Recipe(
    epochs=100,
    batch=8,
    learning_rate=3e-3,
    warm_up=0.2,
    warm_up_from=0.2,
    mirror=True,
    weight_power=1.0,
)

#: `best`: what helped of all that was tried on CamVid alone (training/RESULTS.md), by which the
#: ResNet-18 was trained; from scratch give it longer: --epochs 300.
_BEST = Recipe(
    epochs=100,
    batch=4,
    learning_rate=7e-4,
    crop_width=384,
    crop_height=288,
    scale_min=0.7,
    scale_max=1.6,
    rotation=3.0,
    mirror=True,
    color=0.35,
    blur=0.1,
    noise=0.1,
    focus=0.3,
    paste=0.2,
    dice=0.3,
    supervision=0.2,
    average_decay=0.998,
)

#: `finish`: the last epochs of a `best` run (--init RUN/best.pt): whole frames at about their own
#: size, light augmentation, a low rate.
_FINISH = replace(
    _BEST,
    epochs=18,
    learning_rate=3e-4,
    warm_up=0.05,
    crop_width=0,
    crop_height=0,
    scale_min=0.8,
    scale_max=1.25,
    rotation=2.0,
    color=0.3,
    blur=0.05,
    noise=0.05,
    focus=0.2,
    paste=0.0,
)

#: `open`: for several data sets at once and an encoder with ImageNet weights, on a machine that is
#: not free all the time: it goes on until --resume --decay-epochs N ends it.
_OPEN = Recipe(
    epochs=10_000,
    batch=8,
    learning_rate=2e-3,
    encoder_rate=0.25,
    schedule='open',
    warm_up=0.5,
    crop_width=352,
    crop_height=256,
    scale_min=0.6,
    scale_max=1.6,
    rotation=4.0,
    aspect=0.25,
    mirror=True,
    color=0.5,
    blur=0.15,
    noise=0.15,
    focus=0.3,
    paste=0.2,
    weight_power=0.3,
    dice=0.3,
    average_decay=0.997,
    frozen=3,
    loss_stride=2,
)

#: `adapt`: for training.adapt, from a trained network: a low rate, and batch norms that compute in
#: training what they will on the robot, since a batch of few places has other statistics.
_ADAPT = replace(
    _OPEN,
    learning_rate=3e-4,
    encoder_rate=0.5,
    warm_up=1.0,
    scale_min=0.7,
    scale_max=1.5,
    aspect=0.15,
    focus=0.2,
    weight_power=0.0,
    dice=0.2,
    average_decay=0.99,
    frozen=1,
    fixed_norms=True,
)

RECIPES = {
    'paper': _PAPER,
    'onecycle': _ONECYCLE,
    'best': _BEST,
    'finish': _FINISH,
    'open': _OPEN,
    'adapt': _ADAPT,
}
