"""What the networks share: the choice of normalisation and activation, first weights, padding to
a stride, and 2x2 pooling that remembers where its maxima were.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from math import gcd, sqrt
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from linknet_ros.errors import ParameterError

NORMALIZATIONS = ('batch', 'group', 'none')

#: Each makes an activation for a number of channels.
ACTIVATIONS: dict[str, Callable[[int], nn.Module]] = {
    'relu': lambda _channels: nn.ReLU(inplace=True),
    'leaky_relu': lambda _channels: nn.LeakyReLU(0.01, inplace=True),
    'elu': lambda _channels: nn.ELU(inplace=True),
    'prelu': nn.PReLU,
    'silu': lambda _channels: nn.SiLU(),
}


@dataclass(frozen=True)
class LayerStyle:
    """Which normalisation and activation a network is built with.

    :raises ParameterError: when one of them is unknown.
    """

    normalization: str
    activation: str

    def __post_init__(self) -> None:
        for option, value, allowed in (
            ('normalization', self.normalization, NORMALIZATIONS),
            ('activation', self.activation, ACTIVATIONS),
        ):
            if value not in allowed:
                raise ParameterError(
                    f'invalid {option} {value!r}', f'use one of {", ".join(allowed)}'
                )

    @property
    def is_normalized(self) -> bool:
        """Whether there is a normalisation, which makes the bias before it superfluous."""
        return self.normalization != 'none'

    def norm(self, channels: int, eps: float = 1e-5) -> nn.Module:
        """A normalisation of (N, channels, H, W)."""
        if self.normalization == 'batch':
            return nn.BatchNorm2d(channels, eps=eps)
        if self.normalization == 'group':
            # 32 groups (Wu and He, arXiv 1803.08494), fewer where one would have less than four
            # channels: at the network's bottom a group may be as small as its channels.
            return nn.GroupNorm(gcd(32, max(channels // 4, 1), channels), channels, eps=eps)
        return nn.Identity()

    def act(self, channels: int) -> nn.Module:
        """An activation for (N, channels, H, W)."""
        return ACTIVATIONS[self.activation](channels)

    def convolution(
        self, in_channels: int, out_channels: int, kernel_size: int, *, bias: bool
    ) -> tuple[nn.Module, nn.Module, nn.Module]:
        """A convolution that keeps the size, its normalisation and activation."""
        padding = kernel_size // 2
        return (
            nn.Conv2d(in_channels, out_channels, kernel_size, padding=padding, bias=bias),
            self.norm(out_channels),
            self.act(out_channels),
        )


def check_options(classes: int, dropout: float) -> None:
    """Refuse what no network can be built with.

    :raises ParameterError: for less than one class, or a dropout outside of 0 to 1.
    """
    if classes < 1:
        raise ParameterError(f'invalid classes {classes!r} (expected at least 1)')
    if not 0 <= dropout < 1:
        raise ParameterError(f'invalid dropout {dropout!r} (expected at least 0 and below 1)')


def refuse_pretrained(title: str, pretrained: bool) -> None:
    """Refuse pretrained weights for a network without a pretrained encoder.

    :raises ParameterError: when pretrained.
    """
    if pretrained:
        raise ParameterError(
            f'pretrained {pretrained!r}: {title} has no pretrained encoder', 'use a LinkNet'
        )


def initialize_weights(
    modules: Iterable[nn.Module],
    *,
    fan: Literal['in', 'out'],
    zeroed: Iterable[nn.Conv2d] = (),
) -> None:
    """Draw the weights of convolutions from N(0, sqrt(2 / n)) (He et al., arXiv 1502.01852).

    :param fan: n is the number of weights that make one output ('in'), or that one input takes
        part in at stride 1 ('out').
    :param zeroed: convolutions that get weights of 0 instead.
    """
    for layer in modules:
        if isinstance(layer, (nn.Conv2d, nn.ConvTranspose2d)):
            n = layer.kernel_size[0] * layer.kernel_size[1]
            if fan == 'out':
                n *= layer.out_channels
            else:
                n *= layer.in_channels
                if isinstance(layer, nn.ConvTranspose2d):
                    # Only every stride-th row and column of the kernel meets an output.
                    n //= layer.stride[0] * layer.stride[1]
            nn.init.normal_(layer.weight, 0.0, sqrt(2 / n))
    for layer in zeroed:
        nn.init.zeros_(layer.weight)


def run_padded(compute: Callable[[Tensor], Tensor], image: Tensor, stride: int) -> Tensor:
    """Logits for an image of any size, from a network that needs multiples of its stride.

    The image is padded at the right and bottom with its border's pixels, as the robot's
    frame_fitting does, and the logits are cropped back.

    :param compute: (N, 3, H, W) to (N, classes, H, W) for H and W that are multiples of stride.
    :param image: (N, 3, H, W).
    """
    height, width = image.shape[-2:]
    right, bottom = -width % stride, -height % stride
    if not (right or bottom):
        return compute(image)
    padded = functional.pad(image, (0, right, 0, bottom), mode='replicate')
    return compute(padded)[..., :height, :width]


def max_pool_2x2(x: Tensor) -> tuple[Tensor, tuple[Tensor, ...]]:
    """Maxima of 2x2 windows, and where they were, for max_unpool_2x2 alone.

    Neither MaxPool's indices nor MaxUnpool can be exported to what OpenVINO and ONNX Runtime both
    run, so an export compares and selects instead. PyTorch's own pair, which takes a third of the
    time on a CPU, trains.

    :param x: (N, C, H, W), H and W even.
    :returns: (N, C, H / 2, W / 2) and the positions, opaque.
    """
    if torch.onnx.is_in_onnx_export():
        return functional.max_pool2d(x, 2), window_position(x)
    maxima, indices = functional.max_pool2d(x, 2, return_indices=True)
    return maxima, (indices,)


def max_unpool_2x2(x: Tensor, position: tuple[Tensor, ...]) -> Tensor:
    """Values (N, C, H, W) to (N, C, 2 H, 2 W): each where its maximum was, 0 everywhere else."""
    if len(position) == 1:
        return functional.max_unpool2d(x, position[0], (2, 2))
    upper, left = position
    return unpool_to_position(x, upper, left)


def window_position(x: Tensor) -> tuple[Tensor, Tensor]:
    """Where the maximum of each 2x2 window is; of equal values the first, as MaxPool2d.

    Found by comparisons, not by equality with the maximum, so that there is exactly one
    position whatever a back end rounds on the way.

    :param x: (N, C, H, W), H and W even.
    :returns: whether it is in the upper row, in the left column; bool (N, C, H / 2, W / 2).
    """
    upper_left, upper_right = x[..., 0::2, 0::2], x[..., 0::2, 1::2]
    lower_left, lower_right = x[..., 1::2, 0::2], x[..., 1::2, 1::2]
    upper = torch.maximum(upper_left, upper_right) >= torch.maximum(lower_left, lower_right)
    left = (upper & (upper_left >= upper_right)) | (~upper & (lower_left >= lower_right))
    return upper, left


def unpool_to_position(x: Tensor, upper: Tensor, left: Tensor) -> Tensor:
    """The inverse of pooling by select and pixel shuffle.

    :param x: (N, C, H, W).
    :param upper: as from window_position, and so is left.
    :returns: (N, C, 2 H, 2 W).
    """
    nothing = torch.zeros((), dtype=x.dtype, device=x.device)
    in_upper, in_lower = torch.where(upper, x, nothing), torch.where(upper, nothing, x)
    windows = torch.stack(
        (
            torch.where(left, in_upper, nothing),
            torch.where(left, nothing, in_upper),
            torch.where(left, in_lower, nothing),
            torch.where(left, nothing, in_lower),
        ),
        dim=2,
    )
    return functional.pixel_shuffle(windows.flatten(1, 2), 2)
