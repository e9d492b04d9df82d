"""Files read up to a limit: what is too large, endless or not a file is refused unread."""

import os

import pytest

from linknet_ros.system.bounded_file import read_file


@pytest.mark.parametrize('data', [b'', b'a', b'0123456789'])
def test_file_and_link(tmp_path, data):
    (tmp_path / 'file').write_bytes(data)
    # colcon build --symlink-install makes links of what is installed.
    (tmp_path / 'link').symlink_to('file')
    assert read_file(tmp_path / 'file', 10) == read_file(tmp_path / 'link', 10) == data


def test_file_that_says_it_is_empty():
    # As all of /proc.
    assert b'Name:' in read_file('/proc/self/status', 100_000)


def test_what_is_refused(tmp_path):
    (tmp_path / 'long').write_bytes(bytes(11))
    # A terabyte of hole: reading it would fail otherwise.
    (tmp_path / 'hole').touch()
    os.truncate(tmp_path / 'hole', 1 << 40)
    os.mkfifo(tmp_path / 'pipe')
    for path, reason in {
        tmp_path / 'long': 'it has 11 bytes, more than the limit of 10',
        tmp_path / 'hole': f'it has {1 << 40} bytes',
        '/proc/self/status': 'it has 11 bytes, more than the limit of 10',
        # Its size is 0, and reading it never ends.
        '/dev/zero': 'it is a pipe or a device, not a file',
        # Nobody writes to it.
        tmp_path / 'pipe': 'it is a pipe or a device, not a file',
        tmp_path: 'Is a directory',
        tmp_path / 'none': 'No such file',
    }.items():
        with pytest.raises(OSError, match=reason):
            read_file(path, 10)
