"""The lines that are printed, and the picture."""

import sys

import cv2
import pytest

from linknet_ros.benchmark.node_figures import FIGURES, LABELS, USUAL
from linknet_ros.benchmark.node_report import plot, table
from linknet_ros.errors import LinknetError

BACKENDS = [{'size': '64x32', 'paced_ms': 40.0, 'fps': 25.0, 'cpu_ms': 70.0}]


def row(contender, **figures):
    return {'size': '64x32', 'contender': contender, **dict.fromkeys(FIGURES), **figures}


ROWS = [
    row(LABELS, fps=23.04, fps_ratio=0.92, latency_ms=44.0, latency_p90_ms=47.0, overhead_ms=4.0)
    | {'overload_ms': 61.4, 'cpu_ms': 75.2, 'rss_mb': 400.0, 'pss_mb': 300.0, 'peak_mb': 450.0},
    row(USUAL, fps=4.0, overload_ms=800.0, cpu_ms=260.0),
]


def test_table():
    against = {'64x32': {'times_fps': 5.76, 'share_of_latency': 0.0768, 'share_with_camera': 0.05}}
    goals = [
        {'name': 'a', 'wanted': 'at least 0.9', 'measured': 0.92, 'reached': True},
        {'name': 'b', 'wanted': 'at most 6', 'measured': 6.004, 'reached': False},
        {'name': 'c', 'wanted': 'at most 6', 'measured': None, 'reached': None},
    ]
    lines = table(BACKENDS, ROWS, against, goals).splitlines()
    assert lines[2:] == [
        '| 64x32 | back end alone | 25.0 | - | 40.0 | - | - | - | 70 | - | - | - |',
        '| 64x32 | labels only | 23.0 | 0.92 | 44.0 | 47.0 | 4.0 | 61 | 75 | 400 | 300 | 450 |',
        '| 64x32 | usual node | 4.0 | - | - | - | - | 800 | 260 | - | - | - |',
        '',
        '64x32, overloaded: 5.8 times the frames/s of the usual node, 0.077 of its latency; '
        'with a camera of 30 frames/s, 0.050',
        'reached: a: 0.920, wanted at least 0.9',
        'NOT reached: b: 6.004, wanted at most 6',
        'not measured: c: -, wanted at most 6',
    ]
    assert lines[0].count('|') == lines[1].count('|') == lines[2].count('|') == 13


def test_no_usual_node():
    text = table(BACKENDS, ROWS[:1], {'64x32': {'times_fps': None, 'share_of_latency': None}}, [])
    assert 'usual' not in text


def test_plot(tmp_path):
    pytest.importorskip('matplotlib', reason='matplotlib is not installed')
    path = tmp_path / 'a.png'
    plot(BACKENDS, ROWS, path)
    picture = cv2.imread(str(path))
    assert picture is not None
    # Grey for the back end, matplotlib's blue and orange (as BGR) for the two contenders.
    for color in ((153, 153, 153), (180, 119, 31), (14, 127, 255)):
        assert (picture == color).all(2).sum() > 1000


@pytest.mark.parametrize('module', ['matplotlib.figure', 'matplotlib.backends.backend_agg'])
def test_no_matplotlib(monkeypatch, tmp_path, module):
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(LinknetError, match=r'no plot: .*; pip install matplotlib'):
        plot(BACKENDS, ROWS, tmp_path / 'a.png')
