"""The network: its published figures, its links, any input size, and the input's normalisation."""

import itertools

import numpy as np
import pytest

pytest.importorskip('torch', reason='PyTorch (extra "train") not installed')
pytest.importorskip('torchvision', reason='torchvision (extra "train") not installed')

import torch
from torch import nn
from torchvision.models import resnet18

from training import linknet
from training.linknet import IMAGENET_MEAN, IMAGENET_STD, LinkNet, LinkNetConfig, normalize

pytestmark = pytest.mark.usefixtures('one_torch_thread')

BLOCKS = ('stem', *(f'{part}{i}' for part in ('encoder', 'decoder') for i in (1, 2, 3, 4)))


def make_network(classes=11):
    """Make a network whose batch norms differ from the identity, in evaluation mode."""
    torch.manual_seed(1)
    network = LinkNet(LinkNetConfig(classes)).eval()
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.5, 1.0)
            nn.init.uniform_(module.bias, -0.3, 0.3)
            nn.init.uniform_(module.running_mean, -0.2, 0.2)
            nn.init.uniform_(module.running_var, 0.8, 1.5)
    return network


@pytest.fixture(scope='module')
def network():
    return make_network()


def random_image(height, width):
    return torch.randn(1, 3, height, width, generator=torch.Generator().manual_seed(2))


@torch.inference_mode()
def composed(network, image, links=(1, 2, 3, 4)):
    """Compute the logits block by block, as the paper's figure 1; only the given links added."""
    stem = network.stem(image)
    e1 = network.encoder1(stem)
    e2 = network.encoder2(e1)
    e3 = network.encoder3(e2)
    x = network.encoder4(e3)
    for block, link in ((4, e3), (3, e2), (2, e1), (1, stem)):
        x = getattr(network, f'decoder{block}')(x)
        if block in links:
            x = x + link
    return network.head(x)


def test_parameters_are_those_of_the_paper():
    """20 classes: table III's 11.5 million; the encoder is ResNet-18 without its classifier."""
    network = LinkNet(LinkNetConfig(classes=20))
    count = {
        name: sum(p.numel() for p in child.parameters())
        for name, child in network.named_children()
    }
    assert sum(count.values()) == 11_536_820
    encoder = sum(n for name, n in count.items() if name == 'stem' or 'encoder' in name)
    assert encoder == sum(p.numel() for p in resnet18().parameters()) - (512 * 1000 + 1000)


@pytest.mark.parametrize(
    ('block', 'm', 'n', 'stride'),
    [(1, 64, 64, 1), (2, 128, 64, 2), (3, 256, 128, 2), (4, 512, 256, 2)],
)
def test_decoder_channels_of_table_1(network, block, m, n, stride):
    decoder = getattr(network, f'decoder{block}')
    layers = (decoder.reduce, decoder.up, decoder.expand)
    channels = [(layer.in_channels, layer.out_channels) for layer in layers]
    assert channels == [(m, m // 4), (m // 4, m // 4), (m // 4, n)]
    assert [layer.kernel_size for layer in layers] == [(1, 1), (3, 3), (1, 1)]
    assert decoder.up.stride == (stride, stride)
    assert all(layer.bias is not None for layer in layers)
    norms = (decoder.reduce_norm, decoder.up_norm, decoder.expand_norm)
    assert [norm.eps for norm in norms] == [1e-3] * 3


def test_block_outputs_of_the_authors_page(network):
    """codeac29.github.io/projects/linknet lists them for an input of 256x256."""
    shapes = {}
    hooks = [
        getattr(network, name).register_forward_hook(
            lambda _module, _inputs, out, name=name: shapes.update({name: tuple(out.shape[1:])})
        )
        for name in BLOCKS
    ]
    with torch.inference_mode():
        network(random_image(256, 256))
    for hook in hooks:
        hook.remove()
    assert shapes == {
        'stem': (64, 64, 64),
        'encoder1': (64, 64, 64),
        'encoder2': (128, 32, 32),
        'encoder3': (256, 16, 16),
        'encoder4': (512, 8, 8),
        'decoder4': (256, 16, 16),
        'decoder3': (128, 32, 32),
        'decoder2': (64, 64, 64),
        'decoder1': (64, 64, 64),
    }


def test_forward_is_the_composition_of_the_blocks(network):
    image = random_image(64, 96)
    with torch.inference_mode():
        torch.testing.assert_close(network(image), composed(network, image))


@pytest.mark.parametrize('link', [1, 2, 3, 4])
def test_every_link_is_used(network, link):
    image = random_image(64, 96)
    without = composed(network, image, links=tuple({1, 2, 3, 4} - {link}))
    with torch.inference_mode():
        difference = (network(image) - without).abs().max()
    assert difference > 0.01


# The paper's own speed table has 480x360 and 640x360, which crash the authors' code.
@pytest.mark.parametrize(('height', 'width'), [(360, 480), (360, 640), (97, 51), (64, 32)])
def test_any_size_equals_the_image_padded_by_hand(network, height, width):
    image = random_image(height, width)
    bottom, right = -height % 32, -width % 32
    pad = ((0, 0), (0, 0), (0, bottom), (0, right))
    padded = torch.from_numpy(np.pad(image.numpy(), pad, mode='edge'))
    with torch.inference_mode():
        logits = network(image)
    assert logits.shape == (1, 11, height, width)
    expected = composed(network, padded)[..., :height, :width]
    torch.testing.assert_close(logits, expected)


def fan(layer):
    # Weights are (out, in, k, k), those of a full convolution (in, out, k, k).
    height, width = layer.kernel_size
    return height * width * layer.out_channels


def test_initial_weights_are_those_of_the_authors():
    """N(0, sqrt(2 / (k k n_out))): mean and deviation of each layer within six standard errors."""
    torch.manual_seed(0)
    network = LinkNet(LinkNetConfig())
    layers = [m for m in network.modules() if isinstance(m, (nn.Conv2d, nn.ConvTranspose2d))]
    assert len(layers) == 20 + 4 * 3 + 3
    for layer in layers:
        weight = layer.weight.detach().double()
        std = (2 / fan(layer)) ** 0.5
        count = weight.numel()
        assert abs(weight.mean()) < 6 * std / count**0.5
        assert weight.std() == pytest.approx(std, rel=6 / (2 * count) ** 0.5)
    for norm in (m for m in network.modules() if isinstance(m, nn.BatchNorm2d)):
        assert norm.weight.eq(1).all()
        assert norm.bias.eq(0).all()


def test_pretrained_encoder_keeps_its_weights(monkeypatch):
    asked = []

    def downloaded(weights):
        asked.append(weights)
        encoder = resnet18()
        for parameter in encoder.parameters():
            nn.init.constant_(parameter, 0.125)
        return encoder

    monkeypatch.setattr(linknet, 'resnet18', downloaded)
    network = LinkNet(LinkNetConfig(pretrained=True))
    assert asked == [linknet.ResNet18_Weights.IMAGENET1K_V1]
    for name, parameter in network.named_parameters():
        if name.startswith(('stem', 'encoder')):
            assert parameter.eq(0.125).all(), name
    assert network.decoder1.up.weight.std().item() == pytest.approx((2 / (9 * 16)) ** 0.5, rel=0.1)


def test_config_rebuilds_the_network():
    config = LinkNetConfig(classes=5)
    assert config.to_dict() == {'classes': 5, 'pretrained': False}
    rebuilt = LinkNet(LinkNetConfig(**config.to_dict()))
    assert rebuilt.head[-1].out_channels == 5


def test_normalize_by_hand():
    """Two pixels: BGR bytes become RGB, minus the mean, over the deviation of ImageNet."""
    image = torch.tensor([[[[0, 0, 255], [51, 102, 204]]]], dtype=torch.uint8)
    result = normalize(image)
    assert result.shape == (1, 3, 1, 2)
    assert result.dtype == torch.float32
    expected = [
        [(1 - 0.485) / 0.229, (0.8 - 0.485) / 0.229],
        [(0 - 0.456) / 0.224, (0.4 - 0.456) / 0.224],
        [(0 - 0.406) / 0.225, (0.2 - 0.406) / 0.225],
    ]
    torch.testing.assert_close(result[0, :, 0], torch.tensor(expected))


def test_normalize_keeps_rows_and_columns():
    image = torch.zeros(2, 4, 5, 3, dtype=torch.uint8)
    image[1, 2, 3] = 200
    result = normalize(image)
    zero = -torch.tensor(IMAGENET_MEAN) / torch.tensor(IMAGENET_STD)
    for n, y, x in itertools.product(range(2), range(4), range(5)):
        same = torch.allclose(result[n, :, y, x], zero)
        assert same == ((n, y, x) != (1, 2, 3))
