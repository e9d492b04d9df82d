"""Runs tensorrt_build in a child process: forwards its lines, ends it, says why it died."""

from __future__ import annotations

import contextlib
import json
import os
import queue
import signal
import subprocess
import sys
import tempfile
import threading
from collections import deque
from collections.abc import Callable
from typing import IO

from linknet_ros.errors import BackendError, BuildCancelledError
from linknet_ros.inference.tensorrt.build import BuildRequest
from linknet_ros.system.child_process import Child, start, stop

_MODULE = 'linknet_ros.inference.tensorrt.build'

#: Seconds between two looks at the cancel event.
_PAUSE = 0.1

#: Seconds from asking the child to stop to killing it; it gives itself 1.
_GRACE = 1.5


def build_in_child(
    request: BuildRequest, report: Callable[[str], None], cancel: threading.Event
) -> bytes:
    """Build an engine in a child process.

    :param request: its folder is replaced by a private, temporary one.
    :param report: gets the child's lines of progress, on the calling thread.
    :param cancel: set from another thread to give up.
    :returns: the plan.
    :raises BuildCancelledError: when cancelled; the child is gone by then.
    :raises BackendError: when the child fails or dies.
    """
    with tempfile.TemporaryDirectory(prefix='linknet_ros-') as folder:
        request = BuildRequest(**{**vars(request), 'folder': folder})
        child = _start(request)
        try:
            error, last_lines = _follow(child, report, cancel)
            code = child.wait()
        finally:
            _stop(child)
        if cancel.is_set():
            raise BuildCancelledError('building an engine was cancelled')
        if error is not None or code != 0:
            raise BackendError(error or _death(code, last_lines))
        try:
            return request.plan_path.read_bytes()
        except OSError as reason:
            raise BackendError(f'the build left no engine: {reason.strerror}') from reason


def _start(request: BuildRequest) -> Child:
    # The child finds the modules that we do, and nothing in whatever folder we happen to be in.
    path = os.pathsep.join(os.path.abspath(entry) for entry in sys.path)
    try:
        # A new program, not a fork: a forked process cannot use CUDA. In a session of its own,
        # so that Ctrl-C reaches us only, and we end it in order.
        return start(
            _MODULE,
            request.to_json(),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            cwd=request.folder,
            # What TensorRT writes for itself goes when the folder goes, even from a killed child.
            env={'PYTHONPATH': path, 'TMPDIR': request.folder},
            start_new_session=True,
        )
    except OSError as error:
        raise BackendError(
            f"cannot start Python ('{sys.executable}': {error.strerror}) to build an engine"
        ) from error


def _follow(
    child: Child, report: Callable[[str], None], cancel: threading.Event
) -> tuple[str | None, list[str]]:
    """Read what the child writes until it ends or `cancel` is set: its error, its last lines."""
    assert child.stdout is not None
    lines: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
    threading.Thread(target=_read, args=(child.stdout, lines), daemon=True).start()
    error, last = None, deque[str](maxlen=3)
    while not cancel.is_set():
        try:
            line = lines.get(timeout=_PAUSE)
        except queue.Empty:
            if child.poll() is not None:
                break  # though somebody else still holds its standard output open
            continue
        if line is None:
            break
        message = _message(line)
        if 'progress' in message:
            report(f'building an engine: {message["progress"]}')
        elif 'error' in message:
            error = message['error']
        elif line.strip():
            last.append(line.decode(errors='replace').strip())
    else:
        _stop(child)
    return error, list(last)


def _read(stream: IO[bytes], lines: queue.SimpleQueue[bytes | None]) -> None:
    for line in stream:
        lines.put(line)
    lines.put(None)
    stream.close()


def _message(line: bytes) -> dict[str, str]:
    """A line of the child's own; empty for what TensorRT's libraries print."""
    try:
        message = json.loads(line)
    except ValueError:
        return {}
    return message if isinstance(message, dict) else {}


def _stop(child: Child) -> None:
    assert child.stdin is not None
    child.stdin.close()  # its sign to stop
    with contextlib.suppress(subprocess.TimeoutExpired):
        child.wait(_GRACE)
    stop([child], 0)


def _death(code: int, last_lines: list[str]) -> str:
    words = f'; its last words: {" | ".join(last_lines)}' if last_lines else ''
    if code >= 0:
        return f'the process that builds the engine ended with {code}{words}'
    name = signal.Signals(-code).name
    hint = ''
    if -code == signal.SIGKILL:
        hint = (
            ', most likely because memory ran out; stop other programs, add swap, or lower '
            'workspace_mib and optimization_level'
        )
    return f'the process that builds the engine died of {name}{hint}{words}'
