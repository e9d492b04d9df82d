"""Segments images or a video: segment_files IN OUT, or segment_files IN... --out-dir DIR.

IN is a folder of images, an image, a pattern in quotes, or a video. OUT is a folder, which gets
one of images for each output, or a video (.mp4) of color or overlay. Label images hold class ids,
255 where there is none. Exits with 0 when all could be used; 3 when the output is there, but the
source was damaged or had bad frames; 1 when an output is missing.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from linknet_ros.recordings.batch import add_batch_arguments, prepare, run_command, run_each
from linknet_ros.recordings.files import FilesJob, segment_source
from linknet_ros.recordings.report import Report
from linknet_ros.recordings.settings import add_arguments, parse


def main(arguments: list[str] | None = None) -> None:
    """Command line."""
    options = parse(_parser(), arguments)
    run_command('segment_files', lambda: _reports(options), options.json)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog='segment_files',
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        'sources',
        nargs='+',
        metavar='IN',
        help='images or a video; without --out-dir, the last is the output',
    )
    parser.add_argument(
        '--rate',
        type=_rate,
        default=0.0,
        metavar='FPS',
        help="of a video that is written (default: the source's, 10 for images)",
    )
    add_arguments(parser, 'labels,overlay')
    add_batch_arguments(parser)
    return parser


def _reports(options: argparse.Namespace) -> Iterator[Report]:
    pairs, common, model = prepare(options, options.sources, _name)
    jobs = [FilesJob(source, out, rate=options.rate, **common) for source, out in pairs]
    return run_each(jobs, partial(segment_source, model=model))


def _name(source: str) -> str:
    """What a source's folder is called: 'drive' for drive.avi, drive/ and drive/*.png alike."""
    path = Path(source)
    if any(sign in path.name for sign in '*?['):
        path = path.parent
    path = path.resolve()
    return path.name if path.is_dir() else path.stem


def _rate(text: str) -> float:
    try:
        rate = float(text)
    except ValueError:
        rate = 0.0
    if not 0 < rate <= 1000:
        raise argparse.ArgumentTypeError(
            f"invalid rate '{text}' (expected frames per second, up to 1000)"
        )
    return rate


if __name__ == '__main__':
    main()
