"""A temporary folder of which nothing is left, also when a signal ends the process."""

from __future__ import annotations

import contextlib
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from linknet_ros.system.signals import before_end, held

#: Folders that are there.
_folders: set[str] = set()


@contextlib.contextmanager
def temporary_folder(*, of_libraries: bool = False) -> Iterator[Path]:
    """A new folder for the length of a with block.

    :param of_libraries: whether what a library makes by `tempfile` meanwhile lies in it too.
    """
    with held():
        folder = tempfile.mkdtemp(prefix='linknet_ros_')
        _folders.add(folder)
    usual = tempfile.tempdir
    if of_libraries:
        tempfile.tempdir = folder
    try:
        yield Path(folder)
    finally:
        if of_libraries:
            tempfile.tempdir = usual
        shutil.rmtree(folder, ignore_errors=True)
        _folders.discard(folder)


def _remove_all() -> None:
    for folder in list(_folders):
        shutil.rmtree(folder, ignore_errors=True)


# Children may still write into them, and are ended before.
before_end(_remove_all, last=True)
