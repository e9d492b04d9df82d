"""Results that outlive a process that is killed, and a file that is torn at any byte."""

import os
import signal
import subprocess
import sys

import numpy as np
import pytest
from checkout import ROOT

from linknet_ros.errors import RecordingError
from linknet_ros.recordings.journal import ResultJournal, fingerprint


def arrays(index):
    rng = np.random.default_rng(index)
    return rng.integers(0, 256, (2, 40, 60), np.uint8)


@pytest.fixture
def path(tmp_path):
    """Journal of frames 0, 2 and 5."""
    path = tmp_path / 'journal'
    journal = ResultJournal(path, 'mine')
    for index in (0, 2, 5):
        journal.put(index, *arrays(index))
    journal.close()
    return path


def known(path, fingerprint='mine'):
    """Indices of the frames that are in it; whether their arrays are right is checked."""
    journal = ResultJournal(path, fingerprint)
    found = [index for index in range(40) if journal.get(index) is not None]
    for index in found:
        for got, put in zip(journal.get(index), arrays(index), strict=True):
            np.testing.assert_array_equal(got, put)
            assert got.dtype == np.uint8
    journal.close()
    return found


def test_reads_what_was_put(path):
    assert known(path) == [0, 2, 5]
    journal = ResultJournal(path, 'mine')
    journal.put(7, *arrays(7))
    journal.get(0)[0][:] = 99  # the caller's own
    journal.close()
    assert known(path) == [0, 2, 5, 7]


def test_a_run_goes_on_without_lz4_and_with_it_again(path, monkeypatch):
    with monkeypatch.context() as changed:
        changed.setitem(sys.modules, 'lz4.frame', None)
        # What cannot be unpacked is computed again.
        assert known(path) == []
        journal = ResultJournal(path, 'mine')
        journal.put(2, *arrays(2))
        journal.close()
        assert known(path) == [2]
    assert known(path) == [0, 2, 5]


@pytest.mark.parametrize('step', [1, 9, 30])
def test_killed(tmp_path, step):
    """A kill loses nothing that was put, whatever is being written."""
    path = tmp_path / 'journal'
    program = f"""
import itertools, sys
import numpy as np
from linknet_ros.recordings.journal import ResultJournal
journal = ResultJournal(__import__('pathlib').Path({str(path)!r}), 'mine')
for index in itertools.count():
    rng = np.random.default_rng(index)
    journal.put(index, *rng.integers(0, 256, (2, 40, 60), np.uint8))
    print(index, flush=True)
"""
    process = subprocess.Popen(
        [sys.executable, '-c', program],
        stdout=subprocess.PIPE,
        env={**os.environ, 'PYTHONPATH': str(ROOT)},
    )
    for _ in range(step):
        process.stdout.readline()
    process.send_signal(signal.SIGKILL)
    last = int((process.stdout.read().split() or [step - 1])[-1])
    process.wait()
    found = known(path)
    assert found == list(range(len(found)))
    assert len(found) >= min(last + 1, 40)


def test_torn_at_any_page(path):
    """Of a file that lost its end nothing wrong is read, and it can be written again."""
    whole = path.read_bytes()
    for size in [*range(0, len(whole), 1000), len(whole) - 1]:
        path.write_bytes(whole[:size])
        found = known(path)
        assert found == [0, 2, 5][: len(found)]
        journal = ResultJournal(path, 'mine')
        journal.put(6, *arrays(6))
        journal.close()
        assert known(path) == [*found, 6]


def test_flipped_bytes_are_noticed(path):
    whole = path.read_bytes()
    for at in range(60, len(whole), 511):
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :])
        try:
            assert set(known(path)) <= {0, 2, 5}
        except RecordingError:  # the fingerprint itself
            continue


def test_file_of_another_program(path):
    path.write_bytes(b'linknet_ros journal 1\nmine\n' + bytes(100))
    assert known(path) == []


def test_another_fingerprint_is_refused(path):
    before = path.read_bytes()
    with pytest.raises(RecordingError, match='was begun with another recording, model, topic'):
        ResultJournal(path, 'other')
    assert path.read_bytes() == before


def test_fingerprint(tmp_path):
    path = tmp_path / 'a.mcap'
    path.write_bytes(bytes(200_000))
    first = fingerprint(path)
    assert fingerprint(path) == first
    assert first.startswith('a.mcap 200000 ')
    for changed in (bytes(199_999), b'x' + bytes(199_999), bytes(199_999) + b'x'):
        path.write_bytes(changed)
        assert fingerprint(path) != first
