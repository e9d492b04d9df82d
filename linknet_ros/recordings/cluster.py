"""Spreads recordings over the machines of a Ray cluster."""

from __future__ import annotations

import socket
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from linknet_ros.errors import LinknetError, first_line
from linknet_ros.recordings.bags import BagJob, segment_recording
from linknet_ros.recordings.report import Report
from linknet_ros.system.signals import restore_handlers

#: As an address: a cluster on this machine, for as long as the command runs.
LOCAL = 'local'

#: Times that a task is tried again when its process dies or the system fails.
_RETRIES = 3

#: Seconds for the cluster to take a connection.
_PATIENCE_S = 10.0


def run_on_ray(
    jobs: Sequence[BagJob],
    address: str,
    *,
    gpus: float = 0.0,
    cpus: int | None = None,
    work: Callable[[BagJob], Report] = segment_recording,
) -> Iterator[Report]:
    """Run jobs as tasks of a Ray cluster; their reports come as they end.

    Every worker needs this package and the same paths, as on a shared disk. A task that is tried
    again goes on where it was, with what the first left on the disk. Its back end gets as many
    threads as the task gets processors: one if the settings leave it open.

    :param address: of the cluster, or LOCAL.
    :param gpus: that a task gets, a fraction to share one; 0: it sees none.
    :param cpus: of a LOCAL cluster; None: those of the machine.
    :param work: what a task does; raises LinknetError for what a second try cannot mend.
    :raises LinknetError: when Ray is not there or the cluster does not answer.
    """
    ray = _connect(address, cpus)
    try:
        task = ray.remote(
            num_gpus=gpus,
            max_retries=_RETRIES,
            retry_exceptions=[OSError, sqlite3.Error],
        )(_attempt)
        waiting = {}
        for job in jobs:
            threads = job.settings.inference.threads or 1
            sent = replace(
                job,
                source=job.source.absolute(),
                out=job.out.absolute(),
                settings=replace(
                    job.settings, inference=replace(job.settings.inference, threads=threads)
                ),
                resume=not job.overwrite,
            )
            waiting[task.options(num_cpus=threads).remote(work, sent)] = job
        while waiting:
            (done, *_), _ = ray.wait(list(waiting))
            job = waiting.pop(done)
            yield _report(ray, done, job)
    finally:
        ray.shutdown()


def _attempt(work: Callable[[BagJob], Report], job: BagJob) -> Report:
    """In the task: what a second try cannot mend is an answer, all else an exception."""
    try:
        return work(job)
    except LinknetError as error:
        return Report(str(job.source), str(job.out), error=str(error))


def _report(ray: Any, task: Any, job: BagJob) -> Report:
    try:
        report: Report = ray.get(task)
    except ray.exceptions.RayError as error:
        cause = getattr(error, 'cause', None) or error
        why = f'{_RETRIES + 1} tries failed, the last with {type(cause).__name__}'
        report = Report('', '', error=f'{why}: {first_line(cause)}; go on with --resume')
    report.source, report.out = str(job.source), str(job.out)
    return report


def _connect(address: str, cpus: int | None) -> Any:
    try:
        import ray
    except ImportError as error:
        raise LinknetError(f'--ray needs Ray ({error})', 'pip install ray') from error
    host, _, port = address.removeprefix('ray://').rpartition(':')
    if host and port.isdecimal():
        # Ray itself would wait for minutes, and then end the process.
        try:
            socket.create_connection((host.strip('[]'), int(port)), _PATIENCE_S).close()
        except OSError as error:
            raise _no_cluster(address, error) from error
    # The workers' search path: where this package is, installed or in a checkout.
    here = {'PYTHONPATH': str(Path(__file__).parents[2])} if address == LOCAL else {}
    options = {'include_dashboard': False, 'num_cpus': cpus} if address == LOCAL else {}
    for tries_left in (2, 1, 0):
        try:
            ray.init(
                address=address,
                log_to_driver=False,
                logging_level='ERROR',
                runtime_env={'env_vars': here},
                **options,
            )
            break
        except Exception as error:  # ConnectionError, ValueError, RuntimeError by version
            # A busy machine may not start its processes within the 30 s that Ray waits.
            if not (tries_left and 'timed out during startup' in str(error)):
                raise _no_cluster(address, error) from error
            ray.shutdown()
    # Ray's own for SIGTERM ends with another exit code.
    restore_handlers()
    return ray


def _no_cluster(address: str, error: Exception) -> LinknetError:
    return LinknetError(
        f'no Ray cluster at {address} ({first_line(error)})',
        f'start one with ray start --head, or give {LOCAL}',
    )
