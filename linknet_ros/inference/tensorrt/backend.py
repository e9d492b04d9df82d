"""TensorRT: the fastest back end on a Jetson and every other NVIDIA GPU.

Written for TensorRT 10.3 to 11.x, 8.6 as far as it goes. What runs here was tested against
stand-ins for TensorRT and CUDA that know what each version has; on a GPU it has not run yet.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from linknet_ros.errors import BackendError, NoEngineError
from linknet_ros.inference.model_file import ModelFile
from linknet_ros.inference.tensorrt.build import BuildRequest
from linknet_ros.inference.tensorrt.build_process import build_in_child
from linknet_ros.inference.tensorrt.cache import EngineCache
from linknet_ros.inference.tensorrt.cuda import Cuda, Device
from linknet_ros.inference.tensorrt.engine import EngineError, EngineRun
from linknet_ros.inference.tensorrt.library import Library, open_library
from linknet_ros.inference.tensorrt.options import TensorrtOptions
from linknet_ros.system.nvidia_driver import LIBRARY, driver_found

_Result = TypeVar('_Result')


class TensorrtBackend:
    """An engine on a GPU; see Backend.

    One thread of its own makes, uses and frees all that belongs to CUDA and TensorRT, so that
    `infer` and `close` may be called from any.

    :param precision: 'auto' is fp16, or int8 for a file made for it, with fp16 for the rest. Up
        to TensorRT 10 these are permissions: `precision` says what the engine has.
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
        model.check_precision(precision)
        if precision == 'bf16':
            raise BackendError(
                f'backend tensorrt computes in fp16 or fp32, not {precision}; '
                'use precision auto, fp16 or fp32'
            )
        if precision == 'fp32' and model.precision == 'fp16':
            raise BackendError(
                f'{model.path} is made for fp16, not fp32; use precision auto or fp16, or the '
                'fp32 file of the same network'
            )
        self._shape = (height, width, 3)
        self._options = options
        if precision == 'auto':
            precision = 'int8' if model.precision == 'int8' else 'fp16'
        self._built_for = precision
        self._run: EngineRun | None = None
        self._worker = ThreadPoolExecutor(1, thread_name_prefix='tensorrt')
        try:
            self._cuda, self._device, self._library = self._work(self._look)
            self._cache = EngineCache(options.cache_dir, options.report)
            self._request = BuildRequest(
                model=str(model.path.absolute()),
                sha256=model.sha256,
                height=height,
                width=width,
                precision=self._built_for,
                device=options.device,
                workspace_mib=options.workspace_mib,
                optimization_level=options.optimization_level,
                folder='',
            )
            #: Where the engine is kept, and whether it could be.
            self.engine_path = self._cache.path(self._key())
            self.kept = True
            self._run = self._ready()
        except BaseException:
            self.close()
            raise
        self.precision = self._run.precision

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

    def _look(self) -> tuple[Cuda, Device, Library]:
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
                f'({LIBRARY} is not found)'
            ) from error
        return cuda, device, open_library()

    def _key(self) -> dict[str, object]:
        """Everything that an engine depends on.

        GPU name and processors too: TensorRT refuses another compute capability, but loads an
        engine of another model with the same one, which may be slow or hang.
        """
        return {
            'model': self._request.sha256,
            'tensorrt': self._library.version,
            'gpu': self._device.name,
            'sm_count': self._device.sm_count,
            'compute': self._device.compute,
            'height': self._request.height,
            'width': self._request.width,
            'precision': self._request.precision,
            'workspace_mib': self._request.workspace_mib,
            'optimization_level': self._request.optimization_level,
        }

    def _ready(self) -> EngineRun:
        key, options = self._key(), self._options
        if not options.rebuild:
            run = self._stored(key)
            if run is not None:
                return run
        if not options.build:
            raise NoEngineError(f'no engine for {self._device.name} in {options.cache_dir}')
        with self._cache.lock(key, options.cancel):
            if not options.rebuild:
                # Another process may have built it while this one waited for the lock.
                run = self._stored(key)
                if run is not None:
                    return run
            height, width, _ = self._shape
            options.report(
                f'building a TensorRT engine for {width}x{height} in {self._built_for} on '
                f'{self._device.name}; this takes minutes, once'
            )
            plan = build_in_child(self._request, options.report, options.cancel)
            try:
                run = self._open(plan, just_built=True)
            except EngineError as error:
                raise BackendError(f'the engine just built does not load: {error}') from error
            self.kept = self._cache.store(key, plan)
            return run

    def _stored(self, key: dict[str, object]) -> EngineRun | None:
        plan = self._cache.load(key)
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
                self._built_for,
                just_built=just_built,
                mapped=mapped,
                cuda_graph=options.cuda_graph,
                report=options.report,
            )
        )
