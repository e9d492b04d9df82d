"""Parameters and multiply-accumulates of networks that can be counted by hand."""

import torch
from torch import nn

from training.complexity import count_macs
from training.networks.linknet import LinkNet


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
