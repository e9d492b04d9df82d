"""Built engines on disk: found by everything that they depend on, or not at all.

An engine is native code: whoever can write it runs code in the node. So a folder or file that
anybody but its owner may write, or that belongs to somebody else than us or root, is not read.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import json
import os
import stat
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

from linknet_ros.errors import BuildCancelledError

#: First line of a file; raised when its layout or the way of building changes.
_MAGIC = b'linknet_ros engine 2\n'

#: More than an engine of any network here needs.
_MAX_BYTES = 2 * 1024**3

#: Seconds between two tries for the lock.
_LOCK_PAUSE = 0.1


class EngineCache:
    """A folder of engines, a file for each key: a line, key and checksum as JSON, the plan.

    One file, so that an engine and what is known of it cannot drift apart.

    :param report: gets each reason why an engine is not used or not kept, once.
    """

    def __init__(self, folder: Path, report: Callable[[str], None]) -> None:
        self.folder = folder
        self._report = report
        self._reported: set[str] = set()

    def path(self, key: Mapping[str, object]) -> Path:
        """The file of a key; the name is a digest of it."""
        digest = hashlib.sha256(_json(key)).hexdigest()[:32]
        return self.folder / f'{digest}.engine'

    def load(self, key: Mapping[str, object]) -> bytes | None:
        """The plan of a key; None, with the reason reported, when none can be trusted."""
        path = self.path(key)
        try:
            _check_owner(os.stat(self.folder), self.folder)
            data = _read(path)
        except FileNotFoundError:
            return None
        except OSError as error:
            self.reject(path, error.strerror or str(error))
            return None
        head, _, plan = data.removeprefix(_MAGIC).partition(b'\n')
        expected = _json({'key': key, 'sha256': hashlib.sha256(plan).hexdigest()})
        if not data.startswith(_MAGIC):
            self.reject(path, 'it is not an engine of this package')
        elif not plan or head != expected:
            self.reject(path, 'it is damaged or of another build')
        else:
            return plan
        return None

    def store(self, key: Mapping[str, object], plan: bytes) -> bool:
        """Keep a plan, under the lock; False, with the reason reported, where it cannot be."""
        path = self.path(key)
        head = _json({'key': key, 'sha256': hashlib.sha256(plan).hexdigest()})
        part = path.with_suffix('.part')
        try:
            _check_owner(os.stat(self.folder), self.folder)
            with suppress(FileNotFoundError):
                part.unlink()  # of a process that died
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
            with open(os.open(part, flags, 0o600), 'wb') as file:
                file.writelines((_MAGIC, head, b'\n', plan))
                file.flush()
                os.fsync(file.fileno())
            os.replace(part, path)
        except OSError as error:
            with suppress(OSError):
                part.unlink()
            self._once(
                f'the engine is not kept ({path}: {error.strerror}), so every start builds it '
                f'again; make {self.folder} writable'
            )
            return False
        return True

    def reject(self, path: Path, reason: str) -> None:
        """Say why a stored engine is not used."""
        self._once(f'stored engine {path} is not used: {reason}; building it again')

    @contextmanager
    def lock(self, key: Mapping[str, object], cancel: threading.Event) -> Iterator[None]:
        """Let one process at a time build an engine; goes on without where it cannot be locked.

        :raises BuildCancelledError: when cancelled while another process builds.
        """
        try:
            self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            path = self.path(key).with_suffix('.lock')
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            self._once(
                f'engines cannot be kept in {self.folder} ({error.strerror}), so every start '
                'builds; make it writable'
            )
            yield
            return
        try:
            self._wait(descriptor, cancel)
            yield
        finally:
            os.close(descriptor)  # unlocks; the kernel does too when the process dies

    def _wait(self, descriptor: int, cancel: threading.Event) -> None:
        while True:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return
            except OSError as error:
                if error.errno not in (errno.EAGAIN, errno.EACCES):
                    # A network folder without locks: two builds at worst.
                    self._once(f'{self.folder} cannot be locked ({error.strerror})')
                    return
            self._once('another process builds this engine; waiting for it')
            if cancel.wait(_LOCK_PAUSE):
                raise BuildCancelledError('waiting for an engine was cancelled')

    def _once(self, line: str) -> None:
        if line not in self._reported:
            self._reported.add(line)
            self._report(line)


def _json(value: Mapping[str, object]) -> bytes:
    return json.dumps(value, sort_keys=True).encode()


def _check_owner(status: os.stat_result, path: Path) -> None:
    if status.st_uid not in (os.geteuid(), 0):
        reason = f'{path} belongs to user {status.st_uid}, not to this user or root'
        raise PermissionError(errno.EACCES, reason)
    if status.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        raise PermissionError(errno.EACCES, f'others may write {path} (chmod go-w it)')


def _read(path: Path) -> bytes:
    # No links: what is checked must be what is read. Not blocking: it might be a pipe.
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    with open(os.open(path, flags), 'rb') as file:
        status = os.fstat(file.fileno())
        _check_owner(status, path)
        if not stat.S_ISREG(status.st_mode) or status.st_size > _MAX_BYTES:
            raise OSError(errno.EINVAL, f'it is not a file of at most {_MAX_BYTES} bytes')
        return file.read()
