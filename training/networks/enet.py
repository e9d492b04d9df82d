"""ENet (Paszke, Chaurasia, Kim and Culurciello, arXiv 1606.02147).

Where the paper leaves a choice, layer settings follow the authors' Torch7 code (e-lab/
ENet-training): a norm behind the second, not the first, of two asymmetric convolutions; a last
layer of 2x2; an epsilon of 1e-3. PReLU and dropout are in the decoder too, as the paper says; that
code has ReLU and no dropout there.
"""

from __future__ import annotations

from typing import ClassVar

import torch
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

#: The epsilon of all norms in the authors' code.
EPS = 1e-3

#: The main layers of bottlenecks 2.1 to 2.8 and 3.1 to 3.8, as (kind, size or dilation); a
#: dilation of 1 is the regular bottleneck.
MAIN_LAYERS = (
    ('dilated', 1),
    ('dilated', 2),
    ('asymmetric', 5),
    ('dilated', 4),
    ('dilated', 1),
    ('dilated', 8),
    ('asymmetric', 5),
    ('dilated', 16),
)


class InitialBlock(nn.Module):
    """Figure 2a: 13 filters of stride 2 beside the pooled image.

    The paper's norm of all 16 channels is two norms here, one for each part, which is the same:
    statistics are per channel. So the filters' one can be folded into them.
    """

    def __init__(self, style: LayerStyle) -> None:
        super().__init__()
        self.filters = nn.Conv2d(3, 13, 3, stride=2, padding=1)
        self.filters_norm = style.norm(13, EPS)
        self.pool = nn.MaxPool2d(2)
        self.pool_norm = style.norm(3, EPS)
        self.act = style.act(16)

    def forward(self, image: Tensor) -> Tensor:
        """Image (N, 3, H, W) to features (N, 16, H / 2, W / 2)."""
        filtered = self.filters_norm(self.filters(image))
        features: Tensor = self.act(torch.cat((filtered, self.pool_norm(self.pool(image))), dim=1))
        return features


def _main_branch(
    project: nn.Conv2d,
    main: tuple[nn.Module, ...],
    out_channels: int,
    dropout: float,
    style: LayerStyle,
) -> nn.Sequential:
    """Figure 2b, right: projection, main layer, 1x1 expansion, spatial dropout."""
    middle = project.out_channels
    return nn.Sequential(
        project,
        style.norm(middle, EPS),
        style.act(middle),
        *main,
        style.norm(middle, EPS),
        style.act(middle),
        nn.Conv2d(middle, out_channels, 1, bias=not style.is_normalized),
        style.norm(out_channels, EPS),
        nn.Dropout2d(dropout),
    )


def _dilated(channels: int, dilation: int = 1) -> tuple[nn.Module, ...]:
    return (nn.Conv2d(channels, channels, 3, padding=dilation, dilation=dilation),)


def _asymmetric(channels: int, size: int) -> tuple[nn.Module, ...]:
    return (
        nn.Conv2d(channels, channels, (1, size), padding=(0, size // 2), bias=False),
        nn.Conv2d(channels, channels, (size, 1), padding=(size // 2, 0)),
    )


class Bottleneck(nn.Module):
    """Figure 2b with an identity as shortcut.

    :param main: kind and size of the main layer, as in MAIN_LAYERS.
    """

    def __init__(
        self,
        channels: int,
        dropout: float,
        style: LayerStyle,
        main: tuple[str, int] = ('dilated', 1),
    ) -> None:
        super().__init__()
        middle = channels // 4
        kind, size = main
        self.main = _main_branch(
            nn.Conv2d(channels, middle, 1, bias=not style.is_normalized),
            (_asymmetric if kind == 'asymmetric' else _dilated)(middle, size),
            channels,
            dropout,
            style,
        )
        self.act = style.act(channels)

    def forward(self, x: Tensor) -> Tensor:
        """Features (N, channels, H, W) to features of the same shape."""
        features: Tensor = self.act(self.main(x) + x)
        return features


class DownsamplingBottleneck(nn.Module):
    """Figure 2b with pooling as shortcut, whose channels are filled up with zeros."""

    def __init__(
        self, in_channels: int, out_channels: int, dropout: float, style: LayerStyle
    ) -> None:
        super().__init__()
        middle = out_channels // 4
        self.in_channels = in_channels
        self.main = _main_branch(
            nn.Conv2d(in_channels, middle, 2, stride=2, bias=not style.is_normalized),
            _dilated(middle),
            out_channels,
            dropout,
            style,
        )
        self.act = style.act(out_channels)

    def forward(self, x: Tensor) -> tuple[Tensor, tuple[Tensor, ...]]:
        """Features (N, in_channels, H, W) to (N, out_channels, H / 2, W / 2) and positions."""
        pooled, position = max_pool_2x2(x)
        branch = self.main(x)
        # Zeros need not be added to the last channels.
        first = branch[:, : self.in_channels] + pooled
        return self.act(torch.cat((first, branch[:, self.in_channels :]), dim=1)), position


class UpsamplingBottleneck(nn.Module):
    """Figure 2b with a 1x1 convolution and unpooling as shortcut."""

    def __init__(
        self, in_channels: int, out_channels: int, dropout: float, style: LayerStyle
    ) -> None:
        super().__init__()
        middle = out_channels // 4
        bias = not style.is_normalized
        self.main = _main_branch(
            nn.Conv2d(in_channels, middle, 1, bias=bias),
            (nn.ConvTranspose2d(middle, middle, 3, stride=2, padding=1, output_padding=1),),
            out_channels,
            dropout,
            style,
        )
        self.shortcut = nn.Sequential(
            nn.Conv2d(in_channels, out_channels, 1, bias=bias), style.norm(out_channels, EPS)
        )
        self.act = style.act(out_channels)

    def forward(self, x: Tensor, position: tuple[Tensor, ...]) -> Tensor:
        """Features (N, in_channels, H, W) to (N, out_channels, 2 H, 2 W)."""
        shortcut = max_unpool_2x2(self.shortcut(x), position)
        features: Tensor = self.act(self.main(x) + shortcut)
        return features


class ENet(nn.Module):
    """RGB image, normalised with the ImageNet statistics, to logits of the same size.

    :param classes: number of output classes.
    :param normalization: 'batch', 'group' or 'none'.
    :param dropout: share of channels dropped in each bottleneck, and ten times less in those
        before bottleneck 2.0; the paper has 0.1 and 0.01.
    :param activation: 'relu', 'leaky_relu', 'elu', 'prelu' or 'silu'.
    :param pretrained: not available.
    :raises ParameterError: for values that no network can be built with.
    """

    title: ClassVar[str] = 'ENet'
    stride: ClassVar[int] = 8
    statistics: ClassVar[InputStatistics] = IMAGENET
    encoder: ClassVar[tuple[nn.Module, ...]] = ()

    def __init__(
        self,
        classes: int = 11,
        *,
        normalization: str = 'batch',
        dropout: float = 0.1,
        activation: str = 'prelu',
        pretrained: bool = False,
    ) -> None:
        super().__init__()
        style = LayerStyle(normalization, activation)
        check_options(classes, dropout)
        refuse_pretrained(self.title, pretrained)
        early = dropout / 10
        self.initial = InitialBlock(style)
        self.down1 = DownsamplingBottleneck(16, 64, early, style)
        self.stage1 = nn.Sequential(*(Bottleneck(64, early, style) for _ in range(4)))
        self.down2 = DownsamplingBottleneck(64, 128, dropout, style)
        self.stage2 = nn.Sequential(*(Bottleneck(128, dropout, style, m) for m in MAIN_LAYERS))
        self.stage3 = nn.Sequential(*(Bottleneck(128, dropout, style, m) for m in MAIN_LAYERS))
        self.up4 = UpsamplingBottleneck(128, 64, dropout, style)
        self.stage4 = nn.Sequential(*(Bottleneck(64, dropout, style) for _ in range(2)))
        self.up5 = UpsamplingBottleneck(64, 16, dropout, style)
        self.stage5 = Bottleneck(16, dropout, style)
        self.head = nn.ConvTranspose2d(16, classes, 2, stride=2)
        # The expansions end residual branches: see LinkNet for why some start at 0.
        blocks = (Bottleneck, DownsamplingBottleneck, UpsamplingBottleneck)
        branches = [block.main for block in self.modules() if isinstance(block, blocks)]
        ends = [[m for m in branch if isinstance(m, nn.Conv2d)][-1] for branch in branches]
        initialize_weights(self.modules(), fan='in', zeroed=() if style.is_normalized else ends)

    @property
    def first_convolution(self) -> nn.Conv2d | None:
        """None: the image is not only filtered but also pooled."""
        return None

    @property
    def side_outputs(self) -> dict[str, int]:
        """No submodule is offered for deep supervision."""
        return {}

    def forward(self, image: Tensor) -> Tensor:
        """Any image (N, 3, H, W) to logits (N, classes, H, W)."""
        return run_padded(self._logits, image, self.stride)

    def _logits(self, image: Tensor) -> Tensor:
        x, position1 = self.down1(self.initial(image))
        x, position2 = self.down2(self.stage1(x))
        x = self.stage3(self.stage2(x))
        x = self.stage4(self.up4(x, position2))
        x = self.stage5(self.up5(x, position1))
        logits: Tensor = self.head(x)
        return logits
