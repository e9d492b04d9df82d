"""The back end alone: the network of the node's own size for a camera, and its times."""

import numpy as np
import pytest

from linknet_ros.benchmark import node_backend_alone as module
from linknet_ros.inference.segmenter import Segmenter


class Clock:
    """Stands in for time: passes only while somebody sleeps or infers."""

    def __init__(self):
        self.now = 0.0

    def perf_counter(self):
        return self.now

    process_time = perf_counter

    def sleep(self, seconds):
        self.now += seconds


def test_measure(model_path, tmp_path, monkeypatch):
    pictures = tmp_path / 'pictures.npy'
    np.save(pictures, np.zeros((2, 120, 200, 3), np.uint8))
    clock = Clock()
    begins = []

    def infer(self, fitted):
        # 200x120 into the tiny model's 96x64 is 96x58.
        assert fitted.image.shape == (64, 96, 3)
        begins.append(clock.now)
        # Three to warm up, 25 without a pause, and then the fourth of the paced takes long.
        clock.now += 0.125 if len(begins) == 32 else 0.02

    monkeypatch.setattr(module, 'time', clock)
    monkeypatch.setattr(Segmenter, 'infer', infer)
    result = module.measure(str(model_path), 'onnxruntime', 'auto', 1, str(pictures), 0.49, 0.25)
    assert (result['backend'], result['precision']) == ('onnxruntime', 'fp32')
    figures = [result[name] for name in ('infer_ms', 'fps', 'cpu_ms', 'paced_ms')]
    assert figures == pytest.approx([20, 50, 20, 20])
    # A frame every 80 ms; one that is late is followed by the next in time.
    expected = [0, 80, 160, 240, 365, 400, 480]
    assert 1e3 * (np.array(begins[28:]) - begins[28]) == pytest.approx(expected)
