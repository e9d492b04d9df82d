"""Builds an engine, in a process of its own: python -m linknet_ros.inference.tensorrt.build JSON.

A build takes minutes and much memory, may be killed for it, and can be ended at any time only as
a process. Standard output carries a JSON object a line ('progress' or 'error'); the end of
standard input means that nobody waits any more.
"""

from __future__ import annotations

import json
import os
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from linknet_ros.errors import BackendError, BuildCancelledError, LinknetError, first_line
from linknet_ros.inference.model_file import load_model
from linknet_ros.inference.onnx_graph import fix_size, parse_onnx, to_float16
from linknet_ros.inference.tensorrt.cuda import Cuda
from linknet_ros.inference.tensorrt.library import Library, log_of, open_library

#: Seconds that TensorRT gets to notice a cancelled build before the process ends itself.
_GRACE = 1.0


@dataclass(frozen=True)
class BuildRequest:
    """What to build.

    :param model: path of the model file.
    :param sha256: of it, hexadecimal; another content is not built.
    :param height: of the images, pixels, likewise `width`.
    :param precision: 'fp32', 'fp16', or 'int8' for a file made for it, with fp16 for the rest.
    :param device: index of the GPU.
    :param workspace_mib: see TensorrtOptions, likewise `optimization_level`.
    :param folder: the plan goes into `plan` here; must exist and be ours alone.
    """

    model: str
    sha256: str
    height: int
    width: int
    precision: str
    device: int
    workspace_mib: int
    optimization_level: int
    folder: str

    def to_json(self) -> str:
        """The request as the child process takes it."""
        return json.dumps(asdict(self))

    @property
    def plan_path(self) -> Path:
        """Where the plan goes."""
        return Path(self.folder) / 'plan'


def build_plan(
    library: Library,
    request: BuildRequest,
    cancelled: threading.Event,
    progress: Callable[[str], None],
) -> bytes:
    """Build a plan; the calling thread must use the GPU already.

    :param progress: gets a line now and then, from TensorRT's threads.
    :raises BuildCancelledError: when cancelled before it was done (not with TensorRT 8.6).
    :raises BackendError: when TensorRT refuses, with its log.
    :raises ModelError: when the model cannot be read.
    """
    trt, log = library.trt, log_of(library.trt)
    log.clear()
    try:
        builder = trt.Builder(log)
    except TypeError as error:  # pybind11: the factory returned nullptr
        raise BackendError(f'TensorRT {library.version} does not start: {log.why()}') from error
    if log.complained:
        # Such a builder must not be touched: it may be an empty shell.
        raise BackendError(f'TensorRT {library.version} does not start: {log.why()}')
    network = builder.create_network(_network_flags(library))
    config = builder.create_builder_config()
    if network is None or config is None:
        raise BackendError(f'TensorRT makes no network: {log.why()}')
    parser = trt.OnnxParser(network, log)
    graph = Path(request.folder) / 'graph.onnx'
    graph.write_bytes(_graph(library, request))
    # From a file: up to 10.10, parse(bytes) reads a Python buffer without the GIL.
    if not parser.parse_from_file(str(graph)):
        errors = [_parser_error(parser.get_error(i)) for i in range(parser.num_errors)]
        raise BackendError(
            f'TensorRT {library.version} cannot load {request.model}: '
            f'{"; ".join(errors) or log.why()}'
        )
    _configure(library, config, request)
    monitor = _monitor(trt, cancelled, progress)
    if monitor is not None:
        config.progress_monitor = monitor  # `monitor` must outlive the build
    plan = builder.build_serialized_network(network, config)
    if cancelled.is_set():
        raise BuildCancelledError('the build was cancelled')
    if plan is None:
        raise BackendError(f'TensorRT {library.version} builds no engine: {log.why()}')
    return bytes(plan)  # its buffer claims a wrong item format, which only bytes() ignores


def _graph(library: Library, request: BuildRequest) -> bytes:
    path = Path(request.model)
    model = load_model(path)
    if model.sha256 != request.sha256:
        raise BackendError(f'{path} has changed since it was loaded; configure again')
    proto = parse_onnx(path, model.graph())
    fix_size(proto.graph, request.height, request.width)
    if request.precision != 'fp32' and library.major >= 11:
        to_float16(path, proto)
    graph: bytes = proto.SerializeToString()
    return graph


def _network_flags(library: Library) -> int:
    """Explicit batch where it has to be asked for; the flag does not exist any more in 11."""
    if library.major >= 10:
        return 0
    return 1 << int(library.trt.NetworkDefinitionCreationFlag.EXPLICIT_BATCH)


def _configure(library: Library, config: Any, request: BuildRequest) -> None:
    trt = library.trt
    config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, request.workspace_mib << 20)
    config.builder_optimization_level = request.optimization_level
    # What engine_precision reads.
    config.profiling_verbosity = trt.ProfilingVerbosity.DETAILED
    if request.precision == 'fp32':
        # On by default, with 10 bits of mantissa: not what fp32 says.
        config.clear_flag(trt.BuilderFlag.TF32)
    elif library.major < 11:
        config.set_flag(trt.BuilderFlag.FP16)
        if request.precision == 'int8':
            # Needed for Q/DQ nodes; the scales in the file leave nothing to calibrate.
            config.set_flag(trt.BuilderFlag.INT8)


def _parser_error(error: Any) -> str:
    where = f'node {error.node()}'
    if hasattr(error, 'node_operator'):  # from 10.0
        where = f'{error.node_operator()} {error.node_name()} ({where})'
    return f'{where}: {first_line(Exception(error.desc()))}'


def _monitor(trt: Any, cancelled: threading.Event, progress: Callable[[str], None]) -> Any:
    """A progress monitor, called from several threads at once; None with TensorRT 8.6."""
    if not hasattr(trt, 'IProgressMonitor'):
        return None

    class Monitor(trt.IProgressMonitor):
        def __init__(self) -> None:
            trt.IProgressMonitor.__init__(self)
            self._lock = threading.Lock()
            self._steps: dict[str, int] = {}
            self._told: dict[str, int] = {}

        def phase_start(self, phase_name: str, parent_phase: str | None, num_steps: int) -> None:
            if parent_phase is None and num_steps > 0:
                with self._lock:
                    self._steps[phase_name] = num_steps
                    self._told[phase_name] = -1

        def phase_finish(self, phase_name: str) -> None:
            with self._lock:
                self._steps.pop(phase_name, None)

        def step_complete(self, phase_name: str, step: int) -> bool:
            with self._lock:
                steps = self._steps.get(phase_name)
                if steps is not None:
                    tenth = 10 * (step + 1) // steps
                    if tenth > self._told[phase_name]:
                        self._told[phase_name] = tenth
                        progress(f'{phase_name} {tenth * 10} %')
            return not cancelled.is_set()  # False cancels

    return Monitor()


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
    """Build what the one argument, a BuildRequest as JSON, says."""
    request = BuildRequest(**json.loads(arguments[0]))
    cancelled = threading.Event()
    threading.Thread(target=_watch_input, args=(cancelled,), daemon=True).start()
    cuda = Cuda()
    try:
        cuda.use(request.device)
        library = open_library()
        _say(progress=f'TensorRT {library.version}, {cuda.memory()}')
        plan = build_plan(library, request, cancelled, lambda line: _say(progress=line))
        request.plan_path.write_bytes(plan)
    except BuildCancelledError as error:
        _say(error=str(error))
    except LinknetError as error:
        # Running out of memory often reads as 'Could not find any implementation for node'.
        _say(error=f'{error} ({cuda.memory()})')
    except Exception as error:
        _say(error=f'{type(error).__name__}: {first_line(error)}')
    else:
        return 0
    return 1


if __name__ == '__main__':
    sys.exit(main(sys.argv[1:]))
