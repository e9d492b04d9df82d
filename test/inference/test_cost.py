"""Parameters and multiply-accumulates, against sums by hand and the known figures of LinkNet."""

import pytest
from onnx import TensorProto, helper

from linknet_ros.inference import cost
from linknet_ros.inference.cost import Cost, cost_of
from linknet_ros.inference.model_file import load_model
from linknet_ros.system.package_files import model_path

#: mixed_model at 96x64, behind a stride of 2: four layers at 48x32, one at full size.
MIXED = 48 * 32 * (8 * 27 + 8 * 9 + 8 * 8 + 8 * 8) + 96 * 64 * 3 * 8


def test_a_network_of_everything(mixed_proto, write_model):
    model = load_model(write_model(mixed_proto))
    # Weights, and a bias that two nodes share.
    assert cost_of(model, (96, 64)) == Cost(216 + 72 + 64 + 8 + 64 + 24, MIXED)
    # Padded to a multiple of 32, as the network gets it.
    assert cost_of(model, (90, 50)).macs == MIXED
    assert cost_of(model, (192, 64)).macs == 2 * MIXED


def test_shapes_that_onnx_does_not_know(mixed_proto, write_model, monkeypatch):
    pytest.importorskip('onnxruntime', reason='needs ONNX Runtime (pip install .[cpu])')
    model, known = load_model(write_model(mixed_proto)), cost._known_shapes
    constants = ('w.stem', 'w.depth', 'w.same', 'w.head')

    def weights_only(proto):
        return {name: s if name in constants else (0,) for name, s in known(proto).items()}

    monkeypatch.setattr(cost, '_known_shapes', weights_only)
    assert cost_of(model, (96, 64)).macs == MIXED


def test_transposed_convolution_and_gemm():
    shapes = {'x': (1, 8, 5, 6), 'w': (8, 2, 3, 3), 'a': (4, 7), 'y': (7, 9)}
    turned = helper.make_node('ConvTranspose', ['x', 'w'], ['z'], group=2)
    assert cost._macs(turned, shapes) == 8 * 30 * 2 * 9
    product = helper.make_node('Gemm', ['a', 'b'], ['y'], transA=1)
    assert cost._macs(product, shapes) == 4 * 7 * 9


@pytest.mark.parametrize('precision', ['fp32', 'int8'])
def test_shipped_model(precision):
    """4.4 GFLOP at 480x384, as counted with PyTorch; norms are folded away."""
    cost = cost_of(load_model(model_path('', precision)), (480, 360))
    assert cost == Cost(3_173_601, 2_214_092_160)


def test_float16_weights_count_once(half_proto, write_model):
    assert half_proto.graph.initializer[0].data_type == TensorProto.FLOAT16
    assert cost_of(load_model(write_model(half_proto)), (32, 32)) == Cost(9, 9 * 1024)
