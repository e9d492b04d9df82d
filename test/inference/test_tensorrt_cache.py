"""Engines on disk: what is trusted, what is not, and two processes at once."""

import json
import os
import subprocess
import sys
import threading

import pytest
from checkout import ROOT

from linknet_ros.errors import BuildCancelledError
from linknet_ros.inference.tensorrt.cache import EngineCache

KEY = {'model': 'ab12', 'tensorrt': '10.3.0.30', 'gpu': 'Orin'}


@pytest.fixture
def reported():
    return []


@pytest.fixture
def cache(tmp_path, reported):
    folder = tmp_path / 'engines'
    folder.mkdir(mode=0o700)
    return EngineCache(folder, reported.append)


def lock(cache, key=KEY, cancel=None):
    return cache.lock(key, cancel or threading.Event())


def test_kept_as_stored(cache, reported):
    plan = b'line\nanother\n\0' * 100
    assert cache.load(KEY) is None
    assert cache.store(KEY, plan)
    assert cache.load(KEY) == plan
    assert reported == []


@pytest.mark.parametrize('name', list(KEY))
def test_every_part_of_the_key_counts(cache, name):
    cache.store(KEY, b'plan')
    other = KEY | {name: 'else'}
    assert cache.load(other) is None
    cache.store(other, b'other')
    assert (cache.load(KEY), cache.load(other)) == (b'plan', b'other')


def test_file_says_what_it_is(cache):
    cache.store(KEY, b'plan')
    magic, head, plan = cache.path(KEY).read_bytes().split(b'\n')
    assert (magic, plan) == (b'linknet_ros engine 2', b'plan')
    assert json.loads(head)['key'] == KEY


ALIEN = 'it is not an engine of this package'


@pytest.mark.parametrize(
    ('change', 'reason'),
    [
        (lambda data: data[:-1], 'it is damaged or of another build'),
        (lambda data: data + b'x', 'it is damaged or of another build'),
        (lambda data: data.replace(b'Orin', b'Thor'), 'it is damaged or of another build'),
        (lambda data: b'', ALIEN),
        (lambda data: data[1:], ALIEN),
        (lambda data: data.replace(b'engine 2', b'engine 1'), ALIEN),
        (lambda data: data.partition(b'\n')[0] + b'\n', 'it is damaged or of another build'),
    ],
)
def test_damage_is_told_once(cache, reported, change, reason):
    cache.store(KEY, b'plan')
    path = cache.path(KEY)
    path.write_bytes(change(path.read_bytes()))
    assert cache.load(KEY) is None
    assert cache.load(KEY) is None
    assert reported == [f'stored engine {path} is not used: {reason}; building it again']
    assert cache.store(KEY, b'healed')
    assert cache.load(KEY) == b'healed'


@pytest.mark.parametrize('mode', [0o620, 0o602, 0o666])
def test_file_that_others_may_write(cache, reported, mode):
    cache.store(KEY, b'plan')
    cache.path(KEY).chmod(mode)
    assert cache.load(KEY) is None
    assert 'others may write' in reported[0]
    assert 'chmod go-w' in reported[0]
    cache.store(KEY, b'plan')
    assert cache.load(KEY) == b'plan'


@pytest.mark.parametrize('mode', [0o770, 0o707, 0o777])
def test_folder_that_others_may_write(cache, reported, mode):
    cache.store(KEY, b'plan')
    cache.folder.chmod(mode)
    assert cache.load(KEY) is None
    assert not cache.store(KEY, b'plan')
    assert 'others may write' in reported[0]
    assert 'not kept' in reported[1]


def test_file_of_another_user(cache, reported, monkeypatch):
    cache.store(KEY, b'plan')
    owner = os.stat(cache.path(KEY)).st_uid
    real = os.fstat

    def fstat(descriptor):
        status = list(real(descriptor))
        status[4] = 4321
        return os.stat_result(status)

    monkeypatch.setattr(os, 'fstat', fstat)
    assert owner != 4321
    assert cache.load(KEY) is None
    assert 'belongs to user 4321, not to this user or root' in reported[0]


def test_link_is_not_followed(cache, reported, tmp_path):
    cache.store(KEY, b'plan')
    path = cache.path(KEY)
    path.rename(tmp_path / 'elsewhere')
    path.symlink_to(tmp_path / 'elsewhere')
    assert cache.load(KEY) is None
    assert 'is not used' in reported[0]
    assert cache.store(KEY, b'plan')
    assert not path.is_symlink()


def test_pipe_does_not_block(cache, reported):
    os.mkfifo(cache.path(KEY))
    assert cache.load(KEY) is None
    assert 'is not a file' in reported[0]


def test_read_only_file_system_is_read(cache, reported, monkeypatch):
    cache.store(KEY, b'plan')
    real = os.open

    def read_only(path, flags, *mode):
        if flags & os.O_CREAT:
            raise OSError(30, 'Read-only file system')
        return real(path, flags, *mode)

    monkeypatch.setattr(os, 'open', read_only)
    assert cache.load(KEY) == b'plan'
    with lock(cache):
        assert not cache.store(KEY, b'plan')
    assert '(Read-only file system), so every start builds; make it writable' in reported[0]
    assert 'Read-only file system), so every start builds it again' in reported[1]


def test_folder_that_cannot_be_made(tmp_path, reported):
    (tmp_path / 'file').touch()
    cache = EngineCache(tmp_path / 'file' / 'engines', reported.append)
    assert cache.load(KEY) is None
    with lock(cache):
        assert not cache.store(KEY, b'plan')
    assert all('writable' in line or 'is not used' in line for line in reported)


def test_full_disk_leaves_the_old_engine(cache, reported, monkeypatch):
    cache.store(KEY, b'old')

    def fsync(descriptor):
        raise OSError(28, 'No space left on device')

    monkeypatch.setattr(os, 'fsync', fsync)
    assert not cache.store(KEY, b'new')
    assert 'No space left on device), so every start builds it again' in reported[0]
    assert cache.load(KEY) == b'old'
    assert [path.suffix for path in cache.folder.iterdir()] == ['.engine']


def test_rest_of_a_process_that_died(cache):
    cache.path(KEY).with_suffix('.part').write_bytes(b'half')
    assert cache.store(KEY, b'plan')
    assert cache.load(KEY) == b'plan'


# The lock.

HOLDER = """
import sys, threading
from pathlib import Path
from linknet_ros.inference.tensorrt.cache import EngineCache
cache = EngineCache(Path(sys.argv[1]), print)
with cache.lock({'model': 'ab12', 'tensorrt': '10.3.0.30', 'gpu': 'Orin'}, threading.Event()):
    print('locked', flush=True)
    sys.stdin.read()
    cache.store({'model': 'ab12', 'tensorrt': '10.3.0.30', 'gpu': 'Orin'}, b'of the other')
"""


@pytest.fixture
def holder(cache):
    """Another process that has the lock."""
    process = subprocess.Popen(
        [sys.executable, '-c', HOLDER, str(cache.folder)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        cwd=ROOT,
    )
    assert process.stdout.readline() == b'locked\n'
    yield process
    process.kill()
    process.wait()
    process.stdin.close()
    process.stdout.close()


def test_waits_for_another_process(cache, reported, holder):
    def report(line):
        reported.append(line)
        # Only now does the other one go on.
        holder.stdin.close()

    with lock(EngineCache(cache.folder, report)):
        assert cache.load(KEY) == b'of the other'
    assert reported == ['another process builds this engine; waiting for it']


def test_process_that_died_leaves_no_lock(cache, holder):
    holder.kill()
    with lock(cache):
        pass


def test_waiting_can_be_cancelled(cache, holder):
    cancel = threading.Event()
    threading.Timer(0.3, cancel.set).start()
    with (
        pytest.raises(BuildCancelledError, match='waiting for an engine'),
        lock(cache, KEY, cancel),
    ):
        pass


def test_folder_of_the_lock_is_private(tmp_path, reported):
    cache = EngineCache(tmp_path / 'a' / 'engines', reported.append)
    with lock(cache):
        assert cache.store(KEY, b'plan')
    assert cache.folder.stat().st_mode & 0o777 == 0o700
    assert reported == []
