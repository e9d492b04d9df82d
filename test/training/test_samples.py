"""Order and random draws of the training samples depend on seed, epoch and position only."""

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from training.augment import Augment
from training.samples import Source, TrainingSamples, batch_positions


def source(first, count):
    """Frames of two pixels that hold their own number."""
    return [
        (np.full((1, 2, 3), first + i, np.uint8), np.full((1, 2), first + i, np.uint8))
        for i in range(count)
    ]


class Draw:
    """Augmentation that writes a draw of the generator beside the number of the frame."""

    def warp(self, frame, labels, rng):
        labels = np.array([[labels[0, 0], rng.integers(0, 250)]], np.uint8)
        return frame.copy(), labels

    def recolor(self, frame, rng):
        return frame


class Negative:
    """Augmentation whose geometry is none, and whose light is the negative."""

    def warp(self, frame, labels, rng):
        return frame.copy(), labels.copy()

    def recolor(self, frame, rng):
        return 255 - frame


def make_samples(seed=0):
    return TrainingSamples([Source('a', source(0, 5)), Source('b', source(100, 4))], Draw(), seed)


def read(samples, epoch, positions=range(9)):
    """(number of the frame, draw) by position."""
    samples.start_epoch(epoch)
    result = {}
    for position in positions:
        frame, labels = samples[position]
        assert frame[0, 0].tolist() == [labels[0, 0]] * 3
        result[position] = tuple(labels[0].tolist())
    return [result[position] for position in range(9)]


def test_every_frame_of_every_source_once_an_epoch():
    samples = make_samples()
    assert len(samples) == 9
    for epoch in range(4):
        numbers = sorted(number for number, _ in read(samples, epoch))
        assert numbers == [0, 1, 2, 3, 4, 100, 101, 102, 103]


def test_source_that_gives_fewer_or_more_samples_shows_every_frame_as_often():
    """Two of five: all are seen before one comes again; seven of three: each at least twice."""
    few, many = Source('few', source(0, 5), 2), Source('many', source(100, 3), 7)
    samples = TrainingSamples([few, many], Draw(), 0)
    seen = []
    for epoch in range(5):
        samples.start_epoch(epoch)
        numbers = [int(samples[i][1][0, 0]) for i in range(len(samples))]
        seen += [number for number in numbers if number < 100]
        counts = [numbers.count(100 + i) for i in range(3)]
        assert sum(counts) == 7
        assert min(counts) >= 2
    assert len(seen) == 10
    assert sorted(seen) == sorted(2 * list(range(5)))
    assert len(set(seen[:4])) == 4


def test_source_has_its_own_scale():
    """Enlarged fourfold, an 8x8 crop of 8x8 frames shows 2x2 of their pixels; else all of them."""
    frame = (np.zeros((8, 8, 3), np.uint8), np.arange(64, dtype=np.uint8).reshape(8, 8))
    augment = Augment(8, 8, (1, 1), mirror=False, color=0, blur=0)
    for scale, few in ((None, False), ((4.0, 4.0), True)):
        samples = TrainingSamples([Source('', [frame], scale=scale)], augment, 0)
        assert (np.unique(samples[0][1]).size <= 9) == few


def test_another_epoch_has_another_order_and_other_draws():
    epochs = [read(make_samples(), epoch) for epoch in range(4)]
    orders = [tuple(number for number, _ in epoch) for epoch in epochs]
    draws = [tuple(value for _, value in epoch) for epoch in epochs]
    assert len(set(orders)) == 4
    assert len(set(draws)) == 4
    assert orders[0] != (0, 1, 2, 3, 4, 100, 101, 102, 103)
    assert all(len(set(values)) > 4 for values in draws)


def test_what_ran_before_does_not_matter():
    """Epoch 3 at once and read backwards is the epoch 3 that a whole run sees."""
    whole = make_samples()
    np.random.seed(1)
    for epoch in range(3):
        read(whole, epoch)
    expected = read(whole, 3)
    np.random.seed(2)
    assert read(make_samples(), 3, positions=reversed(range(9))) == expected
    assert read(whole, 3) == expected


def test_worker_processes_give_the_same_batches():
    samples = make_samples()
    loader = DataLoader(samples, batch_sampler=batch_positions(9, 3, 1, 0, 1), num_workers=2)
    for epoch in (0, 1):
        expected = read(make_samples(), epoch)
        samples.start_epoch(epoch)
        batches = [tuple(row[0].tolist()) for _, labels in loader for row in labels]
        assert batches == expected


# Pasting: pixels hold 10 * number of the frame + class, 9 for void, so that each tells its origin.


def coded_frames(count=6):
    frames = []
    for number in range(count):
        classes = np.random.default_rng(number).choice([0, 1, 2, 3, 9], (4, 5))
        frame = np.repeat((10 * number + classes)[..., None], 3, -1).astype(np.uint8)
        frames.append((frame, np.where(classes == 9, 255, classes).astype(np.uint8)))
    return frames


def origins(sample):
    """Number of the frame that each pixel is of; its label must be the one of that pixel."""
    frame, labels = sample
    value = 255 - frame.numpy().astype(int)
    assert (value == value[..., :1]).all()
    number, code = np.divmod(value[..., 0], 10)
    np.testing.assert_array_equal(np.where(code == 9, 255, code), labels.numpy())
    return number


def test_pixels_and_labels_of_the_classes_are_pasted_together_and_recolored_together():
    frames = coded_frames()
    pasting = TrainingSamples([Source('', frames)], Negative(), 0, paste=1, paste_classes=(2, 3))
    bare = TrainingSamples([Source('', frames)], Negative(), 0)
    others = set()
    for epoch in range(4):
        pasting.start_epoch(epoch)
        bare.start_epoch(epoch)
        for position in range(6):
            # All pixels are negative once: the light comes after the pasting, over all of it.
            number = origins(pasting[position])
            base = origins(bare[position])
            assert np.unique(base).size == 1
            matches = [
                other
                for other, (_, labels) in enumerate(frames)
                if np.array_equal(number, np.where(np.isin(labels, (2, 3)), other, base))
            ]
            assert len(matches) == 1
            others.add(matches[0])
    assert others == set(range(6))


def test_pastes_with_its_probability():
    frames = [(np.full((1, 1, 3), n, np.uint8), np.full((1, 1), 2, np.uint8)) for n in range(100)]
    bare = TrainingSamples([Source('', frames)], Negative(), 0)
    for paste, low, high in ((0, 0, 0), (0.3, 15, 45), (1, 95, 100)):
        samples = TrainingSamples(
            [Source('', frames)], Negative(), 0, paste=paste, paste_classes=(2,)
        )
        pasted = sum(not torch.equal(samples[i][0], bare[i][0]) for i in range(100))
        assert low <= pasted <= high


def test_pasted_samples_can_be_repeated():
    one, two = (
        TrainingSamples([Source('', coded_frames())], Negative(), 3, paste=0.5, paste_classes=(2,))
        for _ in range(2)
    )
    two.start_epoch(1)
    [two[position] for position in range(6)]
    two.start_epoch(0)
    for position in (5, 0, 3, 1, 4, 2):
        for a, b in zip(one[position], two[position], strict=True):
            assert torch.equal(a, b)


def test_labels_fit_the_pixels_through_all_of_it():
    """Blue is 40 times the label, in stripes: pasted, turned, scaled and mirrored."""
    frames = []
    for shift in range(4):
        labels = np.repeat((np.arange(8) + shift) % 5, 10)[None].repeat(60, 0).astype(np.uint8)
        frames.append((np.repeat((40 * labels)[..., None], 3, -1), labels))
    augment = Augment(50, 40, (0.8, 1.5), rotation=15, color=0, blur=0, focus=0.5)
    samples = TrainingSamples([Source('', frames)], augment, 0, paste=1, paste_classes=(4,))
    agreed = []
    for epoch in range(5):
        samples.start_epoch(epoch)
        for position in range(4):
            frame, labels = (tensor.numpy() for tensor in samples[position])
            known = labels != 255
            near = np.abs(frame[..., 0].astype(int) - 40 * labels) <= 20
            agreed.append(near[known].mean())
    # Interpolated pixels between two stripes may pass for another; pasting out of place would
    # leave a large part wrong.
    assert min(agreed) > 0.8
    assert np.mean(agreed) > 0.93


@pytest.mark.parametrize('samples', [24, 25, 47])
@pytest.mark.parametrize(
    ('count', 'accumulate'),
    [(1, 1), (1, 2), (1, 3), (1, 12), (2, 1), (2, 2), (2, 3), (3, 2), (4, 1), (4, 3), (12, 1)],
)
def test_every_split_takes_the_same_samples_per_step(samples, count, accumulate):
    """All processes' parts of a step together are the step's samples, each once."""
    batch = 12
    ranks = [batch_positions(samples, batch, accumulate, rank, count) for rank in range(count)]
    steps = samples // batch
    assert [len(parts) for parts in ranks] == [steps * accumulate] * count
    for step in range(steps):
        parts = [
            part for rank in ranks for part in rank[step * accumulate : (step + 1) * accumulate]
        ]
        assert {len(part) for part in parts} == {batch // (accumulate * count)}
        positions = sorted(position for part in parts for position in part)
        assert positions == list(range(step * batch, (step + 1) * batch))
