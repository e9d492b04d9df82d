"""Several recordings, one after the other: which, where to, and what is reported at the end."""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import sqlite3
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Protocol, TypeVar

from linknet_ros.errors import LinknetError, RecordingError
from linknet_ros.inference.model_file import ModelFile
from linknet_ros.recordings.part_folder import is_done
from linknet_ros.recordings.report import Report, exit_code
from linknet_ros.recordings.scene import check_rerun
from linknet_ros.recordings.settings import chosen_settings
from linknet_ros.system.signals import before_end


class Job(Protocol):
    """What to do with one source."""

    @property
    def source(self) -> Any:
        """What is read."""

    @property
    def out(self) -> Path:
        """What is written."""


AnyJob = TypeVar('AnyJob', bound=Job)
Item = TypeVar('Item')

#: Called with what is done and what there is in all; None: nobody knows.
Update = Callable[[int, int | None], None]


def add_batch_arguments(parser: argparse.ArgumentParser) -> Any:
    """Add --out-dir, --shard and --json; the group of options that they are in."""
    parser.add_argument('--json', action='store_true', help='report as JSON on stdout')
    group = parser.add_argument_group('several inputs')
    group.add_argument('--out-dir', type=Path, metavar='DIR', help='outputs by name of the input')
    group.add_argument(
        '--shard',
        type=_shard,
        default=(1, 1),
        metavar='I/N',
        help='only part I of N, from 1; together the parts have each input once',
    )
    return group


def name_of(source: str) -> str:
    """Of a source's output in --out-dir."""
    return Path(source).resolve().name


def prepare(
    options: argparse.Namespace, sources: Sequence[str], name: Callable[[str], str] = name_of
) -> tuple[list[tuple[str, Path]], dict[str, Any], ModelFile]:
    """What a command line makes of its sources, before anything of them is read.

    :param options: of add_batch_arguments and settings.add_arguments.
    :param name: see pair_up.
    :returns: sources with their outputs; fields that all their jobs have in common; the model.
    :raises LinknetError: when something is in the way.
    """
    pairs = shard(sorted(pair_up(sources, options.out_dir, name)), *options.shard)
    check_rerun(options.rerun, len(pairs))
    settings, model = chosen_settings(options)
    earlier = {'resume': options.resume, 'overwrite': options.overwrite}
    for _, out in pairs:
        is_done(out, **earlier)
    return pairs, {'settings': settings, 'rerun': options.rerun, **earlier}, model


def pair_up(
    sources: Sequence[str], out_dir: Path | None, name: Callable[[str], str] = name_of
) -> list[tuple[str, Path]]:
    """Sources with their outputs.

    :param sources: without `out_dir` one, and its output behind it.
    :param name: of a source's output in `out_dir`.
    :raises RecordingError: when they do not fit together.
    """
    if out_dir is None:
        if len(sources) != 2:
            raise RecordingError(
                f'{len(sources)} paths without --out-dir',
                'give one input and one output, or any number of inputs and --out-dir',
            )
        pairs = [(sources[0], Path(sources[1]))]
    else:
        pairs = [(source, out_dir / name(source)) for source in sources]
    outs: dict[Path, str] = {}
    for source, out in pairs:
        other = outs.get(out.resolve())
        outs[out.resolve()] = source
        if other is not None:
            raise RecordingError(
                f'{other} and {source} would both become {out}', 'give them one after the other'
            )
        inside = Path(source).resolve()
        if inside in (out.resolve(), *out.resolve().parents):
            raise RecordingError(f'{out} would lie in its own source', 'name another output')
    return pairs


def shard(items: Sequence[Item], number: int, count: int) -> list[Item]:
    """Every count-th item; the shards together have each item once.

    :param number: of the shard, from 1 to count.
    """
    return list(items[number - 1 :: count])


def run_each(jobs: Iterable[AnyJob], work: Callable[[AnyJob, Update], Report]) -> Iterator[Report]:
    """Do one job after the other; an error ends its job only."""
    for job in jobs:
        try:
            with bar(Path(job.source).name, None) as update:
                report = work(job, update)
        except LinknetError as error:
            report = Report(str(job.source), str(job.out), error=str(error))
        except (OSError, sqlite3.Error) as error:
            why = f'{error}; go on with --resume'
            report = Report(str(job.source), str(job.out), error=why)
        yield report


@contextlib.contextmanager
def bar(name: str, total: int | None, unit: str = 'frame') -> Iterator[Update]:
    """Show progress on stderr, with the time that is left; without tqdm, nothing.

    What it gives is called as `update(done, total)`.

    :param total: as far as it is known.
    """
    try:
        from tqdm import tqdm
    except ImportError:
        yield lambda done, total: None
        return
    # In a log, a line every half minute rather than ten a second.
    pause = 0.1 if sys.stderr.isatty() else 30.0
    with tqdm(total=total, desc=name, unit=unit, file=sys.stderr, mininterval=pause) as shown:

        def update(done: int, total: int | None) -> None:
            shown.total = total
            shown.update(done - shown.n)

        yield update


def run_command(name: str, run: Callable[[], Iterable[Report]], as_json: bool) -> None:
    """Run a command line, print its reports, and exit.

    :param run: raises LinknetError when nothing can be begun.
    """
    # Whatever is written goes on from where it was cut off.
    stopped = f'{name}: stopped; go on with --resume\n'
    before_end(lambda: os.write(sys.stderr.fileno(), stopped.encode()))
    reports = []
    try:
        for report in run():
            reports.append(report)
            print(report.line(), file=sys.stderr if as_json else sys.stdout, flush=True)
    except LinknetError as error:
        sys.exit(f'{name}: {error}')
    if as_json:
        print(json.dumps([report.as_json() for report in reports], indent=1))
    sys.exit(exit_code(reports))


def _shard(text: str) -> tuple[int, int]:
    number, _, count = text.partition('/')
    good = number.isdecimal() and count.isdecimal()
    if not good or not 1 <= int(number) <= int(count):
        raise argparse.ArgumentTypeError(f"invalid shard '{text}' (expected 1/8, 2/8, ... 8/8)")
    return int(number), int(count)
