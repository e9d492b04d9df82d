"""A network in training: steps, averaged weights, evaluation, and all that a checkpoint holds."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import asdict
from typing import Any

import cv2
import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from torch.utils.data import DataLoader
from tqdm import tqdm

from linknet_ros.errors import SourceError
from training.augment import Augment
from training.class_weights import class_frequencies, inverse_log_weights
from training.deep_supervision import SupervisedNetwork, side_loss
from training.losses import SegmentationLoss
from training.networks import Network, NetworkConfig, normalize
from training.processes import Processes
from training.recipes import Recipe
from training.samples import Frames, TrainingSamples, batch_positions

#: Frames and labels of one part of a batch.
Part = tuple[Tensor, Tensor]


class Trainer:
    """Trains one network by one recipe, alone or as one of several processes.

    :param network: with its first weights.
    :param config: what the network was built from.
    :param sources: frames to train on.
    :param processes: this process and the others.
    :param workers: processes that augment, per training process.
    :raises SourceError: when the recipe does not fit the frames or the processes.
    """

    def __init__(
        self,
        recipe: Recipe,
        network: Network,
        config: NetworkConfig,
        sources: Sequence[Frames],
        processes: Processes,
        workers: int = 1,
    ) -> None:
        _check(recipe, sources, processes)
        self.recipe = recipe
        self.config = config
        self.processes = processes
        self.device = processes.device
        self.autocast = _autocast(recipe.precision, self.device)
        self.network = network.to(self.device, memory_format=torch.channels_last)
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
        self.optimizer = _optimizer(recipe, self.model)
        frequencies = class_frequencies(
            (source[i][1] for source in sources for i in range(len(source))), config.classes
        )
        weights = inverse_log_weights(frequencies, recipe.weight_power)
        self.loss = SegmentationLoss(
            torch.tensor(weights, dtype=torch.float32),
            dice=recipe.dice,
            lovasz=recipe.lovasz,
            hardest=recipe.hardest,
            smoothing=recipe.smoothing,
        ).to(self.device)
        rare = [c for c, share in enumerate(frequencies) if 0 < share < recipe.rare_below]
        self.samples = TrainingSamples(
            sources, _augment(recipe, sources, rare), recipe.seed, recipe.paste, rare
        )
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

    @property
    def learning_rate(self) -> float:
        """The optimiser's, at present."""
        return float(self.optimizer.param_groups[0]['lr'])

    def train_epoch(self, progress: bool = True) -> float:
        """One pass over the samples.

        :returns: mean loss.
        :raises SourceError: when the loss is not finite.
        """
        self.model.train()
        self.samples.start_epoch(self.epoch)
        # What is drawn while training (dropout) depends on the epoch, not on what ran before it.
        torch.manual_seed((self.recipe.seed * 100_003 + self.epoch) * 1_009 + self.processes.rank)
        steps = len(self.loader) // self.recipe.accumulate
        bar = tqdm(
            total=steps,
            desc=f'epoch {self.epoch + 1}/{self.recipe.epochs}',
            disable=not progress or not self.processes.first,
        )
        total = torch.zeros((), device=self.device)
        for step, parts in enumerate(self._batches()):
            self._set_learning_rate((self.epoch + step / steps) / self.recipe.epochs)
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
        for frames, labels in self.loader:
            parts.append((frames, labels.to(self.device)))
            if len(parts) == self.recipe.accumulate:
                yield parts
                parts = []

    def _step(self, parts: list[Part]) -> Tensor:
        """One optimiser step on the parts of a batch that this process has."""
        weight = sum(self.loss.weight_of(labels) for _, labels in parts)
        weight = self.processes.sum_tensor(weight)
        loss = torch.zeros((), device=self.device)
        if not weight:
            return loss  # A batch of void only.
        divisor = weight / (self.processes.count * len(parts))
        self.optimizer.zero_grad()
        for i, part in enumerate(parts):
            # Gradients of all processes are averaged once, behind the last part.
            wait = self.processes.count > 1 and i + 1 < len(parts)
            with self.model.no_sync() if wait else nullcontext():
                share = self._loss(*part, divisor) / len(parts)
                share.backward()
            loss += share.detach()
        self.optimizer.step()
        self.averaged.update_parameters(self.network)
        return loss

    def _loss(self, frames: Tensor, labels: Tensor, divisor: Tensor) -> Tensor:
        image = normalize(frames).to(self.device, memory_format=torch.channels_last)
        with self.autocast:
            output = self.model(image)
        logits, sides = output if self.recipe.supervision else (output, [])
        loss: Tensor = self.loss(logits.float(), labels, divisor)
        if sides:
            loss = loss + self.recipe.supervision * side_loss(sides, labels, self.network.stride)
        return loss

    def _set_learning_rate(self, progress: float) -> None:
        for group in self.optimizer.param_groups:
            group['lr'] = self.recipe.learning_rate_at(progress)

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
            'best_miou': self.best_miou,
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Continue from a checkpoint of the same recipe and network.

        :raises SourceError: when they differ, since the result would be that of neither.
        """
        for kind, now in (('config', self.config.to_dict()), ('recipe', asdict(self.recipe))):
            then = state[kind]
            for key, value in now.items():
                if then.get(key) != value:
                    raise SourceError(
                        f'the run was started with {key}={then.get(key)}, not {value}',
                        'resume it with its own options or start another with a new --out',
                    )
        _unwrapped(self.model).load_state_dict(state['model'])
        self.averaged.module.load_state_dict(state['averaged'])
        self.averaged.n_averaged.copy_(state['averaged_steps'])
        self.optimizer.load_state_dict(state['optimizer'])
        self.epoch = state['epoch']
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


def _check(recipe: Recipe, sources: Sequence[Frames], processes: Processes) -> None:
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
    parts = recipe.accumulate * processes.count
    if recipe.batch % parts:
        raise SourceError(
            f'a batch of {recipe.batch} does not divide into {parts} equal parts '
            f'({recipe.accumulate} by --accumulate, {processes.count} processes)'
        )
    frames = sum(len(source) for source in sources)
    if frames < recipe.batch:
        raise SourceError(
            f'{frames} frames do not fill a batch of {recipe.batch}', 'lower --batch'
        )


def _augment(recipe: Recipe, sources: Sequence[Frames], rare: list[int]) -> Augment:
    height, width = sources[0][0][1].shape
    return Augment(
        recipe.crop_width or width,
        recipe.crop_height or height,
        scale=(recipe.scale_min, recipe.scale_max),
        rotation=recipe.rotation,
        mirror=recipe.mirror,
        color=recipe.color,
        blur=recipe.blur,
        noise=recipe.noise,
        focus=recipe.focus,
        focus_classes=rare,
    )


def _optimizer(recipe: Recipe, model: nn.Module) -> torch.optim.Optimizer:
    kind = {'adamw': torch.optim.AdamW, 'rmsprop': torch.optim.RMSprop}[recipe.optimizer]
    fused = {'fused': True} if recipe.optimizer == 'adamw' else {}
    return kind(
        model.parameters(), recipe.learning_rate, weight_decay=recipe.weight_decay, **fused
    )


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
