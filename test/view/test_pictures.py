"""Pictures are encoded once, when a browser asks for them, and show what they should."""

import cv2
import numpy as np
import pytest

from linknet_ros.errors import FrameError
from linknet_ros.view.pictures import MAX_WIDTH, Picture, frame_jpeg, grid_png


def decoded(data):
    return cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)


def test_encoded_once_on_first_use():
    calls = []
    picture = Picture(lambda: calls.append(1) or b'bytes')
    assert calls == []
    assert [picture.data(), picture.data()] == [b'bytes', b'bytes']
    assert calls == [1]


def test_frame_keeps_its_colours_and_size():
    frame = np.zeros((48, 64, 3), np.uint8)
    frame[:, :32] = (200, 30, 40)
    picture = decoded(frame_jpeg(frame))
    assert picture.shape == frame.shape
    np.testing.assert_allclose(picture[:, 8:24], frame[:, 8:24], atol=8)
    np.testing.assert_allclose(picture[:, 40:56], 0, atol=8)


@pytest.mark.parametrize('size', [(720, 1280), (1, 5000)])
def test_large_frame_is_reduced_in_proportion(size):
    height, width = decoded(frame_jpeg(np.full((*size, 3), 90, np.uint8))).shape[:2]
    assert (width, height) == (MAX_WIDTH, max(1, round(size[0] * MAX_WIDTH / size[1])))


@pytest.mark.parametrize('shape', [(0, 5), (3000, 3000)])
def test_grid_that_cannot_be_drawn(shape):
    with pytest.raises(FrameError, match=rf'{shape[1]}x{shape[0]} cells'):
        grid_png(np.zeros(shape, np.int8))
