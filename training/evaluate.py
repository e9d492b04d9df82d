"""Accuracy of a checkpoint on a data set: `python -m training.evaluate CHECKPOINT --data DIR`."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import torch
from torch import nn
from tqdm import tqdm

from linknet_ros.errors import LinknetError
from linknet_ros.metrics import ConfusionMatrix, Scores
from training.camvid import SPLITS, CamVid
from training.checkpoint import load_network
from training.linknet import normalize
from training.samples import Frames


@torch.inference_mode()
def evaluate(network: nn.Module, frames: Frames, classes: int, progress: bool = True) -> Scores:
    """Run a network over whole frames at their own size.

    :param network: module from normalised RGB (1, 3, H, W) to logits (1, classes, H, W).
    :param frames: frames with labels.
    """
    network.eval()
    device = next(network.parameters()).device
    matrix = ConfusionMatrix(classes)
    for i in tqdm(range(len(frames)), desc='evaluate', disable=not progress, leave=False):
        frame, labels = frames[i]
        image = normalize(torch.tensor(frame).unsqueeze(0))
        image = image.to(device, memory_format=torch.channels_last)
        predicted = network(image).argmax(1)[0].byte().cpu().numpy()
        matrix.add(labels, predicted)
    return matrix.scores()


def main(arguments: list[str] | None = None) -> None:
    """Command line."""
    parser = argparse.ArgumentParser(
        prog='python -m training.evaluate', description=__doc__.partition(':')[0]
    )
    parser.add_argument('checkpoint', type=Path)
    parser.add_argument('--data', type=Path, required=True, help='CamVid folder, 480x360 layout')
    parser.add_argument('--split', choices=SPLITS, default='val')
    options = parser.parse_args(arguments)
    try:
        network = load_network(options.checkpoint).to(memory_format=torch.channels_last)
        frames = CamVid(options.data, options.split)
        scores = evaluate(network, frames, len(frames.classes))
    except LinknetError as error:
        sys.exit(f'error: {error}')
    print(f'{options.checkpoint} on CamVid {options.split}, {len(frames)} frames')
    print(scores.table(frames.classes.names))


if __name__ == '__main__':
    main()
