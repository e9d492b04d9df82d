"""The benchmark of recordings: its contenders run, and its table says what was measured."""

import json

import numpy as np
import pytest

pytest.importorskip('onnxruntime', reason='ONNX Runtime (extra "cpu") not installed')
pytest.importorskip('rosbags', reason='needs rosbags (pip install .[bags])')

from linknet_ros.benchmark import recordings
from linknet_ros.benchmark.recordings_usual import measure
from linknet_ros.frames.encode import encode_jpeg


def test_table():
    record = {
        'ran': 'openvino bf16',
        'size': [1280, 720],
        'frames': 300,
        'rounds': 3,
        'fps': {'alone': [20.0, 10.0, 40.0], 'segment_bag': [19.0] * 3, 'usual': [8.0, 5.0, 6.0]},
        'cpu_ms': {'alone': [9.0, 10.0, 12.0], 'segment_bag': [20.0] * 3, 'usual': [30.0] * 3},
    }
    lines = recordings.table(record).splitlines()
    assert lines[2] == '| the network alone (openvino bf16) | 20.0 | 10.0 to 40.0 | 1.00 | 10 |'
    assert lines[3] == '| segment_bag, labels out | 19.0 | 19.0 to 19.0 | 0.95 | 20 |'
    assert lines[4].endswith('| 6.0 | 5.0 to 8.0 | 0.40 | 30 |')


def test_usual_loop_gives_labels(bags, model, frames, tmp_path):
    """Else it would be compared with something that does less."""
    source = tmp_path / 'in.mcap'
    images = [
        (recordings.TOPIC, i, bags.compressed(encode_jpeg(f, 100).tobytes(), i))
        for i, f in enumerate(frames(3))
    ]
    bags.write(source, images)
    found = measure(str(source), str(model.path))
    assert found['frames'] == 3
    assert found['seconds'] > 0
    assert [p.name for p in tmp_path.iterdir() if p.suffix != '.onnx'] == ['in.mcap']


def test_runs(model, tmp_path, capsys):
    recordings.main(
        f'--model {model.path} --backend onnxruntime --precision fp32 --size 96x64 --frames 4 '
        f'--rounds 1 --out {tmp_path}/out'.split()
    )
    assert 'segment_bag, labels out' in capsys.readouterr().out
    record = json.loads((tmp_path / 'out' / 'recordings.json').read_text())
    for figures in (record['fps'], record['cpu_ms']):
        assert set(figures) == {'alone', 'segment_bag', 'usual'}
        assert all(len(values) == 1 and 0 < values[0] < np.inf for values in figures.values())
