"""The folder that an output is made in until it is whole: `<out>.part`, beside the output."""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
from pathlib import Path
from typing import IO

from linknet_ros.errors import RecordingError


def part_of(out: Path) -> Path:
    """Where an output is made."""
    return out.with_name(f'{out.name}.part')


def is_done(out: Path, *, resume: bool, overwrite: bool) -> bool:
    """Whether there is nothing to do, since the output is there and is to be kept.

    :param resume: keep what is finished, go on with what is not.
    :param overwrite: make it again.
    :raises RecordingError: when something is in the way, and neither is set.
    """
    if overwrite:
        return False
    if out.exists() and not resume:
        raise RecordingError(f'{out} already exists', 'add --overwrite, or name another output')
    if not resume and part_of(out).exists():
        raise RecordingError(
            f'{part_of(out)} is left of a run that did not end',
            'go on with --resume, or start again with --overwrite',
        )
    return out.exists()


class PartFolder:
    """Makes an output in its part folder; a context manager.

    What was made stays where it is when something fails, for the next run.

    :param out: file or folder that is to be made.
    :param overwrite: forget what an earlier run left; else it is found in the folder.
    :raises OSError: when it cannot be written.
    :raises RecordingError: when another process is writing it.
    """

    def __init__(self, out: Path, *, overwrite: bool = False) -> None:
        self._out = out
        self.path = part_of(out)
        self.path.mkdir(parents=True, exist_ok=True)
        self._lock: IO[str] = (self.path / 'lock').open('w')
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self._lock.close()
            raise RecordingError(
                f'another process is writing {out}', 'wait for it, or name another output'
            ) from None
        except OSError:
            pass  # a file system without locks
        if overwrite:
            for path in self.path.iterdir():
                if path.name != 'lock':
                    _remove(path)

    def __enter__(self) -> PartFolder:
        """Begin."""
        return self

    def __exit__(self, *_: object) -> None:
        """Release it."""
        self._lock.close()

    def fresh(self, name: str) -> Path:
        """A path in the folder where nothing is."""
        path = self.path / name
        _remove(path)
        return path

    def finish(self, made: Path) -> None:
        """Put a file or folder of the part folder where the output belongs, in one step."""
        for path in (made, *made.rglob('*')):
            if path.is_file():
                with path.open('rb') as file:
                    os.fsync(file.fileno())
        if self._out.exists():
            # A folder cannot be replaced by one; the old one goes only when the new is whole.
            os.replace(self._out, self.fresh('old'))
        os.replace(made, self._out)
        self._lock.close()
        shutil.rmtree(self.path)


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        with contextlib.suppress(FileNotFoundError):
            path.unlink()
