"""States in plain words; no state of the robot looks like another."""

import json
from dataclasses import replace

import pytest

from linknet_ros.view.status import Diagnostics, Facts, LegendEntry, status_of

NOW = 1000.0

FINE = Facts(
    '/front/linknet',
    watched_since=NOW - 60,
    present=True,
    diagnostics=Diagnostics(
        NOW - 0.5, False, '9.9 frames per second', {'state': 'active', 'received': '7'}
    ),
    camera='/camera/image_raw',
    publishers=1,
    parameters={'overlay_opacity': 0.5, 'min_confidence': 0.0},
    legend=(LegendEntry('road', (128, 64, 128), True), LegendEntry('<b>', (1, 2, 3), False)),
)

FRESH = {'camera': NOW - 0.1, 'overlay': NOW - 0.2, 'grid': NOW - 0.2}


def note(facts=FINE, **changes):
    status = status_of(replace(facts, **changes), FRESH, NOW)
    return status['level'], status['note']


def hints(times, facts=FINE, **changes):
    return status_of(replace(facts, **changes), times, NOW)['hints']


def diagnostics(age, state='active', fault=False, message='m'):
    return Diagnostics(NOW - age, fault, message, {'state': state})


def test_everything_works():
    status = status_of(FINE, FRESH, NOW)
    assert json.loads(json.dumps(status)) == {
        'now': NOW,
        'node': '/front/linknet',
        'level': 'ok',
        'note': '9.9 frames per second',
        'hints': {},
        'values': {'state': 'active', 'received': '7'},
        'parameters': {'overlay_opacity': 0.5, 'min_confidence': 0.0},
        'legend': [
            {'name': 'road', 'color': [128, 64, 128], 'drivable': True},
            {'name': '<b>', 'color': [1, 2, 3], 'drivable': False},
        ],
        'legend_problem': '',
    }


@pytest.mark.parametrize(
    ('changes', 'text'),
    [
        ({'present': False}, '/front/linknet is not running; start it'),
        ({'present': True}, '/front/linknet publishes no diagnostics; it hangs'),
    ],
)
def test_node_without_diagnostics(changes, text):
    level, found = note(diagnostics=None, **changes)
    assert level == 'error'
    assert found.startswith(text)


@pytest.mark.parametrize('present', [None, False, True])
def test_waits_before_an_error(present):
    assert note(present=present, diagnostics=None, watched_since=NOW - 1) == (
        'wait',
        'looking for /front/linknet',
    )
    assert note(present=None, diagnostics=None, watched_since=None)[0] == 'wait'


def test_node_that_died_though_the_graph_still_has_it():
    level, text = note(diagnostics=diagnostics(12))
    assert level == 'error'
    assert text.startswith('/front/linknet has been silent for 12 s; it hangs, has died')
    # Its last numbers must not look like current ones.
    status = status_of(replace(FINE, diagnostics=diagnostics(12)), {}, NOW)
    assert status['values'] == {}
    assert status['parameters'] == {'overlay_opacity': None, 'min_confidence': None}


def test_diagnostics_count_before_the_graph_does():
    assert note(present=False)[0] == 'ok'


@pytest.mark.parametrize(
    ('state', 'text'),
    [
        (
            'inactive',
            '/front/linknet is inactive and takes no frames; '
            'ros2 lifecycle set /front/linknet activate',
        ),
        (
            'unconfigured',
            '/front/linknet is unconfigured and takes no frames; '
            'ros2 lifecycle set /front/linknet configure',
        ),
        ('finalized', "/front/linknet is in state 'finalized' and takes no frames"),
        ('', "/front/linknet is in state '' and takes no frames"),
    ],
)
def test_lifecycle(state, text):
    assert note(diagnostics=diagnostics(0.2, state)) == ('warn', text)


def test_fault_of_the_node_is_shown():
    newest = diagnostics(0.2, fault=True, message='3 x bad frame')
    assert note(diagnostics=newest) == ('warn', '3 x bad frame')


@pytest.mark.parametrize(
    ('changes', 'hint'),
    [
        ({'camera': ''}, 'the node subscribes to no camera'),
        ({'publishers': 0}, 'nobody publishes /camera/image_raw'),
        ({}, 'no frame on /camera/image_raw for 30 s'),
    ],
)
def test_camera_without_frames(changes, hint):
    old = {'camera': NOW - 30, 'overlay': NOW - 30, 'grid': NOW - 30}
    assert hints(old, **changes) == {
        'camera': hint,
        'overlay': 'the node gets no frames',
        'grid': 'no grid for 30 s',
    }


def test_missing_overlay_and_grid():
    assert hints({**FRESH, 'overlay': NOW - 5}) == {'overlay': 'no overlay for 5 s'}
    found = hints({name: FRESH[name] for name in ('camera', 'overlay')})
    assert list(found) == ['grid']
    assert 'camera_info' in found['grid']
    assert 'ground.height' in found['grid']


def test_waits_for_the_first_pictures():
    assert hints({}, watched_since=NOW - 1) == dict.fromkeys(
        ('camera', 'overlay', 'grid'), 'waiting'
    )
    assert hints({}, watched_since=NOW - 3)['camera'] == 'no frame on /camera/image_raw so far'
