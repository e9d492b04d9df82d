"""How a node's process starts and ends."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import rclpy
from rclpy.context import Context
from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor

from linknet_ros.early_signals import process_ends, ros_runs
from linknet_ros.errors import LinknetError

#: Seconds from a signal to the end at the latest; a back end that compiles a network cannot be
#: interrupted, and a launch system soon sends worse signals.
_GRACE = 1.0


@contextmanager
def ros_process(name: str, arguments: list[str] | None) -> Iterator[SingleThreadedExecutor]:
    """ROS for the length of a with block.

    A signal ends the block quietly, a LinknetError with one line in the log and exit code 1.

    :param name: of the node, for the log.
    :param arguments: of the command line, None for the process's own.
    :returns: the executor to spin; made first of all, because one made while a signal shuts ROS
        down prints a page.
    """
    rclpy.init(args=arguments)
    ros_runs()
    left = threading.Event()
    context = rclpy.get_default_context()
    threading.Thread(target=_end_in_time, args=(name, context, left), daemon=True).start()
    try:
        yield SingleThreadedExecutor()
    except LinknetError as error:
        rclpy.logging.get_logger(name).error(str(error))
        sys.exit(1)
    except (KeyboardInterrupt, ExternalShutdownException):
        pass
    except Exception:
        # A signal shuts ROS down at any moment; whatever rclpy was doing then fails in its own
        # way, and that is no fault.
        if rclpy.ok():
            raise
    finally:
        left.set()
        rclpy.try_shutdown()
        process_ends()


def _end_in_time(name: str, context: Context, left: threading.Event) -> None:
    """End the process, as well as it can be, where a signal has not brought it to its end."""
    while context.ok():
        if left.wait(0.05):
            return
    if not left.wait(_GRACE):
        rclpy.logging.get_logger(name).warning('ended while something was still at work')
        os._exit(0)


@contextmanager
def set_at_shutdown(context: Context, event: threading.Event) -> Iterator[None]:
    """Set an event when ROS shuts down within a with block.

    By looking now and then: a signal ends the context, but rclpy calls no on_shutdown for it.
    """
    left = threading.Event()

    def watch() -> None:
        while not left.wait(0.1):
            if not context.ok():
                event.set()
                return

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    try:
        yield
    finally:
        left.set()
        watcher.join()
