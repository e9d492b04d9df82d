"""Folds batch norms into convolutions for the robot, and unfolds them to train on."""

from __future__ import annotations

import copy
import itertools
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

Convolution = nn.Conv2d | nn.ConvTranspose2d


def convolution_norm_pairs(
    network: nn.Module,
) -> Iterator[tuple[nn.Module, str, Convolution, str, nn.BatchNorm2d]]:
    """Find every convolution with a batch norm right after it.

    :returns: module that holds both, name and module of the convolution, of the batch norm.
    """
    for module in network.modules():
        for (name, layer), (norm_name, norm) in itertools.pairwise(module.named_children()):
            if (
                isinstance(norm, nn.BatchNorm2d)
                and isinstance(layer, Convolution)
                and layer.out_channels == norm.num_features
            ):
                yield module, name, layer, norm_name, norm


def fold_batch_norm(network: nn.Module) -> nn.Module:
    """Copy a network in evaluation mode, with batch norms folded into convolutions.

    Exporters fold those behind a Conv but not all those behind a ConvTranspose.
    """
    folded = copy.deepcopy(network).eval()
    for module, name, layer, norm_name, norm in list(convolution_norm_pairs(folded)):
        transpose = isinstance(layer, nn.ConvTranspose2d)
        fused = fuse_conv_bn_eval(layer, norm, transpose=transpose)
        setattr(module, name, fused)
        # timm's batch norms have the activation inside.
        setattr(module, norm_name, getattr(norm, 'act', nn.Identity()))
    return folded


@torch.inference_mode()
def unfold_batch_norm(
    network: nn.Module, folded: dict[str, Tensor], images: Sequence[Tensor]
) -> None:
    """Fill a network from weights into which batch norms had been folded.

    The result computes the same in evaluation mode; its statistics are those of `images`, and the
    weights are scaled as at initialisation, so that it trains on as if nothing had been folded.

    :param network: network with batch norms; keeps the parameters that `folded` does not have.
    :param folded: parameters by name, float32; every folded convolution has a bias.
    :param images: normalised RGB, (1, 3, H, W) each.
    """
    pairs = list(convolution_norm_pairs(network))
    names = {id(module): name for name, module in network.named_modules()}
    paired = {names[id(layer)] for _, _, layer, _, _ in pairs}
    own = network.state_dict()
    rest = {key: value for key, value in folded.items() if key.rpartition('.')[0] not in paired}
    own.update(rest)
    network.load_state_dict(own)
    network.eval()
    for _, _, layer, _, norm in pairs:
        name = names[id(layer)]
        layer.weight.copy_(folded[f'{name}.weight'])
        if layer.bias is not None:
            layer.bias.zero_()
        # For now, a batch norm that only adds the folded bias.
        norm.running_mean.zero_()
        norm.running_var.fill_(1.0)
        norm.weight.fill_((1 + norm.eps) ** 0.5)
        norm.bias.copy_(folded[f'{name}.bias'])
    moments: dict[int, list[Tensor]] = {}

    def measure(layer: nn.Module, _: object, output: Tensor) -> None:
        values = output.double()
        size = values.numel() / values.shape[1]
        entry = torch.stack([values.sum((0, 2, 3)), values.square().sum((0, 2, 3))])
        total = moments.setdefault(id(layer), [torch.zeros_like(entry), torch.zeros(())])
        total[0] += entry
        total[1] += size

    hooks = [layer.register_forward_hook(measure) for _, _, layer, _, _ in pairs]
    for image in images:
        network(image)
    for hook in hooks:
        hook.remove()
    for _, _, layer, _, norm in pairs:
        (first, second), count = moments[id(layer)]
        mean = (first / count).float()
        variance = (second / count - (first / count) ** 2).clamp_min(0).float()
        transpose = isinstance(layer, nn.ConvTranspose2d)
        axes = (0, 2, 3) if transpose else (1, 2, 3)
        kernel = layer.kernel_size[0] * layer.kernel_size[1]
        initial = (2 / (kernel * layer.out_channels)) ** 0.5
        scale = initial / layer.weight.square().mean(axes).sqrt().clamp_min(1e-12)
        shape = (1, -1, 1, 1) if transpose else (-1, 1, 1, 1)
        layer.weight.mul_(scale.view(shape))
        norm.running_mean.copy_(scale * mean)
        norm.running_var.copy_(scale**2 * variance)
        norm.weight.copy_((norm.running_var + norm.eps).sqrt() / scale)
        norm.bias.add_(mean)
