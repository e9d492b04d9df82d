"""What a network costs: parameters and multiply-accumulates."""

from __future__ import annotations

from copy import deepcopy

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode


def count_parameters(network: nn.Module) -> int:
    """Number of trainable parameters, which the statistics of batch norms are not."""
    return sum(parameter.numel() for parameter in network.parameters())


def count_macs(network: nn.Module, width: int, height: int) -> int:
    """Multiply-accumulates of the convolutions, full ones included, for one image.

    Half of what is usually called FLOPs. An image that the network pads counts with its padding;
    biases, norms, activations and pooling do not count.

    :param network: takes (1, 3, height, width).
    """
    # Only shapes are needed: the meta device computes nothing.
    shapes = deepcopy(network).to('meta').eval()
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        shapes(torch.empty(1, 3, height, width, device='meta'))
    return int(counter.get_total_flops()) // 2
