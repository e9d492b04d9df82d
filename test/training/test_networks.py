"""What holds for every network: any size, interface and options; test_export.py runs them."""

import itertools
from functools import cache

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from linknet_ros.errors import ParameterError
from training.networks import NETWORKS, NetworkConfig, build_network, layers

pytestmark = pytest.mark.usefixtures('narrow_networks')

every_network = pytest.mark.parametrize('name', NETWORKS)


def build(name, **options):
    torch.manual_seed(1)
    return build_network(NetworkConfig(name, **options))


def random_image(height, width, count=1):
    return torch.randn(count, 3, height, width, generator=torch.Generator().manual_seed(2))


@cache
def trained(name):
    """A network for five classes whose norms have seen one batch and differ from each other."""
    network = build(name, classes=5)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.5, 1.0)
            nn.init.uniform_(module.bias, -0.3, 0.3)
            module.momentum = 1.0
    with torch.no_grad():
        network.train()(random_image(64, 96, count=2))
    return network.eval()


@torch.inference_mode()
def logits_of(network, image):
    return network(image)


def test_names_and_titles():
    assert {name: make.title for name, make in NETWORKS.items()} == {
        'linknet': 'LinkNet (ResNet-18)',
        'linknet-lite0': 'LinkNet (EfficientNet-Lite0)',
        'linknet-nobypass': 'LinkNet without links (ResNet-18)',
        'linknet-residual': 'LinkNet with residual decoders (ResNet-18)',
        'linknet-subpixel': 'LinkNet with sub-pixel decoders (ResNet-18)',
        'segnet': 'SegNet',
        'enet': 'ENet',
        'unet': 'U-Net',
    }


def test_config_rebuilds_the_network():
    config = NetworkConfig('unet', classes=5, dropout=0.25)
    assert config.to_dict() == {
        'network': 'unet',
        'classes': 5,
        'normalization': None,
        'dropout': 0.25,
        'activation': None,
        'pretrained': False,
        'width': None,
    }
    rebuilt = build_network(NetworkConfig(**config.to_dict()))
    assert isinstance(rebuilt, NETWORKS['unet'])
    assert rebuilt.head.out_channels == 5
    assert rebuilt.dropout.p == 0.25


#: What rounding may change of the largest logit, where it is more than 1e-4: the deepest has most.
TOLERANCE = {'linknet-lite0': 5e-4}

NO_ENCODER = 'has no pretrained encoder; use a LinkNet'


@pytest.mark.parametrize(
    ('network', 'option', 'value', 'message'),
    [
        ('resnet', 'classes', 5, f"unknown network 'resnet'; use one of {', '.join(NETWORKS)}"),
        *(
            (name, option, value, message)
            for name in NETWORKS
            for option, value, message in (
                (
                    'normalization',
                    'layer',
                    "invalid normalization 'layer'; use one of batch, group, none",
                ),
                (
                    'activation',
                    'gelu',
                    "invalid activation 'gelu'; use one of relu, leaky_relu, elu, prelu, silu",
                ),
                ('classes', 0, 'invalid classes 0 (expected at least 1)'),
                ('dropout', 1.0, 'invalid dropout 1.0 (expected at least 0 and below 1)'),
                ('dropout', float('nan'), 'invalid dropout nan (expected at least 0 and below 1)'),
            )
        ),
        ('unet', 'pretrained', True, f'pretrained True: U-Net {NO_ENCODER}'),
        ('segnet', 'pretrained', True, f'pretrained True: SegNet {NO_ENCODER}'),
        ('enet', 'pretrained', True, f'pretrained True: ENet {NO_ENCODER}'),
    ],
)
def test_config_that_cannot_be_built(network, option, value, message):
    with pytest.raises(ParameterError) as caught:
        build(network, **{option: value})
    assert str(caught.value) == message


@every_network
@pytest.mark.parametrize(('height', 'width'), [(360, 480), (47, 33), (32, 32)])
def test_logits_have_the_size_of_the_image(name, height, width):
    logits = logits_of(trained(name), random_image(height, width))
    assert logits.shape == (1, 5, height, width)


@every_network
def test_stride_is_the_size_that_needs_no_padding(name):
    """One less, and the image is padded; so no network hides a smaller stride behind padding."""
    network = build(name).eval()
    first = next(m for m in network.modules() if isinstance(m, nn.Conv2d))
    seen = []
    first.register_forward_pre_hook(lambda _module, inputs: seen.append(inputs[0].shape[-2:]))
    stride = network.stride
    for height, width in ((3 * stride, 5 * stride), (3 * stride - 1, 4 * stride + 1)):
        logits_of(network, random_image(height, width))
    assert seen == [(3 * stride, 5 * stride)] * 2


@every_network
def test_any_size_equals_the_image_padded_by_hand(name):
    network = trained(name)
    image = random_image(47, 33)
    bottom, right = -47 % network.stride, -33 % network.stride
    pad = ((0, 0), (0, 0), (0, bottom), (0, right))
    padded = torch.from_numpy(np.pad(image.numpy(), pad, mode='edge'))
    expected = logits_of(network, padded)[..., :47, :33]
    torch.testing.assert_close(logits_of(network, image), expected)


@every_network
def test_images_of_a_batch_do_not_see_each_other(name):
    network = trained(name)
    images = random_image(64, 32, count=2)
    alone = torch.cat([logits_of(network, image[None]) for image in images])
    torch.testing.assert_close(logits_of(network, images), alone, rtol=1e-3, atol=1e-4)
    assert (alone[0] - alone[1]).abs().max() > 0.01


@every_network
def test_every_weight_is_learnt(name):
    """What is built but not used, or cut off, would have no gradient."""
    network = build(name, dropout=0.0).train()
    logits = network(random_image(64, 96, count=2))
    torch.manual_seed(3)
    logits.backward(torch.randn_like(logits))
    for parameter_name, parameter in network.named_parameters():
        assert parameter.grad is not None, parameter_name
        assert parameter.grad.isfinite().all(), parameter_name
        if parameter.dim() > 1:
            assert parameter.grad.abs().max() > 0, parameter_name


def fold_neighbours(network):
    """Fold each batch norm into the convolution defined right before it, as an export does.

    Returns the names of the norms that are left.
    """
    left = []
    for path, module in list(network.named_modules()):
        children = [(None, None), *module.named_children()]
        for (name, layer), (norm_name, norm) in itertools.pairwise(children):
            if not isinstance(norm, nn.BatchNorm2d):
                continue
            fits = isinstance(layer, (nn.Conv2d, nn.ConvTranspose2d))
            if fits and layer.out_channels == norm.num_features:
                transpose = isinstance(layer, nn.ConvTranspose2d)
                setattr(module, name, fuse_conv_bn_eval(layer, norm, transpose=transpose))
                # timm's norms have the activation inside.
                setattr(module, norm_name, getattr(norm, 'act', nn.Identity()))
            else:
                left.append(f'{path}.{norm_name}')
    return left


@every_network
def test_norms_stand_behind_their_convolutions(name):
    """All can be folded but the norm of ENet's pooled image."""
    network, image = trained(name), random_image(64, 96)
    folded = build(name, classes=5).eval()
    folded.load_state_dict(network.state_dict())
    assert fold_neighbours(folded) == (['initial.pool_norm'] if name == 'enet' else [])
    expected = logits_of(network, image)
    tolerance = TOLERANCE.get(name, 1e-4) * expected.abs().max().item()
    torch.testing.assert_close(logits_of(folded, image), expected, rtol=0, atol=tolerance)


@every_network
def test_first_convolution_alone_reads_the_image(name):
    """With its input channels turned round, the network reads BGR as it read RGB."""
    network, image = trained(name), random_image(64, 96)
    if name == 'enet':
        assert network.first_convolution is None
        return
    turned = build(name, classes=5).eval()
    turned.load_state_dict(network.state_dict())
    turned.first_convolution.weight.data = turned.first_convolution.weight.data.flip(1)
    expected = logits_of(network, image)
    tolerance = TOLERANCE.get(name, 1e-4) * expected.abs().max().item()
    result = logits_of(turned, image.flip(1))
    torch.testing.assert_close(result, expected, rtol=0, atol=2 * tolerance)
    assert (logits_of(turned, image) - expected).abs().max() > 0.01


@every_network
def test_side_outputs(name):
    network = build(name)
    expected = {}
    if name.startswith('linknet'):
        channels = (96, 64, 48) if name == 'linknet-lite0' else (64, 32, 16)
        expected = dict(zip(('decoder4', 'decoder3', 'decoder2'), channels, strict=True))
    assert network.side_outputs == expected
    channels = {}
    for side in network.side_outputs:
        network.get_submodule(side).register_forward_hook(
            lambda _module, _inputs, out, side=side: channels.update({side: out.shape[1]})
        )
    logits_of(network.eval(), random_image(64, 64))
    assert channels == network.side_outputs


@every_network
@pytest.mark.parametrize(
    ('normalization', 'kind'), [('batch', nn.BatchNorm2d), ('group', nn.GroupNorm), ('none', None)]
)
def test_normalization_is_the_one_asked_for(name, normalization, kind):
    if name == 'linknet-lite0' and normalization != 'batch':
        with pytest.raises(ParameterError, match=f"'{normalization}' does not fit EfficientNet"):
            build(name, normalization=normalization)
        return
    network = build(name, normalization=normalization)
    kinds = (nn.BatchNorm2d, nn.GroupNorm)
    found = {k for m in network.modules() for k in kinds if isinstance(m, k)}
    assert found == ({kind} if kind else set())
    convolutions = [m for m in network.modules() if isinstance(m, (nn.Conv2d, nn.ConvTranspose2d))]
    if kind is None:
        # Each has a bias then; the first of two asymmetric convolutions leaves it to the second.
        unbiased = [m.kernel_size for m in convolutions if m.bias is None]
        assert unbiased == ([(1, 5)] * 4 if name == 'enet' else [])


@every_network
@pytest.mark.parametrize(
    ('activation', 'kind'),
    [
        ('relu', nn.ReLU),
        ('leaky_relu', nn.LeakyReLU),
        ('elu', nn.ELU),
        ('prelu', nn.PReLU),
        ('silu', nn.SiLU),
    ],
)
def test_activation_is_the_one_asked_for(name, activation, kind):
    network = build(name, activation=activation)
    kinds = (nn.ReLU, nn.LeakyReLU, nn.ELU, nn.PReLU, nn.SiLU)
    assert {type(m) for m in network.modules() if isinstance(m, kinds)} == {kind}


@pytest.mark.parametrize('name', [name for name in NETWORKS if name != 'linknet-lite0'])
@pytest.mark.parametrize(
    ('normalization', 'activation'), [('group', 'silu'), ('none', 'elu'), ('none', 'leaky_relu')]
)
def test_other_styles_can_be_trained(name, normalization, activation):
    """Of one image, since they need no batch; sums of branches would double the variance.

    An activation that overwrites its input must not overwrite what a gradient needs.
    """
    options = {'normalization': normalization, 'activation': activation, 'dropout': 0.0}
    network = build(name, **options).train()
    logits = network(random_image(64, 64))
    assert 1e-3 < logits.std() < 100
    logits.square().mean().backward()
    assert all(p.grad.isfinite().all() for p in network.parameters())


@every_network
def test_dropout_takes_whole_channels_in_training_only(name):
    network = build(name, dropout=0.5).train()
    dropouts = [m for m in network.modules() if isinstance(m, nn.Dropout2d) and m.p == 0.5]
    assert dropouts
    shares = []

    def look(module, inputs, out):
        scale = 2 if module.training else 1
        kept = out.abs().amax((2, 3)) > 0
        assert torch.equal(out, inputs[0] * scale * kept[..., None, None])
        there = inputs[0].abs().amax((2, 3)) > 0
        shares.append((kept & there).sum() / there.sum())

    for module in dropouts:
        module.register_forward_hook(look)
    with torch.no_grad():
        network(random_image(64, 64, count=2))
        assert max(shares) < 0.9
        shares.clear()
        network.eval()(random_image(64, 64))
        assert min(shares) == 1


@pytest.mark.parametrize('name', ['segnet', 'enet'])
def test_pooling_of_an_export_is_that_of_training(monkeypatch, name):
    network, image = trained(name), random_image(64, 96)
    expected = logits_of(network, image)
    monkeypatch.setattr(layers.torch.onnx, 'is_in_onnx_export', lambda: True)
    assert torch.equal(logits_of(network, image), expected)
