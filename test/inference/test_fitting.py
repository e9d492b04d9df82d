"""Frames into the network's buffer and labels back: sizes, content, padding."""

import cv2
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from linknet_ros.inference.fitting import TURNS, Fit, FrameFitter, fit_frame

SIZES = [(640, 360), (480, 360), (1280, 720), (1920, 1080), (97, 51)]
SIDES = st.integers(1, 2000)
NETWORK_SIDES = st.integers(32, 1024)


def fitter_of(frame_width, frame_height, network_width, network_height):
    return FrameFitter(fit_frame(frame_width, frame_height, network_width, network_height))


def random_labels(height, width, seed=0):
    """Ids of 0, 7, 10 and 255."""
    return np.random.default_rng(seed).choice(np.array([0, 7, 10, 255], np.uint8), (height, width))


@pytest.mark.parametrize(
    ('frame', 'scaled', 'buffer'),
    [
        ((480, 360), (480, 360), (480, 384)),
        ((640, 360), (480, 270), (480, 288)),
        ((1280, 720), (480, 270), (480, 288)),
        ((1920, 1080), (480, 270), (480, 288)),
        ((97, 51), (480, 252), (480, 256)),
        ((360, 480), (270, 360), (288, 384)),
        ((1, 1), (360, 360), (384, 384)),
        ((2000, 1), (480, 1), (480, 32)),
        ((1, 2000), (1, 360), (32, 384)),
    ],
)
def test_fit_into_480x360(frame, scaled, buffer):
    fit = fit_frame(*frame, 480, 360)
    assert (fit.frame_width, fit.frame_height) == frame
    assert (fit.scaled_width, fit.scaled_height) == scaled
    assert (fit.buffer_width, fit.buffer_height) == buffer


@given(SIDES, SIDES, NETWORK_SIDES, NETWORK_SIDES)
@settings(deadline=None)
def test_any_fit(frame_width, frame_height, network_width, network_height):
    fit = fit_frame(frame_width, frame_height, network_width, network_height)
    for scaled, buffer, network in (
        (fit.scaled_width, fit.buffer_width, network_width),
        (fit.scaled_height, fit.buffer_height, network_height),
    ):
        assert 1 <= scaled <= network
        assert scaled <= buffer < scaled + 32
        assert buffer % 32 == 0
    # One side fills the network, and the other is what the frame's shape asks for.
    assert fit.scaled_width == network_width or fit.scaled_height == network_height
    scale = min(network_width / frame_width, network_height / frame_height)
    assert abs(fit.scaled_width - frame_width * scale) < 1
    assert abs(fit.scaled_height - frame_height * scale) < 1


# Content of the buffer.


def test_padding_repeats_the_last_column_and_row():
    frame = np.arange(2 * 3 * 3, dtype=np.uint8).reshape(2, 3, 3)
    buffer = FrameFitter(Fit(3, 2, 3, 2)).to_network(frame)
    assert buffer.dtype == np.uint8
    np.testing.assert_array_equal(buffer, np.pad(frame, ((0, 30), (0, 29), (0, 0)), mode='edge'))


@pytest.mark.parametrize(
    ('frame', 'whole'),
    [
        ((1280, 720), 2),
        ((1920, 1080), 4),
        ((960, 720), 2),
        ((640, 480), 1),
        ((97, 51), 1),
        ((1458, 810), 3),  # 3.04 times
        ((1459, 810), 1),  # no whole number divides both sides
        ((1, 2000), 1),
    ],
)
def test_whole_reduction(frame, whole):
    assert fit_frame(*frame, 480, 360).whole_reduction == whole


@pytest.mark.parametrize('size', [*SIZES[:-1], (640, 480), (1458, 810), (1459, 810)])
def test_shrunk_in_two_steps_is_close_to_the_average(size):
    # Smooth, with an edge: what a frame is made of.
    y, x = np.mgrid[: size[1], : size[0]]
    plane = 100 + 60 * np.sin(x / size[0] * 20) + 40 * np.cos(y / size[1] * 15)
    plane[x > size[0] // 2] /= 2
    frame = np.stack([plane, 255 - plane, plane / 3], -1).astype(np.uint8)
    fitter = fitter_of(*size, 480, 360)
    found = fitter.crop(fitter.to_network(frame)).astype(int)
    wanted = cv2.resize(frame, found.shape[1::-1], interpolation=cv2.INTER_AREA)
    assert np.abs(found - wanted).mean() < 1
    assert np.quantile(np.abs(found - wanted), 0.99) <= 4


def test_shrinking_averages():
    # One column in four is bright: sampling one or two of the four would miss it.
    frame = np.zeros((128, 256, 3), np.uint8)
    frame[:, ::4] = 100
    np.testing.assert_array_equal(fitter_of(256, 128, 64, 32).to_network(frame), 25)


def test_enlarging_keeps_halves_and_channels_where_they_are():
    frame = np.zeros((16, 16, 3), np.uint8)
    frame[:, :8] = 10, 20, 30
    frame[:, 8:] = 200, 210, 220
    buffer = fitter_of(16, 16, 64, 64).to_network(frame)
    np.testing.assert_array_equal(buffer[:, :28], np.broadcast_to([10, 20, 30], (64, 28, 3)))
    np.testing.assert_array_equal(buffer[:, 36:], np.broadcast_to([200, 210, 220], (64, 28, 3)))


def test_second_frame_leaves_nothing_of_the_first():
    fitter = fitter_of(97, 51, 96, 64)
    first = np.full((51, 97, 3), 200, np.uint8)
    second = np.random.default_rng(4).integers(0, 100, (51, 97, 3), dtype=np.uint8)
    fitter.to_network(first)
    again = fitter.to_network(second)
    np.testing.assert_array_equal(again, fitter_of(97, 51, 96, 64).to_network(second))


@pytest.mark.parametrize('network', [(96, 64), (48, 48)], ids=['same size', 'scaled'])
def test_frame_may_be_read_only_or_a_view(network):
    frame = np.random.default_rng(5).integers(0, 256, (64, 96, 3), dtype=np.uint8)
    expected = fitter_of(96, 64, *network).to_network(frame)
    turned = np.ascontiguousarray(frame[:, :, ::-1])[:, :, ::-1]
    np.testing.assert_array_equal(fitter_of(96, 64, *network).to_network(turned), expected)
    frame.flags.writeable = False
    np.testing.assert_array_equal(fitter_of(96, 64, *network).to_network(frame), expected)


# Labels back.


def test_labels_come_back_as_blocks():
    labels = np.array([[0, 7], [10, 255]], np.uint8)
    np.testing.assert_array_equal(
        FrameFitter(Fit(4, 4, 2, 2)).to_frame(labels),
        [[0, 0, 7, 7], [0, 0, 7, 7], [10, 10, 255, 255], [10, 10, 255, 255]],
    )


def test_labels_are_the_same_array_when_nothing_scales():
    labels = random_labels(360, 480)
    assert fitter_of(480, 360, 480, 360).to_frame(labels) is labels


@given(SIDES, SIDES, st.integers(32, 512), st.integers(32, 512))
@example(640, 360, 480, 360)
@example(480, 360, 480, 360)
@example(1280, 720, 480, 360)
@example(1920, 1080, 480, 360)
@example(97, 51, 480, 360)
@example(2000, 1, 480, 360)
@example(1, 2000, 480, 360)
@settings(deadline=None, max_examples=40)
def test_any_frame_there_and_back(frame_width, frame_height, network_width, network_height):
    fitter = fitter_of(frame_width, frame_height, network_width, network_height)
    frame = np.full((frame_height, frame_width, 3), (1, 128, 254), np.uint8)
    buffer = fitter.to_network(frame)
    # A frame of one colour fills the buffer with that colour, padding included.
    assert (buffer == np.array([1, 128, 254], np.uint8)).all()
    labels = random_labels(fitter.fit.buffer_height, fitter.fit.buffer_width)
    back = fitter.to_frame(fitter.crop(labels))
    assert back.shape == (frame_height, frame_width)
    assert back.dtype == np.uint8
    assert set(np.unique(back)) <= set(np.unique(fitter.crop(labels)))


# Cameras that are mounted turned.


@pytest.mark.parametrize('rotate', TURNS)
@pytest.mark.parametrize('size', [(48, 32), (96, 64), (31, 40)])
def test_the_network_sees_a_turned_frame_upright_and_labels_lie_as_it_does(rotate, size):
    width, height = size
    frame = np.random.default_rng(1).integers(0, 256, (height, width, 3), np.uint8)
    upright = np.ascontiguousarray(np.rot90(frame, -rotate // 90))
    fitter = FrameFitter(fit_frame(width, height, 48, 64, rotate=rotate))
    expected = fitter_of(*upright.shape[1::-1], 48, 64)
    image = fitter.to_network(frame).astype(int)
    assert image.shape == expected.to_network(upright).shape
    # Interpolation may round the other way.
    assert np.abs(image - expected.to_network(upright)).max() <= 1
    labels = random_labels(*image.shape[:2])
    lying = np.rot90(expected.to_frame(expected.crop(labels)), rotate // 90)
    assert fitter.to_frame(fitter.crop(labels)).shape == (height, width)
    same = fitter.to_frame(fitter.crop(labels)) == lying
    # Nearest neighbours between two pixels may be either.
    assert same.all() if not fitter.fit.scales else same.mean() > 0.8
