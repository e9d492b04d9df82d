"""Segments recordings of rosbag2: segment_bag IN OUT, or segment_bag IN... --out-dir DIR.

Every frame of the image topic goes through the network once; labels, overlay and any other
chosen outputs go into a new recording, with the stamp and frame_id of the frame and the time at
which the frame was received. Exits with 0 when all could be used; 3 when the output is there, but
the recording was damaged or had bad frames; 1 when an output is missing.
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from linknet_ros.recordings.bag_messages import need_rosbags
from linknet_ros.recordings.bags import BagJob, segment_recording
from linknet_ros.recordings.batch import (
    add_batch_arguments,
    bar,
    prepare,
    run_command,
    run_each,
)
from linknet_ros.recordings.cluster import LOCAL, run_on_ray
from linknet_ros.recordings.report import Report
from linknet_ros.recordings.settings import add_arguments, parse
from linknet_ros.system.settings import comma_separated

#: Names that ROS allows for a topic.
_TOPIC = re.compile(r'(/[A-Za-z_][A-Za-z0-9_]*)+')


def main(arguments: list[str] | None = None) -> None:
    """Command line."""
    options = parse(_parser(), arguments)
    run_command('segment_bag', lambda: _reports(options), options.json)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog='segment_bag',
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        'bags',
        nargs='+',
        metavar='BAG',
        help='folder, .mcap or .db3 of rosbag2; without --out-dir, the last is the output: a file '
        'if it ends with .mcap or .db3, else a folder',
    )
    parser.add_argument('--topic', default='', help='of the images, where there are several')
    parser.add_argument(
        '--camera-info', default='', metavar='TOPIC', help='(default: the one beside the images)'
    )
    parser.add_argument('--prefix', type=_prefix, default='/linknet', help='of the new topics')
    parser.add_argument(
        '--keep',
        type=comma_separated,
        default=(),
        metavar='LIST',
        help='original topics to take over, or all (default: none)',
    )
    parser.add_argument('--compress', action='store_true', help='pack the .mcap with zstd')
    add_arguments(parser, 'labels,overlay/compressed', extras=True)
    group = add_batch_arguments(parser)
    group.add_argument(
        '--ray',
        metavar='ADDRESS',
        help=f'spread them over a Ray cluster; {LOCAL} for one on this machine; paths must be the '
        'same on every worker, and --threads 0 means 1 for each',
    )
    group.add_argument(
        '--ray-gpus', type=float, default=0.0, metavar='N', help='GPUs of a task; 0.5 shares one'
    )
    return parser


def _reports(options: argparse.Namespace) -> Iterator[Report]:
    need_rosbags()
    pairs, common, model = prepare(options, options.bags)
    names = ('topic', 'camera_info', 'depth', 'prefix', 'keep', 'compress')
    common |= {name: getattr(options, name) for name in names}
    jobs = [BagJob(Path(source), out, **common) for source, out in pairs]
    if options.ray is None:
        yield from run_each(jobs, partial(segment_recording, model=model))
        return
    with bar('segment_bag', len(jobs), 'recording') as update:
        reports = run_on_ray(jobs, options.ray, gpus=options.ray_gpus)
        for number, report in enumerate(reports, 1):
            update(number, len(jobs))
            yield report


def _prefix(text: str) -> str:
    if not _TOPIC.fullmatch(text):
        raise argparse.ArgumentTypeError(f"invalid topic prefix '{text}' (expected e.g. /linknet)")
    return text


if __name__ == '__main__':
    main()
