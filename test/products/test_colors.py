"""Labels as pictures: every pixel has its class's colour."""

import numpy as np
import pytest

from linknet_ros.products.colors import blend, colorize, grid_picture

LABELS = np.array([[0, 1, 2], [255, 7, 0]], np.uint8)
# Colours of road, car and sky, BGR; black for ids without a class.
COLORS = np.array(
    [
        [[128, 64, 128], [142, 0, 0], [180, 130, 70]],
        [[0, 0, 0], [0, 0, 0], [128, 64, 128]],
    ],
    np.uint8,
)
FRAME = np.array(
    [
        [[0, 0, 0], [255, 255, 255], [10, 20, 30]],
        [[90, 91, 92], [100, 100, 100], [128, 64, 128]],
    ],
    np.uint8,
)


def test_colorize(class_table):
    colors = colorize(LABELS, class_table.palette_bgr())
    assert colors.dtype == np.uint8
    np.testing.assert_array_equal(colors, COLORS)
    view = np.pad(LABELS, 3, constant_values=1)[3:-3, 3:-3]
    np.testing.assert_array_equal(colorize(view, class_table.palette_bgr()), COLORS)
    palette = np.random.default_rng(0).integers(0, 256, (256, 3), dtype=np.uint8)
    labels = np.arange(256, dtype=np.uint8).reshape(16, 16)
    np.testing.assert_array_equal(colorize(labels, palette), palette[labels])


def test_blend():
    # 0.75 of the frame and 0.25 of the colour; the unlabelled pixel is the frame's own.
    frame, colors, labels = FRAME.copy(), COLORS.copy(), LABELS.copy()
    blended = blend(frame, colors, labels, 0.25)
    np.testing.assert_array_equal(
        blended,
        [
            [[32, 16, 32], [227, 191, 191], [52, 48, 40]],
            [[90, 91, 92], [75, 75, 75], [128, 64, 128]],
        ],
    )
    blended[:] = 1
    for given, before in ((frame, FRAME), (colors, COLORS), (labels, LABELS)):
        np.testing.assert_array_equal(given, before)


def test_blend_at_its_ends():
    np.testing.assert_array_equal(blend(FRAME, COLORS, LABELS, 0.0), FRAME)
    expected = COLORS.copy()
    expected[1, 0] = FRAME[1, 0]
    np.testing.assert_array_equal(blend(FRAME, COLORS, LABELS, 1.0), expected)
    for label, whole in ((0, COLORS), (255, FRAME)):
        labels = np.full((2, 3), label, np.uint8)
        np.testing.assert_array_equal(blend(FRAME, COLORS, labels, 1.0), whole)


@pytest.mark.parametrize('shape', [(1, 1), (4, 1), (1, 4), (3, 1)])
def test_small_frames_are_not_taken_for_scalars(shape, class_table):
    labels = np.full(shape, 255, np.uint8)
    labels[0, 0] = 1
    frame = np.full((*shape, 3), 50, np.uint8)
    colors = colorize(labels, class_table.palette_bgr())
    expected = frame.copy()
    expected[0, 0] = 142, 0, 0
    np.testing.assert_array_equal(blend(frame, colors, labels, 1.0), expected)


def test_grid_picture():
    # Free right ahead of the corner, occupied to its left, unknown further ahead.
    cells = np.array([[0, -1], [100, 0]], np.int8)
    picture = grid_picture(cells, 2)
    assert picture.shape == (4, 4, 3)
    assert picture[3, 3].tolist() == picture[0, 0].tolist() == [255, 255, 255]
    assert picture[3, 0].tolist() == [40, 40, 200]
    assert picture[0, 3].tolist() == [128, 128, 128]
    np.testing.assert_array_equal(picture[::2, ::2], picture[1::2, 1::2])
    assert grid_picture(np.zeros((2, 5), np.int8)).shape == (15, 6, 3)
