"""Deep supervision: the decoders learn from the labels directly; gone when a model is exported."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from linknet_ros.classes import UNLABELED
from linknet_ros.errors import SourceError


class SupervisedNetwork(nn.Module):
    """A network with a 1x1 convolution to class logits at each of its side outputs.

    :param network: any of `training.networks`; its own parameters stay its own.
    :param classes: number of classes.
    :raises SourceError: when the network has no side outputs.
    """

    def __init__(self, network: nn.Module, classes: int) -> None:
        super().__init__()
        if not network.side_outputs:
            raise SourceError(f'{network.title} has no side outputs', 'set --supervision 0')
        self.network = network
        self.heads = nn.ModuleDict(
            {name: nn.Conv2d(c, classes, 1) for name, c in network.side_outputs.items()}
        )
        self._outputs: dict[str, Tensor] = {}
        for name in self.heads:
            network.get_submodule(name).register_forward_hook(self._keeper(name))

    def _keeper(self, name: str):
        def keep(module: nn.Module, _: object, output: Tensor) -> None:
            # An evaluation of the network alone must not keep its features in memory.
            if module.training:
                self._outputs[name] = output

        return keep

    def forward(self, image: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Logits of the image and, in training, of each side output at its own size."""
        logits = self.network(image)
        if not self.training:
            return logits, []
        return logits, [head(self._outputs.pop(name)) for name, head in self.heads.items()]


def side_loss(side_logits: list[Tensor], labels: Tensor, stride: int) -> Tensor:
    """Mean over the side outputs of the cross-entropy against the labels at their centres.

    :param side_logits: (N, classes, h, w) each, of an image padded to multiples of stride.
    :param labels: (N, H, W) int64, 255 is ignored.
    :param stride: of the network.
    """
    height, width = labels.shape[-2:]
    padding = (0, -width % stride, 0, -height % stride)
    labels = functional.pad(labels, padding, value=UNLABELED)
    losses = []
    for logits in side_logits:
        step = labels.shape[-1] // logits.shape[-1]
        small = labels[:, step // 2 :: step, step // 2 :: step]
        total = functional.cross_entropy(
            logits.float(), small, ignore_index=UNLABELED, reduction='sum'
        )
        losses.append(total / (small != UNLABELED).sum().clamp_min(1))
    return torch.stack(losses).mean()
