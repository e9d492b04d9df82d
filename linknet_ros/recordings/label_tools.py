"""Labels as files that labelling tools open: CVAT, Label Studio, COCO and Labelme.

Formats that have masks keep every pixel. Polygons follow the edges of pixels to within TOLERANCE
and are in the order in which they are drawn, the largest first, but for COCO, which has no order:
there they leave their holes out. `label_shapes` has the rules.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import cv2
import numpy as np
from numpy.typing import NDArray

from linknet_ros.classes import UNLABELED, ClassTable
from linknet_ros.recordings.label_shapes import Patch, Polygon, patches, runs

#: That polygons may be away from the edge of a patch [pixels]: enough for stairs of one pixel to
#: become a line, too little for a line of one pixel to vanish.
TOLERANCE = 0.75

#: Label of void inside of another class, where a format has polygons only.
VOID = 'void'

#: Bits of a run's length that Label Studio's run lengths may have; of a value.
_RUN_BITS, _VALUE_BITS = (3, 4, 8, 16), 8


class ToolFiles:
    """Collects frames with their labels, and writes them for all tools.

    :param folder: for the files.
    """

    def __init__(self, folder: Path, classes: ClassTable) -> None:
        self._folder, self._classes = folder, classes
        self._names = {**dict(enumerate(classes.names)), UNLABELED: VOID}
        self._cvat = {kind: _cvat_root(classes) for kind in ('masks', 'polygons')}
        self._studio: dict[str, list[Any]] = {'brush': [], 'polygons': []}
        self._images: list[dict[str, Any]] = []
        self._coco: dict[str, list[dict[str, Any]]] = {'rle': [], 'polygons': []}
        (folder / 'labelme').mkdir(parents=True, exist_ok=True)

    def add(self, frame: Path, ids: NDArray[np.uint8]) -> None:
        """Add a frame.

        :param frame: its file, beside `folder` in the folder FRAMES.
        :param ids: (H, W) uint8, 255 for void.
        """
        height, width = ids.shape
        found = patches(ids, TOLERANCE)
        masks = {int(id_): ids == id_ for id_ in np.unique(ids) if id_ != UNLABELED}
        self._images.append(
            {
                'id': len(self._images) + 1,
                'file_name': frame.name,
                'width': width,
                'height': height,
            }
        )
        self._add_cvat(masks, found)
        self._add_coco(masks, found)
        self._add_studio(frame, masks, found)
        self._write_labelme(frame, found)

    def write(self) -> None:
        """Write the files that have all frames."""
        for kind, root in self._cvat.items():
            ElementTree.indent(root)
            text = ElementTree.tostring(root, 'unicode')
            path = self._folder / f'cvat_{kind}.xml'
            path.write_text(f'<?xml version="1.0" encoding="utf-8"?>\n{text}\n', 'utf-8')
        for kind, found in self._coco.items():
            rows = enumerate(self._classes.names, 1)
            file = {
                'info': {},
                'licenses': [],
                'images': self._images,
                'annotations': found,
                'categories': [{'id': i, 'name': n, 'supercategory': ''} for i, n in rows],
            }
            (self._folder / f'coco_{kind}.json').write_text(json.dumps(file), 'utf-8')
        for kind, tasks in self._studio.items():
            (self._folder / f'label_studio_{kind}.json').write_text(json.dumps(tasks), 'utf-8')
        for kind, tag in (('brush', 'BrushLabels'), ('polygons', 'PolygonLabels')):
            text = _studio_config(self._classes, tag)
            (self._folder / f'label_studio_{kind}.xml').write_text(text, 'utf-8')

    def _add_cvat(self, masks: dict[int, NDArray[np.bool_]], found: list[Patch]) -> None:
        image = {key: str(value) for key, value in self._images[-1].items()}
        about = {'id': str(int(image['id']) - 1), 'name': image['file_name']}
        about |= {key: image[key] for key in ('width', 'height')}
        usual = {'source': 'auto', 'occluded': '0'}
        parent = ElementTree.SubElement(self._cvat['masks'], 'image', about)
        for id_, mask in masks.items():
            left, top, width, height = _box(mask)
            cut = mask[top : top + height, left : left + width]
            box = zip(('left', 'top', 'width', 'height'), (left, top, width, height), strict=True)
            ElementTree.SubElement(
                parent,
                'mask',
                {
                    'label': self._names[id_],
                    **usual,
                    'rle': ', '.join(map(str, runs(cut.ravel()))),
                    **{key: str(value) for key, value in box},
                    'z_order': '0',
                },
            )
        parent = ElementTree.SubElement(self._cvat['polygons'], 'image', about)
        for order, patch in enumerate(found):
            points = ';'.join(f'{x:.2f},{y:.2f}' for x, y in patch.outline)
            text = {'label': self._names[patch.id], **usual, 'points': points}
            ElementTree.SubElement(parent, 'polygon', {**text, 'z_order': str(order)})

    def _add_coco(self, masks: dict[int, NDArray[np.bool_]], found: list[Patch]) -> None:
        image = self._images[-1]
        rle, polygons = self._coco['rle'], self._coco['polygons']
        for id_, mask in masks.items():
            size = [image['height'], image['width']]
            rle.append(
                {
                    'id': len(rle) + 1,
                    'image_id': image['id'],
                    'category_id': id_ + 1,
                    # Down the columns, as COCO has it.
                    'segmentation': {'counts': runs(mask.T.ravel()), 'size': size},
                    'area': int(mask.sum()),
                    'bbox': list(_box(mask)),
                    'iscrowd': 1,
                }
            )
        for patch in found:
            if patch.id == UNLABELED:
                continue  # COCO has no order: each polygon leaves its holes out
            low, high = patch.outline.min(axis=0), patch.outline.max(axis=0)
            polygons.append(
                {
                    'id': len(polygons) + 1,
                    'image_id': image['id'],
                    'category_id': patch.id + 1,
                    'segmentation': [patch.in_one().ravel().tolist()],
                    'area': patch.area - sum(map(_area, patch.holes)),
                    'bbox': [*low.tolist(), *(high - low).tolist()],
                    'iscrowd': 0,
                }
            )

    def _add_studio(
        self, frame: Path, masks: dict[int, NDArray[np.bool_]], found: list[Patch]
    ) -> None:
        image = self._images[-1]
        size = {'original_width': image['width'], 'original_height': image['height']}
        common = {'to_name': 'image', 'from_name': 'label', 'image_rotation': 0, **size}
        brushes, polygons = [], []
        for id_, mask in masks.items():
            value: dict[str, Any] = {'format': 'rle', 'rle': _studio_rle(mask)}
            value['brushlabels'] = [self._names[id_]]
            brushes.append(
                {'id': f'{image["id"]}-{id_}', 'type': 'brushlabels', **common, 'value': value}
            )
        percent = np.array([100 / image['width'], 100 / image['height']])
        for number, patch in enumerate(found):
            points = (patch.outline * percent).tolist()
            value = {'points': points, 'closed': True, 'polygonlabels': [self._names[patch.id]]}
            polygons.append(
                {
                    'id': f'{image["id"]}-{number}',
                    'type': 'polygonlabels',
                    **common,
                    'value': value,
                }
            )
        for kind, results in (('brush', brushes), ('polygons', polygons)):
            self._studio[kind].append(
                {
                    # Below LABEL_STUDIO_LOCAL_FILES_DOCUMENT_ROOT.
                    'data': {'image': f'/data/local-files/?d={frame.parent.name}/{frame.name}'},
                    'predictions': [{'model_version': 'linknet_ros', 'result': results}],
                }
            )

    def _write_labelme(self, frame: Path, found: list[Patch]) -> None:
        image = self._images[-1]
        shapes = [
            {
                'label': self._names[patch.id],
                'points': patch.outline.tolist(),
                'group_id': None,
                'description': '',
                'shape_type': 'polygon',
                'flags': {},
                'mask': None,
            }
            for patch in found
        ]
        file = {
            'version': '5.5.0',
            'flags': {},
            'shapes': shapes,
            'imagePath': f'../../{frame.parent.name}/{frame.name}',
            'imageData': None,
            'imageHeight': image['height'],
            'imageWidth': image['width'],
        }
        path = self._folder / 'labelme' / f'{frame.stem}.json'
        path.write_text(json.dumps(file), 'utf-8')


def _box(mask: NDArray[np.bool_]) -> tuple[int, int, int, int]:
    """Left, top, width and height of what is True."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    left, top = int(columns[0]), int(rows[0])
    return left, top, int(columns[-1]) + 1 - left, int(rows[-1]) + 1 - top


def _area(ring: Polygon) -> float:
    return float(cv2.contourArea(ring.astype(np.float32)))


def _labels_and_colors(classes: ClassTable) -> Iterator[tuple[str, str]]:
    for name, color in zip(classes.names, classes.colors, strict=True):
        yield name, '#{:02x}{:02x}{:02x}'.format(*color)
    yield VOID, '#000000'


def _cvat_root(classes: ClassTable) -> ElementTree.Element:
    root = ElementTree.Element('annotations')
    ElementTree.SubElement(root, 'version').text = '1.1'
    task = ElementTree.SubElement(ElementTree.SubElement(root, 'meta'), 'task')
    labels = ElementTree.SubElement(task, 'labels')
    for name, color in _labels_and_colors(classes):
        label = ElementTree.SubElement(labels, 'label')
        for tag, text in (('name', name), ('color', color), ('type', 'any')):
            ElementTree.SubElement(label, tag).text = text
        ElementTree.SubElement(label, 'attributes')
    return root


def _studio_config(classes: ClassTable, tag: str) -> str:
    view = ElementTree.Element('View')
    ElementTree.SubElement(view, 'Image', {'name': 'image', 'value': '$image', 'zoom': 'true'})
    labels = ElementTree.SubElement(view, tag, {'name': 'label', 'toName': 'image'})
    for name, color in _labels_and_colors(classes):
        ElementTree.SubElement(labels, 'Label', {'value': name, 'background': color})
    ElementTree.indent(view)
    return f'{ElementTree.tostring(view, "unicode")}\n'


def _studio_rle(mask: NDArray[np.bool_]) -> list[int]:
    """A mask as Label Studio keeps it: four equal samples for each pixel, in bits, as bytes.

    32 bits for the number of samples, 5 for the bits of a value less 1, 4 for each possible width
    of a length less 1; then runs: a bit 1, 2 bits for the width, the length less 1, the value.
    Source: rle-pack of thi.ng/umbrella, which its brush uses.
    """
    lengths = runs(mask.ravel())
    bits = [f'{4 * mask.size:032b}', f'{_VALUE_BITS - 1:05b}']
    bits += [f'{width - 1:04b}' for width in _RUN_BITS]
    for number, length in enumerate(lengths):
        left, value = 4 * length, 255 * (number % 2)
        while left:
            run = min(left, 1 << _RUN_BITS[-1])
            which = next(i for i, width in enumerate(_RUN_BITS) if run <= 1 << width)
            bits.append(f'1{which:02b}{run - 1:0{_RUN_BITS[which]}b}{value:08b}')
            left -= run
    text = ''.join(bits)
    text += '0' * (-len(text) % 8)
    return list(int(text, 2).to_bytes(len(text) // 8, 'big'))
