"""The status that the node reports: level, message and values."""

from types import MappingProxyType

import pytest

pytest.importorskip('rclpy', reason='ROS 2 (ros-rclpy) not installed')

from diagnostic_msgs.msg import DiagnosticStatus

from linknet_ros.node.diagnostics import STALE_AFTER, Report, diagnostic_status
from linknet_ros.node.statistics import Drop, Snapshot

OK, WARN = DiagnosticStatus.OK, DiagnosticStatus.WARN

NOTHING = MappingProxyType({})


def snapshot(**changes):
    """Snapshot of a node that runs well, but for the changes."""
    values = {
        'received': 120,
        'published': 100,
        'dropped': {Drop.REPLACED: 15, Drop.NO_SUBSCRIBER: 5},
        'seconds': 1.0,
        'input_fps': 29.96,
        'output_fps': 24.04,
        'new_drops': {Drop.REPLACED: 6},
        'stage_ms': {'wait': 0.26, 'fit': 1.0, 'infer': 33.33, 'products': 0.5, 'publish': 2.06},
        'latency_ms': 40.0,
        'input_age': 0.03,
    }
    return Snapshot(**(values | changes))


def before_the_first_frame(**changes):
    nothing = {'received': 0, 'published': 0, 'dropped': NOTHING, 'new_drops': NOTHING}
    rates = {'input_fps': 0.0, 'output_fps': 0.0, 'stage_ms': NOTHING}
    rates |= {'latency_ms': None, 'input_age': None}
    return snapshot(**(nothing | rates | changes))


def status_of(snapshot, state='active', settings=NOTHING, faults=()):
    return diagnostic_status('linknet', state, Report('', snapshot, settings, faults))


def values_of(status):
    """Values by key; no key comes twice."""
    values = {value.key: value.value for value in status.values}
    assert len(values) == len(status.values)
    return values


def test_values():
    settings = {'model': 'm.onnx', 'backend': 'openvino', 'precision': 'bf16'}
    status = status_of(snapshot(), settings=settings)
    assert values_of(status) == {
        'state': 'active',
        'model': 'm.onnx',
        'backend': 'openvino',
        'precision': 'bf16',
        'input fps': '30.0',
        'output fps': '24.0',
        'received': '120',
        'published': '100',
        'dropped, replaced by a newer frame': '15',
        'dropped, nobody subscribed': '5',
        'dropped, beyond max_rate': '0',
        'dropped, disabled': '0',
        'dropped, older than max_age': '0',
        'dropped, bad frame': '0',
        'dropped, processing failed': '0',
        'dropped, node deactivated': '0',
        'wait ms': '0.3',
        'fit ms': '1.0',
        'infer ms': '33.3',
        'products ms': '0.5',
        'publish ms': '2.1',
        'latency ms': '40.0',
    }
    assert status.hardware_id == 'openvino'


def test_values_before_the_first_frame():
    status = status_of(before_the_first_frame(), 'unconfigured')
    assert values_of(status) == {
        'state': 'unconfigured',
        'input fps': '0.0',
        'output fps': '0.0',
        'received': '0',
        'published': '0',
        **{f'dropped, {drop.value}': '0' for drop in Drop},
    }
    assert status.hardware_id == ''


def test_names_of_the_node_and_of_a_camera():
    for camera, name in (('', 'robot/linknet'), ('rear', 'robot/linknet/rear')):
        status = diagnostic_status('robot/linknet', 'active', Report(camera, snapshot(), {}))
        assert status.name == f'{name}: segmentation'


def test_the_node_has_no_counts_beside_its_cameras():
    report = Report('', None, {'model': 'm.onnx'})
    status = diagnostic_status('linknet', 'active', report)
    assert (status.level, status.message) == (OK, 'active')
    assert values_of(status) == {'state': 'active', 'model': 'm.onnx'}


@pytest.mark.parametrize('state', ['unconfigured', 'inactive', 'finalized'])
def test_what_is_not_active_is_not_a_fault(state):
    for quiet in (before_the_first_frame(), snapshot(input_age=60.0, output_fps=0.0)):
        status = status_of(quiet, state, faults=['no engine'])
        assert (status.level, status.message) == (OK, state)
        assert values_of(status)['state'] == state


RUNS = '24.0 frames per second'
SILENT = 'no frame yet; is the image topic right?'
UNSTAMPED = 'frames have no stamp, so nobody knows how old they are; check the camera driver'
AHEAD = "stamps are 1.5 s ahead of the clock; synchronise the camera's clock"
BEHIND = (
    "stamps are 86400 s behind the clock; synchronise the camera's clock, or for a recording set "
    'use_sim_time'
)


@pytest.mark.parametrize(
    ('seen', 'level', 'message'),
    [
        (snapshot(), OK, RUNS),
        (before_the_first_frame(), WARN, SILENT),
        (snapshot(input_age=7.4, output_fps=0.0), WARN, 'no frame for 7 s'),
        (snapshot(input_age=STALE_AFTER), OK, RUNS),
        (snapshot(input_age=STALE_AFTER + 0.01), WARN, 'no frame for 2 s'),
        (snapshot(new_drops={Drop.BAD_FRAME: 3, Drop.REPLACED: 9}), WARN, '3 x bad frame'),
        (
            snapshot(new_drops={Drop.FAILED: 2, Drop.BAD_FRAME: 1}),
            WARN,
            '1 x bad frame; 2 x processing failed',
        ),
        # Of the past: counted, but not reported again.
        (snapshot(dropped={Drop.BAD_FRAME: 3}, new_drops={Drop.BAD_FRAME: 0}), OK, RUNS),
        *(
            (snapshot(new_drops={reason: 50}), OK, RUNS)
            for reason in (Drop.REPLACED, Drop.NO_SUBSCRIBER, Drop.INACTIVE)
        ),
        (
            snapshot(output_fps=0.0, new_drops={Drop.NO_SUBSCRIBER: 30}),
            OK,
            'idle: nobody subscribes',
        ),
        (snapshot(latency_ms=None), WARN, UNSTAMPED),
        (snapshot(latency_ms=-1500.0), WARN, AHEAD),
        (snapshot(latency_ms=86400e3), WARN, BEHIND),
        *((snapshot(latency_ms=ms), OK, RUNS) for ms in (-49.0, 0.0, 9999.0)),
        # Nothing passed.
        (snapshot(latency_ms=None, stage_ms=NOTHING), OK, RUNS),
    ],
)
def test_level_and_message(seen, level, message):
    status = status_of(seen)
    assert (status.level, status.message) == (level, message)


def test_faults_beside_the_frames_come_first():
    faults = ['no engine', 'the clock jumped by +3.0 s']
    status = status_of(snapshot(new_drops={Drop.TOO_OLD: 4}), faults=faults)
    assert status.level == WARN
    assert status.message == 'no engine; the clock jumped by +3.0 s; 4 x older than max_age'
