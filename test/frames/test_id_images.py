"""Ids out of PNG files of every depth, with palettes, and of equal channels."""

import cv2
import numpy as np
import pytest
from png_files import chunk, png_of

from linknet_ros.errors import SourceError
from linknet_ros.frames.files import read_ids, read_palette

GREY, RGB, PALETTE, RGBA = 0, 2, 3, 6


def png(path, samples, depth, kind, *chunks):
    """Write a PNG of samples (H, W) or (H, W, channels)."""
    height, width = samples.shape[:2]
    rows = []
    for row in samples.reshape(height, -1):
        if depth == 16:
            rows.append(row.astype('>u2').tobytes())
        else:
            bits = np.unpackbits(row.astype(np.uint8)[:, None], axis=1)[:, 8 - depth :]
            rows.append(np.packbits(bits.ravel()).tobytes())
    path.write_bytes(png_of(width, height, rows, depth, kind, before=b''.join(chunks)))


@pytest.mark.parametrize(
    ('depth', 'kind'),
    [*((depth, GREY) for depth in (1, 2, 4, 8, 16)), *((d, PALETTE) for d in (1, 2, 4, 8))],
)
def test_ids_of_every_depth(tmp_path, depth, kind):
    # 13 pixels: the last byte of a row is not full.
    ids = np.random.default_rng(depth).integers(0, min(256, 2**depth), (5, 13))
    colors = np.random.default_rng(1).integers(0, 256, (min(256, 2**depth), 3), np.uint8)
    palette = [chunk(b'PLTE', colors.tobytes()), chunk(b'tRNS', b'\0\x80')]
    chunks = palette if kind == PALETTE else []
    path = tmp_path / 'a.png'
    png(path, ids, depth, kind, *chunks)
    read = read_ids(path)
    assert read.dtype == np.uint8
    np.testing.assert_array_equal(read, ids)
    if kind == PALETTE:
        np.testing.assert_array_equal(read_palette(path), colors)
    else:
        assert read_palette(path) is None


def test_ids_of_more_than_8_bits_stay_what_they_are(tmp_path):
    ids = np.array([[0, 256]], np.uint16)
    png(tmp_path / 'a.png', ids, 16, GREY)
    read = read_ids(tmp_path / 'a.png')
    assert read.dtype == np.uint16
    np.testing.assert_array_equal(read, ids)


IDS = np.array([[0, 3, 200], [7, 0, 255]], np.uint8)


@pytest.mark.parametrize('alpha', [None, np.full_like(IDS, 255), IDS], ids=['RGB', 'opaque', 'id'])
def test_equal_channels_are_one(tmp_path, alpha):
    channels = [IDS] * 3 + ([] if alpha is None else [alpha])
    png(tmp_path / 'a.png', np.dstack(channels), 8, RGB if alpha is None else RGBA)
    np.testing.assert_array_equal(read_ids(tmp_path / 'a.png'), IDS)


def test_colours_are_no_ids(tmp_path):
    png(tmp_path / 'a.png', np.dstack([IDS, IDS, IDS ^ 1]), 8, RGB)
    assert read_ids(tmp_path / 'a.png').shape == (2, 3, 3)


def test_transparent_pixels_are_refused(tmp_path):
    png(tmp_path / 'a.png', np.dstack([IDS, IDS, IDS, np.where(IDS, 255, 0)]), 8, RGBA)
    with pytest.raises(SourceError, match=r'a\.png has transparent pixels, which have no id'):
        read_ids(tmp_path / 'a.png')


def test_damaged_palette_file(tmp_path):
    path = tmp_path / 'a.png'
    png(path, IDS & 3, 2, PALETTE, chunk(b'PLTE', bytes(12)))
    data = path.read_bytes()
    path.write_bytes(data[:60] + data[62:])
    with pytest.raises(SourceError, match=r'a\.png'):
        read_ids(path)


def test_other_formats(tmp_path):
    assert cv2.imwrite(str(tmp_path / 'a.bmp'), IDS)
    np.testing.assert_array_equal(read_ids(tmp_path / 'a.bmp'), IDS)
