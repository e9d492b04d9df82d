"""NVIDIA's own ONNX parser and builder, of TensorRT-RTX: they build engines without a GPU.

What these tests show holds for TensorRT-RTX 1.7; the API is that of TensorRT 10.3 and later as
far as the stand-ins of the other tests know. Nothing here loads or runs an engine.
"""

import threading
from collections import Counter

import numpy as np
import onnx
import pytest
from children import children_that_build
from onnx import TensorProto, helper

from linknet_ros.errors import BackendError, BuildCancelledError
from linknet_ros.inference.model_file import load_model
from linknet_ros.inference.onnx_graph import plain_transposed_convolutions, set_metadata
from linknet_ros.inference.quantization import quantize
from linknet_ros.inference.tensorrt import build_engine
from linknet_ros.inference.tensorrt.build import BuildRequest, build_in_child, build_plan
from linknet_ros.inference.tensorrt.library import open_library
from linknet_ros.system.package_files import (
    SHIPPED_INT8_MODEL,
    SHIPPED_MODEL,
    package_file,
)

pytest.importorskip('tensorrt_rtx_bindings', reason='needs TensorRT-RTX (pip install .[test])')

SHIPPED = {'fp32': SHIPPED_MODEL, 'fp16': SHIPPED_MODEL, 'int8': SHIPPED_INT8_MODEL}


@pytest.fixture(scope='module')
def rtx():
    return open_library('rtx')


def request_for(model, precision, width, height, **changes):
    """For a GPU that does not have to be there."""
    return BuildRequest(
        model=str(model.path),
        library='rtx',
        height=height,
        width=width,
        precision=precision,
        **{'target': 'SM86'} | changes,
    )


@pytest.fixture
def layers_of(rtx, tmp_path):
    """Build in this process: `layers_of(model, precision, width, height) -> layers`."""

    def build(model, precision, width, height, **changes):
        (tmp_path / 'model').write_bytes(model.data)
        request = request_for(model, precision, width, height, **changes)
        plan, layers = build_plan(rtx, request, tmp_path, threading.Event(), lambda line: None)
        assert len(plan) > 10_000
        return layers

    return build


def count_of(model, *operators):
    graph = onnx.load_model_from_string(model.data).graph
    return sum(node.op_type in operators for node in graph.node)


@pytest.mark.parametrize(
    ('precision', 'size'), [('fp32', (480, 384)), ('fp16', (1280, 736)), ('fp16', (640, 384))]
)
def test_shipped_network_is_fused(layers_of, precision, size):
    model = load_model(package_file(SHIPPED_MODEL))
    layers = layers_of(model, precision, *size)
    # In fp16 one convolution of 1x1 is a matrix product, fused with the sum behind it.
    product = 'runtime_fusion'
    convolutions = [layer for layer in layers if layer.convolves or layer.kind == product]
    assert sum(not layer.convolves for layer in convolutions) == (precision == 'fp16')
    assert len(convolutions) == count_of(model, 'Conv', 'ConvTranspose') == 66
    assert {layer.precision for layer in convolutions} == {precision}
    # Every activation, sum and bias is in a convolution's kernel. Beside them: cast, transposition
    # and normalisation of the image in one, and four for softmax, argmax and casts.
    others = [layer for layer in layers if layer not in convolutions]
    assert layers[0] is others[0]
    assert layers[0].precision == 'uint8'
    assert [layer.kind for layer in others] == ['kgen'] * 5
    assert not [layer for layer in layers if 'eformat' in layer.name + layer.kind]


def test_shipped_int8_network(layers_of):
    """All but the transposed convolutions in int8, and nothing unpacks weights for each frame."""
    model = load_model(package_file(SHIPPED_INT8_MODEL))
    layers = layers_of(model, 'int8', 480, 384)
    computed = Counter(layer.precision for layer in layers if layer.convolves)
    assert computed == {
        'int8': count_of(model, 'Conv'),
        'fp16': count_of(model, 'ConvTranspose'),
    }
    assert computed == {'int8': 61, 'fp16': 5}
    assert all(layer.precision for layer in layers)
    assert not [layer for layer in layers if 'eformat' in layer.name + layer.kind]


def test_int8_of_a_network_of_others(layers_of, mixed_proto, write_model, frames):
    """Depthwise and with HardSwish: in int8 too, with their activations and sums, not the rest."""
    pytest.importorskip('onnxruntime', reason='needs ONNX Runtime (pip install .[cpu])')
    int8 = quantize(mixed_proto, frames(2))
    set_metadata(int8, precision='int8')
    layers = layers_of(load_model(write_model(int8)), 'int8', 96, 64)
    assert [layer.precision for layer in layers if layer.convolves] == ['int8'] * 4


# Through the program, in a child process.


def test_engine_for_a_target_is_built_once_and_kept(tmp_path, capsys):
    model = str(package_file(SHIPPED_MODEL))
    command = [model, '--target', 'sm89', '--frame', '640x360', '--cache-dir', str(tmp_path)]
    build_engine.main([*command, '--network-size', '640x360'])
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith('building an engine: TensorRT-RTX 1.')
    assert lines[0].endswith(' for SM89')
    assert 'building an engine: 71 layers; convolutions 65 in fp16' in lines
    (engine,) = tmp_path.glob('*.engine')
    assert lines[-1] == f'640x384 in fp16 for SM89: {engine}'
    assert engine.stat().st_size > 5e6
    before = engine.stat().st_mtime_ns
    build_engine.main([*command, '--network-size', '640x360'])
    assert capsys.readouterr().out.splitlines() == lines[-1:]
    assert engine.stat().st_mtime_ns == before


def test_target_that_does_not_exist(tmp_path):
    message = 'TensorRT-RTX builds for SM75, .*, not for SM87; use the classic TensorRT'
    with pytest.raises(SystemExit, match=message):
        build_engine.main(['--target', 'sm87', '--cache-dir', str(tmp_path)])
    with pytest.raises(SystemExit, match='library classic builds for the GPU of this machine'):
        build_engine.main(['--target', 'sm86', '--library', 'classic'])


def test_cancelled_in_mid_build():
    model = load_model(package_file(SHIPPED_MODEL))
    cancel, lines = threading.Event(), []

    def report(line):
        lines.append(line)
        if 'Building engine' in line:
            cancel.set()

    with pytest.raises(BuildCancelledError):
        build_in_child(request_for(model, 'fp16', 480, 384), model.data, report, cancel)
    assert not [line for line in lines if 'layers' in line]
    assert children_that_build() == []


# What it refuses.


def refusal(model, rtx, tmp_path, **changes):
    (tmp_path / 'model').write_bytes(model.data)
    request = request_for(model, **{'precision': 'fp16', 'width': 64, 'height': 32} | changes)
    with pytest.raises(BackendError) as caught:
        build_plan(rtx, request, tmp_path, threading.Event(), lambda line: None)
    assert '\n' not in str(caught.value)
    return caught.value


def test_reason_of_the_parser(channel_proto, write_model, rtx, tmp_path):
    """The first line of some of its errors says only that a node is invalid."""
    nodes = [
        helper.make_node('Cast', ['image'], ['a'], to=TensorProto.FLOAT),
        helper.make_node('Cast', ['image'], ['b'], to=TensorProto.FLOAT16),
        helper.make_node('Add', ['a', 'b'], ['c'], name='odd'),
    ]
    del channel_proto.graph.value_info[:]
    channel_proto.graph.node.extend(nodes)
    model = load_model(write_model(channel_proto))
    error = refusal(model, rtx, tmp_path, precision='fp32')
    assert error.problem.startswith(f'{rtx.name} cannot load {model.path}: Add odd (node 8): ')
    assert 'Invalid Node - odd ' in error.problem
    assert 'must have same input types' in error.problem


def test_workspace_that_is_too_small(rtx, tmp_path):
    """What the layers compute counts, so what is enough grows with the image."""
    model = load_model(package_file(SHIPPED_MODEL))
    error = refusal(model, rtx, tmp_path, width=1280, height=736, workspace_mib=16)
    assert 'OutOfMemory (Requested size was ' in error.problem
    assert error.problem.endswith('; workspace_mib is 16')
    assert error.fix == 'set it to 0 for no limit, or raise it'


def test_default_workspace_is_enough(layers_of):
    assert layers_of(load_model(package_file(SHIPPED_MODEL)), 'fp16', 3840, 2176)


# The change of int8 networks, which needs no TensorRT.


def test_transposed_convolutions_lose_their_rounding_only():
    proto = onnx.load_model_from_string(load_model(package_file(SHIPPED_INT8_MODEL)).graph())
    plain = onnx.ModelProto()
    plain.CopyFrom(proto)
    plain_transposed_convolutions(plain.graph)
    onnx.checker.check_model(plain, full_check=True)
    names = {tensor.name for tensor in plain.graph.initializer}
    for node in plain.graph.node:
        if node.op_type == 'ConvTranspose':
            assert names.issuperset(node.input[1:])
    removed = Counter(n.op_type for n in proto.graph.node)
    removed.subtract(n.op_type for n in plain.graph.node)
    assert +removed == {'DequantizeLinear': 10, 'QuantizeLinear': 5}
    image = np.random.default_rng(0).integers(0, 256, (1, 32, 64, 3), np.uint8)
    onnxruntime = pytest.importorskip('onnxruntime')
    before, after = (
        onnxruntime.InferenceSession(m.SerializeToString()).run(None, {'image': image})
        for m in (proto, plain)
    )
    assert (before[0] == after[0]).mean() > 0.9
