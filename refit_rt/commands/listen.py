"""The verb `listen`: subscribes to a stream, prints one line per message and records it if asked."""

import threading
import time
from collections import deque
from contextlib import closing
from pathlib import Path
from typing import Annotated

import numpy as np
from tyro.conf import Positional, arg

from refit_rt.commands.shared import File, say
from refit_rt.errors import UserError
from refit_rt.files import prepare_folder
from refit_rt.motion.npz import MotionWriter
from refit_rt.stream.wire import Message
from refit_rt.types import People


def listen(
    address: Positional[Annotated[str, arg(metavar="[ADDRESS]")]] = "tcp://127.0.0.1:5560",
    /,
    *,
    record: File = "",
    once: bool = False,
) -> int:
    """Subscribe to a stream and print one line per message: people, rate, age.

    Args:
        address: The address that a publisher binds.
        record: Also write the messages of one run to this file, a motion.npz.
        once: End when the stream ends, instead of waiting for the next one.
    """
    from refit_rt.live.interrupt import ended_by_signals
    from refit_rt.stream.subscribe import Listener

    stop = threading.Event()
    # Outermost, so that a second signal does not kill the process while the recording is written.
    with ended_by_signals(stop), closing(Recording(record)) as recording, closing(Listener(address)) as listener:
        meter = Meter()
        say(f"listening to {address}, Ctrl-C ends")
        while not stop.is_set():
            if (message := listener.get()) is None:
                continue
            meter.add(message)
            if recording.add(message):
                say(f"{record} is written: its run has ended")
            say(meter.line(message))
            if once and message.status == "ended":
                break
    return 0


class Meter:
    """Rate and age of the newest live messages."""

    def __init__(self, kept: int = 120) -> None:
        self._times_s: deque[float] = deque(maxlen=kept)
        self._ages_ms: deque[float] = deque(maxlen=kept)

    def add(self, message: Message) -> None:
        """One message, received now. Only live ones count."""
        if message.status == "live":
            now_s = time.time()
            self._times_s.append(now_s)
            self._ages_ms.append((now_s - message.captured_unix_s) * 1e3)

    def line(self, message: Message) -> str:
        """The newest message, with the rate and age of those up to it."""
        people = message.people
        if not self._times_s:  # the stream waits, or has ended, and no live message has come
            return f"{people.camera} frame {people.frame_index}: no people, {message.status}"
        span_s = self._times_s[-1] - self._times_s[0]
        rate = (len(self._times_s) - 1) / span_s if span_s > 0 else 0.0
        p50, p95 = np.percentile(self._ages_ms, [50, 95])
        ids = ", ".join(map(str, people.ids)) or "no people"
        return (
            f"{people.camera} frame {people.frame_index}: {ids}; {rate:.1f} messages/s, "
            f"age {p50:.1f} ms (p95 {p95:.1f}), {people.dropped} dropped, {message.status}"
        )


class Recording:
    """The motion.npz of one run: it begins with the first live message and ends with its run."""

    def __init__(self, file: str) -> None:
        """file: empty records nothing. Raises UserError for a place that cannot be written to."""
        self._path = Path(file) if file else None
        self._writer: MotionWriter | None = None
        self._newest: People | None = None
        if self._path is None:
            return
        if self._path.is_dir():
            raise UserError(f"{file}: is a folder. Give a file: --record {self._path / 'motion.npz'}")
        prepare_folder(self._path.parent)

    def add(self, message: Message) -> bool:
        """Adds a live message. True if the message ends the recording: the file is then written, and no more added."""
        if self._path is None:
            return False
        if self._ends(message):
            self.close()
            self._path = None
            return True
        if message.status == "live":
            self._writer = self._writer or MotionWriter(self._path, 0.0, message.body, message.bundle)
            self._writer.add(message.people)
            self._newest = message.people
        return False

    def close(self) -> None:
        """Writes what has been added, if anything."""
        if self._writer is not None:
            self._writer.close()

    def _ends(self, message: Message) -> bool:
        """Whether the recorded run has ended, or another one, which counts from the start, has taken its place."""
        if self._newest is None or message.status != "live":
            return self._newest is not None and message.status == "ended"
        people = message.people
        return people.frame_index < self._newest.frame_index or people.time_s < self._newest.time_s
