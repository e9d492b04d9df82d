"""int8 for networks of any kind: what is rounded and what is not, and that they still see."""

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

pytest.importorskip('onnxruntime', reason='needs ONNX Runtime (pip install .[cpu])')

from linknet_ros.errors import ModelError
from linknet_ros.inference.model_file import load_model
from linknet_ros.inference.onnx_graph import set_metadata
from linknet_ros.inference.open_backend import open_backend
from linknet_ros.inference.quantization import quantize, quantized_convolutions


def smooth(frame):
    """A frame of cells, which networks see more in than in noise."""
    return np.kron(frame[:8, :12], np.ones((8, 8, 1), np.uint8))


@pytest.fixture
def images(frames):
    return [smooth(frame) for frame in frames(4)]


def written_by(proto):
    """Operators that write the inputs of each node, by its own first output."""
    operators = {name: n.op_type for n in proto.graph.node for name in n.output}
    return {n.output[0]: [operators.get(name) for name in n.input] for n in proto.graph.node}


def test_what_is_rounded(mixed_proto, images):
    before = mixed_proto.SerializeToString()
    int8 = quantize(mixed_proto, images)
    assert mixed_proto.SerializeToString() == before
    onnx.checker.check_model(int8, full_check=True)
    assert int8.metadata_props == mixed_proto.metadata_props
    assert quantized_convolutions(int8) == (4, 4)
    assert quantized_convolutions(mixed_proto) == (0, 4)
    inputs = written_by(int8)
    rounded = 'DequantizeLinear'
    assert {name: inputs[name][:2] for name in ('stem', 'depth', 'point', 'logits')} == {
        name: [rounded] * 2 for name in ('stem', 'depth', 'point', 'logits')
    }
    # Of a sum behind a convolution, what skips that; not the sum behind a matrix product.
    assert inputs['sum'] == [rounded, 'Conv']
    assert inputs['biased'] == ['MatMul', None]
    for name in ('skip', 'product', 'large', 'block', 'shares'):
        assert rounded not in inputs[name]


def test_weights_by_channel_and_activations_by_one_scale(mixed_proto, images):
    int8 = quantize(mixed_proto, images)
    values = {tensor.name: numpy_helper.to_array(tensor) for tensor in int8.graph.initializer}
    before = {t.name: numpy_helper.to_array(t) for t in mixed_proto.graph.initializer}
    for node in int8.graph.node:
        if node.op_type in ('QuantizeLinear', 'DequantizeLinear'):
            assert not values[node.input[2]].any()
            assert values[node.input[2]].dtype == np.int8
        if node.op_type == 'QuantizeLinear':
            assert values[node.input[1]].shape == ()
    scale = values['w.depth_scale']
    np.testing.assert_allclose(scale, np.abs(before['w.depth']).max((1, 2, 3)) / 127, rtol=1e-6)
    assert (np.abs(values['w.depth_quantized'].astype(int)).max((1, 2, 3)) == 127).all()
    # The largest magnitude that any of the images has here, over 127.
    brightest = max(int(image.max()) for image in images) / 64
    assert values['x_scale'] == pytest.approx(brightest / 127, rel=1e-5)


def test_channels_without_use_have_scales_that_float16_holds(mixed_proto, images):
    unused, kept = {'w.depth': 1, 'w.head': 2}, {}
    for tensor in mixed_proto.graph.initializer:
        if tensor.name in unused:
            weights = numpy_helper.to_array(tensor).copy()
            weights[unused[tensor.name]] *= 1e-7
            tensor.CopyFrom(numpy_helper.from_array(weights, tensor.name))
            kept[tensor.name] = weights
    int8 = quantize(mixed_proto, images)
    values = {tensor.name: numpy_helper.to_array(tensor) for tensor in int8.graph.initializer}
    assert all(values[name].astype(np.float16).all() for name in values if name.endswith('_scale'))
    assert kept.keys() == unused.keys()
    for name, weights in kept.items():
        scales = values[f'{name}_scale'][:, None, None, None]
        restored = values[f'{name}_quantized'] * scales
        assert (np.abs(restored - weights) <= scales * 0.501).all()
        assert values[f'{name}_scale'][unused[name]] == 2**-20


@pytest.mark.parametrize('backend', ['openvino', 'onnxruntime'])
def test_labels_are_those_of_fp32(mixed_proto, images, write_model, frames, backend):
    pytest.importorskip(backend)
    int8 = quantize(mixed_proto, images)
    set_metadata(int8, precision='int8')
    unseen = np.ascontiguousarray(smooth(frames(1, seed=9)[0]))
    results = []
    for proto, precision in ((mixed_proto, 'fp32'), (int8, 'int8')):
        opened = open_backend(
            load_model(write_model(proto)), 64, 96, backend=backend, precision=precision, threads=1
        )
        results.append(opened.infer(unseen)[0].copy())
        opened.close()
    assert len(np.unique(results[0])) > 1
    assert (results[0] == results[1]).mean() > 0.97


def test_nothing_to_quantize(channel_proto, int8_proto, images):
    with pytest.raises(ModelError, match='has no convolution'):
        quantize(channel_proto, images)
    with pytest.raises(ModelError, match='quantized already; give the fp32 file'):
        quantize(int8_proto, images)


def test_error_of_the_library_is_one_line(mixed_proto):
    with pytest.raises(ModelError, match='the network cannot be quantized \\('):
        quantize(mixed_proto, [])
