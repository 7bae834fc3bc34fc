"""A pipeline stage: a thread that runs one plain function on every item of a stream."""

import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Protocol

import numpy as np

from refit_rt.live.latest import Closed, Latest

HISTORY = 4096  # durations kept per step: about a minute at 60 frames per second, in bounded memory


class Stream(Protocol):
    """The input of a stage: a Latest, or the source of frames."""

    def __iter__(self) -> Iterator[Any]: ...

    def close(self) -> None:
        """Ends the stream from the reader's side, from any thread."""


class Timings:
    """The newest HISTORY durations of each named step, in seconds. One thread writes a name; any thread may read it."""

    def __init__(self) -> None:
        self._seconds: dict[str, deque[float]] = {}

    def add(self, name: str, seconds: float) -> None:
        """Adds one duration of the step `name`."""
        self._seconds.setdefault(name, deque(maxlen=HISTORY)).append(seconds)

    @contextmanager
    def measure(self, name: str) -> Iterator[None]:
        """Times the block."""
        start = time.perf_counter()
        yield
        self.add(name, time.perf_counter() - start)

    def milliseconds(self) -> dict[str, tuple[float, float, int]]:
        """Each step's median, 95th percentile and number of kept durations, in the order of the steps' first runs."""
        rows = {}
        for name, seconds in list(self._seconds.items()):
            # A deque is copied in one step of the interpreter, so no lock is needed.
            kept = np.array(seconds.copy()) * 1e3
            rows[name] = (float(np.percentile(kept, 50)), float(np.percentile(kept, 95)), len(kept))
        return rows


class Stage(threading.Thread):
    """Runs `work` on every item of `source` and puts the result in `sink`; `close` runs last, in the same thread.

    A result of None is not passed on. `work` is a plain function of its input, so it can be tested without threads.
    However the stage ends, it closes both neighbours: the stages after it finish, and the stages before it stop.
    `error` holds the exception that ended the stage, or None after a normal end.
    """

    def __init__(
        self,
        name: str,
        work: Callable[[Any], Any],
        source: Stream,
        sink: Latest[Any] | None = None,
        *,
        timings: Timings | None = None,
        close: Callable[[], None] | None = None,
    ) -> None:
        # A daemon thread, because a camera call that hangs in the driver must not keep the process alive.
        super().__init__(name=name, daemon=True)
        self.error: Exception | None = None
        self._work, self._source, self._sink, self._close = work, source, sink, close
        self._timings = timings or Timings()

    def run(self) -> None:
        """The body of the thread; `start` calls it."""
        try:
            for item in self._source:
                with self._timings.measure(self.name):
                    result = self._work(item)
                if self._sink is not None and result is not None:
                    self._sink.put(result)
                del item, result  # frees the image while the stage waits for the next one
        except Closed:
            pass
        except Exception as error:  # noqa: BLE001 - kept for the thread that joins this one to raise
            self.error = error
        finally:
            self._source.close()
            self._finish()

    def _finish(self) -> None:
        try:
            if self._close is not None:
                self._close()
        except Exception as error:  # noqa: BLE001 - as above
            self.error = self.error or error
        finally:
            if self._sink is not None:
                self._sink.close()
