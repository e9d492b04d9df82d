"""Prints parameter files of planners for this robot's camera and mount, or checks one of Nav2.

Costmaps clear the ground along each reading, from a distance that must not be less than the blind
range of the camera's mount: otherwise they forget what has come too near to be seen. This program
knows that distance: it asks the running node, or reads the files given.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from linknet_ros.errors import LinknetError, first_line
from linknet_ros.planner.check import faults
from linknet_ros.planner.files import FILES, filled
from linknet_ros.planner.placed_camera import (
    PlacedCamera,
    read_camera,
    read_ground_settings,
    read_yaml,
)


def main(arguments: list[str] | None = None) -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(prog='planner_config', description=__doc__)
    parser.add_argument(
        'files',
        nargs='*',
        metavar='FILE',
        help=f'{", ".join(FILES)}; all of them by default. nav2 has obstacle layer, voxel layer, '
        'static layer and collision monitor',
    )
    parser.add_argument('--node', default='/linknet', help='name of the segmentation node')
    parser.add_argument(
        '--params', type=Path, help='parameter file of the node, instead of asking the node'
    )
    parser.add_argument(
        '--camera',
        type=Path,
        help='YAML file of the camera (ost.yaml of camera_calibration, or camera_info by `ros2 '
        'topic echo --once`), instead of asking the node',
    )
    parser.add_argument('--out', type=Path, help='write the files into this folder')
    parser.add_argument(
        '--check', type=Path, metavar='NAV2_PARAMS', help='check a parameter file of Nav2 instead'
    )
    options = parser.parse_args(arguments)
    unknown = [name for name in options.files if name not in FILES]
    if unknown:
        parser.error(f'unknown file {unknown[0]!r} (expected {", ".join(FILES)})')
    try:
        placed = _placed(options)
        print(f'{placed.node}: the camera sees the ground from {placed.blind}', file=sys.stderr)
        if options.check is not None:
            _check(options.check, placed)
        else:
            _write(options.files or list(FILES), placed, options.out)
    except LinknetError as error:
        sys.exit(f'error: {error}')


def _placed(options: argparse.Namespace) -> PlacedCamera:
    node = '/' + options.node.strip('/')
    if options.params is None and options.camera is None:
        try:
            from linknet_ros.planner.running_node import ask
        except ImportError as error:
            raise LinknetError(
                f'asking the node needs ROS ({first_line(error)})',
                'source its setup.bash, or use --params and --camera',
            ) from error
        return ask(node)
    if options.params is None or options.camera is None:
        raise LinknetError('--params and --camera are needed together')
    settings = read_ground_settings(options.params)
    if settings.use_tf:
        raise LinknetError(
            f'{options.params} has ground.use_tf: the mount is known to tf only',
            'start the robot and leave --params and --camera out, or set ground.height and pitch',
        )
    camera = read_camera(options.camera, rectified=settings.rectified)
    return PlacedCamera.of(node, settings, camera, settings.mount())


def _check(path: Path, placed: PlacedCamera) -> None:
    found = faults(read_yaml(path), placed)
    for fault in found:
        print(fault)
    if found:
        sys.exit(1)
    print(f'{path}: OK')


def _write(names: list[str], placed: PlacedCamera, folder: Path | None) -> None:
    texts = {FILES[name]: filled(name, placed) for name in names}
    if folder is None:
        # One document for each file.
        print('---\n'.join(texts.values()), end='')
        return
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, text in texts.items():
            (folder / name).write_text(text, 'utf-8')
            print(folder / name)
    except OSError as error:
        raise LinknetError(f'cannot write {error.filename} ({error.strerror})') from error


if __name__ == '__main__':
    main()
