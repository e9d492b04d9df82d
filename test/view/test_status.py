"""States in plain words: no state of the robot looks like another."""

import json
from dataclasses import replace

import pytest

from linknet_ros.view.status import Facts, LegendEntry, Report, status_of

NOW = 1000.0

FINE = Facts(
    '/front/linknet',
    since=NOW - 60,
    present=True,
    report=Report(NOW - 0.5, False, '9.9 frames per second', {'state': 'active', 'received': '7'}),
    camera='/camera/image_raw',
    senders=1,
    parameters={'overlay_opacity': 0.5, 'min_confidence': 0.0},
    legend=(LegendEntry('road', (128, 64, 128), True), LegendEntry('<b>', (1, 2, 3), False)),
)

FRESH = {'camera': NOW - 0.1, 'overlay': NOW - 0.2, 'grid': NOW - 0.2}


def note(facts=FINE, **changes):
    status = status_of(replace(facts, **changes), FRESH, NOW)
    return status['level'], status['note']


def hints(times, facts=FINE, **changes):
    return status_of(replace(facts, **changes), times, NOW)['hints']


def report(age, state='active', fault=False, message='m'):
    return Report(NOW - age, fault, message, {'state': state})


def test_all_is_well():
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


def test_node_is_not_there():
    level, text = note(present=False, report=None)
    assert level == 'error'
    assert text.startswith('no node /front/linknet here; start it')


@pytest.mark.parametrize('present', [None, False, True])
def test_nothing_is_claimed_too_early(present):
    assert note(present=present, report=None, since=NOW - 1) == (
        'wait',
        'looking for /front/linknet',
    )
    assert note(present=None, report=None, since=None)[0] == 'wait'


def test_node_that_died_is_said_though_the_graph_still_has_it():
    level, text = note(report=report(12))
    assert level == 'error'
    assert text.startswith('/front/linknet has been silent for 12 s; it hangs, has died')
    # Its last numbers are not shown as if they were those of now.
    status = status_of(replace(FINE, report=report(12)), {}, NOW)
    assert status['values'] == {}
    assert status['parameters'] == {'overlay_opacity': None, 'min_confidence': None}


def test_node_without_diagnostics():
    level, text = note(report=None)
    assert (level, text.split(';')[0]) == ('error', '/front/linknet sends no diagnostics')


def test_reports_count_before_the_graph_does():
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
    assert note(report=report(0.2, state)) == ('warn', text)


def test_faults_of_the_node_are_shown():
    assert note(report=report(0.2, fault=True, message='3 x bad frame')) == (
        'warn',
        '3 x bad frame',
    )


@pytest.mark.parametrize(
    ('changes', 'hint'),
    [
        ({'camera': ''}, 'the node listens to no camera'),
        ({'senders': 0}, 'nobody publishes on /camera/image_raw'),
        ({}, 'no frame on /camera/image_raw for 30 s'),
    ],
)
def test_camera_is_silent(changes, hint):
    old = {'camera': NOW - 30, 'overlay': NOW - 30, 'grid': NOW - 30}
    assert hints(old, **changes) == {
        'camera': hint,
        'overlay': 'the node gets no frames',
        'grid': 'no grid for 30 s',
    }


def test_overlay_alone_is_old():
    assert hints({**FRESH, 'overlay': NOW - 5}) == {'overlay': 'no overlay for 5 s'}


def test_no_grid():
    found = hints({name: FRESH[name] for name in ('camera', 'overlay')})
    assert list(found) == ['grid']
    assert 'camera_info' in found['grid']
    assert 'ground.height' in found['grid']


def test_first_pictures_are_waited_for():
    assert hints({}, since=NOW - 1) == dict.fromkeys(('camera', 'overlay', 'grid'), 'waiting')
    assert hints({}, since=NOW - 3)['camera'] == 'no frame on /camera/image_raw so far'


def test_parameters_that_are_not_known_are_null():
    status = status_of(Facts('/linknet'), {}, NOW)
    assert status['parameters'] == {'overlay_opacity': None, 'min_confidence': None}
