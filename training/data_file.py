"""Several data sets for one network, from a file: what to train on, what to measure on.

The file (YAML) names the network's classes and, for every source, where its frames and labels
are and what each id in the labels means: a class, one of several classes, or not a class.
docs/train.md has an example and every key.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from numpy.typing import NDArray

from linknet_ros.classes import CAMVID, CITYSCAPES, UNLABELED, ClassTable
from linknet_ros.errors import LinknetError, SourceError
from linknet_ros.frames.files import read_image
from linknet_ros.inference.teacher import allowed_names
from linknet_ros.metrics import ConfusionMatrix
from training.datasets import DATASETS, Dataset, open_dataset, select
from training.datasets.cache import CachedFrames
from training.datasets.dataset import annotation_ids
from training.datasets.frame_pairs import (
    FramePairs,
    annotations_by_name,
    check_id_image,
    files_by_name,
    pair_up,
)
from training.label_sets import LabelSets
from training.samples import Pair, Source
from training.street_frames import StreetFrames

_TABLES = {'camvid': CAMVID, 'cityscapes': CITYSCAPES}

_FILE_KEYS = {'classes', 'train', 'val'}
_SOURCE_KEYS = {
    'dataset',
    'root',
    'split',
    'frames',
    'labels',
    'taught',
    'ids',
    'street',
    'slice',
    'size',
    'void_below',
    'per_epoch',
    'scale',
    'score',
    'network_size',
}

#: Bytes of pairs that each source holds in memory.
_MEMORY = 320 * 1024**2


@dataclass(frozen=True)
class Score:
    """What one source is measured by: its own labels, each with the classes that count as it.

    :param names: of the labels, in the order of the figures.
    :param truth: look-up table (256,) uint8 from id in the source's files to label, 255 is void.
    :param predicted: look-up table (256,) uint8 from the network's class to label.
    """

    names: tuple[str, ...]
    truth: NDArray[np.uint8]
    predicted: NDArray[np.uint8]

    def matrix(self) -> ConfusionMatrix:
        """An empty one over these labels."""
        return ConfusionMatrix(len(self.names))

    def add(
        self, matrix: ConfusionMatrix, truth: NDArray[np.uint8], predicted: NDArray[np.uint8]
    ) -> None:
        """Count one frame: ids as the source's files have them, and the network's classes."""
        matrix.add(self.truth[truth], self.predicted[predicted])


@dataclass(frozen=True)
class Measured:
    """A source to measure on.

    :param dataset: a key of DATASETS, '' for folders.
    :param frames: with the ids of the source's files.
    :param network_size: (width, height) that frames are scaled to for the network; None for their
        own. Labels are compared at the frames' own.
    """

    name: str
    dataset: str
    frames: Dataset
    score: Score
    network_size: tuple[int, int] | None = None


@dataclass(frozen=True)
class DataFile:
    """What a data set file says, opened.

    :param text: of the file, kept in the checkpoints.
    :param sets: what the labels of the training sources stand for.
    :param measured: the first one decides which weights are the best.
    """

    text: str
    sets: LabelSets
    train: tuple[Source, ...]
    measured: tuple[Measured, ...]

    @property
    def classes(self) -> ClassTable:
        """The network's."""
        return self.sets.classes


class MaskFolder(FramePairs):
    """Frames in one folder, label images of the same names in another.

    :param root: for messages and as title.
    :param void_below: pixels whose channels are all darker than this are void.
    :param part: frames without labels are left out.
    """

    def __init__(
        self,
        name: str,
        split: str,
        frames: Path,
        labels: Path,
        classes: ClassTable,
        void_below: int = 0,
        part: bool = False,
    ) -> None:
        self.title = name
        self.label_set = 'ids of its files'
        self.classes = classes
        self._void_below = void_below
        for folder in (frames, labels):
            if not folder.is_dir():
                raise SourceError(f'source {name}: no folder {folder}')
        found = files_by_name(frames)
        if not found:
            raise SourceError(f'source {name}: no image in {frames}')
        labelled = annotations_by_name(labels)
        if part and labelled:
            found = {name: found[name] for name in labelled.keys() & found.keys()}
        super().__init__(split, pair_up(found, labelled, f'source {name} is incomplete'))

    def _labels(self, path: Path, annotation: NDArray[np.generic]) -> NDArray[np.uint8]:
        check_id_image(path, annotation, np.uint8, 'labels are ids')
        return annotation.astype(np.uint8)

    def __getitem__(self, index: int) -> Pair:
        """Frame and labels; what is too dark is void."""
        frame, labels = super().__getitem__(index)
        if self._void_below:
            labels = labels.copy()
            labels[frame.max(axis=2) < self._void_below] = UNLABELED
        return frame, labels


class UnlabelledFrames:
    """Frames of a folder, all of them void.

    :param name: of the source.
    """

    split = 'train'
    label_set = 'none'

    def __init__(self, name: str, folder: Path, classes: ClassTable) -> None:
        self.title = name
        self.classes = classes
        if not folder.is_dir():
            raise SourceError(f'source {name}: no folder {folder}')
        found = files_by_name(folder)
        if not found:
            raise SourceError(f'source {name}: no image in {folder}')
        self.names = sorted(found)
        self._paths = [found[name] for name in self.names]

    def __len__(self) -> int:
        return len(self._paths)

    def files(self, index: int) -> tuple[Path, ...]:
        """The frame's."""
        return (self._paths[index],)

    def __getitem__(self, index: int) -> Pair:
        """Frame (H, W, 3) uint8 BGR and labels (H, W) uint8, all 255."""
        frame = read_image(self._paths[index])
        return frame, np.full(frame.shape[:2], UNLABELED, np.uint8)


class _Relabelled:
    """A source with the ids of its files replaced by those of the label sets.

    :param table: (256,) int16, -1 for an id that has no meaning.
    """

    def __init__(
        self, name: str, frames: Dataset | StreetFrames, table: NDArray[np.int16]
    ) -> None:
        self._name = name
        self._frames = frames
        self._table = table

    def __len__(self) -> int:
        return len(self._frames)

    def annotation_ids(self, index: int) -> list[int]:
        """Values in the annotation's file."""
        return annotation_ids(self._frames, index)

    def __getitem__(self, index: int) -> Pair:
        frame, ids = self._frames[index]
        labels = self._table[ids]
        if labels.min() < 0:
            id_ = int(ids[labels < 0][0])
            raise SourceError(
                f'source {self._name} has labels with the id {id_}, which its ids do not explain',
                f'add "{id_}: void" if it means nothing',
            )
        return frame, labels.astype(np.uint8)


def read_yaml(path: Path, keys: Iterable[str]) -> dict[str, Any]:
    """A mapping with no other keys than these.

    :raises SourceError: when the file is missing, no YAML, or has others.
    """
    try:
        said = yaml.safe_load(path.read_text())
    except OSError as error:
        raise SourceError(f'cannot read {path}: {error.strerror}') from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        reason = ' '.join(str(error).split())
        raise SourceError(f'{path} is not YAML: {reason}') from error
    return _mapping(said, keys, str(path))


def open_data_file(path: Path, root: Path | None = None, cache: Path | None = None) -> DataFile:
    """Open every source of a data set file.

    :param path: data set file (YAML).
    :param root: folder that its paths are relative to; the file's own if None.
    :param cache: folder that keeps resized frames.
    :raises LinknetError: naming the source and key that are wrong.
    """
    said = read_yaml(path, _FILE_KEYS)
    classes = _class_table(said.get('classes'), path)
    sets = LabelSets(classes)
    reader = _Reader(path, root or path.parent, cache, sets)
    train = tuple(
        reader.training(name, value) for name, value in _sources(said, 'train', path).items()
    )
    measured = _measured(reader, said, path)
    return DataFile(path.read_text(), sets, train, measured)


def training_sources(
    path: Path, root: Path | None, sets: LabelSets, cache: Path | None = None
) -> tuple[Source, ...]:
    """What a data set file trains on.

    :param sets: get what its labels stand for.
    :raises LinknetError: see open_data_file; also when its classes are not those of `sets`.
    """
    said = read_yaml(path, _FILE_KEYS)
    if _class_table(said.get('classes'), path).names != sets.classes.names:
        raise SourceError(
            f'{path} has the classes {said["classes"]}, not {", ".join(sets.classes.names)}'
        )
    reader = _Reader(path, root or path.parent, cache, sets)
    sources = _sources(said, 'train', path).items()
    return refuse_unlabelled(path, [reader.training(name, value) for name, value in sources])


def refuse_unlabelled(path: Path, sources: Iterable[Source]) -> tuple[Source, ...]:
    """The sources.

    :param path: of the file that they are from.
    :raises SourceError: when one of them has no labels.
    """
    result = tuple(sources)
    for source in result:
        if not source.counted:
            raise SourceError(
                f'{path}: source {source.name}: labels is missing',
                'only training.train with a --teacher learns from frames alone',
            )
    return result


def labelled_frames(
    name: str, frames: Path, labels: Path, sets: LabelSets, size: tuple[int, int] | None
) -> Source:
    """The frames of a folder that have labels, ids of the network's classes, in another."""
    found = MaskFolder(name, 'train', frames, labels, sets.classes, part=True)
    table = np.full(256, -1, np.int16)
    table[: len(sets.classes)] = np.arange(len(sets.classes))
    table[UNLABELED] = UNLABELED
    return Source(name, _Relabelled(name, CachedFrames(found, None, size, _MEMORY), table))


def is_data_file(path: Path) -> bool:
    """Whether --data is a data set file, not a folder."""
    return path.suffix in ('.yaml', '.yml')


def measured_sources(
    path: Path,
    root: Path | None = None,
    dataset: str = 'camvid',
    size: tuple[int, int] | None = None,
) -> tuple[Measured, ...]:
    """What to measure on: the val sources of a data set file, or the val split of a folder.

    :param path: data set file or folder.
    :param root: of the file's paths, see open_data_file.
    :param dataset: of the folder, a key of DATASETS.
    :param size: (width, height) that the network gets the folder's frames in.
    :raises LinknetError: see open_data_file.
    """
    if is_data_file(path):
        said = read_yaml(path, _FILE_KEYS)
        classes = _class_table(said.get('classes'), path)
        reader = _Reader(path, root or path.parent, None, LabelSets(classes))
        return _measured(reader, said, path)
    frames = open_dataset(dataset, path, 'val')
    return (Measured(frames.title, dataset, frames, _plain_score(frames.classes), size),)


def _measured(reader: _Reader, said: dict[str, Any], path: Path) -> tuple[Measured, ...]:
    measured = tuple(
        reader.measured(name, value) for name, value in _sources(said, 'val', path).items()
    )
    first = measured[0]
    if first.score.names != first.frames.classes.names:
        raise SourceError(
            f'{path}: the first source of val, {first.name}, decides which weights are the best '
            'and must have the classes themselves as labels'
        )
    return measured


def _plain_score(classes: ClassTable) -> Score:
    """Of labels that are the classes themselves."""
    same = np.full(256, UNLABELED, np.uint8)
    same[: len(classes)] = np.arange(len(classes))
    return Score(classes.names, same, same)


class _Reader:
    def __init__(self, path: Path, root: Path, cache: Path | None, sets: LabelSets) -> None:
        self._path, self._root, self._cache, self._sets = path, root, cache, sets

    def training(self, name: str, said: Any) -> Source:
        said = self._checked(name, said, 'train')
        frames: Dataset | StreetFrames
        if 'street' in said:
            frames = StreetFrames(int(said['street']))
        else:
            frames = self._frames(name, said, 'train')
        table = self._table(name, said)
        scale = said.get('scale')
        return Source(
            name,
            _Relabelled(name, frames, table),
            int(said.get('per_epoch', len(frames))),
            None if scale is None else (float(scale[0]), float(scale[1])),
            counted='labels' in said or 'frames' not in said,
            taught=bool(said.get('taught', 'street' not in said)),
        )

    def measured(self, name: str, said: Any) -> Measured:
        said = self._checked(name, said, 'val')
        frames = self._frames(name, said, 'val')
        size = said.get('network_size')
        return Measured(
            name,
            said.get('dataset', ''),
            frames,
            self._score(name, said),
            None if size is None else (int(size[0]), int(size[1])),
        )

    def _checked(self, name: str, said: Any, part: str) -> Mapping[str, Any]:
        return _mapping(said, _SOURCE_KEYS, f'{self._path}: {part}: {name}')

    def _frames(self, name: str, said: Mapping[str, Any], part: str) -> Dataset:
        frames: Dataset
        if 'dataset' in said:
            if said['dataset'] not in DATASETS:
                raise self._wrong(name, f'dataset {said["dataset"]!r} is unknown', DATASETS)
            frames = DATASETS[said['dataset']](
                self._root / said.get('root', '.'), said.get('split', part)
            )
        else:
            needed = ('frames', 'labels') if part == 'val' else ('frames',)
            missing = [key for key in needed if key not in said]
            if missing:
                raise self._wrong(name, f'{", ".join(missing)} is missing')
            if 'labels' not in said:
                frames = self._unlabelled(name, said)
                return self._cached(frames, said)
            frames = MaskFolder(
                name,
                part,
                self._root / said['frames'],
                self._root / said['labels'],
                self._sets.classes,
                int(said.get('void_below', 0)),
            )
        return self._cached(frames, said)

    def _unlabelled(self, name: str, said: Mapping[str, Any]) -> Dataset:
        lost = [key for key in ('ids', 'void_below', 'score') if key in said]
        if lost:
            raise self._wrong(name, f'has {", ".join(lost)}, and no labels')
        return UnlabelledFrames(name, self._root / said['frames'], self._sets.classes)

    def _cached(self, frames: Dataset, said: Mapping[str, Any]) -> CachedFrames:
        if 'slice' in said:
            frames = select(frames, range(len(frames))[slice(*said['slice'])])
        size = said.get('size')
        size = None if size is None else (int(size[0]), int(size[1]))
        return CachedFrames(frames, self._cache, size, _MEMORY)

    def _table(self, name: str, said: Mapping[str, Any]) -> NDArray[np.int16]:
        """From ids in the files to ids of the label sets."""
        table = np.full(256, -1, np.int16)
        table[UNLABELED] = UNLABELED
        classes = self._sets.classes
        if 'ids' not in said:
            table[: len(classes)] = np.arange(len(classes))
            return table
        for id_, meaning in said['ids'].items():
            try:
                table[id_] = self._sets.id_of(allowed_names(meaning, self._sets.classes))
            except (LinknetError, TypeError, IndexError) as error:
                raise self._wrong(name, f'id {id_}: {error}') from error
        return table

    def _score(self, name: str, said: Mapping[str, Any]) -> Score:
        classes = self._sets.classes
        truth = np.full(256, UNLABELED, np.uint8)
        predicted = np.full(256, UNLABELED, np.uint8)
        if 'score' not in said:
            if 'ids' in said:
                raise self._wrong(name, 'has ids of its own and no score, which names its labels')
            return _plain_score(classes)
        for label, (what, value) in enumerate(said['score'].items()):
            value = _mapping(value, {'ids', 'classes'}, f'{self._path}: {name}: score: {what}')
            truth[list(value['ids'])] = label
            chosen = list(classes.ids(value['classes']))
            if (predicted[chosen] != UNLABELED).any():
                raise self._wrong(name, f'score: a class of {what} counts as two labels')
            predicted[chosen] = label
        return Score(tuple(said['score']), truth, predicted)

    def _wrong(self, name: str, what: str, choices: Iterable[str] = ()) -> SourceError:
        known = f'use one of {", ".join(choices)}' if choices else ''
        return SourceError(f'{self._path}: source {name}: {what}', known)


def _mapping(said: Any, keys: Iterable[str], where: str) -> dict[str, Any]:
    if not isinstance(said, dict):
        raise SourceError(f'{where} must be a mapping with the keys {", ".join(sorted(keys))}')
    unknown = [str(key) for key in said if key not in set(keys)]
    if unknown:
        raise SourceError(
            f'{where} has the unknown key {", ".join(unknown)}',
            f'use {", ".join(sorted(keys))}',
        )
    return said


def _sources(said: dict[str, Any], part: str, path: Path) -> dict[str, Any]:
    sources = said.get(part)
    if not isinstance(sources, dict) or not sources:
        raise SourceError(f'{path}: {part} must name at least one source')
    return sources


def _class_table(said: Any, path: Path) -> ClassTable:
    if said not in _TABLES:
        raise SourceError(f'{path}: classes {said!r} is unknown', f'use {", ".join(_TABLES)}')
    return _TABLES[said]
