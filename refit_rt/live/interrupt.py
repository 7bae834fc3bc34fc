"""Turns Ctrl-C and SIGTERM into an event that ends the run."""

import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

# `timeout` and some terminals send one signal twice; a repeat within this time does not interrupt.
ONE_PRESS_S = 1.0


@contextmanager
def ended_by_signals(stop: threading.Event) -> Iterator[None]:
    """Inside the block, Ctrl-C and SIGTERM set `stop`; a further Ctrl-C after one second raises KeyboardInterrupt.

    Outside the main thread it changes nothing, because Python delivers signals to the main thread alone.
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
        # After a signal, its repeat may still arrive while the program shuts down.
        if not asked_s:
            signal.signal(signal.SIGINT, before[signal.SIGINT])
