"""Formats of shapes: CVAT, COCO, Label Studio, Labelme, Supervisely.

A polygon takes the pixels whose middle is inside; see linknet_ros.recordings.label_shapes. What
is drawn later lies on top: by z_order in CVAT, by area in COCO, which has no order (the largest
first), and in the order of the file elsewhere.
"""

from __future__ import annotations

import base64
import binascii
import json
import math
import zlib
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit
from xml.etree import ElementTree

import cv2
import numpy as np
from numpy.typing import NDArray

from linknet_ros.errors import SourceError, first_line
from linknet_ros.limits import MAX_PIXELS
from linknet_ros.recordings.label_shapes import fill, from_runs
from training.label_formats.labelled import VOID, Color, Item, Labelled, damaged, split_of

#: Draws one shape: gets the canvas, (H, W) int32, and the value.
Draw = Callable[[NDArray[np.int32], int], None]

#: Corners of a circle or an ellipse that becomes a polygon.
_ROUND = 64


def read_json(path: Path) -> Any:
    """Read a JSON file.

    :raises SourceError: when it cannot be read.
    """
    try:
        return json.loads(path.read_text('utf-8-sig'))
    except OSError as error:
        raise SourceError(f'cannot read {path}: {error.strerror}') from error
    except (ValueError, RecursionError) as error:
        raise SourceError(
            f'{path} is not JSON ({first_line(error)})', 'export it again'
        ) from error


def _item(
    found: Labelled,
    path: Path,
    name: str,
    size: Sequence[Any],
    shapes: Sequence[tuple[str, Draw]],
    image: Path | None = None,
    split: str = '',
) -> Item:
    """An item whose shapes are drawn in their order.

    :param size: width and height in pixels.
    """
    width, height = (int(side) for side in size)
    if min(width, height) < 1 or width * height > MAX_PIXELS:
        raise damaged(path, f'{name} of {width}x{height}')
    drawn = [(found.index(label), draw) for label, draw in shapes]

    def read() -> NDArray[np.int32]:
        canvas = np.full((height, width), VOID, np.int32)
        for value, draw in drawn:
            try:
                draw(canvas, value)
            except (ValueError, IndexError, TypeError, zlib.error, binascii.Error) as error:
                raise damaged(path, f'{name}: {first_line(error)}') from error
        return canvas

    return Item(name, read, path, image, split)


def _polygons(*rings: Any) -> Draw:
    """Rings of one polygon, of which the inner ones are holes."""
    corners = [np.array(ring, np.float64).reshape(-1, 2) for ring in rings]
    return lambda canvas, value: fill(canvas, [(corners, value)]) if len(corners[0]) else None


def _rectangle(left: float, top: float, right: float, bottom: float, degrees: float = 0) -> Draw:
    """A rectangle, turned clockwise about its middle."""
    corners = np.array([[left, top], [right, top], [right, bottom], [left, bottom]], np.float64)
    return _polygons(_turned(corners, corners.mean(axis=0), degrees))


def _ellipse(x: float, y: float, across: float, down: float, degrees: float = 0) -> Draw:
    angles = np.arange(_ROUND) * (2 * math.pi / _ROUND)
    corners = np.stack([x + across * np.cos(angles), y + down * np.sin(angles)], axis=1)
    return _polygons(_turned(corners, np.array([x, y]), degrees))


def _turned(
    corners: NDArray[np.float64], about: NDArray[np.float64], degrees: float
) -> NDArray[np.float64]:
    cosine, sine = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    result: NDArray[np.float64] = (corners - about) @ [[cosine, sine], [-sine, cosine]] + about
    return result


def _mask(make: Callable[[], NDArray[np.bool_]], left: int = 0, top: int = 0) -> Draw:
    """A mask with its place in the frame; what reaches out of the frame is cut off."""

    def draw(canvas: NDArray[np.int32], value: int) -> None:
        mask = make()
        bottom, right = top + mask.shape[0], left + mask.shape[1]
        mask = mask[max(0, -top) :, max(0, -left) :]
        target = canvas[max(0, top) : max(0, bottom), max(0, left) : max(0, right)]
        target[mask[: target.shape[0], : target.shape[1]]] = value

    return draw


def _whole_mask(make: Callable[[], NDArray[np.bool_]]) -> Draw:
    """A mask of the whole frame, which must have its size."""

    def draw(canvas: NDArray[np.int32], value: int) -> None:
        mask = make()
        if mask.shape != canvas.shape:
            raise ValueError(f'a mask of {mask.shape[::-1]} in a frame of {canvas.shape[::-1]}')
        canvas[mask] = value

    return draw


def _without_area(found: Labelled, kinds: Counter[str]) -> None:
    for kind, number in sorted(kinds.items()):
        found.notes.append(f'{number} x {kind}: has no area, left out')


# CVAT ------------------------------------------------------------------------------------------


def read_cvat(path: Path) -> Labelled:
    """CVAT for images 1.1: annotations.xml."""
    found, left_out = Labelled('CVAT for images 1.1'), Counter[str]()
    try:
        root = ElementTree.parse(path).getroot()
    except (ElementTree.ParseError, OSError) as error:
        raise damaged(path, first_line(error)) from error
    if root.find('track') is not None:
        raise SourceError(f'{path} is CVAT for video', 'export the task as "CVAT for images 1.1"')
    for label in root.iterfind('meta//label'):
        name, color = label.findtext('name') or '', label.findtext('color') or ''
        found.index(name)
        if len(color) == 7:
            found.colors[name] = _hex(color)
    for image in root.iterfind('image'):
        try:
            shapes = []
            for order, shape in enumerate(image):
                draw = _cvat_shape(shape)
                if draw is not None:
                    z = int(shape.get('z_order', 0))
                    shapes.append((z, order, shape.attrib['label'], draw))
                elif shape.tag != 'tag':
                    left_out[shape.tag] += 1
            shapes.sort(key=lambda shape: shape[:2])
            size = image.attrib['width'], image.attrib['height']
            drawn = [(label, draw) for _, _, label, draw in shapes]
            split = split_of(image.get('subset', '').lower())
            found.items.append(_item(found, path, image.attrib['name'], size, drawn, None, split))
        except (KeyError, ValueError) as error:
            raise damaged(path, f'image {image.get("name")}: {error!r}') from error
    _without_area(found, left_out)
    return found


def _cvat_shape(shape: ElementTree.Element) -> Draw | None:
    def number(*names: str) -> list[float]:
        return [float(shape.get(name, 0)) for name in names]

    if shape.tag == 'polygon':
        points = shape.attrib['points'].split(';')
        return _polygons([list(map(float, point.split(','))) for point in points])
    if shape.tag == 'box':
        return _rectangle(*number('xtl', 'ytl', 'xbr', 'ybr', 'rotation'))
    if shape.tag == 'ellipse':
        return _ellipse(*number('cx', 'cy', 'rx', 'ry', 'rotation'))
    if shape.tag == 'mask':
        left, top, width, height = map(int, number('left', 'top', 'width', 'height'))
        counts = [int(count) for count in shape.attrib['rle'].split(',')]
        return _mask(lambda: from_runs(counts, width * height).reshape(height, width), left, top)
    return None


def _hex(color: str) -> Color:
    value = int(color.lstrip('#'), 16)
    return value >> 16, value >> 8 & 255, value & 255


# COCO ------------------------------------------------------------------------------------------


def read_coco(path: Path) -> Labelled:
    """COCO: polygons, and RLE with or without compression."""
    found, left_out = Labelled('COCO'), Counter[str]()
    file = read_json(path)
    try:
        names = {row['id']: str(row['name']) for row in file['categories']}
        for name in names.values():
            found.index(name)
        shapes: dict[Any, list[tuple[float, int, str, Draw]]] = {}
        for order, row in enumerate(file['annotations']):
            segmentation = row.get('segmentation')
            if not segmentation:
                left_out['annotation without segmentation'] += 1
                continue
            shape = _coco_shape(segmentation)
            area = -float(row.get('area') or 0)
            shapes.setdefault(row['image_id'], []).append(
                (area, order, names[row['category_id']], shape)
            )
        for image in file['images']:
            drawn = sorted(shapes.get(image['id'], []), key=lambda shape: shape[:2])
            found.items.append(
                _item(
                    found,
                    path,
                    str(image['file_name']),
                    (image['width'], image['height']),
                    [(label, draw) for _, _, label, draw in drawn],
                    None,
                    split_of(*path.stem.replace('-', '_').split('_')),
                )
            )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise damaged(path, repr(error)) from error
    _without_area(found, left_out)
    return found


def _coco_shape(segmentation: Any) -> Draw:
    if isinstance(segmentation, Mapping):
        height, width = (int(side) for side in segmentation['size'])
        counts = segmentation['counts']
        lengths = _coco_counts(counts) if isinstance(counts, str) else counts
        return _whole_mask(lambda: from_runs(lengths, width * height).reshape(width, height).T)
    parts = [_polygons(polygon) for polygon in segmentation]

    def draw(canvas: NDArray[np.int32], value: int) -> None:
        for part in parts:  # a union: they are parts of one thing, not holes
            part(canvas, value)

    return draw


def _coco_counts(text: str) -> list[int]:
    """Run lengths out of COCO's text: five bits a sign, and from the third on the difference to
    the last but one. Source: rleFrString of cocoapi's maskApi.c.
    """
    counts: list[int] = []
    at = 0
    while at < len(text):
        value, shift, more = 0, 0, True
        while more:
            bits = ord(text[at]) - 48
            value |= (bits & 31) << shift
            more, shift, at = bool(bits & 32), shift + 5, at + 1
            if not more and bits & 16:
                value |= -1 << shift
        counts.append(value + (counts[-2] if len(counts) > 2 else 0))
    return counts


# Label Studio ----------------------------------------------------------------------------------


def read_label_studio(path: Path) -> Labelled:
    """Label Studio: JSON or JSON-MIN with brushes, polygons, rectangles and ellipses."""
    found, left_out = Labelled('Label Studio'), Counter[str]()
    tasks = read_json(path)
    tasks = tasks if isinstance(tasks, list) else [tasks]
    try:
        answered = any(task.get('annotations') or task.get('completions') for task in tasks)
        proposed = 0
        for number, task in enumerate(tasks):
            given = task.get('annotations') or task.get('completions') or []
            given = [one for one in given if not one.get('was_cancelled')]
            if not given and not answered:
                given = task.get('predictions') or []
                proposed += bool(given)
            # The newest of several.
            results = given[-1]['result'] if given else list(_minimal(task))
            data = task.get('data', task)
            name = _studio_name(data)
            if name is None:
                raise ValueError(f'task {number} names no image')
            shapes, size = [], None
            for result in results:
                drawn = _studio_shape(result)
                if drawn is None:
                    left_out[str(result.get('type'))] += 1
                    continue
                if result.get('image_rotation'):
                    raise SourceError(f'{path}: {name} was turned in Label Studio', 'turn it back')
                size = result['original_width'], result['original_height']
                shapes.append(drawn)
            if size is not None:
                found.items.append(_item(found, path, name, size, shapes))
    except (KeyError, TypeError, ValueError, AttributeError, IndexError) as error:
        raise damaged(path, repr(error)) from error
    if proposed:
        found.notes.append(f'{proposed} tasks have proposals only, which were taken')
    _without_area(found, left_out)
    return found


def _minimal(task: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Results of a task of JSON-MIN, which has the values alone."""
    for values in task.values():
        for value in values if isinstance(values, list) else ():
            if isinstance(value, dict) and 'original_width' in value:
                kind = next((key for key in value if key.endswith('labels')), 'nothing')
                yield {**value, 'type': kind, 'value': value}


def _studio_name(data: Mapping[str, Any]) -> str | None:
    for value in data.values():
        if (isinstance(value, str) and '/' in value) or (isinstance(value, str) and '.' in value):
            address = urlsplit(value)
            local = parse_qs(address.query).get('d')
            return unquote(local[0] if local else address.path).lstrip('/')
    return None


def _studio_shape(result: Mapping[str, Any]) -> tuple[str, Draw] | None:
    kind, value = result.get('type', ''), result.get('value', {})
    labels = value.get(kind) or []
    if not labels or not kind.endswith('labels'):
        return None
    width, height = float(result['original_width']), float(result['original_height'])
    scale = np.array([width, height]) / 100
    if kind == 'brushlabels' and value.get('format', 'rle') == 'rle':
        shape = int(height), int(width)
        return labels[0], _whole_mask(partial(_studio_mask, value['rle'], shape))
    if kind == 'polygonlabels':
        return labels[0], _polygons(np.array(value['points'], np.float64) * scale)
    if kind == 'rectanglelabels':
        left, top = value['x'] * width / 100, value['y'] * height / 100
        right, bottom = value['width'] * width / 100, value['height'] * height / 100
        corners = np.array([[0, 0], [right, 0], [right, bottom], [0, bottom]], np.float64)
        # Turned about its upper left corner.
        turned = _turned(corners, np.zeros(2), float(value.get('rotation', 0)))
        return labels[0], _polygons(turned + np.array([left, top]))
    if kind == 'ellipselabels':
        x, y = value['x'] * width / 100, value['y'] * height / 100
        across, down = value['radiusX'] * width / 100, value['radiusY'] * height / 100
        return labels[0], _ellipse(x, y, across, down, float(value.get('rotation', 0)))
    return None


def _studio_mask(rle: Sequence[int], shape: tuple[int, int]) -> NDArray[np.bool_]:
    """A brush's mask; see _studio_rle of linknet_ros.recordings.label_tools for the format."""
    bits = np.unpackbits(np.array(rle, np.uint8)).astype(np.uint8)
    text = bits.tobytes().translate(bytes([48, 49]) + bytes(254)).decode()
    at = 0

    def take(width: int) -> int:
        nonlocal at
        value = int(text[at : at + width], 2)
        at += width
        return value

    number, value_bits = take(32), take(5) + 1
    widths = [take(4) + 1 for _ in range(4)]
    if number != 4 * shape[0] * shape[1]:
        raise ValueError(f'a brush of {number // 4} pixels in a frame of {shape[1]}x{shape[0]}')
    samples = np.zeros(number, np.uint8)
    done = 0
    while done < number:
        repeated = take(1)
        length = take(widths[take(2)]) + 1
        if repeated:
            samples[done : done + length] = min(255, take(value_bits))
        else:
            samples[done : done + length] = [min(255, take(value_bits)) for _ in range(length)]
        done += length
    # The last of red, green, blue and opacity says where the brush was.
    mask: NDArray[np.bool_] = samples.reshape(*shape, 4)[..., 3] > 127
    return mask


# Labelme ---------------------------------------------------------------------------------------


def read_labelme(paths: Sequence[Path]) -> Labelled:
    """Labelme: a JSON file for each frame."""
    found, left_out = Labelled('Labelme'), Counter[str]()
    for path in paths:
        file = read_json(path)
        try:
            shapes = []
            for shape in file['shapes']:
                draw = _labelme_shape(shape)
                if draw is None:
                    left_out[str(shape.get('shape_type'))] += 1
                else:
                    shapes.append((str(shape['label']), draw))
            name = str(file['imagePath']).replace('\\', '/')
            image = path.parent / name
            found.items.append(
                _item(
                    found,
                    path,
                    Path(name).name,
                    (file['imageWidth'], file['imageHeight']),
                    shapes,
                    image if image.is_file() else None,
                    split_of(*path.parts[-3:-1]),
                )
            )
        except (KeyError, TypeError, ValueError, AttributeError, IndexError) as error:
            raise damaged(path, repr(error)) from error
    _without_area(found, left_out)
    return found


def _labelme_shape(shape: Mapping[str, Any]) -> Draw | None:
    kind, points = shape.get('shape_type') or 'polygon', shape['points']
    if kind == 'polygon':
        return _polygons(points)
    if kind == 'rectangle':
        (x0, y0), (x1, y1) = points
        return _rectangle(min(x0, x1), min(y0, y1), max(x0, x1), max(y0, y1))
    if kind == 'circle':
        (x, y), (x1, y1) = points
        radius = math.hypot(x1 - x, y1 - y)
        return _ellipse(x, y, radius, radius)
    if kind == 'mask':
        (left, top), _ = points
        return _mask(partial(_png_mask, shape['mask']), round(left), round(top))
    return None


def _png_mask(text: str, packed: bool = False) -> NDArray[np.bool_]:
    """A mask out of a PNG in base64: what is not 0, or not transparent.

    :param packed: with zlib, as Supervisely does.
    """
    data = base64.b64decode(text)
    data = zlib.decompress(data) if packed else data
    image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    if image is None:
        raise ValueError('its mask is not a PNG')
    mask: NDArray[np.bool_] = (image[..., -1] if image.ndim == 3 else image) > 0
    return mask


# Supervisely -----------------------------------------------------------------------------------


def read_supervisely(root: Path) -> Labelled:
    """Supervisely: meta.json beside data sets with ann/ and img/."""
    found, left_out = Labelled('Supervisely'), Counter[str]()
    meta = read_json(root / 'meta.json')
    try:
        for row in meta['classes']:
            found.index(str(row['title']))
            found.colors[str(row['title'])] = _hex(str(row['color']))
    except (KeyError, TypeError, ValueError) as error:
        raise damaged(root / 'meta.json', repr(error)) from error
    for path in sorted(root.rglob('ann/*.json')):
        file = read_json(path)
        try:
            shapes = []
            for thing in file['objects']:
                draw = _supervisely_shape(thing)
                if draw is None:
                    left_out[str(thing.get('geometryType'))] += 1
                else:
                    shapes.append((str(thing['classTitle']), draw))
            image = path.parent.parent / 'img' / path.stem
            size = file['size']['width'], file['size']['height']
            found.items.append(
                _item(
                    found,
                    path,
                    path.stem,
                    size,
                    shapes,
                    image if image.is_file() else None,
                    split_of(path.parent.parent.name),
                )
            )
        except (KeyError, TypeError, ValueError, AttributeError, IndexError) as error:
            raise damaged(path, repr(error)) from error
    _without_area(found, left_out)
    return found


def _supervisely_shape(thing: Mapping[str, Any]) -> Draw | None:
    kind = thing.get('geometryType')
    if kind == 'bitmap':
        left, top = thing['bitmap']['origin']
        return _mask(partial(_png_mask, thing['bitmap']['data'], packed=True), left, top)
    if kind not in ('polygon', 'rectangle'):
        return None
    exterior = np.array(thing['points']['exterior'], np.float64).reshape(-1, 2)
    if kind == 'rectangle':
        (x0, y0), (x1, y1) = exterior.min(axis=0), exterior.max(axis=0)
        exterior = np.array([[x0, y0], [x1, y0], [x1, y1], [x0, y1]])
    interior = [np.array(ring, np.float64).reshape(-1, 2) for ring in thing['points']['interior']]

    def draw(canvas: NDArray[np.int32], value: int) -> None:
        # Its corners are pixels, not edges between them, and belong to the polygon, those of a
        # hole to the hole, as supervisely's own drawing has it.
        mask = np.zeros(canvas.shape, np.uint8)
        cv2.fillPoly(mask, [exterior.round().astype(np.int32)], 1)
        for ring in interior:
            cv2.fillPoly(mask, [ring.round().astype(np.int32)], 0)
        canvas[mask == 1] = value

    return draw
