"""The results of each epoch of a run: history.csv, history.json and TensorBoard events."""

from __future__ import annotations

import csv
import io
import json
import math
import os
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter

#: What the training itself says of an epoch; everything else comes from the evaluation.
TRAINING_VALUES = ('loss', 'learning_rate', 'seconds')

#: Start of the keys of IoU per class, as `iou/road`.
CLASS_IOU = 'iou/'


class RunLog:
    """Log of one run, kept in the run's folder.

    * `history.json`: list of one object per epoch; what was not measured is left out, NaN is
      null.
    * `history.csv`: one row per epoch; what was not measured is empty.
    * TensorBoard event files, if its package is there: `tensorboard --logdir FOLDER`.

    A kill leaves each file as it was before an epoch or after it; at worst the last row of
    history.csv is cut, which `restore` mends.

    :param folder: of the run; made with the first epoch.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._history: list[dict[str, float]] = []
        self._columns: list[str] = []
        self._writer: SummaryWriter | None = None
        self._has_tensorboard = _has_tensorboard()
        if not self._has_tensorboard:
            print(
                f'no TensorBoard events in {folder}: pip install tensorboard to get them; '
                'history.csv has the same numbers'
            )

    @property
    def history(self) -> list[dict[str, float]]:
        """One entry per epoch, with the class IoU under `iou/NAME`; a copy, for a checkpoint."""
        return [dict(entry) for entry in self._history]

    def write(self, entry: dict[str, float], class_iou: dict[str, float] | None = None) -> None:
        """Add an epoch to every file.

        :param entry: `epoch`, counted from 1, and what is known of it: loss, learning_rate,
            seconds, and figures of the evaluation if there was one.
        :param class_iou: IoU by class name, if there was an evaluation.
        :raises ValueError: for an epoch that is not after the last one.
        """
        if self._history and entry['epoch'] <= self._history[-1]['epoch']:
            raise ValueError(
                f'epoch {entry["epoch"]} after epoch {self._history[-1]["epoch"]}; restore the '
                'history of the checkpoint before an epoch is run again'
            )
        named = {CLASS_IOU + name: value for name, value in (class_iou or {}).items()}
        self._history.append(entry | named)
        self.folder.mkdir(parents=True, exist_ok=True)
        self._add_row(self._history[-1])
        self._write_json()
        self._add_events(self._history[-1])

    def restore(self, history: list[dict[str, float]]) -> None:
        """Go on after the last epoch of a checkpoint's history; later epochs are forgotten."""
        self.close()
        self._history = [dict(entry) for entry in history]
        self.folder.mkdir(parents=True, exist_ok=True)
        self._write_csv()
        self._write_json()

    def close(self) -> None:
        """Close the event file. Another `write` opens the next one."""
        if self._writer is not None:
            self._writer.close()
            self._writer = None

    def _add_row(self, entry: dict[str, float]) -> None:
        # The first epoch of a run also comes here: it has columns that no file has yet, and so
        # replaces what an earlier run may have left.
        if not set(entry) <= set(self._columns):
            self._write_csv()
            return
        with (self.folder / 'history.csv').open('a', newline='') as file:
            file.write(_csv_text(self._columns, [entry]))

    def _write_csv(self) -> None:
        # In order of first appearance; a set would shuffle the columns from run to run.
        self._columns = list(dict.fromkeys(key for entry in self._history for key in entry))
        text = _csv_text(self._columns, self._history, header=bool(self._history))
        _replace(self.folder / 'history.csv', text)

    def _write_json(self) -> None:
        # JSON has no NaN; a loss of NaN must not make the file unreadable elsewhere.
        entries = [
            {key: value if math.isfinite(value) else None for key, value in entry.items()}
            for entry in self._history
        ]
        _replace(self.folder / 'history.json', json.dumps(entries, indent=1) + '\n')

    def _add_events(self, entry: dict[str, float]) -> None:
        if not self._has_tensorboard:
            return
        epoch = int(entry['epoch'])
        if self._writer is None:
            from torch.utils.tensorboard import SummaryWriter

            # Events of this epoch and later ones, which a killed run left, are hidden.
            self._writer = SummaryWriter(str(self.folder), purge_step=epoch)
        for key, value in entry.items():
            if key != 'epoch':
                self._writer.add_scalar(_tag(key), value, epoch)
        self._writer.flush()


def _has_tensorboard() -> bool:
    try:
        import torch.utils.tensorboard  # noqa: F401
    except ImportError:
        return False
    return True


def _tag(key: str) -> str:
    """Name in TensorBoard, which groups by the part before the slash."""
    if key.startswith(CLASS_IOU):
        return key
    return f'train/{key}' if key in TRAINING_VALUES else f'val/{key}'


def _csv_text(columns: list[str], rows: list[dict[str, float]], header: bool = False) -> str:
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, restval='', lineterminator='\n')
    if header:
        writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def _replace(path: Path, text: str) -> None:
    """Write a file; a kill leaves the old one or the new one."""
    temporary = path.with_name(path.name + '.tmp')
    temporary.write_text(text)
    os.replace(temporary, path)
