"""How ROS starts and ends in a process; nothing else here calls rclpy.init."""

from __future__ import annotations

import re
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

import rclpy
import rclpy.logging
from rclpy.context import Context
from rclpy.executors import Executor, ExternalShutdownException, SingleThreadedExecutor

from linknet_ros.errors import LinknetError, first_line
from linknet_ros.system import signals
from linknet_ros.system.memory import keep_freed_memory

#: What an argument of ROS may be, by what it starts with.
_ARGUMENTS = {
    '--log-level': 'debug, info, warn, error or fatal, e.g. --log-level warn',
    '--params-file': 'a YAML file that exists, e.g. --params-file camvid.yaml',
    '-p': 'name:=value, e.g. -p threads:=2',
    '--param': 'name:=value, e.g. -p threads:=2',
    '-r': 'from:=to with names of letters, digits and _, e.g. -r __ns:=/front',
    '--remap': 'from:=to with names of letters, digits and _, e.g. -r __ns:=/front',
}

#: Seconds of processor time from a signal to the end at the latest; a back end that compiles a
#: network cannot be interrupted. Not seconds: where every core is busy an orderly end takes long.
_GRACE = 1.0

#: Seconds to the end at the latest; five after the first signal launch sends a worse one.
_PATIENCE = 4.0

#: Seconds between two checks whether a signal has come.
_POLL = 0.05


@contextmanager
def ros_process(name: str, arguments: list[str] | None) -> Iterator[SingleThreadedExecutor]:
    """ROS for the length of a with block: a process that is a node, or has one of its own.

    A signal ends the block quietly, and then the process, with the exit code of `system.signals`.
    A LinknetError, and an argument that ROS cannot read, end it with one line in the log and exit
    code 1.

    :param name: of the node, for the log.
    :param arguments: of the command line, None for the process's own.
    :returns: the executor to spin, see also `spin_once`; made first of all, because one made while
        a signal shuts ROS down prints a page.
    """
    keep_freed_memory()
    try:
        rclpy.init(args=arguments)
    except Exception as error:
        # Arguments, the middleware, ROS_DOMAIN_ID: nothing has started that could be at fault.
        rclpy.logging.get_logger(name).error(_why_not_started(error))
        sys.exit(1)
    # No KeyboardInterrupt either, which would break into whatever is being tidied up.
    signals.take_note()
    left = threading.Event()
    context = rclpy.get_default_context()
    interrupted = False
    try:
        executor = SingleThreadedExecutor()
        end = partial(_end_in_time, name, context, executor, left)
        threading.Thread(target=end, daemon=True).start()
        yield executor
    except (KeyboardInterrupt, ExternalShutdownException):
        interrupted = True
    except (Exception, SystemExit) as error:
        # A signal shuts ROS down at any moment; whatever was being done then fails in its own
        # way, which is not a fault.
        interrupted = signals.received() or not context.ok()
        if interrupted:
            pass
        elif isinstance(error, LinknetError):
            rclpy.logging.get_logger(name).error(str(error))
            sys.exit(1)
        else:
            raise
    finally:
        left.set()
        _shut_down(context)
        signals.end_again()
    if interrupted or signals.received():
        sys.exit(signals.exit_code())


@contextmanager
def ros_context() -> Iterator[Context]:
    """ROS in a context of its own, for a process that its parent ends.

    It takes no arguments and leaves signals alone.
    """
    context = Context()
    rclpy.init(args=[], context=context)
    try:
        yield context
    finally:
        _shut_down(context)


def spin_once(executor: Executor, seconds: float) -> None:
    """Do at most one thing that is due, for programs with a loop of their own.

    :param seconds: to wait for it at most.
    :raises ExternalShutdownException: after a signal; the executor alone would say nothing.
    """
    executor.spin_once(timeout_sec=seconds)
    if not executor.context.ok():
        raise ExternalShutdownException


def _end_in_time(
    name: str, context: Context, executor: SingleThreadedExecutor, left: threading.Event
) -> None:
    """End the process if it has not ended by itself some time after a signal."""
    while context.ok():
        if left.wait(_POLL):
            return
        if signals.received():
            # rclpy has missed it: it came just before rclpy's handlers were there (seen once in
            # some hundred starts on a machine at a load of 40).
            _shut_down(context)
    least, end = time.monotonic() + _GRACE, time.monotonic() + _PATIENCE
    worked = time.process_time() + _GRACE
    while time.monotonic() < least or time.process_time() < worked:
        if time.monotonic() > end:
            break
        # The signal's own wake-up is lost if the executor checked the context just before it and
        # waits just after it.
        executor.wake()
        if left.wait(_POLL):
            return
    # Not by the node's name: rclpy would complain that it cannot publish that to /rosout.
    log = rclpy.logging.get_logger(f'{name}.process')
    log.warning('ended while something was still at work')
    signals.end_now()


def _shut_down(context: Context) -> None:
    """Shut ROS down; does nothing if it is, or if a signal does it at this moment."""
    try:
        context.try_shutdown()
    except RuntimeError:
        # rclpy's own thread for signals came between the check and the call of `try_shutdown`.
        if context.ok():
            raise


def _why_not_started(error: Exception) -> str:
    """One line on what rclpy.init raised, with the way out where an argument is at fault."""
    text = first_line(error)
    # rcl: "... Couldn't parse log level: '--log-level loud'. Error: Argument does not use ..."
    argument = re.search(r"'((-[-\w]+) .*)'\. Error: (.*)", text)
    if argument is not None:
        use = _ARGUMENTS.get(argument[2])
        hint = f'; use {use}' if use else ''
        return f"cannot read the argument '{argument[1]}' ({argument[3]}){hint}"
    if type(error).__name__ == 'UnknownROSArgsError':
        return f'unknown arguments {text}; after --ros-args come only those of ROS, e.g. -p or -r'
    return f'ROS does not start: {text}; see `ros2 run linknet_ros doctor`'


@contextmanager
def set_at_shutdown(context: Context, event: threading.Event) -> Iterator[None]:
    """Set an event when ROS shuts down within a with block.

    Polls: a signal ends the context, but rclpy calls no on_shutdown for it.
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
