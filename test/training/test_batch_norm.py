"""Batch norms folded and taken out again: same outputs, and statistics of the images."""

import copy

import pytest
import torch
from torch import nn

from training.batch_norm import convolution_norm_pairs, fold_batch_norm, unfold_batch_norm
from training.networks import NETWORKS, NetworkConfig, build_network

pytestmark = pytest.mark.usefixtures('narrow_networks')


def random_images(*sizes, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(1, 3, *size, generator=generator) for size in sizes]


def make_network(name='linknet', seed=1, classes=5):
    """Make a network in evaluation mode whose norms saw one batch, all channels unlike."""
    torch.manual_seed(seed)
    network = build_network(NetworkConfig(name, classes=classes))
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.uniform_(module.bias, -0.3, 0.3)
            module.momentum = 1.0
        elif isinstance(module, nn.Conv2d | nn.ConvTranspose2d) and module.bias is not None:
            nn.init.uniform_(module.bias, -0.3, 0.3)
    with torch.no_grad():
        network.train()(torch.randn(2, 3, 64, 64))
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = 0.1
    return network.eval()


@torch.inference_mode()
def logits_of(network, image):
    return network(image)


def assert_close(actual, expected, share=1e-3):
    """Equal up to a share of the largest value: rounding piles up over the layers."""
    torch.testing.assert_close(actual, expected, rtol=0, atol=share * expected.abs().max().item())


@pytest.mark.parametrize('name', NETWORKS)
def test_folded_network_computes_the_same(name):
    network = make_network(name)
    before = copy.deepcopy(network.state_dict())
    (image,) = random_images((64, 32))
    expected = logits_of(network, image)
    # From training mode as well, in which a trainer's network is.
    folded = fold_batch_norm(network.train())
    assert_close(logits_of(folded, image), expected)
    assert not list(convolution_norm_pairs(folded))
    # Folded is a copy; the network itself is left as it was.
    assert network.training
    assert not folded.training
    for key, value in network.state_dict().items():
        assert torch.equal(value, before[key])


def test_norms_that_are_not_right_behind_a_convolution_of_their_size_are_left():
    network = nn.Sequential(
        nn.Conv2d(1, 2, 1), nn.ReLU(), nn.BatchNorm2d(2), nn.Conv2d(2, 3, 1), nn.BatchNorm2d(3)
    )
    assert [(name, norm) for _, name, _, norm, _ in convolution_norm_pairs(network)] == [
        ('3', '4')
    ]


def test_fold_by_hand():
    """A weight 2 and a bias 1 before (x - 3) / sqrt(3 + 1) * 5 + 7: 5 x + 2."""
    network = nn.Sequential(nn.Conv2d(1, 1, 1), nn.BatchNorm2d(1, eps=1.0))
    with torch.no_grad():
        for tensor, value in zip(
            (network[0].weight, network[0].bias, network[1].weight, network[1].bias),
            (2, 1, 5, 7),
            strict=True,
        ):
            tensor.fill_(value)
        network[1].running_mean.fill_(3)
        network[1].running_var.fill_(3)
    folded = fold_batch_norm(network)
    assert folded[0].weight.item() == pytest.approx(5)
    assert folded[0].bias.item() == pytest.approx(5 * (1 - 3) / 2 + 7)


@pytest.mark.parametrize('name', NETWORKS)
def test_unfolded_network_computes_the_same(name):
    network = make_network(name)
    folded = fold_batch_norm(network)
    weights = dict(folded.state_dict())
    other = build_network(NetworkConfig(name, classes=5))
    unfold_batch_norm(other, weights, random_images((32, 64), (64, 64)))
    for image in random_images((64, 32), (32, 32), seed=5):
        assert_close(logits_of(other, image), logits_of(network, image))


@pytest.fixture(scope='module')
def images():
    return random_images((64, 96), (64, 96), seed=3)


@pytest.fixture(scope='module')
def unfolded(images):
    network = build_network(NetworkConfig('linknet', classes=5))
    unfold_batch_norm(network, fold_batch_norm(make_network()).state_dict(), images)
    return network


@torch.inference_mode()
def inputs_of_norms(network, images):
    """What each batch norm gets in evaluation mode, (channels, pixels of all images)."""
    seen = {}

    def keep(module, inputs, _):
        seen.setdefault(module, []).append(inputs[0].double().movedim(1, 0).flatten(1))

    norms = [module for module in network.modules() if isinstance(module, nn.BatchNorm2d)]
    hooks = [norm.register_forward_hook(keep) for norm in norms]
    for image in images:
        network(image)
    for hook in hooks:
        hook.remove()
    return {norm: torch.cat(parts, 1) for norm, parts in seen.items()}


def assert_statistics(network, images):
    inputs = inputs_of_norms(network, images)
    assert len(inputs) == 34
    for norm, values in inputs.items():
        variance = values.var(1, correction=0)
        scale = variance.sqrt().max()
        assert (norm.running_mean - values.mean(1)).abs().max() < 1e-3 * scale
        torch.testing.assert_close(
            norm.running_var.double(), variance, rtol=1e-3, atol=1e-5 * scale.item() ** 2
        )


def test_channels_without_a_weight_stay_finite(images):
    """A filter of zeros (a channel that float16 rounded away) has no variance."""
    folded = fold_batch_norm(make_network()).state_dict()
    folded['decoder1.up.weight'][:, 3] = 0
    network = build_network(NetworkConfig('linknet', classes=5))
    unfold_batch_norm(network, folded, images)
    assert all(torch.isfinite(value).all() for value in network.state_dict().values())
    assert torch.isfinite(logits_of(network.train(), torch.cat(images))).all()


def test_images_count_by_their_pixels():
    images = random_images((32, 32), (64, 96), (96, 32), seed=7)
    network = build_network(NetworkConfig('linknet', classes=5))
    unfold_batch_norm(network, fold_batch_norm(make_network()).state_dict(), images)
    assert_statistics(network, images)
