"""A ZeroMQ publisher → messages, and a line for each."""

import threading
import time
from collections import deque
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import zmq

from refit_rt.draw.video import prepare_folder
from refit_rt.errors import UserError
from refit_rt.live.interrupt import ended_by_signals
from refit_rt.motion.npz import MotionWriter
from refit_rt.stream.wire import Message, decode
from refit_rt.types import People

WAKE_MS = 100  # between two looks at whether to go on


class Listener:
    """Subscribes to an address. Use and close it in the thread that made it."""

    def __init__(self, address: str, newest_only: bool = False) -> None:
        """newest_only: unread messages are replaced (CONFLATE). Raises UserError when the address is none."""
        self._context = zmq.Context()
        self._socket = self._context.socket(zmq.SUB)
        self._socket.setsockopt(zmq.CONFLATE, int(newest_only))
        self._socket.setsockopt(zmq.SUBSCRIBE, b"")
        try:
            self._socket.connect(address)
        except zmq.ZMQError as error:
            self._context.destroy(linger=0)
            reason = zmq.strerror(error.errno or 0).lower()
            raise UserError(f"{address}: is no address ({reason}). Give one like tcp://127.0.0.1:5560") from error

    def get(self, wait_ms: int = WAKE_MS) -> Message | None:
        """The next message, or None when none came in time. Raises UserError for one that cannot be read."""
        return decode(self._socket.recv()) if self._socket.poll(wait_ms) else None

    def close(self) -> None:
        """Leaves the stream."""
        self._context.destroy(linger=0)


class Meter:
    """Rate and age of the newest messages."""

    def __init__(self, kept: int = 120) -> None:
        self._times_s: deque[float] = deque(maxlen=kept)
        self._ages_ms: deque[float] = deque(maxlen=kept)

    def add(self, message: Message) -> None:
        """One message, received now."""
        now_s = time.time()
        self._times_s.append(now_s)
        self._ages_ms.append((now_s - message.captured_unix_s) * 1e3)

    def line(self, message: Message) -> str:
        """What to show of the newest message."""
        people = message.people
        if not self._times_s:  # waiting, or ended, before anyone was seen
            return f"{people.camera} frame {people.frame_index}: nobody, {message.status}"
        span_s = self._times_s[-1] - self._times_s[0]
        rate = (len(self._times_s) - 1) / span_s if span_s > 0 else 0.0
        p50, p95 = np.percentile(self._ages_ms, [50, 95])
        who = ", ".join(map(str, people.ids)) or "nobody"
        return (
            f"{people.camera} frame {people.frame_index}: {who}; {rate:.1f} messages/s, "
            f"age {p50:.1f} ms (p95 {p95:.1f}), {people.dropped} dropped, {message.status}"
        )


def listen(address: str, say: Callable[[str], None], record: Path | None = None, once: bool = False) -> None:
    """Says a line a message until Ctrl-C; with `once`, until the stream ends. `record`: one run's motion.npz.

    Raises UserError for an address that is none, a message that cannot be read, a file that cannot be written.
    """
    meter = Meter()
    with ExitStack() as closing:
        if record is not None:
            if record.is_dir():
                raise UserError(f"{record}: is a folder. Give a file: --record {record / 'motion.npz'}")
            prepare_folder(record.parent)
        listener = Listener(address)
        closing.callback(listener.close)
        stop = threading.Event()
        closing.enter_context(ended_by_signals(stop))
        motion, before = None, None
        say(f"listening to {address}, Ctrl-C ends")
        while not stop.is_set():
            if (message := listener.get()) is None:
                continue
            if message.status == "live":
                meter.add(message)
                if record is not None and motion is None:
                    motion = MotionWriter(record, 0.0, message.body, message.bundle)
                    closing.callback(motion.close)
            if record is not None and motion is not None:
                if _is_over(message, before):
                    motion.close()
                    say(f"{record} is written: its run has ended")
                    record = None
                elif message.status == "live":
                    motion.add(message.people)
                    before = message.people
            say(meter.line(message))
            if once and message.status == "ended":
                return


def _is_over(message: Message, before: People | None) -> bool:
    """Whether the run that `before` belongs to has ended, or been replaced by one that counts anew."""
    if message.status != "live":
        return message.status == "ended"
    people = message.people
    return before is not None and (people.frame_index < before.frame_index or people.time_s < before.time_s)
