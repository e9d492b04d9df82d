"""One recording's way through the network, on one core and on several."""

from dataclasses import replace

import numpy as np
import pytest

from linknet_ros.errors import FrameError, ModelError, RecordingError
from linknet_ros.inference.frame_sequence import RECOVERY
from linknet_ros.inference.model_file import load_model
from linknet_ros.inference.scene_model import MEASURES, SceneModel
from linknet_ros.inference.segmenter import Segmenter
from linknet_ros.inference.settings import InferenceSettings
from linknet_ros.recordings.report import Report
from linknet_ros.recordings.settings import Settings
from linknet_ros.recordings.worker import OfflineWorker, Task

OUTPUTS = ('labels', 'confidence')


@pytest.fixture
def settings(model):
    return Settings.of(
        model, OUTPUTS, InferenceSettings(backend='onnxruntime', precision='fp32', threads=4)
    )


class Frame(Task):
    is_frame = True

    def __init__(self, frame, wanted):
        super().__init__()
        self._frame, self._wanted = frame, wanted

    def frame(self):
        if self._frame is None:
            raise FrameError('no frame')
        return self._frame

    def make(self, frame, result, products):
        self.made = dict(products.of(frame, result, self._wanted))


def run(settings, path, frames, source='a', count=0):
    """Outputs of frames, and the report; with 64 frames expected, two networks at a time."""
    report = Report('a', 'b')
    with OfflineWorker(settings, path, {'source': source}, report, frames=count) as worker:
        tasks = (Frame(frame, settings.outputs) for frame in frames)
        return [task.made for task in worker.run(tasks)], report


@pytest.mark.parametrize('count', [0, 64, 1000])
def test_same_as_the_segmenter(settings, model, frames, tmp_path, count):
    mixed = [*frames(30), *frames(5, 200, 90)]
    made, report = run(settings, tmp_path / 'journal', mixed, count=count)
    segmenter = Segmenter(model, backend='onnxruntime', precision='fp32')
    for frame, outputs in zip(mixed, made, strict=True):
        result = segmenter.segment(frame)
        np.testing.assert_array_equal(outputs['labels'], result.labels)
        np.testing.assert_array_equal(outputs['confidence'], result.confidence)
    segmenter.close()
    np.testing.assert_array_equal(made[0]['labels'], mixed[0].argmax(2))
    assert (report.segmented, report.resumed, report.backend) == (35, 0, 'onnxruntime fp32')


@pytest.mark.parametrize('count', [0, 64])
def test_order_and_bad_frames(settings, frames, tmp_path, count):
    """What passes by keeps its place, and a bad frame is counted and takes nothing with it."""
    images = frames(12)
    tasks = []
    for number, image in enumerate(images):
        tasks += [Frame(None if number % 5 == 4 else image, ('labels',)), Task()]
    report = Report('a', 'b')
    journal = tmp_path / 'journal'
    with OfflineWorker(settings, journal, {}, report, frames=count) as worker:
        assert list(worker.run(iter(tasks))) == tasks
    assert (report.frames, report.segmented, dict(report.bad)) == (12, 10, {'no frame': 2})
    for number, image in enumerate(images):
        if number % 5 != 4:
            np.testing.assert_array_equal(tasks[2 * number].made['labels'], image.argmax(2))


@pytest.mark.parametrize('count', [0, 64])
def test_goes_on_without_the_network(settings, frames, tmp_path, monkeypatch, count):
    mixed = [*frames(3), *frames(2, 200, 90)]
    run(settings, tmp_path / 'journal', mixed[:4])
    calls = []
    infer = Segmenter.infer
    monkeypatch.setattr(
        Segmenter, 'infer', lambda self, fitted: calls.append(1) or infer(self, fitted)
    )
    # Outputs and their settings are not in the journal, and may be others.
    inference = replace(settings.inference, min_confidence=0.9)
    other = replace(settings, outputs=('labels',), inference=inference)
    made, report = run(other, tmp_path / 'journal', mixed, count=count)
    assert (len(calls), report.resumed, report.segmented) == (1, 4, 5)
    single, _ = run(other, tmp_path / 'new', mixed)
    for outputs, expected in zip(made, single, strict=True):
        np.testing.assert_array_equal(outputs['labels'], expected['labels'])
    assert (made[0]['labels'] == 255).any()


@pytest.mark.parametrize(
    'change',
    [
        'source',
        'model',
        {'network_width': 64, 'network_height': 64},
        {'rotate': 90},
        {'mono16_max': 4000},
    ],
)
def test_another_work_is_refused(settings, frames, tmp_path, change, half_proto, write_model):
    run(settings, tmp_path / 'journal', frames(1))
    source = 'a'
    if change == 'source':
        source = 'b'
    elif change == 'model':
        other = load_model(write_model(half_proto, 'other.onnx'))
        settings = Settings.of(other, OUTPUTS, settings.inference)
    else:
        settings = replace(settings, inference=replace(settings.inference, **change))
    with pytest.raises(RecordingError, match='was begun with another recording, model'):
        run(settings, tmp_path / 'journal', frames(1), source)


def test_model_that_has_changed(settings, tmp_path, frames):
    with pytest.raises(ModelError, match=r'model\.onnx has changed since the run began'):
        run(replace(settings, sha256='0' * 64), tmp_path / 'journal', frames(1))


class Stamped(Frame):
    """A frame of 10 Hz."""

    def __init__(self, number, frame):
        super().__init__(frame, OUTPUTS)
        self.stamp = (number + 1) * 10**8


@pytest.mark.parametrize('resumed', [False, True])
def test_frames_follow_each_other_however_many_are_in_work(
    channel_proto, with_metadata, write_model, frames, tmp_path, resumed
):
    """On several cores, and from a journal, what depends on the frames before is the same."""
    scene = SceneModel({'black': 0.5}).text()
    picky = load_model(write_model(with_metadata(channel_proto, scene_check=scene), 'picky.onnx'))
    inference = InferenceSettings(backend='onnxruntime', precision='fp32', threads=4)
    settings = Settings.of(picky, OUTPUTS, inference)
    images = frames(70)
    for dark in (7, 9, 40, 41):
        images[dark] = np.full_like(images[0], 4)
    images[20] = None  # a bad frame has its turn too
    if resumed:
        run(settings, tmp_path / 'journal', images[:20])
    tasks = [Stamped(i, image) for i, image in enumerate(images)]
    report = Report('a', 'b')
    with OfflineWorker(
        settings, tmp_path / 'journal', {'source': 'a'}, report, frames=1000
    ) as worker:
        assert list(worker.run(iter(tasks))) == tasks
    black = MEASURES['black'].fault
    distrusted = {*range(7, 9 + RECOVERY), *range(40, 41 + RECOVERY)}
    for number, task in enumerate(tasks):
        if number != 20:
            assert task.fault == (black if number in distrusted else ''), number
            expected = 255 if number in distrusted else images[number].argmax(2)
            np.testing.assert_array_equal(task.made['labels'], expected)
    assert dict(report.scene) == {black: len(distrusted)}
    assert (report.segmented, report.complete) == (69, False)


def test_filtered_labels_are_the_same_however_they_are_made(settings, tmp_path):
    """By one thread, by four, or after a run that was killed; and not what they are without."""
    rng = np.random.default_rng(1)
    still = rng.integers(0, 200, (64, 96, 3), np.uint8)
    images = []
    for _ in range(40):
        other = rng.random((64, 96, 1)) < 0.3
        images.append(np.where(other, rng.integers(0, 256, still.shape, np.uint8), still))
    inference = replace(settings.inference, temporal_filter=True)
    filtered = replace(settings, inference=inference)
    plain, _ = run(settings, tmp_path / 'plain', images)
    one, _ = run(filtered, tmp_path / 'one', images)
    run(filtered, tmp_path / 'killed', images[:17])
    for made, _ in (
        run(filtered, tmp_path / 'four', images, count=1000),
        run(filtered, tmp_path / 'killed', images, count=1000),
    ):
        for outputs, expected in zip(made, one, strict=True):
            for name in OUTPUTS:
                np.testing.assert_array_equal(outputs[name], expected[name])

    def changes(made):
        return np.count_nonzero(np.diff([outputs['labels'] for outputs in made], axis=0))

    assert changes(one) < changes(plain) / 2
