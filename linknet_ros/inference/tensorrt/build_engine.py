"""Builds TensorRT engines ahead of time: ros2 run linknet_ros build_engine --frame 1280x720.

An engine belongs to one GPU, TensorRT and network size, and takes minutes to build; without this
command the node builds the missing ones when it starts. Give the sizes of your cameras' frames,
and the same network size, precision and folder as the node's.
"""

from __future__ import annotations

import argparse
import sys
import threading
from collections.abc import Iterable
from functools import partial
from pathlib import Path

import numpy as np

from linknet_ros.errors import BackendError, LinknetError
from linknet_ros.inference.fitting import fit_frame
from linknet_ros.inference.model_file import ModelFile, load_model
from linknet_ros.inference.tensorrt.backend import TensorrtBackend, engine_key, precision_of
from linknet_ros.inference.tensorrt.build import BuildRequest, build_in_child
from linknet_ros.inference.tensorrt.cache import EngineCache
from linknet_ros.inference.tensorrt.library import open_library
from linknet_ros.inference.tensorrt.options import (
    LIBRARIES,
    RTX,
    ZERO_COPY,
    TensorrtOptions,
    default_cache_dir,
)
from linknet_ros.limits import MAX_SIDE
from linknet_ros.system.arguments import size
from linknet_ros.system.package_files import model_path
from linknet_ros.system.signals import exit_code, received, take_note


def main(arguments: list[str] | None = None) -> None:
    """Command line; exits with 1 when an engine could not be built, run or kept."""
    options = _parser().parse_args(arguments)
    cancel = threading.Event()
    take_note(cancel.set)
    try:
        _build(options, cancel)
    except LinknetError as error:
        sys.exit(exit_code() if received() else f'build_engine: {error}')


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog='build_engine', description=__doc__)
    add = parser.add_argument
    add('model', type=Path, nargs='?', help='model file (.onnx); default: the one that ships')
    add(
        '--frame',
        type=partial(size, least=1, most=MAX_SIDE),
        nargs='*',
        default=[],
        metavar='WxH',
        help="sizes of your cameras' frames, pixels; default: the network size only",
    )
    add(
        '--network-size',
        type=size,
        metavar='WxH',
        help="size in pixels that frames are fitted into; default: the model's own",
    )
    add(
        '--precision',
        default='auto',
        choices=('auto', 'fp32', 'fp16', 'int8'),
        help="arithmetic; auto is fp16, or a model file's own (default: %(default)s)",
    )
    add(
        '--cache-dir',
        type=Path,
        default=default_cache_dir(),
        help='folder of built engines (default: %(default)s)',
    )
    add(
        '--library',
        default='auto',
        choices=LIBRARIES,
        help='TensorRT (classic) or TensorRT-RTX (rtx); auto takes the first that is installed '
        '(default: %(default)s)',
    )
    add(
        '--target',
        type=str.upper,
        metavar='SM',
        help='compute capability to build for with TensorRT-RTX, e.g. sm86, on any machine; copy '
        "the folder of engines to the robot's. Without it: the GPU of this machine. Orin is not "
        'among the targets',
    )
    add('--device', type=int, default=0, help='index of the GPU (default: %(default)s)')
    add(
        '--workspace-mib',
        type=int,
        default=0,
        help='most memory for what the layers compute, MiB; 0 for as much as they need '
        '(default: %(default)s)',
    )
    add(
        '--optimization-level',
        type=int,
        default=3,
        help='0 builds fast, 5 runs fast (default: %(default)s)',
    )
    add(
        '--zero-copy',
        default='auto',
        choices=ZERO_COPY,
        help="let the GPU read frames from the processor's memory in the trial run; auto does "
        'where they share it (default: %(default)s)',
    )
    add('--rebuild', action='store_true', help='build again what is stored already')
    return parser


def _build(options: argparse.Namespace, cancel: threading.Event) -> None:
    model = load_model(model_path(options.model, options.precision))
    network_size = model.network_size(options.network_size or (0, 0))
    tensorrt = TensorrtOptions(
        library=options.library,
        cache_dir=options.cache_dir.absolute(),
        device=options.device,
        zero_copy=options.zero_copy,
        workspace_mib=options.workspace_mib,
        optimization_level=options.optimization_level,
        rebuild=options.rebuild,
        cancel=cancel,
        report=lambda line: print(line, flush=True),
    )
    # The node opens the network size itself first, then that of each frame size it meets.
    frames: list[tuple[int, int]] = [network_size, *options.frame]
    fits = [fit_frame(*frame, *network_size, model.steps) for frame in frames]
    sizes = dict.fromkeys((fit.buffer_height, fit.buffer_width) for fit in fits)
    if options.target:
        _build_for_target(model, sizes, options, tensorrt)
        return
    for height, width in sizes:
        backend = TensorrtBackend(model, height, width, options.precision, 0, tensorrt)
        try:
            backend.infer(np.zeros((height, width, 3), np.uint8))
            print(f'{width}x{height} in {backend.precision}: {backend.engine_path}', flush=True)
        finally:
            backend.close()
        if not backend.kept:
            sys.exit(1)  # the reason is printed already


def _build_for_target(
    model: ModelFile,
    sizes: Iterable[tuple[int, int]],
    options: argparse.Namespace,
    tensorrt: TensorrtOptions,
) -> None:
    """Build for another machine's GPU; nothing is run here."""
    if options.library not in ('auto', RTX):
        problem = f'library {options.library} builds for the GPU of this machine only'
        raise BackendError(problem, 'leave out --target, or take library rtx')
    library = open_library(RTX)
    cache = EngineCache(tensorrt.cache_dir, tensorrt.report)
    precision = precision_of(model, options.precision)
    for height, width in sizes:
        request = BuildRequest(
            model=str(model.path),
            library=RTX,
            height=height,
            width=width,
            precision=precision,
            target=options.target,
            workspace_mib=tensorrt.workspace_mib,
            optimization_level=tensorrt.optimization_level,
        )
        key = engine_key(model, request, library, None)
        with cache.lock(key, tensorrt.cancel):
            if tensorrt.rebuild or cache.load(key) is None:
                plan = build_in_child(request, model.data, tensorrt.report, tensorrt.cancel)
                if not cache.store(key, plan):
                    sys.exit(1)  # the reason is printed already
        print(f'{width}x{height} in {precision} for {options.target}: {cache.path(key)}')


if __name__ == '__main__':
    main()
