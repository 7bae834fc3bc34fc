"""Ctrl-C and SIGTERM → an event."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


@contextmanager
def ended_by_signals(stop: threading.Event) -> Iterator[None]:
    """Within, Ctrl-C and SIGTERM set `stop`; a second Ctrl-C is an interrupt again.

    Elsewhere than in the main thread signals are someone else's, and nothing is changed.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def end(_number: int, _frame: FrameType | None) -> None:
        stop.set()
        signal.signal(signal.SIGINT, signal.default_int_handler)

    before = {number: signal.signal(number, end) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
