"""Ask a process of its own: what crashes, exits or hangs there takes nothing else with it."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, NoReturn

from linknet_ros.errors import first_line

#: Starts the line with the answer; what libraries print stands before it.
_MARK = 'linknet_ros answers '

#: Values of Outcome.failure that are no names of exceptions.
CRASH, TIMEOUT = 'crash', 'timeout'


@dataclass(frozen=True)
class Outcome:
    """How a child ended.

    :param value: its answer, of what JSON can say; None where it failed.
    :param failure: the name of the exception, CRASH or TIMEOUT; empty where it answered.
    :param message: the failure in one line.
    :param module: the module that an ImportError is about.
    :param log: the end of what it and its libraries wrote to stderr.
    """

    value: Any = None
    failure: str = ''
    message: str = ''
    module: str = ''
    log: str = ''

    @property
    def works(self) -> bool:
        """Whether it answered."""
        return not self.failure

    def lacks(self, module: str) -> bool:
        """Whether it failed because a module is not installed."""
        return self.failure == 'ModuleNotFoundError' and self.module == module


def ask(module: str, *arguments: str, seconds: float) -> Outcome:
    """Run `python -m module arguments`, which calls `answer`; never raises for what it does.

    :param seconds: after which the child and its own children are killed.
    """
    environment = dict(os.environ)
    # The child finds this package where the parent did, but after all that the user put first.
    paths = [environment.get('PYTHONPATH', ''), str(Path(__file__).parents[2])]
    environment['PYTHONPATH'] = os.pathsep.join(path for path in paths if path)
    try:
        # Files and not pipes: a grandchild that lives on would keep a pipe open.
        with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
            process = subprocess.Popen(
                [sys.executable, '-m', module, *arguments],
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
                env=environment,
                start_new_session=True,
            )
            code = _wait(process, seconds)
            return _outcome(code, seconds, _text(out), _text(err))
    except OSError as error:
        return Outcome(failure=type(error).__name__, message=f'cannot start Python: {error}')


def answer(probe: Callable[[], Any]) -> NoReturn:
    """In the child: answer with what a function returns or raises, and end the process."""
    try:
        reply = {'value': probe()}
    except BaseException as error:  # an import that calls sys.exit, too
        reply = {
            'failure': type(error).__name__,
            'message': _telling_line(error),
            'module': getattr(error, 'name', None) or '',
        }
    print(f'\n{_MARK}{json.dumps(reply)}', flush=True)  # noqa: T201
    sys.stderr.flush()
    # Not through the interpreter's end, where some libraries hang or crash after good work.
    os._exit(0)


def _wait(process: subprocess.Popen[bytes], seconds: float) -> int | None:
    """Exit code, None where the time was up."""
    try:
        return process.wait(seconds)
    except subprocess.TimeoutExpired:
        return None
    finally:
        # Also what a Ctrl-C leaves, and grandchildren: the session's group is the child's own.
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)
        # A process that hangs in a driver cannot even be killed; it is left behind.
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(2)


def _outcome(code: int | None, seconds: float, out: str, log: str) -> Outcome:
    _, found, rest = out.rpartition(f'\n{_MARK}')
    if found:
        with contextlib.suppress(ValueError):
            return Outcome(**json.loads(rest.splitlines()[0]), log=log)
    if code is None:
        return Outcome(failure=TIMEOUT, message=f'no answer within {seconds:g} s', log=log)
    if code < 0:
        try:
            name = signal.Signals(-code).name
        except ValueError:
            name = f'signal {-code}'
        return Outcome(failure=CRASH, message=f'the process died of {name}', log=log)
    return Outcome(failure=CRASH, message=f'the process ended with exit code {code}', log=log)


def _text(file: IO[bytes]) -> str:
    """The last 20 kB."""
    size = file.seek(0, os.SEEK_END)
    file.seek(max(0, size - 20_000))
    return file.read().decode('utf-8', 'replace')


def _telling_line(error: BaseException) -> str:
    """First line of an error's text; NumPy's import error has it behind a page of advice."""
    _, found, original = str(error).partition('Original error was: ')
    return original.splitlines()[0] if found and original.strip() else first_line(error)
