"""Formats of mask images: VOC and CVAT's, ADE20K, Mapillary, CamVid, and folders of any names."""

from __future__ import annotations

import csv
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from linknet_ros.classes import UNLABELED
from linknet_ros.errors import LinknetError, SourceError
from linknet_ros.frames.files import IMAGE_SUFFIXES, read_ids, read_image, read_palette
from linknet_ros.importing.class_tables import class_table
from training.datasets.cityscapes import LABELS as CITYSCAPES_LABELS
from training.datasets.folder import CLASS_FILE, read_class_file
from training.label_formats.labelled import VOID, Color, Item, Labelled, damaged, split_of
from training.label_formats.shapes import read_json

#: Pascal VOC: names by the index of the palette; 255 is void.
VOC = (
    *('background', 'aeroplane', 'bicycle', 'bird', 'boat', 'bottle', 'bus', 'car', 'cat'),
    *('chair', 'cow', 'diningtable', 'dog', 'horse', 'motorbike', 'person', 'pottedplant'),
    *('sheep', 'sofa', 'train', 'tvmonitor'),
)

#: Files that name classes in a folder of masks, with colours or one name a line.
COLOR_FILES = ('class_dict.csv', 'labelmap.txt', 'label_colors.txt')
NAME_FILES = ('classes.txt', 'labels.txt', 'class_names.txt', 'names.txt')

#: What folders of frames, and of masks, are called, alone or before or behind a split.
_FRAMES = re.compile(
    r'(images?|imgs?|frames?|rgb|raw|pictures?|photos?|inputs?|x|jpegimages|leftimg8bit(_trainvaltest)?|'
    r'data)',
    re.IGNORECASE,
)
_MASKS = re.compile(
    r'(.*?)[ _-]*(labels?|masks?|annots?|annotations?|gt|gtfine(_trainvaltest)?|ground_?truths?|'
    r'segmentations?|segmentationclass|semantic|label_?images?|indexed_?masks?|targets?|y)',
    re.IGNORECASE,
)

#: What names of masks have behind those of their frames, and names of frames for themselves.
_MASK_ENDING = re.compile(
    r'[ _-](l|labels?|masks?|gt|seg|segmentation|annot|annotation|labelids|gtfine_labelids)$',
    re.IGNORECASE,
)
#: The same labels again, in colours, by train id, or by instance.
_OTHER_ENDING = re.compile(
    r'([ _-]gtfine)?[ _-](colou?r(_mask)?|instance_?ids|label_?train_?ids|instances?)$',
    re.IGNORECASE,
)
#: What names of both may begin with.
_BEGINNING = re.compile(r'^(images?|imgs?|frames?|masks?|labels?|gt)[ _-]', re.IGNORECASE)
_FRAME_ENDING = re.compile(r'[ _-](leftimg8bit|image|img|rgb|frame|sat)$', re.IGNORECASE)


def _files(folder: Path, pattern: str = '*') -> list[Path]:
    """Image files, sorted, hidden ones left out."""
    return sorted(
        path
        for path in folder.glob(pattern)
        if path.suffix.lower() in IMAGE_SUFFIXES and not path.name.startswith('.')
    )


def _image_of(folder: Path, stem: str) -> Path | None:
    for suffix in IMAGE_SUFFIXES:
        for path in (folder / f'{stem}{suffix}', folder / f'{stem}{suffix.upper()}'):
            if path.is_file():
                return path
    return None


def _ids(path: Path) -> NDArray[np.int32]:
    """Ids (H, W) int32.

    :raises SourceError: for colours.
    """
    ids = read_ids(path)
    if ids.ndim != 2:
        raise SourceError(
            f'{path} has colours, and nothing says which label each is',
            f'put a class_dict.csv (name,r,g,b) beside the folders of {path.parent.name}',
        )
    return ids.astype(np.int32)


def _by_table(path: Path, table: Mapping[int, int]) -> NDArray[np.int32]:
    """Labels of a mask of ids.

    :param table: index of a label, or VOID, by id.
    :raises SourceError: for an id that is not in it.
    """
    ids = _ids(path)
    values, places = np.unique(ids, return_inverse=True)
    unknown = [int(value) for value in values if int(value) not in table]
    if unknown:
        instances = ', as instance ids do' if max(unknown) > UNLABELED else ''
        raise SourceError(
            f'{path} has the ids {_some(unknown)}, which nothing names{instances}',
            'give masks of class ids' if instances else 'add them to the table of classes',
        )
    labels = np.array([table[int(value)] for value in values], np.int32)
    result: NDArray[np.int32] = labels[places.reshape(ids.shape)]
    return result


def _by_color(path: Path, table: Mapping[int, int], source: Path) -> NDArray[np.int32]:
    """Labels of a mask of colours.

    :param table: index of a label by red << 16 | green << 8 | blue.
    :param source: of the table, for messages.
    :raises SourceError: for a colour that is not in it.
    """
    palette = read_palette(path)
    if palette is not None:
        rgb = palette[_ids(path)].astype(np.int32)
    else:
        rgb = cv2.cvtColor(read_image(path), cv2.COLOR_BGR2RGB).astype(np.int32)
    packed = rgb[..., 0] << 16 | rgb[..., 1] << 8 | rgb[..., 2]
    values, places, counts = np.unique(packed, return_inverse=True, return_counts=True)
    unknown = [
        (int(count), int(value))
        for value, count in zip(values, counts, strict=True)
        if int(value) not in table
    ]
    if unknown:
        count, value = max(unknown)
        color = f'{value >> 16}, {value >> 8 & 255}, {value & 255}'
        more = f' (and {len(unknown) - 1} more colours)' if len(unknown) > 1 else ''
        raise SourceError(
            f'{path} has {count} pixels of the colour {color}{more}, which {source} does not list',
            'add a line for it, or export the masks without smoothing',
        )
    labels = np.array([table[int(value)] for value in values], np.int32)
    result: NDArray[np.int32] = labels[places.reshape(packed.shape)]
    return result


def _some(values: Sequence[object]) -> str:
    shown = ', '.join(map(str, values[:6]))
    return shown if len(values) <= 6 else f'{shown} and {len(values) - 6} more'


def _add_colors(found: Labelled, path: Path) -> dict[int, int]:
    """The table of _by_color from a file of names and colours."""
    table = {}
    for name, color in read_colors(path):
        found.colors.setdefault(name, color)
        table[color[0] << 16 | color[1] << 8 | color[2]] = found.index(name)
    return table


def read_colors(path: Path) -> list[tuple[str, Color]]:
    """Names and colours out of class_dict.csv, labelmap.txt or label_colors.txt.

    :raises SourceError: naming the line that is wrong.
    """
    rows: list[tuple[str, Color]] = []
    try:
        lines = path.read_text('utf-8-sig').splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise SourceError(f'cannot read {path}: {error}') from error
    for number, line in enumerate(lines, 1):
        if not line.strip() or line.startswith('#'):
            continue
        try:
            if path.name == 'labelmap.txt':
                name, color = line.split(':')[:2]
                cells = [name, *color.split(',')]
            elif path.suffix == '.csv':
                (cells,) = csv.reader([line])
            else:
                # 64 128 64	Animal
                *channels, name = line.split(None, 3)
                cells = [name, *channels]
            name, red, green, blue = (cell.strip() for cell in cells[:4])
            if number == 1 and not red.isdigit():
                continue
            values = int(red), int(green), int(blue)
            if not name or max(values) > 255:
                raise ValueError
        except ValueError:
            raise SourceError(
                f"{path} line {number} is '{line.strip()}'", 'expected a name and three values'
            ) from None
        rows.append((name, values))
    return rows


# VOC, CVAT's segmentation mask ------------------------------------------------------------------


def read_voc(root: Path) -> Labelled:
    """Pascal VOC, and CVAT's segmentation mask 1.1, which has a labelmap.txt."""
    masks = _files(root / 'SegmentationClass')
    split = {
        path.stem: split_of(listed.stem)
        for listed in sorted((root / 'ImageSets' / 'Segmentation').glob('*.txt'))
        for path in map(Path, listed.read_text('utf-8').split())
        if split_of(listed.stem)
    }
    labelmap = root / 'labelmap.txt'
    read: Callable[[Path], NDArray[np.int32]]
    if labelmap.is_file():
        found = Labelled('CVAT segmentation mask')
        read = partial(_by_color, table=_add_colors(found, labelmap), source=labelmap)
    else:
        found = Labelled('Pascal VOC')
        table = {id_: found.index(name) for id_, name in enumerate(VOC)} | {UNLABELED: VOID}
        read = partial(_by_table, table=table)
    for mask in masks:
        image = _image_of(root / 'JPEGImages', mask.stem)
        found.items.append(
            Item(mask.name, partial(read, mask), mask, image, split.get(mask.stem, ''))
        )
    return found


# ADE20K ----------------------------------------------------------------------------------------


def read_ade20k(root: Path) -> Labelled:
    """ADE20K: SceneParsing's masks of 150 ids, or the whole with *_seg.png."""
    if (root / 'annotations').is_dir():
        found = Labelled('ADE20K SceneParsing')
        names = class_table('ade20k')
        table = {0: VOID}
        for id_, (name, color) in enumerate(zip(names.names, names.colors, strict=True), 1):
            table[id_] = found.index(name)
            found.colors[name] = color
        for mask in _files(root / 'annotations', '*/*.png'):
            image = _image_of(root / 'images' / mask.parent.name, mask.stem)
            split = split_of(mask.parent.name)
            found.items.append(
                Item(mask.name, partial(_by_table, mask, table), mask, image, split)
            )
        return found
    found = Labelled('ADE20K')
    for mask in _files(root, '**/*_seg.png'):
        name = mask.name.removesuffix('_seg.png')
        split = split_of(*mask.relative_to(root).parts)
        read = partial(_ade20k, found, mask)
        found.items.append(Item(name, read, mask, _image_of(mask.parent, name), split))
    return found


def _ade20k(found: Labelled, path: Path) -> NDArray[np.int32]:
    """Red and green hold the class: red / 10 * 256 + green; blue tells instances apart.

    Source: the README of ADE20K (2016 and 2021).
    """
    image = read_image(path).astype(np.int32)
    classes = image[..., 2] // 10 * 256 + image[..., 1]
    name = path.name.removesuffix('_seg.png')
    described, listed = path.with_name(f'{name}.json'), path.with_name(f'{name}_atr.txt')
    names: dict[int, str] = {}
    if described.is_file():
        try:
            for thing in read_json(described)['annotation']['object']:
                names[int(thing['name_ndx'])] = str(thing['name']).split(',')[0].strip()
        except (KeyError, TypeError, ValueError) as error:
            raise damaged(described, repr(error)) from error
    elif listed.is_file():
        instances = np.unique(image[..., 0], return_inverse=True)[1].reshape(classes.shape)
        for line in listed.read_text('utf-8', 'replace').splitlines():
            cells = [cell.strip() for cell in line.split('#')]
            if len(cells) > 3 and int(cells[1]) == 0:
                own = classes[instances == int(cells[0])]
                if own.size:
                    names[int(own[0])] = cells[3].split(',')[0].strip()
    else:
        raise SourceError(f'nothing names the classes of {path}', f'add {described.name}')
    table = {id_: found.index(text) for id_, text in names.items()} | {0: VOID}
    values, places = np.unique(classes, return_inverse=True)
    unknown = [int(value) for value in values if int(value) not in table]
    if unknown:
        raise SourceError(f'{path} has the classes {_some(unknown)}, which nothing names')
    labels = np.array([table[int(value)] for value in values], np.int32)
    result: NDArray[np.int32] = labels[places.reshape(classes.shape)]
    return result


# Mapillary Vistas ------------------------------------------------------------------------------


def mapillary_config(root: Path) -> Path | None:
    """The file that names the labels; None in other folders."""
    configs = sorted(root.glob('config*.json'))
    return configs[-1] if configs else None


def read_mapillary(root: Path) -> Labelled:
    """Mapillary Vistas 1.2 and 2.0: training/images beside training/[v2.0/]labels."""
    config = mapillary_config(root)
    assert config is not None
    found = Labelled('Mapillary Vistas')
    table: dict[int, int] = {}
    try:
        for id_, row in enumerate(read_json(config)['labels']):
            name = str(row['readable'])
            table[id_] = VOID if str(row['name']).endswith('--unlabeled') else found.index(name)
            red, green, blue = row['color']
            found.colors.setdefault(name, (int(red), int(green), int(blue)))
    except (KeyError, TypeError, ValueError) as error:
        raise damaged(config, repr(error)) from error
    version = next((v for v in ('v2.0', 'v1.2') if v in config.name), '')
    for part in sorted(path for path in root.iterdir() if path.is_dir()):
        folders = (part / version / 'labels', part / 'labels', *sorted(part.glob('*/labels')))
        folder = next((path for path in folders if path.is_dir()), None)
        for mask in _files(folder) if folder else ():
            image = _image_of(part / 'images', mask.stem)
            read = partial(_by_table, mask, table)
            found.items.append(Item(mask.name, read, mask, image, split_of(part.name)))
    return found


# Folders of masks ------------------------------------------------------------------------------


def read_folder(root: Path) -> Labelled:
    """Frames and masks in folders whose names say which is which; CamVid with class_dict.csv.

    :raises SourceError: when no mask is found, or nothing names what is in them.
    """
    pairs = find_pairs(root)
    if not pairs:
        raise SourceError(
            f'no frames with masks in {root}',
            'name folders like images/ and labels/, train/images/ and train/masks/, or '
            'train/ and trainannot/; masks are PNG files',
        )
    colors = next((root / name for name in COLOR_FILES if (root / name).is_file()), None)
    found = Labelled('masks')
    masks = [mask for _, mask, _ in pairs]
    read: Callable[[Path], NDArray[np.int32]]
    if colors is not None and not _has_ids(masks):
        found.title = 'masks of colours'
        read = partial(_by_color, table=_add_colors(found, colors), source=colors)
    else:
        read = partial(_by_table, table=_id_table(root, found, masks, colors))
    found.items = [
        Item(image.name, partial(read, mask), mask, image, split) for image, mask, split in pairs
    ]
    return found


def find_pairs(root: Path) -> list[tuple[Path, Path, str]]:
    """Frame, mask and split of each pair, by the names of folders and files."""
    images: dict[tuple[str, ...], dict[str, Path]] = {}
    masks: dict[tuple[str, ...], dict[str, Path]] = {}
    others: dict[tuple[str, ...], dict[str, Path]] = {}
    for path in _files(root, '**/*'):
        parts = path.relative_to(root).parts[:-1]
        key, is_mask = _key(parts)
        is_mask |= path.suffix.lower() == '.png' and bool(_MASK_ENDING.search(path.stem))
        if is_mask and _OTHER_ENDING.search(path.stem):
            others.setdefault(key, {})[_OTHER_ENDING.sub('', path.stem)] = path
        elif is_mask:
            stem = _MASK_ENDING.sub('', path.stem)
            own = masks.setdefault(key, {})
            if stem in own:
                raise SourceError(
                    f'{own[stem]} and {path} are two masks of one frame', 'move one kind away'
                )
            own[stem] = path
        else:
            stem = _FRAME_ENDING.sub('', path.stem)
            # A JPEG and a PNG of one name, side by side: JPEG is no mask, so the PNG is.
            beside = stem in images.get(key, {}) and path.suffix.lower() == '.png'
            (masks if beside else images).setdefault(key, {})[stem] = path
    for key, own in others.items():
        masks[key] = {**own, **masks.get(key, {})}
    if not masks:
        masks = _masks_among(images)
    pairs = []
    for key, own in sorted(masks.items()):
        frames = images.get(key, {})
        alike: dict[str, list[Path]] = {}
        for path in frames.values():
            alike.setdefault(_loose(path.stem), []).append(path)
        for stem, mask in sorted(own.items()):
            if mask.suffix.lower() in ('.jpg', '.jpeg'):
                raise SourceError(f'{mask} is not a mask: JPEG changes ids', 'export PNG files')
            frame = frames.get(stem)
            if frame is None and len(close := alike.get(_loose(stem), [])) == 1:
                (frame,) = close
            if frame is None:
                raise SourceError(
                    f'{mask} has no frame ({len(frames)} frames, {len(own)} masks there)',
                    'add it, or take the mask away',
                )
            pairs.append((frame, mask, split_of(*key)))
    return pairs


def _loose(stem: str) -> str:
    """What img_7, IMG_7.JPG, mask_7 and 7 have in common; no ending that says frame or mask."""
    if stem.lower().endswith(IMAGE_SUFFIXES):
        stem = Path(stem).stem
    return _BEGINNING.sub('', _FRAME_ENDING.sub('', stem)).casefold()


def _masks_among(
    images: dict[tuple[str, ...], dict[str, Path]],
) -> dict[tuple[str, ...], dict[str, Path]]:
    """Masks whose folder's name does not say so: ids of the names of another folder's files."""
    for key, own in images.items():
        first = next(iter(own.values()))
        if any(path.suffix.lower() != '.png' for path in own.values()) or not _has_ids([first]):
            continue
        for other, frames in images.items():
            if other != key and own.keys() <= frames.keys():
                return {other: own}
    return {}


def _key(parts: Iterable[str]) -> tuple[tuple[str, ...], bool]:
    """A path without what says frames or masks, and whether it said masks."""
    key, is_mask = [], False
    for part in parts:
        named = _MASKS.fullmatch(part)
        if named and (not named[1] or split_of(named[1]) or named[1].lower() in ('image', '')):
            is_mask = True
            part = '' if named[1].lower() == 'image' else named[1]
        elif _FRAMES.fullmatch(part):
            part = ''
        if part:
            key.append(part)
    return tuple(key), is_mask


def _has_ids(masks: Sequence[Path]) -> bool:
    """Whether masks hold ids rather than colours: one channel without a palette."""
    return read_palette(masks[0]) is None and read_ids(masks[0]).ndim == 2


def _id_table(
    root: Path, found: Labelled, masks: Sequence[Path], colors: Path | None
) -> dict[int, int]:
    """Label by id: of classes.csv, Cityscapes, a list of names, or of nothing but 0 and 255."""
    if (root / CLASS_FILE).is_file():
        return _of_class_file(root / CLASS_FILE, found)
    if all(mask.stem.endswith('_gtFine_labelIds') for mask in masks):
        found.title = 'Cityscapes'
        found.colors.update({label.name: label.color for label in CITYSCAPES_LABELS})
        return {
            label.id: VOID if label.ignore_in_eval else found.index(label.name)
            for label in CITYSCAPES_LABELS
        }
    seen = sorted({int(id_) for mask in masks for id_ in np.unique(_ids(mask))})
    listed = next((root / name for name in NAME_FILES if (root / name).is_file()), None)
    names: list[str] = []
    if colors is not None:
        names = [name for name, _ in read_colors(colors)]
        found.colors.update(read_colors(colors))
    elif listed is not None:
        names = [line.strip() for line in listed.read_text('utf-8-sig').splitlines()]
        names = [name for name in names if name]
    if seen[-1] == UNLABELED and set(seen) <= {0, UNLABELED} and len(names) in (0, 2):
        names = names or ['background', 'foreground']
        found.notes.append(f'masks of 0 and 255: taken for {names[0]} and {names[1]}')
        return {0: found.index(names[0]), UNLABELED: found.index(names[1])}
    if not names:
        # Named by their ids, for --map.
        names = [str(id_) for id_ in range(seen[-1] + 1)]
        table = {id_: found.index(names[id_]) for id_ in seen if id_ != UNLABELED}
        return table | {UNLABELED: VOID}
    return {id_: found.index(name) for id_, name in enumerate(names)} | {UNLABELED: VOID}


def _of_class_file(path: Path, found: Labelled) -> dict[int, int]:
    try:
        classes, class_of_id = read_class_file(path)
        rows = list(zip(classes.names, classes.colors, strict=True))
    except LinknetError:
        # With fewer columns than that of training.
        table = class_table(str(path))
        rows, class_of_id = list(zip(table.names, table.colors, strict=True)), None
    for name, color in rows:
        found.index(name)
        found.colors[name] = color
    if class_of_id is None:
        return {id_: id_ for id_ in range(len(rows))} | {UNLABELED: VOID}
    result = {}
    for id_, label in enumerate(class_of_id.tolist()):
        if label < len(rows):
            result[id_] = label
        elif label == UNLABELED:
            result[id_] = VOID
    return result
