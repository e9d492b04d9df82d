"""Decoding what a broken sender may send: the exact picture, or one line that says why not."""

import itertools
import random
import struct
import zlib

import cv2
import numpy as np
import pytest

from linknet_ros.errors import FrameError
from linknet_ros.frames import encoded as encoded_images
from linknet_ros.frames.encoded import decode_image
from linknet_ros.limits import MAX_SIDE
from linknet_ros.simulation.street import StreetDrive

BASELINE = ()
RESTARTS = (cv2.IMWRITE_JPEG_RST_INTERVAL, 5)
PROGRESSIVE = (cv2.IMWRITE_JPEG_PROGRESSIVE, 1)
OPTIMIZED = (cv2.IMWRITE_JPEG_OPTIMIZE, 1)
KINDS = [BASELINE, RESTARTS, PROGRESSIVE, OPTIMIZED]

MISSING = 'lacks a piece of its data'


@pytest.fixture(scope='module')
def street():
    """(120, 168, 3) uint8 BGR; both sides are no multiples of an MCU's 16."""
    return StreetDrive(3, 168, 120).frame(2.0).bgr


@pytest.fixture
def no_decoder(monkeypatch):
    """Fail where pixels would be allocated."""
    monkeypatch.setattr(cv2, 'imdecode', lambda *_: pytest.fail('decoded'))


def jpeg(image, *options):
    return cv2.imencode('.jpg', image, [cv2.IMWRITE_JPEG_QUALITY, 90, *options])[1].tobytes()


def png(image):
    return cv2.imencode('.png', image)[1].tobytes()


def chunk(kind, data):
    return struct.pack('>I', len(data)) + kind + data + struct.pack('>I', zlib.crc32(kind + data))


def png_of(width, height, rows, depth=8, color=2, *, before=b'', compressed=None):
    header = struct.pack('>IIBBBBB', width, height, depth, color, 0, 0, 0)
    data = (
        zlib.compress(b''.join(b'\0' + row for row in rows)) if compressed is None else compressed
    )
    return (
        b'\x89PNG\r\n\x1a\n'
        + chunk(b'IHDR', header)
        + before
        + chunk(b'IDAT', data)
        + chunk(b'IEND', b'')
    )


def sized(data, width, height):
    """A JPEG with another size in its header."""
    at = data.index(b'\xff\xc0')
    return data[: at + 5] + struct.pack('>HH', height, width) + data[at + 9 :]


def refusal(data):
    with pytest.raises(FrameError) as caught:
        decode_image(data)
    message = str(caught.value)
    assert '\n' not in message
    assert message.startswith(('is ', 'has ', 'of ', 'lacks ', 'cannot '))
    return message


# Whole images.


@pytest.mark.parametrize('dtype', [np.uint8, np.uint16])
@pytest.mark.parametrize('channels', [(), (3,), (4,)])
def test_png_is_exact(dtype, channels):
    image = np.random.default_rng(0).integers(0, np.iinfo(dtype).max, (7, 9, *channels), dtype)
    decoded = decode_image(png(image))
    assert decoded.dtype == dtype
    np.testing.assert_array_equal(decoded, image)


@pytest.mark.parametrize('options', KINDS)
def test_jpeg_is_what_opencv_makes_of_it(street, options):
    for image in (street, street[..., 0]):
        data = jpeg(image, *options)
        decoded = decode_image(data)
        np.testing.assert_array_equal(decoded, cv2.imdecode(np.frombuffer(data, np.uint8), -1))
        assert np.abs(decoded.astype(int) - image).mean() < 6


def test_palette_and_single_bits():
    colors = bytes([255, 0, 0, 1, 2, 3])
    palette = png_of(2, 2, [b'\0\1', b'\1\0'], color=3, before=chunk(b'PLTE', colors))
    red, other = [0, 0, 255], [3, 2, 1]
    assert decode_image(palette).tolist() == [[red, other], [other, red]]
    bits = png_of(3, 2, [b'\xa0', b'\x40'], depth=1, color=0)
    assert decode_image(bits).tolist() == [[255, 0, 255], [0, 255, 0]]


@pytest.mark.parametrize('options', KINDS)
def test_what_follows_an_image_is_no_matter(street, options):
    expected = decode_image(jpeg(street, *options))
    np.testing.assert_array_equal(decode_image(jpeg(street, *options) + bytes(500)), expected)
    np.testing.assert_array_equal(decode_image(png(street) + b'more'), street)


def test_fill_bytes_and_comments_in_a_jpeg(street):
    data = jpeg(street)
    comment = b'\xff\xff\xfe\0\6\xff\xd9\xff\xda'
    odd = data[:2] + comment + data[2:-2] + b'\xff\xff' + data[-2:]
    np.testing.assert_array_equal(decode_image(odd), decode_image(data))


def test_orientation_in_exif_is_left_to_the_driver(street):
    # Orientation 6, a quarter turn; camera_info is of the picture as it is stored.
    tiff = b'II*\0\x08\0\0\0\1\0\x12\1\3\0\1\0\0\0\6\0\0\0\0\0\0\0'
    exif = b'Exif\0\0' + tiff
    data = jpeg(street)
    turned = data[:2] + b'\xff\xe1' + struct.pack('>H', len(exif) + 2) + exif + data[2:]
    np.testing.assert_array_equal(decode_image(turned), decode_image(data))


@pytest.mark.parametrize('options', KINDS)
@pytest.mark.parametrize('shape', [(1, 1), (7, 9), (9, 17), (64, 33), (40, 56, 3)])
def test_grey_of_128_is_a_picture_too(shape, options):
    # What libjpeg puts where data is missing.
    image = np.full(shape, 128, np.uint8)
    np.testing.assert_array_equal(decode_image(jpeg(image, *options)), image)


# Images that lack something.


@pytest.mark.parametrize('options', KINDS)
def test_jpeg_cut_anywhere(street, options):
    data = jpeg(street, *options)
    for length in (*range(0, len(data), 97), len(data) - 2, len(data) - 1):
        message = refusal(data[:length])
        assert 'cut short' in message or length < 4, (length, message)


def test_end_marker_of_a_thumbnail_is_not_the_end(street):
    data = jpeg(street)
    thumbnail = b'Exif\0\0' + jpeg(street[:16, :16])
    whole = data[:2] + b'\xff\xe1' + struct.pack('>H', len(thumbnail) + 2) + thumbnail + data[2:]
    np.testing.assert_array_equal(decode_image(whole), decode_image(data))
    assert 'cut short' in refusal(whole[: len(thumbnail) + 1000])


@pytest.mark.parametrize('options', [BASELINE, RESTARTS, OPTIMIZED])
@pytest.mark.parametrize('color', [True, False])
def test_jpeg_with_a_piece_missing_and_both_ends_there(street, options, color):
    # A lost packet: libjpeg fills the bottom of the picture with grey.
    data = jpeg(street if color else street[..., 0], *options)
    first = data.index(b'\xff\xda') + 20
    rng = random.Random(0)
    for _ in range(60):
        start = rng.randrange(first, len(data) - 1402)
        damaged = data[:start] + data[start + 1400 :]
        refusal(damaged)


@pytest.mark.parametrize('share', [0.2, 0.5, 0.9])
def test_jpeg_whose_rest_is_an_end_marker(street, share):
    for options in (BASELINE, RESTARTS, OPTIMIZED):
        data = jpeg(street, *options)
        assert MISSING in refusal(data[: int(len(data) * share)] + b'\xff\xd9')


def test_first_scan_of_a_progressive_jpeg_cut(street):
    data = jpeg(street, *PROGRESSIVE)
    scans = [i for i in range(len(data) - 1) if data[i : i + 2] == b'\xff\xda']
    end = data.index(b'\xff\xc4', scans[0])
    damaged = data[: (scans[0] + end) // 2] + data[end:]
    assert MISSING in refusal(damaged)


@pytest.mark.parametrize('lost', [1, 8, 30])
def test_whole_intervals_missing(street, lost):
    data = jpeg(street, *RESTARTS)
    first = data.index(b'\xff\xda')
    marks = [i for i in range(first, len(data) - 1) if data[i] == 255 and 208 <= data[i + 1] < 216]
    # 11 x 8 MCUs in intervals of 5.
    assert len(marks) == 17
    for start in range(0, max(1, 17 - lost), 3):
        end = marks[start + lost] if start + lost < 17 else len(data) - 2
        assert MISSING in refusal(data[: marks[start]] + data[end:]), start


def test_png_cut_anywhere(street):
    data = png(street)
    for length in (*range(8, len(data), 997), len(data) - 12, len(data) - 1):
        assert 'cut short' in refusal(data[:length])


def test_png_with_one_bit_flipped(street):
    data = png(street)
    rng = random.Random(0)
    for _ in range(200):
        at = rng.randrange(len(data))
        damaged = bytearray(data)
        damaged[at] ^= 1 << rng.randrange(8)
        refusal(bytes(damaged))


def test_png_that_was_written_wrongly(street):
    rows = [row.tobytes() for row in street]
    height, width = street.shape[:2]
    np.testing.assert_array_equal(decode_image(png_of(width, height, rows))[..., ::-1], street)
    assert 'cannot be decoded' in refusal(png_of(width, height, rows[:60]))
    half = zlib.compress(b''.join(b'\0' + row for row in rows))[:9000]
    assert 'cannot be decoded' in refusal(png_of(width, height, [], compressed=half))
    assert MISSING in refusal(png_of(width, height, [], compressed=b''))


# Sizes, before a pixel is allocated.


@pytest.mark.parametrize(
    ('width', 'height', 'reason'),
    [
        (0, 120, 'of 0 x 120: width and height must be at least 1'),
        (168, 0, 'of 168 x 0: width and height must be at least 1'),
        (16385, 120, 'of 16385 x 120 is over the limit of 16384 pixels a side'),
        (168, 65535, 'of 168 x 65535 is over the limit'),
        (16384, 16384, 'of 16384 x 16384 is over the limit of 16384 pixels a side and 256 MiB'),
        # Of a size that exists, but not in so little data.
        (8192, 8192, MISSING),
    ],
)
def test_size_is_checked_first(street, no_decoder, width, height, reason):
    assert reason in refusal(sized(jpeg(street), width, height))
    rows = zlib.compress(bytes(10000))
    assert reason in refusal(png_of(width, height, [], compressed=rows))


def test_png_with_a_size_beyond_belief(no_decoder):
    assert 'of 4294967295 x 4294967295 is over' in refusal(
        png_of(2**32 - 1, 2**32 - 1, [], compressed=b'')
    )
    # 16 bits and 4 samples: 512 MiB.
    deep = png_of(8192, 8192, [], depth=16, color=6, compressed=bytes(10**6))
    assert 'over the limit' in refusal(deep)


def test_bytes_are_limited(street, no_decoder, monkeypatch):
    monkeypatch.setattr(encoded_images, 'MAX_BYTES', 2**20)
    assert refusal(png(street) + bytes(2**20)).startswith('has over 1 MiB; set the camera')


def test_endless_segments_are_not_followed(street, no_decoder):
    comment = b'\xff\xfe\0\2' * 70000
    assert 'damaged JPEG' in refusal(b'\xff\xd8' + comment + jpeg(street)[2:])
    data = png(street)
    assert 'damaged PNG' in refusal(data[:33] + chunk(b'tEXt', b'') * 70000 + data[33:])


def test_endless_restarts_are_not_followed(street, no_decoder):
    data = jpeg(street, *RESTARTS)
    assert 'damaged JPEG' in refusal(data[:-2] + b'\xff\xd0' * 10**6 + data[-2:])
    fill = data[:-2] + b'\xff' * 10**7
    assert 'cut short' in refusal(fill)


def test_scans_without_end_are_not_decoded(street, no_decoder):
    data = jpeg(street, *PROGRESSIVE)
    last = data.rindex(b'\xff\xda')
    assert 'damaged JPEG' in refusal(data[:last] + data[last:-2] * 65 + b'\xff\xd9')


# What is none of both.


@pytest.mark.parametrize(
    ('data', 'reason'),
    [
        (b'', 'is empty; see the log of the camera driver'),
        (b'\0', 'is neither JPEG nor PNG (it starts with 00)'),
        (
            b'no image at all',
            'is neither JPEG nor PNG (it starts with 6e 6f 20 69); set the camera',
        ),
        (b'\x89PNG', 'is neither JPEG nor PNG'),
        (b'II*\0' + bytes(100), 'is neither JPEG nor PNG (it starts with 49 49 2a 00)'),
        (b'\xff\xd8', 'is cut short'),
        (b'\xff\xd8\xff\xd9', 'is a JPEG without a picture'),
        (b'\xff\xd8no JPEG', 'is a damaged JPEG'),
        (b'\xff\xd8\xff\xda\0\2', 'is a damaged JPEG'),
        (b'\xff\xd8\xff\xc0\0\2\xff\xd9', 'is a damaged JPEG'),
        (b'\xff\xd8\xff\xe0\0\0\xff\xd9', 'is a damaged JPEG'),
        (b'\x89PNG\r\n\x1a\n', 'is cut short'),
        (b'\x89PNG\r\n\x1a\n' + chunk(b'IEND', b''), 'is a damaged PNG'),
    ],
)
def test_no_image(data, reason):
    assert reason in refusal(data)


@pytest.mark.parametrize(
    ('code', 'bits', 'components', 'named'),
    [
        (0xC3, 8, 3, 'SOF3, 8 bits, 3 components'),
        (0xC9, 8, 3, 'SOF9, 8 bits, 3 components'),
        (0xC1, 12, 3, 'SOF1, 12 bits, 3 components'),
        (0xC0, 8, 4, 'SOF0, 8 bits, 4 components'),
    ],
)
def test_jpeg_of_another_kind(no_decoder, code, bits, components, named):
    body = struct.pack('>BHHB', bits, 8, 8, components) + b'\1\x11\0' * components
    data = b'\xff\xd8\xff' + bytes([code]) + struct.pack('>H', len(body) + 2) + body
    assert f'a kind that is not read ({named}); set the camera' in refusal(data + b'\xff\xd9')


def test_animation_is_refused(street, no_decoder):
    data = png(street)
    assert 'is an animation' in refusal(data[:33] + chunk(b'acTL', bytes(8)) + data[33:])


def test_two_headers_in_one_jpeg(street, no_decoder):
    data = jpeg(street)
    at = data.index(b'\xff\xc0')
    header = data[at : at + 19]
    assert 'damaged JPEG' in refusal(data[:at] + header + data[at:])


# Whatever comes.


@pytest.mark.parametrize('options', [None, *KINDS])
def test_random_damage_is_an_image_of_that_size_or_a_frame_error(street, options):
    whole = png(street) if options is None else jpeg(street, *options)
    rng = random.Random(1)
    for number in range(300):
        data = bytearray(whole)
        # The header is what a parser trips over: half of the damage goes there.
        end = len(data) if number % 2 else 700
        for _ in range(rng.choice((1, 3, 20))):
            data[rng.randrange(2, end)] = rng.choice((0, 255, rng.randrange(256)))
        if number % 3 == 0:
            start, length = rng.randrange(2, end), rng.randrange(1, 400)
            data[start : start + length] = rng.randbytes(rng.randrange(0, 400))
        try:
            image = decode_image(bytes(data))
        except FrameError:
            continue
        else:
            assert image.dtype in (np.uint8, np.uint16)
            assert max(image.shape[:2]) <= MAX_SIDE


@pytest.mark.parametrize('start', [b'\xff\xd8', b'\x89PNG\r\n\x1a\n'])
def test_noise_behind_a_signature(start):
    rng = random.Random(2)
    for length in itertools.chain(range(40), range(40, 4000, 100)):
        refusal(start + rng.randbytes(length))
