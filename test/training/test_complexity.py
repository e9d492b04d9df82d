"""Parameters and multiply-accumulates of networks that can be counted by hand."""

import pytest
import torch
from torch import nn

from training.complexity import count_macs, count_parameters
from training.networks.linknet import LinkNet


@pytest.mark.parametrize(
    ('layer', 'macs'),
    [
        # 4x3 outputs of 5 channels, each of 3 x 3 x 3 inputs.
        (nn.Conv2d(3, 5, 3, stride=2, padding=1), 4 * 3 * 5 * 27),
        (nn.Conv2d(3, 5, 1), 8 * 6 * 5 * 3),
        # Without padding the border has no outputs.
        (nn.Conv2d(3, 5, 3), 6 * 4 * 5 * 27),
        # Each channel alone.
        (nn.Conv2d(3, 6, 3, padding=1, groups=3), 8 * 6 * 6 * 9),
        (nn.Conv2d(3, 5, 3, padding=4, dilation=4), 8 * 6 * 5 * 27),
        # Each input of a full convolution is multiplied by the whole kernel, whatever its stride.
        (nn.ConvTranspose2d(3, 5, 2, stride=2), 8 * 6 * 3 * 5 * 4),
        (nn.ConvTranspose2d(3, 5, 3, stride=2, padding=1, output_padding=1), 8 * 6 * 3 * 5 * 9),
        (nn.ConvTranspose2d(3, 6, 2, stride=2, groups=3), 8 * 6 * 6 * 4),
        (nn.Sequential(nn.BatchNorm2d(3), nn.ReLU(), nn.MaxPool2d(2)), 0),
    ],
)
def test_macs_of_one_layer(layer, macs):
    assert count_macs(layer, 8, 6) == macs


def test_macs_of_layers_add_up():
    network = nn.Sequential(
        nn.Conv2d(3, 4, 3, stride=2, padding=1, bias=False),
        nn.BatchNorm2d(4),
        nn.ReLU(),
        nn.ConvTranspose2d(4, 2, 2, stride=2),
    )
    assert count_macs(network, 8, 6) == 4 * 3 * 4 * 27 + 4 * 3 * 4 * 2 * 4


def test_padding_counts():
    assert count_macs(LinkNet(), 470, 360) == count_macs(LinkNet(), 480, 384)


def test_network_is_left_as_it_was():
    network = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4)).train()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    count_macs(network, 8, 6)
    assert network.training
    for name, value in network.state_dict().items():
        assert torch.equal(value, before[name]), name


def test_parameters():
    """Weights and biases, also frozen ones; no running statistics."""
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.PReLU(4))
    assert count_parameters(network) == (27 * 4 + 4) + (4 + 4) + 4
