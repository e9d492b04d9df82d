"""Frames of the procedural street as samples: how many, repeatable, none of the demo's."""

import numpy as np
import pytest

from training import street_frames
from training.street_frames import StreetFrames


@pytest.fixture(scope='module')
def two():
    return StreetFrames(2, seed=0)


def test_frames_and_labels(two):
    assert len(two) == 2
    for i in range(2):
        frame, labels = two[i]
        assert frame.shape == (360, 480, 3)
        assert labels.shape == (360, 480)
        assert frame.dtype == labels.dtype == np.uint8
        assert labels.max() < 11
        assert {0, 1, 3} <= set(np.unique(labels)), 'a street has sky, buildings and a road'
        assert (labels[-40:] == 3).mean() > (labels[:40] == 3).mean()


def test_same_seed_same_frames(two):
    again = StreetFrames(2, seed=0)
    for i in range(2):
        np.testing.assert_array_equal(again[i][0], two[i][0])
        np.testing.assert_array_equal(again[i][1], two[i][1])


@pytest.mark.parametrize('seed', [0, 2])
@pytest.mark.parametrize('count', [0, 1, 4, 5, 13])
def test_many_streets_none_of_the_demo(monkeypatch, count, seed):
    """Four frames of each street, at times within its minute, never a street of the demo."""
    rendered = []

    class Street:
        def __init__(self, seed):
            self.seed = seed

        def frame(self, time):
            rendered.append((self.seed, time))
            self.bgr, self.labels = f'bgr {time}', f'labels {time}'
            return self

    monkeypatch.setattr(street_frames, 'StreetDrive', Street)
    frames = StreetFrames(count, seed)
    assert len(frames) == count
    seeds = [seed for seed, _ in rendered]
    times = [time for _, time in rendered]
    assert len(set(seeds)) == -(-count // 4)
    assert max(map(seeds.count, seeds), default=0) <= 4
    assert min(seeds, default=1000) >= 1000
    assert all(0 <= time < 60 for time in times)
    assert len(set(times)) == count
    assert [frames[i] for i in range(count)] == [(f'bgr {t}', f'labels {t}') for t in times]
