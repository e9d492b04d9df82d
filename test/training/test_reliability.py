"""Confidence against accuracy, counted by hand, and a temperature that is known."""

import numpy as np
import pytest

from training.reliability import BINS, Reliability, fit_temperature


def counted(*pixels):
    """Pixels of (truth, predicted, confidence byte)."""
    reliability = Reliability(3)
    reliability.add(*np.array(pixels, np.uint8).T)
    return reliability


PIXELS = counted(
    (0, 0, 255),
    (0, 0, 255),
    (1, 0, 255),
    (2, 2, 102),
    (1, 2, 102),
    (1, 1, 51),
    (255, 1, 200),
    (1, 255, 9),
)


def test_error_by_hand():
    """Void truth and unlabelled pixels do not count."""
    assert [(b.share, b.confidence, b.accuracy) for b in PIXELS.bins(0)] == [
        (1.0, 1.0, pytest.approx(2 / 3))
    ]
    assert PIXELS.error(0) == pytest.approx(1 / 3)
    assert PIXELS.error(2) == pytest.approx(0.1)
    assert PIXELS.error(1) == pytest.approx(0.8)
    assert PIXELS.error() == pytest.approx((3 * (1 / 3) + 2 * 0.1 + 0.8) / 6)
    assert np.isnan(Reliability(3).error())


def test_thresholds_by_hand():
    assert PIXELS.kept(0) == 1
    assert PIXELS.kept(0.4) == pytest.approx(5 / 6)
    assert PIXELS.kept(0.41) == pytest.approx(3 / 6)
    assert PIXELS.accuracy() == pytest.approx(4 / 6)
    assert PIXELS.accuracy(0.9) == pytest.approx(2 / 3)
    assert PIXELS.falsely(2, 0.4) == pytest.approx(1 / 6)
    assert PIXELS.falsely(2, 0.5) == 0
    assert PIXELS.found(2, 0.4) == 1
    assert PIXELS.found(2, 0.5) == 0
    assert PIXELS.threshold_for(2, 0.01) == pytest.approx(103 / 255)
    assert PIXELS.threshold_for(2, 0.2) == pytest.approx(1 / 255)
    assert PIXELS.threshold_for(0, 0.01) is None


def test_all_levels_are_in_a_bin():
    every = counted(*[(0, 0, level) for level in range(256)])
    assert len(every.bins()) == BINS
    assert sum(b.share for b in every.bins()) == pytest.approx(1)


@pytest.mark.parametrize('temperature', [0.5, 1.0, 2.5])
def test_temperature_that_made_the_labels_is_found(temperature):
    """Labels drawn from the softmax of logits / T are likeliest at T."""
    rng = np.random.default_rng(0)
    logits = rng.normal(0, 3, (20_000, 4)).astype(np.float32)
    gumbel = rng.gumbel(size=logits.shape)
    labels = (logits / temperature + gumbel).argmax(1).astype(np.uint8)
    assert fit_temperature(logits, labels) == pytest.approx(temperature, rel=0.05)
