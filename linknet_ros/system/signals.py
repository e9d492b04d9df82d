"""Signals from a process's first line to its last; rclpy looks after them only in between.

Imports take a second, and a robot's launch system may change its mind meanwhile.
"""

from __future__ import annotations

import os
import signal
from types import FrameType

_NUMBERS = (signal.SIGINT, signal.SIGTERM)
_ros_runs = False


def end_quietly() -> None:
    """From now on SIGINT and SIGTERM end the process with exit code 0; nothing is open yet."""
    for number in _NUMBERS:
        signal.signal(number, _end)


def ros_runs() -> None:
    """From now on rclpy's handlers shut ROS down; ours, which they call too, do nothing.

    So no KeyboardInterrupt either, which would break into whatever is being tidied up.
    """
    global _ros_runs
    _ros_runs = True


def process_ends() -> None:
    """Ignore what comes while Python ends, which puts the default handlers back too early."""
    for number in _NUMBERS:
        if signal.getsignal(number) is _end:
            signal.signal(number, signal.SIG_IGN)


def _end(number: int, frame: FrameType | None) -> None:
    if not _ros_runs:
        os._exit(0)
