"""Class tables for imported networks: presets, CSV files, and config.json of Hugging Face.

What is drivable is guessed from the names where the source does not say, for a person to check.
"""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from linknet_ros.classes import CAMVID, CITYSCAPES, MAX_NAME, ClassTable
from linknet_ros.errors import ClassNameError, LinknetError, first_line
from linknet_ros.system.bounded_file import read_file

Color = tuple[int, int, int]

#: For a network that only tells where a robot can drive.
DRIVABLE = ClassTable(('background', 'drivable'), ((0, 0, 0), (128, 64, 128)), (False, True))

_FOLDER = Path(__file__).with_name('label_sets')

#: ade20k: SceneParsing150; mapillary: Vistas 1.2; coco-stuff: 164k. In the order of the ids that
#: MMSegmentation and Hugging Face train with, without a class for nothing.
PRESETS = ('ade20k', 'camvid', 'cityscapes', 'coco-stuff', 'drivable', 'mapillary')

#: Largest file that is read; a table of 254 classes has 10 kB, a config.json 100 kB.
_MAX_BYTES = 4 << 20

#: Markings on a road, as Mapillary calls them.
_MARKING = (
    r'ambiguous|arrow|crosswalk|dashed line|general|give way|hatched|other|stop line|straight line'
    r'|symbol|text|zigzag line'
)

#: What a wheeled robot may drive on, as data sets call it: whole names only, since a road sign, a
#: street light and a floor lamp are obstacles. Pavements, grass and crossings of rails are not
#: among them, nor is a lane, which in some data sets is a line: who wants them says so.
_DRIVABLE_NAME = re.compile(
    r'(road|street|driv(e)?able)( (area|region|space|surface))?|route|service lane|free ?space'
    rf'|(lane|road) markings?( \(only\))?( ({_MARKING})( \([a-z ]+\))?)?|crosswalk( plain)?'
    r'|floor( (marble|other|stone|surface|tile|wood))?|flooring'
)

_YES = ('yes', 'true', 'y', '1')
_NO = ('no', 'false', 'n', '0', '')

#: Names of columns of a CSV file.
_COLUMNS = {
    'id': ('id', 'index', 'class_id', 'train_id', 'trainid'),
    'name': ('name', 'class', 'label', 'class_name'),
    'red': ('red', 'r'),
    'green': ('green', 'g'),
    'blue': ('blue', 'b'),
    'drivable': ('drivable', 'driveable'),
}


def class_table(source: str, background: str = '') -> ClassTable:
    """The class table that a user names.

    :param source: one of PRESETS, or the path of a .csv or .json file.
    :param background: 'first' or 'last' to add a class of that name; empty not to. A table of one
        class gets it first anyway.
    :raises ClassNameError: for a file that cannot be read or is not a table.
    """
    if source in PRESETS:
        table = _preset(source)
    else:
        path = Path(source)
        if path.suffix.lower() not in ('.csv', '.json'):
            raise ClassNameError(
                f"unknown class table '{source}'",
                f'use {", ".join(PRESETS)}, or a .csv or .json file',
            )
        try:
            text = read_file(path, _MAX_BYTES).decode('utf-8-sig')
        except OSError as error:
            raise ClassNameError(f"cannot read '{path}': {error.strerror}") from error
        except UnicodeDecodeError as error:
            raise ClassNameError(f'{path} is not text in UTF-8', 'save it as such') from error
        try:
            table = (_of_json if path.suffix.lower() == '.json' else _of_csv)(text)
        except LinknetError as error:
            raise ClassNameError(f'{path}: {error.problem}', error.fix) from error
    if background or len(table) == 1:
        table = _with_background(table, last=background == 'last')
    return table


def _preset(name: str) -> ClassTable:
    known = {'camvid': CAMVID, 'cityscapes': CITYSCAPES, 'drivable': DRIVABLE}
    if name in known:
        return known[name]
    return _of_csv((_FOLDER / f'{name}.csv').read_text('utf-8'))


def _with_background(table: ClassTable, *, last: bool) -> ClassTable:
    place = len(table) if last else 0
    names, colors, drivable = list(table.names), list(table.colors), list(table.drivable)
    names.insert(place, 'background')
    colors.insert(place, (0, 0, 0))
    drivable.insert(place, False)
    return ClassTable(tuple(names), tuple(colors), tuple(drivable))


def named_classes(names: Sequence[str], colors: Sequence[Color | None]) -> ClassTable:
    """A table of names; colours that are missing are filled in, what is drivable is guessed."""
    return _made(names, colors, [None] * len(names))


def _made(
    names: Sequence[str],
    colors: Sequence[Color | None],
    drivable: Sequence[bool | None],
) -> ClassTable:
    """A table in which colours and flags that nobody gave are filled in."""
    taken = {color for color in colors if color}
    known = {
        **dict(zip(CAMVID.names, CAMVID.colors, strict=True)),
        **dict(zip(CITYSCAPES.names, CITYSCAPES.colors, strict=True)),
    }
    unused = (color for color in _distinct_colors() if color not in known.values())
    filled = []
    for name, color in zip(names, colors, strict=True):
        if color is None:
            color = known.get(name.lower())
            if color is None or color in taken:
                color = next(other for other in unused if other not in taken)
            taken.add(color)
        filled.append(color)
    return ClassTable(
        tuple(names),
        tuple(filled),
        tuple(
            is_drivable(name) if flag is None else flag
            for name, flag in zip(names, drivable, strict=True)
        ),
    )


def is_drivable(name: str) -> bool:
    """Whether a name is one of those that data sets give to what can be driven on."""
    # ADE20K lists synonyms: 'road, route'. All of them must be known: 'road, sidewalk' is not.
    synonyms = (re.sub(r'[\s_-]+', ' ', part).strip() for part in re.split('[,;]', name.lower()))
    return all(_DRIVABLE_NAME.fullmatch(synonym) for synonym in synonyms)


def _distinct_colors() -> Iterator[Color]:
    """Colours that differ, black left out: the colour map of Pascal VOC (VOCcolormap.m)."""
    for index in range(1, 1 << 16):
        color = [0, 0, 0]
        for bit in range(8):
            for channel in range(3):
                color[channel] |= (index >> (3 * bit + channel) & 1) << (7 - bit)
        yield (color[0], color[1], color[2])


def _of_json(text: str) -> ClassTable:
    """The `id2label` of a config.json."""
    try:
        content = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ClassNameError(f'no JSON ({first_line(error)})', 'copy it again') from error
    labels = content.get('id2label', content) if isinstance(content, dict) else content
    if isinstance(labels, dict):
        try:
            by_id = {int(key): value for key, value in labels.items()}
        except ValueError:
            by_id = {}
        labels = (
            [by_id[i] for i in range(len(by_id))] if set(by_id) == set(range(len(by_id))) else []
        )
    if not isinstance(labels, list) or not labels or not all(isinstance(n, str) for n in labels):
        raise ClassNameError(
            'no id2label with the ids 0, 1, 2 and so on', 'write the names into a .csv file'
        )
    names: list[str] = []
    for label in labels:
        name = label.strip()[:MAX_NAME]
        same = sum(other == name or other.startswith(f'{name} (') for other in names)
        names.append(f'{name} ({same + 1})' if name in names else name)
    return _made(names, [None] * len(names), [None] * len(names))


def _of_csv(text: str) -> ClassTable:
    """A table with a name per line, and whatever else there is: id, colour, drivable."""
    places: dict[str, int] = {}
    # Spreadsheets write semicolons in many countries; ADE20K has them in its names.
    for separator in ',;\t,':
        lines = _cells(text, separator)
        places = _header(lines[0]) if lines else {}
        if places:
            lines = lines[1:]
        elif lines:
            places = _places(lines)
        if len(places) > 1:
            break
    if not lines:
        raise ClassNameError('it has no class', 'write one per line')
    if 'name' not in places:
        raise ClassNameError(
            'no column has the names', 'write a first line: name,red,green,blue,drivable'
        )

    def column(name: str) -> list[str]:
        return [row[places[name]] if places[name] < len(row) else '' for row in lines]

    names = column('name')
    colors: list[Color | None] = [None] * len(lines)
    if {'red', 'green', 'blue'} <= set(places):
        channels = zip(*(column(name) for name in ('red', 'green', 'blue')), strict=True)
        colors = [_color(row) if any(row) else None for row in channels]
    flags: list[bool | None] = [None] * len(lines)
    if 'drivable' in places:
        flags = [_flag(text) for text in column('drivable')]
    rows = list(zip(names, colors, flags, strict=True))
    if 'id' in places:
        ids = column('id')
        order = [(i, row) for i, row in zip(ids, rows, strict=True) if row[0]]
        if sorted(i for i, _ in order) != sorted(map(str, range(len(order)))):
            raise ClassNameError(
                f'its ids are {", ".join(i for i, _ in order)}',
                'a network numbers its classes 0, 1, 2 and so on without a gap: write these',
            )
        rows = [row for _, row in sorted(order, key=lambda pair: int(pair[0]))]
    if not rows:
        raise ClassNameError('it names no class', 'write a name behind each id')
    return _made(*zip(*rows, strict=True))


def _cells(text: str, separator: str) -> list[list[str]]:
    try:
        reader = csv.reader(io.StringIO(text), delimiter=separator)
        lines = [[cell.strip() for cell in row] for row in reader]
    except csv.Error as error:
        raise ClassNameError(f'no CSV ({first_line(error)})', 'save it again') from error
    return [row for row in lines if any(row)]


def _header(row: Sequence[str]) -> dict[str, int]:
    """Place of each column by its name; empty where the first line is not a header."""
    places = {}
    for place, cell in enumerate(row):
        for name, words in _COLUMNS.items():
            if cell.lower().replace(' ', '_') in words and name not in places:
                places[name] = place
    return places if 'name' in places and (len(places) > 1 or len(row) == 1) else {}


def _places(lines: Sequence[Sequence[str]]) -> dict[str, int]:
    """Place of each column by what is in it."""
    width = max(map(len, lines))
    columns = [[row[i] if i < len(row) else '' for row in lines] for i in range(width)]

    def where(test: Callable[[str], bool]) -> list[int]:
        return [i for i, cells in enumerate(columns) if all(map(test, cells))]

    numbers = where(lambda cell: cell.isascii() and cell.isdigit())
    words = where(lambda cell: cell.lower() in (*_YES, *_NO) and not cell.isdigit())
    places = {}
    if len(numbers) > 3:
        counting = [i for i in numbers if columns[i] == [str(n) for n in range(len(lines))]]
        if counting:
            places['id'] = counting[0]
            numbers.remove(counting[0])
    if len(numbers) > 3 and not words:
        words = [i for i in numbers if set(columns[i]) <= {'0', '1'}][-1:]
        numbers = [i for i in numbers if i not in words]
    if len(numbers) == 3:
        places |= dict(zip(('red', 'green', 'blue'), numbers, strict=True))
    elif len(numbers) == 1 and 'id' not in places:
        places['id'] = numbers[0]
    if words:
        places['drivable'] = words[0]
    names = [i for i in range(width) if i not in (*numbers, *words, *places.values())]
    if names:
        places['name'] = names[0]
    return places


def _color(cells: Sequence[str]) -> Color:
    try:
        red, green, blue = (int(cell) for cell in cells)
    except ValueError:
        raise ClassNameError(
            f'{",".join(cells)} is not a colour', 'write red, green and blue of 0 to 255'
        ) from None
    return red, green, blue


def _flag(text: str) -> bool:
    if text.lower() not in (*_YES, *_NO):
        raise ClassNameError(f"'{text}' is neither yes nor no", 'write drivable as yes or no')
    return text.lower() in _YES
