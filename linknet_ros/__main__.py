"""The doors of the house: every program by its name, as `ros2 run` knows it.

`python -m linknet_ros NAME` and the command NAME do the same: signals first, because the imports
take a second, then the import, then the program's main(). Exit codes after a signal:
system/signals.py.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import partial
from importlib import import_module

from linknet_ros.system.signals import end_quietly, process_ends

#: Module of every program, below linknet_ros.
PROGRAMS = {
    'segment_node': 'node.segment_node',
    'replay_node': 'simulation.replay_node',
    'view_node': 'view.view_node',
    'rerun_node': 'view.rerun_node',
    'segment_bag': 'recordings.segment_bag',
    'segment_files': 'recordings.segment_files',
    'import_model': 'importing.import_model',
    'quantize_model': 'recordings.quantize_model',
    'pick_frames': 'recordings.pick_frames',
    'pre_label': 'recordings.pre_label',
    'build_engine': 'inference.tensorrt.build_engine',
    'planner_config': 'planner.planner_config',
    'doctor': 'doctor.doctor',
    'benchmark': 'benchmark.benchmark',
    'node_benchmark': 'benchmark.node',
    'ground_accuracy': 'simulation.ground_accuracy',
    'demo': 'demo.demo',
}

#: Programs that run until a signal ends them.
NODES = ('segment_node', 'replay_node', 'view_node', 'rerun_node')


def run(name: str, arguments: list[str] | None = None) -> None:
    """Run a program.

    :param name: a key of PROGRAMS.
    :param arguments: of its command line; None for the process's own.
    """
    given = sys.argv[1:] if arguments is None else arguments
    end_quietly(endless=name in NODES or (name == 'demo' and '--view' in given))
    try:
        import_module(f'linknet_ros.{PROGRAMS[name]}').main(arguments)
    finally:
        process_ends()


def __getattr__(name: str) -> Callable[[], None]:
    """The entry point of a program, for setup.py: `linknet_ros.__main__:segment_node`."""
    if name in PROGRAMS:
        return partial(run, name)
    raise AttributeError(name)


def main() -> None:
    """Command line of `python -m linknet_ros`."""
    name, *arguments = sys.argv[1:] or ['']
    if name not in PROGRAMS:
        programs = '\n  '.join(PROGRAMS)
        text = f'usage: python -m linknet_ros PROGRAM ...\n\nprograms:\n  {programs}'
        if name in ('-h', '--help'):
            print(text)
            return
        problem = f"unknown program '{name}'\n\n" if name else ''
        sys.exit(f'{problem}{text}')
    run(name, arguments)


if __name__ == '__main__':
    main()
