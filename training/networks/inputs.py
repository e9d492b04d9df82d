"""The input of every network: RGB, normalised with the network's own statistics."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class InputStatistics:
    """What is subtracted from RGB bytes, and what the rest is divided by.

    :param mean: (red, green, blue) of 0 to 255.
    :param std: (red, green, blue), in the same units.
    """

    mean: tuple[float, float, float]
    std: tuple[float, float, float]


#: Channel statistics of ImageNet, RGB (torchvision's documentation, there for pixels of 0 to 1).
IMAGENET = InputStatistics(
    (0.485 * 255, 0.456 * 255, 0.406 * 255), (0.229 * 255, 0.224 * 255, 0.225 * 255)
)


def normalize(image_bgr: Tensor, statistics: InputStatistics = IMAGENET) -> Tensor:
    """BGR bytes (N, H, W, 3), uint8, to a network's input (N, 3, H, W), float32 RGB."""
    mean = torch.tensor(statistics.mean).view(1, 3, 1, 1)
    scale = 1 / torch.tensor(statistics.std).view(1, 3, 1, 1)
    rgb = image_bgr.permute(0, 3, 1, 2).flip(1).float()
    return (rgb - mean) * scale
