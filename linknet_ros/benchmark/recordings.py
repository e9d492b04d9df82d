"""How fast recordings are segmented: `python -m linknet_ros benchmark recordings`.

An MCAP file of JPEGs of the procedural street goes through `segment_bag` with labels out, and
through a loop of OpenCV and ONNX Runtime as it is usually written; both are compared with the
network alone on all cores. Rounds take turns, so that what else the machine does falls on all;
processor time depends least on it.
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import sys
import time
from pathlib import Path
from subprocess import DEVNULL, PIPE
from typing import Any

import numpy as np
from numpy.typing import NDArray

from linknet_ros.benchmark.contest import progress, street
from linknet_ros.benchmark.machine import machine
from linknet_ros.errors import LinknetError
from linknet_ros.frames.encode import encode_jpeg
from linknet_ros.inference.backend import BACKENDS, PRECISIONS
from linknet_ros.inference.model_file import load_model
from linknet_ros.system.arguments import count, size
from linknet_ros.system.child_process import ask, start, stop
from linknet_ros.system.package_files import model_path
from linknet_ros.system.temporary_folder import temporary_folder

#: Topic of the frames.
TOPIC = '/camera/image_raw/compressed'

#: Quality of the JPEGs, as of a usual camera driver; different frames, which repeat.
_QUALITY, _PICTURES = 90, 12

#: Seconds for one contender in one round.
_PATIENCE_S = 3600.0

#: Seconds that the network alone runs in a round.
_ALONE_S = 5.0


def main(arguments: list[str] | None = None) -> None:
    """Command line."""
    parser = argparse.ArgumentParser(
        prog='python -m linknet_ros benchmark recordings', description=__doc__.partition(':')[0]
    )
    parser.add_argument('--model', type=Path, help='the model that ships by default')
    parser.add_argument('--backend', default='auto', choices=('auto', *BACKENDS))
    parser.add_argument('--precision', default='auto', choices=PRECISIONS)
    parser.add_argument('--size', type=size, default=(1280, 720), metavar='WIDTHxHEIGHT')
    parser.add_argument('--frames', type=count, default=300, help='of the recording')
    parser.add_argument('--rounds', type=count, default=3)
    parser.add_argument('--out', type=Path, default=Path('out/benchmark'))
    options = parser.parse_args(arguments)
    try:
        model = load_model(model_path(options.model, options.precision))
        options.out.mkdir(parents=True, exist_ok=True)
        with temporary_folder() as folder:
            record = _measure(model.path.resolve(), options, folder)
    except LinknetError as error:
        sys.exit(f'error: {error}')
    except OSError as error:
        sys.exit(f'error: cannot write {error.filename}: {error.strerror}; see --out and TMPDIR')
    text = table(record)
    print(text)
    (options.out / 'recordings.md').write_text(text + '\n')
    (options.out / 'recordings.json').write_text(json.dumps(record, indent=1) + '\n')


def table(record: dict[str, Any]) -> str:
    """The figures in words: medians of the rounds, and their range.

    A share is that of a round, as the machine may have become another one by the next.
    """
    names = {
        'alone': f'the network alone ({record["ran"]})',
        'segment_bag': 'segment_bag, labels out',
        'usual': 'OpenCV and ONNX Runtime, a frame at a time',
    }
    lines = [
        '| what | frames/s | range | of the network alone | processor time a frame, ms |',
        '|---|---|---|---|---|',
    ]
    for name, title in names.items():
        values = record['fps'][name]
        shares = [v / alone for v, alone in zip(values, record['fps']['alone'], strict=True)]
        lines.append(
            f'| {title} | {statistics.median(values):.1f} | {min(values):.1f} to '
            f'{max(values):.1f} | {statistics.median(shares):.2f} | '
            f'{statistics.median(record["cpu_ms"][name]):.0f} |'
        )
    width, height = record['size']
    lines.append('')
    lines.append(
        f'{record["frames"]} JPEGs of {width}x{height} in an MCAP file, {record["rounds"]} '
        'rounds; opening the file and the network counts.'
    )
    return '\n'.join(lines)


def _measure(model: Path, options: argparse.Namespace, folder: Path) -> dict[str, Any]:
    width, height = options.size
    pictures = street((width, height), _PICTURES)
    np.save(folder / 'pictures.npy', np.stack(pictures[:1]))
    source = folder / 'in.mcap'
    _write(source, [encode_jpeg(picture, _QUALITY) for picture in pictures], options.frames)
    given = (str(model), options.backend, options.precision)
    fps: dict[str, list[float]] = {'alone': [], 'segment_bag': [], 'usual': []}
    cpu_ms: dict[str, list[float]] = {name: [] for name in fps}
    ran = ''
    for number in range(options.rounds):
        progress(f'round {number + 1} of {options.rounds}')
        alone = _answer(
            'linknet_ros.benchmark.node_backend_alone',
            *(*given, 0, str(folder / 'pictures.npy'), _ALONE_S, 1.0),
        )
        ran = f'{alone["backend"]} {alone["precision"]}'
        fps['alone'].append(alone['fps'])
        cpu_ms['alone'].append(alone['cpu_ms'])
        used = [_used()]
        fps['segment_bag'].append(options.frames / _segment_bag(source, given, folder))
        used.append(_used())
        usual = _answer('linknet_ros.benchmark.recordings_usual', str(source), given[0])
        fps['usual'].append(usual['frames'] / usual['seconds'])
        used.append(_used())
        for name, seconds in zip(('segment_bag', 'usual'), np.diff(used), strict=True):
            cpu_ms[name].append(1e3 * float(seconds) / options.frames)
    return {
        'machine': machine(),
        'model': model.name,
        'ran': ran,
        'size': [width, height],
        'frames': options.frames,
        'rounds': options.rounds,
        'fps': fps,
        'cpu_ms': cpu_ms,
    }


def _used() -> float:
    """Processor time of the children that have ended [s]."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def _segment_bag(source: Path, given: tuple[str, str, str], folder: Path) -> float:
    """Seconds of a run of segment_bag.

    :raises LinknetError: when it fails.
    """
    model, backend, precision = given
    options = ('--model', model, '--backend', backend, '--precision', precision)
    files = (str(source), str(folder / 'out.mcap'), '--overwrite', '--outputs', 'labels')
    begin = time.perf_counter()
    child = start('linknet_ros', 'segment_bag', *files, *options, stdout=PIPE, stderr=DEVNULL)
    try:
        said = child.communicate(timeout=_PATIENCE_S)[0].decode(errors='replace').strip()
    finally:
        stop([child])
    if child.returncode:
        raise LinknetError(f'segment_bag failed: {said}')
    return time.perf_counter() - begin


def _answer(module: str, *arguments: Any) -> Any:
    """What a child measured.

    :raises LinknetError: when it fails.
    """
    outcome = ask(module, json.dumps(arguments), seconds=_PATIENCE_S)
    if not outcome.works:
        raise LinknetError(f'{module} failed: {outcome.reason}')
    return outcome.value


def _write(path: Path, pictures: list[NDArray[np.uint8]], frames: int) -> None:
    """Write a recording of JPEGs, which repeat.

    :raises LinknetError: without rosbags.
    """
    try:
        from rosbags.rosbag2 import StoragePlugin, Writer
        from rosbags.typesys import Stores, get_typestore
    except ImportError as error:
        raise LinknetError(f'this needs rosbags ({error})', 'pip install rosbags mcap') from error
    kind, store = 'sensor_msgs/msg/CompressedImage', get_typestore(Stores.ROS2_JAZZY)
    types = store.types
    folder = path.with_suffix('')
    with Writer(folder, version=8, storage_plugin=StoragePlugin.MCAP) as writer:
        topic = writer.add_connection(TOPIC, kind, typestore=store)
        for number in range(frames):
            moment = 10**18 + number * 10**8
            stamp = types['builtin_interfaces/msg/Time'](*divmod(moment, 10**9))
            header = types['std_msgs/msg/Header'](stamp, 'camera')
            message = types[kind](header, 'jpeg', pictures[number % len(pictures)])
            writer.write(topic, moment, store.serialize_cdr(message, kind))
    (folder / f'{folder.name}.mcap').rename(path)
