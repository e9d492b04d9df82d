"""Measure the node itself: `python -m linknet_ros node_benchmark`, or `make bench`.

What the node adds to the network: latency, frames per second, processor time and memory. Camera
and planner are a process, the node is one, and the back end alone takes its turn in every round,
in a process of its own, so that what else the machine does then falls on all of them alike.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import sys
from functools import partial
from pathlib import Path

from linknet_ros.benchmark.machine import machine
from linknet_ros.benchmark.node_figures import backend_row, doubt, row, targets, versus
from linknet_ros.benchmark.node_report import plot, table
from linknet_ros.benchmark.node_rounds import OUTPUTS, NodeBenchmark
from linknet_ros.errors import LinknetError
from linknet_ros.inference.model_file import load_model
from linknet_ros.system.arguments import count
from linknet_ros.system.arguments import size as parse_size
from linknet_ros.system.child_process import isolate
from linknet_ros.system.package_files import model_path
from linknet_ros.system.temporary_folder import temporary_folder

SIZES = ((480, 360), (1280, 720), (1920, 1080))


def _options(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog='python -m linknet_ros node_benchmark', description=__doc__.partition(':')[0]
    )
    parser.add_argument('--model', type=Path, help='the one that ships by default')
    parser.add_argument('--sizes', nargs='+', type=parse_size, default=list(SIZES), metavar='WxH')
    parser.add_argument('--rounds', type=count, default=3)
    parser.add_argument(
        '--patience',
        type=float,
        default=30.0,
        help='seconds in all for windows that are measured again because others disturbed them',
    )
    parser.add_argument('--seconds', type=float, default=1.5, help='of every window')
    parser.add_argument('--warm-up', type=float, default=0.5, help='seconds before each')
    parser.add_argument(
        '--against',
        metavar='MODULE',
        help='a node to compare with, e.g. training.usual_node: subscribes to image, publishes '
        'linknet/labels, has a parameter model',
    )
    parser.add_argument('--quick', action='store_true', help='one short round at one size')
    parser.add_argument('--backend', default='auto')
    parser.add_argument('--precision', default='auto')
    parser.add_argument(
        '--threads',
        type=partial(count, least=0, most=256),
        default=0,
        help='0: the back end chooses',
    )
    parser.add_argument(
        '--domain-id',
        type=int,
        default=random.randrange(1, 100),
        help='ROS domain, random by default',
    )
    parser.add_argument('--out', type=Path, default=Path('out/bench'))
    options = parser.parse_args(arguments)
    options.sizes = [f'{width}x{height}' for width, height in options.sizes]
    if options.quick:
        options.sizes, options.rounds = options.sizes[:1], 1
        options.seconds, options.warm_up, options.patience = 0.5, 0.2, 0.0
    return options


def main(arguments: list[str] | None = None) -> None:
    """Command line."""
    options = _options(arguments)
    isolate(options.domain_id)
    try:
        model = load_model(model_path(options.model, options.precision))
        options.out.mkdir(parents=True, exist_ok=True)
        about = machine()
        with temporary_folder() as folder:
            # PyTorch computes in float, whatever the node does.
            usual = model_path(options.model, 'fp32')
            run = NodeBenchmark(options, model.path.resolve(), usual.resolve(), folder)
            rounds = {size: run.rounds(size) for size in options.sizes}
    except LinknetError as error:
        sys.exit(f'error: {error}')
    except OSError as error:
        sys.exit(f'error: cannot write {error.filename}: {error.strerror}; see --out and TMPDIR')
    backends = [backend_row(size, found) for size, found in rounds.items()]
    rows = [
        row(size, contender, found)
        for size, found in rounds.items()
        for contender in OUTPUTS
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
        name: getattr(options, name) for name in ('rounds', 'seconds', 'warm_up', 'patience')
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
