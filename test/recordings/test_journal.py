"""Results that outlive a process that is killed at any byte."""

import numpy as np
import pytest

from linknet_ros.errors import RecordingError
from linknet_ros.recordings.journal import ResultJournal, fingerprint


def arrays(index):
    labels = np.arange(6, dtype=np.uint8).reshape(2, 3) + index
    return labels, 255 - labels


@pytest.fixture
def path(tmp_path):
    """Journal of frames 0, 2 and 5."""
    path = tmp_path / 'journal'
    journal = ResultJournal(path, 'mine')
    for index in (0, 2, 5):
        journal.put(index, *arrays(index))
    journal.close()
    return path


def known(journal):
    found = [index for index in range(8) if journal.get(index) is not None]
    for index in found:
        for got, put in zip(journal.get(index), arrays(index), strict=True):
            np.testing.assert_array_equal(got, put)
            assert got.dtype == np.uint8
    assert len(journal) == len(found)
    return found


def test_reads_what_was_put(path):
    journal = ResultJournal(path, 'mine')
    assert known(journal) == [0, 2, 5]
    journal.put(7, *arrays(7))
    assert known(journal) == [0, 2, 5, 7]
    journal.close()
    assert known(ResultJournal(path, 'mine')) == [0, 2, 5, 7]


def test_arrays_are_the_receivers(path):
    journal = ResultJournal(path, 'mine')
    journal.get(0)[0][:] = 99
    assert known(journal) == [0, 2, 5]


def test_killed_at_any_byte(path, tmp_path):
    whole = path.read_bytes()
    seen = set()
    for size in range(len(whole)):
        path.write_bytes(whole[:size])
        journal = ResultJournal(path, 'mine')
        found = known(journal)
        assert found == [0, 2, 5][: len(found)]
        seen.add(len(found))
        journal.put(6, *arrays(6))
        journal.close()
        assert known(ResultJournal(path, 'mine')) == [*found, 6]
    assert seen == {0, 1, 2}


def test_flipped_bytes_end_it(path):
    whole = bytearray(path.read_bytes())
    whole[-1] ^= 1
    path.write_bytes(whole)
    assert known(ResultJournal(path, 'mine')) == [0, 2]


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
