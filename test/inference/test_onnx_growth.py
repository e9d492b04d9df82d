"""How large tensors get: graphs of a few bytes that would fill any memory are refused."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from checkout import MODEL
from onnx import TensorProto, helper, numpy_helper

from linknet_ros.errors import ModelError
from linknet_ros.inference.model_file import load_model_file
from linknet_ros.inference.onnx_growth import MAX_VALUES_PER_PIXEL, check_growth

PATH = Path('tiny.onnx')


def add(proto, operator, inputs, output, **attributes):
    proto.graph.node.append(helper.make_node(operator, inputs, [output], **attributes))


def add_weight(proto, name, values, kind=np.int64):
    proto.graph.initializer.append(numpy_helper.from_array(np.array(values, kind), name))


def refused(proto, reason):
    with pytest.raises(ModelError, match=rf'^tiny\.onnx.* {reason}') as caught:
        check_growth(PATH, proto)
    assert '\n' not in str(caught.value)


def test_models_pass(channel_proto, half_proto, nan_proto):
    for proto in (channel_proto, half_proto, nan_proto):
        check_growth(PATH, proto)


def test_model_that_ships_passes():
    load_model_file(MODEL)


def test_doubling(channel_proto):
    # Each node is 20 bytes of file; the last tensor would have 2**42 bytes.
    add(channel_proto, 'Concat', ['x', 'x'], 'x1', axis=3)
    for i in range(1, 40):
        add(channel_proto, 'Concat', [f'x{i}', f'x{i}'], f'x{i + 1}', axis=3)
    # 3 * 2**8 values per pixel are the first that are more than 512.
    refused(channel_proto, r'x8 \(Concat\) has 3145728 values for an image of 64x64')


def test_limit_is_exact(channel_proto):
    add(channel_proto, 'Concat', ['x'] * 170, 'most', axis=3)
    check_growth(PATH, channel_proto)
    assert 170 * 3 <= MAX_VALUES_PER_PIXEL < 171 * 3
    add(channel_proto, 'Concat', ['x'] * 171, 'too_much', axis=3)
    refused(channel_proto, r'too_much \(Concat\)')


def test_enlarged_whatever_the_image(channel_proto):
    add_weight(channel_proto, 'sizes', [1, 65536, 65536, 3])
    add(channel_proto, 'Resize', ['x', '', '', 'sizes'], 'huge', mode='nearest')
    refused(channel_proto, r'huge \(Resize\) has 12884901888 values for an image of 64x64')


def test_scaled(channel_proto):
    add_weight(channel_proto, 'scales', [1, 100, 100, 1], np.float32)
    add(channel_proto, 'Resize', ['x', '', 'scales'], 'huge', mode='nearest')
    refused(channel_proto, r'huge \(Resize\)')


def test_larger_than_the_number_of_pixels_allows(channel_proto):
    # Everything with everything: small enough for a small image.
    add_weight(channel_proto, 'first', [1])
    add(channel_proto, 'ReduceMax', ['x'], 'rows', axes=[2, 3], keepdims=0)  # (1, H)
    add(channel_proto, 'Unsqueeze', ['rows', 'first'], 'across')  # (1, 1, H)
    add_weight(channel_proto, 'second', [2])
    add(channel_proto, 'Unsqueeze', ['rows', 'second'], 'down')  # (1, H, 1)
    add(channel_proto, 'Add', ['across', 'down'], 'plane')  # (1, H, H)
    add_weight(channel_proto, 'last', [3])
    add(channel_proto, 'Unsqueeze', ['plane', 'last'], 'deep')  # (1, H, H, 1)
    check_growth(PATH, channel_proto)
    add(channel_proto, 'Add', ['deep', 'rows'], 'cube')  # (1, H, H, H)
    refused(channel_proto, r'cube \(Add\) has 1073741824 values for an image of 1024x1024')


def test_padded(channel_proto):
    add_weight(channel_proto, 'pads', [0, 1 << 30, 0, 0, 0, 0, 0, 0])
    add(channel_proto, 'Pad', ['x', 'pads'], 'huge')
    refused(channel_proto, r'huge \(Pad\)')


def test_size_that_depends_on_what_the_image_shows(channel_proto):
    add(channel_proto, 'Cast', ['x'], 'numbers', to=TensorProto.INT64)
    add_weight(channel_proto, 'flat', [-1])
    add(channel_proto, 'Reshape', ['numbers', 'flat'], 'list')
    add(channel_proto, 'Reshape', ['x', 'list'], 'unknown')
    refused(channel_proto, r'the size of unknown \(Reshape\) cannot be told before it runs')


def test_outputs_are_not_believed(channel_proto):
    # The graph may say of its outputs what it likes.
    add(channel_proto, 'Cast', ['x'], 'numbers', to=TensorProto.INT64)
    add_weight(channel_proto, 'flat', [-1])
    add(channel_proto, 'Reshape', ['numbers', 'flat'], 'list')
    cast = next(node for node in channel_proto.graph.node if node.output[0] == 'labels')
    cast.output[0] = 'real'
    add(channel_proto, 'Reshape', ['real', 'list'], 'labels')
    for output in channel_proto.graph.output:
        for dim in output.type.tensor_type.shape.dim:
            dim.dim_value = 1
    refused(channel_proto, r'the size of labels \(Reshape\) cannot be told')


def test_weights_may_be_larger_than_a_small_image(half_proto):
    # 3 million values; 512 for each of 64x64 pixels would be 2 million.
    add_weight(half_proto, 'large', np.zeros(3 << 20), np.float16)
    add(half_proto, 'Cast', ['large'], 'wide', to=TensorProto.FLOAT)
    check_growth(PATH, half_proto)


def test_shapes_that_do_not_fit_together(channel_proto):
    add_weight(channel_proto, 'seven', np.zeros((1, 7, 7, 7)), np.float32)
    add(channel_proto, 'Add', ['x', 'seven'], 'never')
    refused(channel_proto, r'is no readable ONNX file \(')


#: Loads a model in little more address space than this takes already.
LOAD = """
import resource, sys
from pathlib import Path
import onnx.shape_inference
from linknet_ros.inference.model_file import load_model_file
in_use = int(Path('/proc/self/statm').read_text().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (in_use + 200 * 2**20,) * 2)
load_model_file(sys.argv[1])
"""


@pytest.mark.parametrize('bomb', [test_doubling, test_enlarged_whatever_the_image, test_padded])
def test_refused_before_memory_is_used(channel_proto, write_model, bomb):
    bomb(channel_proto)
    command = [sys.executable, '-c', LOAD, write_model(channel_proto)]
    child = subprocess.run(command, capture_output=True, text=True, check=False)
    assert 'ModelError' in child.stderr
    assert 'MemoryError' not in child.stderr
