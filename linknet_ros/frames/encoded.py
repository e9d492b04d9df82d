"""JPEG and PNG to arrays, from senders that may be broken: whole and of a sane size, or refused.

libjpeg fills missing parts of a picture with grey and only warns on stderr; a network would find
classes in the grey, and they may well be drivable. simplejpeg turns those warnings into errors.
"""

from __future__ import annotations

import logging
import re
import zlib
from collections.abc import Iterator

import cv2
import numpy as np
from numpy.typing import NDArray

from linknet_ros.errors import FrameError, first_line
from linknet_ros.limits import MAX_IMAGE_BYTES, MAX_SIDE

try:
    import simplejpeg
except ImportError:  # pip has it, apt does not
    simplejpeg = None

#: No encoder writes so many; they would only keep the thread busy.
_MAX_CHUNKS, _MAX_SCANS = 65536, 64

_FIX = "check the camera's cable and the network"

_START_OF_SCAN, _END_OF_IMAGE = b'\xff\xda', b'\xff\xd9'

#: Padding in front of the end marker that is accepted, in bytes. Behind a damaged spot a decoder
#: may finish early as well, but then it leaves a random number of bytes, mostly thousands.
_MAX_PADDING = 64

#: What libjpeg (jdmarker.c) says of padding in front of the end marker: by then every block has
#: been decoded, and nothing was wrong so far, since only the first warning is reported.
_PADDING = re.compile(r'(\d+) extraneous bytes before marker 0xd9')

#: Warnings of libjpeg (jerror.h) about header fields that do not change how it decodes.
_HEADER_WARNING = re.compile('JFIF revision|Invalid SOS parameters|Adobe color transform')

_PNG_START = b'\x89PNG\r\n\x1a\n'

#: Samples per pixel, by the colour type in IHDR; a palette (3) becomes BGR.
_PNG_SAMPLES = {0: 1, 2: 3, 3: 3, 4: 2, 6: 4}

#: Deflate makes 258 bytes of 2 bits at best.
_DEFLATE_RATIO = 1032

_LOG = logging.getLogger('linknet_ros')

_accepted_warnings: set[str] = set()


def decode_image(data: bytes) -> NDArray[np.uint8] | NDArray[np.uint16]:
    """Decode a JPEG or PNG image, whatever its sender calls it.

    Checked before pixels are allocated: both ends are there, and the image is neither too large
    nor larger than its data can be. A JPEG of which a part is missing, for example a lost packet,
    is refused where simplejpeg is installed; otherwise only if its end is missing. JPEG has no
    checksum: a few flipped or lost bytes may garble the picture without being noticed.

    :param data: the file's bytes; anything may follow the image.
    :returns: (H, W) grey or (H, W, 3) BGR, and of a PNG with transparency (H, W, 4) BGRA; uint8,
        or uint16 of a 16-bit PNG. Turned as the data is, whatever EXIF says.
    :raises FrameError: it cannot be used; the message continues a sentence about the image.
    """
    if not data:
        raise FrameError('is empty', 'see the log of the camera driver')
    if len(data) > MAX_IMAGE_BYTES:
        raise FrameError(
            f'has over {MAX_IMAGE_BYTES >> 20} MiB', 'set the camera to a smaller size'
        )
    if data.startswith(b'\xff\xd8'):
        return _decode_jpeg(data)
    if data.startswith(_PNG_START):
        size = _read_png(data)
        image = _decode(data)
        if image is None or image.shape[:2] != size:
            raise FrameError('cannot be decoded: it is damaged', _FIX)
        return image
    raise FrameError(
        f'is neither JPEG nor PNG (it starts with {data[:4].hex(" ")})',
        'set the camera driver to one of these',
    )


def _decode_jpeg(data: bytes) -> NDArray[np.uint8] | NDArray[np.uint16]:
    # Compressed data has neither marker in it, and the thumbnail in a header comes before both.
    if data.rfind(_END_OF_IMAGE) < data.rfind(_START_OF_SCAN):
        raise _cut_short('JPEG')
    if data.count(_START_OF_SCAN) > _MAX_SCANS:
        raise _damaged('JPEG')
    if simplejpeg is None:
        image = _decode(data)
        if image is None:
            raise _damaged('JPEG')
        _check_size(image.shape[1], image.shape[0], image[0, 0].nbytes)
        return image
    try:
        height, width, colors, _ = simplejpeg.decode_jpeg_header(data, strict=False)
        samples = 1 if colors == 'Gray' else 3
        _check_size(width, height, samples)
        # Each block of 8 x 8 takes a bit at least.
        if -(-width // 8) * -(-height // 8) > 8 * len(data):
            raise _missing_data()
        return _decode_strictly(data, 'GRAY' if samples == 1 else 'BGR')
    except (ValueError, KeyError) as error:
        # KeyError: simplejpeg found numbers in the header that it has no name for.
        unknown = 'unknown colours or sampling'
        reason = unknown if isinstance(error, KeyError) else first_line(error)
        reason = reason.removeprefix('Corrupt JPEG data: ')
        raise FrameError(f'is a damaged JPEG ({reason})', _FIX) from error


def _decode_strictly(data: bytes, colors: str) -> NDArray[np.uint8]:
    """Decode a JPEG in which nothing is missing.

    :raises ValueError: with libjpeg's first warning or error.
    """
    for repaired in (False, True):
        try:
            image = simplejpeg.decode_jpeg(data, colors, strict=True)
            break
        except ValueError as error:
            padding = _PADDING.search(str(error))
            if padding is not None and int(padding[1]) <= _MAX_PADDING:
                _accept('padding before the end marker')
                image = simplejpeg.decode_jpeg(data, colors, strict=False)
                break
            if repaired or not _HEADER_WARNING.search(str(error)):
                raise
            _accept(str(error))
            # The warning would hide the next one, which may be about missing data.
            data = _with_usual_header(data)
    pixels: NDArray[np.uint8] = image[..., 0] if colors == 'GRAY' else image
    return pixels


def _accept(warning: str) -> None:
    """Warn once of what a camera does in every frame."""
    if warning not in _accepted_warnings:
        _accepted_warnings.add(warning)
        _LOG.warning('JPEG images do not follow the standard, and are used: %s', warning)


def _with_usual_header(data: bytes) -> bytes:
    """A JPEG whose header fields no decoder warns of; same length, same picture."""
    changed = bytearray(data)
    progressive = False
    for code, start, end in _segments(data):
        if code == 0xE0 and data[start : start + 5] == b'JFIF\0':
            changed[start + 5 : start + 7] = b'\1\1'
        elif code == 0xEE and data[start : start + 5] == b'Adobe' and end - start >= 12:
            changed[start + 11] = 1
        elif code == 0xC2:
            progressive = True
        elif code == 0xDA and not progressive and end - start >= 6:
            changed[end - 3 : end] = b'\0\x3f\0'
    return bytes(changed)


def _segments(data: bytes) -> Iterator[tuple[int, int, int]]:
    """Code, start and end of the bodies of the segments up to the first scan's header.

    Source: ITU-T T.81, annex B.
    """
    at = 2
    while at + 4 <= len(data) and data[at] == 0xFF:
        code = data[at + 1]
        if code == 0xFF:
            at += 1
            continue
        end = at + 2 + int.from_bytes(data[at + 2 : at + 4], 'big')
        yield code, at + 4, end
        if code == 0xDA or end < at + 4:
            return
        at = end


def _decode(data: bytes) -> NDArray[np.uint8] | NDArray[np.uint16] | None:
    try:
        image: NDArray[np.uint8] | NDArray[np.uint16] | None = cv2.imdecode(
            np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED
        )
    except cv2.error:
        return None
    return image


def _check_size(width: int, height: int, sample_bytes: int) -> None:
    """Refuse a size that no camera has.

    :param sample_bytes: of a pixel.
    """
    size = f'of {width} x {height}'
    if min(width, height) < 1:
        raise FrameError(
            f'{size} is empty: width and height must be at least 1', 'check the camera driver'
        )
    if max(width, height) > MAX_SIDE or width * height * sample_bytes > MAX_IMAGE_BYTES:
        raise FrameError(
            f'{size} is over the limit of {MAX_SIDE} pixels a side and '
            f'{MAX_IMAGE_BYTES >> 20} MiB: it is damaged',
            'otherwise set the camera to a smaller size',
        )


def _cut_short(codec: str) -> FrameError:
    return FrameError(f'is cut short: the end of the {codec} is missing', _FIX)


def _damaged(codec: str) -> FrameError:
    return FrameError(f'is a damaged {codec}', _FIX)


def _missing_data() -> FrameError:
    return FrameError('is incomplete: a piece of its data is missing', _FIX)


def _read_png(data: bytes) -> tuple[int, int]:
    """Walk through the chunks to the last; height and width.

    Source: the PNG specification (ISO/IEC 15948), chapters 5 and 11.
    """
    at, idat = len(_PNG_START), 0
    height = width = bits = 0
    for number in range(_MAX_CHUNKS):
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
            raise FrameError('is an animation', 'set the camera driver to JPEG or PNG')
        elif kind == b'IDAT':
            idat += length
        elif kind == b'IEND':
            break
        at = end
    else:
        raise _damaged('PNG')
    if width * height * bits // 8 > idat * _DEFLATE_RATIO:
        raise _missing_data()
    return height, width
