"""Processor time and memory of any process, as Linux reports them (proc(5))."""

from __future__ import annotations

import os
from pathlib import Path

from linknet_ros.errors import LinknetError


def cpu_seconds(pid: int) -> float:
    """Processor time that a process has used so far, all threads together, in steps of 10 ms.

    :raises LinknetError: when the process does not exist.
    """
    # The name, in brackets, may hold spaces and brackets of its own.
    fields = _read(pid, 'stat').rpartition(')')[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf('SC_CLK_TCK')


def machine_cpu_seconds() -> float:
    """Processor time that all processes have used so far, and what a hypervisor took."""
    fields = Path('/proc/stat').read_text().split('\n', 1)[0].split()[1:]
    user, nice, system, _, _, irq, softirq, stolen = (int(field) for field in fields[:8])
    return (user + nice + system + irq + softirq + stolen) / os.sysconf('SC_CLK_TCK')


def memory_mb(pid: int) -> dict[str, float]:
    """Memory of a process in MB: what is resident, its share of it, and the most so far.

    :returns: 'rss_mb'; 'pss_mb', where pages that n processes share count 1 / n; 'peak_mb'.
    :raises LinknetError: when the process does not exist.
    """
    status, rollup = _read(pid, 'status'), _read(pid, 'smaps_rollup')
    return {
        'rss_mb': _field_mb(status, 'VmRSS'),
        'pss_mb': _field_mb(rollup, 'Pss'),
        'peak_mb': _field_mb(status, 'VmHWM'),
    }


def forget_peak() -> None:
    """Reset 'peak_mb' of this process to what it holds now.

    Otherwise a peak during the imports would hide what is used from here on.

    :raises LinknetError: where Linux does not allow it.
    """
    path = Path('/proc/self/clear_refs')
    try:
        path.write_text('5')
    except OSError as error:
        raise LinknetError(f'cannot write {path}: {error.strerror}') from error


def _read(pid: int, file: str) -> str:
    path = Path('/proc') / str(pid) / file
    try:
        return path.read_text()
    except OSError as error:
        raise LinknetError(f'cannot read {path}: {error.strerror}; has it ended?') from error


def _field_mb(text: str, field: str) -> float:
    """A line of the form 'VmRSS:  123 kB', where kB are KiB."""
    for line in text.splitlines():
        if line.startswith(f'{field}:'):
            return int(line.split()[1]) * 1.024e-3
    # A process that has ended but was not waited for has no memory any more.
    raise LinknetError(f'no {field} in /proc; has the process ended?')
