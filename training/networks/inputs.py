"""The input of every network: RGB, normalised with the channel statistics of ImageNet."""

from __future__ import annotations

import torch
from torch import Tensor

#: Channel statistics of ImageNet, RGB, for pixels of 0 to 1 (torchvision's documentation).
IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


def normalize(image_bgr: Tensor) -> Tensor:
    """BGR bytes (N, H, W, 3), uint8, to the network's input (N, 3, H, W), float32 RGB."""
    mean = torch.tensor(IMAGENET_MEAN).view(1, 3, 1, 1) * 255
    scale = 1 / (torch.tensor(IMAGENET_STD).view(1, 3, 1, 1) * 255)
    rgb = image_bgr.permute(0, 3, 1, 2).flip(1).float()
    return (rgb - mean) * scale
