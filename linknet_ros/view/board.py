"""The newest pictures and facts, put here by the ROS thread and read by the web server's."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from linknet_ros.view.pictures import Picture
from linknet_ros.view.status import Facts


class Board:
    """The newest picture of each channel and the facts around them; thread-safe.

    :param node: full name of the segmentation node.
    """

    def __init__(self, node: str) -> None:
        self._lock = threading.Lock()
        self._pictures: dict[str, Picture] = {}
        self._facts = Facts(node)
        self._callback: Callable[[], None] = lambda: None

    def on_picture(self, callback: Callable[[], None]) -> None:
        """Call `callback` after every new picture, in the thread that puts it."""
        self._callback = callback

    def put(self, channel: str, picture: Picture) -> None:
        """Replace the picture of one of CHANNELS."""
        with self._lock:
            self._pictures[channel] = picture
        self._callback()

    def picture(self, channel: str) -> Picture | None:
        """The newest picture of a channel, None before the first."""
        with self._lock:
            return self._pictures.get(channel)

    def times(self) -> dict[str, float]:
        """When the newest picture of each channel arrived, on the clock of time.monotonic [s]."""
        with self._lock:
            return {channel: picture.time for channel, picture in self._pictures.items()}

    @property
    def facts(self) -> Facts:
        """Everything known apart from the pictures."""
        return self._facts

    def update(self, **changes: Any) -> None:
        """Replace some fields of the facts."""
        with self._lock:
            self._facts = replace(self._facts, **changes)

    def clear(self, **changes: Any) -> None:
        """Remove all pictures and facts but for `changes`, so that old ones never look new."""
        with self._lock:
            self._pictures.clear()
            self._facts = Facts(self._facts.node, **changes)
