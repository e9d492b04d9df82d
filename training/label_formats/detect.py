"""Which format a source is in."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from xml.etree import ElementTree

from linknet_ros.errors import SourceError
from training.label_formats import masks, shapes
from training.label_formats.labelled import Labelled

#: Formats by the name that --format takes; what reads them gets the source's path.
FORMATS: dict[str, Callable[[Path], Labelled]] = {
    'cvat': lambda path: shapes.read_cvat(_file(path, '.xml')),
    'cvat-mask': masks.read_voc,
    'label-studio': lambda path: shapes.read_label_studio(_file(path, '.json')),
    'coco': lambda path: _together([shapes.read_coco(file) for file in _coco_files(path)]),
    'voc': masks.read_voc,
    'labelme': lambda path: shapes.read_labelme(_labelme_files(path)),
    'supervisely': shapes.read_supervisely,
    'ade20k': masks.read_ade20k,
    'mapillary': masks.read_mapillary,
    'camvid': masks.read_folder,
    'folder': masks.read_folder,
}


def read_labels(path: Path, format_: str = 'auto') -> Labelled:
    """Read a source.

    :param path: a file or folder.
    :param format_: a key of FORMATS, or 'auto'.
    :raises SourceError: when it cannot be read, or is in no format that is known.
    """
    if not path.exists():
        raise SourceError(f"no file or folder '{path}'", 'give what the tool exported')
    path = inner_folder(path)
    found = FORMATS[detect(path) if format_ == 'auto' else format_](path)
    if not found.items:
        raise SourceError(f'no labelled frame in {path} ({found.title})', 'is it complete?')
    return found


def inner_folder(path: Path) -> Path:
    """The folder that an archive has in it, as VOC2012 in VOCdevkit; else the path itself."""
    entries = [e for e in path.iterdir() if not e.name.startswith('.')] if path.is_dir() else []
    if len(entries) == 1 and entries[0].is_dir() and entries[0].name != 'ann':
        return inner_folder(entries[0])
    return path


def detect(path: Path) -> str:
    """The format of a file or folder.

    :raises SourceError: when it is none that is known.
    """
    if path.is_dir():
        return _of_folder(path)
    if path.suffix.lower() == '.xml':
        try:
            tag = next(ElementTree.iterparse(path, ('start',)))[1].tag
        except (ElementTree.ParseError, StopIteration):
            tag = ''
        if tag == 'annotations':
            return 'cvat'
    if path.suffix.lower() == '.json' and (kind := _of_json(path)):
        return kind
    raise SourceError(
        f'{path} is in no format that is known',
        f'name one with --format: {", ".join(FORMATS)}',
    )


def _of_folder(root: Path) -> str:
    has = {entry.name.lower() for entry in root.iterdir()}
    if 'meta.json' in has and any(root.glob('ann/*.json')) | any(root.glob('*/ann/*.json')):
        return 'supervisely'
    if 'annotations.xml' in has:
        return 'cvat'
    if masks.mapillary_config(root) and any(root.glob('*/**/labels')):
        return 'mapillary'
    if 'segmentationclass' in has:
        return 'cvat-mask' if 'labelmap.txt' in has else 'voc'
    scenes = {'training', 'validation'} & {p.name for p in root.glob('annotations/*')}
    if any(root.glob('index_ade20k.*')) or scenes or next(root.rglob('*_seg.png'), None):
        return 'ade20k'
    if 'class_dict.csv' in has:
        return 'camvid'
    for file in (*sorted(root.glob('*.json')), *sorted(root.glob('*/*.json')))[:20]:
        if kind := _of_json(file):
            return kind
    files = [path for path in sorted(root.glob('*.xml')) if path.stat().st_size]
    if len(files) == 1 and detect(files[0]) == 'cvat':
        return 'cvat'
    return 'folder'


def _of_json(path: Path) -> str:
    """The format of a JSON file, '' for none that is known."""
    content = shapes.read_json(path)
    if isinstance(content, dict):
        if {'images', 'annotations', 'categories'} <= content.keys():
            return 'coco'
        if {'shapes', 'imagePath'} <= content.keys():
            return 'labelme'
    first = content[0] if isinstance(content, list) and content else content
    if isinstance(first, dict) and first.keys() & {'data', 'annotations', 'annotation_id'}:
        return 'label-studio'
    return ''


def _file(path: Path, suffix: str) -> Path:
    if path.is_file():
        return path
    found = sorted(path.glob(f'*{suffix}'))
    if len(found) != 1:
        raise SourceError(f'{len(found)} {suffix} files in {path}', 'give the one to read')
    return found[0]


def _coco_files(path: Path) -> list[Path]:
    if path.is_file():
        return [path]
    files = (*sorted(path.glob('*.json')), *sorted(path.glob('*/*.json')))
    return [file for file in files if _of_json(file) == 'coco']


def _labelme_files(path: Path) -> list[Path]:
    if path.is_file():
        return [path]
    return [file for file in sorted(path.rglob('*.json')) if _of_json(file) == 'labelme']


def _together(parts: list[Labelled]) -> Labelled:
    """Several files of one format as one source."""
    if len(parts) == 1:
        return parts[0]
    whole = Labelled(parts[0].title if parts else 'nothing')
    for part in parts:
        if part.labels != parts[0].labels:
            raise SourceError(
                f'{part.items[0].source} has other categories than {parts[0].items[0].source}',
                'import one after the other',
            )
        whole.items += part.items
        whole.notes += part.notes
    whole.labels = parts[0].labels
    return whole
