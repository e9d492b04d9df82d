"""Brings labels of any tool or data set into the folder that training reads:
`python -m training.import_labels SOURCE OUT`.

SOURCE is what a tool exported (a file, folder or .zip), or a data set: CVAT (images 1.1,
segmentation mask 1.1), Label Studio, COCO, Pascal VOC, Labelme, Supervisely, ADE20K, Mapillary
Vistas, CamVid with class_dict.csv, masks of 0 and 255, or any folders of frames and masks. OUT
gets frames/, labels/, classes.csv and a contact sheet. If OUT is there already, as pick_frames and
pre_label made it, its frames and classes are used, and --overwrite replaces its labels.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path, PurePosixPath
from zipfile import BadZipFile, ZipFile

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from linknet_ros.classes import UNLABELED, ClassTable
from linknet_ros.errors import ClassNameError, LinknetError, SourceError, first_line
from linknet_ros.frames.files import IMAGE_SUFFIXES, check_size, read_image
from linknet_ros.importing.class_tables import class_table, named_classes
from linknet_ros.inference.model_file import load_model
from linknet_ros.recordings.frame_streams import StreamFrame
from linknet_ros.recordings.label_folder import (
    CLASSES,
    FRAMES,
    ON_SHEET,
    SHEETS,
    Cell,
    class_file,
    count_table,
    label_cell,
    label_file,
    write_labels,
    write_sheets,
)
from linknet_ros.recordings.part_folder import PartFolder
from linknet_ros.system.signals import end_quietly, process_ends
from linknet_ros.system.temporary_folder import temporary_folder
from training.datasets.folder import SPLIT_FILES, read_class_file
from training.label_formats.detect import FORMATS, read_labels
from training.label_formats.labelled import VOID, Item, Labelled

#: What labels that say nothing are called; and CVAT's and VOC's for what nobody labelled, where
#: the classes are given and it is none of them.
_VOID_NAMES = ('void', 'unlabeled', 'unlabelled', 'ignore', 'ignored')
_BACKGROUND = 'background'


def main(arguments: list[str] | None = None) -> None:
    """Command line."""
    parser = argparse.ArgumentParser(
        prog='python -m training.import_labels',
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument('source', type=Path, metavar='SOURCE', help='file or folder')
    parser.add_argument('out', type=Path, metavar='OUT', help='folder that training reads')
    parser.add_argument('--format', choices=('auto', *FORMATS), default='auto', help='of SOURCE')
    parser.add_argument(
        '--frames', type=Path, metavar='DIR', help="of the source (default: its own, or OUT's)"
    )
    parser.add_argument(
        '--classes',
        metavar='FILE',
        help="to have: a model file, a .csv, or a name such as cityscapes (default: OUT's, or all "
        'labels of the source)',
    )
    parser.add_argument(
        '--map',
        type=_renaming,
        action='append',
        default=[],
        metavar='OLD=NEW',
        help='label of the source that becomes a class, or void; can be given several times',
    )
    parser.add_argument('--overwrite', action='store_true', help='replace labels of OUT')
    options = parser.parse_args(arguments)
    try:
        _run(options)
    except (LinknetError, OSError) as error:
        sys.exit(f'import_labels: {error}')


def _renaming(text: str) -> tuple[str, str]:
    old, equals, new = text.partition('=')
    if not (old and equals and new):
        raise argparse.ArgumentTypeError(f"invalid mapping '{text}' (expected OLD=NEW)")
    return old, new


def _run(options: argparse.Namespace) -> None:
    out: Path = options.out
    if options.source.resolve() in (out.resolve(), *out.resolve().parents):
        raise SourceError(f'{out} would lie in its own source', 'name another output')
    with ExitStack() as stack:
        if options.source.suffix.lower() == '.zip':
            options.source = _unpacked(options.source, stack)
        _import(options, out)


def _unpacked(path: Path, stack: ExitStack) -> Path:
    """A folder with the contents of an archive, which goes with the stack."""
    folder = stack.enter_context(temporary_folder())
    try:
        with ZipFile(path) as archive:
            archive.extractall(folder)
    except (BadZipFile, OSError) as error:
        raise SourceError(f'{path} cannot be unpacked ({first_line(error)})') from error
    return folder


def _import(options: argparse.Namespace, out: Path) -> None:
    found = read_labels(options.source, options.format)
    images = _images(found, options)
    names = _names(found.items)
    given = _given_classes(options)
    print(f'{options.source}: {found.title}, {len(found.items)} frames')
    used = _used(found)
    classes, table = _classes(found, used, given, dict(options.map), options.source)
    if out.exists() and any(out.iterdir()):
        present = [n for n in names if label_file(out, n).exists()]
        if present and not options.overwrite:
            raise SourceError(
                f'{out} has labels already, first {label_file(out, present[0])}',
                'add --overwrite to replace them, or name another output',
            )
        counts = _write(out, found, names, images, classes, table)
    else:
        if out.exists():
            out.rmdir()
        with PartFolder(out, overwrite=True) as part:
            made = part.fresh(out.name)
            counts = _write(made, found, names, images, classes, table)
            part.finish(made)
    for note in found.notes:
        print(f'note: {note}')
    print('\n'.join(count_table(counts, classes)))


def _names(items: Sequence[Item]) -> list[str]:
    """A name for each frame, its file's own where no two are alike.

    :raises SourceError: when a frame is labelled twice.
    """
    stems = [PurePosixPath(item.name).stem for item in items]
    if len(set(stems)) == len(stems):
        return stems
    paths = [str(item.image or item.name) for item in items]
    whole = [
        '-'.join((*PurePosixPath(path).parts[-3:-1], stem))
        for path, stem in zip(paths, stems, strict=True)
    ]
    twice = [name for name in whole if whole.count(name) > 1]
    if twice:
        raise SourceError(
            f'{twice[0]} is labelled {whole.count(twice[0])} times', 'export one of them'
        )
    return whole


def _images(found: Labelled, options: argparse.Namespace) -> list[Path]:
    """The file of each frame: the source's own, or one of its name.

    :raises SourceError: naming the first that is missing.
    """
    source = options.source if options.source.is_dir() else options.source.parent
    places = [options.frames] if options.frames else [options.out / FRAMES, source]
    by_name: dict[str, Path] = {}
    for place in reversed([place for place in places if place.is_dir()]):
        for path in sorted(place.rglob('*'), reverse=True):
            if path.suffix.lower() in IMAGE_SUFFIXES:
                by_name[path.stem] = path
    result, missing = [], []
    for item in found.items:
        stem = PurePosixPath(item.name).stem
        image = None if options.frames else item.image
        # Label Studio puts eight signs and a dash before the name of what was uploaded.
        image = image or by_name.get(stem) or by_name.get(stem[9:] if stem[8:9] == '-' else stem)
        if image is None:
            missing.append(item.name)
        else:
            result.append(image)
    if missing:
        raise SourceError(
            f'{len(missing)} of {len(found.items)} frames are not in '
            f'{", ".join(map(str, places))}, first {missing[0]}',
            'say where they are: --frames DIR',
        )
    return result


def _given_classes(options: argparse.Namespace) -> ClassTable | None:
    """The classes that the user names, or those of OUT."""
    own = options.out / CLASSES
    if own.is_file():
        classes, _ = read_class_file(own)
        if options.classes and _named(options.classes) != classes:
            raise SourceError(f'{own} has other classes than {options.classes}', 'leave one out')
        return classes
    return _named(options.classes) if options.classes else None


def _named(text: str) -> ClassTable:
    if text.endswith('.onnx'):
        return load_model(text).classes
    return class_table(text)


def _used(found: Labelled) -> NDArray[np.int64]:
    """Pixels of each label of the source, in the order of its labels."""
    counts = np.zeros(1 << 16, np.int64)
    for item in tqdm(found.items, desc='read labels', disable=None):
        labels = item.read()
        counts += np.bincount((labels[labels != VOID]).ravel(), minlength=len(counts))
    return counts[: len(found.labels)]


def _classes(
    found: Labelled,
    used: NDArray[np.int64],
    given: ClassTable | None,
    renamed: dict[str, str],
    source: Path,
) -> tuple[ClassTable, NDArray[np.uint8]]:
    """Classes, and the id of each label of the source.

    :raises SourceError: naming labels that are not classes.
    """
    strange = [old for old in renamed if old not in found.labels]
    if strange:
        raise SourceError(
            f'--map names {", ".join(strange)}, which {source} does not have',
            f'its labels: {", ".join(found.labels)}',
        )
    names = [renamed.get(label, label) for label in found.labels]
    if given is not None and any(_is_id(name, given) for name in names):
        names = [given.names[int(n)] if _is_id(n, given) else n for n in names]
        found.notes.append('ids were taken for those of the classes, in their order')
    void = {*_VOID_NAMES, *([_BACKGROUND] if given or found.title.startswith('CVAT') else [])}
    if given is None:
        kept = list(dict.fromkeys(n for n in names if n.lower() not in void))
        numbers = [name for name in kept if name.isdigit()]
        if numbers:
            raise SourceError(
                f'nothing in {source} names its ids {", ".join(numbers)}',
                'put a classes.txt with a name a line there, or add '
                f'--map {numbers[0]}=road, or --map {numbers[0]}=void',
            )
        colors = {
            new: found.colors.get(new, found.colors.get(old))
            for old, new in reversed(list(zip(found.labels, names, strict=True)))
        }
        given = named_classes(kept, [colors.get(name) for name in kept])
    elif any(new not in given.names and new != 'void' for new in renamed.values()):
        wrong = [new for new in renamed.values() if new not in given.names and new != 'void']
        raise ClassNameError(
            f'unknown class {", ".join(map(repr, wrong))} in --map',
            f'the classes: {", ".join(given.names)}, void',
        )
    table = np.full(len(names) + 1, UNLABELED, np.uint8)
    unknown = []
    for index, name in enumerate(names):
        if name in given.names:
            table[index] = given.names.index(name)
        elif name.lower() not in void and used[index]:
            unknown.append(name)
    if unknown:
        raise SourceError(
            f'{source} has labels that are not classes: {", ".join(unknown)}',
            f'say what each means: --map {unknown[0]}={given.names[0]}, or '
            f'--map {unknown[0]}=void',
        )
    return given, table


def _is_id(name: str, classes: ClassTable) -> bool:
    """Whether a label is a bare id, which nothing names."""
    return name.isdigit() and int(name) < len(classes) and name not in classes.names


def _write(
    out: Path,
    found: Labelled,
    names: Sequence[str],
    images: Sequence[Path],
    classes: ClassTable,
    table: NDArray[np.uint8],
) -> NDArray[np.int64]:
    """Write everything; pixels of each id, (256,)."""
    (out / FRAMES).mkdir(parents=True, exist_ok=True)
    there = {path.stem for path in (out / FRAMES).iterdir()}
    counts = np.zeros(UNLABELED + 1, np.int64)
    cells: list[Cell] = []
    splits: dict[str, list[str]] = {split: [] for split in SPLIT_FILES}
    empty = 0
    for item, name, image in zip(
        tqdm(found.items, desc='write', disable=None), names, images, strict=True
    ):
        # The last entry of the table is that of VOID, -1.
        ids = table[item.read()]
        frame = read_image(image)
        check_size(item.source, ids, image, frame.shape)
        if (ids == UNLABELED).all():
            empty += 1
            continue
        # As OUT calls it, if it has the frame.
        name = image.stem if image.parent == out / FRAMES else name
        if name not in there:
            ending, data = StreamFrame(0, name, None, frame, image.read_bytes()).file()
            (out / FRAMES / f'{name}{ending}').write_bytes(data)
        write_labels(out, name, ids, classes)
        if item.split in splits:
            splits[item.split].append(name)
        counts += np.bincount(ids.ravel(), minlength=len(counts))
        if len(cells) < SHEETS * ON_SHEET:
            void = (ids == UNLABELED).mean()
            cells.append(label_cell(frame, ids, classes, f'{name}  void {void:.0%}'))
    if not cells:
        raise SourceError('not one frame has a label', 'is it what you exported?')
    if empty:
        found.notes.append(f'{empty} frames have no label and are left out')
    (out / CLASSES).write_text(class_file(classes), 'utf-8')
    for split, listed in splits.items():
        if listed:
            (out / SPLIT_FILES[split]).write_text(''.join(f'{n}\n' for n in sorted(listed)))
    write_sheets(out, 'labels', cells)
    return counts


if __name__ == '__main__':
    end_quietly(endless=False)
    main()
    process_ends()
