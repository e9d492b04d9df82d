"""Which data a run uses: the options of the command lines, kept in every checkpoint."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from linknet_ros.errors import SourceError
from linknet_ros.system.arguments import size as parse_size
from training.datasets import DATASETS, Dataset, hold_out_sequence, open_dataset


@dataclass(frozen=True)
class DataOptions:
    """What a network was trained on.

    :param dataset: a key of DATASETS.
    :param size: (width, height) that frames are resized to, None for their own.
    :param hold_out: sequence of train that is validated on instead of val, '' for none.
    :param file: text of the data set file, '' where there was none.
    :param teachers: what else was learnt from: their names and digests.
    """

    dataset: str = 'camvid'
    size: tuple[int, int] | None = None
    hold_out: str = ''
    file: str = ''
    teachers: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Plain dictionary for a checkpoint."""
        return asdict(self)

    def open_train_and_val(self, root: Path, cache: Path | None) -> tuple[Dataset, Dataset]:
        """Frames to train on and frames to validate on, resized."""
        train = open_dataset(self.dataset, root, 'train', size=self.size, cache=cache)
        if self.hold_out:
            return hold_out_sequence(train, self.hold_out)
        return train, open_dataset(self.dataset, root, 'val', size=self.size, cache=cache)


def data_of(
    state: dict[str, Any], dataset: str | None, size: tuple[int, int] | None
) -> DataOptions:
    """What a checkpoint was trained on, unless the command line says otherwise.

    :param state: checkpoint.
    :param dataset: another data set.
    :param size: another size.
    """
    stored = state['data']
    size = size or (tuple(stored['size']) if stored['size'] else None)
    return DataOptions(dataset or stored['dataset'], size, stored['hold_out'])


def check_classes(
    dataset: Dataset, classes: int, path: Path, names: Sequence[str] | None = None
) -> None:
    """Refuse to compare labels of different tables.

    :param classes: number of classes that a checkpoint's network knows.
    :param names: theirs; None for a checkpoint from before they were stored.
    :raises SourceError: when the data set has others.
    """
    if len(dataset.classes) != classes:
        raise SourceError(
            f'{path} knows {classes} classes and {dataset.title} ({dataset.label_set}) has '
            f'{len(dataset.classes)}',
            'use the --dataset it was trained on',
        )
    if names is not None and tuple(names) != dataset.classes.names:
        raise SourceError(
            f'{path} knows the classes {", ".join(names)}, and {dataset.title} '
            f'({dataset.label_set}) has {", ".join(dataset.classes.names)}',
            'give the data it was trained on',
        )


def add_data_options(parser: argparse.ArgumentParser, default: str | None) -> None:
    """Add --data, --dataset and --size; without a default the checkpoint decides."""
    parser.add_argument(
        '--data',
        type=Path,
        required=True,
        help="the data set's folder, or a data set file (.yaml)",
    )
    parser.add_argument(
        '--root', type=Path, help="what the data set file's paths are relative to; its own folder"
    )
    parser.add_argument(
        '--dataset',
        choices=tuple(DATASETS),
        default=default,
        help='layout and label set of --data'
        + ('' if default else "; the checkpoint's own if left out"),
    )
    parser.add_argument(
        '--size',
        type=parse_size,
        metavar='WxH',
        help='resize frames to this, as 480x360; their own size if left out',
    )
