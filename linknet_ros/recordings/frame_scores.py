"""What is known of the frames of recordings, found out in passes that can be interrupted."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from linknet_ros.classes import UNLABELED, ClassTable
from linknet_ros.errors import ModelError, RecordingError
from linknet_ros.inference.segmenter import Segmenter
from linknet_ros.recordings.batch import bar
from linknet_ros.recordings.frame_streams import FrameStream
from linknet_ros.recordings.picking import Doubt, Look, look_at

#: Stream, from 0, and index of a frame in it.
Key = tuple[int, int]


class ScoreFile:
    """Scores by what they are of, in a file, a line of JSON each; a context manager.

    :param path: of the file; made where there is none.
    :param about: all that decides the scores, of what JSON can say.
    :raises RecordingError: when the file was begun with something else.
    """

    def __init__(self, path: Path, about: Mapping[str, Any]) -> None:
        head = hashlib.sha256(json.dumps(about, sort_keys=True).encode()).hexdigest()
        self._known: dict[tuple[Any, ...], Any] = {}
        first, *lines = path.read_text('utf-8').split('\n') if path.exists() else ['']
        if first not in ('', head):
            raise RecordingError(
                f'{path.parent} was begun with other recordings, models or options',
                'give the same ones, or delete it',
            )
        for line in lines:
            try:
                *key, value = json.loads(line)
            except ValueError:  # the last line of a run that was killed
                continue
            self._known[tuple(key)] = value
        self._file = path.open('a', encoding='utf-8')
        self._file.write('\n' if first else f'{head}\n')
        self._file.flush()

    def __enter__(self) -> ScoreFile:
        """Begin."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close the file."""
        self._file.close()

    def __contains__(self, key: tuple[Any, ...]) -> bool:
        """Whether something is known of it."""
        return key in self._known

    def put(self, key: tuple[Any, ...], value: Any) -> None:
        """Add what was found out; it survives the end of this process."""
        self._known[key] = value
        self._file.write(f'{json.dumps([*key, value])}\n')
        self._file.flush()

    def of(self, kind: str) -> dict[Key, Any]:
        """What is known of one kind, by stream and index, in their order."""
        found = {key[1:]: value for key, value in self._known.items() if key[0] == kind}
        return dict(sorted(found.items()))


def look_through(
    streams: Sequence[FrameStream], scores: ScoreFile, step: int
) -> tuple[dict[Key, Look], list[str]]:
    """Look at every n-th frame of each stream.

    :param step: n.
    :returns: the measures in the order of the frames, and why others could not be read.
    """
    total = sum(-(-stream.count // step) for stream in streams)
    done = len(scores.of('look'))
    with bar('look at frames', total or None) as update:
        for number, stream in enumerate(streams):
            if ('seen', number, 0) in scores:
                continue

            def wanted(index: int, number: int = number) -> bool:
                return index % step == 0 and ('look', number, index) not in scores

            def failed(index: int, error: Exception, number: int = number) -> None:
                scores.put(('look', number, index), str(error))

            for frame in stream.read(wanted, failed):
                look = look_at(frame.bgr)
                value = [look.small.tobytes().hex(), look.sharpness, look.exposure]
                scores.put(('look', number, frame.index), value)
                done += 1
                update(done, max(done, total))
            scores.put(('seen', number, 0), True)
    looks, bad = {}, []
    for key, value in scores.of('look').items():
        if isinstance(value, str):
            bad.append(value)
        else:
            small = np.frombuffer(bytes.fromhex(value[0]), np.uint8)
            looks[key] = Look(small, value[1], value[2])
    return looks, bad


def ask(
    streams: Sequence[FrameStream],
    scores: ScoreFile,
    keys: Collection[Key],
    networks: Sequence[Segmenter],
) -> dict[Key, Doubt]:
    """How unsure the network is of some frames.

    :param networks: the network, and perhaps a second one.
    :raises ModelError: when the two have no class in common.
    """
    to_first = [_by_name(n.model.classes, networks[0].model.classes) for n in networks]
    done = len(scores.of('doubt'))
    with bar('ask the network', len(keys)) as update:
        for number, stream in enumerate(streams):
            mine = {i for s, i in keys if s == number and ('doubt', s, i) not in scores}
            if not mine:
                continue
            for frame in stream.read(mine.__contains__):
                found = _doubt(frame.bgr, networks, to_first)
                scores.put(('doubt', number, frame.index), list(vars(found).values()))
                done += 1
                update(done, len(keys))
    asked = set(keys)
    return {key: Doubt(*value) for key, value in scores.of('doubt').items() if key in asked}


def _doubt(
    frame: NDArray[np.uint8],
    networks: Sequence[Segmenter],
    to_first: Sequence[NDArray[np.uint8]],
) -> Doubt:
    first = networks[0].segment(frame)
    mirrored = networks[0].segment(np.ascontiguousarray(frame[:, ::-1]))
    second = float('nan')
    for network, table in zip(networks[1:], to_first[1:], strict=True):
        labels = table[network.segment(frame).labels]
        known = np.isin(first.labels, np.unique(table)) & (labels != UNLABELED)
        second = float((first.labels != labels)[known].mean()) if known.any() else 0.0
    return Doubt(
        round(1 - float(first.network_confidence.mean()) / 255, 4),
        round(float((first.labels != mirrored.labels[:, ::-1]).mean()), 4),
        round(second, 4),
    )


def _by_name(classes: ClassTable, first: ClassTable) -> NDArray[np.uint8]:
    """Look-up table from ids of a model to those of the first, by name; 255 for others."""
    table = np.full(256, UNLABELED, np.uint8)
    for id_, name in enumerate(classes.names):
        if name in first.names:
            table[id_] = first.names.index(name)
    if (table == UNLABELED).all():
        raise ModelError(
            f'the second model has none of the classes {", ".join(first.names)}',
            'name one with some of them',
        )
    return table
