"""What has the fields of an image message to BGR; test/ros/test_images.py has each encoding."""

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


def test_unknown_encoding_is_refused():
    with pytest.raises(
        FrameError, match=r"^image encoding '32FC3' cannot be converted to BGR; set the camera"
    ):
        image_to_bgr(image('32FC3'))
