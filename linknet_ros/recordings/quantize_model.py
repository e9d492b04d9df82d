"""Makes the int8 twin of a model file: quantize_model net.onnx --images FRAMES.

FRAMES are those of your robot: a recording, a video, a folder of images, or a pattern in quotes.
Four in five calibrate, the others measure how far int8 and fp32 agree; what agrees too little is
not written. The fp32 file then names the new one, and precision auto runs it on a processor that
is made for int8.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import statistics
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from linknet_ros.errors import BackendError, LinknetError, ModelError, SourceError
from linknet_ros.inference.backend import CPU_BACKENDS
from linknet_ros.inference.fitting import FrameFitter, fit_frame
from linknet_ros.inference.int8_twin import int8_instructions
from linknet_ros.inference.model_file import ModelFile, int8_twin_of, load_model
from linknet_ros.inference.onnx_graph import parse_onnx, set_metadata
from linknet_ros.inference.quantization import quantize, quantized_convolutions
from linknet_ros.inference.segmenter import Segmenter
from linknet_ros.recordings.sample import sample
from linknet_ros.system.arguments import count, share
from linknet_ros.system.signals import before_end

#: Share of labels that must be those of fp32. The model that ships, calibrated soundly, has 0.994
#: on CamVid, 0.987 on IDD-Lite and 0.980 on the KITTI drive; made coarser step by step, it
#: loses nothing on CamVid val at 0.980, and 0.011 of its mIoU at 0.972, more than a twin may
#: (int8_twin).
LEAST_AGREEMENT = 0.975

#: Every so many-th frame measures.
_MEASURED = 5

#: Fewer leave the ranges, and the agreement, to chance.
LEAST_FRAMES = 10


@dataclass(frozen=True)
class Agreement:
    """How far an int8 file does in a back end what the fp32 file does there.

    :param backend: one of CPU_BACKENDS.
    :param labels: share of pixels with the same label.
    :param drivable: share of pixels that are drivable in int8 only.
    :param time: median time of int8 by that of fp32.
    """

    backend: str
    labels: float
    drivable: float
    time: float


def main(arguments: list[str] | None = None) -> None:
    """Command line; exits with 1 when nothing is written."""
    options = _parser().parse_args(arguments)
    try:
        _make(options)
    except LinknetError as error:
        sys.exit(f'quantize_model: {error}')
    except OSError as error:
        sys.exit(f'quantize_model: {error.filename}: {error.strerror}; name another --out')


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog='quantize_model', description=__doc__)
    add = parser.add_argument
    add('model', type=Path, help='fp32 model file (.onnx)')
    add('--images', required=True, metavar='FRAMES', help='recording, video, folder or pattern')
    add('--topic', default='', help='of the images, if a recording has several')
    add('--out', type=Path, help='file to write (default: NET_int8.onnx beside NET.onnx)')
    add(
        '--count',
        type=partial(count, least=LEAST_FRAMES, most=1000),
        default=40,
        help='frames to take, evenly spread (default: %(default)s)',
    )
    add(
        '--least-agreement',
        type=share,
        default=LEAST_AGREEMENT,
        metavar='SHARE',
        help='of labels as in fp32, for the file to be written (default: %(default)s)',
    )
    return parser


def _make(options: argparse.Namespace) -> None:
    model = load_model(options.model)
    if model.precision != 'fp32':
        raise ModelError(
            f'{model.path} is made for {model.precision}', 'give the fp32 file of the same network'
        )
    out: Path = options.out or model.path.with_name(int8_twin_of(model.path))
    if out.resolve() == model.path.resolve():
        raise ModelError(f'{out} is the fp32 file itself', 'name another --out')
    beside = out.resolve().parent == model.path.resolve().parent
    linked = _naming(model, out.name) if beside else model.data
    out.parent.mkdir(parents=True, exist_ok=True)
    temporary = out.with_suffix('.part.onnx')
    before_end(partial(temporary.unlink, missing_ok=True))
    try:
        # A folder that cannot be written must not be found out after minutes of work.
        temporary.touch()
        calibration, measured = _frames(options, model)
        _say(f'calibrating on {len(calibration)} frames')
        proto = quantize(parse_onnx(model.path, model.graph()), calibration)
        set_metadata(
            proto,
            precision='int8',
            int8_twin='',
            accuracy='{}',
            quantized_from=hashlib.sha256(linked).hexdigest(),
        )
        temporary.write_bytes(proto.SerializeToString())
        _say(f'comparing on {len(measured)} others')
        found = compare(model, load_model(temporary), measured)
        worst = min(found, key=lambda agreement: agreement.labels)
        if worst.labels < options.least_agreement:
            raise ModelError(
                f'in int8 ({worst.backend}) only {worst.labels:.2%} of the labels are those of '
                f'{model.name} ({options.least_agreement:.2%} needed); nothing was written',
                'give frames of where the robot drives, or run it in bf16 or fp16',
            )
        set_metadata(proto, accuracy=json.dumps({'labels_as_fp32': round(worst.labels, 4)}))
        temporary.write_bytes(proto.SerializeToString())
        os.replace(temporary, out)
        if linked != model.data:
            temporary.write_bytes(linked)
            os.replace(temporary, model.path)
    finally:
        temporary.unlink(missing_ok=True)
    done, there = quantized_convolutions(proto)
    print(f'{out}: {out.stat().st_size / 1e6:.1f} MB, {done} of {there} convolutions in int8')
    print(
        f'{worst.labels:.2%} of the labels are those of {model.name}, {worst.drivable:.2%} of the '
        f'pixels are drivable in int8 only ({len(measured)} frames that it was not calibrated on)'
    )
    for agreement in found:
        print(f'time in {agreement.backend}, here: {agreement.time:.2f} of that of fp32')
    if not beside:
        print(f'{model.name} does not name it: it is in another folder; run it as model:={out}')
    elif int8_instructions():
        print(f'precision auto now runs it in place of {model.name} in OpenVINO')
    else:
        print('this processor has neither VNNI nor AMX: precision auto runs it on one that has')


def _naming(model: ModelFile, twin: str) -> bytes:
    """The model file with the name of its int8 twin."""
    if model.int8_twin == twin:
        return model.data
    proto = parse_onnx(model.path, model.data)
    set_metadata(proto, int8_twin=twin)
    data: bytes = proto.SerializeToString()
    return data


def _frames(
    options: argparse.Namespace, model: ModelFile
) -> tuple[list[NDArray[np.uint8]], list[NDArray[np.uint8]]]:
    """Images as the network gets them to calibrate on, and frames to measure on."""
    calibration: list[NDArray[np.uint8]] = []
    measured: list[NDArray[np.uint8]] = []
    bad: list[str] = []

    def failed(index: int, error: Exception) -> None:
        bad.append(f'left out: {error}')

    for frame in sample(options.images, options.count, options.topic, failed):
        if (len(calibration) + len(measured)) % _MEASURED == _MEASURED // 2:
            measured.append(frame)
        else:
            height, width = frame.shape[:2]
            fit = fit_frame(width, height, *model.network_size(), model.steps)
            calibration.append(FrameFitter(fit).to_network(frame))
    if len(bad) > 3:
        bad[3:] = [f'left out: {len(bad) - 3} more']
    for line in bad:
        _say(line)
    number = len(calibration) + len(measured)
    if number < LEAST_FRAMES:
        raise SourceError(
            f'{options.images}: {number} of at least {LEAST_FRAMES} frames can be used',
            'give more, as different as what the robot sees',
        )
    return calibration, measured


def compare(
    model: ModelFile, int8: ModelFile, frames: Sequence[NDArray[np.uint8]]
) -> list[Agreement]:
    """Run both files on the frames, in every back end of the processor that is installed.

    :param frames: (H, W, 3) uint8 BGR.
    :raises BackendError: when none runs both.
    """
    found, reasons = [], []
    for name in CPU_BACKENDS:
        try:
            found.append(_compare_in(name, model, int8, frames))
        except BackendError as error:
            reasons.append(str(error))
    if not found:
        raise BackendError(f'no back end runs both files: {"; ".join(reasons)}')
    return found


def _compare_in(
    backend: str, model: ModelFile, int8: ModelFile, frames: Sequence[NDArray[np.uint8]]
) -> Agreement:
    segmenters = [
        Segmenter(file, backend=backend, precision=precision)
        for file, precision in ((model, 'fp32'), (int8, 'int8'))
    ]
    drivable = np.array([*model.classes.drivable, *[False] * (256 - len(model.classes))])
    pixels = same = newly = 0
    seconds: list[list[float]] = [[], []]
    for frame in frames:
        labels = []
        for segmenter, spent in zip(segmenters, seconds, strict=True):
            fitted = segmenter.fit(frame)
            segmenter.prepare(frame.shape[1], frame.shape[0])
            start = time.perf_counter()
            labels.append(segmenter.infer(fitted).labels)
            spent.append(time.perf_counter() - start)
        pixels += labels[0].size
        same += int((labels[0] == labels[1]).sum())
        newly += int((drivable[labels[1]] & ~drivable[labels[0]]).sum())
    for segmenter in segmenters:
        segmenter.close()
    before, after = (statistics.median(spent) for spent in seconds)
    return Agreement(backend, same / pixels, newly / pixels, after / before)


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


if __name__ == '__main__':
    main()
