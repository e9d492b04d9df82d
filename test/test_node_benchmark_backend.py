"""The back end alone: the network of the node's own size for a camera, and its times."""

import time

import numpy as np
import pytest

from linknet_ros.node_benchmark_backend import measure
from linknet_ros.segmenter import Segmenter


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


def test_pace(model_path, tmp_path, monkeypatch):
    pictures = tmp_path / 'pictures.npy'
    np.save(pictures, np.zeros((2, 64, 96, 3), np.uint8))
    begins = []

    def infer(self, fitted):
        begins.append(time.perf_counter())
        time.sleep(0.02)

    monkeypatch.setattr(Segmenter, 'infer', infer)
    result = measure(str(model_path), 'onnxruntime', 'auto', 1, str(pictures), 0.5, 0.25)
    paced = np.diff(begins)[3 + int(0.5 * result['fps']) :]
    # A quarter of the frames, each of which still takes what it takes.
    assert np.median(paced) == pytest.approx(4 / result['fps'], rel=0.05)
    assert result['paced_ms'] < 1.5e3 / result['fps']
