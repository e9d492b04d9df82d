"""SIGINT and SIGTERM from a process's first line to its last.

What a signal does, and the exit code:

* A node, and `demo --view`, run until a signal ends them: 0.
* A command that a signal interrupts before it has finished: 128 + the signal's number, as shells
  do: 130 for SIGINT, 143 for SIGTERM. It prints one line at most.
* A signal that comes when everything is done changes nothing.

A handler ends the process directly (`os._exit`) instead of raising an exception: raised at a
random line, an exception may meet a finalizer, a callback or somebody's `except`, which swallow it
or print a traceback. So what must not be left behind (children, temporary folders) is registered
with `before_end`. What is written to disk may be cut off anywhere, as by a power cut.

While ROS runs its own handlers shut it down, in order; then ours only take note.
"""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Callable, Iterator
from types import FrameType

_NUMBERS = (signal.SIGINT, signal.SIGTERM)

#: Of a process that runs until a signal ends it; None: 128 + the signal's number.
_code: int | None = 0
_installed = False
#: The last signal that came.
_received: int | None = None
#: What a signal calls instead of ending the process.
_instead: Callable[[], object] | None = None
#: One item for each `held` block that is being run.
_holds: list[None] = []
_callbacks: list[Callable[[], object]] = []
_ending = False


def end_quietly(*, endless: bool) -> None:
    """From now on SIGINT and SIGTERM end the process.

    :param endless: whether the program runs until a signal ends it; decides on the exit code.
    """
    global _code, _installed
    _code, _installed = 0 if endless else None, True
    restore_handlers()
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _NUMBERS)


def restore_handlers() -> None:
    """Put the handlers back that a library has replaced, e.g. Ray."""
    if _installed:
        for number in _NUMBERS:
            signal.signal(number, _handle)


def take_note(instead: Callable[[], object] = lambda: None) -> None:
    """From now on a signal only calls a function; the program ends itself, with `exit_code()`."""
    global _instead
    _instead = instead


def end_again() -> None:
    """After `take_note`: what `end_quietly` began holds again, or what is left of the process.

    A program that runs until a signal has come to its end: it ignores what comes later.
    """
    global _instead
    if _code is None:
        _instead = None
    else:
        process_ends()


def process_ends() -> None:
    """Ignore what comes while Python ends, which puts the default handlers back too early."""
    for number in _NUMBERS:
        if signal.getsignal(number) is _handle:
            signal.signal(number, signal.SIG_IGN)


def received() -> bool:
    """Whether a signal has come."""
    return _received is not None


def exit_code() -> int:
    """Exit code of a process that a signal ends."""
    if _code is None and _received is not None:
        return 128 + _received
    return 0


def before_end(callback: Callable[[], object], *, last: bool = False) -> None:
    """Call a function before a signal ends the process.

    It is called between any two lines of the main thread, so it must not wait for a lock. It may
    be called though its work is done already.

    :param last: after all others; else before those that are registered already.
    """
    _callbacks.insert(0 if last else len(_callbacks), callback)


@contextlib.contextmanager
def held() -> Iterator[None]:
    """Let signals wait for the end of a with block, e.g. until a new child is known."""
    _holds.append(None)
    try:
        yield
    finally:
        _holds.pop()
        if _received is not None and not _holds and _instead is None:
            end_now()


@contextlib.contextmanager
def starting_child() -> Iterator[None]:
    """Let a child that is started in a with block begin with SIGINT blocked.

    Ctrl-C reaches all processes of a terminal; while Python starts it would print a traceback. The
    child's own `end_quietly` unblocks it, and a Ctrl-C from before counts then.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def end_now() -> None:
    """End the process as a signal does: call what is registered, then exit."""
    global _ending
    if _ending:
        return
    _ending = True
    for callback in reversed(_callbacks):
        with contextlib.suppress(Exception):
            callback()
    os._exit(exit_code())


def _handle(number: int, frame: FrameType | None) -> None:
    global _received
    # Before the holds are checked: one of another thread may be ending.
    _received = number
    if _instead is not None:
        _instead()
    elif not _holds:
        end_now()
