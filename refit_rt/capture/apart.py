"""Reads frames in a thread of its own, so that a read that hangs holds up nobody."""

from collections.abc import Iterator

from refit_rt.live.latest import Latest
from refit_rt.live.stage import Stage
from refit_rt.types import Frame


class Apart:
    """The frames of an iterator that may wait long for its next one, such as for a camera on the network. `close` ends
    the iteration at once, and leaves the reader to its wait."""

    def __init__(self, frames: Iterator[Frame], newest: bool = False) -> None:
        """newest: a frame that nobody took is replaced by the next; otherwise the reader waits."""
        self._frames = frames
        self._slot: Latest[Frame] = Latest(lossless=not newest)

    def __iter__(self) -> Iterator[Frame]:
        """Yields the frames; once. Raises what the reader raises."""
        reader = Stage("read", lambda frame: frame, _Open(self._frames), self._slot)
        reader.start()
        yield from self._slot
        if reader.error is not None:
            raise reader.error

    def close(self) -> None:
        """Ends the iteration, from any thread."""
        self._slot.close()


class _Open:
    """An iterator as a stage reads it."""

    def __init__(self, frames: Iterator[Frame]) -> None:
        self._frames = frames

    def __iter__(self) -> Iterator[Frame]:
        return self._frames

    def close(self) -> None:
        """Does nothing: the iterator ends by itself, or is ended by its source."""
