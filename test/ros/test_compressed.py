"""Compressed messages, with the formats that compressed_image_transport writes."""

import random

import cv2
import numpy as np
import pytest

pytest.importorskip('rclpy', reason='ROS 2 (ros-rclpy) not installed')

from rclpy.serialization import deserialize_message, serialize_message
from sensor_msgs.msg import CompressedImage, Image
from std_msgs.msg import Header

from linknet_ros.errors import FrameError
from linknet_ros.frames.encode import encode_png
from linknet_ros.ros.images import bgr_to_jpeg, encoded_to_message, image_to_bgr
from linknet_ros.simulation.street import StreetDrive

HEADER = Header(frame_id='camera_optical')
HEADER.stamp.sec = 1234

COLORS = np.random.default_rng(0).integers(0, 256, (6, 8, 3), np.uint8)
DEEP = np.random.default_rng(1).integers(0, 65536, (6, 8, 3), np.uint16)


@pytest.fixture(scope='module')
def street():
    """(120, 168, 3) uint8 BGR."""
    return StreetDrive(3, 168, 120).frame(2.0).bgr


def message(form, image, suffix='.png'):
    """As it comes from the middleware."""
    data = image if isinstance(image, bytes) else cv2.imencode(suffix, image)[1].tobytes()
    made = CompressedImage(header=HEADER, format=form, data=data)
    return deserialize_message(serialize_message(made), CompressedImage)


def grey(plane):
    return np.repeat(plane[..., None], 3, axis=2)


# What comes from a camera.


PLANE, DEEP_PLANE = COLORS[..., 1], DEEP[..., 1]

#: What is sent, what is seen, and the formats that say so.
FORMATS = [
    (
        COLORS,
        COLORS,
        *('png', 'PNG', '', 'jpeg', 'bgr8; png compressed bgr8', 'rgb8; png compressed bgr8'),
        *('bgra8; png compressed bgr8', 'rgba8; png compressed bgr8', '8UC3; png compressed '),
        *('bayer_rggb8; png compressed bgr8', 'yuv422_yuy2; png compressed bgr8'),
    ),
    (
        # Not brought into order: as compressed_subscriber.cpp reads them, or a viewer and the
        # network would see two pictures.
        COLORS,
        COLORS[..., ::-1],
        *('bgr8; jpeg compressed rgb8', 'rgb8; jpeg compressed rgb8', 'rgb8; png compressed '),
        *('bgr8; png compressed ', 'rgba8; png compressed rgba8', 'rgb16; png compressed rgb16'),
    ),
    # Of deep colours the high byte is kept.
    (DEEP, DEEP >> 8, 'bgr16; png compressed bgr16', 'rgb16; png compressed bgr16'),
    (PLANE, grey(PLANE), 'png', 'mono8; png compressed ', '8UC1; png compressed '),
    (
        DEEP_PLANE,
        grey(DEEP_PLANE >> 8),
        'png',
        'mono16; png compressed ',
        '16UC1; png compressed ',
    ),
    # Transparency is left out.
    (np.dstack([COLORS, PLANE]), COLORS, 'png'),
]


CASES = [(form, sent, seen) for sent, seen, *forms in FORMATS for form in forms]


@pytest.mark.parametrize(('form', 'sent', 'seen'), CASES)
def test_formats(form, sent, seen):
    decoded = image_to_bgr(message(form, sent))
    assert decoded.dtype == np.uint8
    np.testing.assert_array_equal(decoded, seen)


@pytest.mark.parametrize('pattern', ['rggb', 'bggr', 'gbrg', 'grbg'])
@pytest.mark.parametrize('bits', [8, 16])
def test_mosaic_of_a_bayer_camera(pattern, bits):
    plane = COLORS[..., 1] if bits == 8 else DEEP[..., 1]
    encoding = f'bayer_{pattern}{bits}'
    raw = Image(height=6, width=8, encoding=encoding, step=bits, data=plane.tobytes())
    decoded = image_to_bgr(message(f'{encoding}; png compressed ', plane))
    np.testing.assert_array_equal(decoded, image_to_bgr(raw))
    assert np.ptp(decoded) > 0


@pytest.mark.parametrize(
    'form',
    [
        *('jpeg', 'jpg', 'bgr8; jpeg compressed bgr8', 'rgb8; jpeg compressed bgr8'),
        *('bayer_rggb8; jpeg compressed bgr8', 'nv12; jpeg compressed bgr8', 'png'),
    ],
)
def test_jpeg(street, form):
    decoded = image_to_bgr(message(form, street, '.jpg'))
    assert np.abs(decoded.astype(int) - street).mean() < 6
    # Blue and red are where they were.
    assert np.abs(decoded[..., ::-1].astype(int) - street).mean() > 10


# A JPEG of a Bayer camera was made grey by the encoder, to which bayer_rggb8 is not a colour.
@pytest.mark.parametrize('encoding', ['mono8', 'mono16', 'bayer_rggb8'])
def test_grey_jpeg(street, encoding):
    plane = street[..., 1]
    decoded = image_to_bgr(message(f'{encoding}; jpeg compressed mono8', plane, '.jpg'))
    assert np.abs(decoded.astype(int) - grey(plane)).mean() < 4
    np.testing.assert_array_equal(decoded[..., 0], decoded[..., 2])


# What is refused.


@pytest.mark.parametrize(
    ('form', 'data', 'reason'),
    [
        ('jpeg', b'', "('jpeg', 0 bytes) is empty; see the log of the camera driver"),
        ('h264', b'\0\0\0\1g', "('h264', 5 bytes) is neither JPEG nor PNG (it starts with 00 00"),
        (
            '16UC1; compressedDepth png',
            bytes(12) + b'\x89PNG',
            'shows distances, not colours; take',
        ),
        ('32FC1; compressedDepth', b'', 'shows distances, not colours; take the colour camera'),
    ],
)
def test_refused(form, data, reason):
    with pytest.raises(FrameError) as caught:
        image_to_bgr(message(form, data))
    assert str(caught.value).startswith('compressed image (')
    assert reason in str(caught.value)
    assert '\n' not in str(caught.value)


def test_format_of_any_kind_raises_frame_errors_only(street):
    rng = random.Random(0)
    words = [
        *('rgb8', 'bgr16', 'bayer_', 'bayer_rggb8', 'bayer_x', 'mono16', ';', ' ', 'jpeg', 'png'),
        *('compressed', 'compressedDepth', 'bgr8', 'ä', '32FC1', '\0'),
    ]
    frames = [message('', i) for i in (COLORS, COLORS[..., 0], DEEP[..., 0], COLORS[:1, :1])]
    for _ in range(300):
        frame = rng.choice(frames)
        frame.format = ''.join(rng.choices(words, k=rng.randrange(6)))
        try:
            decoded = image_to_bgr(frame)
        except FrameError:
            continue
        assert decoded.shape[2:] == (3,)
        assert decoded.dtype == np.uint8


# What is sent.


def test_sent_and_through_the_middleware(street):
    png = encoded_to_message(encode_png(street[..., 0]), 'mono8; png compressed ', HEADER)
    jpeg = bgr_to_jpeg(street, 80, HEADER)
    assert png.header == jpeg.header == HEADER
    # Any difference, and image_transport shows another picture.
    assert (png.format, jpeg.format) == ('mono8; png compressed ', 'bgr8; jpeg compressed bgr8')
    for sent in (png, jpeg):
        assert deserialize_message(serialize_message(sent), CompressedImage) == sent
    np.testing.assert_array_equal(image_to_bgr(png), grey(street[..., 0]))
    assert np.abs(image_to_bgr(jpeg).astype(int) - street).mean() < 8
