"""What the colours of an overlay mean, and how fast the node is, written into its corners."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from linknet_ros.classes import ClassTable

Bytes = NDArray[np.uint8]

#: A class is listed from this share of the frame on; what is smaller would only flicker. About so
#: many pixels are counted, in rows and columns of equal distance.
_LEAST_SHARE = 0.0003
_SAMPLES = 50_000
#: Rows of text on the shorter side of a frame of 4:3, and the fewest pixels of one that can be
#: read.
_ROWS = 30
_LOWEST_ROW = 11
#: Largest share of the frame's width and of its height that the legend may take, and the line.
_LEGEND_SHARE = 0.4, 0.5
_LINE_SHARE = 0.5, 0.12
#: Longer names are cut.
_LONGEST_NAME = 20
#: How much of the overlay is seen through the background.
_SEEN_THROUGH = 0.35
_FONT, _INK = cv2.FONT_HERSHEY_SIMPLEX, (255, 255, 255)
#: Height of a capital letter of the font at a scale of 1 [px].
_CAPITAL = 21.0


@dataclass(frozen=True)
class _Strip:
    """Something drawn: bgr uint8 (H, W, 3), and 255 where it covers the frame, (H, W) uint8."""

    bgr: Bytes
    covers: Bytes


class OverlayLegend:
    """Draws into overlays; what it draws depends on labels, size and line only.

    Strips of text are kept for the last frame size, the legend for the last set of classes. It is
    as wide as the longest name of all, so that it neither jumps nor comes and goes with the
    classes.

    :param classes: the model's.
    :param drivable: ids of the classes that are marked as drivable.
    """

    def __init__(self, classes: ClassTable, drivable: Iterable[int]) -> None:
        drivable = set(drivable)
        self._colors = classes.palette_bgr()
        self._texts = [
            _readable(name, i) + (' (drivable)' if i in drivable else '')
            for i, name in enumerate(classes.names)
        ]
        self._size = (0, 0)
        self._row = 0
        self._strips: list[_Strip] = []
        self._shown: tuple[int, ...] = ()
        self._legend: _Strip | None = None

    def draw(self, overlay: Bytes, labels: Bytes, line: str = '') -> None:
        """Write the classes of a frame at the top left, and a line at the bottom left.

        A frame too small for it is left as it is; where not all classes fit, those with the most
        pixels are listed.

        :param overlay: (H, W, 3) uint8 BGR; changed.
        :param labels: (H, W) uint8 class ids.
        :param line: at the bottom, e.g. the frame rate; empty for none.
        """
        height, width = labels.shape
        if (width, height) != self._size:
            self._size = width, height
            self._row = max(_LOWEST_ROW, round(min(height, 0.75 * width) / _ROWS))
            self._strips = [
                self._text(text, self._colors[i]) for i, text in enumerate(self._texts)
            ]
            self._shown, self._legend = (), None
        classes = self._most_seen(labels)
        if classes != self._shown:
            self._shown, self._legend = classes, self._stacked(classes)
        if self._legend is not None:
            rows, columns = self._legend.covers.shape
            _stamp(overlay[:rows, :columns], self._legend)
        if line:
            strip = self._text(line)
            rows, columns = strip.covers.shape
            if columns <= _LINE_SHARE[0] * width and rows <= _LINE_SHARE[1] * height:
                _stamp(overlay[height - rows :, :columns], strip)

    def _most_seen(self, labels: Bytes) -> tuple[int, ...]:
        """Ids of the classes to list, rising."""
        step = max(1, round(math.sqrt(labels.size / _SAMPLES)))
        sample = np.ascontiguousarray(labels[::step, ::step])
        counts = cv2.calcHist([sample], [0], None, [256], [0, 256]).ravel()[: len(self._texts)]
        seen = np.flatnonzero(counts >= max(1.0, _LEAST_SHARE * sample.size))
        room = int(_LEGEND_SHARE[1] * labels.shape[0]) // self._row
        if len(seen) > room:
            # Stable: of two that are as large, the first.
            seen = np.sort(seen[np.argsort(-counts[seen], kind='stable')[:room]])
        return tuple(seen.tolist())

    def _stacked(self, classes: tuple[int, ...]) -> _Strip | None:
        """The rows of some classes below each other; None for none and where they do not fit."""
        strips = [self._strips[i] for i in classes]
        columns = max(strip.covers.shape[1] for strip in self._strips)
        if not strips or columns > _LEGEND_SHARE[0] * self._size[0]:
            return None
        legend = _empty(len(strips) * self._row, columns)
        for i, strip in enumerate(strips):
            rows = slice(i * self._row, (i + 1) * self._row)
            legend.bgr[rows, : strip.bgr.shape[1]] = strip.bgr
            legend.covers[rows, : strip.bgr.shape[1]] = strip.covers
        return legend

    def _text(self, text: str, color: Bytes | None = None) -> _Strip:
        """A row of text, behind a swatch of a colour where one is given."""
        row = self._row
        scale, thick = 0.62 * row / _CAPITAL, max(1, round(row / 18))
        length = cv2.getTextSize(text, _FONT, scale, thick)[0][0]
        margin = max(2, row // 4)
        left = margin if color is None else 2 * margin + row
        strip = _empty(row, left + length + margin)
        if color is not None:
            swatch = np.s_[margin // 2 : row - margin // 2, margin : margin + row]
            strip.bgr[swatch], strip.covers[swatch] = color, 255
        foot = (left, row - round(0.22 * row))
        cv2.putText(strip.bgr, text, foot, _FONT, scale, _INK, thick, cv2.LINE_AA)
        cv2.putText(strip.covers, text, foot, _FONT, scale, (255,), thick, cv2.LINE_AA)
        np.copyto(strip.covers, 255, where=strip.covers > 0)
        return strip


def _readable(name: str, class_id: int) -> str:
    """A class name in the letters that the font has, not too long."""
    if not name.isascii():
        return f'class {class_id}'
    return name if len(name) <= _LONGEST_NAME else f'{name[: _LONGEST_NAME - 3]}...'


def _empty(rows: int, columns: int) -> _Strip:
    return _Strip(np.zeros((rows, columns, 3), np.uint8), np.zeros((rows, columns), np.uint8))


def _stamp(view: Bytes, strip: _Strip) -> None:
    """Darken a part of the overlay and put a strip on it."""
    cv2.convertScaleAbs(view, view, _SEEN_THROUGH)
    cv2.copyTo(strip.bgr, strip.covers, view)
