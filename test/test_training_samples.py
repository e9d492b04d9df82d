"""Order and random draws of the training samples depend on seed, epoch and position only."""

import numpy as np
import pytest

pytest.importorskip('torch', reason='PyTorch (extra "train") not installed')

import torch
from torch.utils.data import DataLoader

from training.samples import TrainingSamples


def source(first, count):
    """Frames of one pixel that hold their own number."""
    return [
        (np.full((1, 1, 3), first + i, np.uint8), np.full((1, 2), first + i, np.uint8))
        for i in range(count)
    ]


def draw(frame, labels, rng):
    """Augmentation that writes a draw of the generator beside the number of the frame."""
    labels = np.array([[labels[0, 0], rng.integers(0, 250)]], np.uint8)
    return frame.copy(), labels


def make_samples(seed=0):
    return TrainingSamples([source(0, 5), source(100, 4)], draw, seed)


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


def test_another_epoch_has_another_order_and_other_draws():
    epochs = [read(make_samples(), epoch) for epoch in range(4)]
    orders = [tuple(number for number, _ in epoch) for epoch in epochs]
    draws = [tuple(value for _, value in epoch) for epoch in epochs]
    assert len(set(orders)) == 4
    assert len(set(draws)) == 4
    assert orders[0] != (0, 1, 2, 3, 4, 100, 101, 102, 103)
    assert all(len(set(values)) > 4 for values in draws)


def test_another_seed_has_another_order_and_other_draws():
    one, two = read(make_samples(seed=0), 0), read(make_samples(seed=1), 0)
    assert [number for number, _ in one] != [number for number, _ in two]
    assert [value for _, value in one] != [value for _, value in two]


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


def test_first_epoch_needs_no_start():
    samples = make_samples()
    started = read(make_samples(), 0)
    assert [tuple(samples[position][1][0].tolist()) for position in range(9)] == started


def test_worker_processes_give_the_same_batches():
    samples = make_samples()
    loader = DataLoader(samples, batch_size=3, num_workers=2)
    for epoch in (0, 1):
        expected = read(make_samples(), epoch)
        samples.start_epoch(epoch)
        batches = [tuple(row[0].tolist()) for _, labels in loader for row in labels]
        assert batches == expected


def test_tensor_types():
    frame, labels = make_samples()[0]
    assert frame.dtype == torch.uint8
    assert frame.shape == (1, 1, 3)
    assert labels.dtype == torch.int64
    assert labels.shape == (1, 2)
