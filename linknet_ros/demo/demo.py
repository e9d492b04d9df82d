"""The demo: a camera, the segmentation node and a planner's subscriptions in three processes.

Writes OUT/report.json, OUT/contact_sheet.png and, of the street, whose ground is known,
OUT/birds_eye.png; needs no screen, camera or GPU.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from rclpy.executors import Executor

from linknet_ros.demo.listener import BIRDS_EYE, PICTURES, ROWS, DemoNode
from linknet_ros.errors import LinknetError
from linknet_ros.frames.encode import encode_png
from linknet_ros.inference.backend import BACKENDS, PRECISIONS
from linknet_ros.inference.model_file import ModelFile, load_model
from linknet_ros.node.statistics import Drop
from linknet_ros.products.contact_sheet import contact_sheet
from linknet_ros.ros.process import ros_process, spin_once
from linknet_ros.simulation.sources import STREET, open_source
from linknet_ros.system.child_process import Child, isolate, start_program, stop
from linknet_ros.system.package_files import STREET_PARAMETERS, model_path, package_file

#: Seconds without anything new after which the demo stops waiting; on a very busy machine the
#: first frame took more than 60. A process that ends is noticed at once.
_PATIENCE = 180.0

#: The street never ends; this many frames are shown of it.
_STREET_FRAMES = 100

#: Headings of the bird's-eye view.
_BIRDS_EYE_TITLES = ('overlay', 'drivable grid (red: obstacle)', 'truth (red: falsely free)')

#: Names of the two nodes' diagnostics.
_SEGMENTATION = 'linknet: segmentation'
_REPLAY = 'replay: source'


def main(arguments: list[str] | None = None) -> None:
    """Command line."""
    parser = argparse.ArgumentParser(prog='demo', description=__doc__)
    parser.add_argument(
        '--source', default=STREET, help='street (the default), a folder of images or a video'
    )
    parser.add_argument(
        '--out',
        type=Path,
        default=Path('out/demo'),
        help='folder of report and pictures, %(default)s by default',
    )
    parser.add_argument('--rate', type=float, default=5.0, help='frames per second, 5 by default')
    parser.add_argument('--count', type=int, default=0, help='frames; 0: all, 100 of the street')
    parser.add_argument('--model', type=Path, help='model file; the one that ships by default')
    parser.add_argument(
        '--domain-id',
        type=int,
        default=random.randrange(1, 100),
        help='ROS domain, random by default',
    )
    parser.add_argument(
        '--backend', default='auto', help=f'auto (the default), {", ".join(BACKENDS)}'
    )
    parser.add_argument(
        '--precision', default='auto', help=f'auto (the default), {", ".join(PRECISIONS[1:])}'
    )
    parser.add_argument(
        '--view',
        action='store_true',
        help='show it on a web page, until Ctrl-C: the source begins again at its end, and there '
        'is no report',
    )
    parser.add_argument(
        '--view-port', type=int, default=8080, help='of that page, %(default)s by default'
    )
    options = parser.parse_args(arguments)
    try:
        model = load_model(model_path(options.model, options.precision))
        if options.source != STREET:
            # Fails here, in one line, rather than in the log of another process.
            open_source(options.source)
        report = run(options, model)
    except LinknetError as error:
        sys.exit(f'error: {error}')
    except OSError as error:
        sys.exit(f'error: cannot write {error.filename}: {error.strerror}; see --out')
    if report['unaccounted']:
        sys.exit(f'error: {report["unaccounted"]} frames were neither answered nor counted')


def run(options: argparse.Namespace, model: ModelFile) -> dict[str, Any]:
    """Run the three processes until the source ends, write report and pictures."""
    isolate(options.domain_id)
    print(f'to look on: export ROS_DOMAIN_ID={options.domain_id}')
    options.out.mkdir(parents=True, exist_ok=True)
    count = options.count
    if options.source == STREET and not options.view:
        count = count or _STREET_FRAMES
    processes: list[Child] = []
    try:
        with ros_process('demo', []) as executor:
            node = DemoNode(len(model.classes), options.source == STREET)
            executor.add_node(node)
            try:
                processes.append(_start_segmentation(options, model))
                _wait_until_ready(executor, node, processes[0])
                processes.append(_start_replay(options, count))
                if options.view:
                    processes.append(_start_view(options))
                _follow(executor, node, processes, count)
            except LinknetError as error:
                sys.exit(f'error: {error}')
            finally:
                node.destroy_node()
    finally:
        stop(processes)
    report = _report(node, model, options.source)
    (options.out / 'report.json').write_text(json.dumps(report, indent=2) + '\n')
    print(_summary(report))
    print(f'report:        {options.out / "report.json"}')
    _write_sheet(node, options.out / 'contact_sheet.png', PICTURES, PICTURES, 320)
    _write_sheet(node, options.out / 'birds_eye.png', BIRDS_EYE, _BIRDS_EYE_TITLES, 400)
    return report


def _write_sheet(
    node: DemoNode, path: Path, names: Sequence[str], titles: Sequence[str], width: int
) -> None:
    """Some frames with their pictures of these names, or nothing where there are none."""
    rows = node.complete_rows(names)
    if not rows:
        # Of an earlier run; it would be taken for one of this.
        path.unlink(missing_ok=True)
        return
    chosen = [rows[i] for i in sorted({*np.linspace(0, len(rows) - 1, ROWS, dtype=int)})]
    path.write_bytes(encode_png(contact_sheet(chosen, titles, width)).tobytes())
    print(f'{path.stem.replace("_", " ") + ":":14} {path}')


def _start_segmentation(options: argparse.Namespace, model: ModelFile) -> Child:
    parameters = {
        'model': str(model.path.resolve()),
        'backend': options.backend,
        'precision': options.precision,
    }
    # A demo wants every picture, a planner only the newest: keep some for a slow moment.
    topics = ('labels', 'color', 'overlay', 'drivable', 'drivable_grid')
    parameters |= {f'qos_overrides./linknet/{t}.publisher.depth': '20' for t in topics}
    street = ('--params-file', str(package_file(STREET_PARAMETERS)))
    return start_program('segment_node', parameters, street if options.source == STREET else ())


def _start_replay(options: argparse.Namespace, count: int) -> Child:
    source = options.source
    if source != STREET:
        source = str(Path(source).resolve())
    return start_program(
        'replay_node',
        {
            'source': source,
            'rate': str(float(options.rate)),
            'loop': str(options.view).lower(),
            'count': str(count),
            # The segmentation node and the demo itself.
            'wait_for': '2',
        },
        ['-r', 'image_raw:=image'],
    )


def _start_view(options: argparse.Namespace) -> Child:
    print(f'the page: http://127.0.0.1:{options.view_port}/ (Ctrl-C ends it)')
    return start_program('view_node', {'port': str(options.view_port)})


def _wait_until_ready(executor: Executor, node: DemoNode, segmentation: Child) -> None:
    """Until the node publishes its topics: it would drop the first frame as unwanted."""
    deadline = time.monotonic() + _PATIENCE
    while time.monotonic() < deadline and not node.has_segmentation():
        spin_once(executor, 0.1)
        _check(segmentation)


def _check(process: Child, name: str = 'segmentation node') -> None:
    if process.poll() is not None:
        raise LinknetError(f'the {name} ended; its message is above')


def _follow(executor: Executor, node: DemoNode, processes: list[Child], count: int) -> None:
    """Spin until replay has ended and every frame is answered or counted."""
    try:
        # Not among what a robot needs; `make demo` installs it.
        from tqdm import tqdm
    except ImportError as error:
        raise LinknetError(f'the demo needs tqdm ({error})', 'pip install tqdm') from error
    segmentation, replay, *views = processes
    settled_after = None
    last_change = time.monotonic()
    with tqdm(total=count or None, unit='frame', desc='segmenting', file=sys.stdout) as bar:
        while time.monotonic() - last_change < _PATIENCE:
            spin_once(executor, 0.1)
            if len(node.latencies) > bar.n:
                last_change = time.monotonic()
                bar.set_postfix(latency=f'{node.latencies[-1]:.0f} ms', refresh=False)
                bar.update(len(node.latencies) - bar.n)
            _check(segmentation)
            for view in views:
                _check(view, 'view')
            if replay.poll() is None:
                continue
            # The counts in the node's diagnostics are up to a second old: the second report from
            # here on was made after the last frame came.
            settled_after = settled_after or node.reports[_SEGMENTATION] + 2
            if node.reports[_SEGMENTATION] >= settled_after and _unaccounted(node) == 0:
                return


def _sent(node: DemoNode) -> int:
    return int(node.diagnostics.get(_REPLAY, {}).get('sent', 0))


def _drops(node: DemoNode) -> dict[str, int]:
    values = node.diagnostics.get(_SEGMENTATION, {})
    drops = {drop.value: int(values.get(f'dropped, {drop.value}', 0)) for drop in Drop}
    # The node subscribes best effort and cannot know what was lost on the way to it.
    drops['lost in transport'] = max(0, _sent(node) - int(values.get('received', 0)))
    return {reason: number for reason, number in drops.items() if number}


def _unaccounted(node: DemoNode) -> int:
    """Frames that were neither answered with labels nor counted as dropped."""
    return _sent(node) - len(node.latencies) - sum(_drops(node).values())


def _report(node: DemoNode, model: ModelFile, source: str) -> dict[str, Any]:
    values = node.diagnostics.get(_SEGMENTATION, {})
    seconds = node.arrivals[-1] - node.arrivals[0] if len(node.arrivals) > 1 else 0.0
    scores = node.matrix.scores() if node.compared else None
    road = model.classes.names.index('road') if 'road' in model.classes.names else None
    return {
        'source': source,
        'frames_sent': _sent(node),
        'labels_received': len(node.latencies),
        'dropped': _drops(node),
        'unaccounted': _unaccounted(node),
        'fps': round((len(node.arrivals) - 1) / seconds, 2) if seconds else None,
        'latency_ms_p50': _percentile(node.latencies, 50),
        'latency_ms_p99': _percentile(node.latencies, 99),
        'frames_compared': node.compared,
        'miou': round(scores.miou, 4) if scores else None,
        'road_iou': round(float(scores.iou[road]), 4) if scores and road is not None else None,
        'grids_compared': node.grids_compared,
        'free_space_iou': round(node.score.iou, 4) if node.grids_compared else None,
        'falsely_free': round(node.score.falsely_free, 4) if node.grids_compared else None,
        'backend': values.get('backend'),
        'precision': values.get('precision'),
        'model': model.name,
    }


def _summary(report: dict[str, Any]) -> str:
    drops = ''.join(f', {number} {reason}' for reason, number in report['dropped'].items())
    text = f'{report["labels_received"]} of {report["frames_sent"]} frames labelled{drops}'
    if report['backend'] is not None:
        text += f'; {report["backend"]} in {report["precision"]}'
    if report['latency_ms_p50'] is not None:
        text += f'; latency {report["latency_ms_p50"]} ms, p99 {report["latency_ms_p99"]} ms'
    if report['miou'] is not None:
        text += f'; mIoU {report["miou"]}, road IoU {report["road_iou"]}'
        if report['source'] != STREET:
            text += (
                ' against the annotations beside the frames, if their ids are those of the model'
            )
    if report['free_space_iou'] is not None:
        text += (
            f'; free ground IoU {report["free_space_iou"]}, {report["falsely_free"]:.1%} of it '
            'falsely free'
        )
    return text


def _percentile(values: list[float], percent: float) -> float | None:
    return round(float(np.percentile(values, percent)), 1) if values else None
