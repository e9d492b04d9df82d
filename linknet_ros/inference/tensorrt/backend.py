"""TensorRT: the fastest back end on a Jetson and every other NVIDIA GPU.

Written for TensorRT 10.3 and later and TensorRT-RTX 1.7. NVIDIA's builder of TensorRT-RTX builds
the engines in the tests, without a GPU; what loads and runs them was tested against stand-ins for
TensorRT and CUDA only: on a GPU it has not run yet.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from linknet_ros.errors import BackendError, NoEngineError, first_line
from linknet_ros.inference.model_file import ModelFile
from linknet_ros.inference.tensorrt.build import BuildRequest, build_in_child, empty_shell
from linknet_ros.inference.tensorrt.cache import EngineCache
from linknet_ros.inference.tensorrt.cuda import ALIGNMENT, Buffer, Cuda, Device
from linknet_ros.inference.tensorrt.library import Library, log_of, open_library
from linknet_ros.inference.tensorrt.options import RTX, TensorrtOptions
from linknet_ros.system.nvidia_driver import LIBRARY, driver_found

_Result = TypeVar('_Result')


def precision_of(model: ModelFile, asked: str) -> str:
    """The arithmetic that an engine is built in: 'fp32', 'fp16' or 'int8'.

    :param asked: one of PRECISIONS; 'auto' is fp16, or int8 for a file made for it.
    :raises BackendError: when the model file is not made for it, or TensorRT has no use for it.
    """
    model.check_precision(asked)
    if asked == 'bf16':
        raise BackendError(
            'backend tensorrt computes in fp16 or fp32, not bf16',
            'use precision auto, fp16 or fp32',
        )
    if asked == 'fp32' and model.precision == 'fp16':
        raise BackendError(
            f'{model.path} is made for fp16, not fp32',
            'use precision auto or fp16, or the fp32 file of the same network',
        )
    if asked == 'auto':
        return 'int8' if model.precision == 'int8' else 'fp16'
    return asked


def engine_key(
    model: ModelFile, request: BuildRequest, library: Library, device: Device | None
) -> Mapping[str, object]:
    """Everything that an engine depends on.

    GPU name and processors too: TensorRT refuses another compute capability, but loads an engine
    of another model with the same one, which may be slow or hang. TensorRT-RTX finishes its
    engines on the GPU that runs them, so one compute capability is all that they depend on.

    :param device: the GPU; not looked at with TensorRT-RTX.
    """
    key = {
        'model': model.sha256,
        'library': library.kind,
        'tensorrt': library.version,
        'height': request.height,
        'width': request.width,
        'precision': request.precision,
        'workspace_mib': request.workspace_mib,
        'optimization_level': request.optimization_level,
    }
    if library.kind == RTX:
        return key | {'target': request.target}
    assert device is not None
    return key | {'gpu': device.name, 'sm_count': device.sm_count, 'compute': device.compute}


class TensorrtBackend:
    """An engine on a GPU; see Backend.

    One thread of its own makes, uses and frees all that belongs to CUDA and TensorRT, so that
    `infer` and `close` may be called from any.

    :param precision: see precision_of; fp16 is what an int8 engine computes the rest in.
    :param threads: not used, the GPU computes.
    """

    name = 'tensorrt'

    def __init__(
        self,
        model: ModelFile,
        height: int,
        width: int,
        precision: str,
        threads: int,
        options: TensorrtOptions,
    ) -> None:
        self.precision = precision_of(model, precision)
        self._shape = (height, width, 3)
        self._model = model
        self._options = options
        self._run: EngineRun | None = None
        self._worker = ThreadPoolExecutor(1, thread_name_prefix='tensorrt')
        try:
            self._cuda, self._device, self._library = self._work(self._open_libraries)
            self._cache = EngineCache(options.cache_dir, options.report)
            rtx = self._library.kind == RTX
            self._request = BuildRequest(
                model=str(model.path.absolute()),
                library=self._library.kind,
                height=height,
                width=width,
                precision=self.precision,
                device=options.device,
                target=f'SM{self._device.compute.replace(".", "")}' if rtx else '',
                workspace_mib=options.workspace_mib,
                optimization_level=options.optimization_level,
            )
            self._key = engine_key(model, self._request, self._library, self._device)
            #: Where the engine is kept, and whether it could be.
            self.engine_path = self._cache.path(self._key)
            self.kept = True
            self._run = self._ready()
        except BaseException:
            self.close()
            raise

    def infer(self, image: NDArray[np.uint8]) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
        """See Backend.infer; the arrays must not be touched after `close`."""
        if image.shape != self._shape:
            raise BackendError(f'image is {image.shape}, opened for {self._shape}')
        if image.dtype != np.uint8:
            raise BackendError(f'image is {image.dtype}, expected uint8')
        run = self._run
        if run is None:
            raise BackendError('the TensorRT back end is closed')
        return self._work(lambda: run.infer(image))

    def close(self) -> None:
        """See Backend.close."""
        run, self._run = self._run, None
        if run is not None:
            self._work(run.close)
        self._worker.shutdown()

    def _work(self, function: Callable[[], _Result]) -> _Result:
        return self._worker.submit(function).result()

    def _open_libraries(self) -> tuple[Cuda, Device, Library]:
        # The order matters: TensorRT without a usable GPU may end the process.
        try:
            cuda = Cuda()
            device = cuda.use(self._options.device)
        except BackendError as error:
            if driver_found():
                raise
            # The usual case of `auto` on a machine without a GPU: nothing there needs mending.
            raise BackendError(
                'backend tensorrt needs an NVIDIA GPU, and no NVIDIA driver is installed here '
                f'({LIBRARY} is not found)',
                'use another backend',
            ) from error
        return cuda, device, open_library(self._options.library)

    def _ready(self) -> EngineRun:
        key, options = self._key, self._options
        run = self._stored(key)
        if run is not None:
            return run
        if not options.build:
            raise NoEngineError(f'no engine for {self._device.name} in {options.cache_dir}')
        with self._cache.lock(key, options.cancel):
            # Another process may have built it while this one waited for the lock.
            run = self._stored(key)
            if run is not None:
                return run
            height, width, _ = self._shape
            options.report(
                f'building a TensorRT engine for {width}x{height} in {self.precision} on '
                f'{self._device.name}; this takes minutes, once'
            )
            plan = build_in_child(self._request, self._model.data, options.report, options.cancel)
            try:
                run = self._open(plan, just_built=True)
            except EngineError as error:
                raise BackendError(f'the engine just built does not load: {error}') from error
            self.kept = self._cache.store(key, plan)
            return run

    def _stored(self, key: Mapping[str, object]) -> EngineRun | None:
        plan = None if self._options.rebuild else self._cache.load(key)
        if plan is None:
            return None
        try:
            return self._open(plan, just_built=False)
        except EngineError as error:
            self._cache.reject(self.engine_path, str(error))
            return None

    def _open(self, plan: bytes, *, just_built: bool) -> EngineRun:
        options = self._options
        mapped = options.zero_copy == 'on' or (
            options.zero_copy == 'auto' and self._device.integrated
        )
        height, width, _ = self._shape
        return self._work(
            lambda: EngineRun(
                self._library,
                self._cuda,
                plan,
                height,
                width,
                just_built=just_built,
                mapped=mapped,
                cuda_graph=options.cuda_graph,
                report=options.report,
            )
        )


class EngineError(BackendError):
    """A plan does not load or is another network's: building it again helps."""


class EngineRun:
    """An engine with everything around it; made, used and closed on one thread.

    :param cuda: the thread uses the GPU already.
    :param plan: a serialized engine of our own. No other thread may touch these bytes meanwhile:
        up to 10.10, TensorRT reads them without the GIL.
    :param height: of the images, pixels, as `width`.
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

    def _open_engine(
        self, library: Library, plan: bytes, just_built: bool, undo: ExitStack
    ) -> None:
        self._log.clear()
        try:
            self._runtime = self._trt.Runtime(self._log)
        except TypeError as error:  # pybind11: the factory returned nullptr
            raise BackendError(f'{library.name} does not start: {self._log.why()}') from error
        undo.callback(self._drop, '_runtime')
        if self._log.complained:
            raise empty_shell(self._runtime, library)
        self._engine = self._runtime.deserialize_cuda_engine(plan)
        undo.callback(self._drop, '_engine')
        if self._engine is None:
            reason = self._log.why()
            if 'out of memory' in reason.lower():
                raise BackendError(f'no memory for the engine: {reason}; {self._cuda.memory()}')
            raise EngineError(reason)
        if self._log.other_device and not just_built:
            raise EngineError('it was built on another model of GPU')

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
    """Call what frees something; after a fault of the GPU nothing can be, as was said."""
    with suppress(BackendError):
        function(*arguments)
