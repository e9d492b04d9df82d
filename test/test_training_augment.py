"""Random variants of a frame: labels stay on their pixels, whatever the sizes and the draws."""

import cv2
import numpy as np
import pytest

pytest.importorskip('torch', reason='PyTorch (extra "train") not installed')

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from training.augment import Augment
from training.linknet import normalize

# One colour per class, far apart, and the colour of the border for void.
COLORS = np.array(
    [[0, 0, 0], [255, 0, 0], [0, 255, 0], [0, 0, 255], [255, 255, 0], [255, 255, 255]], np.uint8
)
VOID_COLOR = (104, 116, 124)


def plain(width, height, **changes):
    """Make an augmentation without colour and blur."""
    return Augment(width, height, **{'color': 0, 'blur': 0, **changes})


def mosaic(height=120, width=160, cell=20, seed=0):
    """Make a frame whose colours encode its labels, in cells; not the same when mirrored."""
    cells = np.random.default_rng(seed).integers(0, 6, (height // cell, width // cell))
    labels = np.kron(cells, np.ones((cell, cell), int)).astype(np.uint8)
    return COLORS[labels], labels


def labels_of_colors(frame):
    """Class whose colour is nearest, 255 for the colour of the border."""
    palette = np.vstack([COLORS, [VOID_COLOR]]).astype(int)
    distance = np.abs(frame[:, :, None].astype(int) - palette).sum(-1)
    nearest = distance.argmin(-1)
    return np.where(nearest == len(COLORS), 255, nearest)


def away_from_borders(labels, margin=3):
    kernel = np.ones((2 * margin + 1, 2 * margin + 1), np.uint8)
    return cv2.dilate(labels, kernel) == cv2.erode(labels, kernel)


@pytest.mark.parametrize('size', [(96, 64), (160, 120), (220, 180)])
@pytest.mark.parametrize('seed', range(12))
def test_labels_move_with_the_frame(size, seed):
    augment = plain(*size, scale=(0.6, 1.6))
    frame, labels = augment(*mosaic(), np.random.default_rng(seed))
    inside = away_from_borders(labels)
    assert inside.mean() > 0.2
    np.testing.assert_array_equal(labels_of_colors(frame)[inside], labels[inside])


def test_scale_one_is_a_cut_of_the_frame_or_its_mirror():
    frame, labels = mosaic()
    augment = plain(64, 48, scale=(1, 1))
    windows = np.lib.stride_tricks.sliding_window_view(labels, (48, 64))
    cuts = np.concatenate([windows.reshape(-1, 48, 64), windows[..., ::-1].reshape(-1, 48, 64)])
    seen = set()
    for seed in range(20):
        cut_frame, cut_labels = augment(frame, labels, np.random.default_rng(seed))
        np.testing.assert_array_equal(cut_frame, COLORS[cut_labels])
        assert (cuts == cut_labels).all((1, 2)).any()
        seen.add(cut_labels.tobytes())
    assert len(seen) >= 15


def test_mirrored_about_half_of_the_time():
    frame, labels = mosaic()
    augment = plain(160, 120, scale=(1, 1))
    mirrored = 0
    for seed in range(200):
        out_frame, out_labels = augment(frame, labels, np.random.default_rng(seed))
        if np.array_equal(out_frame, frame):
            np.testing.assert_array_equal(out_labels, labels)
        else:
            np.testing.assert_array_equal(out_frame, frame[:, ::-1])
            np.testing.assert_array_equal(out_labels, labels[:, ::-1])
            mirrored += 1
    assert 70 <= mirrored <= 130


def test_one_generator_state_one_variant():
    frame, labels = mosaic()
    augment = Augment(96, 64, blur=0.5)
    first = [augment(frame, labels, np.random.default_rng(seed)) for seed in range(8)]
    again = [augment(frame, labels, np.random.default_rng(seed)) for seed in range(8)]
    for one, two in zip(first, again, strict=True):
        np.testing.assert_array_equal(one[0], two[0])
        np.testing.assert_array_equal(one[1], two[1])
    assert len({one[0].tobytes() for one in first}) == 8


def test_the_frame_given_is_left_alone():
    frame, labels = mosaic()
    frame.setflags(write=False)
    labels.setflags(write=False)
    before = frame.copy(), labels.copy()
    for seed in range(10):
        Augment(160, 120, (1, 1), blur=1)(frame, labels, np.random.default_rng(seed))
    np.testing.assert_array_equal(frame, before[0])
    np.testing.assert_array_equal(labels, before[1])


def test_scale_stays_in_its_range_and_fills_it():
    """The square of 40 pixels in the middle of the frame is measured in the result."""
    labels = np.zeros((200, 200), np.uint8)
    labels[80:120, 80:120] = 5
    augment = plain(420, 420, scale=(0.5, 2))
    scales = []
    for seed in range(200):
        _, result = augment(COLORS[labels], labels, np.random.default_rng(seed))
        rows, columns = (result == 5).any(1).sum(), (result == 5).any(0).sum()
        assert abs(rows - columns) <= 1
        scales.append(rows / 40)
    tolerance = 1 / 40
    assert min(scales) >= 0.5 - tolerance
    assert max(scales) <= 2 + tolerance
    assert min(scales) < 0.6
    assert max(scales) > 1.75
    # Drawn in the logarithm: enlarged as often as made smaller.
    assert 70 <= sum(scale > 1 for scale in scales) <= 130


def test_beyond_a_small_frame_is_void_and_mean_colour():
    labels = np.full((20, 30), 2, np.uint8)
    augment = plain(50, 40, scale=(1, 1))
    corners = set()
    for seed in range(30):
        frame, result = augment(COLORS[labels], labels, np.random.default_rng(seed))
        rows, columns = np.nonzero(result == 2)
        assert (np.ptp(rows) + 1, np.ptp(columns) + 1, rows.size) == (20, 30, 600)
        assert (result[result != 2] == 255).all()
        assert (frame[result == 2] == COLORS[2]).all()
        assert (frame[result == 255] == VOID_COLOR).all()
        corners.add((rows[0], columns[0]))
    assert len(corners) > 15


def test_colour_beyond_the_frame_normalises_to_zero():
    _, labels = mosaic()
    frame, result = plain(300, 300, scale=(1, 1))(COLORS[labels], labels, np.random.default_rng(0))
    outside = normalize(torch.from_numpy(frame)[None])[0][:, torch.from_numpy(result == 255)]
    assert outside.shape[1] == 300 * 300 - 120 * 160
    assert outside.abs().max() < 0.02


def test_large_frame_fills_the_crop():
    """Only the outermost pixel may be void, from rounding the cut to whole pixels."""
    frame, labels = mosaic(240, 320)
    for seed in range(60):
        _, result = plain(96, 64, scale=(0.6, 1.6))(frame, labels, np.random.default_rng(seed))
        assert (result[1:-1, 1:-1] != 255).all()


def test_colour_and_blur_leave_the_labels_alone():
    frame, labels = mosaic()
    for seed in range(10):
        variants = [
            Augment(96, 64, color=color, blur=blur)(frame, labels, np.random.default_rng(seed))
            for color, blur in ((0, 0), (0.3, 0), (0, 1))
        ]
        (plain_frame, plain_labels), *changed = variants
        for out_frame, out_labels in changed:
            np.testing.assert_array_equal(out_labels, plain_labels)
            assert not np.array_equal(out_frame, plain_frame)


def test_colour_changes_pixels_of_one_colour_alike_and_grow_with_the_strength():
    frame = np.full((40, 40, 3), (90, 120, 150), np.uint8)
    labels = np.zeros((40, 40), np.uint8)
    change = {}
    for strength in (0.05, 0.3):
        distances = []
        for seed in range(40):
            augment = Augment(40, 40, (1, 1), color=strength, blur=0)
            out, _ = augment(frame, labels, np.random.default_rng(seed))
            assert (out == out[0, 0]).all()
            distances.append(np.abs(out[0, 0].astype(int) - (90, 120, 150)).mean())
        assert len(set(distances)) > 10
        change[strength] = np.mean(distances)
    assert 1 < change[0.05] < change[0.3] / 3


def test_blur_happens_with_its_probability():
    frame, labels = mosaic()
    augment = Augment(160, 120, (1, 1), color=0, blur=0.25)
    blurred = 0
    for seed in range(200):
        out, out_labels = augment(frame, labels, np.random.default_rng(seed))
        if not np.array_equal(out, COLORS[out_labels]):
            inside = away_from_borders(out_labels, margin=6)
            np.testing.assert_array_equal(out[inside], COLORS[out_labels][inside])
            blurred += 1
    assert 28 <= blurred <= 75


@settings(max_examples=150, deadline=None)
@given(
    frame_size=st.tuples(st.integers(4, 90), st.integers(4, 90)),
    crop=st.tuples(st.integers(4, 90), st.integers(4, 90)),
    scale=st.floats(0.3, 3),
    seed=st.integers(0, 2**32 - 1),
)
def test_size_is_always_exact(frame_size, crop, scale, seed):
    labels = np.full(frame_size, 4, np.uint8)
    augment = Augment(*crop, (scale, scale))
    frame, result = augment(COLORS[labels], labels, np.random.default_rng(seed))
    assert frame.shape == (crop[1], crop[0], 3)
    assert result.shape == (crop[1], crop[0])
    assert frame.dtype == result.dtype == np.uint8
    # As much of the frame as fits, to the pixel that rounding may cost on either side.
    expected = [
        min(to, round(have * scale)) for to, have in zip(crop[::-1], frame_size, strict=True)
    ]
    rows, columns = (result == 4).any(1).sum(), (result == 4).any(0).sum()
    assert rows * columns == (result == 4).sum()
    assert abs(rows - expected[0]) <= 1 + scale / 2
    assert abs(columns - expected[1]) <= 1 + scale / 2
