"""One engine, ready to run: its memory, its stream and its CUDA graph, all of one thread."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack, suppress
from typing import Any

import numpy as np
from numpy.typing import NDArray

from linknet_ros.errors import BackendError, first_line
from linknet_ros.inference.tensorrt.cuda import ALIGNMENT, Buffer, Cuda
from linknet_ros.inference.tensorrt.library import Library, engine_precision, log_of


class EngineError(BackendError):
    """A plan does not load or is another network's: building it again helps."""


class EngineRun:
    """An engine with everything around it; made, used and closed on one thread.

    :param cuda: the thread uses the GPU already.
    :param plan: a serialized engine of our own. No other thread may touch these bytes meanwhile:
        up to 10.10, TensorRT reads them without the GIL.
    :param height: of the images, pixels, likewise `width`.
    :param built_for: 'fp32', 'fp16' or 'int8'; used where the engine does not say.
    :param just_built: by us, here, so that TensorRT's doubts about the GPU do not count.
    :param mapped: let the GPU reach into the processor's memory instead of copying.
    :param report: gets a line when the CUDA graph has to be done without.
    :raises EngineError: when the plan is damaged, of another TensorRT, GPU or network.
    :raises BackendError: when the GPU or its memory fails.
    """

    def __init__(
        self,
        library: Library,
        cuda: Cuda,
        plan: bytes,
        height: int,
        width: int,
        built_for: str,
        *,
        just_built: bool,
        mapped: bool,
        cuda_graph: bool,
        report: Callable[[str], None],
    ) -> None:
        self._trt, self._cuda = library.trt, cuda
        self._log = log_of(library.trt)
        self._graph: Any = None
        # Undone last in, first out: the graph before the context, that before its memory.
        with ExitStack() as undo:
            self._open_engine(library, plan, just_built, undo)
            self.precision = engine_precision(library.trt, self._engine, built_for)
            self._check_tensors(height, width)
            runtime = cuda.runtime
            # Never stream 0: TensorRT would wait for the whole device after each run.
            self._stream = cuda.call('cudaStreamCreateWithFlags', runtime.cudaStreamNonBlocking)
            undo.callback(_free, cuda.call, 'cudaStreamDestroy', self._stream)
            # Waits asleep, not spinning: the cores belong to the camera driver and the planner.
            flags = runtime.cudaEventBlockingSync | runtime.cudaEventDisableTiming
            self._done = cuda.call('cudaEventCreateWithFlags', flags)
            undo.callback(_free, cuda.call, 'cudaEventDestroy', self._done)
            self._buffers = {}
            for name, channels in (('image', 3), ('labels', 1), ('confidence', 1)):
                buffer = Buffer(cuda, height * width * channels, mapped=mapped)
                undo.callback(_free, buffer.close)
                self._buffers[name] = buffer
            self._image = self._buffers['image'].array.reshape(height, width, 3)
            self._labels = self._buffers['labels'].array.reshape(height, width)
            self._confidence = self._buffers['confidence'].array.reshape(height, width)
            self._open_context(undo)
            undo.callback(_free, cuda.call, 'cudaStreamSynchronize', self._stream)
            # The first run sets TensorRT up, which cannot be recorded.
            self._enqueue()
            self._wait()
            if cuda_graph:
                undo.callback(_free, self._drop_graph)
                self._record(report)
            self._undo = undo.pop_all()

    def infer(self, image: NDArray[np.uint8]) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
        """Labels and confidence of an image; the arrays are views of memory that `close` frees.

        :param image: (H, W, 3) uint8 BGR.
        :raises BackendError: when TensorRT or the GPU fails.
        """
        if self._context is None:
            raise BackendError('the TensorRT back end is closed')
        np.copyto(self._image, image, casting='no')
        if self._graph is None:
            self._enqueue()
        else:
            self._cuda.call('cudaGraphLaunch', self._graph, self._stream)
        self._wait()
        return self._labels, self._confidence

    def close(self) -> None:
        """Free everything; what fails does not keep the rest from being freed."""
        self._undo.close()

    @property
    def has_graph(self) -> bool:
        """Whether frames run as a CUDA graph."""
        return self._graph is not None

    def _open_engine(
        self, library: Library, plan: bytes, just_built: bool, undo: ExitStack
    ) -> None:
        self._log.clear()
        try:
            self._runtime = self._trt.Runtime(self._log)
        except TypeError as error:  # pybind11: the factory returned nullptr
            raise self._does_not_start(library) from error
        undo.callback(self._drop, '_runtime')
        if self._log.complained:
            # TensorRT gave an empty shell (driver older than its CUDA); using it ends the process.
            raise self._does_not_start(library)
        self._engine = self._runtime.deserialize_cuda_engine(plan)
        undo.callback(self._drop, '_engine')
        if self._engine is None:
            reason = self._log.why()
            if 'out of memory' in reason.lower():
                raise BackendError(f'no memory for the engine: {reason}; {self._cuda.memory()}')
            raise EngineError(reason)
        if self._log.other_device and not just_built:
            raise EngineError('it was built on another model of GPU')

    def _does_not_start(self, library: Library) -> BackendError:
        return BackendError(
            f'TensorRT {library.version} does not start: {self._log.why()}; is the driver new '
            'enough for the CUDA version that it was made for?'
        )

    def _drop(self, name: str) -> None:
        setattr(self, name, None)

    def _check_tensors(self, height: int, width: int) -> None:
        modes, engine = self._trt.TensorIOMode, self._engine
        expected = {
            'image': (modes.INPUT, (1, height, width, 3)),
            'labels': (modes.OUTPUT, (1, height, width)),
            'confidence': (modes.OUTPUT, (1, height, width)),
        }
        names = [engine.get_tensor_name(i) for i in range(engine.num_io_tensors)]
        if sorted(names) != sorted(expected):
            raise EngineError(f'its tensors are {sorted(names)}, expected {sorted(expected)}')
        for name, (mode, shape) in expected.items():
            found = tuple(engine.get_tensor_shape(name))
            kind = engine.get_tensor_dtype(name)
            if (
                engine.get_tensor_mode(name) != mode
                or found != shape
                or kind != self._trt.DataType.UINT8
            ):
                raise EngineError(f'its tensor {name} is {kind} {found}, expected uint8 {shape}')

    def _open_context(self, undo: ExitStack) -> None:
        self._log.clear()
        self._context = self._engine.create_execution_context()
        undo.callback(self._drop, '_context')
        if self._context is None:
            raise BackendError(
                f'TensorRT makes no context: {self._log.why()}; {self._cuda.memory()}'
            )
        for name, buffer in self._buffers.items():
            if buffer.address % ALIGNMENT:
                raise BackendError(f'memory of {name} is not at a multiple of {ALIGNMENT} bytes')
            if not self._context.set_tensor_address(name, buffer.address):
                raise BackendError(f'TensorRT refuses memory for {name}: {self._log.why()}')
        missing = self._context.infer_shapes()
        if missing:
            raise EngineError(f'it does not know the shapes of {missing}')

    def _enqueue(self) -> None:
        self._log.clear()
        self._buffers['image'].upload(self._stream)
        if not self._context.execute_async_v3(int(self._stream)):
            raise BackendError(f'TensorRT does not run the engine: {self._log.why()}')
        self._buffers['labels'].download(self._stream)
        self._buffers['confidence'].download(self._stream)

    def _wait(self) -> None:
        self._cuda.call('cudaEventRecord', self._done, self._stream)
        self._cuda.call('cudaEventSynchronize', self._done)

    def _record(self, report: Callable[[str], None]) -> None:
        try:
            self._graph = self._cuda.capture(self._stream, self._enqueue)
            self._cuda.call('cudaGraphLaunch', self._graph, self._stream)
            self._wait()
        except BackendError as error:
            _free(self._drop_graph)
            report(f'TensorRT runs without a CUDA graph, a little slower: {first_line(error)}')
            # Whether it does run without one shows here and not on the road.
            self._enqueue()
            self._wait()

    def _drop_graph(self) -> None:
        graph, self._graph = self._graph, None
        if graph is not None:
            self._cuda.call('cudaGraphExecDestroy', graph)


def _free(function: Callable[..., object], *arguments: object) -> None:
    """Call what frees something; after a fault of the GPU nothing can be, which is no news."""
    with suppress(BackendError):
        function(*arguments)
