"""Random variants of a frame: labels stay on their pixels, whatever the sizes and the draws."""

import cv2
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from training.augment import Augment
from training.networks import normalize

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


def ramps(height=120, width=160):
    """Make a frame that holds each pixel's column in blue and its row in green."""
    rows, columns = np.indices((height, width)).astype(np.uint8)
    return np.dstack([columns, rows, np.zeros_like(rows)]), rows, columns


def of_frame(warped):
    """Pixels of warped ramps, (H, W) bool, without those near the border of the frame."""
    blue, green, red = np.moveaxis(warped, -1, 0)
    # The border's colour has red.
    return (red == 0) & (blue > 5) & (blue < 154) & (green > 5) & (green < 114)


def slopes(warped, channel):
    """Plane a x + b y + c through a channel of warped ramps."""
    y, x = np.nonzero(of_frame(warped))
    return np.linalg.lstsq(np.c_[x, y, np.ones_like(x)], warped[y, x, channel])[0]


def plane(warped, channel):
    """Column (channel 0) or row (1) of the frame at every pixel of warped ramps, float (H, W)."""
    a, b, c = slopes(warped, channel)
    y, x = np.indices(warped.shape[:2])
    return a * x + b * y + c


def labels_of_colors(frame):
    """Class whose colour is nearest, 255 for the colour of the border."""
    palette = np.vstack([COLORS, [VOID_COLOR]]).astype(int)
    distance = np.abs(frame[:, :, None].astype(int) - palette).sum(-1)
    nearest = distance.argmin(-1)
    return np.where(nearest == len(COLORS), 255, nearest)


def away_from_borders(labels, margin=3):
    kernel = np.ones((2 * margin + 1, 2 * margin + 1), np.uint8)
    return cv2.dilate(labels, kernel) == cv2.erode(labels, kernel)


def rng_of(seed):
    return np.random.default_rng(seed)


@pytest.mark.parametrize('size', [(96, 64), (160, 120), (220, 180)])
@pytest.mark.parametrize('seed', range(12))
def test_labels_move_with_the_frame(size, seed):
    augment = plain(*size, scale=(0.6, 1.6), rotation=30, focus=0.5, focus_classes=(2, 4))
    frame, labels = augment.warp(*mosaic(), rng_of(seed))
    inside = away_from_borders(labels)
    assert inside.mean() > 0.2
    np.testing.assert_array_equal(labels_of_colors(frame)[inside], labels[inside])


@pytest.mark.parametrize(
    'changes', [{}, {'rotation': 25}, {'focus': 1, 'focus_classes': (70,)}, {'aspect': 0.3}]
)
@pytest.mark.parametrize('scale', [0.5, 0.8, 1, 1.37, 3])
def test_labels_are_those_of_the_nearest_pixel_centre(scale, changes):
    """The ramp says where in the frame each pixel is; its label, a column or row, is nearest."""
    frame, rows, columns = ramps()
    augment = plain(100, 70, scale=(scale, scale), **changes)
    for channel, labels in enumerate([columns, rows]):
        for seed in range(6):
            warped, result = augment.warp(frame, labels, rng_of(seed))
            position = plane(warped, channel)
            # The plane is fitted to whole numbers: where it steps by nearly 2 pixels, rounding
            # pulls it aside, by less than this.
            unsure = 0.3 if 'aspect' in changes and scale < 1 else 0.1
            inside = of_frame(warped) & (np.abs(position % 1 - 0.5) > unsure)
            assert inside.mean() > 0.1
            np.testing.assert_array_equal(result[inside], np.rint(position[inside]))


def test_aspect_stretches_and_squeezes_within_its_limits():
    frame, rows, _ = ramps()
    changes = []
    for seed in range(40):
        augment = plain(100, 70, scale=(1, 1), aspect=0.4, mirror=False)
        warped, _ = augment.warp(frame, rows, rng_of(seed))
        across, down = slopes(warped, 0)[0], slopes(warped, 1)[1]
        assert across * down == pytest.approx(1, abs=0.02)
        changes.append(np.log(down / across))
    assert -0.41 < min(changes) < -0.2
    assert 0.2 < max(changes) < 0.41


def test_crops_reach_every_border_and_never_beyond():
    """Labels are numbers of pixels: the upper left one tells where the cut is."""
    labels = np.arange(10 * 12, dtype=np.uint8).reshape(10, 12)
    frame = np.zeros((10, 12, 3), np.uint8)
    augment = plain(8, 8, scale=(1, 1), mirror=False)
    corners = set()
    for seed in range(400):
        _, result = augment.warp(frame, labels, rng_of(seed))
        row, column = divmod(int(result[0, 0]), 12)
        np.testing.assert_array_equal(result, labels[row : row + 8, column : column + 8])
        corners.add((row, column))
    assert corners == {(row, column) for row in range(3) for column in range(5)}


def test_mirrored_about_half_of_the_time():
    frame, labels = mosaic()
    augment = plain(160, 120, scale=(1, 1))
    mirrored = 0
    for seed in range(200):
        out_frame, out_labels = augment.warp(frame, labels, rng_of(seed))
        if np.array_equal(out_frame, frame):
            np.testing.assert_array_equal(out_labels, labels)
        else:
            np.testing.assert_array_equal(out_frame, frame[:, ::-1])
            np.testing.assert_array_equal(out_labels, labels[:, ::-1])
            mirrored += 1
    assert 70 <= mirrored <= 130


def test_rotation_stays_in_its_range_and_fills_it():
    """The ramps of columns and rows, measured in the result, give the angle and the scale."""
    frame, _, columns = ramps()
    augment = plain(100, 70, scale=(1, 1), rotation=10, mirror=False)
    angles = []
    for seed in range(60):
        warped, _ = augment.warp(frame, columns, rng_of(seed))
        a, b, _ = slopes(warped, 0)
        # Columns and rows turn the same way: nothing is sheared or turned over.
        # Near 0 degrees, bytes round a slope by up to 0.01.
        np.testing.assert_allclose(slopes(warped, 1)[:2], [-b, a], atol=0.02)
        assert np.hypot(a, b) == pytest.approx(1, abs=0.01)
        angles.append(np.degrees(np.arctan2(b, a)))
    assert -10.5 < min(angles) < -8
    assert 8 < max(angles) < 10.5
    assert abs(np.mean(angles)) < 2.5


def test_one_generator_state_one_variant():
    frame, labels = mosaic()
    augment = Augment(96, 64, rotation=10, blur=0.5, noise=0.5, focus=0.5, focus_classes=(1, 2, 3))

    def variant(seed):
        rng = rng_of(seed)
        frame_out, labels_out = augment.warp(frame, labels, rng)
        return augment.recolor(frame_out, rng).tobytes(), labels_out.tobytes()

    first = [variant(seed) for seed in range(8)]
    np.random.seed(5)
    cv2.setRNGSeed(5)
    assert [variant(seed) for seed in range(8)] == first
    assert len({frame for frame, _ in first}) == 8


def test_the_frame_given_is_left_alone():
    frame, labels = mosaic()
    frame.setflags(write=False)
    labels.setflags(write=False)
    before = frame.copy(), labels.copy()
    augment = Augment(160, 120, (1, 1), blur=1, noise=1)
    for seed in range(10):
        augment.warp(frame, labels, rng_of(seed))
        augment.recolor(frame, rng_of(seed))
    np.testing.assert_array_equal(frame, before[0])
    np.testing.assert_array_equal(labels, before[1])


def test_scale_stays_in_its_range_and_fills_it():
    """The square of 40 pixels in the middle of the frame is measured in the result."""
    labels = np.zeros((200, 200), np.uint8)
    labels[80:120, 80:120] = 5
    augment = plain(420, 420, scale=(0.5, 2))
    scales = []
    for seed in range(200):
        _, result = augment.warp(COLORS[labels], labels, rng_of(seed))
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


def test_making_smaller_keeps_the_mean_of_fine_stripes():
    """Every other column white: single points would give black, white or long waves of both."""
    frame = np.zeros((120, 160, 3), np.uint8)
    frame[:, ::2] = 255
    labels = np.zeros((120, 160), np.uint8)
    small, _ = plain(60, 40, scale=(0.5, 0.5)).warp(frame, labels, rng_of(0))
    assert small.mean() == pytest.approx(127.5, abs=6)
    assert small.std() < 40


def test_beyond_a_small_frame_is_void_and_mean_colour():
    labels = np.full((20, 30), 2, np.uint8)
    augment = plain(50, 40, scale=(1, 1))
    corners = set()
    for seed in range(30):
        frame, result = augment.warp(COLORS[labels], labels, rng_of(seed))
        rows, columns = np.nonzero(result == 2)
        assert (np.ptp(rows) + 1, np.ptp(columns) + 1, rows.size) == (20, 30, 600)
        assert (result[result != 2] == 255).all()
        # On the frame's edge the two colours are mixed.
        inside = away_from_borders(np.pad(result, 1, constant_values=255), 1)[1:-1, 1:-1]
        assert (frame[inside & (result == 2)] == COLORS[2]).all()
        assert (frame[inside & (result == 255)] == VOID_COLOR).all()
        corners.add((rows[0], columns[0]))
    assert len(corners) > 15


def test_colour_beyond_the_frame_normalises_to_zero():
    frame, labels = mosaic()
    frame, result = plain(300, 300, scale=(1, 1)).warp(frame, labels, rng_of(0))
    assert (result == 255).sum() == 300 * 300 - 120 * 160
    void = (result == 255) & away_from_borders((result == 255).astype(np.uint8), 1)
    outside = normalize(torch.from_numpy(frame)[None])[0][:, torch.from_numpy(void)]
    assert outside.shape[1] > 65_000
    assert outside.abs().max() < 0.02


def rare_at(row, column, height=200, width=240):
    """Labels of class 0 with 3 x 3 pixels of class 5 around a pixel."""
    labels = np.zeros((height, width), np.uint8)
    labels[row - 1 : row + 2, column - 1 : column + 2] = 5
    return np.zeros((height, width, 3), np.uint8), labels


def test_focus_lays_the_rare_class_into_the_middle_half():
    frame, labels = rare_at(100, 120)
    augment = plain(60, 48, scale=(0.8, 2), focus=1, focus_classes=(5,))
    places = []
    for seed in range(80):
        _, result = augment.warp(frame, labels, rng_of(seed))
        rows, columns = np.nonzero(result == 5)
        assert rows.size
        # From the centre of the crop, in its heights and widths; the class reaches 2 pixels
        # of the frame, which are up to 4 of the crop.
        places.append(((rows.mean() - 23.5) / 48, (columns.mean() - 29.5) / 60))
        assert abs(places[-1][0]) <= 0.25 + 4 / 48
        assert abs(places[-1][1]) <= 0.25 + 4 / 60
    assert np.ptp(places, 0).min() > 0.4, 'not always at the same place'


def test_focus_happens_with_its_probability():
    frame, labels = rare_at(100, 120)
    hits = {}
    for focus in (0, 0.5):
        augment = plain(30, 30, scale=(1, 1), focus=focus, focus_classes=(5,))
        results = [augment.warp(frame, labels, rng_of(seed))[1] for seed in range(200)]
        hits[focus] = sum((result == 5).any() for result in results)
    # A random cut has it in 32 * 32 of 171 * 211 places.
    assert hits[0] < 20
    assert 75 <= hits[0.5] <= 135


def test_each_focus_class_that_the_frame_has_is_as_likely():
    frame, labels = rare_at(20, 20)
    labels[100:, 100:] = 4
    augment = plain(24, 24, scale=(1, 1), focus=1, focus_classes=(3, 4, 5))
    results = [augment.warp(frame, labels, rng_of(seed))[1] for seed in range(200)]
    few, many = (sum((result == c).any() for result in results) for c in (5, 4))
    assert few + many == 200
    assert 70 <= few <= 130


def test_colour_changes_pixels_of_one_colour_alike_and_grow_with_the_strength():
    frame = np.full((40, 40, 3), (90, 120, 150), np.uint8)
    change = {}
    for strength in (0.05, 0.3):
        distances = []
        for seed in range(40):
            out = Augment(40, 40, color=strength, blur=0).recolor(frame, rng_of(seed))
            assert (out == out[0, 0]).all()
            distances.append(np.abs(out[0, 0].astype(int) - (90, 120, 150)).mean())
        assert len(set(distances)) > 10
        change[strength] = np.mean(distances)
    assert 1 < change[0.05] < change[0.3] / 3


def test_colour_does_not_shift_the_mean_of_many_frames():
    frame = np.full((4, 4, 3), 128, np.uint8)
    augment = Augment(4, 4, color=0.3, blur=0)
    values = [augment.recolor(frame, rng_of(seed)).mean() for seed in range(400)]
    assert np.mean(values) == pytest.approx(128, abs=6)
    assert np.std(values) > 10


def test_blur_happens_with_its_probability():
    frame, labels = mosaic()
    augment = plain(160, 120, blur=0.25)
    blurred = 0
    for seed in range(200):
        out = augment.recolor(frame, rng_of(seed))
        if not np.array_equal(out, frame):
            inside = away_from_borders(labels, margin=6)
            np.testing.assert_array_equal(out[inside], frame[inside])
            blurred += 1
    assert 28 <= blurred <= 75


def test_noise_happens_with_its_probability_and_neither_darkens_nor_brightens():
    frame = np.full((40, 50, 3), 100, np.uint8)
    augment = plain(50, 40, noise=0.25)
    means, deviations = [], []
    for seed in range(200):
        out = augment.recolor(frame, rng_of(seed)).astype(float)
        if out.any() and np.ptp(out):
            means.append(out.mean() - 100)
            deviations.append(out.std())
    assert 28 <= len(means) <= 75
    assert abs(np.mean(means)) < 0.1
    assert 1.9 < min(deviations) < 4
    assert 9 < max(deviations) < 12.5


@settings(max_examples=150, deadline=None)
@given(
    frame_size=st.tuples(st.integers(4, 90), st.integers(4, 90)),
    crop=st.tuples(st.integers(4, 90), st.integers(4, 90)),
    scale=st.floats(0.3, 3),
    seed=st.integers(0, 2**32 - 1),
)
def test_size_is_always_exact(frame_size, crop, scale, seed):
    labels = np.full(frame_size, 4, np.uint8)
    augment = Augment(*crop, (scale, scale), noise=0.5)
    rng = rng_of(seed)
    frame, result = augment.warp(COLORS[labels], labels, rng)
    frame = augment.recolor(frame, rng)
    assert frame.shape == (crop[1], crop[0], 3)
    assert result.shape == (crop[1], crop[0])
    assert frame.dtype == result.dtype == np.uint8
    # As much of the frame as fits, to the pixel that rounding may cost on either side.
    expected = [
        min(to, round(have * scale)) for to, have in zip(crop[::-1], frame_size, strict=True)
    ]
    rows, columns = (result == 4).any(1).sum(), (result == 4).any(0).sum()
    assert rows * columns == (result == 4).sum()
    assert abs(rows - expected[0]) <= 1
    assert abs(columns - expected[1]) <= 1


def test_noise_at_the_ends_of_the_range_does_not_wrap():
    augment = plain(50, 40, noise=1)
    for value in (0, 255):
        frame = np.full((40, 50, 3), value, np.uint8)
        out = augment.recolor(frame, rng_of(0)).astype(int)
        assert np.abs(out - value).max() < 80
