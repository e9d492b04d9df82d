"""Clocks that jump or stand still, against a steady one that the test turns."""

import pytest

from linknet_ros.node.clock_watch import (
    STAMP_AHEAD,
    STAMP_BEHIND,
    ClockWatch,
    status_line,
)


def checks(pairs, simulated=False):
    watch = ClockWatch()
    return watch, [watch.check(clock, steady, simulated=simulated) for clock, steady in pairs]


def test_a_clock_that_runs():
    watch, said = checks([(1000.0 + t, 5.0 + t) for t in range(20)])
    assert said == [''] * 20
    assert watch.jumps == 0


@pytest.mark.parametrize(('jump', 'text'), [(3.0, '+3.0'), (-0.6, '-0.6'), (86400.0, '+86400.0')])
def test_a_jump_is_said_for_ten_seconds_and_counted(jump, text):
    watch, said = checks([(1000.0 + t + (jump if t >= 5 else 0), float(t)) for t in range(20)])
    assert said == [''] * 5 + [f'the clock jumped by {text} s'] * 10 + [''] * 5
    assert watch.jumps == 1


def test_a_node_that_was_held_up_saw_no_jump():
    watch, said = checks([(1000.0, 0.0), (1001.0, 1.0), (1009.0, 9.0)])
    assert said == ['', '', '']
    assert watch.jumps == 0


def test_simulated_time_may_run_at_any_speed_and_pause():
    watch, said = checks([(10.0, 0.0), (12.0, 1.0), (12.0, 2.0), (30.0, 3.0)], simulated=True)
    assert said == [''] * 4
    assert watch.jumps == 0


def test_simulated_time_that_starts_again():
    watch, said = checks([(50.0, 0.0), (51.0, 1.0), (2.0, 2.0), (3.0, 3.0)], simulated=True)
    assert said == ['', '', *['the clock jumped by -49.0 s'] * 2]
    assert watch.jumps == 1


def test_no_simulated_time():
    watch, said = checks([(0.0, 0.0), (0.0, 1.0), (7.0, 2.0)], simulated=True)
    missing = 'use_sim_time is set, but no time comes on /clock; play it, or unset it'
    assert said == [missing, missing, '']
    assert watch.jumps == 0


@pytest.mark.parametrize(
    ('fps', 'age', 'expected'),
    [
        (12.34, 0.0841, '12.3 fps  latency 84 ms'),
        (None, 0.0841, 'latency 84 ms'),
        (5.0, 1.5, '5.0 fps  latency 1500 ms'),
        # A few milliseconds ahead: the same clock, and never a latency below 0.
        (5.0, -0.01, '5.0 fps  latency 0 ms'),
        # Without a stamp, of a recording of yesterday, of a camera whose clock is ahead.
        (5.0, None, '5.0 fps  inference 40 ms'),
        (5.0, 86400.0, '5.0 fps  inference 40 ms'),
        (None, -3.0, 'inference 40 ms'),
        (5.0, STAMP_BEHIND + 0.1, '5.0 fps  inference 40 ms'),
        (5.0, -STAMP_AHEAD - 0.01, '5.0 fps  inference 40 ms'),
    ],
)
def test_status_line(fps, age, expected):
    assert status_line(fps, age, 0.0402) == expected
    fault = 'black: no light, or the lens is covered'
    assert status_line(fps, age, 0.0402, fault) == f'{expected}  not believed: black'
