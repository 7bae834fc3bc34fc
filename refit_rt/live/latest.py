"""The only hand-off between threads: a one-item mailbox that keeps the newest item."""

import threading
from collections import deque
from collections.abc import Iterator
from typing import Generic, TypeVar

T = TypeVar("T")


class Closed(Exception):  # noqa: N818 - the end of a stream, not an error
    """The stream has ended: one side closed it."""


class Latest(Generic[T]):
    """Hands one item from a thread to the next.

    Live, `put` never waits: it replaces an unread item and counts it in `dropped`, because a queue only adds latency.
    Lossless (recordings, tests), `put` waits until the previous item is read.
    """

    def __init__(self, lossless: bool = False) -> None:
        self.dropped = 0
        self._slot: deque[T] = deque(maxlen=1)
        self._lossless = lossless
        self._closed = False
        self._changed = threading.Condition()

    def put(self, item: T) -> None:
        """Hands over one item. Raises Closed when the stream has ended."""
        with self._changed:
            if self._lossless:
                self._changed.wait_for(lambda: self._closed or not self._slot)
            if self._closed:
                raise Closed
            self.dropped += len(self._slot)
            self._slot.append(item)
            self._changed.notify_all()

    def get(self) -> T:
        """Waits for an unread item and returns it. Raises Closed when the stream has ended and no item is left."""
        with self._changed:
            self._changed.wait_for(lambda: self._closed or self._slot)
            if not self._slot:
                raise Closed
            self._changed.notify_all()
            return self._slot.popleft()

    def __iter__(self) -> Iterator[T]:
        """Yields items as `get` returns them, until the stream ends."""
        while True:
            try:
                yield self.get()
            except Closed:
                return

    def close(self) -> None:
        """Ends the stream, from either side. An item already put can still be read."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
