"""Counts, rates and stage times, on a clock that the test turns."""

import threading
from types import SimpleNamespace

import pytest

from linknet_ros.node import statistics as frame_statistics
from linknet_ros.node.statistics import STAGES, Drop, Statistics

STAGE_SECONDS = {
    'wait': 0.001,
    'fit': 0.002,
    'infer': 0.020,
    'products': 0.004,
    'publish': 0.003,
}
LATENCY = 0.040


@pytest.fixture
def clock(monkeypatch):
    """Clock that stands still; set `clock.now`, seconds."""
    clock = SimpleNamespace(now=100.0)
    monkeypatch.setattr(frame_statistics, 'time', SimpleNamespace(monotonic=lambda: clock.now))
    return clock


@pytest.fixture
def statistics(clock):
    return Statistics()


def test_nothing_happened(statistics, clock):
    clock.now += 2
    snapshot = statistics.snapshot()
    assert (snapshot.received, snapshot.published) == (0, 0)
    assert dict(snapshot.dropped) == dict(snapshot.new_drops) == {}
    assert snapshot.seconds == 2
    assert (snapshot.input_fps, snapshot.output_fps) == (0, 0)
    assert dict(snapshot.stage_ms) == {}
    assert snapshot.input_age is None


def test_totals_and_rates(statistics, clock):
    for _ in range(6):
        statistics.receive()
    for _ in range(3):
        statistics.publish(STAGE_SECONDS, LATENCY)
    statistics.drop(Drop.REPLACED)
    statistics.drop(Drop.REPLACED)
    statistics.drop(Drop.BAD_FRAME)
    clock.now += 2
    snapshot = statistics.snapshot()
    assert (snapshot.received, snapshot.published) == (6, 3)
    assert dict(snapshot.dropped) == {Drop.REPLACED: 2, Drop.BAD_FRAME: 1}
    assert snapshot.received == snapshot.published + sum(snapshot.dropped.values())
    assert snapshot.input_fps == 3
    assert snapshot.output_fps == 1.5


def test_rates_are_since_the_snapshot_before_and_totals_are_not(statistics, clock):
    statistics.receive()
    statistics.receive()
    statistics.drop(Drop.FAILED)
    statistics.publish(STAGE_SECONDS, LATENCY)
    clock.now += 1
    statistics.snapshot()
    statistics.receive()
    statistics.drop(Drop.NO_SUBSCRIBER)
    statistics.drop(Drop.FAILED)
    clock.now += 4
    snapshot = statistics.snapshot()
    assert (snapshot.received, snapshot.published) == (3, 1)
    assert dict(snapshot.dropped) == {Drop.FAILED: 2, Drop.NO_SUBSCRIBER: 1}
    assert dict(snapshot.new_drops) == {Drop.FAILED: 1, Drop.NO_SUBSCRIBER: 1}
    assert snapshot.seconds == 4
    assert snapshot.input_fps == 0.25
    assert snapshot.output_fps == 0
    assert dict(snapshot.stage_ms) == {}
    # At once again, without a division by zero.
    assert statistics.snapshot().input_fps == 0


def test_stage_times_are_means_in_milliseconds(statistics):
    statistics.publish(STAGE_SECONDS, LATENCY)
    statistics.publish(
        {stage: 3 * seconds for stage, seconds in STAGE_SECONDS.items()}, 3 * LATENCY
    )
    stage_ms = statistics.snapshot().stage_ms
    assert tuple(stage_ms) == STAGES
    assert dict(stage_ms) == pytest.approx(
        {'wait': 2, 'fit': 4, 'infer': 40, 'products': 8, 'publish': 6}
    )
    statistics.publish(dict.fromkeys(STAGES, 0.5), 0.5)
    assert dict(statistics.snapshot().stage_ms) == pytest.approx(dict.fromkeys(STAGES, 500))


def test_latency_is_the_mean_of_the_frames_that_have_a_stamp(statistics):
    assert statistics.snapshot().latency_ms is None
    for latency in (0.010, None, 0.030):
        statistics.publish(STAGE_SECONDS, latency)
    assert statistics.snapshot().latency_ms == pytest.approx(20)
    statistics.publish(STAGE_SECONDS, None)
    assert statistics.snapshot().latency_ms is None
    statistics.publish(STAGE_SECONDS, -2.0)
    assert statistics.snapshot().latency_ms == pytest.approx(-2000)


def test_input_age(statistics, clock):
    statistics.receive()
    clock.now += 1.5
    assert statistics.snapshot().input_age == 1.5
    clock.now += 1
    assert statistics.snapshot().input_age == 2.5
    statistics.receive()
    assert statistics.snapshot().input_age == 0


def test_snapshot_does_not_change_any_more(statistics):
    statistics.drop(Drop.REPLACED)
    snapshot = statistics.snapshot()
    statistics.drop(Drop.REPLACED)
    statistics.receive()
    assert snapshot.received == 0
    assert dict(snapshot.dropped) == dict(snapshot.new_drops) == {Drop.REPLACED: 1}
    with pytest.raises(TypeError):
        snapshot.dropped[Drop.REPLACED] = 5


def test_counts_from_several_threads(statistics):
    def work():
        for _ in range(500):
            statistics.receive()
            statistics.drop(Drop.REPLACED)
            statistics.receive()
            statistics.publish(STAGE_SECONDS, LATENCY)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    snapshot = statistics.snapshot()
    assert (snapshot.received, snapshot.published) == (4000, 2000)
    assert snapshot.dropped[Drop.REPLACED] == 2000
    assert snapshot.stage_ms['infer'] == pytest.approx(20)


def test_rate_is_that_of_the_last_frames(statistics, clock):
    assert statistics.rate() is None
    rates = []
    for gap in [0.5] * 5 + [0.1] * 30:
        clock.now += gap
        statistics.publish(STAGE_SECONDS, LATENCY)
        rates.append(statistics.rate())
    assert rates[:2] == [None, None]
    assert rates[4] == pytest.approx(2)
    # Of the slow ones nothing is left.
    assert rates[-1] == pytest.approx(10)
    statistics.snapshot()
    assert statistics.rate() == pytest.approx(10)


def test_rate_after_a_pause(statistics, clock):
    for _ in range(5):
        clock.now += 0.1
        statistics.publish(STAGE_SECONDS, LATENCY)
    clock.now += 60
    # Neither the old rate nor one with the pause in it.
    assert statistics.rate() is None
    statistics.publish(STAGE_SECONDS, LATENCY)
    assert statistics.rate() is None
    for _ in range(2):
        clock.now += 0.25
        statistics.publish(STAGE_SECONDS, LATENCY)
    assert statistics.rate() == pytest.approx(4)
