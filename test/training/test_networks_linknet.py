"""LinkNet: its published figures, its links, and its weights' names and first values."""

import os
import pickle

import numpy as np
import pytest
import torch
from torch import nn
from torchvision.models import resnet18

from linknet_ros.errors import ParameterError
from training.complexity import count_macs, count_parameters
from training.networks import linknet
from training.networks.linknet import LinkNet

BLOCKS = ('stem', *(f'{part}{i}' for part in ('encoder', 'decoder') for i in (1, 2, 3, 4)))


def make_network(classes=11):
    """Make a network whose batch norms differ from the identity, in evaluation mode."""
    torch.manual_seed(1)
    network = LinkNet(classes).eval()
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
    network = LinkNet(classes=20)
    assert count_parameters(network) == 11_536_820
    parts = [network.stem, *(getattr(network, f'encoder{i}') for i in (1, 2, 3, 4))]
    classifier = 512 * 1000 + 1000
    assert sum(map(count_parameters, parts)) == count_parameters(resnet18()) - classifier


@pytest.mark.parametrize(
    ('width', 'height', 'gmacs'),
    [
        (480, 384, 7.61),
        (480, 360, 7.61),  # padded to 384 rows
        (640, 384, 10.14),
        (768, 576, 18.25),
        (1024, 512, 21.63),
        (1280, 736, 38.87),
    ],
)
def test_cost(width, height, gmacs):
    """Of e-lab's network with 12 classes.

    The paper's 21.2 GFLOPs counts two per multiply-accumulate, at 640x384.
    """
    assert count_macs(LinkNet(12), width, height) / 1e9 == pytest.approx(gmacs, abs=0.005)


def test_names_and_shapes_of_the_weights(network):
    """Checkpoints depend on them: torchvision's ResNet-18 in five parts, then the decoder."""
    parts = {'conv1': 'stem.0', 'bn1': 'stem.1'}
    parts |= {f'layer{i}': f'encoder{i}' for i in (1, 2, 3, 4)}
    expected = {}
    for name, value in resnet18().state_dict().items():
        part, _, rest = name.partition('.')
        if part in parts:
            expected[f'{parts[part]}.{rest}'] = tuple(value.shape)

    def layer(name, shape, out_channels, norm=None):
        expected[f'{name}.weight'], expected[f'{name}.bias'] = shape, (out_channels,)
        if norm:
            for statistic in ('weight', 'bias', 'running_mean', 'running_var'):
                expected[f'{norm}.{statistic}'] = (out_channels,)
            expected[f'{norm}.num_batches_tracked'] = ()

    for name, m, n in (
        ('decoder4', 512, 256),
        ('decoder3', 256, 128),
        ('decoder2', 128, 64),
        ('decoder1', 64, 64),
    ):
        k = m // 4
        layer(f'{name}.reduce', (k, m, 1, 1), k, f'{name}.reduce_norm')
        layer(f'{name}.up', (k, k, 3, 3), k, f'{name}.up_norm')
        layer(f'{name}.expand', (n, k, 1, 1), n, f'{name}.expand_norm')
    layer('head.0', (64, 32, 3, 3), 32, 'head.1')
    layer('head.3', (32, 32, 3, 3), 32, 'head.4')
    layer('head.6', (32, 11, 2, 2), 11)
    found = {name: tuple(value.shape) for name, value in network.state_dict().items()}
    assert found == expected
    assert list(found) == list(expected)


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


def test_decoder_block_is_its_layers_with_relu_between(network):
    block = network.decoder3
    x = torch.randn(1, 256, 3, 4, generator=torch.Generator().manual_seed(3))
    with torch.inference_mode():
        expected = block.reduce_norm(block.reduce(x)).relu()
        expected = block.up_norm(block.up(expected)).relu()
        expected = block.expand_norm(block.expand(expected)).relu()
        torch.testing.assert_close(block(x), expected)
    assert expected.shape == (1, 128, 6, 8)


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
@pytest.mark.parametrize(('height', 'width'), [(360, 480), (97, 51), (64, 32)])
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
    network = LinkNet()
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


class Trap:
    """What an attacker pickles: unpickling it makes a folder."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


@pytest.fixture
def downloaded(tmp_path, monkeypatch):
    """Put an object where torch.hub has the pretrained weights it downloaded."""
    monkeypatch.setenv('TORCH_HOME', str(tmp_path))

    def put(content):
        name = linknet.ResNet18_Weights.IMAGENET1K_V1.url.rpartition('/')[2]
        path = tmp_path / 'hub' / 'checkpoints' / name
        path.parent.mkdir(parents=True)
        torch.save(content.state_dict() if isinstance(content, nn.Module) else content, path)
        return path

    return put


def test_pretrained_weights_run_no_code(downloaded, tmp_path):
    file = downloaded({'conv1.weight': Trap(tmp_path / 'caught')})
    with pytest.raises(pickle.UnpicklingError):
        LinkNet(pretrained=True)
    assert not (tmp_path / 'caught').exists()
    # It is a trap.
    torch.load(file, weights_only=False)
    assert (tmp_path / 'caught').exists()


def test_pretrained_encoder_keeps_its_weights(downloaded):
    file = downloaded(resnet18())
    weights = torch.load(file, weights_only=True)
    for name in weights:
        if not name.endswith(('running_mean', 'running_var', 'tracked')):
            weights[name].fill_(0.125)
    torch.save(weights, file)
    network = LinkNet(pretrained=True)
    for name, parameter in network.named_parameters():
        if name.startswith(('stem', 'encoder')):
            assert parameter.eq(0.125).all(), name
    # What has not been trained is drawn, 1x1 convolutions as well as full ones.
    decoder = network.decoder4
    for layer in (decoder.reduce, decoder.up, decoder.expand):
        assert layer.weight.std().item() == pytest.approx((2 / fan(layer)) ** 0.5, rel=0.1)


@pytest.mark.parametrize('normalization', ['group', 'none'])
def test_pretrained_weights_need_their_norm(normalization):
    message = f"^normalization '{normalization}' does not fit pretrained weights"
    with pytest.raises(ParameterError, match=message):
        LinkNet(normalization=normalization, pretrained=True)


def test_without_norm_the_encoder_has_biases():
    """Torchvision leaves them out, for a norm follows."""
    network = LinkNet(normalization='none')
    convolutions = [m for m in network.modules() if isinstance(m, nn.Conv2d)]
    assert all(isinstance(layer.bias, nn.Parameter) for layer in convolutions)
    assert network.encoder2[0].downsample[0].bias.eq(0).all()
    with_norm = [m for m in LinkNet().encoder2.modules() if isinstance(m, nn.Conv2d)]
    assert [layer.bias for layer in with_norm] == [None] * 5


def test_without_norm_a_residual_block_starts_as_its_shortcut():
    network = LinkNet(normalization='none')
    x = random_image(8, 8).abs().repeat(1, 22, 1, 1)[:, :64]
    with torch.inference_mode():
        torch.testing.assert_close(network.encoder1(x), x)


def test_activation_reaches_encoder_and_decoder():
    network = LinkNet(activation='prelu')
    slopes = [m.num_parameters for m in network.modules() if isinstance(m, nn.PReLU)]
    assert slopes == [
        *[64],
        *[64, 64, 128, 128, 256, 256, 512, 512],
        *[128, 128, 256, 64, 64, 128, 32, 32, 64, 16, 16, 64],
        *[32, 32],
    ]
