"""Measure the node itself: `python -m linknet_ros.node_benchmark`, or `make bench`.

What the node adds to the network: latency, frames per second, processor time and memory. Camera
and planner are a process, the node is one, and the back end alone takes its turn in every round,
in a process of its own, so that what else the machine does then falls on all of them alike.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from linknet_ros.benchmark_machine import machine
from linknet_ros.child_process import Outcome, ask
from linknet_ros.errors import LinknetError
from linknet_ros.model_file import load_model_file
from linknet_ros.node_benchmark_figures import (
    ALL,
    CALM,
    LABELS,
    USUAL,
    backend_row,
    doubt,
    row,
    targets,
    versus,
)
from linknet_ros.node_benchmark_table import plot, table
from linknet_ros.node_process import isolate, start_node, stop_nodes
from linknet_ros.package_files import SHIPPED_MODEL, package_file
from linknet_ros.street_drive import StreetDrive

SIZES = ('480x360', '1280x720', '1920x1080')

#: Topics that a contender's subscribers ask for.
_OUTPUTS = {
    LABELS: ['labels'],
    ALL: ['labels', 'drivable', 'confidence', 'color', 'overlay'],
    USUAL: ['labels'],
}

#: The usual node has its own topics, so that both can stay open through all rounds.
_NAMESPACES = {LABELS: '/', ALL: '/', USUAL: '/usual'}

#: The camera's rate by that of the back end alone, to overload; and by the node's own, to follow.
_OVERLOAD, _PACED = 1.25, 0.6

#: Street frames that are sent in turn, and seconds of the drive between them.
_PICTURES, _STEP_S = 2, 2.0

#: For one child, which waits up to a minute for the node by itself.
_CHILD_SECONDS = 180.0


class NodeBenchmark:
    """A run of the benchmark.

    :param options: of the command line.
    :param model: path of the model file.
    :param folder: for the pictures, which are gone afterwards.
    """

    def __init__(self, options: argparse.Namespace, model: Path, folder: Path) -> None:
        self._options = options
        self._model = model
        self._folder = folder
        #: Why a contender is missing.
        self.left_out: dict[str, str] = {}
        #: Back end and precision that ran.
        self.backend = ''

    def rounds(self, size: str) -> list[dict[str, Any]]:
        """Measure everything at one size, in nodes that are new.

        :raises LinknetError: when the node or the back end fails; the usual node is left out.
        """
        pictures = self._pictures(size)
        options = self._options
        parameters = {
            'model': str(self._model),
            'backend': options.backend,
            'precision': options.precision,
            'threads': str(options.threads),
        }
        mine = start_node('linknet_ros.segment_node', parameters)
        nodes = {LABELS: mine, ALL: mine}
        try:
            if options.against and USUAL not in self.left_out:
                more = ['-r', f'__ns:={_NAMESPACES[USUAL]}']
                model = {'model': str(self._model)}
                nodes[USUAL] = start_node(options.against, model, more)
            return [self._round(i, size, pictures, nodes) for i in range(options.rounds)]
        finally:
            stop_nodes(list(nodes.values()))

    def _round(
        self, number: int, size: str, pictures: Path, nodes: dict[str, subprocess.Popen[bytes]]
    ) -> dict[str, Any]:
        _progress(f'{size}, round {number + 1} of {self._options.rounds}')
        backend = self._backend_alone(pictures)
        overload = _OVERLOAD * backend['fps']
        found: dict[str, Any] = {'backend': backend}
        for contender, node in nodes.items():
            if contender in self.left_out:
                continue
            try:
                windows = {'overload': self._window(contender, node, pictures, overload)}
                if contender != USUAL:
                    rate = _PACED * windows['overload']['fps']
                    windows['paced'] = self._window(contender, node, pictures, rate)
            except LinknetError as error:
                if contender != USUAL:
                    raise
                self.left_out[USUAL] = str(error)
            else:
                found[contender] = windows
        return found

    def _backend_alone(self, pictures: Path) -> dict[str, Any]:
        options = self._options
        settings = [str(self._model), options.backend, options.precision, options.threads]
        arguments = (*settings, str(pictures), options.seconds)
        value = self._calm(
            lambda: _value(
                'the back end alone', _ask('linknet_ros.node_benchmark_backend', *arguments)
            )
        )
        self.backend = f'{value["backend"]} {value["precision"]}'
        return value

    def _window(
        self, contender: str, node: subprocess.Popen[bytes], pictures: Path, rate: float
    ) -> dict[str, Any]:
        options = self._options

        def measure() -> dict[str, Any]:
            outcome = _ask(
                'linknet_ros.ros_benchmark_peer',
                *(node.pid, _NAMESPACES[contender], str(pictures), _OUTPUTS[contender], rate),
                *(options.warm_up, options.seconds),
            )
            if node.poll() is not None:
                raise LinknetError(f'{contender}: the node ended; its message is above')
            return _value(contender, outcome)

        return self._calm(measure)

    def _calm(self, measure: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        """Measure, again where others used the processor; of several, the calmest counts.

        What decides is only what others did, never the result.
        """
        best = measure()
        for _ in range(self._options.retries):
            if best['others'] <= CALM:
                break
            best = min(best, measure(), key=lambda window: window['others'])
        return best

    def _pictures(self, size: str) -> Path:
        path = self._folder / f'{size}.npy'
        width, height = (int(side) for side in size.split('x'))
        drive = StreetDrive(width=width, height=height)
        np.save(path, np.stack([drive.frame(i * _STEP_S).bgr for i in range(_PICTURES)]))
        return path


def _ask(module: str, *arguments: object) -> Outcome:
    return ask(module, json.dumps(arguments), seconds=_CHILD_SECONDS)


def _value(what: str, outcome: Outcome) -> dict[str, Any]:
    if not outcome.works:
        raise LinknetError(f'{what}: {outcome.message}')
    value: dict[str, Any] = outcome.value
    return value


def _progress(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def _size(text: str) -> str:
    width, _, height = text.partition('x')
    if not (width.isdigit() and height.isdigit()):
        raise argparse.ArgumentTypeError(f"'{text}' is no size; write 640x360")
    if min(int(width), int(height)) < 32 or max(int(width), int(height)) > 4096:
        raise argparse.ArgumentTypeError(f'{text}: sides of 32 to 4096 work')
    return f'{int(width)}x{int(height)}'


def _count(text: str) -> int:
    number = int(text) if text.isdigit() else 0
    if number < 1:
        raise argparse.ArgumentTypeError(f"'{text}' is no number from 1 on")
    return number


def _options(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog='python -m linknet_ros.node_benchmark', description=__doc__.partition(':')[0]
    )
    parser.add_argument('--model', type=Path, help='the model that ships by default')
    parser.add_argument('--sizes', nargs='+', type=_size, default=list(SIZES), metavar='WxH')
    parser.add_argument('--rounds', type=_count, default=3)
    parser.add_argument('--retries', type=int, default=1, help='of a window that others disturb')
    parser.add_argument('--seconds', type=float, default=2.0, help='of every window')
    parser.add_argument('--warm-up', type=float, default=0.7, help='seconds before each')
    parser.add_argument(
        '--against',
        metavar='MODULE',
        help='a node to compare with, as training.usual_node: takes image, sends linknet/labels, '
        'has a parameter model',
    )
    parser.add_argument('--quick', action='store_true', help='one short round at one size')
    parser.add_argument('--backend', default='auto')
    parser.add_argument('--precision', default='auto')
    parser.add_argument('--threads', type=int, default=0, help='0: the back end chooses')
    parser.add_argument(
        '--domain-id',
        type=int,
        default=random.randrange(1, 100),
        help='ROS domain, random by default',
    )
    parser.add_argument('--out', type=Path, default=Path('out/bench'))
    options = parser.parse_args(arguments)
    if options.quick:
        options.sizes, options.rounds = options.sizes[:1], 1
        options.seconds, options.warm_up, options.retries = 0.5, 0.2, 0
    return options


def main(arguments: list[str] | None = None) -> None:
    """Command line."""
    options = _options(arguments)
    # Else `timeout` would leave the nodes behind: a SystemExit goes through the finally clauses.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit('stopped'))
    isolate(options.domain_id)
    try:
        model = load_model_file(options.model or package_file(SHIPPED_MODEL))
        options.out.mkdir(parents=True, exist_ok=True)
        about = machine()
        with tempfile.TemporaryDirectory() as folder:
            run = NodeBenchmark(options, model.path.resolve(), Path(folder))
            rounds = {size: run.rounds(size) for size in options.sizes}
    except LinknetError as error:
        sys.exit(f'error: {error}')
    except OSError as error:
        sys.exit(f'error: cannot write {error.filename}: {error.strerror}; see --out and TMPDIR')
    except KeyboardInterrupt:
        sys.exit('stopped')
    backends = [backend_row(size, found) for size, found in rounds.items()]
    rows = [
        row(size, contender, found)
        for size, found in rounds.items()
        for contender in _OUTPUTS
        if contender in found[0]
    ]
    against = {size: versus(found) for size, found in rounds.items()}
    goals = targets(rows, against)
    note = doubt(rows)
    text = table(backends, rows, against, goals)
    print(f'{model.name} on {run.backend}\n\n{text}')
    if note:
        print(f'note: {note}')
    for name, reason in run.left_out.items():
        print(f'left out: {reason if reason.startswith(name) else f"{name}: {reason}"}')
    settings = {
        name: getattr(options, name) for name in ('rounds', 'seconds', 'warm_up', 'retries')
    }
    report = {
        'model': model.name,
        'sha256': model.sha256,
        'backend': run.backend,
        'machine': about,
        'load_after': os.getloadavg()[0],
        **settings,
        'backend_alone': backends,
        'rows': rows,
        'versus_usual_node': against,
        'targets': goals,
        'note': note,
        'left_out': run.left_out,
        'rounds_raw': rounds,
    }
    (options.out / 'report.json').write_text(json.dumps(report, indent=1) + '\n')
    print(f'report: {options.out / "report.json"}')
    try:
        plot(backends, rows, options.out / 'bench.png')
        print(f'plot:   {options.out / "bench.png"}')
    except LinknetError as error:
        print(error)


if __name__ == '__main__':
    main()
