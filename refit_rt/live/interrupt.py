"""Ctrl-C and SIGTERM → an event."""

import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

ONE_PRESS_S = 1.0  # `timeout` and some terminals send the same signal twice


@contextmanager
def ended_by_signals(stop: threading.Event) -> Iterator[None]:
    """Within, Ctrl-C and SIGTERM set `stop`; another Ctrl-C, a second later, is an interrupt again.

    Elsewhere than in the main thread signals are someone else's, and nothing is changed.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    asked_s: list[float] = []

    def end(number: int, frame: FrameType | None) -> None:
        stop.set()
        asked_s.append(time.monotonic())
        if number == signal.SIGINT and asked_s[-1] - asked_s[0] > ONE_PRESS_S:
            signal.default_int_handler(number, frame)

    before = {number: signal.signal(number, end) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before[signal.SIGTERM])
        if not asked_s:  # else the other half of a double press may still come, when all is already closed
            signal.signal(signal.SIGINT, before[signal.SIGINT])
