"""Networks of PyTorch become model files: the same labels, and their own weights."""

import json
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from torch import nn

from linknet_ros.errors import ModelError
from linknet_ros.importing.interface import PRESETS
from linknet_ros.inference.model_file import load_model
from linknet_ros.inference.segmenter import Segmenter
from training.import_torch import load_weights, main, open_folder

MODULE = """
import torch
from torch import nn

class Net(nn.Module):
    def __init__(self, classes=3, answer='tensor', only=None):
        super().__init__()
        self.first = nn.Conv2d(3, 8, 3, padding=1)
        self.last = nn.Conv2d(8, classes, 3, stride=4, padding=1)
        self.answer, self.only = answer, only

    def forward(self, image):
        if self.only and tuple(image.shape[2:]) != tuple(self.only):
            raise ValueError(f'made for {self.only}')
        scores = self.last(torch.relu(self.first(image)))
        if self.answer == 'main second':
            return [scores[:, :1], scores, {'loss': 0}]
        return {'tensor': scores, 'dict': {'aux': -scores, 'out': scores}}[self.answer]

def broken():
    return 1 / 0

def number():
    return 3

class Pooled(Net):
    def forward(self, image):
        pooled = nn.functional.adaptive_avg_pool2d(image, 8)
        return super().forward(image + nn.functional.interpolate(pooled, image.shape[2:]))

def large(height, width):
    return Net(only=(height, width))
"""


@pytest.fixture
def run(tmp_path, monkeypatch, capfd):
    """`run(*arguments) -> lines printed`, in a folder with mynet.py, Net's weights and classes."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / 'mynet.py').write_text(MODULE)
    monkeypatch.delitem(sys.modules, 'mynet', raising=False)
    monkeypatch.syspath_prepend(str(tmp_path))
    import mynet

    torch.manual_seed(0)
    torch.save(mynet.Net().state_dict(), 'net.pt')
    for count in (3, 4):
        rows = [f'{i},c{i},{i},0,0,{"yes" if i == 0 else "no"}' for i in range(count)]
        text = '\n'.join(['id,name,red,green,blue,drivable', *rows])
        (tmp_path / f'{count}.csv').write_text(text)

    def call(*arguments):
        main([*arguments, '--out', 'out.onnx'])
        return capfd.readouterr().out.splitlines()

    call.net = mynet.Net
    return call


def frame_of(width, height):
    rng = np.random.default_rng(5)
    small = rng.integers(0, 256, (height // 16, width // 16, 3), np.uint8)
    return cv2.resize(small, (width, height), interpolation=cv2.INTER_CUBIC)


def labels_of(network, frame, normalization):
    """Labels of PyTorch and NumPy alone."""
    image = frame[:, :, ::-1] / 255
    image = (image - np.array(normalization.mean)) / np.array(normalization.std)
    batch = torch.from_numpy(image.transpose(2, 0, 1)[None].astype(np.float32))
    with torch.inference_mode():
        result = network(batch)
    scores = (
        result if isinstance(result, torch.Tensor) else result.get('out', result.get('logits'))
    )
    scores = nn.functional.interpolate(scores, frame.shape[:2], mode='bilinear')
    return scores[0].argmax(0).numpy()


def undecided(network):
    """Move the last bias so that random weights name several classes; returns the network."""
    network.eval()
    image = torch.from_numpy(frame_of(96, 64).transpose(2, 0, 1)[None] / 255 - 0.5).float()
    with torch.inference_mode():
        result = network(image)
        scores = result if isinstance(result, torch.Tensor) else next(iter(result.values()))
        last = [m for m in network.modules() if isinstance(m, nn.Conv2d)][-1]
        last.bias -= scores.mean((0, 2, 3))
    return network


def agreement(path, network, size=(96, 64), normalization=PRESETS['imagenet']):
    """Share of pixels with PyTorch's label, of a frame that has several."""
    frame = frame_of(*size)
    segmenter = Segmenter(load_model(path), backend='onnxruntime', network_size=size)
    labels = segmenter.segment(frame).labels
    segmenter.close()
    assert len(np.unique(labels)) > 1
    return (labels == labels_of(network, frame, normalization)).mean()


WITH = ('--preset', 'imagenet', '--classes', '3.csv', '--size', '96x64')


def test_function_of_ones_own(run):
    lines = run('mynet:Net', '--weights', 'net.pt', *WITH)
    assert any('onnxruntime fp32: 100.00%' in line for line in lines)
    model = load_model('out.onnx')
    assert (model.architecture, model.fixed_size, model.default_size) == ('Net', None, (96, 64))
    assert model.classes.drivable_names == ('c0',)
    network = run.net()
    load_weights(network, Path('net.pt'))
    assert agreement('out.onnx', network) > 0.999
    assert agreement('out.onnx', run.net()) < 0.9  # other weights


@pytest.mark.parametrize(
    'values', [['answer=dict'], ['answer="main second"', '--output', 'output1']]
)
def test_what_networks_return(run, values):
    run('mynet:Net', *values[:1], '--weights', 'net.pt', *values[1:], *WITH)
    network = run.net()
    load_weights(network, Path('net.pt'))
    assert agreement('out.onnx', network) > 0.999


def test_one_size_only(run):
    lines = run('mynet:large', 'height=64', 'width=96', '--weights', 'net.pt', *WITH)
    assert lines[0] == 'no free size (made for (64, 96)); made for 96x64 only'
    assert load_model('out.onnx').fixed_size == (96, 64)


def test_what_the_exporter_cannot_do(run, capfd):
    """It knows adaptive pooling only where the sizes are fixed and divide."""
    lines = run('mynet:Pooled', '--weights', 'net.pt', *WITH)
    assert lines[0].startswith('no free size (Unsupported: ONNX export of operator adaptive_avg')
    assert lines[0].endswith('input size not accessible); made for 96x64 only')
    assert load_model('out.onnx').fixed_size == (96, 64)
    with pytest.raises(
        SystemExit, match=r'not factor of input size\); give a --size that it take'
    ):
        run('mynet:Pooled', '--weights', 'net.pt', *WITH[:4], '--size', '100x60')
    assert 'graph' not in capfd.readouterr().out


@pytest.mark.parametrize(
    ('wrap', 'name'),
    [
        (lambda state: {'state_dict': state, 'epoch': 3}, 'a.pt'),
        (lambda state: {f'module.{key}': value for key, value in state.items()}, 'a.pt'),
        (lambda state: {'model': {f'model.{k}': v for k, v in state.items()}}, 'a.ckpt'),
        (lambda state: state, 'a.safetensors'),
    ],
)
def test_weights_in_whatever_a_trainer_puts_around(run, wrap, name):
    state = wrap(run.net().state_dict())
    if name.endswith('safetensors'):
        from safetensors.torch import save_file

        save_file(state, name)
    else:
        torch.save(state, name)
    network, saved = run.net(), {k: v for k, v in _flat(state).items()}
    load_weights(network, Path(name))
    for key, value in network.state_dict().items():
        assert any(torch.equal(value, v) for k, v in saved.items() if k.endswith(key))


def _flat(state):
    for inside in ('state_dict', 'model'):
        state = state.get(inside, state)
    return state


class Evil:
    def __reduce__(self):
        return (open, ('evil', 'w'))


@pytest.mark.parametrize(
    ('content', 'message'),
    [
        ({'first.weight': torch.zeros(1)}, 'is not of this network'),
        (
            {'other.weight': torch.zeros(1)},
            r'4 weights missing \(first\.weight \.\.\.\), 1 weights',
        ),
        ([1, 2], 'holds list, not a state dict'),
        (Evil(), 'is not a file of weights'),
        (None, 'cannot read bad.pt'),
    ],
)
def test_weights_that_are_not_of_the_network(run, tmp_path, content, message):
    if content is not None:
        torch.save(content, 'bad.pt')
    with pytest.raises(ModelError, match=message):
        load_weights(run.net(), Path('bad.pt'))
    assert not (tmp_path / 'evil').exists()


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        (
            ['mynet:Net', *WITH],
            'mynet:Net has random weights; give --weights FILE, or --weights ow',
        ),
        (
            ['mynet:Net', 'classes=4', '--weights', 'net.pt', *WITH],
            'net.pt is not of this network',
        ),
        (['mynet:none', *WITH], 'mynet:none cannot be made (module'),
        (['mynet:broken', *WITH], 'mynet:broken cannot be made (division by zero)'),
        (['mynet:number', *WITH], 'mynet:number gives int, not a torch.nn.Module'),
        (['nothing', *WITH], "error: 'nothing' is not a folder with a config.json"),
        (['mynet:Net', 'classes', *WITH], "invalid argument 'classes' (expected name=value)"),
        (
            ['mynet:Net', '--weights', 'net.pt', *WITH[:3], '4.csv'],
            'has 3 classes, the class table has 4',
        ),
        (['mynet:Net', '--weights', 'net.pt', *WITH[2:]], '--preset'),
    ],
)
def test_mistakes(run, capfd, arguments, message):
    with pytest.raises(SystemExit) as stop:
        run(*arguments)
    assert message in f'{stop.value.code}{capfd.readouterr().err}'


# Networks of the libraries, with random weights.


# The library's other networks: test_architectures.py.
@pytest.mark.parametrize(
    ('name', 'encoder'), [('Linknet', 'tu-mobilenetv3_small_050'), ('FPN', 'mobilenet_v2')]
)
def test_segmentation_models_pytorch(run, name, encoder):
    smp = pytest.importorskip('segmentation_models_pytorch', reason='needs pip install .[test]')
    torch.manual_seed(0)
    network = undecided(getattr(smp, name)(encoder, encoder_weights=None, classes=3))
    network.save_pretrained('saved')
    # Of timm's encoders smp knows the colours, of its own only the hub.
    known = encoder.startswith('tu-')
    lines = run('saved', *(WITH[2:] if known else WITH))
    assert ('colours: mean 0.485,0.456,0.406' in '\n'.join(lines)) == known
    assert load_model('out.onnx').fixed_size is None
    assert agreement('out.onnx', network) > 0.99


def test_torchvision(run):
    torch.manual_seed(0)
    name = 'torchvision.models.segmentation:lraspp_mobilenet_v3_large'
    from torchvision.models.segmentation import lraspp_mobilenet_v3_large

    network = undecided(lraspp_mobilenet_v3_large(weights_backbone=None, num_classes=3))
    torch.save(network.state_dict(), 'lraspp.pt')
    lines = run(name, 'num_classes=3', '--weights', 'lraspp.pt', *WITH[2:])
    assert lines[0].startswith('colours: mean 0.485,0.456,0.406, std 0.229,0.224,0.225, rgb;')
    assert agreement('out.onnx', network) > 0.99


def test_transformers(run, tmp_path):
    transformers = pytest.importorskip('transformers', reason='needs pip install .[test]')
    torch.manual_seed(0)
    names = {0: 'road', 1: 'wall', 2: 'person'}
    # SegFormer-B0 in a small width, with one block where it has two.
    config = transformers.SegformerConfig(
        depths=[1] * 4,
        hidden_sizes=[8, 16, 24, 32],
        num_attention_heads=[1, 2, 3, 4],
        decoder_hidden_size=16,
        id2label=names,
        label2id={name: i for i, name in names.items()},
    )
    network = undecided(transformers.SegformerForSemanticSegmentation(config))
    network.save_pretrained('saved')
    about = {'image_mean': [0.5] * 3, 'image_std': [0.25] * 3, 'rescale_factor': 1 / 255}
    (tmp_path / 'saved' / 'preprocessor_config.json').write_text(json.dumps(about))
    lines = run('saved', '--size', '96x64')
    assert lines[0].startswith('colours: mean 0.5,0.5,0.5, std 0.25,0.25,0.25, rgb;')
    model = load_model('out.onnx')
    assert model.classes.names == ('road', 'wall', 'person')
    assert model.classes.drivable_names == ('road',)
    _, colors = open_folder(tmp_path / 'saved')
    assert agreement('out.onnx', network, normalization=colors) > 0.99


@pytest.mark.parametrize(
    ('about', 'mean', 'std'),
    [
        (
            {'do_rescale': False, 'image_mean': [127] * 3, 'image_std': [64] * 3},
            127 / 255,
            64 / 255,
        ),
        ({'do_normalize': False}, 0, 1),
        ({'do_normalize': False, 'do_rescale': False}, 0, 1 / 255),
        ({'rescale_factor': 1 / 127.5, 'image_mean': [1] * 3, 'image_std': [1] * 3}, 0.5, 0.5),
    ],
)
def test_colours_of_an_image_processor(tmp_path, about, mean, std):
    from training.import_torch import _colors_of_processor

    path = tmp_path / 'preprocessor_config.json'
    path.write_text(json.dumps(about))
    found = _colors_of_processor(path)
    np.testing.assert_allclose(found.mean, [mean] * 3, rtol=1e-6)
    np.testing.assert_allclose(found.std, [std] * 3, rtol=1e-6)
