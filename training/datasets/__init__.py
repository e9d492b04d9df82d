"""Data sets by the name that `--dataset` takes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from linknet_ros.errors import SourceError
from training.datasets.cache import CachedFrames, CachedInstances
from training.datasets.camvid import CamVid
from training.datasets.camvid_original import CamVidOriginal
from training.datasets.cityscapes import Cityscapes
from training.datasets.dataset import (
    SPLITS,
    Annotated,
    Dataset,
    InstanceDataset,
    hold_out_sequence,
    ids_in_files,
    select,
    sequence_of,
)
from training.datasets.folder import Folder

__all__ = [
    'DATASETS',
    'SPLITS',
    'Annotated',
    'Dataset',
    'InstanceDataset',
    'hold_out_sequence',
    'ids_in_files',
    'open_dataset',
    'select',
    'sequence_of',
]

#: What opens each data set, as a function of (root, split).
DATASETS: dict[str, Callable[[Path, str], Dataset]] = {
    'camvid': CamVid,
    'camvid-original-matlab': lambda root, split: CamVidOriginal(root, split, 'matlab'),
    'camvid-original-elab': lambda root, split: CamVidOriginal(root, split, 'elab'),
    'cityscapes': lambda root, split: Cityscapes(root, split, '19'),
    'cityscapes-34': lambda root, split: Cityscapes(root, split, '34'),
    'folder': Folder,
}


def open_dataset(
    name: str,
    root: Path | str,
    split: str,
    *,
    size: tuple[int, int] | None = None,
    cache: Path | str | None = None,
) -> Dataset:
    """Open a split; pairs are held in memory once read, within limits.

    :param name: one of DATASETS.
    :param root: the data set's folder.
    :param split: one of SPLITS.
    :param size: (width, height) to resize to; None leaves frames as they are.
    :param cache: folder that keeps the resized pairs for the next run.
    :returns: an `InstanceDataset` for Cityscapes.
    :raises SourceError: for an unknown data set, or when something is wrong with its folder.
    """
    if name not in DATASETS:
        raise SourceError(f"unknown data set '{name}'", f'use one of {", ".join(DATASETS)}')
    dataset = DATASETS[name](Path(root), split)
    folder = None if cache is None else Path(cache)
    if isinstance(dataset, InstanceDataset):
        return CachedInstances(dataset, folder, size)
    return CachedFrames(dataset, folder, size)
