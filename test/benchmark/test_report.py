"""The tables' lines and the pictures, of the back ends and of the node."""

import sys

import cv2
import pytest

from linknet_ros.benchmark import node_report, report
from linknet_ros.benchmark.node_figures import FIGURES as NODE_FIGURES
from linknet_ros.benchmark.node_figures import LABELS, USUAL
from linknet_ros.errors import LinknetError


def row(contender, size='64x32', **figures):
    figures = {'ratio': 1.0, 'ratio_range': (1.0, 1.0), 'agreement': 1.0, **figures}
    whole = {'median_ms': 10.0, 'p90_ms': 12.04, 'fps': 95.0, 'ready_s': 0.25}
    return {'size': size, 'contender': contender, **whole, 'peak_mb': 99.6, 'held_mb': 42.0} | (
        figures
    )


FAILED = {**dict.fromkeys(report.FIGURES), 'agreement': None}


def test_table():
    rows = [
        row('openvino fp32'),
        row('openvino bf16', ratio=0.5, ratio_range=(0.48, 0.55), agreement=0.99875),
        row('tensorrt fp16', **FAILED),
    ]
    lines = report.table(rows, 'openvino fp32').splitlines()
    assert '| x openvino fp32 |' in lines[0]
    assert lines[2:] == [
        '| 64x32 | openvino fp32 | 10.0 | 12.0 | 95.0 | 1.00 | 0.2 | 100 | 42 | 100.000 |',
        '| 64x32 | openvino bf16 | 10.0 | 12.0 | 95.0 | 0.50 (0.48 to 0.55) | 0.2 | 100 | 42 '
        '| 99.875 |',
        '| 64x32 | tensorrt fp16 | - | - | - | - | - | - | - | - |',
    ]
    assert lines[0].count('|') == lines[1].count('|') == lines[2].count('|')


def test_doubt():
    sound, failed = row('a'), row('c', **FAILED)
    assert report.doubt([sound, row('b', ratio_range=(0.8, 0.99)), failed]) == ''
    assert report.doubt([sound, row('b', ratio_range=(0.8, 1.01)), failed]).startswith(
        '1 of 2 ratios differ by more than a quarter between rounds: the machine is busy'
    )


BACKENDS = [{'size': '64x32', 'paced_ms': 40.0, 'fps': 25.0, 'cpu_ms': 70.0}]
NODE = {'size': '64x32', **dict.fromkeys(NODE_FIGURES)}
NODES = [
    {**NODE, 'contender': LABELS, 'fps': 23.04, 'fps_ratio': 0.92, 'latency_ms': 44.0}
    | {'latency_p90_ms': 47.0, 'overhead_ms': 4.0, 'overload_ms': 61.4, 'cpu_ms': 75.2}
    | {'rss_mb': 400.0, 'pss_mb': 300.0, 'peak_mb': 450.0},
    {**NODE, 'contender': USUAL, 'fps': 4.0, 'overload_ms': 800.0, 'cpu_ms': 260.0},
]


def test_table_of_the_node():
    against = {'64x32': {'times_fps': 5.76, 'share_of_latency': 0.0768, 'share_with_camera': 0.05}}
    goals = [
        {'name': 'a', 'wanted': 'at least 0.9', 'measured': 0.92, 'reached': True},
        {'name': 'b', 'wanted': 'at most 6', 'measured': 6.004, 'reached': False},
        {'name': 'c', 'wanted': 'at most 6', 'measured': None, 'reached': None},
    ]
    lines = node_report.table(BACKENDS, NODES, against, goals).splitlines()
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
    alone = {'64x32': {'times_fps': None, 'share_of_latency': None}}
    assert 'usual' not in node_report.table(BACKENDS, NODES[:1], alone, [])


BACKEND_ROWS = [row('a'), row('b', peak_mb=None), row('c', '96x64', **FAILED)]


@pytest.mark.parametrize(
    'plot',
    [
        lambda path: report.plot(BACKEND_ROWS, path),
        lambda path: node_report.plot(BACKENDS, NODES, path),
    ],
)
def test_plot(monkeypatch, tmp_path, plot):
    pytest.importorskip('matplotlib', reason='matplotlib is not installed')
    plot(tmp_path / 'a.png')
    picture = cv2.imread(str(tmp_path / 'a.png'))
    assert picture is not None
    # The first two colours of matplotlib, blue and orange, as BGR.
    for color in ((180, 119, 31), (14, 127, 255)):
        assert (picture == color).all(2).sum() > 1000
    for module in ('matplotlib.figure', 'matplotlib.backends.backend_agg'):
        with monkeypatch.context() as patch:
            patch.setitem(sys.modules, module, None)
            with pytest.raises(LinknetError, match=r'no plot: .*; pip install matplotlib'):
                plot(tmp_path / 'b.png')
