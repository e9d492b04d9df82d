"""Networks that robot builders pick, with random weights: all that runs a model file runs them."""

import threading
import warnings

import architectures
import cv2
import numpy as np
import onnxruntime
import pytest
import torch
from foreign_networks import normalized, resized, segmented_bag
from tiny_models import THREE_CLASSES

from linknet_ros.benchmark.cell import measure
from linknet_ros.importing.class_tables import DRIVABLE
from linknet_ros.importing.import_network import About, import_network
from linknet_ros.importing.interface import PRESETS, ImportOptions
from linknet_ros.inference.tensorrt.build import BuildRequest, build_plan
from linknet_ros.inference.tensorrt.library import open_library

SIZE = (96, 64)
CLASSES = len(THREE_CLASSES)


class Part(torch.nn.Module):
    """One entry of what a network of a library gives."""

    def __init__(self, network, entry):
        super().__init__()
        self.network, self.entry = network, entry

    def forward(self, image):
        return self.network(image)[self.entry]


def lraspp():
    segmentation = pytest.importorskip('torchvision').models.segmentation
    network = segmentation.lraspp_mobilenet_v3_large(
        weights=None, weights_backbone=None, num_classes=CLASSES
    )
    return Part(network, 'out')


def segformer():
    transformers = pytest.importorskip('transformers', reason='pip install .[test]')
    config = transformers.SegformerConfig(
        num_labels=CLASSES,
        hidden_sizes=[8, 16, 24, 32],
        num_attention_heads=[1, 2, 3, 4],
        depths=[1, 1, 1, 1],
        decoder_hidden_size=16,
    )
    return Part(transformers.SegformerForSemanticSegmentation(config), 'logits')


def of_smp(name, classes=CLASSES, encoder='resnet18', **options):
    smp = pytest.importorskip('segmentation_models_pytorch', reason='pip install .[test]')
    return getattr(smp, name)(encoder, encoder_weights=None, classes=classes, **options)


#: How each is made, and the names of its outputs, the one that is meant first.
NETWORKS = {
    'PIDNet-S': (lambda: architectures.PidNet(CLASSES), ['scores']),
    'PIDNet-S as it is trained': (
        lambda: architectures.PidNet(CLASSES, training=True),
        ['aux', 'scores', 'boundary'],
    ),
    'DDRNet-23-slim': (lambda: architectures.DdrNet(CLASSES), ['scores']),
    'BiSeNetV2': (lambda: architectures.BiSeNetV2(CLASSES), ['out', 'aux']),
    'Fast-SCNN': (lambda: architectures.FastScnn(CLASSES), ['scores']),
    'TwinLiteNet': (architectures.TwinLiteNet, ['da', 'll']),
    'LR-ASPP': (lraspp, ['out']),
    'SegFormer-B0': (segformer, ['logits']),
    'smp Linknet': (lambda: of_smp('Linknet', encoder='mobilenet_v2', encoder_depth=4), ['masks']),
    'smp FPN': (lambda: of_smp('FPN', encoder_depth=4, decoder_pyramid_channels=16), ['masks']),
    'smp DeepLabV3+': (
        lambda: of_smp('DeepLabV3Plus', encoder_depth=4, decoder_channels=16),
        ['masks'],
    ),
    'smp U-Net, one class': (
        lambda: of_smp('Unet', 1, encoder_depth=3, decoder_channels=[32, 16, 8]),
        ['masks'],
    ),
}

#: Whose pyramid pools by numbers that depend on the size.
FIXED = {'Fast-SCNN': (192, 192)}


def randomized(network, width, height):
    """Statistics as of a trained network, and scores that no class always wins."""
    network.train()
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.momentum = None
    image = torch.from_numpy(normalized(frame_of(width, height)).astype(np.float32))
    heads = [
        module
        for module in network.modules()
        if isinstance(module, (torch.nn.Conv2d, torch.nn.ConvTranspose2d))
        and module.out_channels in (1, 2, CLASSES)
        and module.bias is not None
    ]
    with torch.no_grad():
        network(torch.cat([image, image.flip(3)]))
        network.eval()
        means = {}
        for head in heads:
            head.register_forward_hook(lambda m, _, y: means.update({m: y.mean((0, 2, 3))}))
        network(image)
        for head, mean in means.items():
            head.bias -= mean
    for head in heads:
        head._forward_hooks.clear()
    return network


def exported(name, path, fixed):
    """Export as people do; returns the image size."""
    make, outputs = NETWORKS[name]
    torch.manual_seed(0)
    width, height = FIXED.get(name, SIZE)
    network = randomized(make(), width, height)
    axes = {} if fixed else {n: {2: 'height', 3: 'width'} for n in ('input', *outputs)}
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')
        torch.onnx.export(
            network,
            (torch.rand(1, 3, height, width),),
            path,
            input_names=['input'],
            output_names=outputs,
            dynamic_axes=axes,
            opset_version=17,
            dynamo=False,
        )
    return width, height


def original_scores(path, output, frame):
    """Scores of the file as it came, of the frame's size, by NumPy and OpenCV."""
    session = onnxruntime.InferenceSession(path)
    scores = session.run([output], {'input': normalized(frame).astype(np.float32)})[0][0]
    return resized(scores, *frame.shape[1::-1])


def frame_of(width, height):
    rng = np.random.default_rng(5)
    return cv2.resize(rng.integers(0, 256, (8, 12, 3), np.uint8), (width, height))


@pytest.mark.parametrize(
    ('name', 'fixed'),
    [(n, f) for n in NETWORKS for f in (n in FIXED,)] + [('DDRNet-23-slim', True)],
)
def test_labels_are_those_of_the_original(name, fixed, tmp_path, bags):
    path = tmp_path / 'net.onnx'
    size = exported(name, path, fixed)
    scores_name = NETWORKS[name][1]
    scores_name = 'scores' if 'scores' in scores_name else scores_name[0]
    two = name in ('TwinLiteNet', 'smp U-Net, one class')
    model = import_network(
        path,
        tmp_path / 'out.onnx',
        ImportOptions(PRESETS['imagenet'], size=size),
        DRIVABLE if two else THREE_CLASSES,
        About(name),
        report=lambda line: None,
    )
    assert model.fixed_size == (size if fixed else None)
    frame = frame_of(*size)
    scores = original_scores(str(path), scores_name, frame)
    expected = scores.argmax(0) if len(scores) > 1 else scores[0] >= 0
    assert np.bincount(expected.ravel().astype(int)).max() < 0.95 * expected.size
    of_openvino = benchmarked(model, frame, tmp_path)
    of_onnxruntime, grid = segmented_bag(model, frame, tmp_path, bags)
    for labels in (of_openvino, of_onnxruntime):
        assert (labels == expected).mean() > 0.998
    assert (grid != -1).any()
    build(model, size, tmp_path)


def benchmarked(model, frame, folder):
    """Labels of OpenVINO, as the benchmark keeps them."""
    np.save(folder / 'frames.npy', frame[None])
    arguments = (str(folder / 'frames.npy'), 1, str(folder / 'labels.npy'))
    measure(str(model.path), 'openvino', 'fp32', 1, *arguments)
    return np.load(folder / 'labels.npy')[0]


def build(model, size, folder):
    """NVIDIA's parser and builder take it in fp16; nothing runs the engine."""
    pytest.importorskip('tensorrt_rtx_bindings', reason='needs TensorRT-RTX (pip install .[test])')
    (folder / 'model').write_bytes(model.data)
    request = BuildRequest(
        str(model.path), 'rtx', size[1], size[0], 'fp16', target='SM86', optimization_level=0
    )
    plan, layers = build_plan(
        open_library('rtx'), request, folder, threading.Event(), lambda line: None
    )
    assert len(plan) > 10_000
    computed = {layer.precision for layer in layers if layer.convolves}
    assert 'fp16' in computed
    assert 'fp32' not in computed
