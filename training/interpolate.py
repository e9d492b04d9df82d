"""Weights between a trained checkpoint and what it started from:
`python -m training.interpolate NEW.pt --start OLD --share 0.75 --data FILE --out BETWEEN.pt`.

A network that was trained further on other data has gained there and lost some of what it knew.
Between the two sets of weights lies one that is often better than both at what they have in common
(Wortsman et al., "Robust fine-tuning of zero-shot models", arXiv 2109.01903).
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from linknet_ros.errors import LinknetError, SourceError
from training.checkpoint import load_checkpoint, network_of, save_checkpoint
from training.data_file import is_data_file, open_data_file
from training.datasets import open_dataset
from training.first_weights import load_first_weights

#: Frames of each source that a model file's folded batch norms are measured on.
_FRAMES = 5


def interpolate(
    state: dict[str, Any],
    path: Path,
    start: Path,
    share: float,
    frames: Sequence[NDArray[np.uint8]],
) -> dict[str, Any]:
    """A checkpoint with averaged weights between its own and those it started from.

    :param state: checkpoint, from `path`.
    :param start: checkpoint or model file, as `--init` of training.train takes it.
    :param share: 1 is the checkpoint, 0 the start.
    :param frames: (H, W, 3) uint8 BGR; the same as in training, if `start` is a model file.
    :raises SourceError: when the two are of different networks, or the share is not from 0 to 1.
    """
    if not 0 <= share <= 1:
        raise SourceError(f'share {share} is not from 0 to 1')
    network = network_of(state, path)
    unfit = load_first_weights(network, start, frames)
    if unfit:
        raise SourceError(f'{unfit[0]} has another shape in {start} than in {path}')
    old: dict[str, Tensor] = network.state_dict()
    averaged = {
        name: share * value + (1 - share) * old[name] if value.is_floating_point() else value
        for name, value in state['averaged'].items()
    }
    return {**state, 'averaged': averaged}


def main(arguments: list[str] | None = None) -> None:
    """Command line."""
    parser = argparse.ArgumentParser(
        prog='python -m training.interpolate', description=__doc__.partition(':')[0]
    )
    parser.add_argument('checkpoint', type=Path)
    parser.add_argument('--start', type=Path, required=True, help='what its --init was')
    parser.add_argument('--share', type=float, default=0.75, help='of the checkpoint')
    parser.add_argument('--data', type=Path, required=True, help='what it was trained on')
    parser.add_argument('--root', type=Path, help="what the data set file's paths are relative to")
    parser.add_argument('--out', type=Path, required=True, help='the checkpoint to write')
    options = parser.parse_args(arguments)
    try:
        state = load_checkpoint(options.checkpoint)
        if is_data_file(options.data):
            sources = [
                source.frames for source in open_data_file(options.data, options.root).train
            ]
        else:
            sources = [open_dataset(state['data']['dataset'], options.data, 'train')]
        frames = [
            frames[i][0]
            for frames in sources
            for i in range(0, len(frames), max(1, len(frames) // _FRAMES))
        ]
        result = interpolate(state, options.checkpoint, options.start, options.share, frames)
        save_checkpoint(options.out, result)
    except (LinknetError, OSError) as error:
        sys.exit(f'error: {error}')
    print(f'{options.out}: {options.share:g} {options.checkpoint}, the rest {options.start}')


if __name__ == '__main__':
    main()
