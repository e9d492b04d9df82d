"""One place between the subscription and the worker: the newest frame wins."""

from __future__ import annotations

import threading
from typing import Generic, TypeVar

T = TypeVar('T')


class FrameSlot(Generic[T]):
    """Holds at most one item; safe between threads."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._item: T | None = None
        self._closed = False

    def put(self, item: T) -> T | None:
        """Leave an item.

        :returns: the item that was there and now will never be taken, or None; after close the
            item itself.
        """
        with self._changed:
            if self._closed:
                return item
            replaced, self._item = self._item, item
            self._changed.notify()
            return replaced

    def take(self) -> T | None:
        """Wait for an item; None once the slot is closed."""
        with self._changed:
            self._changed.wait_for(lambda: self._closed or self._item is not None)
            if self._closed:
                return None
            item, self._item = self._item, None
            return item

    def close(self) -> T | None:
        """Wake the taker for good.

        :returns: the item that nobody took, or None.
        """
        with self._changed:
            self._closed = True
            left, self._item = self._item, None
            self._changed.notify_all()
            return left
