"""Imports a network: looks at it, wraps it, runs it in every back end here, writes the file."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from linknet_ros.classes import UNLABELED, ClassTable
from linknet_ros.errors import BackendError, ClassNameError, ModelError
from linknet_ros.importing.external_weights import with_weights
from linknet_ros.importing.inspect_network import inspect_network, parse_network, picture
from linknet_ros.importing.interface import ImportOptions, Interface, class_count
from linknet_ros.importing.original import Original
from linknet_ros.importing.wrap import wrap
from linknet_ros.inference.backend import BACKENDS
from linknet_ros.inference.fitting import FrameFitter, fit_frame
from linknet_ros.inference.model_file import ModelFile, int8_twin_of, load_model, metadata_of
from linknet_ros.inference.open_backend import open_backend
from linknet_ros.limits import MAX_MODEL_BYTES
from linknet_ros.system.bounded_file import read_file
from linknet_ros.system.signals import before_end

#: (width, height) of the frames that a network of free sizes is made for, if nobody says.
DEFAULT_SIZE = (640, 480)

#: Share of pixels whose label in fp32 must be that of the original before a file is written.
#: Different orders of summing turn the few pixels whose two highest scores are the same.
LEAST_AGREEMENT = 0.99


@dataclass(frozen=True)
class About:
    """What the file shall say of the network; lines of at most 256 characters.

    :param architecture: e.g. 'PIDNet-S'.
    :param dataset: that it was trained on, e.g. 'Cityscapes'.
    :param label_set: of the data set, e.g. '19 classes'.
    """

    architecture: str
    dataset: str = 'unknown'
    label_set: str = 'own'


@dataclass(frozen=True)
class Run:
    """How a back end runs the file.

    :param agreement: share of pixels with the label of the original, 0 to 1; None where it does
        not run.
    :param reason: why not.
    """

    backend: str
    precision: str
    agreement: float | None
    reason: str = ''


def import_network(
    path: Path,
    out: Path,
    options: ImportOptions,
    classes: ClassTable | Callable[[Interface], ClassTable],
    about: About,
    *,
    data: bytes | None = None,
    frames: Sequence[NDArray[np.uint8]] = (),
    report: Callable[[str], None] = print,
) -> ModelFile:
    """Import a network into a model file of this package.

    :param path: the ONNX file; with `data`, only a name for messages.
    :param out: the file to write.
    :param classes: class table, or what gives one once it is known what comes out.
    :param data: the ONNX file, where it is not on a disk.
    :param frames: (H, W, 3) uint8 BGR that the results are compared on too, of any sizes.
    :param report: gets a line for what was found and for each back end.
    :returns: the file that was written.
    :raises ModelError: when the network cannot be used, needs an option, or no back end here runs
        it as ONNX Runtime runs the original; nothing is written then.
    :raises ClassNameError: when the class table does not go with it.
    :raises BackendError: where ONNX Runtime is missing.
    """
    data = with_weights(path, _read(path) if data is None else data)
    model = parse_network(path, data)
    table = classes if isinstance(classes, ClassTable) else None
    interface = inspect_network(path, model, options, len(table) if table else None)
    report(_line(path, interface))
    if table is None:
        assert callable(classes)
        table = classes(interface)
    check_number(path, interface, table)
    size = interface.fixed_size or options.size or DEFAULT_SIZE
    if not interface.fixed_size and min(size) < interface.stride:
        raise ModelError(
            f'{size[0]}x{size[1]} is too small for {path}, whose sides are multiples of '
            f'{interface.stride}',
            'give a larger --size, or another --stride',
        )
    metadata = metadata_of(
        table,
        architecture=about.architecture,
        dataset=about.dataset,
        label_set=about.label_set,
        default_size=size,
        accuracy={},
        int8_twin=int8_twin_of(out),
        stride=interface.stride,
    )
    wrapped = wrap(
        path,
        model,
        interface,
        metadata,
        classes=len(table),
        threshold=options.threshold,
    )
    out.parent.mkdir(parents=True, exist_ok=True)
    temporary = out.with_suffix('.tmp.onnx')
    before_end(partial(temporary.unlink, missing_ok=True))
    try:
        temporary.write_bytes(wrapped.SerializeToString())
        runs = compare(load_model(temporary), Original(path, data), interface, options, frames)
        for run in runs:
            report(_result(run))
        if all(run.agreement is None for run in runs):
            raise ModelError(f'no back end here runs the imported {path}')
        exact = [r.agreement for r in runs if r.agreement is not None and r.precision == 'fp32']
        if exact and min(exact) < LEAST_AGREEMENT:
            raise ModelError(
                f'only {min(exact):.2%} of the labels are those of {path} itself; nothing was '
                'written'
            )
        os.replace(temporary, out)
    finally:
        temporary.unlink(missing_ok=True)
    return load_model(out)


def check_number(path: Path, interface: Interface, classes: ClassTable) -> None:
    """Refuse a class table that has another number of classes than the network.

    :raises ClassNameError: when it has.
    """
    head = interface.head
    number, named = class_count(head), len(classes)
    if number >= UNLABELED:
        raise ModelError(
            f'{path} has {number} classes; a label has 8 bits, 255 means unlabelled',
            f'use a network of at most {UNLABELED - 1} classes',
        )
    if number in (0, named):
        return
    fix = 'give the table that the network was trained with'
    if number == named + 1:
        fix = 'if its first or last class is the background, add --background first or last'
    elif number == named - 1:
        fix = 'leave the row out that is not a class, such as the background or unlabelled'
    raise ClassNameError(f'{path} has {number} classes, the class table has {named}', fix)


def compare(
    model: ModelFile,
    original: Original,
    interface: Interface,
    options: ImportOptions,
    frames: Sequence[NDArray[np.uint8]] = (),
) -> list[Run]:
    """Run a file in every back end of this machine, against the network that it was made from.

    :param frames: (H, W, 3) uint8 BGR; beside them, a made-up picture is used.
    """
    network_size = model.network_size()
    images = []
    for frame in (picture(*network_size, seed=1), *frames):
        height, width = frame.shape[:2]
        images.append(
            FrameFitter(fit_frame(width, height, *network_size, model.steps)).to_network(frame)
        )
    expected = [
        original.labels(image, interface, len(model.classes), options.threshold)
        for image in images
    ]
    runs: list[Run] = []
    for name in BACKENDS:
        run = _run(model, name, 'auto', images, expected)
        # An engine takes minutes to build, but is then there for the node: one is enough.
        if name != 'tensorrt' and run.precision != 'fp32':
            exact = _run(model, name, 'fp32', images, expected)
            # A back end that is missing is named once.
            if exact.agreement is not None:
                runs.append(exact)
        runs.append(run)
    return runs


def _run(
    model: ModelFile,
    name: str,
    precision: str,
    images: Sequence[NDArray[np.uint8]],
    expected: Sequence[NDArray[np.uint8]],
) -> Run:
    by_size = defaultdict(list)
    for image, labels in zip(images, expected, strict=True):
        by_size[image.shape[:2]].append((image, labels))
    same = 0
    try:
        for (height, width), pairs in by_size.items():
            backend = open_backend(model, height, width, backend=name, precision=precision)
            try:
                for image, labels in pairs:
                    same += int((backend.infer(image)[0] == labels).sum())
                runs_in = backend.precision
            finally:
                backend.close()
    except BackendError as error:
        return Run(name, precision, None, str(error))
    return Run(name, runs_in, same / sum(labels.size for labels in expected))


def _read(path: Path) -> bytes:
    try:
        return read_file(path, MAX_MODEL_BYTES)
    except OSError as error:
        raise ModelError(f"cannot read '{path}': {error.strerror}") from error


def _line(path: Path, interface: Interface) -> str:
    """What was found, in one line."""
    size = f'sides that are multiples of {interface.stride}'
    if interface.fixed_size:
        size = '{}x{} only'.format(*interface.fixed_size)
    left_out = ', '.join(map(repr, interface.others))
    return (
        f'{path.name}: input {interface.input!r} ({interface.layout}, '
        f'{interface.normalization.order.upper()}, {size}); labels from {interface.head}'
        + (f'; left out: {left_out}' if left_out else '')
    )


def _result(run: Run) -> str:
    name = f'{run.backend} {run.precision}'
    if run.agreement is None:
        return f'{name}: not run ({run.reason})'
    return f'{name}: {run.agreement:.2%} of the labels are those of the original'
