"""Nodes in processes of their own, for the demo and the benchmark, apart from every robot."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from linknet_ros.system.package_files import SHM_PROFILE, package_file


def isolate(domain_id: int) -> None:
    """Give this process and those it starts a ROS domain, on this machine only.

    Whatever the shell is set to: a demo's drivable area must never reach a robot, nor a robot's
    camera the demo. Images get shared memory, unless the shell names a profile.
    """
    os.environ['ROS_DOMAIN_ID'] = str(domain_id)
    os.environ['ROS_AUTOMATIC_DISCOVERY_RANGE'] = 'LOCALHOST'
    profile = str(package_file(SHM_PROFILE))
    os.environ.setdefault('FASTRTPS_DEFAULT_PROFILES_FILE', profile)
    os.environ.setdefault('FASTDDS_DEFAULT_PROFILES_FILE', profile)


def start_node(
    program: str, parameters: Mapping[str, str], more: Sequence[str] = ()
) -> subprocess.Popen[bytes]:
    """Start a node; it writes to this process's stderr, warnings and errors only.

    :param program: a name of linknet_ros/__main__.py, or a module of another package.
    :param parameters: ROS parameters, written as in YAML.
    :param more: further arguments of ROS, as '-r', 'image_raw:=image'.
    """
    module = [program] if '.' in program else ['linknet_ros', program]
    command = [sys.executable, '-m', *module, '--ros-args', '--log-level', 'warn', *more]
    for name, value in parameters.items():
        command += ['-p', f'{name}:={value}']
    # The child finds this package where the parent did, but after all that the user put first.
    paths = [os.environ.get('PYTHONPATH', ''), str(Path(__file__).parents[2])]
    environment = os.environ | {'PYTHONPATH': os.pathsep.join(path for path in paths if path)}
    return subprocess.Popen(command, env=environment)


def stop_nodes(processes: Sequence[subprocess.Popen[bytes]]) -> None:
    """End nodes; those that do not within five seconds are killed."""
    for process in processes:
        if process.poll() is None:
            process.terminate()
    for process in processes:
        try:
            process.wait(5)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
