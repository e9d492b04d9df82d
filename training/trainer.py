"""A network in training: steps, averaged weights, evaluation, and all that a checkpoint holds."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import asdict, fields
from typing import Any, NamedTuple

import cv2
import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from torch.utils.data import DataLoader
from tqdm import tqdm

from linknet_ros.classes import UNLABELED
from linknet_ros.errors import SourceError
from training.augment import Augment
from training.class_weights import class_frequencies, count_labels, inverse_log_weights
from training.deep_supervision import SupervisedNetwork, side_loss
from training.distillation import DistillationLoss
from training.label_sets import LabelSets
from training.losses import SegmentationLoss
from training.networks import Network, NetworkConfig, normalize
from training.processes import Processes
from training.recipes import Recipe
from training.samples import Source, TrainingSamples, batch_positions
from training.teachers import Teachers


class Part(NamedTuple):
    """One part of a batch.

    :param frames: (N, H, W, 3) uint8.
    :param labels: (N, H, W) int64, or every n-th of them.
    :param answers: of the teachers, see TrainingSamples; None where there are none.
    """

    frames: Tensor
    labels: Tensor
    answers: Tensor | None = None


_DEFAULTS = {field.name: field.default for field in fields(Recipe)}


class Trainer:
    """Trains one network by one recipe, alone or as one of several processes.

    :param network: with its first weights.
    :param config: what the network was built from.
    :param sources: frames to train on.
    :param processes: this process and the others.
    :param workers: processes that augment, per training process.
    :param sets: what the labels stand for where not all are classes.
    :param teachers: who have been asked about the frames.
    :raises SourceError: when the recipe does not fit the frames or the processes.
    """

    def __init__(
        self,
        recipe: Recipe,
        network: Network,
        config: NetworkConfig,
        sources: Sequence[Source],
        processes: Processes,
        workers: int = 1,
        sets: LabelSets | None = None,
        teachers: Teachers | None = None,
    ) -> None:
        _check(recipe, sources, processes)
        if len(network.encoder) < max(recipe.frozen, recipe.encoder_rate != 1):
            raise SourceError(
                f'{network.title} has an encoder of {len(network.encoder)} parts',
                'lower --frozen, or leave --encoder-rate at 1',
            )
        self.recipe = recipe
        self.config = config
        self.processes = processes
        self.device = processes.device
        self.autocast = _autocast(recipe.precision, self.device)
        self.network = network.to(self.device, memory_format=torch.channels_last)
        self._frozen = tuple(self.network.encoder[: recipe.frozen])
        for part in self._frozen:
            part.requires_grad_(False)
        self.averaged = AveragedModel(
            self.network,
            multi_avg_fn=_growing_average(recipe.average_decay),
            use_buffers=True,
        )
        model: nn.Module = self.network
        if recipe.supervision:
            model = SupervisedNetwork(self.network, config.classes).to(self.device)
        if processes.count > 1:
            if self.device.type == 'cuda':
                # Statistics of the whole batch; PyTorch has this on GPUs only.
                model = nn.SyncBatchNorm.convert_sync_batchnorm(model)
            model = DistributedDataParallel(model)
        self.model = model
        self.optimizer = _optimizer(recipe, self.model, self.network)
        counts = count_labels(
            source.frames[i][1]
            for source in sources
            if source.counted
            for i in range(len(source.frames))
        )
        frequencies = class_frequencies(counts, config.classes)
        allowed = np.eye(256, config.classes, dtype=bool) if sets is None else sets.table()
        known = teachers.known if teachers else frozenset()
        #: Classes that no label of the sources allows and no teacher knows: nothing teaches them.
        self.absent = [
            int(c)
            for c in np.flatnonzero(counts[:UNLABELED] @ allowed[:UNLABELED] == 0)
            if c not in known
        ]
        weights = inverse_log_weights(frequencies, recipe.weight_power)
        self.loss = SegmentationLoss(
            torch.tensor(weights, dtype=torch.float32),
            dice=recipe.dice,
            lovasz=recipe.lovasz,
            hardest=recipe.hardest,
            smoothing=recipe.smoothing,
            allowed=None if sets is None else torch.from_numpy(sets.table()),
        ).to(self.device)
        self.distillation: DistillationLoss | None = None
        if teachers is not None:
            self.distillation = DistillationLoss(
                teachers.statements, config.classes, recipe.teacher_temperature
            ).to(self.device)
        rare = [c for c, share in enumerate(frequencies) if 0 < share < recipe.rare_below]
        augment = _augment(recipe, sources, rare)
        self.samples = TrainingSamples(sources, augment, recipe.seed, recipe.paste, rare, teachers)
        positions = batch_positions(
            len(self.samples), recipe.batch, recipe.accumulate, processes.rank, processes.count
        )
        self.loader = DataLoader(
            self.samples,
            batch_sampler=positions,
            num_workers=workers,
            worker_init_fn=_single_thread_opencv,
        )
        self.epoch = 0
        self.best_miou = -1.0
        #: Epoch from which on an open-ended run's rate falls, and where it ends.
        self.decay: tuple[int, int] | None = None

    @property
    def end(self) -> int:
        """Number of epochs the run has."""
        return self.decay[1] if self.decay else self.recipe.epochs

    def start_decay(self, epochs: int) -> None:
        """End an open-ended run: from here on the rate falls to 0 in so many epochs.

        :raises SourceError: when the recipe's schedule has an end of its own.
        """
        if self.recipe.schedule != 'open':
            raise SourceError(
                f'the schedule {self.recipe.schedule} ends by itself',
                'use --decay-epochs with --schedule open',
            )
        if self.decay is None:
            self.decay = (self.epoch, self.epoch + epochs)

    @property
    def learning_rate(self) -> float:
        """The optimiser's, at present."""
        return float(self.optimizer.param_groups[-1]['lr'])

    def train_epoch(self, progress: bool = True) -> float:
        """One pass over the samples.

        :returns: mean loss.
        :raises SourceError: when the loss is not finite.
        """
        self.model.train()
        for part in self._frozen:
            part.eval()
        if self.recipe.fixed_norms:
            for module in self.model.modules():
                if isinstance(module, nn.modules.batchnorm._BatchNorm):
                    module.eval()
        self.samples.start_epoch(self.epoch)
        # What is drawn while training (dropout) depends on the epoch, not on what ran before it.
        torch.manual_seed((self.recipe.seed * 100_003 + self.epoch) * 1_009 + self.processes.rank)
        steps = len(self.loader) // self.recipe.accumulate
        bar = tqdm(
            total=steps,
            desc=f'epoch {self.epoch + 1}/{self.end}',
            disable=not progress or not self.processes.first,
        )
        total = torch.zeros((), device=self.device)
        for step, parts in enumerate(self._batches()):
            self._set_learning_rate(self.epoch + step / steps)
            total += self._step(parts)
            bar.set_postfix(loss=f'{float(total) / (step + 1):.3f}', refresh=False)
            bar.update()
        bar.close()
        loss = float(self.processes.sum_tensor(total)) / self.processes.count / steps
        if not math.isfinite(loss):
            raise SourceError(
                f'the loss became {loss} in epoch {self.epoch + 1}',
                'use a lower --learning-rate or --precision fp32',
            )
        self.epoch += 1
        return loss

    def _batches(self) -> Iterator[list[Part]]:
        parts: list[Part] = []
        for frames, labels, *answers in self.loader:
            said = answers[0].to(self.device) if answers else None
            parts.append(Part(frames, labels.to(self.device).long(), said))
            if len(parts) == self.recipe.accumulate:
                yield parts
                parts = []

    def _step(self, parts: list[Part]) -> Tensor:
        """One optimiser step on the parts of a batch that this process has."""
        parts, at = self._thinned(parts)
        shares = self.processes.count * len(parts)
        weight = sum(self.loss.weight_of(part.labels) for part in parts)
        weight = self.processes.sum_tensor(weight)
        spoken = self._spoken(parts)
        loss = torch.zeros((), device=self.device)
        if not weight and not spoken:
            return loss  # A batch of void only.
        divisors = weight / shares, spoken / shares
        self.optimizer.zero_grad()
        for i, part in enumerate(parts):
            # Gradients of all processes are averaged once, behind the last part.
            wait = self.processes.count > 1 and i + 1 < len(parts)
            with self.model.no_sync() if wait else nullcontext():
                share = self._loss(part, divisors, at) / len(parts)
                share.backward()
            loss += share.detach()
        self.optimizer.step()
        self.averaged.update_parameters(self.network)
        return loss

    def _thinned(self, parts: list[Part]) -> tuple[list[Part], tuple[slice, slice]]:
        """The parts with the labels that this step's loss takes, and where those are."""
        stride = self.recipe.loss_stride
        if stride == 1:
            # Nothing is drawn: dropout sees the same random numbers as without this.
            return parts, (slice(None), slice(None))
        row, column = torch.randint(stride, (2,)).tolist()
        at = slice(row, None, stride), slice(column, None, stride)
        return [part._replace(labels=part.labels[:, at[0], at[1]]) for part in parts], at

    def _spoken(self, parts: Sequence[Part]) -> Tensor:
        """Number of squares of a batch of which teachers say anything, of all processes."""
        if self.distillation is None:
            return torch.zeros((), device=self.device)
        spoken = [self.distillation.spoken(p.answers) for p in parts if p.answers is not None]
        return self.processes.sum_tensor(torch.stack(spoken).sum())

    def _loss(
        self, part: Part, divisors: tuple[Tensor, Tensor], at: tuple[slice, slice]
    ) -> Tensor:
        """Loss of a part of a batch.

        :param divisors: of the losses of labels and teachers.
        :param at: where the labels are.
        """
        frames, labels, answers = part
        image = normalize(frames, self.network.statistics).to(
            self.device, memory_format=torch.channels_last
        )
        with self.autocast:
            output = self.model(image)
        logits, sides = output if self.recipe.supervision else (output, [])
        loss: Tensor = self.loss(logits[:, :, at[0], at[1]].float(), labels, divisors[0])
        if self.distillation is not None and answers is not None:
            taught = self.distillation(logits.float(), answers, divisors[1])
            loss = loss + self.recipe.teacher_weight * taught
        if sides:
            loss = loss + self.recipe.supervision * side_loss(sides, labels, self.network.stride)
        return loss

    def _set_learning_rate(self, epoch: float) -> None:
        if self.recipe.schedule == 'open':
            rate = self.recipe.open_rate_at(epoch, self.decay)
        else:
            rate = self.recipe.learning_rate_at(epoch / self.recipe.epochs)
        for group in self.optimizer.param_groups:
            group['lr'] = group['share'] * rate

    def state(self) -> dict[str, Any]:
        """All that a checkpoint needs to continue or to export."""
        return {
            'config': self.config.to_dict(),
            'recipe': asdict(self.recipe),
            'model': _unwrapped(self.model).state_dict(),
            'averaged': self.averaged.module.state_dict(),
            'averaged_steps': self.averaged.n_averaged,
            'optimizer': self.optimizer.state_dict(),
            'epoch': self.epoch,
            'decay': self.decay,
            'best_miou': self.best_miou,
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Continue from a checkpoint of the same recipe and network.

        :raises SourceError: when they differ, since the result would be that of neither.
        """
        for kind, now in (('config', self.config.to_dict()), ('recipe', asdict(self.recipe))):
            then = state[kind]
            for key, value in now.items():
                # A checkpoint from before this value existed had what is now its default.
                before = then.get(key, _DEFAULTS.get(key))
                if before != value:
                    raise SourceError(
                        f'the run was started with {key}={before}, not {value}',
                        'resume it with its own options or start another with a new --out',
                    )
        _unwrapped(self.model).load_state_dict(state['model'])
        self.averaged.module.load_state_dict(state['averaged'])
        self.averaged.n_averaged.copy_(state['averaged_steps'])
        self.optimizer.load_state_dict(state['optimizer'])
        self.epoch = state['epoch']
        self.decay = state.get('decay')
        self.best_miou = state['best_miou']


def _growing_average(decay: float) -> Callable[[Any, Any, Tensor], None]:
    """Moving average that reaches back over a tenth of the steps so far, until `decay` is more.

    Otherwise a short run would keep much of its first, untrained weights. The rule is
    TensorFlow's: https://www.tensorflow.org/api_docs/python/tf/train/ExponentialMovingAverage.
    """

    def update(averaged: Any, current: Any, steps: Tensor) -> None:
        now = min(decay, (1 + int(steps)) / (10 + int(steps)))
        get_ema_multi_avg_fn(now)(averaged, current, steps)

    return update


def _check(recipe: Recipe, sources: Sequence[Source], processes: Processes) -> None:
    if not 0 < recipe.scale_min <= recipe.scale_max:
        raise SourceError(
            f'scale_min {recipe.scale_min} and scale_max {recipe.scale_max} must be above 0, the '
            'smaller one first'
        )
    if not 0 <= recipe.average_decay < 1:
        raise SourceError(
            f'average_decay {recipe.average_decay} must be at least 0 and below 1',
            'at 1 the average would never move',
        )
    for name in ('blur', 'noise', 'focus', 'paste', 'rare_below', 'hardest', 'smoothing'):
        if not 0 <= getattr(recipe, name) <= 1:
            raise SourceError(f'{name} {getattr(recipe, name)} must be a share from 0 to 1')
    if not recipe.hardest:
        raise SourceError('hardest 0 leaves no pixel to learn from', 'use 1 for all')
    if recipe.supervision and recipe.loss_stride > 1:
        raise SourceError('--supervision needs every pixel', 'set --loss-stride 1')
    parts = recipe.accumulate * processes.count
    if recipe.batch % parts:
        raise SourceError(
            f'a batch of {recipe.batch} does not divide into {parts} equal parts '
            f'({recipe.accumulate} by --accumulate, {processes.count} processes)'
        )
    frames = sum(source.samples for source in sources)
    if frames < recipe.batch:
        raise SourceError(
            f'{frames} frames do not fill a batch of {recipe.batch}', 'lower --batch'
        )


def _augment(recipe: Recipe, sources: Sequence[Source], rare: list[int]) -> Augment:
    height, width = sources[0].frames[0][1].shape
    return Augment(
        recipe.crop_width or width,
        recipe.crop_height or height,
        scale=(recipe.scale_min, recipe.scale_max),
        rotation=recipe.rotation,
        aspect=recipe.aspect,
        mirror=recipe.mirror,
        color=recipe.color,
        blur=recipe.blur,
        noise=recipe.noise,
        focus=recipe.focus,
        focus_classes=rare,
    )


def _optimizer(recipe: Recipe, model: nn.Module, network: Network) -> torch.optim.Optimizer:
    kind = {'adamw': torch.optim.AdamW, 'rmsprop': torch.optim.RMSprop}[recipe.optimizer]
    fused = {'fused': True} if recipe.optimizer == 'adamw' else {}
    encoder: set[int] = set()
    if recipe.encoder_rate != 1:
        encoder = {id(p) for part in network.encoder for p in part.parameters()}
    groups = []
    for share, inside in ((recipe.encoder_rate, True), (1.0, False)):
        chosen = [
            p for p in model.parameters() if p.requires_grad and (id(p) in encoder) == inside
        ]
        if chosen:
            groups.append({'params': chosen, 'lr': share * recipe.learning_rate, 'share': share})
    return kind(groups, recipe.learning_rate, weight_decay=recipe.weight_decay, **fused)


def _unwrapped(model: nn.Module) -> nn.Module:
    return model.module if isinstance(model, DistributedDataParallel) else model


def _single_thread_opencv(worker: int) -> None:
    # Not 1: that waits for the parent's pool of threads, which a forked worker does not have.
    cv2.setNumThreads(0)


def _autocast(precision: str, device: torch.device) -> torch.autocast:
    """bfloat16 where the processor computes in it, else float32: emulation would be slower."""
    if device.type == 'cuda':
        native = torch.cuda.is_bf16_supported(including_emulation=False)
    else:
        native = torch.cpu.get_capabilities().get('avx512_bf16', False)
    enabled = precision == 'bf16' or (precision == 'auto' and native)
    return torch.autocast(device.type, torch.bfloat16, enabled=enabled)
