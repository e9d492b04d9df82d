"""LinkNet without its links: the paper's ablation (arXiv 1707.03718, tables IV and V)."""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor

from training.networks.linknet import LinkNet


class LinkNetNoBypass(LinkNet):
    """Encoder and decoder one behind the other, layer by layer those of LinkNet.

    What a decoder block knows of the image has passed through all deeper blocks. A link has no
    weights, so the parameters are the same, and weights fit both.
    """

    title: ClassVar[str] = 'LinkNet without links (ResNet-18)'

    def _link(self, decoded: Tensor, encoded: Tensor) -> Tensor:
        return decoded
