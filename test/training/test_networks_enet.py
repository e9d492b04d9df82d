"""ENet: its published figures, the bottlenecks of its table, and its initial block."""

import pytest
import torch
from torch import nn
from torch.nn import functional

from training.complexity import count_macs, count_parameters
from training.networks.enet import (
    Bottleneck,
    DownsamplingBottleneck,
    ENet,
    InitialBlock,
    UpsamplingBottleneck,
)
from training.networks.layers import LayerStyle

STYLE = LayerStyle('batch', 'prelu')


def on_meta(**options):
    with torch.device('meta'):
        return ENet(**options)


def random_features(*shape):
    return torch.randn(shape, generator=torch.Generator().manual_seed(2))


def perturb(module):
    for norm in module.modules():
        if isinstance(norm, nn.BatchNorm2d):
            nn.init.uniform_(norm.weight, 0.5, 1.0)
            nn.init.uniform_(norm.bias, -0.3, 0.3)
    return module


def parameters_by_hand(classes):
    """Weights, biases of main layers, two numbers per norm's and one per PReLU's channel."""

    def branch(m, k, n, projection=1, main=9, bias=1):
        convolutions = projection * m * k + main * k * k + bias * k + k * n
        norms_and_slopes = 3 * k + 3 * k + 2 * n + n
        return convolutions + norms_and_slopes

    initial = 27 * 13 + 13 + 2 * 16 + 16
    stage1 = branch(16, 16, 64, projection=4) + 4 * branch(64, 16, 64)
    eight = 6 * branch(128, 32, 128) + 2 * branch(128, 32, 128, main=10)
    stages23 = branch(64, 32, 128, projection=4) + 2 * eight
    stage4 = branch(128, 16, 64) + 128 * 64 + 2 * 64 + 2 * branch(64, 16, 64)
    stage5 = branch(64, 4, 16) + 64 * 16 + 2 * 16 + branch(16, 4, 16)
    return initial + stage1 + stages23 + stage4 + stage5 + 4 * 16 * classes + classes


@pytest.mark.parametrize('classes', [12, 20])
def test_parameters(classes):
    """The paper's table III has 0.37 million, LinkNet's paper 0.4."""
    count = count_parameters(on_meta(classes=classes))
    assert count == parameters_by_hand(classes)
    assert count / 1e6 == pytest.approx(0.37, rel=0.02)


def test_cost():
    """The paper has 3.83 GFLOPs at 640x360, two per multiply-accumulate and with everything that
    is no convolution, which is not counted here.
    """
    assert 0.88 < 2 * count_macs(on_meta(classes=20), 640, 360) / 3.83e9 < 1


def test_output_sizes_of_table_1():
    """For an input of 512x512."""
    network = on_meta(classes=9)
    shapes = {}
    for name, module in network.named_children():
        module.register_forward_hook(
            lambda _module, _inputs, out, name=name: shapes.update(
                {name: tuple((out[0] if isinstance(out, tuple) else out).shape[1:])}
            )
        )
    network(torch.empty(1, 3, 512, 512, device='meta'))
    assert shapes == {
        'initial': (16, 256, 256),
        'down1': (64, 128, 128),
        'stage1': (64, 128, 128),
        'down2': (128, 64, 64),
        'stage2': (128, 64, 64),
        'stage3': (128, 64, 64),
        'up4': (64, 128, 128),
        'stage4': (64, 128, 128),
        'up5': (16, 256, 256),
        'stage5': (16, 256, 256),
        'head': (9, 512, 512),
    }


@pytest.mark.parametrize('stage', ['stage2', 'stage3'])
def test_main_layers_of_table_1(stage):
    """Bottlenecks 2.1 to 2.8 and 3.1 to 3.8."""
    found = [
        [(m.kernel_size, m.dilation[0]) for m in block.main if isinstance(m, nn.Conv2d)][1:-1]
        for block in getattr(on_meta(), stage)
    ]
    asymmetric = [((1, 5), 1), ((5, 1), 1)]
    assert found == [
        [((3, 3), 1)],
        [((3, 3), 2)],
        asymmetric,
        [((3, 3), 4)],
        [((3, 3), 1)],
        [((3, 3), 8)],
        asymmetric,
        [((3, 3), 16)],
    ]


def test_dropout_of_the_paper():
    """0.01 before bottleneck 2.0, which are five, and 0.1 afterwards."""
    rates = [m.p for m in on_meta().modules() if isinstance(m, nn.Dropout2d)]
    assert rates == pytest.approx([0.01] * 5 + [0.1] * (1 + 8 + 8 + 3 + 2))
    rates = [m.p for m in on_meta(dropout=0.0).modules() if isinstance(m, nn.Dropout2d)]
    assert rates == [0] * 27


def test_every_activation_has_slopes_of_its_own():
    """A module used twice would share them between layers; one slope each would share channels."""
    network = on_meta()
    uses = []
    for module in network.modules():
        if isinstance(module, nn.PReLU):
            module.register_forward_hook(
                lambda m, inputs, _out: uses.append((m, inputs[0].shape[1], m.num_parameters))
            )
    network(torch.empty(1, 3, 64, 64, device='meta'))
    assert len(uses) == len({id(module) for module, _, _ in uses}) == 1 + 3 * 27
    assert all(channels == slopes for _, channels, slopes in uses)


def test_initial_block_has_one_norm_in_two_parts():
    torch.manual_seed(1)
    block = perturb(InitialBlock(STYLE)).train()
    whole = nn.BatchNorm2d(16, eps=1e-3)
    parts = (block.filters_norm, block.pool_norm)
    whole.weight.data = torch.cat([part.weight for part in parts])
    whole.bias.data = torch.cat([part.bias for part in parts])
    image = random_features(2, 3, 8, 6)
    pooled = functional.max_pool2d(image, 2)
    filters = block.filters
    filtered = functional.conv2d(image, filters.weight, filters.bias, stride=2, padding=1)
    expected = functional.prelu(whole(torch.cat((filtered, pooled), 1)), block.act.weight)
    torch.testing.assert_close(block(image), expected)
    statistics = torch.cat([part.running_var for part in parts])
    torch.testing.assert_close(statistics, whole.running_var)


@pytest.mark.parametrize('main', [('dilated', 1), ('dilated', 4), ('asymmetric', 5)])
def test_bottleneck(main):
    torch.manual_seed(1)
    block = perturb(Bottleneck(16, 0.1, STYLE, main)).eval()
    x = random_features(1, 16, 9, 7)
    with torch.inference_mode():
        expected = functional.prelu(block.main(x) + x, block.act.weight)
        torch.testing.assert_close(block(x), expected)


def test_downsampling_adds_the_maxima_to_the_first_channels():
    torch.manual_seed(1)
    block = perturb(DownsamplingBottleneck(8, 32, 0.0, STYLE)).eval()
    x = random_features(1, 8, 4, 6)
    pooled, indices = functional.max_pool2d(x, 2, return_indices=True)
    zeros = torch.zeros(1, 24, 2, 3)
    with torch.inference_mode():
        result, position = block(x)
        shortcut = torch.cat((pooled, zeros), 1)
        expected = functional.prelu(block.main(x) + shortcut, block.act.weight)
    torch.testing.assert_close(result, expected)
    assert torch.equal(position[0], indices)


def test_upsampling_puts_the_shortcut_where_the_maxima_were():
    torch.manual_seed(1)
    block = perturb(UpsamplingBottleneck(32, 8, 0.0, STYLE)).eval()
    _, indices = functional.max_pool2d(random_features(1, 8, 4, 6), 2, return_indices=True)
    x = random_features(1, 32, 2, 3)
    with torch.inference_mode():
        shortcut = functional.max_unpool2d(block.shortcut(x), indices, 2)
        expected = functional.prelu(block.main(x) + shortcut, block.act.weight)
        torch.testing.assert_close(block(x, (indices,)), expected)


def test_positions_come_from_the_pooling_of_the_same_level():
    network = on_meta()
    seen = {}
    for name in ('down1', 'down2'):
        getattr(network, name).register_forward_hook(
            lambda _module, _inputs, out, name=name: seen.update({name: out[1][0]})
        )
    for name in ('up4', 'up5'):
        getattr(network, name).register_forward_pre_hook(
            lambda _module, inputs, name=name: seen.update({name: inputs[1][0]})
        )
    network(torch.empty(1, 3, 64, 64, device='meta'))
    assert seen['up4'] is seen['down2']
    assert seen['up5'] is seen['down1']


def test_without_norm_a_bottleneck_starts_as_its_shortcut():
    network = ENet(normalization='none', dropout=0.0)
    block = network.stage2[3]
    x = random_features(1, 128, 4, 4)
    bias = block.main[-3].bias.view(1, 128, 1, 1)
    with torch.inference_mode():
        expected = functional.prelu(x + bias, block.act.weight)
        torch.testing.assert_close(block(x), expected)
