"""U-Net: its published figures, and its skips."""

import pytest
import torch
from torch import nn
from torch.nn import functional

from training.complexity import count_macs, count_parameters
from training.networks.unet import UNet


def on_meta(**options):
    with torch.device('meta'):
        return UNet(**options)


def test_parameters_are_the_published_ones():
    """Open Model Zoo's unet-camvid-onnx-0001 has 31.03 million, with its norms folded."""
    network = on_meta(classes=12)
    norms = sum(m.num_features for m in network.modules() if isinstance(m, nn.BatchNorm2d))
    # Folding leaves a bias of two numbers per channel.
    folded = count_parameters(network) - norms
    assert folded == count_parameters(on_meta(classes=12, normalization='none'))
    assert round(folded / 1e6, 2) == 31.03


def test_cost_is_the_published_one():
    """260.1 GFLOPs at 480x368, two per multiply-accumulate, and biases and activations beside."""
    gflops = 2 * count_macs(on_meta(classes=12), 480, 368) / 1e9
    assert gflops == pytest.approx(260.1, rel=0.002)
    assert gflops < 260.1


def test_widths_of_the_paper():
    network = on_meta(classes=2)
    channels = [
        [(m.in_channels, m.out_channels) for m in stage if isinstance(m, nn.Conv2d)]
        for stage in (*network.encoders, *network.decoders)
    ]
    assert channels == [
        [(3, 64), (64, 64)],
        [(64, 128), (128, 128)],
        [(128, 256), (256, 256)],
        [(256, 512), (512, 512)],
        [(512, 1024), (1024, 1024)],
        [(1024, 512), (512, 512)],
        [(512, 256), (256, 256)],
        [(256, 128), (128, 128)],
        [(128, 64), (64, 64)],
    ]
    assert [(m.in_channels, m.out_channels, m.kernel_size) for m in network.ups] == [
        (1024, 512, (2, 2)),
        (512, 256, (2, 2)),
        (256, 128, (2, 2)),
        (128, 64, (2, 2)),
    ]


def test_forward_is_the_composition_of_the_paper():
    torch.manual_seed(1)
    network = UNet().eval()
    image = torch.randn(1, 3, 48, 32, generator=torch.Generator().manual_seed(2))
    with torch.inference_mode():
        x, skips = image, []
        for level, encoder in enumerate(network.encoders):
            x = encoder(functional.max_pool2d(x, 2) if level else x)
            skips.append(x)
        for level in (3, 2, 1, 0):
            up = network.ups[3 - level](x)
            x = network.decoders[3 - level](torch.cat((skips[level], up), 1))
        torch.testing.assert_close(network(image), network.head(x))


def test_dropout_is_at_the_end_of_the_contracting_path():
    network = on_meta(dropout=0.5).train()
    shapes = []
    network.dropout.register_forward_hook(lambda _m, inputs, _out: shapes.append(inputs[0].shape))
    network(torch.empty(1, 3, 64, 64, device='meta'))
    assert shapes == [(1, 1024, 4, 4)]
