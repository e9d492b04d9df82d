"""Children: programs of this package in processes of their own, started, asked and stopped here.

What crashes, exits or hangs in a child takes nothing else with it. None is left behind: a signal
that ends this process ends them first.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, NoReturn

from linknet_ros.errors import LinknetError, first_line
from linknet_ros.system.package_files import SHM_PROFILE, package_file
from linknet_ros.system.signals import before_end, held, starting_child

#: Starts the line with the answer; what libraries print stands before it.
_MARK = 'linknet_ros answers '

#: Values of Outcome.failure that are not names of exceptions.
CRASH, TIMEOUT = 'crash', 'timeout'

Child = subprocess.Popen[bytes]

#: Children that may still run.
_children: set[Child] = set()


@dataclass(frozen=True)
class Outcome:
    """How a child ended.

    :param value: its answer, of what JSON can say; None where it failed.
    :param failure: the name of the exception, CRASH or TIMEOUT; empty where it answered.
    :param kinds: the names of a LinknetError's class and its bases.
    :param message: the failure in one line.
    :param fix: what to do about it, where a LinknetError says so.
    :param module: the module that an ImportError is about.
    :param log: the end of what it and its libraries wrote to stderr.
    """

    value: Any = None
    failure: str = ''
    kinds: Sequence[str] = ()
    message: str = ''
    fix: str = ''
    module: str = ''
    log: str = ''

    @property
    def works(self) -> bool:
        """Whether it answered."""
        return not self.failure

    @property
    def reason(self) -> str:
        """Message and fix in one line."""
        return f'{self.message}; {self.fix}' if self.fix else self.message

    def misses(self, module: str) -> bool:
        """Whether it failed because a module is not installed."""
        return self.failure == 'ModuleNotFoundError' and self.module == module


def start(
    module: str, *arguments: str, env: Mapping[str, str] | None = None, **options: Any
) -> Child:
    """Start `python -m module arguments`; end it with `stop`.

    :param env: variables that are added to this process's.
    :param options: of subprocess.Popen.
    :raises OSError: when Python cannot be started.
    """
    environment = dict(os.environ)
    # The child finds this package where the parent did, but after all that the user put first.
    paths = [environment.get('PYTHONPATH', ''), str(Path(__file__).parents[2])]
    environment['PYTHONPATH'] = os.pathsep.join(path for path in paths if path)
    command = [sys.executable, '-m', module, *arguments]
    with held():
        with starting_child():
            process = subprocess.Popen(command, env=environment | dict(env or {}), **options)
        _children.add(process)
    return process


def start_program(
    name: str, parameters: Mapping[str, str], more: Sequence[str] = (), **options: Any
) -> Child:
    """Start a node; it writes to this process's stderr, warnings and errors only.

    :param name: of linknet_ros/__main__.py, or a module of another package.
    :param parameters: ROS parameters, written as in YAML.
    :param more: further arguments of ROS, e.g. '-r', 'image_raw:=image'.
    :param options: see `start`.
    """
    module = [name] if '.' in name else ['linknet_ros', name]
    arguments = ['--ros-args', '--log-level', 'warn', *more]
    for key, value in parameters.items():
        arguments += ['-p', f'{key}:={value}']
    return start(*module, *arguments, **options)


def stop(processes: Iterable[Child], seconds: float = 5) -> None:
    """End children.

    :param seconds: after which they are killed.
    """
    processes = list(processes)
    for process in processes:
        process.terminate()
    for process in processes:
        try:
            process.wait(seconds)
        except subprocess.TimeoutExpired:
            process.kill()
            # A process that hangs in a driver cannot even be killed; it is left behind.
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(2)
        _children.discard(process)


def ask(module: str, *arguments: str, seconds: float) -> Outcome:
    """Run `python -m module arguments`, which calls `answer`; never raises for what it does.

    :param seconds: after which the child and its own children are killed.
    """
    try:
        # Files and not pipes: a grandchild that lives on would keep a pipe open.
        with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
            process = start(
                module,
                *arguments,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
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
    except LinknetError as error:
        kinds = [kind.__name__ for kind in type(error).__mro__]
        reply = {
            'failure': kinds[0],
            'kinds': kinds,
            'message': error.problem,
            'fix': error.fix,
        }
    except BaseException as error:  # an import that calls sys.exit, too
        reply = {
            'failure': type(error).__name__,
            'message': _telling_line(error),
            'module': getattr(error, 'name', None) or '',
        }
    sys.stdout.write(f'\n{_MARK}{json.dumps(reply)}\n')
    sys.stdout.flush()
    sys.stderr.flush()
    # Not through the interpreter's end, where some libraries hang or crash after good work.
    os._exit(0)


def isolate(domain_id: int) -> None:
    """Give this process and those it starts a ROS domain, on this machine only.

    Whatever the shell is set to: a demo's drivable area must never reach a robot, nor a robot's
    camera the demo. Images get shared memory, unless the shell names a profile.
    """
    os.environ['ROS_DOMAIN_ID'] = str(domain_id)
    os.environ['ROS_AUTOMATIC_DISCOVERY_RANGE'] = 'LOCALHOST'
    profile = str(package_file(SHM_PROFILE))
    os.environ.setdefault('FASTRTPS_DEFAULT_PROFILES_FILE', profile)
    os.environ.setdefault('FASTDDS_DEFAULT_PROFILES_FILE', profile)


def _wait(process: Child, seconds: float) -> int | None:
    """Exit code, None where the time was up."""
    try:
        return process.wait(seconds)
    except subprocess.TimeoutExpired:
        return None
    finally:
        # Grandchildren too.
        _kill_group(process)
        stop([process], 2)


def _kill_group(process: Child) -> None:
    """Kill a child with all its children, where it has a session of its own."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)


def _end_children() -> None:
    for process in list(_children):
        _kill_group(process)
    stop(_children)


before_end(_end_children)


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
