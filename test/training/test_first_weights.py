"""First weights: a model file's network computes the same again, and others are refused."""

import numpy as np
import onnx
import pytest
import torch
from checkout import MODEL
from onnx import numpy_helper

from linknet_ros.classes import CAMVID
from linknet_ros.errors import ParameterError, SourceError
from linknet_ros.inference.model_file import load_model, metadata_of
from linknet_ros.inference.segmenter import Segmenter
from linknet_ros.simulation.street import StreetDrive
from training.batch_norm import convolution_norm_pairs
from training.checkpoint import save_checkpoint
from training.export import to_onnx
from training.first_weights import config_of, load_first_weights, network_in
from training.networks import NetworkConfig, build_network, normalize
from training.run import Run
from training.train import main

#: Of the checkpoints that are written here.
NARROW = {'classes': 3, 'width': 0.25}
HALF = {'classes': 11, 'width': 0.5}
LAST_LAYER = ['head.6.bias', 'head.6.weight']


@pytest.fixture(scope='module')
def frames():
    return [StreetDrive(0, width=224, height=136).frame(time).bgr for time in (0.0, 7.0)]


@pytest.fixture(scope='module')
def model_file(tmp_path_factory, frames):
    """The paper's LinkNet, half as wide, whose random weights see something in the frames."""
    network = build(seed=3, **HALF)
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.momentum = None  # the mean of all that it has seen
            torch.nn.init.uniform_(module.weight, 0.5, 1.5)
            torch.nn.init.uniform_(module.bias, -0.5, 0.5)
    images = normalize(torch.from_numpy(np.stack(frames)), network.statistics)
    with torch.no_grad():
        network.train()(images)
        network.head[6].bias -= network.eval()(images).mean((0, 2, 3))
    about = {'dataset': 'none', 'label_set': 'eleven', 'default_size': (224, 136)}
    metadata = metadata_of(CAMVID, architecture=network.title, accuracy={}, **about)
    path = tmp_path_factory.mktemp('model') / 'half.onnx'
    path.write_bytes(to_onnx(network, metadata).SerializeToString())
    return path


@pytest.fixture(scope='module')
def model_labels(model_file, frames):
    return file_labels(model_file, frames)


def file_labels(path, frames):
    """Labels that a model file gives to the first frame, by ONNX Runtime."""
    segmenter = Segmenter(
        load_model(path),
        backend='onnxruntime',
        precision='fp32',
        network_size=(frames[0].shape[1], frames[0].shape[0]),
    )
    labels = segmenter.segment(frames[0]).labels
    segmenter.close()
    return labels


@pytest.fixture(scope='module')
def filled(model_file, frames):
    """LinkNet from the model file, and the names that were not filled."""
    network = build(**HALF)
    return network, load_first_weights(network, model_file, frames)


def build(name='linknet', seed=1, **options):
    torch.manual_seed(seed)
    return build_network(NetworkConfig(name, **options))


def copy_of(state):
    return {name: value.clone() for name, value in state.items()}


@torch.inference_mode()
def labels_of(network, frame):
    image = normalize(torch.from_numpy(frame).unsqueeze(0), network.statistics)
    return network(image).argmax(1)[0].numpy()


def write_checkpoint(path, trained, **config):
    state = {'config': config, 'data': {}, 'averaged': trained.state_dict()}
    save_checkpoint(path, state)
    return path


def test_names_the_same_labels(filled, frames, model_labels):
    network, unfit = filled
    assert unfit == []
    labels = labels_of(network.eval(), frames[0])
    assert len(np.unique(model_labels)) > 4
    assert (labels == model_labels).mean() > 0.99
    # Red and blue the wrong way round would still name many of them.
    swapped = labels_of(network, np.ascontiguousarray(frames[0][..., ::-1]))
    assert (swapped == model_labels).mean() < 0.97


def test_fills_a_network_without_norms(model_file, frames, model_labels):
    """Its folded convolutions are all there is of such a network."""
    network = build(normalization='none', **HALF)
    assert load_first_weights(network, model_file, frames[:1]) == []
    assert (labels_of(network.eval(), frames[0]) == model_labels).mean() > 0.99


def test_other_classes(model_file, frames):
    network = build(classes=5, width=0.5)
    before = copy_of(network.state_dict())
    unfit = load_first_weights(network, model_file, frames[:1])
    assert sorted(unfit) == LAST_LAYER
    after = network.state_dict()
    for name in LAST_LAYER:
        assert torch.equal(after[name], before[name])
    for _, _, layer, _, norm in convolution_norm_pairs(network):
        name = next(n for n, module in network.named_modules() if module is layer)
        assert not torch.equal(layer.weight, before[f'{name}.weight'])
        assert (norm.running_mean != 0).any()


def test_checkpoint_is_taken_as_it_is(tmp_path):
    trained = build(seed=2, **NARROW)
    for value in trained.state_dict().values():
        value.add_(1)
    path = write_checkpoint(tmp_path / 'best.pt', trained, network='linknet', **NARROW)
    assert config_of(path) == NetworkConfig('linknet', **NARROW)
    network = build(**NARROW)
    assert load_first_weights(network, path, []) == []
    for name, value in network.state_dict().items():
        assert torch.equal(value, trained.state_dict()[name])


def test_checkpoint_for_other_classes_keeps_the_last_layer(tmp_path):
    trained = build(seed=2, **NARROW)
    path = write_checkpoint(tmp_path / 'best.pt', trained, network='linknet', **NARROW)
    network = build(classes=4, width=0.25)
    before = copy_of(network.state_dict())
    assert sorted(load_first_weights(network, path, [])) == LAST_LAYER
    for name, value in network.state_dict().items():
        source = before if name in LAST_LAYER else trained.state_dict()
        assert torch.equal(value, source[name])


def test_checkpoint_of_another_network(tmp_path):
    """LinkNet without its links has the same weights by name and shape, and yet is another."""
    path = write_checkpoint(
        tmp_path / 'best.pt', build('linknet-nobypass', **NARROW), network='linknet-nobypass'
    )
    network = build(**NARROW)
    before = copy_of(network.state_dict())
    with pytest.raises(
        SourceError, match=r'best\.pt is of LinkNet without links .*, not of LinkNet \(ResNet-18\)'
    ):
        load_first_weights(network, path, [])
    assert all(torch.equal(value, before[n]) for n, value in network.state_dict().items())


def test_checkpoint_of_another_version(tmp_path):
    path = write_checkpoint(tmp_path / 'best.pt', build(**NARROW), network='linknet', depth=18)
    with pytest.raises(SourceError, match=r'best\.pt is of another network'):
        config_of(path)


def test_model_file_of_another_network(model_file, frames):
    with pytest.raises(SourceError, match=r'is of LinkNet \(ResNet-18\), not of ENet'):
        load_first_weights(build('enet'), model_file, frames)


@pytest.mark.parametrize(
    ('options', 'missing'),
    [
        ({'normalization': 'group'}, r'decoder1\.expand_norm\.bias'),
        ({'activation': 'prelu'}, r'decoder1\.expand_act\.weight'),
    ],
)
def test_model_file_without_weights_of_the_network(model_file, frames, options, missing):
    """What has no value in the file must not silently keep its first one."""
    network = build(**HALF, **options)
    before = copy_of(network.state_dict())
    with pytest.raises(SourceError, match=f'has no weight {missing}.*use the checkpoint'):
        load_first_weights(network, model_file, frames)
    assert all(torch.equal(value, before[n]) for n, value in network.state_dict().items())


def test_model_file_with_further_weights(model_file, tmp_path, frames):
    model = onnx.load(model_file)
    for name in ('network.extra.weight', 'network.extra.bias'):
        model.graph.initializer.append(numpy_helper.from_array(np.ones(3, np.float32), name))
    path = tmp_path / 'more.onnx'
    path.write_bytes(model.SerializeToString())
    with pytest.raises(SourceError, match=r'more\.onnx has a weight extra\.bias too many'):
        load_first_weights(build(**HALF), path, frames)


def test_network_of_a_model_file_computes_as_the_file(model_file, frames, model_labels):
    network = network_in(model_file)
    assert not network.training
    assert not [m for m in network.modules() if isinstance(m, torch.nn.BatchNorm2d)]
    assert network.title == load_model(model_file).architecture
    labels = labels_of(network, frames[0])
    # The file pads 136 rows to 160 on the robot, the network to 144 by itself.
    assert (labels == model_labels).mean() > 0.99
    # To the bit, but for the order of the colours.
    weights = {t.name: numpy_helper.to_array(t) for t in onnx.load(model_file).graph.initializer}
    stem = weights['network.stem.0.weight.float16'].astype(np.float32)
    np.testing.assert_array_equal(network.first_convolution.weight.detach().numpy()[:, ::-1], stem)


def test_network_of_the_model_that_ships(frames):
    network = network_in(MODEL)
    assert network.title == load_model(MODEL).architecture
    assert config_of(MODEL) == NetworkConfig('linknet-lite0', 11)
    expected = file_labels(MODEL, frames)
    assert len(np.unique(expected)) > 4
    assert (labels_of(network, frames[0]) == expected).mean() > 0.99


def test_weights_without_a_value_are_the_same_whether_the_network_is_named(
    model_file, camvid_folder, tmp_path, monkeypatch
):
    """Those of the losses at the decoders: drawn by the seed, whatever was built before."""
    begun = []
    monkeypatch.setattr(Run, 'finish', lambda run: begun.append(run))
    command = ['--data', str(camvid_folder), '--init', str(model_file), '--workers', '0']
    command += ['--crop-width', '64', '--crop-height', '32', '--supervision', '0.2']
    main([*command, '--out', str(tmp_path / 'read')])
    main([*command, '--out', str(tmp_path / 'named'), '--network', 'linknet', '--width', '0.5'])
    read, named = (run.trainer.model.state_dict() for run in begun)
    assert len(read) > len(build(**HALF).state_dict())
    assert all(torch.equal(value, named[name]) for name, value in read.items())


def test_int8_file_is_no_source_of_weights(tmp_path, int8_proto, with_metadata):
    path = tmp_path / 'int8.onnx'
    with_metadata(int8_proto, architecture='LinkNet (ResNet-18)')
    path.write_bytes(int8_proto.SerializeToString())
    with pytest.raises(SourceError, match='has weights rounded to int8; use its fp32 file or ch'):
        network_in(path)


def test_width_of_a_model_file_is_read_off_its_weights(tmp_path):
    torch.manual_seed(0)
    network = build_network(NetworkConfig('linknet', width=0.5)).eval()
    for parameter in network.parameters():
        if parameter.dim() == 1:  # the exporter would keep equal ones once
            torch.nn.init.uniform_(parameter, 0.5, 1.0)
    assert network.stem[0].out_channels == 32
    assert sum(p.numel() for p in network.parameters()) < 3.2e6
    metadata = metadata_of(
        CAMVID,
        architecture=network.title,
        dataset='none',
        label_set='eleven',
        default_size=(64, 64),
        accuracy={},
    )
    path = tmp_path / 'narrow.onnx'
    path.write_bytes(to_onnx(network, metadata).SerializeToString())
    image = torch.randn(1, 3, 64, 64)
    with torch.inference_mode():
        expected = network(image)
        result = network_in(path)(image)
    assert expected.shape == (1, 11, 64, 64)
    torch.testing.assert_close(result, expected, rtol=0.01, atol=0.01)
    with pytest.raises(ParameterError, match=r'width 0\.5 is for a LinkNet with a ResNet-18'):
        build_network(NetworkConfig('unet', width=0.5))
    for options, error in (
        ({'width': 0.0}, 'not above 0'),
        ({'width': 0.5, 'pretrained': True}, 'width 1'),
    ):
        with pytest.raises(ParameterError, match=error):
            build_network(NetworkConfig('linknet', **options))
