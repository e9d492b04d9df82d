"""The node's benchmark from its command line: one short real run, and a signal."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest

from linknet_ros.benchmark.node_figures import ALL, LABELS
from linknet_ros.system.package_files import package_file


def test_real_run(model_path, tmp_path):
    """Three processes over DDS with the tiny model, half a second a window."""
    pytest.importorskip('rclpy', reason='needs ROS 2 (pip install .[ros])')
    pytest.importorskip('matplotlib', reason='matplotlib is not installed')
    out = tmp_path / 'out'
    command = [sys.executable, '-m', 'linknet_ros', 'node_benchmark', '--quick']
    command += ['--sizes', '96x64']
    command += ['--model', model_path, '--backend', 'onnxruntime', '--out', out]
    command += ['--domain-id', os.environ['ROS_DOMAIN_ID']]
    result = subprocess.run(command, capture_output=True, text=True, timeout=900, check=False)
    assert result.returncode == 0, result.stderr
    report = json.loads((out / 'report.json').read_text())
    assert (report['model'], report['backend']) == ('model.onnx', 'onnxruntime fp32')
    assert (report['left_out'], report['rounds'], report['seconds']) == ({}, 1, 0.5)
    assert report['machine']['cores'] >= 1
    assert [row['contender'] for row in report['rows']] == [LABELS, ALL]
    (alone,) = report['backend_alone']
    for row in report['rows']:
        assert row['fps_ratio'] == pytest.approx(row['fps'] / alone['fps'])
        assert row['overhead_ms'] == pytest.approx(row['latency_ms'] - alone['paced_ms'])
        assert 0 < row['pss_mb'] <= row['rss_mb'] <= row['peak_mb']
    assert [target['reached'] for target in report['targets']] == [None] * 4
    assert '| 96x64 | all outputs |' in result.stdout
    assert (out / 'bench.png').stat().st_size > 10_000


def test_makefile_names_the_usual_node():
    makefile = package_file('Makefile').read_text()
    assert 'linknet_ros node_benchmark --against training.usual_node' in makefile
    assert package_file('training/usual_node.py').is_file()


def test_a_signal_leaves_no_nodes(model_path, tmp_path):
    """As `timeout` sends it, in the middle of a run."""
    pid_file, temporary = tmp_path / 'pid', tmp_path / 'temporary'
    temporary.mkdir()
    (tmp_path / 'slow_node.py').write_text(
        'import os, pathlib, time\n'
        f'pathlib.Path({str(pid_file)!r}).write_text(str(os.getpid()))\n'
        'while True: time.sleep(0.1)\n'
    )
    arguments = ['--model', str(model_path), '--sizes', '64x32', '--out', str(tmp_path)]
    arguments += ['--domain-id', os.environ['ROS_DOMAIN_ID']]
    source = (
        'import linknet_ros.__main__ as doors, linknet_ros.benchmark.node_rounds as r\n'
        'start = r.start_program\n'
        "r.start_program = lambda name, *rest: start('mine.slow_node', *rest)\n"
        f"doors.run('node_benchmark', {arguments})"
    )
    (tmp_path / 'mine').mkdir()
    (tmp_path / 'slow_node.py').rename(tmp_path / 'mine/slow_node.py')
    environment = os.environ | {'PYTHONPATH': str(tmp_path), 'TMPDIR': str(temporary)}
    process = subprocess.Popen([sys.executable, '-c', source], env=environment)
    while not (pid_file.exists() and pid_file.read_text()):
        assert process.poll() is None
        time.sleep(0.05)
    process.terminate()
    assert process.wait(300) == 128 + signal.SIGTERM
    with pytest.raises(ProcessLookupError):
        os.kill(int(pid_file.read_text()), 0)
    assert not list(temporary.iterdir())
