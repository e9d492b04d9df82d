"""The doctor: what is installed, what works, and what to do about the rest.

Ends with 0 only when the node can run. Needs neither ROS nor any library to start.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path

from linknet_ros.doctor import checks as libraries
from linknet_ros.doctor import ros_checks as middleware
from linknet_ros.doctor.finding import Finding
from linknet_ros.system.package_files import model_path


def main(arguments: list[str] | None = None) -> None:
    """Command line."""
    parser = argparse.ArgumentParser(prog='doctor', description=__doc__)
    parser.add_argument('--model', type=Path, help='model file; the one that ships by default')
    parser.add_argument(
        '--topic', help="the camera's, e.g. /camera/image_raw; not checked by default"
    )
    parser.add_argument('--backend', default='auto', help="the node's parameter, auto by default")
    parser.add_argument(
        '--precision', default='auto', help="the node's parameter, auto by default"
    )
    parser.add_argument(
        '--json', action='store_true', help='print one JSON object in place of lines'
    )
    # `ros2 run` and launch add --ros-args.
    options, _ = parser.parse_known_args(arguments)
    findings = []
    try:
        for finding in examine(options):
            findings.append(finding)
            if not options.json:
                print(finding, flush=True)
        runs = not any(finding.state == 'error' for finding in findings)
        if options.json:
            record = {'runs': runs, 'findings': [asdict(finding) for finding in findings]}
            print(json.dumps(record, indent=1))
        else:
            print(_summary(findings))
    except BrokenPipeError:
        # Whoever read it has seen enough; Python must not try to write the rest at its end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    sys.exit(0 if runs else 1)


def examine(options: argparse.Namespace) -> Iterator[Finding]:
    """One finding after the other, as they are made."""
    yield _safe('Python', libraries.python)
    numpy = _safe('NumPy', libraries.numpy)
    yield numpy
    yield _safe('OpenCV', libraries.opencv)
    yield _safe('onnx', libraries.onnx)
    path = model_path(options.model, options.precision)
    model = _safe('model', lambda: libraries.model_file(path))
    yield model
    gpu = False
    try:
        finding, gpu = libraries.cuda()
        yield finding
        if gpu:
            print('TensorRT may build an engine first: minutes', file=sys.stderr, flush=True)
        yield from libraries.backends(
            path if model.state == 'ok' else None, options.backend, options.precision, gpu
        )
    except Exception as error:
        yield _own_fault('back ends', error)
    rmw, segment = '', middleware.SHIPPED_SEGMENT
    try:
        finding, rmw = middleware.ros()
        yield finding
        if finding.state == 'ok':
            yield _safe('node', lambda: middleware.node('linknet_ros.node.segment_node'))
        yield middleware.cv_bridge(numpy.text if numpy.state == 'ok' else '')
        if finding.state == 'ok':
            finding, segment = middleware.dds_profile(rmw)
            yield finding
    except Exception as error:
        yield _own_fault('ROS', error)
    if segment:
        yield _safe('shared memory', lambda: middleware.shared_memory(segment))
    if options.topic:
        yield _safe('camera', lambda: middleware.topic(options.topic))


def _safe(name: str, check: Callable[[], Finding]) -> Finding:
    """What a check finds; a bug in one must not end the others."""
    try:
        return check()
    except Exception as error:
        return _own_fault(name, error)


def _own_fault(name: str, error: Exception) -> Finding:
    text = f'the check itself failed: {type(error).__name__}: {error}'
    return Finding(name, 'error', text, 'report this as a bug, with this line')


def _summary(findings: list[Finding]) -> str:
    errors = [finding.name for finding in findings if finding.state == 'error']
    warnings = sum(finding.state == 'warning' for finding in findings)
    also = f', {warnings} warning{"s" * (warnings > 1)}' if warnings else ''
    if errors:
        return f'the node cannot run{also}: first mend {errors[0]}'
    return f'the node can run{also}'
