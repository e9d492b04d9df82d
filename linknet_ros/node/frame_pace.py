"""When to fit the next frame: just before the network is free, so that neither waits nor ages."""

from __future__ import annotations

import threading
import time

#: Weight of the newest measurement in a mean.
_NEWEST = 0.2

#: Fitting starts this many times its mean duration before the network should be free.
_MARGIN = 1.5


class FramePace:
    """Lets a thread that fits frames run just ahead of the thread that runs the network.

    Fitting while the network is busy saves its time; fitting too early would commit to a frame
    while newer ones still come. `wait` returns when fitting should begin, by the means of how long
    both took before.
    """

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._fitted_waits = False
        self._busy_since: float | None = None
        self._network_seconds = 0.0
        self._fit_seconds = 0.0
        self._closed = False

    def wait(self) -> None:
        """Wait until it is time to fit a frame; returns at once after close."""
        with self._changed:
            self._changed.wait_for(lambda: self._closed or not self._fitted_waits)
            if self._busy_since is not None:
                free_at = self._busy_since + self._network_seconds
                left = free_at - _MARGIN * self._fit_seconds - time.perf_counter()
                self._changed.wait_for(
                    lambda: self._closed or self._busy_since is None, timeout=max(0.0, left)
                )

    def fitted(self, seconds: float) -> None:
        """A frame is fitted and waits for the network.

        :param seconds: that fitting it took.
        """
        with self._changed:
            self._fit_seconds = _mean(self._fit_seconds, seconds)
            self._fitted_waits = True

    def busy(self) -> None:
        """The network has taken the frame that waited."""
        with self._changed:
            self._fitted_waits = False
            self._busy_since = time.perf_counter()
            self._changed.notify_all()

    def free(self) -> None:
        """The network could take a frame."""
        with self._changed:
            if self._busy_since is not None:
                passed = time.perf_counter() - self._busy_since
                self._network_seconds = _mean(self._network_seconds, passed)
                self._busy_since = None
                self._changed.notify_all()

    def close(self) -> None:
        """Let nobody wait any more."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()


def _mean(before: float, newest: float) -> float:
    return newest if not before else (1 - _NEWEST) * before + _NEWEST * newest
