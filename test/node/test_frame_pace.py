"""When fitting begins, on a clock that the test turns."""

import threading
from types import SimpleNamespace

import pytest

from linknet_ros.node import frame_pace
from linknet_ros.node.frame_pace import FramePace


@pytest.fixture
def clock(monkeypatch):
    """Clock that stands still; set `clock.now`, seconds."""
    clock = SimpleNamespace(now=100.0)
    monkeypatch.setattr(frame_pace, 'time', SimpleNamespace(perf_counter=lambda: clock.now))
    return clock


@pytest.fixture
def pace():
    return FramePace()


class Waiter:
    """A thread in `wait`, and how long it was willing to wait for the network."""

    def __init__(self, pace, monkeypatch):
        self.timeouts = []
        wait_for = pace._changed.wait_for

        def noted(condition, timeout=None):
            if timeout is not None:
                self.timeouts.append(timeout)
                # As if nothing happened until then.
                return condition() if timeout == 0 else wait_for(condition, 30)
            return wait_for(condition, 30)

        monkeypatch.setattr(pace._changed, 'wait_for', noted)
        self._thread = threading.Thread(target=pace.wait, daemon=True)
        self._thread.start()

    def returned(self, seconds=300):
        self._thread.join(seconds)
        return not self._thread.is_alive()


def one_frame(pace, clock, fit, network):
    pace.fitted(fit)
    pace.busy()
    clock.now += network
    pace.free()


def test_first_frame_begins_at_once(pace, monkeypatch):
    assert Waiter(pace, monkeypatch).returned()


def test_idle_network_means_at_once(pace, clock, monkeypatch):
    one_frame(pace, clock, 0.002, 0.030)
    assert Waiter(pace, monkeypatch).returned()


def test_begins_so_that_the_frame_is_ready_when_the_network_is(pace, clock, monkeypatch):
    one_frame(pace, clock, 0.002, 0.030)
    pace.fitted(0.002)
    pace.busy()
    clock.now += 0.004
    waiter = Waiter(pace, monkeypatch)
    while not waiter.timeouts:
        assert not waiter.returned(0.01)
    # 30 ms of network, 4 of them gone, less one and a half times 2 ms.
    assert waiter.timeouts == [pytest.approx(0.023)]
    assert not waiter.returned(0.05)
    pace.free()
    assert waiter.returned()


def test_late_already_means_at_once(pace, clock, monkeypatch):
    one_frame(pace, clock, 0.002, 0.030)
    pace.fitted(0.002)
    pace.busy()
    clock.now += 0.029
    waiter = Waiter(pace, monkeypatch)
    assert waiter.returned()
    assert waiter.timeouts == [0.0]


def test_a_fitted_frame_that_waits_is_not_overtaken(pace, clock, monkeypatch):
    one_frame(pace, clock, 0.002, 0.030)
    pace.fitted(0.002)
    waiter = Waiter(pace, monkeypatch)
    assert not waiter.returned(0.05)
    pace.busy()
    pace.free()
    assert waiter.returned()


def test_means_follow_what_is_measured(pace, clock):
    one_frame(pace, clock, 0.001, 0.010)
    one_frame(pace, clock, 0.002, 0.020)
    assert pace._network_seconds == pytest.approx(0.012)
    assert pace._fit_seconds == pytest.approx(0.0012)


def test_close_lets_everybody_go(pace, clock, monkeypatch):
    one_frame(pace, clock, 0.002, 0.030)
    pace.fitted(0.002)
    waiter = Waiter(pace, monkeypatch)
    assert not waiter.returned(0.05)
    pace.close()
    assert waiter.returned()
