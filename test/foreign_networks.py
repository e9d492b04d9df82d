"""Segmentation networks as other programs write them: floats in, scores out, no metadata."""

import cv2
import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

from linknet_ros.importing.interface import PRESETS
from linknet_ros.recordings import segment_bag

#: Random weights do not see a street.
CPU = ('--backend', 'onnxruntime', '--precision', 'fp32', '--scene-check', 'off')


def network(
    tail=(),
    *,
    classes=4,
    output='scores',
    shape=(1, 3, 'h', 'w'),
    output_shape=(1, 'c', 'h', 'w'),
    types=(TensorProto.FLOAT, TensorProto.FLOAT),
    stride=1,
    opset=17,
    weights=(),
    outputs=(),
):
    """A convolution of 3x3, from `input` to `scores`, with other nodes behind it."""
    random = np.random.default_rng(0)
    weight = random.normal(size=(classes, 3, 3, 3)).astype(np.float32)
    nodes = [
        helper.make_node(
            'Conv', ['input', 'weight'], ['scores'], pads=[1] * 4, strides=[stride] * 2
        )
    ]
    border = [(output, types[1], output_shape), *outputs]
    graph = helper.make_graph(
        [*nodes, *tail],
        'somebody',
        [helper.make_tensor_value_info('input', types[0], shape)],
        [helper.make_tensor_value_info(*value) for value in border],
        [numpy_helper.from_array(weight, 'weight'), *weights],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid('', opset)], ir_version=8)


def normalized(frame, normalization=PRESETS['imagenet']):
    """(1, 3, H, W) of a frame (H, W, 3) uint8 BGR."""
    x = frame[:, :, ::-1] if normalization.order == 'rgb' else frame
    x = (x / 255 - np.array(normalization.mean)) / np.array(normalization.std)
    return x.transpose(2, 0, 1)[None]


def resized(planes, width, height):
    return np.stack([cv2.resize(plane, (width, height)) for plane in planes])


def segmented_bag(model, frame, folder, bags):
    """Labels, and cells of the grid on the ground, of a recording of one frame."""
    header = bags.header(0)
    size = frame.shape[1::-1]
    bags.write(
        folder / 'drive.mcap',
        [
            ('/camera/camera_info', 0, bags.camera_info(size, size[0], header)),
            ('/camera/image', 1, bags.image(frame, header=header)),
        ],
    )
    files = (folder / 'drive.mcap', folder / 'out.mcap', '--model', model.path)
    ground = ('--ground-height', '0.5', '--ground-pitch', '0.35')
    with pytest.raises(SystemExit) as end:
        segment_bag.main([*map(str, files), *CPU, *ground, '--outputs', 'labels,drivable_grid'])
    assert end.value.code == 0
    found = bags.read(folder / 'out.mcap')
    ((_, message),) = found['/linknet/labels']
    ((_, grid),) = found['/linknet/drivable_grid']
    return message.data.reshape(message.height, message.width), np.asarray(grid.data)
