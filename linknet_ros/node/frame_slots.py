"""One place for each camera between its subscription and the network: the newest frame wins."""

from __future__ import annotations

import threading
from typing import Generic, TypeVar

T = TypeVar('T')


class FrameSlots(Generic[T]):
    """Slots that hold at most one item each; safe between threads.

    `take` goes round them, so each gets its turn however fast the others are filled.

    :param count: number of slots.
    """

    def __init__(self, count: int = 1) -> None:
        self._changed = threading.Condition()
        self._items: list[T | None] = [None] * count
        #: The slot that was emptied last: its turn comes after all others.
        self._last = count - 1
        self._open = True

    def put(self, slot: int, item: T) -> T | None:
        """Leave an item.

        :returns: the item that was there and now will never be taken, or None.
        """
        with self._changed:
            replaced, self._items[slot] = self._items[slot], item
            self._changed.notify()
            return replaced

    def take(self) -> T | None:
        """Wait for an item, of the next slot that has one; None while the slots are shut."""
        with self._changed:
            self._changed.wait_for(lambda: not self._open or self._next() is not None)
            slot = self._next() if self._open else None
            if slot is None:
                return None
            self._last = slot
            item, self._items[slot] = self._items[slot], None
            return item

    def open(self) -> None:
        """Let items be taken, as at the start."""
        with self._changed:
            self._open = True

    def shut(self) -> None:
        """Wake whoever takes, with nothing; items stay, and newer ones still replace them."""
        with self._changed:
            self._open = False
            self._changed.notify_all()

    def clear(self) -> list[T]:
        """The items that nobody took, which now nobody will."""
        with self._changed:
            left = [item for item in self._items if item is not None]
            self._items = [None] * len(self._items)
            return left

    def _next(self) -> int | None:
        count = len(self._items)
        turns = ((self._last + 1 + i) % count for i in range(count))
        return next((slot for slot in turns if self._items[slot] is not None), None)
