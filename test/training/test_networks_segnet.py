"""SegNet: its published figures, VGG16's layers, and whose positions the decoder uses."""

import pytest
import torch
from torch import nn
from torch.nn import functional
from torchvision.models import vgg16_bn

from training.complexity import count_macs, count_parameters
from training.networks.segnet import SegNet


def on_meta(**options):
    with torch.device('meta'):
        return SegNet(**options)


def test_parameters_are_the_published_ones():
    """29.5 million in LinkNet's paper; the encoder is VGG16's (with batch norms) convolutions."""
    network = on_meta(classes=12)
    assert count_parameters(network) == 29_449_932
    assert count_parameters(network.encoders) == 14_723_136
    with torch.device('meta'):
        vgg = vgg16_bn().features
    found = [tuple(p.shape) for p in network.encoders.parameters()]
    assert found == [tuple(p.shape) for p in vgg.parameters()]


def macs_by_hand(width, height):
    """Multiply-accumulates where pooling rounds down, as in the authors' code."""
    stages = [(64, 2, 3), (128, 2, 64), (256, 3, 128), (512, 3, 256), (512, 3, 512)]
    total = 0
    for level, (channels, depth, before) in enumerate(stages):
        pixels = (width >> level) * (height >> level)
        # The decoder's stage is the encoder's the other way round, but for the last layer.
        inner = 2 * (depth - 1) * channels * channels
        outer = before * channels + (12 if level == 0 else before) * channels
        total += pixels * 9 * (inner + outer)
    return total


def test_cost():
    """Published for 640x360 and 480x360 without padding: 141.85 and 106.4; LinkNet's paper has
    286.0 GFLOPs for the former, two per multiply-accumulate.

    This network pads to 384 rows, so it is counted by hand for those, and the hand for 360.
    """
    network = on_meta(classes=12)
    for width in (480, 640):
        assert count_macs(network, width, 384) == macs_by_hand(width, 384)
        assert count_macs(network, width, 360) == macs_by_hand(width, 384)
    assert macs_by_hand(640, 360) / 1e9 == pytest.approx(141.85, abs=0.005)
    assert macs_by_hand(480, 360) / 1e9 == pytest.approx(106.4, abs=0.05)
    # Biases, activations and pooling are the rest.
    assert 2 * macs_by_hand(640, 360) / 286.0e9 == pytest.approx(1, abs=0.01)


def test_decoder_mirrors_the_encoder():
    network = on_meta(classes=7)
    channels = [
        [(m.in_channels, m.out_channels) for m in stage if isinstance(m, nn.Conv2d)]
        for stage in network.decoders
    ]
    assert channels == [
        [(512, 512), (512, 512), (512, 512)],
        [(512, 512), (512, 512), (512, 256)],
        [(256, 256), (256, 256), (256, 128)],
        [(128, 128), (128, 64)],
        [(64, 64), (64, 7)],
    ]
    assert all(
        m.kernel_size == (3, 3) and m.padding == (1, 1) and m.bias is not None
        for m in network.modules()
        if isinstance(m, nn.Conv2d)
    )


def test_last_layer_is_a_bare_convolution():
    last = on_meta(classes=7).decoders[-1][-1]
    assert isinstance(last, nn.Conv2d)
    assert last.out_channels == 7


def test_forward_is_the_composition_with_pytorchs_pooling():
    """Each of the decoder's stages uses the positions of its own level."""
    torch.manual_seed(1)
    network = SegNet().eval()
    x = image = torch.randn(1, 3, 64, 32, generator=torch.Generator().manual_seed(2))
    with torch.inference_mode():
        stack = []
        for encoder in network.encoders:
            features = encoder(x)
            x, indices = functional.max_pool2d(features, 2, return_indices=True)
            stack.append((indices, features.shape[-2:]))
        for decoder in network.decoders:
            indices, size = stack.pop()
            x = decoder(functional.max_unpool2d(x, indices, 2, output_size=size))
        torch.testing.assert_close(network(image), x)


def test_dropout_is_in_the_three_deepest_stages_of_the_decoder():
    network = on_meta(dropout=0.5).train()
    order = []
    network.dropout.register_forward_hook(lambda _m, inputs, _out: order.append(inputs[0].shape))
    network(torch.empty(1, 3, 64, 64, device='meta'))
    assert order == [(1, 512, 4, 4), (1, 256, 8, 8), (1, 128, 16, 16)]
