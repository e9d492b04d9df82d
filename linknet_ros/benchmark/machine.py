"""The machine that a benchmark ran on."""

from __future__ import annotations

import os
import platform
from importlib import metadata
from pathlib import Path
from typing import Any

from linknet_ros.inference.backend import BACKENDS
from linknet_ros.system.child_process import ask

_PROCESSORS = Path('/proc/cpuinfo')


def machine() -> dict[str, Any]:
    """What the figures depend on beside the model."""
    processor = platform.processor() or platform.machine()
    try:
        lines = _PROCESSORS.read_text().splitlines()
        processor = next(x.split(': ')[1] for x in lines if x.startswith('model name'))
    except (OSError, StopIteration, IndexError):
        pass
    versions = {}
    for package in ('numpy', *BACKENDS):
        try:
            versions[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    gpu = ask('linknet_ros.doctor.probes', 'cuda', seconds=60)
    return {
        'system': platform.platform(),
        'processor': processor,
        'cores': len(os.sched_getaffinity(0)),
        # Others that ran at the start: above 0, latencies are those of a busy machine.
        'load': os.getloadavg()[0],
        'gpu': gpu.value,
        'python': platform.python_version(),
        'versions': versions,
    }
