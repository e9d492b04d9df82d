"""Which frames of a camera are beyond a rate."""

from __future__ import annotations


class RateLimit:
    """Lets frames through at no more than a rate, evenly, whatever the rate of the camera.

    By the steady clock on which they arrive, not by their stamps, which a recording that starts
    again sets back. What a frame comes late by is given to the next, so that jitter does not halve
    the rate.
    """

    def __init__(self) -> None:
        self._due = float('-inf')

    def allows(self, now: float, rate: float) -> bool:
        """Whether a frame that comes now is within the rate.

        :param now: on a steady clock [s].
        :param rate: frames per second; 0 for no limit.
        """
        if not rate:
            return True
        period = 1 / rate
        # Also right after the rate was raised.
        self._due = min(self._due, now + period)
        if now < self._due:
            return False
        late = now - self._due
        self._due = now + period - (late if late < period else 0.0)
        return True
