"""LinkNet (Chaurasia and Culurciello, "LinkNet: Exploiting Encoder Representations for Efficient
Semantic Segmentation", arXiv 1707.03718) with its ResNet-18 encoder.

Layer settings follow the authors' Torch7 code where the paper's text and figures disagree: four
links (the max-pool output is the first), decoder 1 does not upsample, biases everywhere.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torchvision.models import ResNet18_Weights, resnet18

#: Every spatial size inside the network is a whole number when the input's is a multiple of this.
STRIDE = 32

#: Channel statistics of ImageNet, RGB, for pixels of 0 to 1 (torchvision's documentation).
IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


@dataclass(frozen=True)
class LinkNetConfig:
    """What it takes to build the same network again; stored in every checkpoint.

    :param classes: number of output classes.
    :param pretrained: start the encoder from torchvision's ImageNet weights (needs internet once).
    """

    classes: int = 11
    pretrained: bool = False

    def to_dict(self) -> dict[str, Any]:
        """Plain dictionary for a checkpoint."""
        return asdict(self)


class DecoderBlock(nn.Module):
    """Decoder of the paper's figure 3: 1x1 (m -> m/4), full-conv 3x3, 1x1 (m/4 -> n).

    :param stride: 2 doubles height and width, 1 keeps them.
    """

    def __init__(self, in_channels: int, out_channels: int, stride: int) -> None:
        super().__init__()
        middle = in_channels // 4
        self.reduce = nn.Conv2d(in_channels, middle, 1)
        self.reduce_norm = nn.BatchNorm2d(middle, eps=1e-3)
        self.up = nn.ConvTranspose2d(
            middle, middle, 3, stride=stride, padding=1, output_padding=stride - 1
        )
        self.up_norm = nn.BatchNorm2d(middle, eps=1e-3)
        self.expand = nn.Conv2d(middle, out_channels, 1)
        self.expand_norm = nn.BatchNorm2d(out_channels, eps=1e-3)

    def forward(self, x: Tensor) -> Tensor:
        """Features (N, in_channels, H, W) to (N, out_channels, H * stride, W * stride)."""
        x = functional.relu(self.reduce_norm(self.reduce(x)))
        x = functional.relu(self.up_norm(self.up(x)))
        return functional.relu(self.expand_norm(self.expand(x)))


class LinkNet(nn.Module):
    """RGB image, normalised with the ImageNet statistics, to logits of the same size."""

    def __init__(self, config: LinkNetConfig) -> None:
        super().__init__()
        self.config = config
        weights = ResNet18_Weights.IMAGENET1K_V1 if config.pretrained else None
        encoder = resnet18(weights=weights)
        self.stem = nn.Sequential(encoder.conv1, encoder.bn1, encoder.relu, encoder.maxpool)
        self.encoder1 = encoder.layer1
        self.encoder2 = encoder.layer2
        self.encoder3 = encoder.layer3
        self.encoder4 = encoder.layer4
        self.decoder4 = DecoderBlock(512, 256, stride=2)
        self.decoder3 = DecoderBlock(256, 128, stride=2)
        self.decoder2 = DecoderBlock(128, 64, stride=2)
        self.decoder1 = DecoderBlock(64, 64, stride=1)
        self.head = nn.Sequential(
            nn.ConvTranspose2d(64, 32, 3, stride=2, padding=1, output_padding=1),
            nn.BatchNorm2d(32),
            nn.ReLU(inplace=True),
            nn.Conv2d(32, 32, 3, padding=1),
            nn.BatchNorm2d(32, eps=1e-3),
            nn.ReLU(inplace=True),
            nn.ConvTranspose2d(32, config.classes, 2, stride=2),
        )
        for module in self.modules():
            if isinstance(module, nn.ConvTranspose2d) or (
                isinstance(module, nn.Conv2d) and not config.pretrained
            ):
                # N(0, sqrt(2 / (k * k * n_out))), as the authors' code. A full convolution keeps
                # its output channels in dimension 1, which is what PyTorch calls fan_in.
                mode = 'fan_in' if isinstance(module, nn.ConvTranspose2d) else 'fan_out'
                nn.init.kaiming_normal_(module.weight, mode=mode, nonlinearity='relu')

    def forward(self, image: Tensor) -> Tensor:
        """Any image (N, 3, H, W) to logits (N, classes, H, W).

        Sizes that are no multiple of 32 are padded at the right and bottom with the border's
        pixels, as the robot's frame_fitting does, and the logits are cropped back.
        """
        height, width = image.shape[-2:]
        pad_right, pad_bottom = -width % STRIDE, -height % STRIDE
        if pad_right or pad_bottom:
            image = functional.pad(image, (0, pad_right, 0, pad_bottom), mode='replicate')
        stem = self.stem(image)
        features1 = self.encoder1(stem)
        features2 = self.encoder2(features1)
        features3 = self.encoder3(features2)
        features4 = self.encoder4(features3)
        x = self.decoder4(features4) + features3
        x = self.decoder3(x) + features2
        x = self.decoder2(x) + features1
        x = self.decoder1(x) + stem
        logits: Tensor = self.head(x)
        if pad_right or pad_bottom:
            logits = logits[..., :height, :width]
        return logits


def normalize(image_bgr: Tensor) -> Tensor:
    """BGR bytes (N, H, W, 3), uint8, to the network's input (N, 3, H, W), float32 RGB."""
    mean = torch.tensor(IMAGENET_MEAN).view(1, 3, 1, 1) * 255
    scale = 1 / (torch.tensor(IMAGENET_STD).view(1, 3, 1, 1) * 255)
    rgb = image_bgr.permute(0, 3, 1, 2).flip(1).float()
    return (rgb - mean) * scale
