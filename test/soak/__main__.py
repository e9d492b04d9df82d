"""Command line of `make soak`: all trials, a line each, and a report.

PYTHONPATH=test python -m soak --scale 1 [trial ...]
"""

import argparse
import json
import random
import sys
import tempfile
import time
from functools import partial
from pathlib import Path

import rclpy

from linknet_ros.system.child_process import isolate
from soak import faults, lifecycle, load
from soak.rig import rig_in
from soak.signals import FEW, PROGRAMS, signals


def trials(scale, seed=0):
    """Trials by name; `scale` 1 is the size that RELIABILITY.md reports, about an hour."""

    def times(number, least=1):
        return max(least, round(number * scale))

    return {
        'lifecycle walk': partial(lifecycle.walk, steps=times(100, 30), seed=seed),
        'shutdown from each state': lifecycle.shutdown_from_each_state,
        'failing configure': lifecycle.failing_configure,
        'other model': partial(lifecycle.other_model, rounds=times(5)),
        'memory': partial(load.memory, frames=times(100_000, 100)),
        'every drop': partial(load.every_drop, rounds=times(100, 6), seed=seed),
        'malformed images': partial(load.malformed, images=times(10_000, 60), seed=seed),
        'parameter storm': partial(load.parameter_storm, changes=times(5000, 80), seed=seed),
        'stalled subscriber': partial(load.stalled_subscriber, frames=times(1000, 10)),
        'camera killed': partial(faults.camera_killed, rounds=times(5)),
        'signals': partial(
            signals,
            times=times(50),
            seed=seed,
            programs=tuple(PROGRAMS) if scale else FEW,
            loops=round(min(8, 8 * scale)),
        ),
        'model files': faults.model_files,
        'disk full': faults.disk_full,
        'same name': faults.same_name,
        'builder killed': faults.builder_killed,
        'build in the way': faults.build_in_the_way,
    }


def main(arguments=None):
    """Run them; exit code 1 where one fails."""
    parser = argparse.ArgumentParser(prog='soak', description=__doc__)
    parser.add_argument(
        '--scale', type=float, default=1.0, help='of the numbers of frames, rounds and signals'
    )
    parser.add_argument('--seed', type=int, default=0)
    parser.add_argument('--out', type=Path, default=Path('out/soak'))
    parser.add_argument('trials', nargs='*', help='names, all by default')
    options = parser.parse_args(arguments)
    known = trials(options.scale, options.seed)
    if unknown := set(options.trials) - set(known):
        parser.error(f"no trial '{min(unknown)}'; there are: {', '.join(known)}")
    isolate(random.randrange(1, 100))
    context = rclpy.Context()
    rclpy.init(args=[], context=context)
    options.out.mkdir(parents=True, exist_ok=True)
    report = {'scale': options.scale, 'seed': options.seed, 'date': time.strftime('%Y-%m-%d')}
    for name in options.trials or known:
        result = _run(known[name], context)
        figures = ', '.join(f'{k} {v}' for k, v in result.items() if k != 'passed')
        print(f'{"ok    " if result["passed"] else "FAILED"} {name}: {figures}', flush=True)
        report[name] = result
        (options.out / 'report.json').write_text(json.dumps(report, indent=2) + '\n')
    rclpy.shutdown(context=context)
    failed = [n for n, r in report.items() if isinstance(r, dict) and not r['passed']]
    sys.exit(f'error: failed: {", ".join(failed)}' if failed else 0)


def _run(trial, context):
    start = time.monotonic()
    with tempfile.TemporaryDirectory(prefix='soak-') as folder:
        try:
            with rig_in(folder, context) as rig:
                figures = {'passed': True, **trial(rig)}
        except Exception as error:
            # The next trial has a new node; one that fails must not hide what the others find.
            figures = {'passed': False, 'error': f'{type(error).__name__}: {error}'}
    return figures | {'seconds': round(time.monotonic() - start, 1)}


if __name__ == '__main__':
    main()
