"""SegNet (Badrinarayanan, Kendall and Cipolla, arXiv 1511.00561): the thirteen convolutions of
VGG16, mirrored; the decoder puts its features where the encoder's pooling found the maxima.
"""

from __future__ import annotations

import itertools
from typing import ClassVar

from torch import Tensor, nn

from training.networks.inputs import IMAGENET, InputStatistics
from training.networks.layers import (
    LayerStyle,
    check_options,
    initialize_weights,
    max_pool_2x2,
    max_unpool_2x2,
    refuse_pretrained,
    run_padded,
)

#: Channels and number of convolutions of VGG16's stages.
WIDTHS = (64, 128, 256, 512, 512)
DEPTHS = (2, 2, 3, 3, 3)

#: Dropout is for the decoder's stages up to this one, counted from the bottom.
DEEP_STAGES = 3


class SegNet(nn.Module):
    """RGB image, normalised with the ImageNet statistics, to logits of the same size.

    :param classes: number of output classes.
    :param normalization: 'batch', 'group' or 'none'.
    :param dropout: share of channels dropped behind each of the decoder's three deepest stages.
    :param activation: 'relu', 'leaky_relu', 'elu', 'prelu' or 'silu'.
    :param pretrained: not available.
    :raises ParameterError: for values that no network can be built with.
    """

    title: ClassVar[str] = 'SegNet'
    stride: ClassVar[int] = 32
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
            _stage([before, *[width] * depth], style)
            for before, width, depth in zip((3, *WIDTHS), WIDTHS, DEPTHS, strict=False)
        )
        stages = list(zip((WIDTHS[0], *WIDTHS), WIDTHS, DEPTHS, strict=False))[::-1]
        self.decoders = nn.ModuleList(
            _stage([*[width] * depth, above], style) for above, width, depth in stages[:-1]
        )
        # The last convolution is bare: what it computes are the logits.
        self.decoders.append(
            nn.Sequential(
                *_stage([WIDTHS[0]] * DEPTHS[0], style),
                nn.Conv2d(WIDTHS[0], classes, 3, padding=1),
            )
        )
        self.dropout = nn.Dropout2d(dropout)
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
        x, positions = image, []
        for encoder in self.encoders:
            x, position = max_pool_2x2(encoder(x))
            positions.append(position)
        for depth, decoder in enumerate(self.decoders):
            x = decoder(max_unpool_2x2(x, positions.pop()))
            if depth < DEEP_STAGES:
                x = self.dropout(x)
        return x


def _stage(channels: list[int], style: LayerStyle) -> nn.Sequential:
    """3x3 convolutions from each number of channels to the next, biased as in VGG16."""
    return nn.Sequential(
        *itertools.chain.from_iterable(
            style.convolution(before, after, 3, bias=True)
            for before, after in itertools.pairwise(channels)
        )
    )
