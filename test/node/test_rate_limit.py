"""Which frames are beyond a rate, whatever the camera does."""

import random

import pytest

from linknet_ros.node.rate_limit import RateLimit


def passed(arrivals, rate):
    limit = RateLimit()
    return [now for now in arrivals if limit.allows(now, rate)]


@pytest.mark.parametrize('camera', [15.0, 25.0, 30.0, 90.0, 1000.0])
def test_rate_holds_in_spite_of_jitter(camera):
    draw = random.Random(0)
    arrivals = [(n + draw.uniform(-0.3, 0.3)) / camera for n in range(int(60 * camera))]
    through = passed(arrivals, 10.0)
    # Not above the rate, and not the half of it where frames come a little early.
    assert 0.97 * 600 <= len(through) <= 601
    for start in range(59):
        assert sum(start <= now < start + 1 for now in through) <= 11


def test_slow_cameras_and_no_limit_lose_nothing():
    arrivals = [0.2 * n for n in range(50)]
    assert passed(arrivals, 6.0) == arrivals
    assert passed(arrivals, 0.0) == arrivals


def test_after_a_pause_there_is_no_burst():
    through = passed([0.0, *(100 + 0.01 * n for n in range(100))], 10.0)
    assert len(through) <= 1 + 11


def test_a_rate_that_is_raised_holds_at_once():
    limit = RateLimit()
    assert limit.allows(0.0, 0.01)
    assert not limit.allows(1.0, 0.01)
    assert [limit.allows(1.0 + 0.11 * n, 10.0) for n in range(3)] == [False, True, True]
