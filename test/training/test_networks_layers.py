"""Input, norms and activations by name, first weights, padding, pooling that can be undone."""

import numpy as np
import pytest
import torch
from torch import nn

from training.networks import layers
from training.networks.inputs import InputStatistics, normalize
from training.networks.layers import (
    LayerStyle,
    initialize_weights,
    max_pool_2x2,
    max_unpool_2x2,
    run_padded,
    window_position,
)


def test_normalize():
    """BGR bytes become RGB, minus the mean, over the deviation of ImageNet; in their places."""
    image = torch.zeros(2, 4, 5, 3, dtype=torch.uint8)
    image[0, 0, 1] = torch.tensor([0, 0, 255])
    image[1, 2, 3] = torch.tensor([51, 102, 204])
    expected = torch.zeros(2, 3, 4, 5)
    expected[0, 0, 0, 1] = 1
    expected[1, :, 2, 3] = torch.tensor([0.8, 0.4, 0.2])
    expected -= torch.tensor([0.485, 0.456, 0.406]).view(1, 3, 1, 1)
    expected /= torch.tensor([0.229, 0.224, 0.225]).view(1, 3, 1, 1)
    torch.testing.assert_close(normalize(image), expected)
    other = normalize(torch.tensor([[[[10, 20, 30]]]]), InputStatistics((1, 2, 3), (2, 4, 8)))
    assert other.flatten().tolist() == [29 / 2, 18 / 4, 7 / 8]


@pytest.mark.parametrize(
    ('channels', 'groups'),
    [(3, 1), (4, 1), (13, 1), (16, 4), (18, 2), (64, 16), (128, 32), (512, 32), (1024, 32)],
)
def test_groups_of_group_norm(channels, groups):
    norm = LayerStyle('group', 'relu').norm(channels, 1e-3)
    assert isinstance(norm, nn.GroupNorm)
    assert (norm.num_groups, norm.num_channels, norm.eps) == (groups, channels, 1e-3)


@pytest.mark.parametrize(
    ('name', 'expected'),
    [
        ('relu', [0, 0, 2]),
        ('leaky_relu', [-0.02, 0, 2]),
        ('elu', [np.expm1(-2), 0, 2]),
        ('prelu', [-0.5, 0, 2]),
        ('silu', [-2 / (1 + np.exp(2)), 0, 2 / (1 + np.exp(-2))]),
    ],
)
def test_activation(name, expected):
    activation = LayerStyle('batch', name).act(3)
    x = torch.tensor([-2.0, 0, 2]).view(1, 3, 1, 1)
    torch.testing.assert_close(activation(x).flatten(), torch.tensor(expected).float())
    slopes = [parameter.shape for parameter in activation.parameters()]
    assert slopes == ([(3,)] if name == 'prelu' else [])


@pytest.mark.parametrize(
    ('fan', 'layer', 'n'),
    [
        ('out', nn.Conv2d(32, 64, 3), 9 * 64),
        ('in', nn.Conv2d(32, 64, 3), 9 * 32),
        ('in', nn.Conv2d(32, 64, (1, 5)), 5 * 32),
        # Its weights are (in, out, k, k).
        ('out', nn.ConvTranspose2d(32, 64, 3, stride=2), 9 * 64),
        # Each output of a 2x2 full convolution of stride 2 sees one weight per input channel.
        ('in', nn.ConvTranspose2d(64, 32, 2, stride=2), 64),
    ],
)
def test_initial_weights(fan, layer, n):
    """N(0, sqrt(2 / n)): mean and deviation within six standard errors."""
    torch.manual_seed(0)
    initialize_weights([layer], fan=fan)
    weight = layer.weight.detach().double()
    std, count = (2 / n) ** 0.5, weight.numel()
    assert abs(weight.mean()) < 6 * std / count**0.5
    assert weight.std() == pytest.approx(std, rel=6 / (2 * count) ** 0.5)


def test_zeroed_weights():
    one, other = nn.Conv2d(2, 2, 1), nn.Conv2d(2, 2, 1)
    initialize_weights([one, other], fan='in', zeroed=[other])
    assert one.weight.ne(0).all()
    assert other.weight.eq(0).all()


def test_run_padded_by_hand():
    """2 rows and 3 columns at stride 4: one column at the right, two rows at the bottom."""
    image = torch.tensor([[[[1.0, 2, 3], [4, 5, 6]]]])
    seen = []
    result = run_padded(lambda x: seen.append(x) or x * 10, image, 4)
    expected = [[1.0, 2, 3, 3], [4, 5, 6, 6], [4, 5, 6, 6], [4, 5, 6, 6]]
    assert seen[0][0, 0].tolist() == expected
    assert result[0, 0].tolist() == [[10, 20, 30], [40, 50, 60]]


def features(*shape, seed=3):
    """Random features with many equal values, as a ReLU makes them."""
    x = torch.randint(-3, 3, shape, generator=torch.Generator().manual_seed(seed))
    return x.relu().float()


def test_position_by_hand():
    """One window each: the maximum at each of the four places, and ties, which go to the first."""
    windows = [
        ([9, 1, 2, 3], (True, True)),
        ([1, 9, 2, 3], (True, False)),
        ([1, 2, 9, 3], (False, True)),
        ([1, 2, 3, 9], (False, False)),
        ([0, 0, 0, 0], (True, True)),
        ([1, 9, 9, 2], (True, False)),
        ([1, 2, 9, 9], (False, True)),
        ([9, 1, 1, 9], (True, True)),
        ([1, 9, 2, 9], (True, False)),
    ]
    x = torch.tensor([window for window, _ in windows]).float().view(1, -1, 2, 2)
    upper, left = window_position(x)
    found = list(zip(upper.flatten().tolist(), left.flatten().tolist(), strict=True))
    assert found == [position for _, position in windows]


@pytest.mark.parametrize('exporting', [False, True])
def test_pooling_pair_is_that_of_pytorch(monkeypatch, exporting):
    """Values and gradients equal those of MaxPool2d and MaxUnpool2d, bit for bit."""
    monkeypatch.setattr(layers.torch.onnx, 'is_in_onnx_export', lambda: exporting)
    x = features(2, 5, 6, 8)
    weight = torch.randn(2, 5, 3, 4, generator=torch.Generator().manual_seed(4))
    seed = torch.randn(2, 5, 6, 8, generator=torch.Generator().manual_seed(5))

    ours = x.clone().requires_grad_()
    maxima, position = max_pool_2x2(ours)
    # What stands at a maximum's place in the decoder is another value than the maximum.
    values = (maxima * weight).requires_grad_()
    values.retain_grad()
    unpooled = max_unpool_2x2(values, position)
    unpooled.backward(seed)

    theirs = x.clone().requires_grad_()
    expected_maxima, indices = nn.MaxPool2d(2, return_indices=True)(theirs)
    expected_values = expected_maxima * weight
    expected_values.retain_grad()
    expected = nn.MaxUnpool2d(2)(expected_values, indices)
    expected.backward(seed)

    assert position[0].dtype == (torch.bool if exporting else torch.int64)
    assert torch.equal(maxima, expected_maxima)
    assert torch.equal(unpooled, expected)
    assert torch.equal(values.grad, expected_values.grad)
    assert torch.equal(ours.grad, theirs.grad)


@pytest.mark.parametrize('exporting', [False, True])
@pytest.mark.parametrize(('height', 'width'), [(5, 7), (6, 5)])
def test_pooling_of_odd_sizes(monkeypatch, exporting, height, width):
    """Through padding to even sizes; then as PyTorch on what is padded by hand."""
    monkeypatch.setattr(layers.torch.onnx, 'is_in_onnx_export', lambda: exporting)
    x = features(1, 3, height, width)
    padded = np.pad(x.numpy(), ((0, 0), (0, 0), (0, height % 2), (0, width % 2)), mode='edge')
    pooled, indices = nn.MaxPool2d(2, return_indices=True)(torch.from_numpy(padded))
    expected = nn.MaxUnpool2d(2)(pooled, indices)[..., :height, :width]
    assert torch.equal(run_padded(lambda x: max_unpool_2x2(*max_pool_2x2(x)), x, 2), expected)
