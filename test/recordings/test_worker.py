"""One recording's way through the network."""

from dataclasses import replace

import numpy as np
import pytest

from linknet_ros.errors import ModelError, RecordingError
from linknet_ros.inference.segmenter import Segmenter
from linknet_ros.recordings.report import Report
from linknet_ros.recordings.settings import Settings
from linknet_ros.recordings.worker import OfflineWorker


@pytest.fixture
def settings(model):
    return Settings(model.path, ('labels', 'confidence'), 'onnxruntime', 'fp32')


def run(settings, path, frames, source='a'):
    """Outputs of frames, and the report."""
    report = Report('a', 'b')
    with OfflineWorker(settings, path, {'source': source}, report) as worker:
        made = [dict(worker.products(i, frame)) for i, frame in enumerate(frames)]
    return made, report


def test_same_as_the_segmenter(settings, model, frames, tmp_path):
    mixed = [*frames(3), *frames(2, 200, 90)]
    made, report = run(settings, tmp_path / 'journal', mixed)
    segmenter = Segmenter(model, backend='onnxruntime', precision='fp32')
    for frame, outputs in zip(mixed, made, strict=True):
        result = segmenter.segment(frame)
        np.testing.assert_array_equal(outputs['labels'], result.labels)
        np.testing.assert_array_equal(outputs['confidence'], result.confidence)
    segmenter.close()
    np.testing.assert_array_equal(made[0]['labels'], mixed[0].argmax(2))
    assert (report.segmented, report.resumed, report.backend) == (5, 0, 'onnxruntime fp32')


def test_goes_on_without_the_network(settings, frames, tmp_path, monkeypatch):
    mixed = [*frames(3), *frames(2, 200, 90)]
    run(settings, tmp_path / 'journal', mixed[:4])
    asked = []
    infer = Segmenter.infer
    monkeypatch.setattr(
        Segmenter, 'infer', lambda self, fitted: asked.append(1) or infer(self, fitted)
    )
    # Outputs and their settings are not in the journal, and may be others.
    other = replace(settings, outputs=('labels',), min_confidence=0.9)
    made, report = run(other, tmp_path / 'journal', mixed)
    assert (len(asked), report.resumed, report.segmented) == (1, 4, 5)
    single, _ = run(other, tmp_path / 'new', mixed)
    for outputs, expected in zip(made, single, strict=True):
        np.testing.assert_array_equal(outputs['labels'], expected['labels'])
    assert (made[0]['labels'] == 255).any()


@pytest.mark.parametrize('change', ['source', 'model', 'network size'])
def test_another_work_is_refused(settings, frames, tmp_path, change, half_proto, write_model):
    run(settings, tmp_path / 'journal', frames(1))
    source = 'a'
    if change == 'source':
        source = 'b'
    elif change == 'model':
        settings = replace(settings, model=write_model(half_proto, 'other.onnx'))
    else:
        settings = replace(settings, network_size=(64, 64))
    with pytest.raises(RecordingError, match='was begun with another recording, model'):
        run(settings, tmp_path / 'journal', frames(1), source)


def test_model_that_has_changed(settings, tmp_path, frames):
    with pytest.raises(ModelError, match=r'model\.onnx has changed since the run began'):
        run(replace(settings, sha256='0' * 64), tmp_path / 'journal', frames(1))
