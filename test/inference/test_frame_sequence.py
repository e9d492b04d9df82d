"""What the frames of a camera say of each other: hysteresis, frozen cameras, one camera each."""

from dataclasses import replace

import numpy as np
import pytest

from linknet_ros.inference.frame_sequence import FROZEN, RECOVERY, FrameSequence
from linknet_ros.inference.scene_check import look_at
from linknet_ros.inference.scene_model import MEASURES, SceneModel
from linknet_ros.inference.segmenter import Segmenter
from linknet_ros.inference.settings import InferenceSettings

BLACK = MEASURES['black'].fault
SETTINGS = InferenceSettings()


@pytest.fixture
def segmenter(model):
    pytest.importorskip('onnxruntime', reason='ONNX Runtime (extra "cpu") not installed')
    picky = replace(model, scene=SceneModel({'black': 0.5}))
    return Segmenter(picky, backend='onnxruntime')


@pytest.fixture
def shown(segmenter):
    """Take frames of 10 Hz through a sequence: faults, and whether each is unlabelled."""

    def take(sequence, frames, settings=SETTINGS, stamps=None):
        faults, unlabelled = [], []
        for number, frame in enumerate(frames, 1):
            fitted = segmenter.fit(frame)
            inferred = segmenter.infer(fitted)
            look = look_at(fitted) if settings.scene_check != 'off' else None
            stamp = number * 10**8 if stamps is None else stamps[number - 1]
            faults.append(sequence.take(segmenter.model, look, inferred, stamp, settings))
            gone = inferred.labels == 255
            assert gone.all() == gone.any() == (inferred.confidence == 0).all()
            unlabelled.append(bool(gone.all()))
        return faults, unlabelled

    return take


@pytest.fixture
def good(frames):
    return frames(40)


def black():
    return np.full((64, 96, 3), 4, np.uint8)


def test_a_fault_acts_at_once_and_ends_after_some_good_frames(shown, good):
    frames = [*good[:3], black(), *good[3 : 3 + RECOVERY + 1]]
    faults, unlabelled = shown(FrameSequence(), frames)
    assert faults == [''] * 3 + [BLACK] * RECOVERY + [''] * 2
    assert unlabelled == [bool(fault) for fault in faults]


def test_one_good_frame_between_bad_ones_is_not_believed(shown, good):
    faults, _ = shown(FrameSequence(), [black(), good[0], black(), *good[1 : 1 + RECOVERY]])
    assert faults == [BLACK] * (2 + RECOVERY) + ['']


def test_pictures_that_are_alone_are_judged_alone(shown, good):
    faults, _ = shown(FrameSequence(alone=True), [black(), good[0], *[good[1]] * 8])
    assert faults == [BLACK] + [''] * 9


@pytest.mark.parametrize(('mode', 'fault'), [('warn', BLACK), ('off', '')])
def test_modes_that_leave_the_labels(shown, mode, fault):
    sequence = FrameSequence()
    settings = InferenceSettings(scene_check=mode)
    assert shown(sequence, [black()], settings) == ([fault], [False])
    assert sequence.values()['scene'] == (fault or 'good')
    # Off and on again is a fresh start.
    assert shown(sequence, [black()]) == ([BLACK], [True])


def test_a_frozen_camera(shown, good):
    still = [good[0]] * 8
    faults, unlabelled = shown(FrameSequence(), [*still, *good[1 : 1 + RECOVERY]])
    assert faults == [''] * 5 + [FROZEN] * (3 + RECOVERY - 1) + ['']
    assert unlabelled == [bool(fault) for fault in faults]


@pytest.mark.parametrize(
    ('settings', 'stamps', 'frozen'),
    [
        (SETTINGS, [7] * 8, False),  # one message again and again
        (SETTINGS, [0] * 8, True),  # a driver without stamps
        (replace(SETTINGS, frozen_frames=0), None, False),
        (replace(SETTINGS, frozen_frames=2), [1, 1, 2, 2, 3, 3, 3, 3], True),
        (replace(SETTINGS, frozen_frames=3), [1, 1, 2, 2, 3, 3, 3, 3], False),
    ],
)
def test_what_counts_as_frozen(shown, good, settings, stamps, frozen):
    faults, _ = shown(FrameSequence(), [good[0]] * 8, settings, stamps)
    assert (FROZEN in faults) == frozen


def test_one_pixel_is_life_enough(shown, good):
    """Eight levels in a pixel are half a level in the mean of 4x4: the least that is seen."""
    frames = []
    for number in range(12):
        frame = good[0].copy()
        frame[32, 48] = 100 + 16 * (number % 2)
        frames.append(frame)
    assert shown(FrameSequence(), frames)[0] == [''] * 12


def test_each_camera_has_its_own(shown, good):
    one, other = FrameSequence(), FrameSequence()
    assert (one.values()['scene'], one.recent_fault()) == ('good', '')
    shown(one, [black()])
    assert shown(other, good[:2]) == ([''] * 2, [False] * 2)
    assert (one.faults, other.faults) == (1, 0)
    assert one.values() == {'scene': BLACK, 'scene, frames with faults': '1'}
    assert (one.recent_fault(), one.recent_fault()) == (BLACK, '')


def test_another_model_begins_anew(shown, good, segmenter):
    sequence = FrameSequence()
    shown(sequence, [black()])
    segmenter.model = replace(segmenter.model, scene=SceneModel({}))
    assert shown(sequence, [good[0], black()])[0] == ['', '']


@pytest.mark.parametrize(
    ('dark', 'alone', 'expected'),
    [
        # Drivable to obstacle, unsure of it (200 of 255): with the second frame.
        (0, False, [0, 0, 0, 1, 1]),
        # What was seen before a lens was covered says nothing of what is seen after.
        (1, False, [0, 0] + [255] * RECOVERY + [1]),
        (0, True, [0, 0, 1, 1, 1]),
    ],
)
def test_what_the_filter_takes_for_one_sequence(segmenter, dark, alone, expected):
    blue, green = np.zeros((2, 64, 96, 3), np.uint8)
    blue[..., 0], green[..., 1], green[20:, :, 0] = 200, 200, 250
    settings = InferenceSettings(temporal_filter=True)
    sequence, labels = FrameSequence(alone=alone), []
    # Eight good frames, so that the camera is believed again.
    frames = [blue] * 2 + [black()] * dark + [green + number for number in range(8)]
    for number, frame in enumerate(frames, 1):
        fitted = segmenter.fit(frame)
        inferred = segmenter.infer(fitted)
        sequence.take(segmenter.model, look_at(fitted), inferred, number * 10**8, settings)
        labels.append(inferred.labels[0, 0])
    assert labels[: len(expected)] == expected
