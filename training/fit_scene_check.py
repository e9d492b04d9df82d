"""Tell a model file what its frames look like: `python -m training.fit_scene_check MODEL`.

The node's scene check compares frames with what is usual of good ones. This finds which class the
network sees where, and how sure it is, on frames without labels and on made-up faults of them, and
writes it into the metadata of the file and of its int8 twin; the graphs stay. With --measure it
says what is found of the faults of other frames.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import re
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from linknet_ros.errors import LinknetError, SourceError
from linknet_ros.frames.files import read_image
from linknet_ros.frames.video import Video
from linknet_ros.inference.backend import BACKENDS, PRECISIONS
from linknet_ros.inference.int8_twin import int8_twin
from linknet_ros.inference.model_file import ModelFile, load_model
from linknet_ros.inference.onnx_graph import parse_onnx, set_metadata
from linknet_ros.inference.scene_check import Look, SceneCheck, look_at, sampled
from linknet_ros.inference.scene_model import PARTS, PICTURE_LIMITS, SceneModel
from linknet_ros.inference.segmenter import Inferred, Segmenter
from linknet_ros.recordings.files import images_or_video
from linknet_ros.simulation.street import StreetDrive
from linknet_ros.system.arguments import count
from training.camera_faults import AS_IT_IS, FAULTS, HARMLESS

#: Rows and columns of the layout.
_CELLS = (6, 8)

#: A class that was never seen in a cell still has this share of it.
_NEVER = 0.01

#: Frames are made no larger than this, as the faults are made pixel by pixel [pixels].
_WIDTH = 480

#: Made-up faults that are left to the network's scores; the others show in the picture alone.
_OF_THE_SCENE = (
    *('covered to 70 %', 'overexposed', 'noise', 'grain', 'something from near'),
    *('upside down', 'turned left', 'turned right'),
)

#: First seed of the street where it is measured: frames that were not fitted.
_OTHER_STREETS = 5000

#: Every how many frames changes are made.
_EVERY = 8

NO_STREET = 'pictures of no street'

#: Share of good frames that may be alarms in the table.
_FALSE_ALARMS = 0.01


@dataclass(frozen=True)
class Seen:
    """What a network says of one frame, and what the frame is.

    :param source: where it is from.
    :param change: a key of HARMLESS or FAULTS.
    """

    source: str
    change: str
    look: Look
    inferred: Inferred

    @property
    def good(self) -> bool:
        """Whether it must not be an alarm."""
        return self.change in HARMLESS


def frames_of(text: str, most: int, seed: int = 0) -> list[NDArray[np.uint8]]:
    """At most so many frames of a source, evenly spread, (H, W, 3) uint8 BGR, at most _WIDTH wide.

    :param text: 'street' for the procedural one, or a folder of images or a pattern in quotes;
        with [200:260] behind it only those of its images, by name.
    :param seed: first one of the street.
    """
    if text == 'street':
        seeds = range(seed, seed + most)
        return [StreetDrive(number).frame(3.0 + 7 * (number % 5)).bgr for number in seeds]
    part = re.fullmatch(r'(.+)\[(\d*):(\d*)\]', text)
    found = images_or_video(part[1] if part else text)
    if isinstance(found, Video):
        raise SourceError(f'{text} is a video', 'give its frames as images')
    if part:
        begin, end = (int(number) if number else None for number in part.groups()[1:])
        found = found[begin:end]
        if not found:
            raise SourceError(f'no image is left of {text}')
    places = np.linspace(0, len(found) - 1, min(most, len(found))).astype(int)
    frames = []
    for path in (found[place] for place in places):
        frame = read_image(path)
        height, width = frame.shape[:2]
        if width > _WIDTH:
            size = (_WIDTH, round(height * _WIDTH / width))
            frame = np.asarray(cv2.resize(frame, size, interpolation=cv2.INTER_AREA), np.uint8)
        frames.append(frame)
    return frames


def see(
    segmenter: Segmenter,
    sources: Sequence[str],
    most: int,
    changes: bool = True,
    seed: int = 0,
) -> Iterator[Seen]:
    """Run the network on frames, and on harmless changes and made-up faults of some of them.

    :param most: frames of each source.
    :param changes: without these, the frames are of no streets.
    :param seed: see frames_of.
    """
    rng = np.random.default_rng(0)
    for text in sources:
        frames = frames_of(text, most, seed)
        name = Path(text).name if not Path(text).suffix else Path(text).parent.name
        source = f'{Path(text).resolve().parent.name}/{name}' if text != 'street' else text
        for number, frame in enumerate(tqdm(frames, desc=source, leave=False, disable=None)):
            for change, make in (HARMLESS | FAULTS).items():
                if change != AS_IT_IS and (number % _EVERY or not changes):
                    continue
                fitted = segmenter.fit(make(frame, rng))
                title = change if changes else NO_STREET
                yield Seen(source, title, look_at(fitted), segmenter.infer(fitted))


def fit(seen: Sequence[Seen], classes: int) -> SceneModel:
    """What is usual of the good ones among these, and tells them from the faults.

    Each source counts the same, however many frames it has.
    """
    layout = _layout([one for one in seen if one.good], classes)
    check = SceneCheck(SceneModel({}, (0.0,) * len(PARTS), layout))
    used = [one for one in seen if one.good or one.change in _OF_THE_SCENE]
    figures = [check.measures(one.look, one.inferred) for one in used]
    parts = np.array([[figure[part] for part in PARTS] for figure in figures])
    good = np.array([one.good for one in used])
    weights = _logistic(parts, good, _shares([(one.source, one.good) for one in used]))
    street = parts @ weights
    limit = _limit(street[good])
    return SceneModel(
        {**PICTURE_LIMITS, 'street': round(limit, 3)},
        tuple(round(float(weight), 3) for weight in weights),
        layout,
    )


def _layout(seen: Sequence[Seen], classes: int) -> tuple[tuple[tuple[int, ...], ...], ...]:
    """See SceneModel; symmetric, as traffic drives on either side."""
    rows, columns = _CELLS
    shares = np.zeros((*_CELLS, classes))
    for weight, one in zip(_shares([s.source for s in seen]), seen, strict=True):
        labels = sampled(one.inferred.labels)
        height, width = labels.shape
        each = (labels[..., None] == np.arange(classes)).reshape(
            rows, height // rows, columns, width // columns, classes
        )
        found = each.mean((1, 3))
        shares += weight * (found + found[:, ::-1]) / 2
    shares /= shares.sum(-1, keepdims=True)
    shares = (shares + _NEVER / classes) / (1 + _NEVER)
    costs = np.rint(-100 * np.log(shares)).astype(int).tolist()
    return tuple(tuple(tuple(cell) for cell in row) for row in costs)


def _shares(groups: Sequence[object]) -> NDArray[np.float64]:
    """Weights by which each group counts the same; their mean is 1."""
    names = sorted(set(groups), key=str)
    index = np.array([names.index(group) for group in groups])
    weights = 1 / np.bincount(index)[index]
    return np.asarray(weights / weights.mean(), np.float64)


def _logistic(
    parts: NDArray[np.float64], good: NDArray[np.bool_], weights: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Weights of a logistic regression, by Newton's method; a little drawn towards 0."""
    scale = parts.std(0) + 1e-9
    inputs = np.c_[(parts - parts.mean(0)) / scale, np.ones(len(parts))]
    found = np.zeros(inputs.shape[1])
    for _ in range(50):
        share = 1 / (1 + np.exp(-inputs @ found))
        slope = inputs.T @ (weights * (share - good)) + 0.01 * found
        bend = (inputs * (weights * share * (1 - share))[:, None]).T @ inputs
        found -= np.linalg.solve(bend + 0.01 * np.eye(len(found)), slope)
    return np.asarray(found[:-1] / scale, np.float64)


def _limit(street: NDArray[np.float64]) -> float:
    """Below all but one in 500 good frames."""
    return float(np.quantile(street, 0.002))


def write(model: ModelFile, scene: SceneModel) -> list[Path]:
    """Write it into a model file and its int8 twin; the files that were written."""
    twin = int8_twin(model)
    data = _with(model, scene)
    written = [(model.path, data)]
    if twin is not None:
        # A twin knows the file it was made from by its hash.
        new = hashlib.sha256(data).hexdigest()
        known = {'quantized_from': new} if twin.quantized_from else {}
        written.append((twin.path, _with(twin, scene, **known)))
    for path, content in written:
        temporary = path.with_suffix('.part.onnx')
        temporary.write_bytes(content)
        os.replace(temporary, path)
    return [path for path, _ in written]


def _with(model: ModelFile, scene: SceneModel, **entries: str) -> bytes:
    proto = parse_onnx(model.path, model.data)
    set_metadata(proto, scene_check=scene.text(), **entries)
    data: bytes = proto.SerializeToString()
    return data


def table(seen: Sequence[Seen], scene: SceneModel, drivable: Sequence[int]) -> str:
    """What becomes of good frames and of faults, as Markdown, in % of the frames."""
    exact = SceneCheck(scene)
    streets = [exact.measures(one.look, one.inferred).get('street', 0.0) for one in seen]
    plain = SceneCheck(replace(scene, limits=PICTURE_LIMITS))
    faults = np.array([bool(exact.fault(one.look, one.inferred)) for one in seen])
    looser = np.array([bool(plain.fault(one.look, one.inferred)) for one in seen])
    clean = np.array([one.change == AS_IT_IS for one in seen])
    street = np.array(streets)
    looser |= street < np.quantile(street[clean], _FALSE_ALARMS)
    road = np.array([_sure_road(one.inferred, drivable) for one in seen])

    def row(title: str, chosen: NDArray[np.bool_]) -> str:
        left = road & ~faults
        shares = [100 * float(values[chosen].mean()) for values in (faults, looser, road, left)]
        return f'| {title} | {chosen.sum()} | ' + ' | '.join(f'{s:.1f}' for s in shares) + ' |'

    lines = [
        '| | frames | alarms | alarms at 1 % false ones | much sure road | left of that |',
        '|---|---|---|---|---|---|',
    ]
    for source in dict.fromkeys(one.source for one in seen if one.good):
        lines.append(row(source, clean & np.array([one.source == source for one in seen])))
    for change in dict.fromkeys(one.change for one in seen):
        lines.append(row(change, np.array([one.change == change for one in seen])))
    return '\n'.join(lines)


def _sure_road(inferred: Inferred, drivable: Sequence[int]) -> bool:
    """Whether more than a twentieth of the frame is drivable with a confidence of 0.9 or more."""
    sure = np.isin(inferred.labels, drivable) & (inferred.confidence >= 230)
    return bool(sure.mean() > 0.05)


def main(arguments: list[str] | None = None) -> None:
    """Command line."""
    parser = argparse.ArgumentParser(
        prog='python -m training.fit_scene_check', description=__doc__.partition(':')[0]
    )
    parser.add_argument('model', type=Path, help='model file; its int8 twin is changed as well')
    what = 'folders of images, a part of one as folder[200:260], patterns in quotes, or street'
    parser.add_argument('--fit', nargs='+', default=[], metavar='FRAMES', help=what)
    parser.add_argument('--measure', nargs='+', default=[], metavar='FRAMES', help='other ones')
    parser.add_argument('--no-street', nargs='+', default=[], metavar='FRAMES', help='measured')
    parser.add_argument('--count', type=count, default=80, help='frames of each (default: 80)')
    parser.add_argument('--backend', default='auto', choices=('auto', *BACKENDS))
    parser.add_argument('--precision', default='auto', choices=PRECISIONS)
    options = parser.parse_args(arguments)
    try:
        model = load_model(options.model)
        segmenter = Segmenter(model, backend=options.backend, precision=options.precision)
        scene = model.scene
        if options.fit:
            scene = fit(list(see(segmenter, options.fit, options.count)), len(model.classes))
            for path in write(model, scene):
                print(f'{path}: limits {dict(scene.limits)}, weights {scene.weights}')
        if options.measure:
            drivable = model.classes.ids(model.classes.drivable_names)
            seen = list(see(segmenter, options.measure, options.count, seed=_OTHER_STREETS))
            seen += see(segmenter, options.no_street, options.count, changes=False)
            print(table(seen, scene, drivable))
            print(f'\n{model.name}, {segmenter.backend} {segmenter.precision}')
    except (LinknetError, OSError) as error:
        sys.exit(f'error: {error}')


if __name__ == '__main__':
    main()
