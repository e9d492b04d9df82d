"""LinkNet whose decoder blocks upsample by sub-pixel convolution (Shi et al., arXiv 1609.05158).

The idea of Atom-101/Linknet-NNFL-Project (linknet_model_sub.py), without its faults: its decoder 1
has two 3x3 convolutions without padding, which shrink the features by four rows and columns; an
`except:` around every link then runs the decoder a second time (its batch norms see each batch
twice) and stretches the result to the skip, so that decoder 1's features never fit the image. Here
those convolutions are padded. The head is LinkNet's, whose last layer is 2x2 and not 3x3.
"""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor, nn

from training.networks.layers import LayerStyle
from training.networks.linknet import DECODER_EPS, LinkNet


class SubpixelDecoderBlock(nn.Module):
    """1x1 (m -> 4 m), pixel shuffle (4 m -> m), 1x1 (m -> n).

    With stride 1 there is nothing to shuffle: 3x3 (m -> m/4), 3x3 (m/4 -> n).

    :param stride: 2 doubles height and width, 1 keeps them.
    :param dropout: share of the output's channels that are dropped in training.
    """

    def __init__(
        self, in_channels: int, out_channels: int, stride: int, style: LayerStyle, dropout: float
    ) -> None:
        super().__init__()
        kernel_size = 1 if stride > 1 else 3
        middle = in_channels * stride**2 if stride > 1 else in_channels // 4
        padding = kernel_size // 2
        self.spread = nn.Conv2d(in_channels, middle, kernel_size, padding=padding)
        self.spread_norm = style.norm(middle, DECODER_EPS)
        self.spread_act = style.act(middle)
        self.shuffle = nn.PixelShuffle(stride)
        shuffled = middle // stride**2
        self.merge = nn.Conv2d(shuffled, out_channels, kernel_size, padding=padding)
        self.merge_norm = style.norm(out_channels, DECODER_EPS)
        self.merge_act = style.act(out_channels)
        self.dropout = nn.Dropout2d(dropout)

    def forward(self, x: Tensor) -> Tensor:
        """Features (N, in_channels, H, W) to (N, out_channels, H * stride, W * stride)."""
        x = self.shuffle(self.spread_act(self.spread_norm(self.spread(x))))
        features: Tensor = self.dropout(self.merge_act(self.merge_norm(self.merge(x))))
        return features


class LinkNetSubpixel(LinkNet):
    """LinkNet that upsamples by turning channels into pixels."""

    title: ClassVar[str] = 'LinkNet with sub-pixel decoders (ResNet-18)'
    decoder_block: ClassVar[type[nn.Module]] = SubpixelDecoderBlock
