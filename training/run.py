"""A training run in its folder: epochs, evaluations, checkpoints, logs and pictures."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from linknet_ros.errors import SourceError
from linknet_ros.metrics import ConfusionMatrix
from training.checkpoint import save_checkpoint
from training.data_file import Measured
from training.data_options import DataOptions
from training.datasets import Dataset
from training.evaluate import evaluate, evaluate_measured
from training.plots import confusion_text, curves_text, plot_confusion_matrix, plot_curves
from training.run_log import RunLog
from training.trainer import Trainer


class Run:
    """One training run in its folder.

    :param trainer: fresh or restored.
    :param val: frames to validate on.
    :param out: folder of the run.
    :param data: kept in the checkpoints.
    :param eval_every: epochs between evaluations.
    :param keep_all: keep the checkpoint of every evaluated epoch, as epoch_NNN.pt.
    :param beside: other sources to measure on, for the log; they decide nothing.
    """

    def __init__(
        self,
        trainer: Trainer,
        val: Dataset,
        out: Path,
        data: DataOptions,
        eval_every: int = 5,
        keep_all: bool = False,
        beside: Sequence[Measured] = (),
    ) -> None:
        self.trainer = trainer
        self.val = val
        self.out = out
        self.data = data
        self.eval_every = eval_every
        self.keep_all = keep_all
        self.beside = beside
        self.log = RunLog(out) if trainer.processes.first else None

    def restore(self, state: dict[str, Any]) -> None:
        """Continue from a checkpoint.

        :raises SourceError: when it is of another recipe, network or data set.
        """
        self.trainer.restore(state)
        names = state.get('classes', self._about()['classes'])
        if names != self._about()['classes']:
            raise SourceError(
                f'the run was started on the classes {", ".join(names)}',
                'the data has others now: '
                'resume it with its own, or start another with a new --out',
            )
        if DataOptions(**state['data']) != self.data:
            raise SourceError(
                f'the run was started on {state["data"]}, not on {self.data.to_dict()}',
                'resume it with its own options or start another with a new --out',
            )
        if self.log:
            self.log.restore(state['history'])

    def _about(self) -> dict[str, Any]:
        """What the checkpoints say of the data."""
        return {'data': self.data.to_dict(), 'classes': list(self.val.classes.names)}

    def finish(self) -> None:
        """Run the epochs that are left."""
        trainer = self.trainer
        while trainer.epoch < trainer.end:
            start = time.monotonic()
            loss = trainer.train_epoch()
            entry = {
                'epoch': trainer.epoch,
                'loss': loss,
                'learning_rate': trainer.learning_rate,
                'seconds': time.monotonic() - start,
            }
            matrix = None
            if trainer.epoch % self.eval_every == 0 or trainer.epoch == trainer.end:
                network = trainer.averaged.module
                trainer.processes.spread(network)
                matrix = evaluate(network, self.val, trainer.processes)
                for measured in self.beside:
                    scores = evaluate_measured(network, measured, trainer.processes).scores()
                    entry[f'{measured.name}_miou'] = scores.miou
                    for label, iou in zip(measured.score.names, scores.iou, strict=True):
                        entry[f'{measured.name}_{label}'] = float(iou)
            if trainer.processes.first:
                self._record(entry, matrix)
            trainer.processes.wait()
        if self.log:
            self.log.close()

    def _tell_unmeasured(self, matrix: ConfusionMatrix) -> None:
        empty = [
            name
            for id_, name in enumerate(self.val.classes.names)
            if id_ not in matrix.left_out and not matrix.counts[id_].any()
        ]
        if empty:
            print(
                f'warning: no pixel of class{"es" * (len(empty) > 1)} {", ".join(empty)} in what '
                'is validated on; the mIoU is that of the others'
            )

    def _record(self, entry: dict[str, float], matrix: ConfusionMatrix | None) -> None:
        trainer, class_iou = self.trainer, None
        best = False
        if matrix is not None:
            scores = matrix.scores()
            entry |= {
                'miou': scores.miou,
                'class_accuracy': scores.class_accuracy,
                'global_accuracy': scores.global_accuracy,
            }
            class_iou = dict(zip(self.val.classes.names, map(float, scores.iou), strict=True))
            if trainer.best_miou < 0:
                self._tell_unmeasured(matrix)
            best = scores.miou > trainer.best_miou
            if best:
                trainer.best_miou = scores.miou
            print(f'epoch {trainer.epoch}: loss {entry["loss"]:.3f}, val mIoU {scores.miou:.4f}')
        self.log.write(entry, class_iou)
        state = {**trainer.state(), **self._about(), 'history': self.log.history}
        if best:
            save_checkpoint(self.out / 'best.pt', state)
        if matrix is not None and self.keep_all:
            save_checkpoint(self.out / f'epoch_{trainer.epoch:03}.pt', state)
        if matrix is not None:
            # Pictures first, since last.pt marks the epoch as complete.
            plot_curves(self.log.history, self.out / 'curves.png')
            names = self.val.classes.names
            plot_confusion_matrix(matrix.counts, names, self.out / 'confusion.png')
            text = f'{curves_text(self.log.history)}\n\n{confusion_text(matrix.counts, names)}\n'
            (self.out / 'summary.txt').write_text(text)
        save_checkpoint(self.out / 'last.pt', state)
