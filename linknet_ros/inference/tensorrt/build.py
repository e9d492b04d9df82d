"""Builds an engine in a process of its own: python -m linknet_ros.inference.tensorrt.build JSON.

A build takes minutes and much memory, may be killed for it, and can be ended at any time only as
a process. The child's standard output carries a JSON object a line ('progress' or 'error'); the
end of its standard input means that nobody waits any more.

Networks are strongly typed: the graph says what is computed in float16 and, between Q/DQ nodes, in
int8. No precision is a permission that TensorRT may take or leave.
"""

from __future__ import annotations

import contextlib
import json
import os
import queue
import signal
import subprocess
import sys
import threading
import time
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, Any

from linknet_ros.errors import BackendError, BuildCancelledError, LinknetError, first_line
from linknet_ros.inference.onnx_graph import (
    expand_float16_weights,
    fix_size,
    parse_onnx,
    plain_transposed_convolutions,
    to_float16,
)
from linknet_ros.inference.tensorrt.cuda import Cuda
from linknet_ros.inference.tensorrt.library import Layer, Library, log_of, open_library
from linknet_ros.system.child_process import Child, start, stop
from linknet_ros.system.temporary_folder import temporary_folder

_MODULE = 'linknet_ros.inference.tensorrt.build'

#: Seconds between two checks of the cancel event.
_PAUSE = 0.1

#: Seconds that TensorRT gets to notice a cancelled build before the process ends itself, and
#: before it is killed.
_GRACE, _KILL_GRACE = 1.0, 1.5

#: Characters of a parser's reason in a message.
_MAX_REASON = 400


@dataclass(frozen=True)
class BuildRequest:
    """What to build.

    :param model: path of the model file, for messages.
    :param library: 'classic' or 'rtx'.
    :param height: of the images, pixels, as `width`.
    :param precision: 'fp32', 'fp16', or 'int8' for a file made for it, with fp16 for the rest.
    :param device: index of the GPU; not used with a target.
    :param target: with 'rtx', the compute capability to build for, e.g. 'SM86'; no GPU is needed.
    :param workspace_mib: see TensorrtOptions, as for `optimization_level`.
    """

    model: str
    library: str
    height: int
    width: int
    precision: str
    device: int = 0
    target: str = ''
    workspace_mib: int = 0
    optimization_level: int = 3


# The parent.


def build_in_child(
    request: BuildRequest, data: bytes, report: Callable[[str], None], cancel: threading.Event
) -> bytes:
    """Build an engine in a child process.

    :param data: the model file.
    :param report: gets the child's lines of progress, on the calling thread.
    :param cancel: set from another thread to give up.
    :returns: the plan.
    :raises BuildCancelledError: when cancelled; the child is gone by then.
    :raises BackendError: when the child fails or dies.
    """
    with temporary_folder() as folder:
        (folder / 'model').write_bytes(data)
        child = _start(request, folder)
        try:
            error, last_lines = _follow(child, report, cancel)
            code = child.wait()
        finally:
            _stop(child)
        if cancel.is_set():
            raise BuildCancelledError('building an engine was cancelled')
        if error is not None or code != 0:
            raise BackendError(*(error or _death(code, last_lines)))
        try:
            return (folder / 'plan').read_bytes()
        except OSError as reason:
            raise BackendError(f'the build left no engine: {reason.strerror}') from reason


def _start(request: BuildRequest, folder: Path) -> Child:
    # The child finds the modules that we do, and nothing in whatever folder we happen to be in.
    path = os.pathsep.join(os.path.abspath(entry) for entry in sys.path)
    try:
        # A new program, not a fork: a forked process cannot use CUDA. In a session of its own,
        # so that Ctrl-C reaches us only, and we end it in order.
        return start(
            _MODULE,
            json.dumps(asdict(request)),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            cwd=folder,
            # What TensorRT writes for itself goes when the folder goes, even from a killed child.
            env={'PYTHONPATH': path, 'TMPDIR': str(folder)},
            start_new_session=True,
        )
    except OSError as error:
        raise BackendError(
            f"cannot start Python ('{sys.executable}': {error.strerror}) to build an engine"
        ) from error


def _follow(
    child: Child, report: Callable[[str], None], cancel: threading.Event
) -> tuple[tuple[str, str] | None, list[str]]:
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
            error = message['error'], message['fix']
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
        child.wait(_KILL_GRACE)
    stop([child], 0)


def _death(code: int, last_lines: list[str]) -> tuple[str, str]:
    words = f'; its last words: {" | ".join(last_lines)}' if last_lines else ''
    if code >= 0:
        return f'the process that builds the engine ended with {code}{words}', ''
    name = signal.Signals(-code).name
    problem = f'the process that builds the engine died of {name}'
    if -code == signal.SIGKILL:
        fix = 'stop other programs, add swap, or lower optimization_level'
        return f'{problem}, most likely because memory ran out{words}', fix
    return f'{problem}{words}', ''


# The child.


def build_plan(
    library: Library,
    request: BuildRequest,
    folder: Path,
    cancelled: threading.Event,
    progress: Callable[[str], None],
) -> tuple[bytes, list[Layer]]:
    """Build a plan; without a target the calling thread must use the GPU already.

    :param folder: with the model file as `model`; the graph is written there.
    :raises ModelError: when the model cannot be read.

    The rest is as in build_graph.
    """
    graph = _graph(request, (folder / 'model').read_bytes())
    (folder / 'graph.onnx').write_bytes(graph)
    return build_graph(library, request, folder, cancelled, progress)


def build_graph(
    library: Library,
    request: BuildRequest,
    folder: Path,
    cancelled: threading.Event,
    progress: Callable[[str], None],
) -> tuple[bytes, list[Layer]]:
    """Build a plan of a graph whose size is fixed.

    :param folder: with the graph as `graph.onnx`.
    :param progress: gets a line now and then, from TensorRT's threads.
    :returns: the plan, and its layers where TensorRT lists them.
    :raises BuildCancelledError: when cancelled before it was done.
    :raises BackendError: when TensorRT refuses, with its log.
    """
    trt, log = library.trt, log_of(library.trt)
    log.clear()
    try:
        builder = trt.Builder(log)
    except TypeError as error:  # pybind11: the factory returned nullptr
        raise BackendError(f'{library.name} does not start: {log.why()}') from error
    if log.complained:
        raise empty_shell(builder, library)
    flags = trt.NetworkDefinitionCreationFlag
    network = builder.create_network(1 << int(flags.STRONGLY_TYPED))
    config = builder.create_builder_config()
    if network is None or config is None:
        raise BackendError(f'{library.name} makes no network: {log.why()}')
    parser = trt.OnnxParser(network, log)
    # From a file: up to 10.10, parse(bytes) reads a Python buffer without the GIL.
    if not parser.parse_from_file(str(folder / 'graph.onnx')):
        errors = [_parser_error(parser.get_error(i)) for i in range(parser.num_errors)]
        raise BackendError(
            f'{library.name} cannot load {request.model}: {"; ".join(errors) or log.why()}'
        )
    _configure(trt, config, request)
    monitor = _monitor(trt, cancelled, progress)
    config.progress_monitor = monitor  # `monitor` must outlive the build
    plan = builder.build_serialized_network(network, config)
    if cancelled.is_set():
        raise BuildCancelledError('the build was cancelled')
    if plan is None:
        raise _no_engine(library, request, log.why())
    # Its buffer claims a wrong item format, which only bytes() ignores.
    return bytes(plan), log.layers()


def empty_shell(shell: Any, library: Library) -> BackendError:
    """The error for an object that TensorRT returned together with an error.

    Where the driver is older than its CUDA, it returns objects that crash the process when they
    are used, or freed, even at the interpreter's end: so this one is never freed.
    """
    import ctypes

    ctypes.pythonapi.Py_IncRef(ctypes.py_object(shell))
    return BackendError(
        f'{library.name} does not start: {log_of(library.trt).why()}',
        'check that the driver is new enough for the CUDA version that it was made for',
    )


def _no_engine(library: Library, request: BuildRequest, why: str) -> BackendError:
    problem = f'{library.name} builds no engine: {why}'
    if request.workspace_mib and ('OutOfMemory' in why or 'any implementation' in why):
        fix = 'set it to 0 for no limit, or raise it'
        return BackendError(f'{problem}; workspace_mib is {request.workspace_mib}', fix)
    return BackendError(problem)


def _graph(request: BuildRequest, data: bytes) -> bytes:
    """The ONNX graph in its size and arithmetic."""
    path = Path(request.model)
    proto = parse_onnx(path, data)
    expand_float16_weights(path, proto.graph)
    fix_size(proto.graph, request.height, request.width)
    if request.precision == 'int8':
        plain_transposed_convolutions(proto.graph)
    if request.precision != 'fp32':
        to_float16(path, proto)
    graph: bytes = proto.SerializeToString()
    return graph


def _configure(trt: Any, config: Any, request: BuildRequest) -> None:
    if request.workspace_mib:
        config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, request.workspace_mib << 20)
    config.builder_optimization_level = request.optimization_level
    # Lists the layers in the log.
    config.profiling_verbosity = trt.ProfilingVerbosity.DETAILED
    # On by default, with 10 bits of mantissa: not what fp32 says.
    config.clear_flag(trt.BuilderFlag.TF32)
    if request.target:
        config.num_compute_capabilities = 1
        config.set_compute_capability(_target(trt, request.target), 0)


def _target(trt: Any, name: str) -> Any:
    known = trt.ComputeCapability.__members__
    if name not in known:
        names = ', '.join(n for n in known if n.startswith('SM'))
        raise BackendError(
            f'TensorRT-RTX builds for {names}, not for {name}',
            'use the classic TensorRT (Orin, SM87, has no other), or another target',
        )
    return known[name]


def _parser_error(error: Any) -> str:
    # The first line may be 'Invalid Node', and the reason stands below it.
    reason = ' '.join(error.desc().split())[:_MAX_REASON]
    return f'{error.node_operator()} {error.node_name()} (node {error.node()}): {reason}'


def _monitor(trt: Any, cancelled: threading.Event, progress: Callable[[str], None]) -> Any:
    """A progress monitor, called from several threads at once."""

    class Monitor(trt.IProgressMonitor):
        def __init__(self) -> None:
            trt.IProgressMonitor.__init__(self)
            self._lock = threading.Lock()
            self._steps: dict[str, int] = {}
            self._reported: dict[str, int] = {}

        def phase_start(self, phase_name: str, parent_phase: str | None, num_steps: int) -> None:
            if parent_phase is None and num_steps > 0:
                with self._lock:
                    self._steps[phase_name] = num_steps
                    self._reported[phase_name] = -1

        def phase_finish(self, phase_name: str) -> None:
            with self._lock:
                self._steps.pop(phase_name, None)

        def step_complete(self, phase_name: str, step: int) -> bool:
            with self._lock:
                steps = self._steps.get(phase_name)
                if steps is not None:
                    tenth = 10 * (step + 1) // steps
                    if tenth > self._reported[phase_name]:
                        self._reported[phase_name] = tenth
                        progress(f'{phase_name} {tenth * 10} %')
            return not cancelled.is_set()  # False cancels

    return Monitor()


def _summary(layers: list[Layer]) -> str:
    """What the convolutions are computed in, e.g. '29 in int8, 6 in fp16'."""
    kinds = Counter(layer.precision for layer in layers if layer.convolves)
    return ', '.join(f'{count} in {precision}' for precision, count in kinds.most_common())


def _say(**message: str) -> None:
    # One write: lines of TensorRT's own must not end up inside.
    os.write(sys.stdout.fileno(), json.dumps(message).encode() + b'\n')


def _watch_input(cancelled: threading.Event) -> None:
    while os.read(sys.stdin.fileno(), 4096):
        pass
    cancelled.set()
    time.sleep(_GRACE)
    os._exit(3)


def main(arguments: list[str]) -> int:
    """Build what the one argument, a BuildRequest as JSON, says, in the current folder."""
    request = BuildRequest(**json.loads(arguments[0]))
    cancelled = threading.Event()
    threading.Thread(target=_watch_input, args=(cancelled,), daemon=True).start()
    cuda = None if request.target else Cuda()
    try:
        if cuda is not None:
            cuda.use(request.device)
        library = open_library(request.library)
        memory = f', {cuda.memory()}' if cuda is not None else f' for {request.target}'
        _say(progress=f'{library.name}{memory}')
        plan, layers = build_plan(
            library, request, Path.cwd(), cancelled, lambda line: _say(progress=line)
        )
        Path('plan').write_bytes(plan)
        if layers:
            _say(progress=f'{len(layers)} layers; convolutions {_summary(layers)}')
    except LinknetError as error:
        # Running out of memory often reads as 'Could not find any implementation for node'.
        memory = f' ({cuda.memory()})' if cuda is not None and not cancelled.is_set() else ''
        _say(error=f'{error.problem}{memory}', fix=error.fix)
    except Exception as error:
        _say(error=f'{type(error).__name__}: {first_line(error)}', fix='')
    else:
        return 0
    return 1


if __name__ == '__main__':
    sys.exit(main(sys.argv[1:]))
