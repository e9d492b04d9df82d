"""Side outputs: kept while training only, and compared with the labels at their centres."""

import math

import pytest
import torch
from torch import nn
from torch.nn import functional

from linknet_ros.errors import SourceError
from training.deep_supervision import SupervisedNetwork, side_loss
from training.networks import NetworkConfig, build_network


class Tiny(nn.Module):
    """Two strided convolutions, whose outputs are the sides, and a transposed one."""

    title = 'Tiny'
    stride = 4

    def __init__(self):
        super().__init__()
        self.side_outputs = {'first': 2, 'second': 3}
        self.first = nn.Conv2d(3, 2, 2, 2)
        self.second = nn.Conv2d(2, 3, 2, 2)
        self.up = nn.ConvTranspose2d(3, 5, 4, 4)

    def forward(self, image):
        return self.up(self.second(self.first(image)))


@pytest.fixture
def supervised():
    torch.manual_seed(0)
    return SupervisedNetwork(Tiny(), 5)


def test_logits_and_side_logits(supervised):
    image = torch.randn(2, 3, 8, 12)
    logits, sides = supervised.train()(image)
    network = supervised.network
    first = network.first(image)
    second = network.second(first)
    expected = [supervised.heads['first'](first), supervised.heads['second'](second)]
    torch.testing.assert_close(logits, network.up(second))
    torch.testing.assert_close(sides, expected)
    assert [side.shape for side in sides] == [(2, 5, 4, 6), (2, 5, 2, 3)]


def test_gradients_of_the_sides_reach_the_network(supervised):
    _, sides = supervised.train()(torch.randn(1, 3, 8, 8))
    side_loss(sides, torch.randint(0, 5, (1, 8, 8)), 4).backward()
    assert supervised.network.first.weight.grad.abs().sum() > 0
    assert supervised.network.second.weight.grad.abs().sum() > 0
    assert supervised.network.up.weight.grad is None


def test_linknet():
    torch.manual_seed(0)
    supervised = SupervisedNetwork(build_network(NetworkConfig('linknet', classes=3)), 3).train()
    logits, sides = supervised(torch.randn(2, 3, 50, 70))
    assert logits.shape == (2, 3, 50, 70)
    # The image is padded to 64 x 96.
    assert [side.shape[-2:] for side in sides] == [(4, 6), (8, 12), (16, 24)]
    loss = side_loss(sides, torch.randint(0, 3, (2, 50, 70)), supervised.network.stride)
    loss.backward()
    assert 0.5 < loss.item() < 3
    for name in supervised.network.side_outputs:
        gradients = [p.grad for p in supervised.network.get_submodule(name).parameters()]
        assert all(g is not None and torch.isfinite(g).all() for g in gradients)
    assert supervised.network.head[0].weight.grad is None


def test_network_without_side_outputs():
    with torch.device('meta'):
        network = build_network(NetworkConfig('unet'))
    with pytest.raises(SourceError, match=r'U-Net has no side outputs; set --supervision 0'):
        SupervisedNetwork(network, 11)


def certain(labels, classes):
    """Logits (N, classes, h, w) that are sure of the labels."""
    return 100 * functional.one_hot(labels, classes).movedim(-1, 1).float()


def test_labels_at_the_centres():
    """Labels are numbers of pixels; cells of 4 have their centre between their 1st and 2nd."""
    labels = torch.arange(64).reshape(1, 8, 8)
    centres4 = torch.tensor([[[18, 22], [50, 54]]])
    centres2 = labels[:, 1::2, 1::2]
    assert centres2[0, 0].tolist() == [9, 11, 13, 15]
    assert side_loss([certain(centres4, 64)], labels, 8).item() == pytest.approx(0)
    assert side_loss([certain(centres2, 64)], labels, 8).item() == pytest.approx(0)
    assert side_loss([certain(labels, 64)], labels, 8).item() == pytest.approx(0)
    # One of the four cells wrong by 100.
    wrong = torch.tensor([[[18, 22], [50, 55]]])
    assert side_loss([certain(wrong, 64)], labels, 8).item() == pytest.approx(25)


def test_mean_over_the_sides_of_the_mean_over_their_pixels():
    labels = torch.zeros(1, 8, 8, dtype=torch.int64)
    even = torch.zeros(1, 4, 2, 2)
    sure = certain(torch.zeros(1, 4, 4, dtype=torch.int64), 4)
    assert side_loss([even], labels, 8).item() == pytest.approx(math.log(4))
    assert side_loss([even, sure], labels, 8).item() == pytest.approx(math.log(4) / 2)


def test_void_and_what_is_padded_do_not_count():
    """5 x 7 labels are padded to 8 x 8; of the cells' centres (2 or 6), row 6 is padding."""
    labels = torch.zeros(1, 5, 7, dtype=torch.int64)
    labels[0, 2, 2] = 255
    logits = torch.zeros(1, 3, 2, 2)
    # Only the cell at (2, 6) counts; the others are sure of something else.
    logits[0, 2] = 100
    logits[0, :, 0, 1] = torch.tensor([math.log(0.5), math.log(0.25), math.log(0.25)])
    logits.requires_grad_()
    loss = side_loss([logits], labels, 8)
    assert loss.item() == pytest.approx(math.log(2))
    loss.backward()
    assert (logits.grad != 0).any(1)[0].tolist() == [[False, True], [False, False]]


def test_labels_of_void_only():
    logits = torch.randn(2, 3, 2, 2, requires_grad=True)
    loss = side_loss([logits], torch.full((2, 8, 8), 255), 4)
    loss.backward()
    assert loss.item() == 0
    assert (logits.grad == 0).all()
