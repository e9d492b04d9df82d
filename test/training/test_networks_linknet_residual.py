"""LinkNet with residual decoders: the block of the authors' code, and its cost."""

import pytest
import torch
from torch import nn
from torch.nn import functional

from training.complexity import count_parameters
from training.networks.layers import LayerStyle
from training.networks.linknet import LinkNet
from training.networks.linknet_residual import LinkNetResidual, ResidualDecoderBlock

SIZES = [(512, 256, 2), (256, 128, 2), (128, 64, 2), (64, 64, 1)]


def perturb(module):
    for norm in module.modules():
        if isinstance(norm, nn.BatchNorm2d):
            nn.init.uniform_(norm.weight, 0.5, 1.0)
            nn.init.uniform_(norm.bias, -0.3, 0.3)
    return module


def random_features(*shape):
    return torch.randn(shape, generator=torch.Generator().manual_seed(2))


@pytest.mark.parametrize(('m', 'n', 'stride'), SIZES)
def test_block_is_that_of_the_authors(m, n, stride):
    """FullConv3x3, BN, ReLU, Conv1x1, BN; plus Conv1x1, BN, bilinear; ReLU (model-res-dec.lua)."""
    torch.manual_seed(1)
    block = perturb(ResidualDecoderBlock(m, n, stride, LayerStyle('batch', 'relu'), 0.0)).eval()
    up, up_norm, _, expand, expand_norm, _ = block.residual
    shortcut, shortcut_norm, _ = block.shortcut
    assert (up.kernel_size, up.stride) == ((3, 3), (stride, stride))
    assert expand.kernel_size == shortcut.kernel_size == (1, 1)
    assert [norm.eps for norm in (up_norm, expand_norm, shortcut_norm)] == [1e-3] * 3
    x = random_features(1, m, 3, 4)
    with torch.inference_mode():
        residual = functional.conv_transpose2d(
            x, up.weight, up.bias, stride=stride, padding=1, output_padding=stride - 1
        )
        residual = expand_norm(expand(up_norm(residual).relu()))
        other = shortcut_norm(shortcut(x))
        if stride == 2:
            other = functional.interpolate(other, size=(6, 8), mode='bilinear')
        result = block(x)
        torch.testing.assert_close(result, (residual + other).relu())
    assert result.shape == (1, n, 3 * stride, 4 * stride)


def test_parameters_by_hand():
    """Three biased convolutions and three norms per block, in LinkNet's place."""

    def block(m, n):
        return (9 * m * n + n) + (n * n + n) + (m * n + n) + 3 * 2 * n

    linknet, network = LinkNet(), LinkNetResidual()
    decoders = [f'decoder{i}' for i in (1, 2, 3, 4)]
    rest = count_parameters(linknet)
    rest -= sum(count_parameters(getattr(linknet, name)) for name in decoders)
    assert count_parameters(network) == rest + sum(block(m, n) for m, n, _ in SIZES)
    assert count_parameters(network) == 13_061_771


def test_links_are_used():
    torch.manual_seed(1)
    network = perturb(LinkNetResidual()).eval()
    image = random_features(1, 3, 64, 96)
    with torch.inference_mode():
        stem = network.stem(image)
        e1 = network.encoder1(stem)
        e2 = network.encoder2(e1)
        e3 = network.encoder3(e2)
        x = network.decoder4(network.encoder4(e3)) + e3
        x = network.decoder2(network.decoder3(x) + e2) + e1
        expected = network.head(network.decoder1(x) + stem)
        torch.testing.assert_close(network(image), expected)


def test_without_norm_a_block_starts_as_its_shortcut():
    network = LinkNetResidual(normalization='none')
    block = network.decoder2
    x = random_features(1, 128, 3, 4)
    with torch.inference_mode():
        expected = block.shortcut(x) + block.residual[3].bias.view(1, 64, 1, 1)
        torch.testing.assert_close(block(x), expected.relu())
