"""The exported network in float16 and int8: what became of its graph, and that it still sees."""

from functools import cache

import numpy as np
import pytest
import torch
from onnx import TensorProto, numpy_helper

from linknet_ros.classes import CAMVID
from linknet_ros.inference.int8_twin import int8_overflows
from linknet_ros.inference.model_file import load_model, metadata_of
from linknet_ros.inference.open_backend import open_backend
from training.export import to_onnx
from training.graph_lint import lint
from training.networks import NetworkConfig, build_network
from training.variants import to_precision

pytestmark = pytest.mark.usefixtures('narrow_networks')

FRAMES = [
    np.kron(np.random.default_rng(seed).integers(0, 256, (6, 8, 3)), np.ones((8, 8, 1))).astype(
        np.uint8
    )
    for seed in range(3)
]


@cache
def exported(precision):
    torch.manual_seed(0)
    network = build_network(NetworkConfig('linknet')).eval()
    metadata = metadata_of(
        CAMVID,
        architecture=network.title,
        dataset='none',
        label_set='random',
        default_size=(64, 48),
        accuracy={},
        precision=precision,
    )
    return to_onnx(network, metadata)


@pytest.fixture(scope='module')
def variants():
    return {name: to_precision(exported(name), name, FRAMES) for name in ('fp32', 'fp16', 'int8')}


@pytest.fixture(scope='module')
def paths(variants, tmp_path_factory):
    folder = tmp_path_factory.mktemp('variants')
    for name, proto in variants.items():
        (folder / name).write_bytes(proto.SerializeToString())
    return {name: folder / name for name in variants}


def values_of(proto):
    return {tensor.name: numpy_helper.to_array(tensor) for tensor in proto.graph.initializer}


@pytest.mark.parametrize('precision', ['fp32', 'fp16', 'int8'])
def test_keeps_the_rules_and_the_metadata(variants, precision):
    lint(variants[precision], precision)
    assert variants[precision].metadata_props == exported(precision).metadata_props
    assert [(o.domain, o.version) for o in variants[precision].opset_import] == [('', 17)]


def test_fp16_computes_in_nothing_else(variants):
    graph = variants['fp16'].graph
    assert TensorProto.FLOAT not in {tensor.data_type for tensor in graph.initializer}
    casts = [node.attribute[0].i for node in graph.node if node.op_type == 'Cast']
    assert sorted(casts) == sorted([TensorProto.FLOAT16] * 2 + [TensorProto.UINT8] * 2)


def test_every_convolution_is_int8(variants):
    """29 and 6, by output channel: 127 is the largest weight of each."""
    proto = variants['int8']
    values, writers = values_of(proto), {o: n for n in proto.graph.node for o in n.output}
    # Biases that are equal, as those of a random network, are kept once.
    values |= {
        n.output[0]: values[n.input[0]] for n in proto.graph.node if n.op_type == 'Identity'
    }
    count = 0
    for node in proto.graph.node:
        if node.op_type not in ('Conv', 'ConvTranspose'):
            continue
        count += 1
        assert writers[node.input[0]].op_type == 'DequantizeLinear'
        weight = values[writers[node.input[1]].input[0]]
        axis = int(node.op_type == 'ConvTranspose')
        others = tuple(i for i in range(4) if i != axis)
        assert (np.abs(weight.astype(int)).max(others) == 127).all()
        assert values[node.input[2]].dtype == np.float32
    assert count == 35
    assert max(v.size for v in values.values() if v.dtype == np.float32) <= 512


def test_sums_are_rounded_on_the_side_that_skips(variants):
    """Eight of the blocks and four links; the convolution before a sum is one kernel with it."""
    proto = variants['int8']
    writers = {o: n.op_type for n in proto.graph.node for o in n.output}
    sums = [[writers[name] for name in n.input] for n in proto.graph.node if n.op_type == 'Add']
    assert len(sums) == 12
    for branch, skip in sums:
        assert branch in ('Conv', 'Relu')
        assert skip == 'DequantizeLinear'


def test_ranges_come_from_the_frames():
    """Brighter frames need larger steps at the input."""
    dark = to_precision(exported('int8'), 'int8', [np.full((32, 32, 3), 116, np.uint8)])
    bright = to_precision(exported('int8'), 'int8', [np.full((32, 32, 3), 255, np.uint8)])
    name = next(n.input[1] for n in dark.graph.node if n.op_type == 'QuantizeLinear')
    first, second = (float(values_of(proto)[name]) for proto in (dark, bright))
    # (255 - 103.53) / 57.375 is blue, white's furthest from the mean (ImageNet's, of training).
    assert second == pytest.approx((255 - 0.406 * 255) / (0.225 * 255) / 127, rel=0.01)
    assert first < second / 5


@pytest.mark.parametrize('backend', ['openvino', 'onnxruntime'])
@pytest.mark.parametrize(('precision', 'least'), [('fp16', 0.99), ('int8', 0.85)])
def test_names_the_labels_of_fp32(paths, backend, precision, least):
    """Random weights decide between classes by little; trained ones agree on 0.994 in int8."""
    frame = np.kron(FRAMES[0][:, :, :], np.ones((1, 1, 1), np.uint8))[:32, :64]
    results = []
    for name in ('fp32', precision):
        asked = 'int8' if name == 'int8' else 'fp32'
        opened = open_backend(
            load_model(paths[name]), 32, 64, backend=backend, precision=asked, threads=1
        )
        labels, confidence = opened.infer(np.ascontiguousarray(frame))
        results.append((labels.copy(), confidence.astype(int)))
        in_float = backend != 'openvino' or int8_overflows()
        assert opened.precision == ('fp32' if in_float else asked)
        opened.close()
    (labels, confidence), (mine, my_confidence) = results
    assert len(np.unique(labels)) > 1
    assert (labels == mine).mean() >= least
    assert np.abs(confidence - my_confidence).mean() < 5
