"""Processes of nodes: their command, their surroundings, and that they end."""

import os
import subprocess
import sys
import time

import pytest

from linknet_ros.system.node_process import isolate, start_node, stop_nodes

NAMES = ('ROS_DOMAIN_ID', 'ROS_AUTOMATIC_DISCOVERY_RANGE', 'PYTHONPATH')
PROFILES = ('FASTRTPS_DEFAULT_PROFILES_FILE', 'FASTDDS_DEFAULT_PROFILES_FILE')


@pytest.fixture(autouse=True)
def environment(monkeypatch):
    """Put back what isolate changes."""
    for name in (*NAMES, *PROFILES):
        monkeypatch.setenv(name, 'before')
        monkeypatch.delenv(name)


def test_isolate_keeps_a_profile_that_is_set(monkeypatch):
    monkeypatch.setenv('FASTDDS_DEFAULT_PROFILES_FILE', '/mine.xml')
    monkeypatch.setenv('ROS_DOMAIN_ID', '0')
    isolate(42)
    assert os.environ['ROS_DOMAIN_ID'] == '42'
    assert os.environ['ROS_AUTOMATIC_DISCOVERY_RANGE'] == 'LOCALHOST'
    assert os.environ['FASTDDS_DEFAULT_PROFILES_FILE'] == '/mine.xml'
    assert os.environ['FASTRTPS_DEFAULT_PROFILES_FILE'].endswith('config/fastdds_shm.xml')


def test_command_of_a_node(tmp_path, monkeypatch):
    (tmp_path / 'mine').mkdir()
    (tmp_path / 'mine/my_node.py').write_text(
        'import pathlib, sys\n'
        f'pathlib.Path({str(tmp_path / "said")!r}).write_text(" ".join(sys.argv[1:]))\n'
    )
    monkeypatch.setenv('PYTHONPATH', str(tmp_path))
    process = start_node('mine.my_node', {'model': '/a.onnx', 'threads': '2'}, ['-r', '__ns:=/x'])
    assert process.wait(60) == 0
    assert (tmp_path / 'said').read_text() == (
        '--ros-args --log-level warn -r __ns:=/x -p model:=/a.onnx -p threads:=2'
    )


def test_stop_ends_what_listens_what_does_not_and_what_has_ended(monkeypatch):
    def python(source):
        return subprocess.Popen([sys.executable, '-c', source], stdout=subprocess.PIPE)

    deaf = python(
        'import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN)\n'
        'print(1, flush=True); time.sleep(600)'
    )
    polite, ended = python('import time; time.sleep(600)'), python('')
    assert deaf.stdout.readline()
    ended.wait(60)
    begin = time.monotonic()
    stop_nodes([deaf, polite, ended])
    assert time.monotonic() - begin < 60
    assert (deaf.returncode, polite.returncode, ended.returncode) == (-9, -15, 0)
