"""The back end alone: the network of the node's own size for a camera, and its times."""

import numpy as np
import pytest

from linknet_ros.benchmark import node_backend_alone as module
from linknet_ros.benchmark.node_backend_alone import measure
from linknet_ros.inference.segmenter import Segmenter


def test_measure(model_path, tmp_path, monkeypatch):
    pictures = tmp_path / 'pictures.npy'
    np.save(pictures, np.zeros((2, 120, 200, 3), np.uint8))
    shapes = []
    infer = Segmenter.infer

    def spy(self, fitted):
        shapes.append(fitted.image.shape)
        return infer(self, fitted)

    monkeypatch.setattr(Segmenter, 'infer', spy)
    result = measure(str(model_path), 'onnxruntime', 'auto', 1, str(pictures), 0.0, 0.5)
    # 200x120 into the tiny model's 96x64 is 96x58; three frames warm up.
    assert shapes == [(64, 96, 3)] * (3 + 2 + 2)
    assert (result['backend'], result['precision']) == ('onnxruntime', 'fp32')
    # Of two frames, the median is the mean.
    assert result['fps'] == pytest.approx(1e3 / result['infer_ms'])
    assert 0 < result['infer_ms'] < 60e3
    assert result['cpu_ms'] > 0
    assert 0 < result['paced_ms'] < 60e3
    assert 'others' in result


class Clock:
    """Stands in for time: passes only while somebody sleeps or infers."""

    def __init__(self):
        self.now = 0.0

    def perf_counter(self):
        return self.now

    process_time = perf_counter

    def sleep(self, seconds):
        self.now += seconds


def test_pace(model_path, tmp_path, monkeypatch):
    pictures = tmp_path / 'pictures.npy'
    np.save(pictures, np.zeros((2, 64, 96, 3), np.uint8))
    clock = Clock()
    begins = []

    def infer(self, fitted):
        begins.append(clock.now)
        # Three to warm up, 25 without a pause, and then the fourth of the paced takes long.
        clock.now += 0.125 if len(begins) == 32 else 0.02

    monkeypatch.setattr(module, 'time', clock)
    monkeypatch.setattr(Segmenter, 'infer', infer)
    result = module.measure(str(model_path), 'onnxruntime', 'auto', 1, str(pictures), 0.49, 0.25)
    assert (result['fps'], result['paced_ms']) == pytest.approx((50, 20))
    # A frame every 80 ms; one that is late is followed by the next in time.
    expected = [0, 80, 160, 240, 365, 400, 480]
    assert 1e3 * (np.array(begins[28:]) - begins[28]) == pytest.approx(expected)
