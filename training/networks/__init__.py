"""The networks that can be trained, by name: same options, same interface."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Protocol, runtime_checkable

from torch import Tensor, nn

from linknet_ros.errors import ParameterError
from training.networks.enet import ENet
from training.networks.inputs import IMAGENET, InputStatistics, normalize
from training.networks.linknet import LinkNet
from training.networks.linknet_lite0 import LinkNetLite0
from training.networks.linknet_nobypass import LinkNetNoBypass
from training.networks.linknet_residual import LinkNetResidual
from training.networks.linknet_subpixel import LinkNetSubpixel
from training.networks.segnet import SegNet
from training.networks.unet import UNet

__all__ = [
    'IMAGENET',
    'NETWORKS',
    'InputStatistics',
    'Network',
    'NetworkConfig',
    'build_network',
    'normalize',
]

NETWORKS: dict[str, type[nn.Module]] = {
    'linknet': LinkNet,
    'linknet-lite0': LinkNetLite0,
    'linknet-nobypass': LinkNetNoBypass,
    'linknet-residual': LinkNetResidual,
    'linknet-subpixel': LinkNetSubpixel,
    'segnet': SegNet,
    'enet': ENet,
    'unet': UNet,
}


@runtime_checkable
class Network(Protocol):
    """What every network offers beside being an nn.Module."""

    #: Its name for people, as in a model file.
    title: str
    #: Heights and widths that are multiples of it need no padding.
    stride: int
    #: What its input is normalised with.
    statistics: InputStatistics
    #: Parts that may start from ImageNet weights; none in most networks.
    encoder: Sequence[nn.Module]

    @property
    def first_convolution(self) -> nn.Conv2d | None:
        """The convolution that alone reads the image, if there is one.

        Reversing the input channels of its filters makes a network for BGR of one for RGB.
        """

    @property
    def side_outputs(self) -> dict[str, int]:
        """Submodules whose outputs deep supervision may use, and their channels."""

    def forward(self, image: Tensor) -> Tensor:
        """Image (N, 3, H, W), as from normalize, to logits (N, classes, H, W); any H and W."""


@dataclass(frozen=True)
class NetworkConfig:
    """What it takes to build the same network again; stored in every checkpoint.

    :param network: a key of NETWORKS.
    :param classes: number of output classes.
    :param normalization: 'batch', 'group' or 'none'; None is the network's own choice, as below.
    :param dropout: share of channels dropped in training.
    :param activation: 'relu', 'leaky_relu', 'elu', 'prelu' or 'silu'.
    :param pretrained: start the encoder from ImageNet weights: torchvision's for a ResNet-18
        (needs internet once), those of a package for EfficientNet-Lite0.
    :param width: of a LinkNet with a ResNet-18, as a share of the paper's; None is 1.
    """

    network: str = 'linknet'
    classes: int = 11
    normalization: str | None = None
    dropout: float | None = None
    activation: str | None = None
    pretrained: bool = False
    width: float | None = None

    def to_dict(self) -> dict[str, Any]:
        """Plain dictionary for a checkpoint."""
        return asdict(self)


def build_network(config: NetworkConfig) -> nn.Module:
    """A network with its first weights; it is a Network too.

    :raises ParameterError: when the network or the value of an option is unknown, or the network
        has no pretrained encoder and the config asks for one.
    """
    if config.network not in NETWORKS:
        raise ParameterError(
            f'unknown network {config.network!r}', f'use one of {", ".join(NETWORKS)}'
        )
    options = config.to_dict()
    make_network = NETWORKS[options.pop('network')]
    if config.width is not None and not issubclass(make_network, LinkNet):
        raise ParameterError(
            f'width {config.width} is for a LinkNet with a ResNet-18, not for {config.network}'
        )
    return make_network(**{name: value for name, value in options.items() if value is not None})
