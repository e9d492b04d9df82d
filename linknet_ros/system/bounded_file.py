"""Reading files of unknown origin: only regular files, and only up to a limit."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path


def read_file(path: Path, max_bytes: int) -> bytes:
    """Read a regular file completely, or not at all.

    The size is checked before anything is allocated, and on the open file, so that the file cannot
    be replaced in between. A pipe or device, which might block or never end, is refused.

    :param max_bytes: a larger file is refused.
    :raises OSError: when it cannot be read, is not a regular file, or is larger; strerror says so.
    """
    with open(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), 'rb') as file:
        status = os.fstat(file.fileno())
        if stat.S_ISDIR(status.st_mode):
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
        if not stat.S_ISREG(status.st_mode):
            raise OSError(errno.EINVAL, 'it is a pipe or a device, not a file')
        if status.st_size > max_bytes:
            raise _too_large(status.st_size, max_bytes)
        # One byte more than allowed: it might grow, or claim to be empty as files of /proc do.
        data = file.read(max_bytes + 1 if status.st_size == 0 else status.st_size + 1)
    if len(data) > max_bytes:
        raise _too_large(len(data), max_bytes)
    return data


def _too_large(size: int, max_bytes: int) -> OSError:
    return OSError(errno.EFBIG, f'it has {size} bytes, more than the limit of {max_bytes}')
