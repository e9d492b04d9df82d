"""The arithmetic: medians of what was computed within each round, and the targets."""

import pytest

from linknet_ros.benchmark import node_figures as module
from linknet_ros.benchmark.node_figures import ALL, LABELS, USUAL, doubt, row, targets


def window(fps=20.0, latency=60.0, cpu=45.0, camera=30.0, memory=100.0):
    return {
        'fps': fps,
        'camera_fps': camera,
        'latency_ms': latency,
        'latency_p90_ms': 1.5 * latency,
        'cpu_ms': cpu,
        'peer_cpu_ms': 1.0,
        'others': 0.1,
        'rss_mb': memory,
        'pss_mb': memory - 10,
        'peak_mb': memory + 10,
    }


def backend(milliseconds=40.0, fps=25.0, cpu=40.0):
    paced = milliseconds + 1
    times = {'infer_ms': milliseconds, 'paced_ms': paced, 'fps': fps, 'cpu_ms': cpu}
    return {**times, 'others': 0.12}


#: Everything takes twice as long in the second round.
ROUNDS = [
    {
        'backend': backend(),
        LABELS: {
            'overload': window(),
            'paced': window(12.0, 45.0, camera=12.0, memory=120.0),
            'camera': window(20.0, 50.0),
        },
        USUAL: {'overload': window(4.0, 1000.0), 'camera': window(4.0, 2000.0)},
    },
    {
        'backend': backend(80.0, 12.5, 80.0),
        LABELS: {
            'overload': window(11.25, 120.0, 88.0),
            'paced': window(6.0, 90.5, camera=6.0),
            'camera': window(11.0, 100.0),
        },
        USUAL: {'overload': window(2.0, 2000.0), 'camera': window(2.0, 2000.0)},
    },
]


def test_row_compares_within_each_round():
    found = row('480x360', LABELS, ROUNDS)
    assert found.pop('ranges') == {'fps_ratio': (0.8, 0.9), 'overhead_ms': (4.0, 9.5)}
    # The back end's windows count as well.
    assert found.pop('others') == 0.12
    assert found == pytest.approx(
        {
            'size': '480x360',
            'contender': LABELS,
            'fps': (20 + 11.25) / 2,
            # 20 / 25 and 11.25 / 12.5, not the ratio of the means.
            'fps_ratio': 0.85,
            'latency_ms': (45 + 90.5) / 2,
            'latency_p90_ms': 1.5 * (45 + 90.5) / 2,
            # 45 - 41 and 90.5 - 81.
            'overhead_ms': 6.75,
            'overload_ms': (60 + 120) / 2,
            'cpu_ms': (45 + 88) / 2,
            'extra_cpu_ms': (5 + 8) / 2,
            # The larger of both windows, then the median of the rounds.
            'rss_mb': (120 + 100) / 2,
            'pss_mb': (110 + 90) / 2,
            'peak_mb': (130 + 110) / 2,
            'camera_fps': 30.0,
        }
    )


def test_row_without_a_paced_window_and_in_one_round_only():
    found = row('480x360', USUAL, [ROUNDS[0], {'backend': backend()}])
    assert (found['fps'], found['fps_ratio'], found['overload_ms']) == (4.0, 0.16, 1000.0)
    assert (found['latency_ms'], found['overhead_ms']) == (None, None)
    assert found['ranges'] == {'fps_ratio': (0.16, 0.16), 'overhead_ms': None}


def test_backend_row():
    expected = {'size': '9x9', 'infer_ms': 60.0, 'paced_ms': 61.0, 'fps': 18.75, 'cpu_ms': 60.0}
    assert module.backend_row('9x9', ROUNDS) == expected


def test_versus():
    # 20 / 4 and 11.25 / 2; 60 / 1000 and 120 / 2000; 50 / 2000 and 100 / 2000.
    expected = {'times_fps': 5.3125, 'share_of_latency': 0.06, 'share_with_camera': 0.0375}
    assert module.versus(ROUNDS) == pytest.approx(expected)
    alone = [{'backend': backend(), LABELS: ROUNDS[0][LABELS]}]
    assert module.versus(alone) == dict.fromkeys(expected)


def test_targets():
    rows = [
        {'size': '480x360', 'contender': LABELS, 'fps_ratio': 0.9, 'overhead_ms': 9.0},
        {'size': '480x360', 'contender': ALL, 'fps_ratio': 0.1, 'overhead_ms': 9.0},
        {'size': '1280x720', 'contender': LABELS, 'fps_ratio': 0.1, 'overhead_ms': 6.5},
    ]
    against = {
        '480x360': {'times_fps': 7.0, 'share_of_latency': 0.05},
        '1280x720': {'times_fps': 4.5, 'share_of_latency': 0.04},
    }
    expected = [
        ('at least 0.9', 0.9, True),
        ('at most 6', 6.5, False),
        # The worst of the sizes.
        ('at least 5', 4.5, False),
        ('at most 0.1', 0.05, True),
    ]
    assert [(t['wanted'], t['measured'], t['reached']) for t in targets(rows, against)] == expected
    nothing = targets([], {'64x32': {'times_fps': None, 'share_of_latency': None}})
    assert [(t['measured'], t['reached']) for t in nothing] == [(None, None)] * 4


@pytest.mark.parametrize(
    ('changes', 'said'),
    [
        ({}, ''),
        ({'fps': None, 'camera_fps': None}, ''),
        ({'others': 0.3}, 'other processes used up to 0.3 cores meanwhile, more than the 0.15'),
        ({'camera_fps': 21.0}, 'the camera could not overload the node (labels only at 9x9)'),
        ({'ranges': {'fps_ratio': (0.7, 0.9)}}, 'rounds differ by more than a quarter'),
    ],
)
def test_doubt(changes, said):
    sound = {'size': '9x9', 'contender': LABELS, 'fps': 20.0, 'camera_fps': 30.0}
    sound['others'] = 0.15
    found = doubt([{**sound, 'ranges': {'fps_ratio': (0.8, 0.9)}, **changes}])
    assert found.startswith(said)
    assert bool(found) == bool(said)
