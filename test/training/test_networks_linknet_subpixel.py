"""LinkNet with sub-pixel decoders: which channel becomes which pixel, sizes, and its cost."""

import torch
from torch import nn

from training.complexity import count_parameters
from training.networks.layers import LayerStyle
from training.networks.linknet import LinkNet
from training.networks.linknet_subpixel import LinkNetSubpixel, SubpixelDecoderBlock


def random_features(*shape):
    return torch.randn(shape, generator=torch.Generator().manual_seed(2))


def test_channels_become_pixels():
    """One channel in, spread by 1, 2, 3, 4: they become the 2x2 pixels of that place."""
    block = SubpixelDecoderBlock(1, 1, 2, LayerStyle('none', 'relu'), 0.0)
    for layer, weights in ((block.spread, [1.0, 2, 3, 4]), (block.merge, [1.0])):
        layer.weight.data = torch.tensor(weights).view(-1, 1, 1, 1)
        layer.bias.data.zero_()
    result = block(torch.tensor([[[[1.0, 10]]]]))
    assert result.tolist() == [[[[1, 2, 10, 20], [3, 4, 30, 40]]]]


def test_block_that_upsamples():
    torch.manual_seed(1)
    block = SubpixelDecoderBlock(16, 8, 2, LayerStyle('batch', 'relu'), 0.0)
    nn.init.uniform_(block.spread_norm.bias, -0.5, 0.5)
    nn.init.uniform_(block.merge_norm.bias, -0.5, 0.5)
    block.eval()
    x = random_features(1, 16, 3, 4)
    with torch.inference_mode():
        spread = block.spread_norm(block.spread(x)).relu()
        pixels = spread.view(1, 16, 2, 2, 3, 4).permute(0, 1, 4, 2, 5, 3).reshape(1, 16, 6, 8)
        torch.testing.assert_close(block(x), block.merge_norm(block.merge(pixels)).relu())


def test_decoder_1_keeps_the_size_up_to_its_border():
    """The block that this one mends loses two rows and columns at each border."""
    block = SubpixelDecoderBlock(4, 2, 1, LayerStyle('none', 'relu'), 0.0)
    for layer in (block.spread, block.merge):
        nn.init.ones_(layer.weight)
        nn.init.zeros_(layer.bias)
    x = torch.zeros(1, 4, 5, 6)
    x[0, :, 0, 0] = 1
    result = block(x)
    assert result.shape == (1, 2, 5, 6)
    # A one in the corner of four channels, summed over 3x3 twice; zeros come in at the border.
    expected = torch.zeros(5, 6)
    expected[:3, :3] = torch.tensor([[4, 4, 2], [4, 4, 2], [2, 2, 1]]) * 4
    torch.testing.assert_close(result[0, 1], expected)


def test_parameters():
    """The 12.78 million of linknet_model_sub.py, whose layers are as wide."""

    def block(m, middle, shuffled, n, k):
        return (k * k * m * middle + middle + 2 * middle) + (k * k * shuffled * n + n + 2 * n)

    linknet, network = LinkNet(), LinkNetSubpixel()
    decoders = [f'decoder{i}' for i in (1, 2, 3, 4)]
    rest = count_parameters(linknet)
    rest -= sum(count_parameters(getattr(linknet, name)) for name in decoders)
    expected = rest + block(64, 16, 16, 64, 3)
    expected += sum(block(m, 4 * m, m, m // 2, 1) for m in (128, 256, 512))
    assert count_parameters(network) == expected
    assert round(expected / 1e6, 2) == 12.78


def test_links_fit_without_stretching():
    torch.manual_seed(1)
    network = LinkNetSubpixel().eval()
    image = random_features(1, 3, 64, 96)
    with torch.inference_mode():
        stem = network.stem(image)
        e1 = network.encoder1(stem)
        e2 = network.encoder2(e1)
        e3 = network.encoder3(e2)
        x = network.decoder4(network.encoder4(e3)) + e3
        x = network.decoder2(network.decoder3(x) + e2) + e1
        expected = network.head(network.decoder1(x) + stem)
        torch.testing.assert_close(network(image), expected)


def test_norms_see_a_batch_once():
    """Running a decoder again for another size would count, and weigh, every batch twice."""
    network = LinkNetSubpixel()
    network(random_features(2, 3, 33, 47))
    counts = {
        int(m.num_batches_tracked) for m in network.modules() if isinstance(m, nn.BatchNorm2d)
    }
    assert counts == {1}
