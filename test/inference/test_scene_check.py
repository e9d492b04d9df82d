"""What a scene check says of pictures and labels that are made for it."""

import json
from dataclasses import replace

import cv2
import numpy as np
import pytest

from linknet_ros.errors import ModelError
from linknet_ros.inference.fitting import FrameFitter, fit_frame
from linknet_ros.inference.model_file import load_model
from linknet_ros.inference.scene_check import SceneCheck, look_at
from linknet_ros.inference.scene_model import MEASURES, PARTS, PICTURE_LIMITS, SceneModel
from linknet_ros.inference.segmenter import Fitted, Inferred
from linknet_ros.simulation.street import StreetDrive

#: Sky above, road below: class 1 is hardly ever seen in the upper half, class 0 in the lower.
LAYOUT = (((5, 300), (5, 300)),) * 2 + (((300, 5), (300, 5)),) * 2
STREET = SceneModel({'street': 0.0}, (1.0, -1.0, 2.0), LAYOUT)


def fitted(frame):
    fitter = FrameFitter(fit_frame(frame.shape[1], frame.shape[0], 480, 360))
    return Fitted(fitter, fitter.to_network(frame))


def fault_of(frame, scene=None):
    seen = fitted(frame)
    labels = np.zeros(seen.image.shape[:2], np.uint8)
    return SceneCheck(scene or SceneModel()).fault(
        look_at(seen), Inferred(seen.fitter, labels, labels)
    )


def noisy(values):
    return np.clip(values + np.random.default_rng(0).normal(0, 2, values.shape), 0, 255).astype(
        np.uint8
    )


@pytest.fixture(scope='module')
def street():
    return StreetDrive(2).frame(5.0).bgr


@pytest.mark.parametrize(
    'change',
    [
        lambda frame: frame,
        lambda frame: frame[:, ::-1],
        lambda frame: noisy(frame * 0.3),
        lambda frame: cv2.resize(frame, (1242, 375)),
        lambda frame: cv2.resize(frame, (320, 240)),
    ],
)
def test_a_good_picture(street, change):
    assert fault_of(np.ascontiguousarray(change(street))) == ''


@pytest.mark.parametrize(
    ('fault', 'change'),
    [
        ('black', lambda frame: noisy(frame * 0.0)),
        ('detail', lambda frame: noisy(frame * 0.0 + 30)),
        ('white', lambda frame: np.clip(frame * 4.0 + 120, 0, 255).astype(np.uint8)),
        ('contrast', lambda frame: noisy(frame * 0.1 + 180)),
        ('sharpness', lambda frame: noisy(cv2.GaussianBlur(frame, (0, 0), 7))),
        ('noise', lambda frame: np.random.default_rng(0).integers(0, 256, frame.shape, np.uint8)),
    ],
)
def test_faults_of_a_picture(street, fault, change):
    assert fault_of(change(street)) == MEASURES[fault].fault


def test_padding_is_not_looked_at(street):
    """The network's input repeats the last row and column."""
    frame = street[:330, :470].copy()
    look = look_at(fitted(frame))
    assert look.luma.shape == (330 * 480 // 470 // 4, 120)


@pytest.mark.parametrize(
    ('labels', 'confidence', 'good'),
    [
        ([[0, 0], [1, 1]], 255, True),
        ([[0, 0], [1, 1]], 60, True),
        ([[1, 1], [0, 0]], 255, False),
        ([[0, 1], [0, 1]], 255, False),
        ([[1, 1], [1, 1]], 100, False),
    ],
)
def test_places_of_classes(street, labels, confidence, good):
    seen = fitted(street)
    shown = np.kron(np.array(labels, np.uint8), np.ones((180, 240), np.uint8))
    inferred = Inferred(seen.fitter, shown, np.full_like(shown, confidence))
    check = SceneCheck(STREET)
    assert check.fault(look_at(seen), inferred) == ('' if good else MEASURES['street'].fault)
    figures = check.measures(look_at(seen), inferred)
    # Mean cost as it is, and at best of the three turned ones.
    costs = {0: (5, 300), 1: (300, 5)}
    upright = np.mean([costs[label][row] for row in (0, 1) for label in labels[row]]) / 100
    assert figures['layout'] == pytest.approx(-upright, abs=1e-3)
    assert figures['confidence'] == pytest.approx(confidence / 255)
    assert figures['street'] == pytest.approx(
        figures['layout'] - figures['turned'] + 2 * figures['confidence']
    )


def test_a_label_of_no_class_is_no_crash(street):
    seen = fitted(street)
    labels = np.full((360, 480), 200, np.uint8)
    figures = SceneCheck(STREET).measures(look_at(seen), Inferred(seen.fitter, labels, labels))
    assert np.isfinite(list(figures.values())).all()


def test_metadata(channel_proto, with_metadata, write_model):
    scene = replace(STREET, layout=tuple(tuple((*cell, 9) for cell in row) for row in LAYOUT))
    path = write_model(with_metadata(channel_proto, scene_check=scene.text()))
    assert load_model(path).scene == scene
    plain = load_model(write_model(with_metadata(channel_proto, scene_check='')))
    assert plain.scene == SceneModel(PICTURE_LIMITS)
    newer = json.loads(scene.text())
    newer['limits'] |= {'of a later version': 1}
    assert (
        load_model(write_model(with_metadata(channel_proto, scene_check=json.dumps(newer)))).scene
        == scene
    )


@pytest.mark.parametrize(
    'change',
    [
        {'limits': {'street': float('nan')}},
        {'limits': {'street': 'high'}},
        {'limits': None},
        {'weights': [1.0] * (len(PARTS) - 1)},
        {'layout': [[[1, 2]]]},
        {'layout': [[[1, 2, 3]], [[1, 2, 3], [1, 2, 3]]]},
        {'layout': 7},
    ],
)
def test_damaged_metadata(channel_proto, with_metadata, write_model, change):
    said = {'limits': {}, 'weights': [1.0] * len(PARTS), 'layout': [[[1, 2, 3]]]}
    good = with_metadata(channel_proto, scene_check=json.dumps(said))
    load_model(write_model(good))
    path = write_model(with_metadata(good, scene_check=json.dumps(said | change)))
    with pytest.raises(ModelError, match='damaged metadata'):
        load_model(path)
