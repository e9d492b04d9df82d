"""Picks the frames of recordings that are worth labelling: pick_frames IN... OUT.

IN is a bag, a video, a folder of images, an image or a pattern in quotes. OUT is a folder, which
gets frames/ in full resolution, frames.csv with the reason for each, and contact sheets. The
frames are sharp, well exposed, no two alike, from all of the recordings, and those first of which
the network is least sure. A run that was stopped goes on with the same command. Exits with 0; 3
when a source was damaged or had bad frames; 1 when nothing could be picked.
"""

from __future__ import annotations

import argparse
import csv
import json
import math
import os
import sys
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from linknet_ros.errors import LinknetError, RecordingError
from linknet_ros.inference.model_file import ModelFile, load_model
from linknet_ros.inference.segmenter import Segmenter
from linknet_ros.inference.settings import InferenceSettings
from linknet_ros.products.products import Products, ProductSettings
from linknet_ros.recordings.batch import bar
from linknet_ros.recordings.frame_scores import Key, ScoreFile, ask, look_through
from linknet_ros.recordings.frame_streams import FrameStream, open_streams
from linknet_ros.recordings.label_folder import (
    FRAMES,
    ON_SHEET,
    SHEETS,
    Cell,
    thumbnail,
    write_sheets,
)
from linknet_ros.recordings.part_folder import PartFolder
from linknet_ros.recordings.picking import (
    Doubt,
    Look,
    Pick,
    blurred,
    candidates,
    choose,
    signatures,
    unsureness,
)
from linknet_ros.system.arguments import count, number, share
from linknet_ros.system.package_files import model_path
from linknet_ros.system.settings import add_options, comma_separated, made_of
from linknet_ros.system.signals import before_end

#: What OUT holds, besides FRAMES and sheet_1.jpg and so on.
TABLE, ABOUT = 'frames.csv', 'pick_frames.json'

#: Frames that are looked at for each that is wanted, at equal steps: an hour at 30 frames a second
#: has 108 000, of which most are alike.
_LOOKS = 40

_COLUMNS = (
    *('rank', 'file', 'source', 'topic', 'stamp', 'index', 'sharpness', 'exposure', 'unsureness'),
    *('doubt_confidence', 'doubt_mirror', 'doubt_second', 'nearest', 'why'),
)


def main(arguments: list[str] | None = None) -> None:
    """Command line."""
    options = _parser().parse_args(arguments)
    stopped = 'pick_frames: stopped; the same command goes on\n'
    before_end(lambda: os.write(sys.stderr.fileno(), stopped.encode()))
    try:
        problems = _run(options)
    except LinknetError as error:
        sys.exit(f'pick_frames: {error}')
    except OSError as error:
        sys.exit(f'pick_frames: {error}; the same command goes on')
    for problem in problems:
        print(f'pick_frames: {problem}', file=sys.stderr)
    sys.exit(3 if problems else 0)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog='pick_frames',
        usage='%(prog)s [options] IN [IN ...] OUT',
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument('paths', nargs='+', help='recordings; the last is the output')
    parser.add_argument(
        '--count', type=partial(count, most=10_000), default=100, help='frames (default: 100)'
    )
    parser.add_argument(
        '--topic',
        type=comma_separated,
        default=(),
        metavar='LIST',
        help='of the images in bags, where there are several',
    )
    group = parser.add_argument_group('which')
    group.add_argument(
        '--least-distance',
        type=partial(number, least=0, most=2),
        default=0.1,
        metavar='0-2',
        help='of two frames: 1 - correlation of their luma at 32x18 (default: 0.1)',
    )
    group.add_argument(
        '--least-sharpness',
        type=share,
        default=0.4,
        metavar='SHARE',
        help='of what the sharpest quarter of the frames around reaches, in variance of the '
        'Laplacian over variance (default: 0.4)',
    )
    group.add_argument(
        '--least-exposure',
        type=share,
        default=0.5,
        metavar='SHARE',
        help='of pixels that are neither black nor white (default: 0.5)',
    )
    group.add_argument(
        '--second-model', type=Path, metavar='FILE', help='prefer where it disagrees'
    )
    group = parser.add_argument_group('with what')
    add_options(group, InferenceSettings, 'model', 'backend', 'precision', 'threads', 'mono16_max')
    return parser


def _run(options: argparse.Namespace) -> list[str]:
    """Pick, write and say so; what is wrong with the sources, a line each."""
    if len(options.paths) < 2:
        raise RecordingError('no output is named', 'give recordings, then a folder')
    *sources, last = options.paths
    out = Path(last)
    for source in sources:
        if Path(source).resolve() in (out.resolve(), *out.resolve().parents):
            raise RecordingError(f'{out} would lie in its own source', 'name another output')
    inference = made_of(InferenceSettings, vars(options))
    models = [load_model(model_path(inference.model, inference.precision))]
    if options.second_model is not None:
        models.append(load_model(options.second_model))
    with ExitStack() as stack:
        streams = stack.enter_context(open_streams(sources, options.topic, inference.mono16_max))
        about = _about(options, streams, models)
        if _is_done(out, about):
            print(f'{out}: already there, kept')
            return []
        part = stack.enter_context(PartFolder(out))
        scores = stack.enter_context(ScoreFile(part.path / 'scores.jsonl', about))
        networks = []
        for model in models:
            networks.append(
                Segmenter(
                    model,
                    backend=inference.backend,
                    precision=inference.precision if model is models[0] else 'auto',
                    threads=inference.threads,
                )
            )
            stack.callback(networks[-1].close)
        total = sum(stream.count for stream in streams)
        step = max(1, total // (_LOOKS * options.count))
        looks, bad = look_through(streams, scores, step)
        usable, left_out = _usable(looks, options)
        sharpness = [looks[key].sharpness for key in usable]
        asked = [usable[i] for i in candidates(sharpness, options.count)]
        doubts = ask(streams, scores, asked, networks)
        chosen = list(_chosen(looks, doubts, options))
        if not chosen:
            raise RecordingError(
                f'none of {len(looks)} frames can be used ({left_out})',
                'lower --least-exposure or --least-sharpness',
            )
        made = part.fresh(out.name)
        _write(made, streams, chosen, networks[0])
        (made / ABOUT).write_text(f'{json.dumps(about, indent=1)}\n', 'utf-8')
        part.finish(made)
        print(f'{", ".join(sources)} -> {out}: {len(chosen)} frames of {len(looks)} ({left_out})')
        if len(chosen) < options.count:
            print(
                f'the others are like these; --least-distance {options.least_distance / 2:g} '
                'takes more'
            )
        problems = [f'{s.source}: {line}' for s in streams for line in s.damage]
        return problems + [f'{n} x {reason}' for reason, n in Counter(bad).most_common(5)]


def _about(
    options: argparse.Namespace, streams: Sequence[FrameStream], models: Sequence[ModelFile]
) -> dict[str, Any]:
    """All that decides which frames are picked; of what JSON can say."""
    named = ('count', 'least_distance', 'least_sharpness', 'least_exposure', 'mono16_max')
    return {
        'sources': [[s.source, s.topic, s.identity()] for s in streams],
        'models': [model.sha256 for model in models],
        **{name: getattr(options, name) for name in named},
    }


def _is_done(out: Path, about: Mapping[str, Any]) -> bool:
    """Whether the same command has made the folder.

    :raises RecordingError: when something else is there.
    """
    try:
        there = json.loads((out / ABOUT).read_text('utf-8'))
    except (OSError, ValueError):
        if out.is_dir() and not any(out.iterdir()):
            out.rmdir()
        if out.exists():
            raise RecordingError(f'{out} already exists', 'name another output') from None
        return False
    changed = [name for name in about if there.get(name) != about[name]]
    if changed:
        raise RecordingError(
            f'{out} was picked with another {", ".join(changed)}',
            'name another output: labels may be in it already',
        )
    return True


def _usable(looks: Mapping[Key, Look], options: argparse.Namespace) -> tuple[list[Key], str]:
    """The frames that are sharp and well exposed, and what became of the others."""
    exposed = np.array([look.exposure >= options.least_exposure for look in looks.values()])
    sharpness = [look.sharpness for look in looks.values()]
    blur = blurred(sharpness, [number for number, _ in looks], options.least_sharpness)
    said = f'{(~exposed).sum()} badly exposed, {(exposed & blur).sum()} blurred'
    return [key for key, good in zip(looks, exposed & ~blur, strict=True) if good], said


@dataclass(frozen=True)
class _Chosen:
    """A frame that is written, and all that is known of it."""

    rank: int
    key: Key
    look: Look
    doubt: Doubt
    unsure: float
    pick: Pick
    why: str


def _chosen(
    looks: Mapping[Key, Look], doubts: Mapping[Key, Doubt], options: argparse.Namespace
) -> Iterator[_Chosen]:
    keys = list(doubts)
    if not keys:
        return
    unsure = unsureness([doubts[key] for key in keys])
    places = {key: place for place, key in enumerate(looks)}
    picks = choose(
        unsure,
        signatures([looks[key].small for key in keys]),
        [places[key] for key in keys],
        options.count,
        options.least_distance,
    )
    for rank, pick in enumerate(picks, 1):
        key, value = keys[pick.index], float(unsure[pick.index])
        why = (
            f'{value:.2f} times as unsure as the mean, place {pick.place[0]} of {pick.place[1]} '
            f'in part {pick.part[0]} of {pick.part[1]}'
        )
        yield _Chosen(rank, key, looks[key], doubts[key], value, pick, why)


def _write(
    made: Path, streams: Sequence[FrameStream], chosen: Sequence[_Chosen], network: Segmenter
) -> None:
    """Write frames, table and contact sheets."""
    (made / FRAMES).mkdir(parents=True)
    products = Products(network.model.classes, ProductSettings(overlay_legend=False))
    by_key = {one.key: one for one in chosen}
    rows: dict[int, dict[str, Any]] = {}
    cells: dict[int, Cell] = {}
    used: set[str] = set()
    with bar('write', len(chosen)) as update:
        for number_, stream in enumerate(streams):
            mine = {index for s, index in by_key if s == number_}
            for frame in stream.read(mine.__contains__) if mine else ():
                one = by_key[number_, frame.index]
                ending, data = frame.file()
                stem = frame.name
                while stem in used:  # two frames of one stamp, or images of one name
                    stem = f'{stem}-{frame.index}'
                used.add(stem)
                (made / FRAMES / f'{stem}{ending}').write_bytes(data)
                rows[one.rank] = _row(one, f'{FRAMES}/{stem}{ending}', stream, frame.stamp)
                update(len(rows), len(chosen))
                if one.rank <= SHEETS * ON_SHEET:
                    result = network.segment(frame.bgr)
                    ((_, overlay),) = products.of(frame.bgr, result, ('overlay',))
                    text = f'{one.rank}  {stem}  unsure {one.unsure:.2f}'
                    cells[one.rank] = ([thumbnail(frame.bgr), thumbnail(overlay)], text)
    with (made / TABLE).open('w', encoding='utf-8', newline='') as file:
        writer = csv.DictWriter(file, _COLUMNS, lineterminator='\n')
        writer.writeheader()
        writer.writerows(rows[rank] for rank in sorted(rows))
    write_sheets(made, 'sheet', [cells[rank] for rank in sorted(cells)])


def _row(one: _Chosen, file: str, stream: FrameStream, stamp: int | None) -> dict[str, Any]:
    """A row of the table; see _COLUMNS."""
    doubts = {f'doubt_{name}': value for name, value in vars(one.doubt).items()}
    return {
        'rank': one.rank,
        'file': file,
        'source': stream.source,
        'topic': stream.topic,
        'stamp': '' if stamp is None else f'{stamp // 10**9}.{stamp % 10**9:09d}',
        'index': one.key[1],
        'sharpness': one.look.sharpness,
        'exposure': one.look.exposure,
        'unsureness': round(one.unsure, 3),
        **{name: '' if math.isnan(value) else value for name, value in doubts.items()},
        'nearest': round(one.pick.nearest, 3),
        'why': one.why,
    }
