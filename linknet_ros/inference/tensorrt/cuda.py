"""The calls of the CUDA runtime that the TensorRT back end makes, each of them checked.

They go through NVIDIA's cuda-bindings, which imports without a GPU and uses the primary context,
as TensorRT does. Its calls return (error, value...); signatures are the same from 12.6 to 13.5.
"""

from __future__ import annotations

import ctypes
import importlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from linknet_ros.errors import BackendError

_OUT_OF_MEMORY = 2
_INSUFFICIENT_DRIVER = 35
_NO_DEVICE = 100
#: Up to those about recording a graph, errors from here (illegal address and worse) mean that the
#: process cannot use the GPU any more.
_FIRST_FATAL, _FIRST_CAPTURE = 700, 900

#: TensorRT wants tensors at multiples of this many bytes (NvInferRuntime.h, setTensorAddress).
ALIGNMENT = 256

_FIXES = {
    _INSUFFICIENT_DRIVER: 'the driver is missing or older than the CUDA package; update it, or '
    "install the cuda-bindings of the driver's CUDA version",
    _NO_DEVICE: 'no NVIDIA GPU is visible; in a container start it with --gpus all or '
    '--runtime nvidia',
}


class CudaError(BackendError):
    """A call of the CUDA runtime failed."""


@dataclass(frozen=True)
class Device:
    """What an engine depends on.

    :param name: e.g. 'Orin'.
    :param sm_count: streaming multiprocessors; boards of one name differ in it.
    :param compute: compute capability, e.g. '8.7'.
    :param integrated: whether it shares the processor's memory, as on a Jetson.
    """

    name: str
    sm_count: int
    compute: str
    integrated: bool


class Cuda:
    """The CUDA runtime; what belongs to a device is used from the thread that called `use`.

    :raises BackendError: when the Python package is missing.
    """

    def __init__(self) -> None:
        self.runtime = _import_runtime()

    def call(self, name: str, *arguments: Any) -> Any:
        """Call a function of the runtime.

        :returns: its value, None for none, a tuple for several.
        :raises CudaError: when it fails.
        """
        try:
            code, *values = getattr(self.runtime, name)(*arguments)
        except RuntimeError as error:  # cuda-python 12.6 where there is no driver
            raise _failure(name, str(error), _INSUFFICIENT_DRIVER) from error
        if int(code):
            self.runtime.cudaGetLastError()  # cleared: else TensorRT takes it for its own
            raise _failure(name, code.name, int(code), self.memory)
        return values[0] if len(values) == 1 else tuple(values) or None

    def use(self, index: int) -> Device:
        """Make a GPU the calling thread's; touches nothing of TensorRT.

        :param index: of the GPU, from 0.
        :raises CudaError: when the driver or the GPU is missing.
        :raises BackendError: when no GPU has that index.
        """
        count = self.call('cudaGetDeviceCount')
        if not 0 <= index < count:
            raise BackendError(f'GPU {index} does not exist, {count} visible', 'count from 0')
        self.call('cudaSetDevice', index)
        kinds = self.runtime.cudaDeviceAttr

        def attribute(kind: Any) -> int:
            return int(self.call('cudaDeviceGetAttribute', kind, index))

        # The bindings give a C array of 256 characters.
        name = bytes(self.call('cudaGetDeviceProperties', index).name)
        major = attribute(kinds.cudaDevAttrComputeCapabilityMajor)
        minor = attribute(kinds.cudaDevAttrComputeCapabilityMinor)
        return Device(
            name=name.split(b'\0')[0].decode('ascii', 'replace'),
            sm_count=attribute(kinds.cudaDevAttrMultiProcessorCount),
            compute=f'{major}.{minor}',
            integrated=bool(attribute(kinds.cudaDevAttrIntegrated)),
        )

    def memory(self) -> str:
        """Free and total memory of the GPU, for messages; never raises."""
        try:
            code, *values = self.runtime.cudaMemGetInfo()
        except RuntimeError:  # cuda-python 12.6 without a driver
            return 'free memory is unknown'
        if int(code):
            return 'free memory is unknown'
        free, total = (round(number / 2**20) for number in values)
        return f'{free} of {total} MiB are free'

    def capture(self, stream: Any, work: Callable[[], None]) -> Any:
        """Record the work on a stream as a CUDA graph.

        :param work: enqueues on the stream and neither waits nor allocates.
        :returns: a cudaGraphExec_t, to be launched and destroyed by the caller.
        :raises BackendError: when something in it cannot be recorded; the stream is usable again.
        """
        # Thread local: what other threads do with CUDA meanwhile does not spoil the recording.
        mode = self.runtime.cudaStreamCaptureMode.cudaStreamCaptureModeThreadLocal
        try:
            self.call('cudaStreamBeginCapture', stream, mode)
            try:
                work()
            except BaseException:
                # A recording must be ended, or the stream stays unusable.
                _, graph = self.runtime.cudaStreamEndCapture(stream)
                self._destroy(graph)
                raise
            graph = self.call('cudaStreamEndCapture', stream)
            if not int(graph):
                raise BackendError('CUDA recorded no graph')
            try:
                return self.call('cudaGraphInstantiateWithFlags', graph, 0)
            finally:
                self._destroy(graph)
        except BackendError:
            self.runtime.cudaGetLastError()  # what TensorRT's own calls left
            raise

    def _destroy(self, graph: Any) -> None:
        if graph is not None and int(graph):
            self.call('cudaGraphDestroy', graph)


def _failure(call: str, name: str, code: int, memory: Callable[[], str] = lambda: '') -> CudaError:
    problem = f'CUDA: {call} failed with {name} ({code})'
    if code == _OUT_OF_MEMORY:
        fix = 'stop other programs on the GPU or use a smaller network size'
        return CudaError(f'{problem}; {memory()}', fix)
    if _FIRST_FATAL <= code < _FIRST_CAPTURE:
        return CudaError(problem, 'the process has lost the GPU; restart it')
    return CudaError(problem, _FIXES.get(code, 'see the CUDA runtime API, cudaError_t'))


class Buffer:
    """Memory of one tensor, at both ends; the owner calls `close` once.

    Mapped: one pinned allocation that the GPU reaches itself, so that nothing is copied; for GPUs
    that share the processor's memory. Else pinned memory here and device memory there.
    """

    def __init__(self, cuda: Cuda, nbytes: int, *, mapped: bool) -> None:
        self._cuda = cuda
        self.nbytes = nbytes
        self.mapped = mapped
        runtime = cuda.runtime
        flags = runtime.cudaHostAllocMapped if mapped else runtime.cudaHostAllocDefault
        self._host = int(cuda.call('cudaHostAlloc', nbytes, flags))
        try:
            if mapped:
                self.address = int(cuda.call('cudaHostGetDevicePointer', self._host, 0))
            else:
                self.address = int(cuda.call('cudaMalloc', nbytes))
        except BackendError:
            cuda.call('cudaFreeHost', self._host)
            raise
        memory = (ctypes.c_ubyte * nbytes).from_address(self._host)
        #: (nbytes,) uint8 view of the pinned memory; gone with it.
        self.array: NDArray[np.uint8] = np.ctypeslib.as_array(memory)

    def upload(self, stream: Any) -> None:
        """Enqueue the way to the GPU."""
        kind = self._cuda.runtime.cudaMemcpyKind.cudaMemcpyHostToDevice
        self._copy(self.address, self._host, kind, stream)

    def download(self, stream: Any) -> None:
        """Enqueue the way back."""
        kind = self._cuda.runtime.cudaMemcpyKind.cudaMemcpyDeviceToHost
        self._copy(self._host, self.address, kind, stream)

    def _copy(self, to: int, source: int, kind: Any, stream: Any) -> None:
        if not self.mapped:
            self._cuda.call('cudaMemcpyAsync', to, source, self.nbytes, kind, stream)

    def close(self) -> None:
        """Free both ends."""
        try:
            if not self.mapped:
                self._cuda.call('cudaFree', self.address)
        finally:
            self._cuda.call('cudaFreeHost', self._host)


def _import_runtime() -> Any:
    # 12.6.0 and older have the second name only, 13 has the first only.
    reasons = []
    for name in ('cuda.bindings.runtime', 'cuda.cudart'):
        try:
            return importlib.import_module(name)
        except ImportError as error:
            reasons.append(str(error))
    raise BackendError(
        f'backend tensorrt needs the Python package cuda-bindings ({reasons[0]})',
        "pip install cuda-bindings of the driver's CUDA version, or choose another backend",
    )
