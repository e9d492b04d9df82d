"""What became of every frame, and how long each stage took."""

from __future__ import annotations

import threading
import time
from collections import Counter, deque
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from types import MappingProxyType


class Drop(Enum):
    """Why a frame was not published."""

    REPLACED = 'replaced by a newer frame'
    NO_SUBSCRIBER = 'nobody subscribed'
    BEYOND_RATE = 'beyond max_rate'
    TOO_OLD = 'older than max_age'
    BAD_FRAME = 'bad frame'
    FAILED = 'processing failed'
    DISABLED = 'disabled'
    INACTIVE = 'node deactivated'


#: What the time from a frame's arrival to the end of its publishing is spent on: converting and
#: scaling it, the network, computing what is published, sending it, and waiting in between.
STAGES = ('wait', 'fit', 'infer', 'products', 'publish')


#: The rate is that of so many frames; after a pause of so many seconds it starts again.
_RATE_FRAMES, _PAUSE = 20, 3.0


@dataclass(frozen=True)
class Snapshot:
    """Totals since the start and rates since the snapshot before.

    :param received: frames that reached the node.
    :param published: frames whose results were published.
    :param dropped: frames that were not, by reason; received = published + dropped, but for the
        frames that are on their way right now.
    :param seconds: since the snapshot before.
    :param input_fps: received per second since then.
    :param output_fps: published per second since then.
    :param new_drops: dropped since then, by reason.
    :param stage_ms: mean time per stage since then, milliseconds; empty when nothing passed.
    :param latency_ms: mean time from the header's stamp to the end of publishing, milliseconds;
        None when nothing with a stamp passed. Negative when the camera's clock is ahead.
    :param input_age: seconds since the last frame came, None before the first.
    """

    received: int
    published: int
    dropped: Mapping[Drop, int]
    seconds: float
    input_fps: float
    output_fps: float
    new_drops: Mapping[Drop, int]
    stage_ms: Mapping[str, float]
    latency_ms: float | None
    input_age: float | None


class Statistics:
    """Counts frames; safe between threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._received = 0
        self._published = 0
        self._dropped: Counter[Drop] = Counter()
        self._stage_seconds = dict.fromkeys(STAGES, 0.0)
        self._latency_sum, self._latency_count = 0.0, 0
        self._last_input: float | None = None
        self._last_outputs: deque[float] = deque(maxlen=_RATE_FRAMES)
        self._before = (time.monotonic(), 0, 0, Counter[Drop]())

    def receive(self) -> None:
        """A frame came in."""
        with self._lock:
            self._received += 1
            self._last_input = time.monotonic()

    def drop(self, reason: Drop) -> None:
        """A frame that came in will not be published."""
        with self._lock:
            self._dropped[reason] += 1

    def publish(self, stage_seconds: Mapping[str, float], latency: float | None) -> None:
        """A frame was published.

        :param stage_seconds: seconds spent by stage, one entry for each of STAGES.
        :param latency: seconds since its stamp, None when it has none.
        """
        seconds = [stage_seconds[stage] for stage in STAGES]
        with self._lock:
            self._published += 1
            now = time.monotonic()
            if self._last_outputs and now - self._last_outputs[-1] > _PAUSE:
                self._last_outputs.clear()
            self._last_outputs.append(now)
            for stage, passed in zip(STAGES, seconds, strict=True):
                self._stage_seconds[stage] += passed
            if latency is not None:
                self._latency_sum += latency
                self._latency_count += 1

    def rate(self) -> float | None:
        """Frames published per second, by the last few; None at the start and after a pause."""
        with self._lock:
            times = self._last_outputs
            if len(times) < 3 or time.monotonic() - times[-1] > _PAUSE:
                return None
            return (len(times) - 1) / max(times[-1] - times[0], 1e-9)

    def snapshot(self) -> Snapshot:
        """Totals and rates; starts a new interval for the rates."""
        with self._lock:
            now = time.monotonic()
            then, received, published, dropped = self._before
            seconds = max(now - then, 1e-9)
            passed = self._published - published
            stage_ms = (
                {stage: 1000 * total / passed for stage, total in self._stage_seconds.items()}
                if passed
                else {}
            )
            result = Snapshot(
                received=self._received,
                published=self._published,
                dropped=MappingProxyType(dict(self._dropped)),
                seconds=seconds,
                input_fps=(self._received - received) / seconds,
                output_fps=passed / seconds,
                new_drops=MappingProxyType(dict(self._dropped - dropped)),
                stage_ms=MappingProxyType(stage_ms),
                latency_ms=1000 * self._latency_sum / self._latency_count
                if self._latency_count
                else None,
                input_age=None if self._last_input is None else now - self._last_input,
            )
            self._before = (now, self._received, self._published, self._dropped.copy())
            self._stage_seconds = dict.fromkeys(STAGES, 0.0)
            self._latency_sum, self._latency_count = 0.0, 0
            return result
