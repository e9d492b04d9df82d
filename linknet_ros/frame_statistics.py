"""What became of every frame, and how long each stage took."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from types import MappingProxyType


class Drop(Enum):
    """Why a frame was not published."""

    REPLACED = 'replaced by a newer frame'
    NO_SUBSCRIBER = 'nobody subscribed'
    BAD_FRAME = 'bad frame'
    FAILED = 'processing failed'
    INACTIVE = 'node deactivated'


#: Stages of a frame in their order; 'latency' is from the header's stamp to the end of publishing.
STAGES = ('wait', 'fit', 'infer', 'publish', 'latency')


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
    input_age: float | None


class Statistics:
    """Counts frames; safe between threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._received = 0
        self._published = 0
        self._dropped: Counter[Drop] = Counter()
        self._stage_seconds = dict.fromkeys(STAGES, 0.0)
        self._last_input: float | None = None
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

    def publish(self, stage_seconds: Mapping[str, float]) -> None:
        """A frame was published.

        :param stage_seconds: seconds spent by stage, one entry for each of STAGES.
        """
        seconds = [stage_seconds[stage] for stage in STAGES]
        with self._lock:
            self._published += 1
            for stage, passed in zip(STAGES, seconds, strict=True):
                self._stage_seconds[stage] += passed

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
                input_age=None if self._last_input is None else now - self._last_input,
            )
            self._before = (now, self._received, self._published, self._dropped.copy())
            self._stage_seconds = dict.fromkeys(STAGES, 0.0)
            return result
