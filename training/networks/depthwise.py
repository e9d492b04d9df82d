"""Depthwise convolutions whose gradients do not take most of a training step.

PyTorch's bfloat16 gradients of a depthwise convolution are slow on a processor: 5x5 kernels and
strides take 20 to 60 times as long as the convolution itself. The gradient of the input is a
depthwise convolution as well, and that of a 5x5 kernel is fast in float32. The gradients of the 16
depthwise layers of EfficientNet-Lite0 took 131 ms instead of 697 ms (4 images of 352x256, one core
with AMX).
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

#: From this kernel size on, float32 is faster for the gradient of the weights.
_LARGE_KERNEL = 5


class DepthwiseConv2d(nn.Conv2d):
    """A depthwise convolution without bias; only its bfloat16 gradients on a processor differ.

    :param convolution: what it computes; its weight is shared.
    """

    def __init__(self, convolution: nn.Conv2d) -> None:
        channels = convolution.in_channels
        super().__init__(
            channels,
            channels,
            convolution.kernel_size,
            convolution.stride,
            convolution.padding,
            groups=channels,
            bias=False,
            device='meta',
        )
        self.weight = convolution.weight

    def forward(self, x: Tensor) -> Tensor:
        """Features (N, channels, H, W), as nn.Conv2d."""
        if not (
            self.weight.requires_grad
            and x.device.type == 'cpu'
            and torch.is_grad_enabled()
            and torch.is_autocast_enabled('cpu')
            and torch.get_autocast_dtype('cpu') == torch.bfloat16
        ):
            return super().forward(x)
        result: Tensor = _Depthwise.apply(x, self.weight, self.stride[0], self.padding[0])
        return result


class _Depthwise(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, stride: int, padding: int) -> Tensor:
        x, kernel = x.bfloat16().contiguous(memory_format=torch.channels_last), weight.bfloat16()
        ctx.save_for_backward(x, kernel)
        ctx.stride, ctx.padding = stride, padding
        return functional.conv2d(x, kernel, None, stride, padding, groups=len(weight))

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor, None, None]:  # type: ignore[override]
        x, kernel = ctx.saved_tensors
        stride, padding, size = ctx.stride, ctx.padding, kernel.shape[-1]
        count, channels, height, width = x.shape
        gradient = gradient.bfloat16().contiguous(memory_format=torch.channels_last)
        spread = gradient
        if stride > 1:
            # Zeros between the pixels: what the stride passed over has no gradient.
            rows, columns = (n + 2 * padding - size + 1 for n in (height, width))
            spread = gradient.new_zeros(count, rows, columns, channels).permute(0, 3, 1, 2)
            spread[:, :, ::stride, ::stride] = gradient
        of_input = functional.conv2d(
            spread, kernel.flip(2, 3), None, 1, size - 1 - padding, groups=channels
        )
        kind = torch.float32 if size >= _LARGE_KERNEL else torch.bfloat16
        _, of_weight, _ = torch.ops.aten.convolution_backward(
            *(tensor.to(kind) for tensor in (gradient, x, kernel)),
            None,
            [stride] * 2,
            [padding] * 2,
            [1, 1],
            False,
            [0, 0],
            channels,
            [False, True, False],
        )
        return of_input, of_weight.float(), None, None


def replace_depthwise(network: nn.Module) -> None:
    """Put a DepthwiseConv2d in the place of every depthwise convolution that it can stand for."""
    for module in list(network.modules()):
        for name, layer in module.named_children():
            if (
                isinstance(layer, nn.Conv2d)
                and 1 < layer.in_channels == layer.out_channels == layer.groups
                and layer.bias is None
                and layer.dilation == (1, 1)
                and all(pair[0] == pair[1] for pair in (layer.kernel_size, layer.stride))
                and isinstance(layer.padding, tuple)
                and 2 * layer.padding[0] == layer.kernel_size[0] - 1
            ):
                setattr(module, name, DepthwiseConv2d(layer))
