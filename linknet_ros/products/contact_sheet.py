"""Pictures side by side on one sheet."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

_MARGIN = 6
_TITLE_HEIGHT = 26
_BACKGROUND = 32
_INK = (230, 230, 230)


def contact_sheet(
    rows: Sequence[Sequence[NDArray[np.uint8]]], titles: Sequence[str], width: int = 320
) -> NDArray[np.uint8]:
    """Lay pictures out as a table.

    :param rows: pictures, (H, W, 3) uint8 BGR or (H, W) uint8 grey, of any sizes; each row has
        one per title.
    :param titles: headings of the columns.
    :param width: of a cell of the sheet, pixels; its height keeps the shape of the row's first
        picture. One of another shape is scaled to fit into its cell.
    :returns: (H, W, 3) uint8 BGR.
    """
    strips = [_titles(titles, width)]
    for row in rows:
        height = max(1, round(row[0].shape[0] * width / row[0].shape[1]))
        cells = [_framed(_fitted(picture, width, height)) for picture in row]
        strips.append(np.hstack(cells))
    sheet: NDArray[np.uint8] = np.vstack(strips)
    return sheet


def captioned_sheet(
    cells: Sequence[tuple[Sequence[NDArray[np.uint8]], str]], columns: int, width: int = 240
) -> NDArray[np.uint8]:
    """Lay pictures out row by row, each cell with a line of text below.

    :param cells: pictures that stand side by side, see contact_sheet, and the line.
    :param columns: cells in a row.
    :param width: of each picture, pixels.
    :returns: (H, W, 3) uint8 BGR.
    """
    heights = [max(1, round(p[0].shape[0] * width / p[0].shape[1])) for p, _ in cells]
    height = sorted(heights)[len(heights) // 2]
    drawn = []
    for pictures, text in cells:
        cell = np.hstack([_framed(_fitted(picture, width, height)) for picture in pictures])
        line = np.full((_TITLE_HEIGHT, cell.shape[1], 3), _BACKGROUND, np.uint8)
        place = (_MARGIN, _TITLE_HEIGHT - 12)
        cv2.putText(line, text, place, cv2.FONT_HERSHEY_SIMPLEX, 0.42, _INK, 1, cv2.LINE_AA)
        drawn.append(np.vstack([cell, line]))
    empty = np.full_like(drawn[0], _BACKGROUND)
    drawn += [empty] * (-len(drawn) % columns)
    rows = [np.hstack(drawn[at : at + columns]) for at in range(0, len(drawn), columns)]
    sheet: NDArray[np.uint8] = np.vstack(rows)
    return sheet


def _titles(titles: Sequence[str], width: int) -> NDArray[np.uint8]:
    column = width + 2 * _MARGIN
    strip = np.full((_TITLE_HEIGHT, column * len(titles), 3), _BACKGROUND, np.uint8)
    for i, title in enumerate(titles):
        place = (i * column + _MARGIN, _TITLE_HEIGHT - 7)
        cv2.putText(strip, title, place, cv2.FONT_HERSHEY_SIMPLEX, 0.55, _INK, 1, cv2.LINE_AA)
    return strip


def _fitted(picture: NDArray[np.uint8], width: int, height: int) -> NDArray[np.uint8]:
    if picture.ndim == 2:
        picture = cv2.cvtColor(picture, cv2.COLOR_GRAY2BGR)
    scale = min(width / picture.shape[1], height / picture.shape[0])
    columns, rows = (max(1, round(scale * side)) for side in picture.shape[1::-1])
    resized = cv2.resize(picture, (columns, rows), interpolation=cv2.INTER_AREA)
    cell = np.full((height, width, 3), _BACKGROUND, np.uint8)
    left, top = (width - columns) // 2, (height - rows) // 2
    cell[top : top + rows, left : left + columns] = resized
    return cell


def _framed(picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return np.pad(
        picture,
        ((_MARGIN, _MARGIN), (_MARGIN, _MARGIN), (0, 0)),
        constant_values=_BACKGROUND,
    )
