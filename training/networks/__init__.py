"""The networks that can be trained, by name: same options, same interface."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Protocol, runtime_checkable

from torch import Tensor, nn

from linknet_ros.errors import ParameterError
from training.networks.enet import ENet
from training.networks.inputs import IMAGENET_MEAN, IMAGENET_STD, normalize
from training.networks.linknet import LinkNet
from training.networks.linknet_nobypass import LinkNetNoBypass
from training.networks.linknet_residual import LinkNetResidual
from training.networks.linknet_subpixel import LinkNetSubpixel
from training.networks.segnet import SegNet
from training.networks.unet import UNet

__all__ = [
    'IMAGENET_MEAN',
    'IMAGENET_STD',
    'NETWORKS',
    'Network',
    'NetworkConfig',
    'build_network',
    'normalize',
]

NETWORKS: dict[str, type[nn.Module]] = {
    'linknet': LinkNet,
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
    :param pretrained: start a ResNet-18 encoder from torchvision's ImageNet weights (needs
        internet once).
    """

    network: str = 'linknet'
    classes: int = 11
    normalization: str | None = None
    dropout: float | None = None
    activation: str | None = None
    pretrained: bool = False

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
    return make_network(**{name: value for name, value in options.items() if value is not None})
