"""What the view has to show: the newest of everything, left by one thread and taken by others."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from linknet_ros.view.pictures import Picture
from linknet_ros.view.status import CHANNELS, Facts


class Board:
    """Newest picture of each channel, and the facts around them; safe between threads.

    :param node: full name of the segmentation node.
    """

    def __init__(self, node: str) -> None:
        self._lock = threading.Lock()
        self._pictures: dict[str, Picture] = {}
        self._facts = Facts(node)
        self._tell: Callable[[], None] = lambda: None

    def on_picture(self, tell: Callable[[], None]) -> None:
        """Call `tell` after every new picture, from the thread that brings it."""
        self._tell = tell

    def show(self, channel: str, picture: Picture) -> None:
        """Leave a picture in place of the one before."""
        if channel not in CHANNELS:
            raise ValueError(f'{channel!r} is none of {CHANNELS}')
        with self._lock:
            self._pictures[channel] = picture
        self._tell()

    def picture(self, channel: str) -> Picture | None:
        """The newest picture, None before the first."""
        with self._lock:
            return self._pictures.get(channel)

    def times(self) -> dict[str, float]:
        """When the newest picture of each channel came, of time.monotonic."""
        with self._lock:
            return {channel: picture.time for channel, picture in self._pictures.items()}

    @property
    def facts(self) -> Facts:
        """What is known besides."""
        return self._facts

    def learn(self, **changes: Any) -> None:
        """Replace some of the facts."""
        with self._lock:
            self._facts = replace(self._facts, **changes)

    def clear(self, **changes: Any) -> None:
        """Forget pictures and facts but for `changes`: nobody must see old ones as new."""
        with self._lock:
            self._pictures.clear()
            self._facts = Facts(self._facts.node, **changes)
