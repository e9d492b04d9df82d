"""Depthwise convolutions with gradients of their own: the same as PyTorch's, to bfloat16."""

import pytest
import torch
from torch import nn

from training.networks.depthwise import DepthwiseConv2d, replace_depthwise


def convolution(channels=16, size=3, stride=1):
    return nn.Conv2d(channels, channels, size, stride, size // 2, groups=channels, bias=False)


@pytest.mark.parametrize('stride', [1, 2])
@pytest.mark.parametrize('size', [3, 5])
@pytest.mark.parametrize('shape', [(2, 16, 12, 10), (1, 16, 9, 7)])
def test_gradients_are_those_of_the_convolution(size, stride, shape):
    torch.manual_seed(0)
    plain = convolution(size=size, stride=stride)
    fast = DepthwiseConv2d(plain)
    assert fast.weight is plain.weight
    image = torch.randn(shape, requires_grad=True)
    expected = plain(image)
    toward = torch.randn_like(expected)
    of_image, of_weight = torch.autograd.grad(expected, (image, plain.weight), toward)
    with torch.autocast('cpu', torch.bfloat16):
        result = fast(image)
    assert result.dtype == torch.bfloat16
    gradients = torch.autograd.grad(result, (image, fast.weight), toward.bfloat16())
    for found, true in (
        (result.float(), expected),
        *zip(gradients, (of_image, of_weight), strict=True),
    ):
        assert found.shape == true.shape
        assert (found.float() - true).norm() < 0.01 * true.norm()


def test_without_autocast_and_without_gradients_it_is_the_convolution():
    plain = convolution()
    fast, image = DepthwiseConv2d(plain), torch.randn(1, 16, 8, 8)
    assert torch.equal(fast(image), plain(image))
    with torch.no_grad(), torch.autocast('cpu', torch.bfloat16):
        assert torch.equal(fast(image), plain(image))


def test_only_depthwise_convolutions_are_replaced():
    network = nn.Sequential(
        nn.Conv2d(3, 16, 3, padding=1),
        convolution(),
        nn.Sequential(convolution(size=5, stride=2), nn.Conv2d(16, 16, 1)),
        nn.Conv2d(16, 16, 3, padding=1, groups=4, bias=False),
    ).eval()
    image = torch.randn(1, 3, 16, 16)
    expected, names = network(image), list(network.state_dict())
    replace_depthwise(network)
    replaced = [n for n, m in network.named_modules() if isinstance(m, DepthwiseConv2d)]
    assert replaced == ['1', '2.0']
    assert list(network.state_dict()) == names
    assert torch.equal(network(image), expected)
