"""The table's lines and the picture."""

import sys

import cv2
import pytest

from linknet_ros.benchmark.report import FIGURES, doubt, plot, table
from linknet_ros.errors import LinknetError


def row(contender, size='64x32', **figures):
    whole = {
        'median_ms': 10.0,
        'p90_ms': 12.04,
        'fps': 95.0,
        'ratio': 1.0,
        'ratio_range': (1.0, 1.0),
        'ready_s': 0.25,
        'peak_mb': 99.6,
        'held_mb': 42.0,
        'agreement': 1.0,
    }
    return {'size': size, 'contender': contender, **whole, **figures}


FAILED = {**dict.fromkeys(FIGURES), 'agreement': None}


def test_table():
    rows = [
        row('openvino fp32'),
        row('openvino bf16', ratio=0.5, ratio_range=(0.48, 0.55), agreement=0.99875),
        row('tensorrt fp16', **FAILED),
    ]
    lines = table(rows, 'openvino fp32').splitlines()
    assert '| x openvino fp32 |' in lines[0]
    assert lines[2:] == [
        '| 64x32 | openvino fp32 | 10.0 | 12.0 | 95.0 | 1.00 | 0.2 | 100 | 42 | 100.000 |',
        '| 64x32 | openvino bf16 | 10.0 | 12.0 | 95.0 | 0.50 (0.48 to 0.55) | 0.2 | 100 | 42 '
        '| 99.875 |',
        '| 64x32 | tensorrt fp16 | - | - | - | - | - | - | - | - |',
    ]
    assert lines[0].count('|') == lines[1].count('|') == lines[2].count('|')


def test_doubt():
    assert doubt([row('a'), row('b', ratio_range=(0.8, 0.99)), row('c', **FAILED)]) == ''
    assert doubt([row('a'), row('b', ratio_range=(0.8, 1.01)), row('c', **FAILED)]).startswith(
        '1 of 2 ratios differ by more than a quarter between rounds: the machine is busy'
    )


def test_plot(tmp_path):
    pytest.importorskip('matplotlib', reason='matplotlib is not installed')
    path = tmp_path / 'a.png'
    rows = [row('openvino fp32'), row('openvino bf16', peak_mb=None), row('x', '96x64', **FAILED)]
    plot(rows, path)
    picture = cv2.imread(str(path))
    assert picture is not None
    # The first two colours of matplotlib, blue and orange, as BGR.
    for color in ((180, 119, 31), (14, 127, 255)):
        assert (picture == color).all(2).sum() > 1000


@pytest.mark.parametrize('module', ['matplotlib.figure', 'matplotlib.backends.backend_agg'])
def test_no_matplotlib(monkeypatch, tmp_path, module):
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(LinknetError, match=r'no plot: .*; pip install matplotlib'):
        plot([row('a')], tmp_path / 'a.png')
