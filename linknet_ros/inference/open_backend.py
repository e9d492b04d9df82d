"""Opens the right back end; its libraries are imported then, so that no others are needed."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from dataclasses import replace
from functools import partial

import numpy as np

from linknet_ros.errors import BackendError, BuildCancelledError, ModelError, NoEngineError
from linknet_ros.inference.backend import BACKENDS, CPU_BACKENDS, PRECISIONS, Backend
from linknet_ros.inference.int8_twin import int8_instructions, int8_twin
from linknet_ros.inference.model_file import ModelFile
from linknet_ros.inference.standby_backend import StandbyBackend
from linknet_ros.inference.tensorrt.options import TensorrtOptions

_LOG = logging.getLogger('linknet_ros')


def open_backend(
    model: ModelFile,
    height: int,
    width: int,
    *,
    backend: str = 'auto',
    precision: str = 'auto',
    threads: int = 0,
    tensorrt: TensorrtOptions | None = None,
    wait_for_engine: bool = True,
    on_step_down: Callable[[str], None] = _LOG.info,
    on_choice: Callable[[str], None] = _LOG.info,
) -> Backend:
    """Open a back end for a model at one network size.

    :param height: of the images, in pixels, a multiple of the model's stride; so is `width`.
    :param backend: 'auto' or one of BACKENDS.
    :param precision: 'auto' (the fastest that the processor or GPU computes in without a visible
        change of the labels; on a processor made for int8, openvino runs the model's int8 twin),
        'fp32', 'fp16' (tensorrt), 'bf16' (openvino), or 'int8' for a model file made for it,
        which computes in nothing else.
    :param threads: processor threads, 0 for as many as the runtime likes.
    :param tensorrt: how tensorrt builds and runs; None for the defaults.
    :param wait_for_engine: whether to wait, for minutes, where tensorrt has to build its engine.
        Else the processor serves meanwhile, and `name` and `precision` change when the engine
        takes over.
    :param on_step_down: gets the reason, one line, for each back end that 'auto' passes over, and
        for an engine that fails while the processor serves.
    :param on_choice: gets a line that says why another file of the model runs, or does not.
    :raises BackendError: when the back end or precision is unknown, not installed, or refuses.
    :raises BuildCancelledError: when the build of an engine was cancelled; 'auto' ends there.
    """
    if backend not in ('auto', *BACKENDS):
        raise BackendError(f"unknown backend '{backend}'", f'use auto, {", ".join(BACKENDS)}')
    if precision not in PRECISIONS:
        raise BackendError(f"unknown precision '{precision}'", f'use {", ".join(PRECISIONS)}')
    options = tensorrt or TensorrtOptions()

    open_one = partial(
        _open,
        model=model,
        height=height,
        width=width,
        precision=precision,
        threads=threads,
        options=options,
        on_choice=on_choice,
    )

    def open_by_name(name: str) -> Backend:
        if name == 'tensorrt' and not wait_for_engine:
            return _stored_or_standby(open_one, precision, options, on_step_down)
        return open_one(name)

    if backend != 'auto':
        return open_by_name(backend)
    return _first_of(BACKENDS, open_by_name, on_step_down)


def _stored_or_standby(
    open_one: Callable[..., Backend],
    precision: str,
    options: TensorrtOptions,
    on_failure: Callable[[str], None],
) -> Backend:
    """TensorRT with a stored engine, else the processor until one is built."""
    try:
        return open_one('tensorrt', options=replace(options, build=False))
    except NoEngineError:
        pass
    # A precision that only TensorRT computes in must not keep the processor from serving.
    meanwhile = partial(open_one, precision='auto' if precision in ('fp16', 'int8') else precision)
    try:
        serving = _first_of(CPU_BACKENDS, meanwhile, options.report)
    except BackendError as error:
        options.report(f'{error} on the processor; waiting for the engine')
        return open_one('tensorrt')
    return StandbyBackend(
        serving,
        lambda cancel: open_one('tensorrt', options=replace(options, cancel=cancel)),
        options.report,
        on_failure,
    )


def _first_of(
    names: Iterable[str],
    open_one: Callable[[str], Backend],
    on_step_down: Callable[[str], None],
) -> Backend:
    reasons = []
    for name in names:
        try:
            return open_one(name)
        except BuildCancelledError:
            raise
        except BackendError as error:
            reasons.append(str(error))
            on_step_down(str(error))
    raise BackendError(f'no backend works: {"; ".join(reasons)}')


def _for_this_processor(model: ModelFile, on_choice: Callable[[str], None]) -> ModelFile:
    """The int8 twin, where there is one that agrees and the processor is made for it."""
    instructions = int8_instructions()
    if not instructions:
        return model
    try:
        twin = int8_twin(model)
    except ModelError as error:
        on_choice(str(error))
        return model
    if twin is None:
        return model
    on_choice(
        f'{twin.name} runs, the int8 twin of {model.name}: this processor has {instructions}; '
        'precision bf16 or fp32 runs the file itself'
    )
    return twin


def _open(
    name: str,
    model: ModelFile,
    height: int,
    width: int,
    precision: str,
    threads: int,
    options: TensorrtOptions,
    on_choice: Callable[[str], None],
) -> Backend:
    opened: Backend
    if name == 'openvino' and precision == 'auto':
        model = _for_this_processor(model, on_choice)
    try:
        if name == 'tensorrt':
            from linknet_ros.inference.tensorrt.backend import TensorrtBackend

            opened = TensorrtBackend(model, height, width, precision, threads, options)
        elif name == 'openvino':
            from linknet_ros.inference.openvino_backend import OpenvinoBackend

            opened = OpenvinoBackend(model, height, width, precision, threads)
        else:
            from linknet_ros.inference.onnxruntime_backend import OnnxruntimeBackend

            opened = OnnxruntimeBackend(model, height, width, precision, threads)
    except ImportError as error:
        raise BackendError(
            f"backend '{name}' cannot be imported ({error})",
            f'pip install {name}, or choose another backend',
        ) from error
    # A graph that only fails when it runs must fail here and not on the road; the first run is
    # also the slowest.
    try:
        labels, confidence = opened.infer(np.zeros((height, width, 3), np.uint8))
        for output, array in (('labels', labels), ('confidence', confidence)):
            if array.shape != (height, width) or array.dtype != np.uint8:
                raise BackendError(
                    f'{model.path} gives {output} as {array.dtype} {array.shape} for an image of '
                    f'{width}x{height}',
                    'export it again',
                )
    except BackendError:
        opened.close()
        raise
    if name == 'openvino' and model.precision == 'int8' != opened.precision:
        on_choice(
            f'{model.name} runs in {opened.precision}, no faster than the file it was made from: '
            'this processor has no int8 convolutions that are exact'
        )
    return opened
