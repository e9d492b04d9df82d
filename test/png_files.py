"""PNG files part by part, for those that an encoder would not write."""

import struct
import zlib


def chunk(kind, data):
    return struct.pack('>I', len(data)) + kind + data + struct.pack('>I', zlib.crc32(kind + data))


def png_of(width, height, rows, depth=8, color=2, *, before=b'', compressed=None):
    """A file.

    :param rows: bytes of each row.
    :param color: colour type of ISO/IEC 15948: 0 grey, 2 RGB, 3 palette, 6 RGBA.
    :param before: chunks before the data.
    :param compressed: the data, instead of rows.
    """
    header = struct.pack('>IIBBBBB', width, height, depth, color, 0, 0, 0)
    if compressed is None:
        compressed = zlib.compress(b''.join(b'\0' + row for row in rows))
    chunks = chunk(b'IHDR', header) + before + chunk(b'IDAT', compressed) + chunk(b'IEND', b'')
    return b'\x89PNG\r\n\x1a\n' + chunks
