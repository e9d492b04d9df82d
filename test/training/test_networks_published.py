"""Each network against what was published of it: its figures, its layers, and its way."""

import os
import pickle

import pytest
import torch
from torch import nn
from torch.nn import functional
from torchvision.models import resnet18, vgg16_bn

from linknet_ros.errors import ParameterError
from training.complexity import count_macs, count_parameters
from training.networks import NETWORKS, NetworkConfig, build_network, linknet
from training.networks.enet import (
    Bottleneck,
    DownsamplingBottleneck,
    ENet,
    InitialBlock,
    UpsamplingBottleneck,
)
from training.networks.layers import LayerStyle
from training.networks.linknet import LinkNet
from training.networks.linknet_nobypass import LinkNetNoBypass
from training.networks.linknet_residual import LinkNetResidual, ResidualDecoderBlock
from training.networks.linknet_subpixel import LinkNetSubpixel, SubpixelDecoderBlock

RELU, PRELU = LayerStyle('batch', 'relu'), LayerStyle('batch', 'prelu')
PLAIN = LayerStyle('none', 'relu')


def on_meta(name, classes=11, **options):
    with torch.device('meta'):
        return build_network(NetworkConfig(name, classes=classes, **options))


def random_features(*shape):
    return torch.randn(shape, generator=torch.Generator().manual_seed(2))


def perturbed(make, *arguments, **options):
    """A module in evaluation mode whose norms differ from the identity."""
    torch.manual_seed(1)
    module = make(*arguments, **options)
    for norm in module.modules():
        if isinstance(norm, nn.BatchNorm2d):
            nn.init.uniform_(norm.weight, 0.5, 1.0)
            nn.init.uniform_(norm.bias, -0.3, 0.3)
            nn.init.uniform_(norm.running_mean, -0.2, 0.2)
            nn.init.uniform_(norm.running_var, 0.8, 1.5)
    return module.eval()


def shapes_of(network, names, size):
    """(channels, height, width) that parts of a network make of an image."""
    shapes = {}
    for name in names:
        network.get_submodule(name).register_forward_hook(
            lambda _module, _inputs, out, name=name: shapes.update(
                {name: tuple((out[0] if isinstance(out, tuple) else out).shape[1:])}
            )
        )
    network.eval()(torch.empty(1, 3, *size, device='meta'))
    return shapes


def channels_of(stage):
    return [(m.in_channels, m.out_channels) for m in stage.modules() if isinstance(m, nn.Conv2d)]


@pytest.mark.parametrize(
    ('name', 'classes', 'parameters'),
    [
        # Table III of LinkNet's paper: 11.5 million.
        ('linknet', 20, 11_536_820),
        ('linknet-nobypass', 12, 11_535_788),
        # Three biased convolutions and three norms a block, in LinkNet's place.
        ('linknet-residual', 11, 13_061_771),
        # The 12.78 million of linknet_model_sub.py, whose layers are as wide.
        ('linknet-subpixel', 11, 12_784_827),
        # LinkNet's paper: 29.5 million.
        ('segnet', 12, 29_449_932),
        # ENet's paper, table III: 0.37 million.
        ('enet', 12, 364_192),
        ('enet', 20, 364_712),
    ],
)
def test_parameters(name, classes, parameters):
    assert count_parameters(on_meta(name, classes)) == parameters


def test_parameters_of_unet():
    """Open Model Zoo's unet-camvid-onnx-0001 has 31.03 million, with its norms folded."""
    network = on_meta('unet', 12)
    # Folding leaves a bias of two numbers per channel.
    norms = sum(m.num_features for m in network.modules() if isinstance(m, nn.BatchNorm2d))
    folded = count_parameters(network) - norms
    assert folded == count_parameters(on_meta('unet', 12, normalization='none'))
    assert round(folded / 1e6, 2) == 31.03


@pytest.mark.parametrize(
    ('name', 'classes', 'width', 'height', 'gmacs'),
    [
        # Of e-lab's network; the paper's 21.2 GFLOPs counts two per multiply-accumulate, at
        # 640x384. 360 rows are padded to 384.
        ('linknet', 12, 480, 384, 7.61),
        ('linknet', 12, 480, 360, 7.61),
        ('linknet', 12, 640, 384, 10.14),
        ('linknet', 12, 1280, 736, 38.87),
        ('linknet-nobypass', 12, 480, 384, 7.61),
        # Open Model Zoo: 260.1 GFLOPs at 480x368, of which biases and activations are 0.1 %.
        ('unet', 12, 480, 368, 129.95),
        # ENet's paper has 3.83 GFLOPs, with what is no convolution.
        ('enet', 20, 640, 360, 1.73),
    ],
)
def test_cost(name, classes, width, height, gmacs):
    assert count_macs(on_meta(name, classes), width, height) / 1e9 == pytest.approx(
        gmacs, abs=0.005
    )


def segnet_macs(width, height):
    """Multiply-accumulates of SegNet where pooling rounds down, as in the authors' code."""
    stages = [(64, 2, 3), (128, 2, 64), (256, 3, 128), (512, 3, 256), (512, 3, 512)]
    total = 0
    for level, (channels, depth, before) in enumerate(stages):
        # The decoder's stage is the encoder's the other way round, but for the last layer.
        inner = 2 * (depth - 1) * channels * channels
        outer = before * channels + (12 if level == 0 else before) * channels
        total += (width >> level) * (height >> level) * 9 * (inner + outer)
    return total


def test_cost_of_segnet():
    """Published for 640x360 and 480x360 without padding, 141.85 and 106.4; here for 384 rows."""
    for width in (480, 640):
        for height in (384, 360):
            assert count_macs(on_meta('segnet', 12), width, height) == segnet_macs(width, 384)
    assert segnet_macs(640, 360) / 1e9 == pytest.approx(141.85, abs=0.005)
    assert segnet_macs(480, 360) / 1e9 == pytest.approx(106.4, abs=0.05)


@pytest.mark.parametrize(
    ('name', 'size', 'shapes'),
    [
        # codeac29.github.io/projects/linknet.
        (
            'linknet',
            (256, 256),
            {
                'stem': (64, 64, 64),
                **{'encoder1': (64, 64, 64), 'decoder1': (64, 64, 64)},
                **{'encoder2': (128, 32, 32), 'decoder2': (64, 64, 64)},
                **{'encoder3': (256, 16, 16), 'decoder3': (128, 32, 32)},
                **{'encoder4': (512, 8, 8), 'decoder4': (256, 16, 16)},
            },
        ),
        # Table I of ENet's paper.
        (
            'enet',
            (512, 512),
            {
                'initial': (16, 256, 256),
                **{'down1': (64, 128, 128), 'stage1': (64, 128, 128)},
                **{'down2': (128, 64, 64), 'stage2': (128, 64, 64), 'stage3': (128, 64, 64)},
                **{'up4': (64, 128, 128), 'stage4': (64, 128, 128)},
                **{'up5': (16, 256, 256), 'stage5': (16, 256, 256), 'head': (11, 512, 512)},
            },
        ),
    ],
)
def test_sizes_within(name, size, shapes):
    assert shapes_of(on_meta(name), shapes, size) == shapes


def test_widths():
    segnet, unet = on_meta('segnet', 7), on_meta('unet', 2)
    assert [channels_of(stage) for stage in segnet.decoders] == [
        [(512, 512), (512, 512), (512, 512)],
        [(512, 512), (512, 512), (512, 256)],
        [(256, 256), (256, 256), (256, 128)],
        [(128, 128), (128, 64)],
        [(64, 64), (64, 7)],
    ]
    assert isinstance(segnet.decoders[-1][-1], nn.Conv2d)
    with torch.device('meta'):
        vgg = vgg16_bn().features
    shapes = [[tuple(p.shape) for p in part.parameters()] for part in (segnet.encoders, vgg)]
    assert shapes[0] == shapes[1]
    down = [(3, 64), (64, 128), (128, 256), (256, 512), (512, 1024)]
    up = [(1024, 512), (512, 256), (256, 128), (128, 64)]
    stages = [channels_of(stage) for stage in (*unet.encoders, *unet.decoders)]
    assert stages == [[(m, n), (n, n)] for m, n in (*down, *up)]
    assert [(m.in_channels, m.out_channels, m.kernel_size) for m in unet.ups] == [
        (*channels, (2, 2)) for channels in up
    ]


def test_names_and_shapes_of_linknets_weights():
    """Checkpoints depend on them: torchvision's ResNet-18 in five parts, then the decoder."""
    parts = {'conv1': 'stem.0', 'bn1': 'stem.1'}
    parts |= {f'layer{i}': f'encoder{i}' for i in (1, 2, 3, 4)}
    with torch.device('meta'):
        resnet = resnet18()
    expected = {}
    for name, value in resnet.state_dict().items():
        part, _, rest = name.partition('.')
        if part in parts:
            expected[f'{parts[part]}.{rest}'] = tuple(value.shape)

    def layer(name, shape, out_channels, norm=None):
        expected[f'{name}.weight'], expected[f'{name}.bias'] = shape, (out_channels,)
        if norm:
            for statistic in ('weight', 'bias', 'running_mean', 'running_var'):
                expected[f'{norm}.{statistic}'] = (out_channels,)
            expected[f'{norm}.num_batches_tracked'] = ()

    # Table I of the paper.
    for block, m, n in ((4, 512, 256), (3, 256, 128), (2, 128, 64), (1, 64, 64)):
        name, k = f'decoder{block}', m // 4
        layer(f'{name}.reduce', (k, m, 1, 1), k, f'{name}.reduce_norm')
        layer(f'{name}.up', (k, k, 3, 3), k, f'{name}.up_norm')
        layer(f'{name}.expand', (n, k, 1, 1), n, f'{name}.expand_norm')
    layer('head.0', (64, 32, 3, 3), 32, 'head.1')
    layer('head.3', (32, 32, 3, 3), 32, 'head.4')
    layer('head.6', (32, 11, 2, 2), 11)
    weights = on_meta('linknet').state_dict()
    found = {name: tuple(value.shape) for name, value in weights.items()}
    assert found == expected
    assert list(found) == list(expected)
    on_meta('linknet-nobypass').load_state_dict(weights)


@torch.inference_mode()
def linknet_way(network, image, links=(1, 2, 3, 4)):
    """The paper's figure 1, block by block; only the given links added."""
    stem = network.stem(image)
    e1 = network.encoder1(stem)
    e2 = network.encoder2(e1)
    e3 = network.encoder3(e2)
    x = network.encoder4(e3)
    for block, link in ((4, e3), (3, e2), (2, e1), (1, stem)):
        x = getattr(network, f'decoder{block}')(x)
        x = x + link if block in links else x
    return network.head(x)


@torch.inference_mode()
def unet_way(network, image):
    x, skips = image, []
    for level, encoder in enumerate(network.encoders):
        x = encoder(functional.max_pool2d(x, 2) if level else x)
        skips.append(x)
    for level in (3, 2, 1, 0):
        up = network.ups[3 - level](x)
        x = network.decoders[3 - level](torch.cat((skips[level], up), 1))
    return network.head(x)


@torch.inference_mode()
def segnet_way(network, image):
    """With PyTorch's pooling: each of the decoder's stages uses the positions of its own level."""
    x, stack = image, []
    for encoder in network.encoders:
        features = encoder(x)
        x, indices = functional.max_pool2d(features, 2, return_indices=True)
        stack.append((indices, features.shape[-2:]))
    for decoder in network.decoders:
        indices, size = stack.pop()
        x = decoder(functional.max_unpool2d(x, indices, 2, output_size=size))
    return x


WAYS = {
    'linknet': linknet_way,
    'linknet-nobypass': lambda network, image: linknet_way(network, image, links=()),
    'linknet-residual': linknet_way,
    'linknet-subpixel': linknet_way,
    'segnet': segnet_way,
    'unet': unet_way,
}


@pytest.mark.parametrize('name', WAYS)
def test_forward_is_the_published_way(name, monkeypatch):
    for module in ('segnet', 'unet'):
        monkeypatch.setattr(f'training.networks.{module}.WIDTHS', (16, 16, 32, 32, 32))
    options = {'width': 0.25} if name.startswith('linknet-') else {}
    network = perturbed(NETWORKS[name], **options)
    image = random_features(1, 3, 32, 64)
    with torch.inference_mode():
        logits = network(image)
    torch.testing.assert_close(logits, WAYS[name](network, image))
    if name == 'linknet':
        for link in (1, 2, 3, 4):
            without = linknet_way(network, image, links={1, 2, 3, 4} - {link})
            assert (logits - without).abs().max() > 0.01


@pytest.mark.parametrize(
    ('make', 'reached'),
    [(LinkNet, {'stem', 'encoder1', 'encoder2', 'encoder3'}), (LinkNetNoBypass, set())],
)
def test_gradients_around_the_deepest_block(make, reached):
    """With the way through encoder 4 cut, only links lead back to the other encoders."""
    torch.manual_seed(1)
    network = make(width=0.25)
    network.encoder4.register_forward_pre_hook(lambda _module, inputs: inputs[0].detach())
    network(random_features(2, 3, 64, 64)).square().sum().backward()
    parts = {
        name.partition('.')[0]
        for name, parameter in network.named_parameters()
        if parameter.grad is not None and parameter.grad.abs().max() > 0
    }
    assert parts == reached | {'encoder4', *(f'decoder{i}' for i in (1, 2, 3, 4)), 'head'}


# Blocks.


@torch.inference_mode()
def test_decoder_of_linknet():
    block = perturbed(LinkNet).decoder3
    x = random_features(1, 256, 3, 4)
    expected = block.reduce_norm(block.reduce(x)).relu()
    expected = block.up_norm(block.up(expected)).relu()
    expected = block.expand_norm(block.expand(expected)).relu()
    torch.testing.assert_close(block(x), expected)
    assert expected.shape == (1, 128, 6, 8)
    assert block.reduce_norm.eps == block.up_norm.eps == block.expand_norm.eps == 1e-3


@pytest.mark.parametrize(
    ('m', 'n', 'stride'), [(512, 256, 2), (256, 128, 2), (128, 64, 2), (64, 64, 1)]
)
@torch.inference_mode()
def test_residual_decoder(m, n, stride):
    """FullConv3x3, BN, ReLU, Conv1x1, BN; plus Conv1x1, BN, bilinear; ReLU (model-res-dec.lua)."""
    block = perturbed(ResidualDecoderBlock, m, n, stride, RELU, 0.0)
    up, up_norm, _, expand, expand_norm, _ = block.residual
    shortcut, shortcut_norm, _ = block.shortcut
    assert [norm.eps for norm in (up_norm, expand_norm, shortcut_norm)] == [1e-3] * 3
    x = random_features(1, m, 3, 4)
    residual = functional.conv_transpose2d(
        x, up.weight, up.bias, stride=stride, padding=1, output_padding=stride - 1
    )
    residual = expand_norm(expand(up_norm(residual).relu()))
    other = shortcut_norm(shortcut(x))
    if stride == 2:
        other = functional.interpolate(other, size=(6, 8), mode='bilinear')
    result = block(x)
    torch.testing.assert_close(result, (residual + other).relu())
    assert result.shape == (1, n, 3 * stride, 4 * stride)


def test_subpixel_decoder_makes_pixels_of_channels():
    """One channel in, spread by 1, 2, 3, 4: they become the 2x2 pixels of that place."""
    block = SubpixelDecoderBlock(1, 1, 2, PLAIN, 0.0)
    for layer, weights in ((block.spread, [1.0, 2, 3, 4]), (block.merge, [1.0])):
        layer.weight.data = torch.tensor(weights).view(-1, 1, 1, 1)
        layer.bias.data.zero_()
    result = block(torch.tensor([[[[1.0, 10]]]]))
    assert result.tolist() == [[[[1, 2, 10, 20], [3, 4, 30, 40]]]]
    block = perturbed(SubpixelDecoderBlock, 16, 8, 2, RELU, 0.0)
    x = random_features(1, 16, 3, 4)
    with torch.inference_mode():
        spread = block.spread_norm(block.spread(x)).relu()
        pixels = spread.view(1, 16, 2, 2, 3, 4).permute(0, 1, 4, 2, 5, 3).reshape(1, 16, 6, 8)
        torch.testing.assert_close(block(x), block.merge_norm(block.merge(pixels)).relu())


def test_subpixel_decoder_1_keeps_the_size_up_to_its_border():
    """The block that this one mends loses two rows and columns at each border."""
    block = SubpixelDecoderBlock(4, 2, 1, PLAIN, 0.0)
    for layer in (block.spread, block.merge):
        nn.init.ones_(layer.weight)
        nn.init.zeros_(layer.bias)
    x = torch.zeros(1, 4, 5, 6)
    x[0, :, 0, 0] = 1
    # A one in the corner of four channels, summed over 3x3 twice; zeros come in at the border.
    expected = torch.zeros(5, 6)
    expected[:3, :3] = torch.tensor([[4, 4, 2], [4, 4, 2], [2, 2, 1]]) * 4
    result = block(x)
    assert result.shape == (1, 2, 5, 6)
    torch.testing.assert_close(result[0, 1], expected)


def test_subpixel_norms_see_a_batch_once():
    """Running a decoder again for another size would count, and weigh, every batch twice."""
    network = LinkNetSubpixel(width=0.25)
    network(random_features(2, 3, 33, 47))
    norms = [m for m in network.modules() if isinstance(m, nn.BatchNorm2d)]
    assert {int(norm.num_batches_tracked) for norm in norms} == {1}


@pytest.mark.parametrize('stage', ['stage2', 'stage3'])
def test_main_layers_of_enet(stage):
    """Bottlenecks 2.1 to 2.8 and 3.1 to 3.8 of table I."""
    found = [
        [(m.kernel_size, m.dilation[0]) for m in block.main if isinstance(m, nn.Conv2d)][1:-1]
        for block in getattr(ENet(), stage)
    ]
    asymmetric = [((1, 5), 1), ((5, 1), 1)]
    dilated = {d: [((3, 3), d)] for d in (1, 2, 4, 8, 16)}
    odd = [dilated[1], dilated[2], asymmetric, dilated[4]]
    assert found == [*odd, dilated[1], dilated[8], asymmetric, dilated[16]]


def test_slopes_of_enet():
    """A module used twice would share them between layers; one slope each would share channels."""
    network, uses = ENet(), []
    for module in network.modules():
        if isinstance(module, nn.PReLU):
            module.register_forward_hook(
                lambda m, inputs, _out: uses.append((m, inputs[0].shape[1], m.num_parameters))
            )
    network(random_features(1, 3, 32, 32))
    assert len(uses) == len({id(module) for module, _, _ in uses}) == 1 + 3 * 27
    assert all(channels == slopes for _, channels, slopes in uses)


def test_initial_block_of_enet_has_one_norm_in_two_parts():
    block = perturbed(InitialBlock, PRELU).train()
    whole = nn.BatchNorm2d(16, eps=1e-3)
    parts = (block.filters_norm, block.pool_norm)
    for name in ('weight', 'bias', 'running_mean', 'running_var'):
        getattr(whole, name).data = torch.cat([getattr(part, name).data for part in parts])
    image = random_features(2, 3, 8, 6)
    pooled = functional.max_pool2d(image, 2)
    filters = block.filters
    filtered = functional.conv2d(image, filters.weight, filters.bias, stride=2, padding=1)
    expected = functional.prelu(whole(torch.cat((filtered, pooled), 1)), block.act.weight)
    torch.testing.assert_close(block(image), expected)
    statistics = torch.cat([part.running_var for part in parts])
    torch.testing.assert_close(statistics, whole.running_var)


@pytest.mark.parametrize('main', [('dilated', 1), ('dilated', 4), ('asymmetric', 5)])
@torch.inference_mode()
def test_bottleneck(main):
    block = perturbed(Bottleneck, 16, 0.1, PRELU, main)
    x = random_features(1, 16, 9, 7)
    torch.testing.assert_close(block(x), functional.prelu(block.main(x) + x, block.act.weight))


@torch.inference_mode()
def test_downsampling_adds_the_maxima_to_the_first_channels():
    block = perturbed(DownsamplingBottleneck, 8, 32, 0.0, PRELU)
    x = random_features(1, 8, 4, 6)
    pooled, indices = functional.max_pool2d(x, 2, return_indices=True)
    shortcut = torch.cat((pooled, torch.zeros(1, 24, 2, 3)), 1)
    result, position = block(x)
    torch.testing.assert_close(
        result, functional.prelu(block.main(x) + shortcut, block.act.weight)
    )
    assert torch.equal(position[0], indices)


@torch.inference_mode()
def test_upsampling_puts_the_shortcut_where_the_maxima_were():
    block = perturbed(UpsamplingBottleneck, 32, 8, 0.0, PRELU)
    _, indices = functional.max_pool2d(random_features(1, 8, 4, 6), 2, return_indices=True)
    x = random_features(1, 32, 2, 3)
    shortcut = functional.max_unpool2d(block.shortcut(x), indices, 2)
    expected = functional.prelu(block.main(x) + shortcut, block.act.weight)
    torch.testing.assert_close(block(x, (indices,)), expected)


def test_positions_come_from_the_pooling_of_the_same_level_of_enet():
    network, seen = ENet(), {}
    for name in ('down1', 'down2'):
        getattr(network, name).register_forward_hook(
            lambda _module, _inputs, out, name=name: seen.update({name: out[1][0]})
        )
    for name in ('up4', 'up5'):
        getattr(network, name).register_forward_pre_hook(
            lambda _module, inputs, name=name: seen.update({name: inputs[1][0]})
        )
    network(random_features(1, 3, 32, 32))
    assert seen['up4'] is seen['down2']
    assert seen['up5'] is seen['down1']


@torch.inference_mode()
def test_without_norm_a_block_starts_as_its_shortcut():
    x = random_features(1, 128, 4, 4)
    block = ENet(normalization='none', dropout=0.0).stage2[3]
    bias = block.main[-3].bias.view(1, 128, 1, 1)
    torch.testing.assert_close(block(x), functional.prelu(x + bias, block.act.weight))
    block = LinkNetResidual(normalization='none').decoder2
    bias = block.residual[3].bias.view(1, 64, 1, 1)
    torch.testing.assert_close(block(x), (block.shortcut(x) + bias).relu())
    x = x[:, :64].abs()
    torch.testing.assert_close(LinkNet(normalization='none').encoder1(x), x)


def test_dropout_is_where_the_papers_have_it():
    """ENet: 0.01 before bottleneck 2.0, which are five, and 0.1 afterwards."""
    rates = [m.p for m in ENet().modules() if isinstance(m, nn.Dropout2d)]
    assert rates == pytest.approx([0.01] * 5 + [0.1] * (1 + 8 + 8 + 3 + 2))
    for name, shapes in (
        ('segnet', [(1, 512, 4, 4), (1, 256, 8, 8), (1, 128, 16, 16)]),
        ('unet', [(1, 1024, 4, 4)]),
    ):
        network, seen = on_meta(name, dropout=0.5).train(), []
        network.dropout.register_forward_hook(
            lambda _module, inputs, _out, seen=seen: seen.append(inputs[0].shape)
        )
        network(torch.empty(1, 3, 64, 64, device='meta'))
        assert seen == shapes


# First weights.


def fan(layer):
    # Weights are (out, in, k, k), those of a full convolution (in, out, k, k).
    height, width = layer.kernel_size
    return height * width * layer.out_channels


def test_initial_weights_of_linknet_are_those_of_the_authors():
    """N(0, sqrt(2 / (k k n_out))): mean and deviation of each layer within six standard errors."""
    torch.manual_seed(0)
    network = LinkNet()
    layers = [m for m in network.modules() if isinstance(m, (nn.Conv2d, nn.ConvTranspose2d))]
    assert len(layers) == 20 + 4 * 3 + 3
    for layer in layers:
        weight = layer.weight.detach().double()
        std, count = (2 / fan(layer)) ** 0.5, weight.numel()
        assert abs(weight.mean()) < 6 * std / count**0.5
        assert weight.std() == pytest.approx(std, rel=6 / (2 * count) ** 0.5)


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
        torch.save(content, path)
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
    weights = resnet18().state_dict()
    for name in weights:
        if not name.endswith(('running_mean', 'running_var', 'tracked')):
            weights[name].fill_(0.125)
    downloaded(weights)
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
