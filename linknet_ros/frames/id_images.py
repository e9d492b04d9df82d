"""Ids out of the images that labelling tools write: what a decoder changes is put back.

A decoder makes pictures: it spreads samples of 1, 2 and 4 bits over 0 to 255, and replaces the
index of a palette by its colour.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from linknet_ros.errors import SourceError

_PNG_START = b'\x89PNG\r\n\x1a\n'
_GREY, _PALETTE = 0, 3


def with_indices_as_palette(data: bytes) -> bytes:
    """A PNG with a palette, changed so that the colour of each index is that index in grey.

    :param data: a file; any other comes back as it is.
    """
    depth, kind = _depth_and_kind(data)
    if kind != _PALETTE:
        return data
    colors = bytes(index for index in range(2 ** min(depth, 8)) for _ in range(3))
    parts = [_PNG_START]
    for name, body in _chunks(data):
        if name == b'tRNS':
            continue
        body = colors if name == b'PLTE' else body
        checksum = zlib.crc32(name + body).to_bytes(4, 'big')
        parts += [len(body).to_bytes(4, 'big'), name, body, checksum]
    return b''.join(parts)


def palette_of(data: bytes) -> NDArray[np.uint8] | None:
    """Colours (n, 3) uint8 RGB of a PNG's palette; None for a file that has none."""
    if _depth_and_kind(data)[1] != _PALETTE:
        return None
    colors = next((body for name, body in _chunks(data) if name == b'PLTE'), b'')
    return np.frombuffer(colors[: len(colors) // 3 * 3], np.uint8).reshape(-1, 3)


def ids_of(
    path: Path, data: bytes, image: NDArray[np.uint8] | NDArray[np.uint16]
) -> NDArray[np.uint8] | NDArray[np.uint16]:
    """Ids of a decoded file; see `read_ids` of linknet_ros.frames.files.

    :param path: for the error.
    :param data: the file.
    :param image: what a decoder made of with_indices_as_palette(data), its channels kept.
    :raises SourceError: when parts of it are transparent.
    """
    depth, kind = _depth_and_kind(data)
    if image.ndim == 3:
        image = _one_channel(path, image)
    if kind == _GREY and depth < 8:
        image = image // np.uint8(255 // (2**depth - 1))
    if image.dtype == np.uint16 and image.max() <= 255:
        image = image.astype(np.uint8)
    return image


def _depth_and_kind(data: bytes) -> tuple[int, int]:
    """Bits per sample and colour type of a PNG; (8, -1) of anything else."""
    if not data.startswith(_PNG_START) or len(data) < 26:
        return 8, -1
    return data[24], data[25]


def _one_channel(
    path: Path, image: NDArray[np.uint8] | NDArray[np.uint16]
) -> NDArray[np.uint8] | NDArray[np.uint16]:
    """The channel that all are equal to; the image itself if they are not."""
    first = image[..., 0]
    if (image[..., 1:3] != first[..., None]).any():
        return image
    if image.shape[2] == 4:
        alpha = image[..., 3]
        opaque = np.iinfo(image.dtype).max
        if (alpha != opaque).any() and (alpha != first).any():
            raise SourceError(
                f'{path} has transparent pixels, which have no id',
                'export it without transparency, with an id of its own for what is not labelled',
            )
    return first.copy()


def _chunks(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Name and body of a PNG's chunks; source: ISO/IEC 15948, chapter 5.3."""
    at = len(_PNG_START)
    while at + 12 <= len(data):
        length = int.from_bytes(data[at : at + 4], 'big')
        yield data[at + 4 : at + 8], data[at + 8 : at + 8 + length]
        at += 12 + length
