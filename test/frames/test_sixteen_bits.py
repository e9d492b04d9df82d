"""Frames of 10 to 16 bits in 16-bit samples."""

import cv2
import numpy as np
import pytest

from linknet_ros.frames import sixteen_bits
from linknet_ros.frames.files import read_image
from linknet_ros.frames.sixteen_bits import to_eight_bits

GREY = np.arange(256, dtype=np.uint16).reshape(16, 16)


@pytest.mark.parametrize('bits', [10, 12, 14, 16])
def test_range_is_found_and_said_once(bits, caplog, monkeypatch):
    monkeypatch.setattr(sixteen_bits, '_reported', set())
    for _ in range(2):
        np.testing.assert_array_equal(to_eight_bits(GREY << (bits - 8)), GREY)
    texts = [record.getMessage() for record in caplog.records]
    assert len(texts) == (bits < 16)
    if texts:
        assert f'a range of {bits} bits; set mono16_max to {2**bits - 1}' in texts[0]


@pytest.mark.parametrize('samples', [[0, 0], [0, 1023], [1024, 0], [65535, 0]])
def test_darkest_range_that_holds_the_frame(samples):
    brightest = max(samples)
    shift = 2 if brightest < 1024 else 4 if brightest < 4096 else 8
    found = to_eight_bits(np.array([samples], np.uint16))
    assert found.tolist() == [[value >> shift for value in samples]]


def test_given_maximum_is_white():
    found = to_eight_bits(np.array([[0, 500, 1000, 2000]], np.uint16), 1000)
    assert found.dtype == np.uint8
    assert found.tolist() == [[0, 128, 255, 255]]
    assert to_eight_bits(np.zeros((2, 3, 3), np.uint16), 1000).shape == (2, 3, 3)


def test_image_file_of_sixteen_bits(tmp_path):
    path = tmp_path / 'thermal.png'
    cv2.imwrite(str(path), GREY << 2)
    np.testing.assert_array_equal(read_image(path)[..., 1], GREY)
    assert read_image(path, mono16_max=2047).max() == 127
    cv2.imwrite(str(path), np.dstack([GREY << 4] * 3))
    np.testing.assert_array_equal(read_image(path)[..., 2], GREY)
    assert read_image(path, color=False).dtype == np.uint16
