"""LinkNet without links: the same layers, and no way around the deepest of them."""

import pytest
import torch
from torch import nn

from training.complexity import count_macs, count_parameters
from training.networks.linknet import LinkNet
from training.networks.linknet_nobypass import LinkNetNoBypass


def random_image(height, width):
    return torch.randn(1, 3, height, width, generator=torch.Generator().manual_seed(2))


def test_weights_fit_linknet():
    linknet, network = LinkNet(12), LinkNetNoBypass(12)
    network.load_state_dict(linknet.state_dict())
    assert count_parameters(network) == count_parameters(linknet) == 11_535_788
    assert count_macs(network, 480, 384) == count_macs(linknet, 480, 384)


def test_forward_is_one_block_behind_the_other():
    torch.manual_seed(1)
    network = LinkNetNoBypass().eval()
    chain = nn.Sequential(
        network.stem,
        *(getattr(network, f'encoder{i}') for i in (1, 2, 3, 4)),
        *(getattr(network, f'decoder{i}') for i in (4, 3, 2, 1)),
        network.head,
    )
    image = random_image(64, 96)
    with torch.inference_mode():
        torch.testing.assert_close(network(image), chain(image))


@pytest.mark.parametrize(
    ('make_network', 'reached'),
    [(LinkNet, {'stem', 'encoder1', 'encoder2', 'encoder3'}), (LinkNetNoBypass, set())],
)
def test_gradients_around_the_deepest_block(make_network, reached):
    """With the way through encoder 4 cut, only links lead back to the other encoders."""
    torch.manual_seed(1)
    network = make_network()
    network.encoder4.register_forward_pre_hook(lambda _module, inputs: inputs[0].detach())
    network(random_image(64, 64).repeat(2, 1, 1, 1)).square().sum().backward()
    parts = {
        name.partition('.')[0]
        for name, parameter in network.named_parameters()
        if parameter.grad is not None and parameter.grad.abs().max() > 0
    }
    assert parts - reached == {
        'encoder4',
        'decoder4',
        'decoder3',
        'decoder2',
        'decoder1',
        'head',
    }
    assert reached <= parts
