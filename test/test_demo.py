"""The demo from its command line: three processes over real DDS, report and contact sheet."""

import json
import subprocess
import sys

import cv2
import numpy as np
import pytest

pytest.importorskip('rclpy', reason='needs ROS 2 (pip install .[ros])')

from linknet_ros.demo import main


def demo(*arguments):
    command = [sys.executable, '-m', 'linknet_ros.demo', *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=180, check=False)


def test_folder_with_annotations(model, tmp_path):
    """The tiny model's label is the largest channel, so the truth is known."""
    frames, annotations = tmp_path / 'val', tmp_path / 'valannot'
    frames.mkdir()
    annotations.mkdir()
    rng = np.random.default_rng(0)
    for i in range(12):
        frame = np.full((64, 96, 3), 20, np.uint8)
        labels = rng.integers(0, 3, (8, 12)).repeat(8, 0).repeat(8, 1).astype(np.uint8)
        np.put_along_axis(frame, labels[..., None].astype(np.int64), 200, axis=2)
        # A quarter of the truth is made wrong on purpose: the report must show it.
        labels[:32, :48] = (labels[:32, :48] + 1) % 3
        cv2.imwrite(str(frames / f'{i:02}.png'), frame)
        cv2.imwrite(str(annotations / f'{i:02}.png'), labels)
    out = tmp_path / 'out'
    result = demo('--source', frames, '--out', out, '--model', model.path, '--rate', 10)
    assert result.returncode == 0, result.stderr
    report = json.loads((out / 'report.json').read_text())
    assert report['frames_sent'] == 12
    assert report['labels_received'] + sum(report['dropped'].values()) == 12
    assert report['unaccounted'] == 0
    assert report['labels_received'] >= 6
    assert 0 < report['latency_ms_p50'] <= report['latency_ms_p99']
    assert report['backend'] in ('openvino', 'onnxruntime')
    # 3 of 4 pixels right, errors spread evenly: IoU = 0.75 / 1.25.
    assert report['miou'] == pytest.approx(0.6, abs=0.02)
    assert report['road_iou'] == pytest.approx(0.6, abs=0.04)
    sheet = cv2.imread(str(out / 'contact_sheet.png'))
    assert sheet is not None
    assert sheet.shape[1] == 4 * 332
    assert 'contact sheet:' in result.stdout
    # Drivable is black and white, and the frame's colours are in the first column.
    drivable = sheet[40:200, -300:-20]
    assert set(np.unique(drivable)) >= {0, 255}


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        (['--model', '/nowhere.onnx'], "error: no model file '/nowhere.onnx'"),
        (['--source', '/nowhere'], "error: no folder or video '/nowhere'"),
        (['--backend', 'tpu'], 'error: the segmentation node ended; its message is above'),
    ],
)
def test_mistakes_end_with_one_line(model, tmp_path, arguments, message):
    result = demo('--model', model.path, '--out', tmp_path, *arguments)
    assert result.returncode == 1
    assert message in result.stderr
    assert 'Traceback' not in result.stderr


def test_help_explains_every_option(help_of):
    texts = help_of(main)
    assert {'--source', '--out', '--model', '--backend', '--precision'} <= set(texts)
    assert all(texts.values()), texts
