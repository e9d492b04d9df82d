"""Temporary folders go with the block, with an error and with a signal."""

import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from linknet_ros.system.temporary_folder import temporary_folder


def test_it_goes_with_the_block_whatever_is_in_it(tmp_path, monkeypatch):
    monkeypatch.setattr('tempfile.tempdir', str(tmp_path))
    with temporary_folder() as first, temporary_folder() as second:
        (first / 'inner').mkdir()
        (first / 'inner' / 'file').write_text('1')
        assert {first, second} == set(tmp_path.iterdir())
    assert not list(tmp_path.iterdir())
    with pytest.raises(KeyError), temporary_folder():
        raise KeyError
    assert not list(tmp_path.iterdir())


def test_files_of_libraries_lie_in_it(tmp_path, monkeypatch):
    monkeypatch.setattr('tempfile.tempdir', str(tmp_path))
    with temporary_folder(of_libraries=True) as folder:
        with tempfile.TemporaryDirectory(prefix='ort.quant.') as theirs:
            assert Path(theirs).parent == folder
        with temporary_folder() as inner:
            assert inner.parent == folder
    assert tempfile.gettempdir() == str(tmp_path)
    with temporary_folder(), tempfile.TemporaryDirectory() as theirs:
        assert Path(theirs).parent == tmp_path


CHILD_WRITES = """
import time
from linknet_ros.system.child_process import start
from linknet_ros.system.signals import end_quietly
from linknet_ros.system.temporary_folder import temporary_folder
end_quietly(endless=False)
with temporary_folder() as folder:
    start('writes', str(folder))
    while not (folder / '9').exists():
        time.sleep(0.01)
    print('ready', flush=True)
    while True:
        time.sleep(0.01)
"""

WRITES = """
import sys, time
from pathlib import Path
number = 0
while True:
    Path(sys.argv[1], str(number)).touch()
    number += 1
"""


def test_a_signal_ends_children_that_write_into_it_and_then_removes_it(tmp_path):
    (tmp_path / 'writes.py').write_text(WRITES)
    temporary = tmp_path / 'tmp'
    temporary.mkdir()
    process = subprocess.Popen(
        [sys.executable, '-c', CHILD_WRITES],
        stdout=subprocess.PIPE,
        env={'TMPDIR': str(temporary), 'PYTHONPATH': f'{tmp_path}:{":".join(sys.path)}'},
    )
    assert process.stdout.readline() == b'ready\n'
    process.send_signal(signal.SIGTERM)
    assert process.wait(300) == 143
    assert not list(temporary.iterdir())
