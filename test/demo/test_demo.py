"""The demo from its command line: three processes over real DDS, report and contact sheet."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request

import cv2
import numpy as np
import pytest

pytest.importorskip('rclpy', reason='needs ROS 2 (pip install .[ros])')

from linknet_ros.demo.demo import main
from linknet_ros.demo.listener import Pairs


def demo(*arguments):
    return subprocess.run(
        command(*arguments), capture_output=True, text=True, timeout=900, check=False
    )


def command(*arguments):
    domain = ['--domain-id', os.environ['ROS_DOMAIN_ID']]
    return [sys.executable, '-m', 'linknet_ros', 'demo', *domain, *map(str, arguments)]


@pytest.fixture
def source(tmp_path):
    """A folder of three frames."""
    frames = tmp_path / 'frames'
    frames.mkdir()
    for i in range(3):
        cv2.imwrite(str(frames / f'{i}.png'), np.full((64, 96, 3), 40 * i, np.uint8))
    return frames


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
    out.mkdir()
    (out / 'birds_eye.png').write_bytes(b'of an earlier run')
    result = demo('--source', frames, '--out', out, '--model', model.path, '--rate', 4)
    assert result.returncode == 0, result.stderr
    report = json.loads((out / 'report.json').read_text())
    assert report['frames_sent'] == 12
    assert report['labels_received'] + sum(report['dropped'].values()) == 12
    assert report['unaccounted'] == 0
    assert report['labels_received'] >= 3
    assert 0 < report['latency_ms_p50'] <= report['latency_ms_p99']
    assert report['backend'] in ('openvino', 'onnxruntime')
    # 3 of 4 pixels right, errors spread evenly: IoU = 0.75 / 1.25.
    assert report['miou'] == pytest.approx(0.6, abs=0.05)
    assert report['road_iou'] == pytest.approx(0.6, abs=0.1)
    sheet = cv2.imread(str(out / 'contact_sheet.png'))
    assert sheet is not None
    assert sheet.shape[1] == 4 * 332
    assert 'contact sheet:' in result.stdout
    assert 'against the annotations beside the frames, if their ids are' in result.stdout
    # Nobody knows the ground of a folder, and nobody asks for it.
    assert 'drivable_grid' not in result.stderr
    assert report['grids_compared'] == 0
    assert report['free_space_iou'] is None
    assert not (out / 'birds_eye.png').exists()
    # Drivable is black and white, and the frame's colours are in the first column.
    drivable = sheet[40:200, -300:-20]
    assert set(np.unique(drivable)) >= {0, 255}


def test_street_has_a_birds_eye_view(model, tmp_path):
    """With a model that knows nothing of streets: the wiring is tested, not the network."""
    given = ['--model', model.path, '--backend', 'onnxruntime', '--count', 8, '--rate', 2]
    result = demo('--out', tmp_path, *given)
    assert result.returncode == 0, result.stderr
    assert 'no ~/drivable_grid' not in result.stderr
    report = json.loads((tmp_path / 'report.json').read_text())
    assert 1 <= report['grids_compared'] <= report['labels_received']
    assert 0 <= report['free_space_iou'] < 1
    assert 0 <= report['falsely_free'] <= 1
    assert f'free ground IoU {report["free_space_iou"]}' in result.stdout
    picture = cv2.imread(str(tmp_path / 'birds_eye.png'))
    overlay, grid, truth = np.split(picture[26:], 3, axis=1)
    # Cells are free, unknown or red; of the true ground much is free, straight ahead.
    for cells in (grid, truth):
        assert (cells == 128).all(2).mean() > 0.3
    assert (truth == 255).all(2).mean() > 0.05
    assert (overlay == 128).all(2).mean() < 0.05


def test_pairs_are_brought_together_by_stamp_and_strays_forgotten():
    taken = []
    pairs = Pairs(lambda stamp, *values: taken.append((stamp, values)))
    pairs.put(0, (1, 0), 'truth 1')
    pairs.put(1, (2, 0), 'found 2')
    assert taken == []
    pairs.put(1, (1, 0), 'found 1')
    pairs.put(0, (2, 0), 'truth 2')
    assert taken == [((1, 0), ('truth 1', 'found 1')), ((2, 0), ('truth 2', 'found 2'))]
    for second in range(100):
        pairs.put(1, (second, 0), 'stray')
    pairs.put(0, (79, 0), 'forgotten')
    pairs.put(0, (99, 0), 'truth')
    assert taken[2:] == [((99, 0), ('truth', 'stray'))]


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        (['--model', '/nowhere.onnx'], "error: no model file '/nowhere.onnx'"),
        (['--source', '/nowhere'], "error: no folder or video '/nowhere'"),
    ],
)
def test_mistakes_end_with_one_line(model, arguments, message):
    with pytest.raises(SystemExit, match=message):
        main(['--model', str(model.path), *arguments])


def test_node_that_ends(model, tmp_path):
    result = demo('--model', model.path, '--out', tmp_path, '--backend', 'tpu')
    assert result.returncode == 1
    assert 'error: the segmentation node ended; its message is above' in result.stderr
    assert 'Traceback' not in result.stderr


def page_at(url):
    """The page, or None where nobody serves it."""
    try:
        with urllib.request.urlopen(url, timeout=300) as answer:
            return answer.read()
    except urllib.error.URLError:
        return None


def test_view_shows_it_until_a_signal(model, source, tmp_path):
    pytest.importorskip('aiohttp', reason='aiohttp (extra "view") not installed')
    # Of this test's own, as the domain is: one that the kernel had given might go to another test
    # until the page is served.
    port = 20_000 + int(os.environ['ROS_DOMAIN_ID'])
    given = ['--out', tmp_path / 'out', '--model', model.path, '--view', '--view-port', port]
    given += ['--backend', 'onnxruntime']
    log = tmp_path / 'log'
    with log.open('wb') as file:
        shown = command('--source', source, '--rate', 10, *given)
        process = subprocess.Popen(shown, stdout=file, stderr=file)
    try:
        # Far more than the source has: it begins again.
        while not re.search(r' [2-9]\dframe ', log.read_text()):
            assert process.poll() is None, log.read_text()
            time.sleep(0.1)
        url = f'http://127.0.0.1:{port}/'
        assert f'the page: {url}' in log.read_text()
        # Its own process, which may start later than the frames flow.
        while (page := page_at(url)) is None:
            assert process.poll() is None, log.read_text()
            time.sleep(0.1)
        assert b'<canvas' in page
        process.send_signal(signal.SIGINT)
        assert process.wait(300) == 0, log.read_text()
    finally:
        process.kill()
    assert 'Traceback' not in log.read_text()
    assert page_at(url) is None


def test_port_of_the_view_is_taken(model, source, tmp_path):
    pytest.importorskip('aiohttp', reason='aiohttp (extra "view") not installed')
    with socket.create_server(('127.0.0.1', 0)) as taken:
        port = taken.getsockname()[1]
        given = ['--model', model.path, '--out', tmp_path / 'out', '--view', '--view-port', port]
        result = demo('--source', source, '--backend', 'onnxruntime', *given)
    assert result.returncode == 1
    assert f'cannot serve on 127.0.0.1:{port}' in result.stderr
    assert 'error: the view ended; its message is above' in result.stderr


def test_help_explains_every_option(help_of):
    texts = help_of(main)
    assert {'--source', '--out', '--model', '--backend', '--precision'} <= set(texts)
    assert all(texts.values()), texts
