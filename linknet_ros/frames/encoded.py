"""JPEG and PNG to arrays, from senders that may be broken: whole and of a sane size, or refused.

libjpeg fills what is missing of a picture with grey and says so on stderr only, so what it gives
is checked here: a network would name classes for the grey, and it may well name a drivable one.
"""

from __future__ import annotations

import itertools
import re
import zlib
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from linknet_ros.errors import FrameError
from linknet_ros.limits import MAX_SIDE

#: Of an image, encoded or decoded.
MAX_BYTES = 256 * 2**20

#: No encoder writes so many; they would only keep the thread busy.
_MAX_SEGMENTS, _MAX_SCANS = 65536, 64

_WAY_OUT = "check the camera's cable and the network"

_PNG_START = b'\x89PNG\r\n\x1a\n'

#: Samples per pixel, by the colour type in IHDR; a palette (3) becomes BGR.
_PNG_SAMPLES = {0: 1, 2: 3, 3: 3, 4: 2, 6: 4}

#: Deflate makes 258 bytes of 2 bits at best.
_DEFLATE_RATIO = 1032

#: A marker of JPEG; more than one 0xFF may stand before it.
_MARKER = re.compile(rb'\xff+([\x01-\xfe])')

#: Where a run of entropy-coded data ends: at any marker. 0xFF00 in it is a stuffed byte.
_RUN_END = re.compile(rb'\xff([\x01-\xfe])')

#: Pixels in a block of 8 x 8, as (row, column); its outermost may have chroma of the neighbours.
_INSIDE = ((6, 6), (1, 6), (6, 1), (3, 3), (4, 5), (2, 5), (5, 2))

#: What decodes to something if the decoder lacks data, and is skipped if it does not.
_POISON = bytes.fromhex('a55a3c96') * 16


class _Jpeg(NamedTuple):
    """What the segments of a JPEG say."""

    width: int
    height: int
    scans: int
    run_ends: list[int]  # offsets of the markers behind entropy-coded data


def decode_image(data: bytes) -> NDArray[np.uint8] | NDArray[np.uint16]:
    """Decode a JPEG or PNG image, whatever its sender calls it.

    Checked first: that both ends are there, and that it is neither too large nor larger than its
    data can be; the pixels are allocated after that. A JPEG that lacks a piece in its midst, as
    of a lost packet, is refused if blocks were left without data. JPEG has no checksum: flipped
    bits, and a loss of some hundred bytes, may garble the picture unseen.

    :param data: the file's bytes; anything may follow the image.
    :returns: (H, W) grey or (H, W, 3) BGR, and of a PNG with transparency (H, W, 4) BGRA; uint8,
        or uint16 of a 16-bit PNG. Turned as the data is, whatever EXIF says.
    :raises FrameError: it cannot be used; the message goes on after 'the image'.
    """
    if not data:
        raise FrameError('is empty; see the log of the camera driver')
    if len(data) > MAX_BYTES:
        raise FrameError(f'has over {MAX_BYTES >> 20} MiB; set the camera to a smaller size')
    jpeg = None
    if data.startswith(b'\xff\xd8'):
        jpeg = _read_jpeg(data)
        size = (jpeg.height, jpeg.width)
    elif data.startswith(_PNG_START):
        size = _read_png(data)
    else:
        raise FrameError(
            f'is neither JPEG nor PNG (it starts with {data[:4].hex(" ")}); set the camera driver '
            'to one of these'
        )
    image = _decode(data)
    if image is None or image.shape[:2] != size:
        raise FrameError(f'cannot be decoded: it is damaged; {_WAY_OUT}')
    if jpeg is not None and (jpeg.scans > 1 or _has_grey_block(image)):
        ends = [0, *jpeg.run_ends, len(data)]
        pieces = [data[a:b] for a, b in itertools.pairwise(ends)]
        other = _decode(_POISON.join(pieces))
        if other is None or not np.array_equal(image, other):
            raise FrameError(f'lacks a piece of its data; {_WAY_OUT}')
    return image


def _decode(data: bytes) -> NDArray[np.uint8] | NDArray[np.uint16] | None:
    try:
        image: NDArray[np.uint8] | NDArray[np.uint16] | None = cv2.imdecode(
            np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED
        )
    except cv2.error:
        return None
    return image


def _check_size(width: int, height: int, sample_bytes: int) -> None:
    """Refuse a size that no image has.

    :param sample_bytes: of a pixel.
    """
    size = f'of {width} x {height}'
    if min(width, height) < 1:
        raise FrameError(f'{size}: width and height must be at least 1; check the camera driver')
    if max(width, height) > MAX_SIDE or width * height * sample_bytes > MAX_BYTES:
        raise FrameError(
            f'{size} is over the limit of {MAX_SIDE} pixels a side and {MAX_BYTES >> 20} MiB: it '
            'is damaged, or the camera must be set to a smaller size'
        )


def _read_jpeg(data: bytes) -> _Jpeg:
    """Walk through the segments to the end marker.

    Source: ITU-T T.81, annex B.
    """
    frame: tuple[int, int, int, int] | None = None  # width, height, blocks, MCUs
    at, scans, coded, restarts, interval = 2, 0, 0, 0, 0
    ends: list[int] = []
    for _ in range(_MAX_SEGMENTS):
        marker = _MARKER.match(data, at)
        if marker is None:
            raise _cut_short('JPEG') if at + 1 >= len(data) else _damaged('JPEG')
        code, at = marker[1][0], marker.end()
        if code == 0xD9:
            break
        length = int.from_bytes(data[at : at + 2], 'big')
        body = data[at + 2 : at + length]
        if at + max(length, 2) > len(data):
            raise _cut_short('JPEG')
        at += length
        if length < 2 or code < 0xC0 or 0xD0 <= code <= 0xD8:
            raise _damaged('JPEG')
        if 0xC0 <= code <= 0xCF and code not in (0xC4, 0xC8, 0xCC):
            if frame is not None:
                raise _damaged('JPEG')
            frame = _read_frame(code, body)
        elif code == 0xDD:
            interval = int.from_bytes(body[:2], 'big')
        elif code == 0xDA:
            scans += 1
            if frame is None or scans > _MAX_SCANS:
                raise _damaged('JPEG')
            runs = _run_ends(data, at, frame[2])
            ends += runs
            restarts += len(runs) - 1
            coded += runs[-1] - at
            at = runs[-1]
    else:
        raise _damaged('JPEG')
    if frame is None or not scans:
        raise FrameError(f'is a JPEG without a picture; {_WAY_OUT}')
    width, height, blocks, mcus = frame
    # A code has one bit at least. Whole intervals may be lost: then their markers are, too.
    if coded * 8 < blocks or (scans == 1 and interval and restarts < (mcus - 1) // interval):
        raise FrameError(f'lacks a piece of its data; {_WAY_OUT}')
    return _Jpeg(width, height, scans, ends)


def _run_ends(data: bytes, at: int, most: int) -> list[int]:
    """Where the runs of a scan's entropy-coded data end, which restart markers divide.

    :param most: restart markers there can be.
    """
    ends = [at]
    for run in _RUN_END.finditer(data, at):
        ends.append(ends[-1] + len(data[ends[-1] : run.start()].rstrip(b'\xff')))
        if not 0xD0 <= run[1][0] <= 0xD7:
            return ends[1:]
        if len(ends) > most + 1:
            raise _damaged('JPEG')
    raise _cut_short('JPEG')


def _cut_short(codec: str) -> FrameError:
    return FrameError(f'is cut short: the end of the {codec} is missing; {_WAY_OUT}')


def _damaged(codec: str) -> FrameError:
    return FrameError(f'is a damaged {codec}; {_WAY_OUT}')


def _read_frame(code: int, body: bytes) -> tuple[int, int, int, int]:
    """Width, height, and the smallest numbers of blocks and MCUs that a JPEG's header tells."""
    components = body[5] if len(body) > 5 else 0
    if len(body) < 6 + 3 * components:
        raise _damaged('JPEG')
    if code > 0xC2 or body[0] != 8 or components not in (1, 3):
        raise FrameError(
            f'is a JPEG of a kind that is not read (SOF{code - 0xC0}, {body[0]} bits, '
            f'{components} components); set the camera driver to baseline JPEG or PNG'
        )
    height, width = int.from_bytes(body[1:3], 'big'), int.from_bytes(body[3:5], 'big')
    _check_size(width, height, components)
    # A single component has MCUs of one block, whatever its sampling.
    factors = body[7 : 7 + 3 * components : 3] if components > 1 else b'\x11'
    across, down = 8 * max(f >> 4 for f in factors), 8 * max(f & 15 for f in factors)
    if not across or not down:
        raise _damaged('JPEG')
    blocks = -(-width // 8) * -(-height // 8)
    return width, height, blocks, -(-width // across) * -(-height // down)


def _read_png(data: bytes) -> tuple[int, int]:
    """Walk through the chunks to the last; height and width.

    Source: the PNG specification (ISO/IEC 15948), chapters 5 and 11.
    """
    at, idat = len(_PNG_START), 0
    height = width = bits = 0
    for number in range(_MAX_SEGMENTS):
        length, kind = int.from_bytes(data[at : at + 4], 'big'), data[at + 4 : at + 8]
        end = at + 12 + length
        if end > len(data):
            raise _cut_short('PNG')
        checksum = int.from_bytes(data[end - 4 : end], 'big')
        if zlib.crc32(memoryview(data)[at + 4 : end - 4]) != checksum:
            raise _damaged('PNG')
        if (number == 0) != (kind == b'IHDR' and length == 13):
            raise _damaged('PNG')
        if kind == b'IHDR':
            width, height = (int.from_bytes(data[at + i : at + i + 4], 'big') for i in (8, 12))
            depth, samples = data[at + 16], _PNG_SAMPLES.get(data[at + 17], 0)
            if not samples or depth not in (1, 2, 4, 8, 16):
                raise _damaged('PNG')
            bits = depth if data[at + 17] == 3 else depth * samples
            _check_size(width, height, samples * max(1, depth // 8))
        elif kind == b'acTL':
            raise FrameError('is an animation; set the camera driver to JPEG or PNG')
        elif kind == b'IDAT':
            idat += length
        elif kind == b'IEND':
            break
        at = end
    else:
        raise _damaged('PNG')
    if width * height * bits // 8 > idat * _DEFLATE_RATIO:
        raise FrameError(f'lacks a piece of its data; {_WAY_OUT}')
    return height, width


def _has_grey_block(image: NDArray[np.uint8] | NDArray[np.uint16]) -> bool:
    """Whether a block is as libjpeg leaves one without data, 128 all over.

    A camera has such blocks as well, if rarely.
    """
    height, width = image.shape[:2]
    pixels = image.reshape(height, width, -1)
    rows, columns = np.nonzero((pixels[1::8, 1::8] == 128).all(axis=2))
    for down, right in _INSIDE:
        y, x = np.minimum(8 * rows + down, height - 1), np.minimum(8 * columns + right, width - 1)
        still = (pixels[y, x] == 128).all(axis=1)
        rows, columns = rows[still], columns[still]
    return len(rows) > 0
