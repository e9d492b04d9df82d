"""Messages of a recording to pixels and back."""

import cv2
import numpy as np
import pytest

from linknet_ros.errors import FrameError
from linknet_ros.recordings.bag_messages import IMAGE, Messages

FRAME = np.random.default_rng(0).integers(0, 256, (16, 24, 3), np.uint8)
GRAY = FRAME[..., 0]
YUYV = np.random.default_rng(1).integers(0, 256, (16, 24, 2), np.uint8)


@pytest.fixture
def messages(bags):
    return Messages()


def encoded(suffix, pixels):
    return cv2.imencode(suffix, pixels)[1].tobytes()


@pytest.mark.parametrize(
    ('encoding', 'pixels', 'expected'),
    [
        ('bgr8', FRAME, FRAME),
        ('rgb8', FRAME, FRAME[..., ::-1]),
        ('mono8', GRAY, np.dstack([GRAY] * 3)),
        ('yuv422_yuy2', YUYV, cv2.cvtColor(YUYV, cv2.COLOR_YUV2BGR_YUY2)),
    ],
)
def test_raw(bags, messages, encoding, pixels, expected):
    frame = messages.frame(*bags.image(pixels, 5, encoding))
    np.testing.assert_array_equal(frame.bgr, expected)
    assert (frame.header.stamp.sec, frame.header.frame_id) == (5, 'camera_5')


@pytest.mark.parametrize('suffix', ['.png', '.jpg'])
@pytest.mark.parametrize('pixels', [FRAME, GRAY])
def test_compressed(bags, messages, suffix, pixels):
    data = encoded(suffix, pixels)
    frame = messages.frame(*bags.compressed(data, 5, 'bgr8; jpeg compressed bgr8'))
    expected = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    np.testing.assert_array_equal(frame.bgr, expected)
    assert frame.header.stamp.sec == 5


@pytest.mark.parametrize(
    ('data', 'form', 'reason'),
    [
        (b'GIF89a', 'gif', r"\('gif', 6 bytes\) is neither JPEG nor PNG"),
        (encoded('.jpg', FRAME)[:-40], 'jpeg', 'is cut short'),
        (encoded('.png', GRAY), '16UC1; compressedDepth', 'shows distances, not colours'),
    ],
)
def test_compressed_that_cannot_be_used(bags, messages, data, form, reason):
    with pytest.raises(FrameError, match=reason):
        messages.frame(*bags.compressed(data, form=form))


@pytest.mark.parametrize('size', [0, 3, 10, 60, -5])
def test_cut_message(bags, messages, size):
    kind, data = bags.image(FRAME)
    with pytest.raises(FrameError, match='the message is damaged'):
        messages.frame(kind, data[:size])


@pytest.mark.parametrize('distribution', ['', 'humble', 'jazzy', 'rosbags', 'Rolling'])
@pytest.mark.parametrize(('pixels', 'encoding'), [(FRAME, 'bgr8'), (GRAY, 'mono8')])
def test_writes_what_reads(bags, distribution, pixels, encoding):
    messages = Messages(distribution)
    data = messages.image(pixels[:, 2:], bags.header(7))
    found = bags.store.deserialize_cdr(data, IMAGE)
    assert (found.encoding, found.width, found.height) == (encoding, 22, 16)
    assert found.step * found.height == len(found.data)
    assert (found.header.stamp.sec, found.header.frame_id) == (7, 'camera_7')
    np.testing.assert_array_equal(found.data, pixels[:, 2:].reshape(-1))
