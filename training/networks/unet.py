"""U-Net (Ronneberger, Fischer and Brox, arXiv 1505.04597) as it is trained today: the paper's
widths of 64 to 1024, with padded convolutions and a batch norm behind each of them.
"""

from __future__ import annotations

import itertools
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional

from training.networks.inputs import IMAGENET, InputStatistics
from training.networks.layers import (
    LayerStyle,
    check_options,
    initialize_weights,
    refuse_pretrained,
    run_padded,
)

#: Channels of the levels, from full size to a sixteenth.
WIDTHS = (64, 128, 256, 512, 1024)


class UNet(nn.Module):
    """RGB image, normalised with the ImageNet statistics, to logits of the same size.

    :param classes: number of output classes.
    :param normalization: 'batch', 'group' or 'none'.
    :param dropout: share of channels dropped at the end of the contracting path.
    :param activation: 'relu', 'leaky_relu', 'elu', 'prelu' or 'silu'.
    :param pretrained: not available.
    :raises ParameterError: for values that no network can be built with.
    """

    title: ClassVar[str] = 'U-Net'
    stride: ClassVar[int] = 16
    statistics: ClassVar[InputStatistics] = IMAGENET
    encoder: ClassVar[tuple[nn.Module, ...]] = ()

    def __init__(
        self,
        classes: int = 11,
        *,
        normalization: str = 'batch',
        dropout: float = 0.0,
        activation: str = 'relu',
        pretrained: bool = False,
    ) -> None:
        super().__init__()
        style = LayerStyle(normalization, activation)
        check_options(classes, dropout)
        refuse_pretrained(self.title, pretrained)
        self.encoders = nn.ModuleList(
            _two_convolutions(before, width, style)
            for before, width in itertools.pairwise((3, *WIDTHS))
        )
        self.dropout = nn.Dropout2d(dropout)
        upwards = list(itertools.pairwise(WIDTHS[::-1]))
        self.ups = nn.ModuleList(
            nn.ConvTranspose2d(width, above, 2, stride=2) for width, above in upwards
        )
        self.decoders = nn.ModuleList(
            _two_convolutions(2 * above, above, style) for _width, above in upwards
        )
        self.head = nn.Conv2d(WIDTHS[0], classes, 1)
        initialize_weights(self.modules(), fan='in')

    @property
    def first_convolution(self) -> nn.Conv2d | None:
        """The convolution that alone reads the image."""
        first = next(iter(self.encoders[0].children()))
        assert isinstance(first, nn.Conv2d)
        return first

    @property
    def side_outputs(self) -> dict[str, int]:
        """No submodule is offered for deep supervision."""
        return {}

    def forward(self, image: Tensor) -> Tensor:
        """Any image (N, 3, H, W) to logits (N, classes, H, W)."""
        return run_padded(self._logits, image, self.stride)

    def _logits(self, image: Tensor) -> Tensor:
        x = self.encoders[0](image)
        skips = []
        for encoder in self.encoders[1:]:
            skips.append(x)
            x = encoder(functional.max_pool2d(x, 2))
        x = self.dropout(x)
        for up, decoder in zip(self.ups, self.decoders, strict=True):
            x = decoder(torch.cat((skips.pop(), up(x)), dim=1))
        logits: Tensor = self.head(x)
        return logits


def _two_convolutions(in_channels: int, out_channels: int, style: LayerStyle) -> nn.Sequential:
    bias = not style.is_normalized
    return nn.Sequential(
        *style.convolution(in_channels, out_channels, 3, bias=bias),
        *style.convolution(out_channels, out_channels, 3, bias=bias),
    )
