"""LinkNet with residual decoder blocks, as model-res-dec.lua of the authors' Torch7 code
(e-lab/LinkNet), of which their README says that it "slightly improves the result".
"""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor, nn

from training.networks.layers import LayerStyle
from training.networks.linknet import DECODER_EPS, LinkNet


class ResidualDecoderBlock(nn.Module):
    """Full-conv 3x3 and 1x1 at full width, beside a shortcut of 1x1 and bilinear upsampling.

    The bilinear grid is that of pixel centres. Torch7 aligned the corners instead, which shifts
    a pixel by an amount that depends on where it is and how large the image is.

    :param stride: 2 doubles height and width, 1 keeps them.
    :param dropout: share of the channels of the residual branch that are dropped in training.
    """

    def __init__(
        self, in_channels: int, out_channels: int, stride: int, style: LayerStyle, dropout: float
    ) -> None:
        super().__init__()
        self.residual = nn.Sequential(
            nn.ConvTranspose2d(
                in_channels, out_channels, 3, stride=stride, padding=1, output_padding=stride - 1
            ),
            style.norm(out_channels, DECODER_EPS),
            style.act(out_channels),
            nn.Conv2d(out_channels, out_channels, 1),
            style.norm(out_channels, DECODER_EPS),
            nn.Dropout2d(dropout),
        )
        self.shortcut = nn.Sequential(
            nn.Conv2d(in_channels, out_channels, 1),
            style.norm(out_channels, DECODER_EPS),
            nn.Upsample(scale_factor=stride, mode='bilinear') if stride > 1 else nn.Identity(),
        )
        self.act = style.act(out_channels)

    def forward(self, x: Tensor) -> Tensor:
        """Features (N, in_channels, H, W) to (N, out_channels, H * stride, W * stride)."""
        features: Tensor = self.act(self.residual(x) + self.shortcut(x))
        return features

    @property
    def branch_end(self) -> nn.Module:
        """Last convolution of the residual branch."""
        return self.residual[3]


class LinkNetResidual(LinkNet):
    """LinkNet whose decoder blocks are residual, and as wide inside as outside."""

    title: ClassVar[str] = 'LinkNet with residual decoders (ResNet-18)'
    decoder_block: ClassVar[type[nn.Module]] = ResidualDecoderBlock

    def _branch_ends(self) -> list[nn.Conv2d]:
        ends = [
            block.branch_end for block in self.modules() if isinstance(block, ResidualDecoderBlock)
        ]
        return super()._branch_ends() + [end for end in ends if isinstance(end, nn.Conv2d)]
