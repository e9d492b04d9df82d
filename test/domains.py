"""ROS domains: each test, and each node that must not hear another, gets one of its own."""

import fcntl
import os
import random
import tempfile
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def free_domain():
    """Number of a ROS domain that nobody else's test has, on this machine, for a with block."""
    for number in random.sample(range(1, 102), 101):
        path = Path(tempfile.gettempdir()) / f'linknet_ros_domain_{number}'
        try:
            descriptor = os.open(path, os.O_CREAT | os.O_RDONLY)
        except OSError:
            # Somebody else's.
            continue
        with os.fdopen(descriptor):
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                continue
            yield number
            return
    raise RuntimeError('all ROS domains are taken')
