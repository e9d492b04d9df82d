"""Files read up to a limit: what is too large, endless or no file is refused unread."""

import os

import pytest

from linknet_ros.system.bounded_file import read_file


def refused(path, reason, max_bytes=100):
    with pytest.raises(OSError, match=reason):
        read_file(path, max_bytes)


@pytest.mark.parametrize('data', [b'', b'a', b'0123456789'])
def test_file(tmp_path, data):
    path = tmp_path / 'file'
    path.write_bytes(data)
    assert read_file(path, 10) == data


def test_one_byte_too_many(tmp_path):
    path = tmp_path / 'file'
    path.write_bytes(bytes(11))
    refused(path, 'it has 11 bytes, more than the 10 that it may have', 10)


def test_large_file_is_refused_unread(tmp_path):
    # A terabyte of hole: reading it would fail otherwise.
    path = tmp_path / 'file'
    path.touch()
    os.truncate(path, 1 << 40)
    refused(path, f'it has {1 << 40} bytes')


def test_link_to_a_file(tmp_path):
    # colcon build --symlink-install makes them of what is installed.
    (tmp_path / 'file').write_bytes(b'abc')
    (tmp_path / 'link').symlink_to('file')
    assert read_file(tmp_path / 'link', 10) == b'abc'


def test_endless_device():
    # Its size is 0, and reading it never ends.
    refused('/dev/zero', 'it is a pipe or device, no file')


def test_pipe_that_nobody_writes_to(tmp_path):
    os.mkfifo(tmp_path / 'pipe')
    refused(tmp_path / 'pipe', 'it is a pipe or device, no file')


def test_file_that_says_it_is_empty():
    # As all of /proc.
    assert b'Name:' in read_file('/proc/self/status', 100_000)
    refused('/proc/self/status', 'it has 11 bytes, more than the 10', 10)


def test_folder(tmp_path):
    refused(tmp_path, 'Is a directory')


def test_missing(tmp_path):
    with pytest.raises(FileNotFoundError):
        read_file(tmp_path / 'file', 10)
