"""What frames are made with: all of it or nothing, and nothing twice."""

import builtins
import os
from pathlib import Path

import cv2
import numpy as np
import pytest

pytest.importorskip('rclpy', reason='ROS 2 (ros-rclpy) not installed')

from linknet_ros.errors import ClassNameError, ParameterError, SourceError
from linknet_ros.node import state as module
from linknet_ros.node.parameters import Parameters
from linknet_ros.node.state import State


@pytest.fixture
def state(class_table, tmp_path):
    """A state with an ego mask."""
    mask = str(tmp_path / 'mask.png')
    cv2.imwrite(mask, np.eye(8, dtype=np.uint8) * 255)
    return State.prepare(class_table, Parameters().changed({'ground.ego_mask': mask}))


def test_moving_the_opacity_opens_no_file(state, class_table, monkeypatch):
    opened = []
    for owner, name in ((builtins, 'open'), (os, 'open'), (Path, 'open'), (cv2, 'imread')):
        monkeypatch.setattr(owner, name, lambda *_, n=name, **__: opened.append(n))
    loader = 'linknet_ros.ground.settings.load_ego_mask'
    monkeypatch.setattr(loader, lambda *_: opened.append('mask'))
    changes = {'overlay_opacity': 0.9, 'jpeg_quality': 5, 'min_confidence': 0.2, 'max_age': 1.0}
    changed = State.prepare(class_table, state.parameters.changed(changes), state)
    assert opened == []
    assert changed.products.settings.overlay_opacity == 0.9
    assert changed.ground is state.ground
    assert state.products.settings.overlay_opacity == 0.5
    # What a change does touch is read again: a mask may have been redrawn.
    State.prepare(class_table, state.parameters.changed({'ground.height': 1.0}), state)
    assert opened == ['mask']


def test_what_depends_on_a_change_is_made_of_it(state, class_table):
    changed = State.prepare(
        class_table, state.parameters.changed({'drivable_classes': ['car']}), state
    )
    assert (changed.ground.table != state.ground.table).any()
    np.testing.assert_array_equal(changed.ground.ego_mask, state.ground.ego_mask)
    options = State.prepare(
        class_table,
        state.parameters.changed({'ground.forward': 5.0, 'ground.max_range': 7.0}),
        state,
    ).ground.options
    assert (options.area.forward, options.max_range, options.area.sideways) == (5.0, 7.0, 10.0)
    same = State.prepare(class_table, state.parameters.changed({'max_age': 1.0}), state)
    assert (same.products, same.ground) == (state.products, state.ground)


@pytest.mark.parametrize(
    ('changes', 'error', 'message'),
    [
        ({'ground.unknown_classes': ['moon']}, ClassNameError, "unknown class 'moon'"),
        ({'ground.overhanging_classes': ['moon']}, ClassNameError, "unknown class 'moon'"),
        ({'ground.sideways': 0.0}, ParameterError, 'make 0 cells'),
        ({'image_topic': 'my image'}, ParameterError, "parameter image_topic is 'my image'"),
        ({'ground.ego_mask': '/nowhere.png'}, SourceError, r'read the ego mask /nowhere\.png'),
    ],
)
def test_what_cannot_work(class_table, changes, error, message):
    with pytest.raises(error, match=message):
        State.prepare(class_table, Parameters().changed(changes))


def test_tf_is_needed_only_where_it_is_used(class_table, monkeypatch):
    def fail():
        raise ParameterError('no tf2_ros')

    monkeypatch.setattr(module, 'check_tf', fail)
    State.prepare(class_table, Parameters())
    with pytest.raises(ParameterError, match='no tf2_ros'):
        State.prepare(class_table, Parameters().changed({'ground.use_tf': True}))
