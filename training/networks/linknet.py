"""LinkNet (Chaurasia and Culurciello, "LinkNet: Exploiting Encoder Representations for Efficient
Semantic Segmentation", arXiv 1707.03718) with its ResNet-18 encoder.

Layer settings follow the authors' Torch7 code where the paper's text and figures disagree: four
links (the max-pool output is the first), decoder 1 does not upsample, biases everywhere.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torchvision.models import ResNet, ResNet18_Weights, resnet18
from torchvision.models.resnet import BasicBlock

from linknet_ros.errors import ParameterError
from training.networks.inputs import IMAGENET, InputStatistics
from training.networks.layers import LayerStyle, check_options, initialize_weights, run_padded

#: The epsilon of the decoder's norms in the authors' code.
DECODER_EPS = 1e-3


class DecoderBlock(nn.Module):
    """Decoder of the paper's figure 3: 1x1 (m -> m/4), full-conv 3x3, 1x1 (m/4 -> n).

    :param stride: 2 doubles height and width, 1 keeps them.
    :param dropout: share of the output's channels that are dropped in training.
    """

    def __init__(
        self, in_channels: int, out_channels: int, stride: int, style: LayerStyle, dropout: float
    ) -> None:
        super().__init__()
        middle = in_channels // 4
        self.reduce = nn.Conv2d(in_channels, middle, 1)
        self.reduce_norm = style.norm(middle, DECODER_EPS)
        self.reduce_act = style.act(middle)
        self.up = nn.ConvTranspose2d(
            middle, middle, 3, stride=stride, padding=1, output_padding=stride - 1
        )
        self.up_norm = style.norm(middle, DECODER_EPS)
        self.up_act = style.act(middle)
        self.expand = nn.Conv2d(middle, out_channels, 1)
        self.expand_norm = style.norm(out_channels, DECODER_EPS)
        self.expand_act = style.act(out_channels)
        self.dropout = nn.Dropout2d(dropout)

    def forward(self, x: Tensor) -> Tensor:
        """Features (N, in_channels, H, W) to (N, out_channels, H * stride, W * stride)."""
        x = self.reduce_act(self.reduce_norm(self.reduce(x)))
        x = self.up_act(self.up_norm(self.up(x)))
        features: Tensor = self.dropout(self.expand_act(self.expand_norm(self.expand(x))))
        return features


class LinkNet(nn.Module):
    """RGB image, normalised with the ImageNet statistics, to logits of the same size.

    :param classes: number of output classes.
    :param normalization: 'batch', 'group' or 'none'.
    :param dropout: share of channels dropped behind each decoder block; the paper has none.
    :param activation: 'relu', 'leaky_relu', 'elu', 'prelu' or 'silu'.
    :param pretrained: start the encoder from torchvision's ImageNet weights (needs internet once).
    :param width: of every layer, as a share of the paper's; 1 is LinkNet as published.
    :raises ParameterError: for values that no network can be built with.
    """

    title: ClassVar[str] = 'LinkNet (ResNet-18)'
    stride: ClassVar[int] = 32
    statistics: ClassVar[InputStatistics] = IMAGENET
    decoder_block: ClassVar[type[nn.Module]] = DecoderBlock

    def __init__(
        self,
        classes: int = 11,
        *,
        normalization: str = 'batch',
        dropout: float = 0.0,
        activation: str = 'relu',
        pretrained: bool = False,
        width: float = 1.0,
    ) -> None:
        super().__init__()
        style = LayerStyle(normalization, activation)
        check_options(classes, dropout)
        encoder = _resnet_encoder(style, pretrained, width)
        c1, c2, c3, c4 = (_scaled(channels, width) for channels in (64, 128, 256, 512))
        head = c1 // 2
        self.stem = nn.Sequential(encoder.conv1, encoder.bn1, encoder.relu, encoder.maxpool)
        self.encoder1 = encoder.layer1
        self.encoder2 = encoder.layer2
        self.encoder3 = encoder.layer3
        self.encoder4 = encoder.layer4
        make_block = self.decoder_block
        self.decoder4 = make_block(c4, c3, 2, style, dropout)
        self.decoder3 = make_block(c3, c2, 2, style, dropout)
        self.decoder2 = make_block(c2, c1, 2, style, dropout)
        self.decoder1 = make_block(c1, c1, 1, style, dropout)
        self.head = nn.Sequential(
            nn.ConvTranspose2d(c1, head, 3, stride=2, padding=1, output_padding=1),
            style.norm(head),
            style.act(head),
            nn.Conv2d(head, head, 3, padding=1),
            style.norm(head, DECODER_EPS),
            style.act(head),
            nn.ConvTranspose2d(head, classes, 2, stride=2),
        )
        self._side_outputs = {'decoder4': c3, 'decoder3': c2, 'decoder2': c1}
        # n is the k * k * n_out of the authors' code.
        trained = {id(module) for module in encoder.modules()} if pretrained else set()
        initialize_weights(
            (module for module in self.modules() if id(module) not in trained),
            fan='out',
            zeroed=() if style.is_normalized else self._branch_ends(),
        )

    @property
    def first_convolution(self) -> nn.Conv2d | None:
        """The convolution that alone reads the image."""
        first = self.stem[0]
        assert isinstance(first, nn.Conv2d)
        return first

    @property
    def encoder(self) -> tuple[nn.Module, ...]:
        """Parts that may start from ImageNet weights."""
        return self.stem, self.encoder1, self.encoder2, self.encoder3, self.encoder4

    @property
    def side_outputs(self) -> dict[str, int]:
        """Submodules whose outputs deep supervision may use, and their channels."""
        return self._side_outputs

    def forward(self, image: Tensor) -> Tensor:
        """Any image (N, 3, H, W) to logits (N, classes, H, W)."""
        return run_padded(self._logits, image, self.stride)

    def _logits(self, image: Tensor) -> Tensor:
        stem = self.stem(image)
        features1 = self.encoder1(stem)
        features2 = self.encoder2(features1)
        features3 = self.encoder3(features2)
        features4 = self.encoder4(features3)
        x = self._link(self.decoder4(features4), features3)
        x = self._link(self.decoder3(x), features2)
        x = self._link(self.decoder2(x), features1)
        x = self._link(self.decoder1(x), stem)
        logits: Tensor = self.head(x)
        return logits

    def _link(self, decoded: Tensor, encoded: Tensor) -> Tensor:
        """The features that go on: the decoder's and, through the link, the encoder's."""
        return decoded + encoded

    def _branch_ends(self) -> list[nn.Conv2d]:
        """Last convolution of each residual branch.

        They start at 0 where nothing normalises: every sum of two branches would double the
        variance (Zhang et al., "Fixup Initialization", arXiv 1901.09321).
        """
        return [block.conv2 for block in self.modules() if isinstance(block, BasicBlock)]


class _ScaledResNet(ResNet):
    """ResNet-18 with every layer as wide as a share of it says; its classifier is not used."""

    def __init__(self, width: float, norm_layer: Callable[[int], nn.Module]) -> None:
        self._width = width
        super().__init__(BasicBlock, [2, 2, 2, 2], norm_layer=norm_layer)
        channels = _scaled(64, width)
        self.conv1 = nn.Conv2d(3, channels, 7, stride=2, padding=3, bias=False)
        self.bn1 = norm_layer(channels)

    def _make_layer(
        self, block: Any, planes: int, blocks: int, stride: int = 1, dilate: bool = False
    ) -> nn.Sequential:
        if planes == 64:
            self.inplanes = _scaled(64, self._width)
        scaled = _scaled(planes, self._width)
        return super()._make_layer(block, scaled, blocks, stride, dilate)


def _scaled(channels: int, width: float) -> int:
    """A multiple of 16, which the decoders quarter and every runtime likes."""
    return max(16, 16 * round(channels * width / 16))


def _resnet_encoder(style: LayerStyle, pretrained: bool, width: float) -> ResNet:
    """ResNet-18 in a style; a block's two activations are one module, as torchvision has it."""
    if not 0 < width <= 4:
        raise ParameterError(f'width {width} is not above 0 and at most 4')
    if pretrained and style.normalization != 'batch':
        raise ParameterError(
            f'normalization {style.normalization!r} does not fit pretrained weights, '
            'which are of a network with batch'
        )
    if pretrained and width != 1:
        raise ParameterError(f'width {width} does not fit pretrained weights, which have width 1')
    encoder = resnet18(norm_layer=style.norm) if width == 1 else _ScaledResNet(width, style.norm)
    if pretrained:
        # Not through resnet18, which would run what else the downloaded file has pickled in it;
        # a copy in torch.hub's folder is taken as it is.
        weights = ResNet18_Weights.IMAGENET1K_V1
        encoder.load_state_dict(weights.get_state_dict(check_hash=True, weights_only=True))
    encoder.relu = style.act(encoder.conv1.out_channels)
    for module in encoder.modules():
        if isinstance(module, BasicBlock):
            module.relu = style.act(module.conv1.out_channels)
        elif isinstance(module, nn.Conv2d) and not style.is_normalized:
            # torchvision leaves the bias to the norm.
            module.bias = nn.Parameter(torch.zeros(module.out_channels))
    return encoder
