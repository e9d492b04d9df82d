"""Frames that a network labels for itself, to learn from what it sees in other views of them.

The label of a pixel is what the mean of several views says (mirrored, smaller), and the first
network has a say in it, so that what is learnt stays near what was known. A pixel is kept with a
probability that rises with that mean's confidence; over the epochs this is a loss weighted by it.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.nn import functional
from tqdm import tqdm

from linknet_ros.classes import UNLABELED
from linknet_ros.frames.files import read_image
from training.datasets.cache import resize_frame
from training.networks import Network, normalize
from training.samples import Pair

#: Views of a frame: enlargement, and whether it is mirrored.
_VIEWS = ((1.0, False), (1.0, True), (0.7, False))

#: Confidence below which a pixel is never kept, and above which it always is.
_UNSURE, _SURE = 0.5, 0.95


class SelfLabelled:
    """Frames whose labels are a network's own; void until `label` was called for them.

    :param paths: image files.
    :param size: (width, height) that they are resized to.
    """

    def __init__(self, paths: Sequence[Path], size: tuple[int, int]) -> None:
        self.paths = paths
        self.size = size
        self._labels: dict[int, NDArray[np.uint8]] = {}
        self._void = np.full(size[::-1], UNLABELED, np.uint8)

    def __len__(self) -> int:
        return len(self.paths)

    def frame(self, index: int) -> NDArray[np.uint8]:
        """(H, W, 3) uint8 BGR."""
        return resize_frame(read_image(self.paths[index]), self.size)

    def __getitem__(self, index: int) -> Pair:
        return self.frame(index), self._labels.get(index, self._void)

    def label(
        self,
        indices: Sequence[int],
        teachers: Sequence[tuple[Network, float]],
        autocast: torch.autocast,
        rng: np.random.Generator,
        progress: bool = True,
    ) -> float:
        """Label some frames again; all others become void.

        :param teachers: networks in evaluation mode, with their shares of the vote.
        :param rng: draws which pixels are kept.
        :returns: share of the pixels that were kept.
        """
        self._labels = {}
        # Where there are fewer frames than samples of an epoch, some are named several times.
        for i in tqdm(dict.fromkeys(indices), desc='label', leave=False, disable=not progress):
            frame = self.frame(i)
            with autocast:
                mean = sum(share * mean_view(network, frame) for network, share in teachers)
            assert isinstance(mean, torch.Tensor)
            confidence, ids = (part.cpu().numpy() for part in mean.max(0))
            kept = rng.random(ids.shape) * (_SURE - _UNSURE) < confidence - _UNSURE
            self._labels[i] = np.where(kept, ids, UNLABELED).astype(np.uint8)
        kept_pixels = sum(int((labels != UNLABELED).sum()) for labels in self._labels.values())
        return kept_pixels / max(1, len(self._labels) * self._void.size)


@torch.inference_mode()
def mean_view(network: Network, frame: NDArray[np.uint8]) -> torch.Tensor:
    """Mean probability that a network gives in all views, (classes, H, W) float32.

    :param network: in evaluation mode.
    :param frame: (H, W, 3) uint8 BGR.
    """
    assert isinstance(network, nn.Module)
    device = next(network.parameters()).device
    height, width = frame.shape[:2]
    total = torch.zeros((), device=device)
    for scale, mirrored in _VIEWS:
        size = (round(width * scale), round(height * scale))
        view = resize_frame(cv2.flip(frame, 1) if mirrored else frame, size)
        image = normalize(torch.tensor(view).unsqueeze(0), network.statistics)
        logits = network(image.to(device, memory_format=torch.channels_last)).float()
        logits = functional.interpolate(logits, (height, width), mode='bilinear')
        probability = logits.softmax(1)
        total = total + (probability.flip(3) if mirrored else probability) / len(_VIEWS)
    return total[0]
