"""The node that `make bench` compares with gives the labels that the shipped network gives."""

import cv2
import numpy as np
import pytest
import torch

pytest.importorskip('rclpy', reason='needs ROS 2 (pip install .[ros])')

import rclpy
from sensor_msgs.msg import Image
from torch import nn

from linknet_ros.inference.model_file import load_model
from linknet_ros.inference.segmenter import Segmenter
from linknet_ros.simulation.street import StreetDrive
from linknet_ros.system.package_files import model_path
from training import usual_node as module
from training.networks import IMAGENET, normalize
from training.usual_node import UsualNode, load_network, segment


class Channels(nn.Module):
    """Logits are the channels themselves; keeps what it was given."""

    statistics = IMAGENET

    def forward(self, image):
        self.image = image
        return image


def test_segment_normalises_as_training_does_and_scales_labels_back():
    network = Channels()
    small = np.full((32, 64, 3), (10, 20, 30), np.uint8)
    small[:, :32] = (40, 250, 20)
    frame = cv2.resize(small, (128, 64), interpolation=cv2.INTER_NEAREST)
    labels = segment(network, frame, (64, 32))
    expected = normalize(torch.from_numpy(small)[None])
    torch.testing.assert_close(network.image, expected, atol=1e-5, rtol=0)
    assert (labels.shape, labels.dtype) == ((64, 128), np.uint8)
    best = expected[0].argmax(0).numpy()
    assert (labels[:, :60] == best[0, 0]).all()
    assert (labels[:, 68:] == best[0, -1]).all()
    assert best[0, 0] != best[0, -1]


@pytest.fixture(scope='module')
def frame():
    return StreetDrive(7, width=192, height=160).frame(3.0).bgr


def test_weights_are_those_of_the_shipped_model(frame):
    path = model_path('', 'fp32')
    mine = segment(load_network(path), frame, (192, 160))
    model = load_model(path)
    robot = Segmenter(model, backend='onnxruntime', network_size=(192, 160))
    assert (mine == robot.segment(frame).labels).mean() > 0.999


def test_message(monkeypatch, model_path, context):
    monkeypatch.setattr(module, 'load_network', lambda path: Channels())
    rclpy.init(args=['--ros-args', '-p', f'model:={model_path}'])
    try:
        node = UsualNode()
        sent = []
        monkeypatch.setattr(node._publisher, 'publish', sent.append)
        message = Image(height=4, width=6, encoding='bgr8', step=18, data=bytes([9, 200, 30] * 24))
        message.header.frame_id = 'camera'
        message.header.stamp.sec = 7
        node._segment(message)
        node.destroy_node()
    finally:
        rclpy.try_shutdown()
    (answer,) = sent
    assert (answer.height, answer.width, answer.step, answer.encoding) == (4, 6, 6, 'mono8')
    assert answer.header == message.header
    # Green is the brightest, and class 1.
    assert bytes(answer.data) == bytes([1] * 24)
