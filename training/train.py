"""Train LinkNet: `python -m training.train --data DIR --out RUN`.

Every epoch ends with a checkpoint RUN/last.pt; after a kill the same command with --resume goes
on from there and ends with the same weights as a run that was never cut.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import sys
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import cv2
import torch
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from torch.utils.data import DataLoader
from tqdm import tqdm

from linknet_ros.classes import CAMVID, UNLABELED
from linknet_ros.errors import LinknetError, SourceError
from linknet_ros.metrics import Scores
from training.augment import Augment
from training.camvid import CamVid
from training.checkpoint import load_checkpoint, load_weights, save_checkpoint
from training.class_weights import class_frequencies, inverse_log_weights
from training.evaluate import evaluate
from training.linknet import LinkNet, LinkNetConfig, normalize
from training.losses import SegmentationLoss
from training.samples import Frames, TrainingSamples
from training.street_frames import StreetFrames


@dataclass(frozen=True)
class Recipe:
    """Everything that decides what a run ends with; stored in its checkpoints."""

    epochs: int = 120
    batch: int = 8
    learning_rate: float = 2e-3
    weight_decay: float = 1e-2
    crop_width: int = 384
    crop_height: int = 288
    scale_min: float = 0.6
    scale_max: float = 1.6
    color: float = 0.3
    blur: float = 0.1
    weight_power: float = 1.0
    dice: float = 0.0
    average_decay: float = 0.998
    street_frames: int = 0
    precision: str = 'auto'
    seed: int = 0
    init: str = ''
    pretrained: bool = False

    def learning_rate_at(self, progress: float) -> float:
        """One cycle: 10 % linear warm-up, then half a cosine to 0; progress from 0 to 1."""
        warm_up = 0.1
        if progress < warm_up:
            return self.learning_rate * (0.04 + 0.96 * progress / warm_up)
        done = (progress - warm_up) / (1 - warm_up)
        return self.learning_rate * 0.5 * (1 + math.cos(math.pi * done))


class Trainer:
    """A network in training and all that its checkpoint holds.

    :param sources: frames to train on.
    :param workers: processes that augment.
    :param resumes: whether restore follows, so that first weights need not be found.
    """

    def __init__(
        self, recipe: Recipe, sources: list[Frames], workers: int, resumes: bool = False
    ) -> None:
        self.recipe = recipe
        self.device = torch.device('cuda' if torch.cuda.is_available() else 'cpu')
        self.autocast = _autocast(recipe.precision, self.device)
        torch.manual_seed(recipe.seed)
        self.config = LinkNetConfig(len(CAMVID), recipe.pretrained)
        network = LinkNet(replace(self.config, pretrained=recipe.pretrained and not resumes))
        if recipe.init and not resumes:
            load_weights(network, Path(recipe.init))
        self.network = network.to(self.device, memory_format=torch.channels_last)
        self.averaged = AveragedModel(
            self.network,
            multi_avg_fn=get_ema_multi_avg_fn(recipe.average_decay),
            use_buffers=True,
        )
        self.optimizer = torch.optim.AdamW(
            self.network.parameters(), weight_decay=recipe.weight_decay, fused=True
        )
        frequencies = class_frequencies(
            (source[i][1] for source in sources for i in range(len(source))), len(CAMVID)
        )
        weights = inverse_log_weights(frequencies, recipe.weight_power)
        self.loss = SegmentationLoss(
            torch.tensor(weights, dtype=torch.float32, device=self.device), recipe.dice
        )
        augment = Augment(
            recipe.crop_width,
            recipe.crop_height,
            (recipe.scale_min, recipe.scale_max),
            recipe.color,
            recipe.blur,
        )
        self.samples = TrainingSamples(sources, augment, recipe.seed)
        self.loader = DataLoader(
            self.samples,
            batch_size=recipe.batch,
            num_workers=workers,
            drop_last=True,
            worker_init_fn=_single_thread_opencv,
        )
        if not len(self.loader):
            raise SourceError(f'{len(self.samples)} frames do not fill a batch of {recipe.batch}')
        self.epoch = 0
        self.best_miou = -1.0
        self.history: list[dict[str, float]] = []

    def train_epoch(self, progress: bool = True) -> float:
        """One pass over the samples.

        :returns: mean loss.
        """
        self.network.train()
        self.samples.start_epoch(self.epoch)
        steps = len(self.loader)
        bar = tqdm(
            self.loader, desc=f'epoch {self.epoch + 1}/{self.recipe.epochs}', disable=not progress
        )
        total = 0.0
        for step, (frames, labels) in enumerate(bar):
            if bool((labels == UNLABELED).all()):
                continue  # the mean over no pixel is NaN
            done = (self.epoch + step / steps) / self.recipe.epochs
            for group in self.optimizer.param_groups:
                group['lr'] = self.recipe.learning_rate_at(done)
            image = normalize(frames).to(self.device, memory_format=torch.channels_last)
            with self.autocast:
                logits = self.network(image)
            loss = self.loss(logits.float(), labels.to(self.device))
            self.optimizer.zero_grad()
            loss.backward()
            self.optimizer.step()
            self.averaged.update_parameters(self.network)
            total += loss.item()
            bar.set_postfix(loss=f'{total / (step + 1):.3f}', refresh=False)
        self.epoch += 1
        return total / steps

    def evaluate(self, frames: Frames, progress: bool = True) -> Scores:
        """Accuracy of the averaged weights."""
        return evaluate(self.averaged.module, frames, self.config.classes, progress)

    def state(self) -> dict[str, Any]:
        """All that a checkpoint needs to continue or to export."""
        return {
            'config': self.config.to_dict(),
            'recipe': asdict(self.recipe),
            'network': self.network.state_dict(),
            'averaged': self.averaged.module.state_dict(),
            'averaged_steps': self.averaged.n_averaged,
            'optimizer': self.optimizer.state_dict(),
            'epoch': self.epoch,
            'best_miou': self.best_miou,
            'history': self.history,
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Continue from a checkpoint of the same recipe.

        :raises SourceError: when the recipe differs, since the end would then be neither's.
        """
        for key, value in asdict(self.recipe).items():
            if state['recipe'].get(key) != value:
                raise SourceError(
                    f'the run was started with {key}={state["recipe"].get(key)}, not {value}; '
                    'resume it with its own options or start another with a new --out'
                )
        self.network.load_state_dict(state['network'])
        self.averaged.module.load_state_dict(state['averaged'])
        self.averaged.n_averaged.copy_(state['averaged_steps'])
        self.optimizer.load_state_dict(state['optimizer'])
        self.epoch = state['epoch']
        self.best_miou = state['best_miou']
        self.history = state['history']


def _single_thread_opencv(worker: int) -> None:
    # Not 1: that waits for the parent's pool of threads, which a forked worker does not have.
    cv2.setNumThreads(0)


def _autocast(precision: str, device: torch.device) -> torch.autocast:
    """bfloat16 where the processor computes in it, else float32: emulation would be slower."""
    native = device.type == 'cuda' or torch.cpu.get_capabilities().get('avx512_bf16', False)
    enabled = precision == 'bf16' or (precision == 'auto' and native)
    return torch.autocast(device.type, torch.bfloat16, enabled=enabled)


def train(trainer: Trainer, val: Frames, out: Path, eval_every: int) -> None:
    """Run the epochs that are left; keeps RUN/last.pt, RUN/best.pt and RUN/history.json."""
    epochs = trainer.recipe.epochs
    while trainer.epoch < epochs:
        loss = trainer.train_epoch()
        entry = {'epoch': trainer.epoch, 'loss': loss}
        if trainer.epoch % eval_every == 0 or trainer.epoch == epochs:
            scores = trainer.evaluate(val)
            entry |= {
                'miou': scores.miou,
                'class_accuracy': scores.class_accuracy,
                'global_accuracy': scores.global_accuracy,
            }
            print(f'epoch {trainer.epoch}: loss {loss:.3f}, val mIoU {scores.miou:.4f}')
        trainer.history.append(entry)
        if entry.get('miou', -1.0) > trainer.best_miou:
            trainer.best_miou = entry['miou']
            save_checkpoint(out / 'best.pt', trainer.state())
        write_history(out / 'history.json', trainer.history)
        save_checkpoint(out / 'last.pt', trainer.state())


def write_history(path: Path, history: list[dict[str, float]]) -> None:
    """Write what each epoch gave; a kill leaves the old file or the new one."""
    temporary = path.with_suffix('.tmp')
    temporary.write_text(json.dumps(history, indent=1) + '\n')
    os.replace(temporary, path)


def main(arguments: list[str] | None = None) -> None:
    """Command line."""
    parser = argparse.ArgumentParser(
        prog='python -m training.train', description=__doc__.partition(':')[0]
    )
    defaults = Recipe()
    parser.add_argument('--data', type=Path, required=True, help='CamVid folder, 480x360 layout')
    parser.add_argument('--out', type=Path, required=True, help='folder of this run')
    parser.add_argument('--resume', action='store_true', help='go on from OUT/last.pt')
    parser.add_argument('--init', default='', help='checkpoint to take the first weights from')
    parser.add_argument(
        '--pretrained', action='store_true', help='ImageNet encoder (downloads it once)'
    )
    parser.add_argument('--epochs', type=_positive, default=defaults.epochs)
    parser.add_argument('--batch', type=_positive, default=defaults.batch)
    parser.add_argument('--lr', type=float, default=defaults.learning_rate)
    parser.add_argument('--weight-decay', type=float, default=defaults.weight_decay)
    parser.add_argument(
        '--crop',
        type=_size,
        default=(defaults.crop_width, defaults.crop_height),
        metavar='WxH',
    )
    parser.add_argument(
        '--scale',
        type=float,
        nargs=2,
        default=(defaults.scale_min, defaults.scale_max),
        metavar=('MIN', 'MAX'),
        help='enlargement of the frame before the crop',
    )
    parser.add_argument('--color', type=float, default=defaults.color, help='0 is off')
    parser.add_argument(
        '--weight-power',
        type=float,
        default=defaults.weight_power,
        help='class weights (1/ln(1.02+p))^POWER: 1 as in the paper, 0 equal',
    )
    parser.add_argument(
        '--dice', type=float, default=defaults.dice, help='factor of the Dice loss, 0 is off'
    )
    parser.add_argument(
        '--street-frames',
        type=int,
        default=defaults.street_frames,
        help='frames of the procedural street in every epoch',
    )
    parser.add_argument('--average-decay', type=float, default=defaults.average_decay)
    parser.add_argument('--precision', choices=('auto', 'bf16', 'fp32'), default='auto')
    parser.add_argument('--seed', type=int, default=defaults.seed)
    parser.add_argument(
        '--eval-every', type=_positive, default=5, help='epochs between evaluations'
    )
    parser.add_argument('--workers', type=int, default=1, help='processes that augment')
    options = parser.parse_args(arguments)
    recipe = Recipe(
        epochs=options.epochs,
        batch=options.batch,
        learning_rate=options.lr,
        weight_decay=options.weight_decay,
        crop_width=options.crop[0],
        crop_height=options.crop[1],
        scale_min=options.scale[0],
        scale_max=options.scale[1],
        color=options.color,
        weight_power=options.weight_power,
        dice=options.dice,
        average_decay=options.average_decay,
        street_frames=options.street_frames,
        precision=options.precision,
        seed=options.seed,
        init=options.init,
        pretrained=options.pretrained,
    )
    if not 0 < recipe.scale_min <= recipe.scale_max:
        parser.error('--scale takes two numbers above 0, the smaller one first')
    try:
        last = options.out / 'last.pt'
        if last.exists() and not options.resume:
            raise SourceError(f'{last} exists; add --resume to go on or give another --out')
        sources: list[Frames] = [CamVid(options.data, 'train')]
        if recipe.street_frames:
            sources.append(StreetFrames(recipe.street_frames, recipe.seed))
        val = CamVid(options.data, 'val')
        trainer = Trainer(recipe, sources, options.workers, options.resume)
        if options.resume:
            trainer.restore(load_checkpoint(last))
        options.out.mkdir(parents=True, exist_ok=True)
        train(trainer, val, options.out, options.eval_every)
    except (LinknetError, OSError) as error:
        sys.exit(f'error: {error}')
    print(f'best val mIoU {trainer.best_miou:.4f}, checkpoint {options.out / "best.pt"}')


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"'{text}' is not a whole number of 1 or more")
    return int(text)


def _size(text: str) -> tuple[int, int]:
    try:
        width, height = map(int, text.split('x'))
    except ValueError:
        raise argparse.ArgumentTypeError(f"'{text}' is not WIDTHxHEIGHT, as 384x288") from None
    if width < 32 or height < 32:
        raise argparse.ArgumentTypeError(f'{text} is too small, use at least 32x32')
    return width, height


if __name__ == '__main__':
    main()
