"""Conversion of what has the fields of an image message; test_ros_images.py has each encoding."""

from types import SimpleNamespace

import numpy as np
import pytest

from linknet_ros.errors import FrameError
from linknet_ros.frames.raw import image_to_bgr

# Two pixels in a row, one byte of padding, a row below.
DATA = np.array([1, 2, 3, 4, 5, 6, 99, 7, 8, 9, 10, 11, 12, 99], np.uint8)
BGR = [[[1, 2, 3], [4, 5, 6]], [[7, 8, 9], [10, 11, 12]]]


def image(encoding, **changes):
    fields = {'height': 2, 'width': 2, 'step': 7, 'is_bigendian': 0, 'data': DATA}
    return SimpleNamespace(encoding=encoding, **fields | changes)


@pytest.mark.parametrize('kind', [np.asarray, bytes, bytearray, memoryview])
def test_any_buffer_will_do(kind):
    frame = image_to_bgr(image('bgr8', data=kind(DATA)))
    np.testing.assert_array_equal(frame, BGR)
    assert frame.dtype == np.uint8
    assert not frame.flags.writeable


def test_rgb():
    frame = image_to_bgr(image('rgb8'))
    np.testing.assert_array_equal(frame, np.array(BGR)[..., ::-1])


def test_unknown_encoding_is_refused():
    with pytest.raises(
        FrameError, match=r"^image encoding '32FC3' cannot be converted to BGR; set the camera"
    ):
        image_to_bgr(image('32FC3'))


def test_unknown_encoding_goes_to_the_other_converter():
    message = image('32FC3')
    asked = []

    def convert(message):
        asked.append(message)
        return 'pixels'

    assert image_to_bgr(message, convert) == 'pixels'
    assert asked == [message]


def test_other_converter_gets_no_damaged_message():
    with pytest.raises(FrameError, match='width and height must be at least 1'):
        image_to_bgr(image('32FC3', width=0), lambda message: pytest.fail('asked'))
