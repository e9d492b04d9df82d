"""Decoding what a broken sender may send: the exact picture, or one line that says why not."""

import itertools
import random
import struct
import zlib

import cv2
import numpy as np
import pytest
from png_files import chunk, png_of

from linknet_ros.errors import FrameError
from linknet_ros.frames.encoded import decode_image
from linknet_ros.limits import MAX_SIDE
from linknet_ros.simulation.street import StreetDrive

BASELINE = ()
RESTARTS = (cv2.IMWRITE_JPEG_RST_INTERVAL, 5)
PROGRESSIVE = (cv2.IMWRITE_JPEG_PROGRESSIVE, 1)
OPTIMIZED = (cv2.IMWRITE_JPEG_OPTIMIZE, 1)
KINDS = [BASELINE, RESTARTS, PROGRESSIVE, OPTIMIZED]

MISSING = 'a piece of its data is missing'
DAMAGED = 'is a damaged JPEG ('


@pytest.fixture(scope='module')
def street():
    """(120, 168, 3) uint8 BGR; both sides are no multiples of an MCU's 16."""
    return StreetDrive(3, 168, 120).frame(2.0).bgr


@pytest.fixture
def no_decoder(monkeypatch):
    """Fail where pixels would be allocated."""
    monkeypatch.setattr(cv2, 'imdecode', lambda *_: pytest.fail('decoded'))
    monkeypatch.setattr('simplejpeg.decode_jpeg', lambda *_, **__: pytest.fail('decoded'))


@pytest.fixture(params=['simplejpeg', 'OpenCV'])
def decoder(request, monkeypatch):
    """Each of the decoders of JPEG in turn."""
    if request.param == 'OpenCV':
        monkeypatch.setattr('linknet_ros.frames.encoded.simplejpeg', None)
    return request.param


@pytest.fixture
def warnings(monkeypatch, caplog):
    """What is logged, and nothing has been before."""
    monkeypatch.setattr('linknet_ros.frames.encoded._accepted_warnings', set())
    return caplog


def jpeg(image, *options):
    return cv2.imencode('.jpg', image, [cv2.IMWRITE_JPEG_QUALITY, 90, *options])[1].tobytes()


def png(image):
    return cv2.imencode('.png', image)[1].tobytes()


def with_exif(data, exif):
    """A JPEG with a segment at its beginning."""
    return data[:2] + b'\xff\xe1' + struct.pack('>H', len(exif) + 2) + exif + data[2:]


def sized(data, width, height):
    """A JPEG with another size in its header."""
    at = data.index(b'\xff\xc0')
    return data[: at + 5] + struct.pack('>HH', height, width) + data[at + 9 :]


def refusal(data):
    with pytest.raises(FrameError) as caught:
        decode_image(data)
    message = str(caught.value)
    assert '\n' not in message
    assert message.startswith(('is ', 'has ', 'of ', 'cannot '))
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
def test_jpeg_is_what_opencv_makes_of_it(street, decoder, options):
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
def test_what_follows_an_image_is_no_matter(street, decoder, options):
    expected = decode_image(jpeg(street, *options))
    np.testing.assert_array_equal(decode_image(jpeg(street, *options) + bytes(500)), expected)
    np.testing.assert_array_equal(decode_image(png(street) + b'more'), street)


def test_fill_bytes_and_comments_in_a_jpeg(street):
    data = jpeg(street)
    comment = b'\xff\xff\xfe\0\6\xff\xd9\xff\xda'
    odd = data[:2] + comment + data[2:-2] + b'\xff\xff' + data[-2:]
    np.testing.assert_array_equal(decode_image(odd), decode_image(data))


def test_orientation_in_exif_is_left_to_the_driver(street, decoder):
    # Orientation 6, a quarter turn; camera_info is of the picture as it is stored.
    tiff = b'II*\0\x08\0\0\0\1\0\x12\1\3\0\1\0\0\0\6\0\0\0\0\0\0\0'
    data = jpeg(street)
    turned = with_exif(data, b'Exif\0\0' + tiff)
    np.testing.assert_array_equal(decode_image(turned), decode_image(data))


@pytest.mark.parametrize('options', KINDS)
@pytest.mark.parametrize('shape', [(1, 1), (7, 9), (9, 17), (64, 33), (40, 56, 3)])
def test_grey_of_128_is_a_picture_too(shape, options):
    # What libjpeg puts where data is missing.
    image = np.full(shape, 128, np.uint8)
    np.testing.assert_array_equal(decode_image(jpeg(image, *options)), image)


# Images that lack something.


@pytest.mark.parametrize('options', KINDS)
def test_jpeg_cut_anywhere(street, decoder, options):
    data = jpeg(street, *options)
    scan = data.index(b'\xff\xda')
    for length in (*range(0, len(data), 97), len(data) - 2, len(data) - 1):
        message = refusal(data[:length])
        assert 'cut short' in message or length < scan + 2, (length, message)


def test_end_marker_of_a_thumbnail_is_not_the_end(street, decoder):
    data = jpeg(street)
    thumbnail = b'Exif\0\0' + jpeg(street[:16, :16])
    whole = with_exif(data, thumbnail)
    np.testing.assert_array_equal(decode_image(whole), decode_image(data))
    assert 'cut short' in refusal(whole[: len(thumbnail) + 1000])


def assert_a_missing_piece_is_seen(data):
    """Refused whichever 1400 bytes of the scan are lost."""
    first = data.index(b'\xff\xda') + 20
    rng = random.Random(0)
    for _ in range(60):
        start = rng.randrange(first, len(data) - 1402)
        assert DAMAGED in refusal(data[:start] + data[start + 1400 :])


@pytest.mark.parametrize('options', KINDS)
@pytest.mark.parametrize('color', [True, False])
def test_jpeg_with_a_piece_missing_and_both_ends_there(street, options, color):
    # A lost packet: libjpeg fills the bottom of the picture with grey.
    data = jpeg(street if color else street[..., 0], *options)
    # A progressive JPEG that has lost whole scans is one of less detail.
    if options != PROGRESSIVE:
        assert_a_missing_piece_is_seen(data)
    assert DAMAGED in refusal(data[: data.index(b'\xff\xda') + 520] + b'\xff\xd9')


@pytest.mark.parametrize('lost', [1, 8, 16])
def test_whole_intervals_missing(street, lost):
    data = jpeg(street, *RESTARTS)
    marks = [i for i in range(len(data) - 1) if data[i] == 255 and 208 <= data[i + 1] < 216]
    # 11 x 8 MCUs in intervals of 5.
    assert len(marks) == 17
    for start in range(0, 17 - lost):
        assert DAMAGED in refusal(data[: marks[start]] + data[marks[start + lost] :]), start
    assert DAMAGED in refusal(data[: marks[-lost]] + b'\xff\xd9')


# Cameras that write what the standard does not know, in every frame.


def odd_padding(data):
    return data[:-2] + bytes(range(1, 20)) + data[-2:]


def odd_version(data):
    return data[:11] + b'\x07' + data[12:]


def odd_scan_header(data):
    at = data.index(b'\xff\xda')
    end = at + 2 + int.from_bytes(data[at + 2 : at + 4], 'big')
    return data[: end - 3] + b'\0\0\0' + data[end:]


def odd_color_transform(data):
    # Instead of the JFIF header, behind fill bytes.
    return data[:2] + b'\xff\xff\xff\xee\0\x0eAdobe\0\x64\0\0\0\0\7' + data[20:]


@pytest.mark.parametrize(
    ('oddity', 'warning'),
    [
        (odd_padding, 'padding before the end marker'),
        (odd_version, 'unknown JFIF revision number 7.01'),
        (odd_scan_header, 'Invalid SOS parameters for sequential JPEG'),
        (odd_color_transform, 'Unknown Adobe color transform code 7'),
    ],
)
def test_odd_camera_is_accepted_with_one_warning(street, warnings, oddity, warning):
    whole = jpeg(street)
    odd = oddity(whole)
    for _ in range(3):
        np.testing.assert_array_equal(decode_image(odd), decode_image(whole))
    (record,) = warnings.records
    assert (record.levelname, warning in record.getMessage()) == ('WARNING', True)
    # What is missing is still seen behind the oddity.
    assert_a_missing_piece_is_seen(odd)
    assert DAMAGED in refusal(odd[: odd.index(b'\xff\xda') + 4020] + b'\xff\xd9')


def test_two_oddities_at_once(street, warnings):
    whole = jpeg(street)
    odd = odd_padding(odd_version(odd_scan_header(whole)))
    np.testing.assert_array_equal(decode_image(odd), decode_image(whole))
    assert len(warnings.records) == 2


@pytest.mark.parametrize('options', [BASELINE, RESTARTS])
def test_other_bytes_too_many_are_damage(street, warnings, options):
    whole = jpeg(street, *options)
    at = whole.index(b'\xff\xd1') if options else len(whole) - 2
    assert 'extraneous' in refusal(whole[:at] + bytes(range(1, 121)) + whole[at:])
    assert not warnings.records


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
        (0, 120, 'of 0 x 120 is empty: width and height must be at least 1'),
        (168, 0, 'of 168 x 0 is empty: width and height must be at least 1'),
        (16385, 120, 'of 16385 x 120 is over the limit of 16384 pixels a side'),
        (168, 65000, 'of 168 x 65000 is over the limit'),
        (16384, 16384, 'of 16384 x 16384 is over the limit of 16384 pixels a side and 256 MiB'),
        # Of a size that exists, but not in so little data.
        (8192, 8192, MISSING),
    ],
)
def test_size_is_checked_first(street, no_decoder, width, height, reason):
    message = refusal(sized(jpeg(street), width, height))
    assert reason in message or (0 in (width, height) and DAMAGED in message)
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
    monkeypatch.setattr('linknet_ros.frames.encoded.MAX_IMAGE_BYTES', 2**20)
    assert refusal(png(street) + bytes(2**20)).startswith('has over 1 MiB; set the camera')


def test_endless_segments_are_not_followed(street, no_decoder):
    data = png(street)
    assert 'damaged PNG' in refusal(data[:33] + chunk(b'tEXt', b'') * 70000 + data[33:])
    data = jpeg(street, *PROGRESSIVE)
    last = data.rindex(b'\xff\xda')
    assert 'damaged JPEG' in refusal(data[:last] + data[last:-2] * 65 + b'\xff\xd9')


# What is neither.


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
        (b'\xff\xd8', 'is a damaged JPEG'),
        (b'\xff\xd8\xff\xd9', 'is a damaged JPEG'),
        (b'\xff\xd8no JPEG', 'is a damaged JPEG'),
        (b'\xff\xd8\xff\xda\0\2', 'is cut short'),
        (b'\xff\xd8\xff\xe0\0\0\xff\xd9', 'is a damaged JPEG'),
        (b'\x89PNG\r\n\x1a\n', 'is cut short'),
        (b'\x89PNG\r\n\x1a\n' + chunk(b'IEND', b''), 'is a damaged PNG'),
    ],
)
def test_no_image(decoder, data, reason):
    assert reason in refusal(data)


def test_animation_is_refused(street, no_decoder):
    data = png(street)
    assert 'is an animation' in refusal(data[:33] + chunk(b'acTL', bytes(8)) + data[33:])


# Whatever comes.


@pytest.mark.parametrize('options', [None, *KINDS])
def test_random_damage_is_an_image_or_a_frame_error(street, decoder, options):
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
def test_noise_behind_a_signature(decoder, start):
    rng = random.Random(2)
    for length in itertools.chain(range(40), range(40, 4000, 100)):
        refusal(start + rng.randbytes(length))
