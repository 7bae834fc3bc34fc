"""The verb `listen`: subscribes to a stream, prints one line per message and records it if asked."""

import sys
import threading
import time
from collections import deque
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from tyro.conf import Positional, arg

from refit_rt.commands.shared import File, say
from refit_rt.errors import UserError
from refit_rt.files import prepare_folder
from refit_rt.motion.npz import MotionWriter
from refit_rt.stream.wire import Message
from refit_rt.terminal import LINE, is_terminal
from refit_rt.types import People


def listen(
    address: Positional[Annotated[str, arg(metavar="[ADDRESS]")]] = "tcp://127.0.0.1:5560",
    /,
    *,
    key: File = "",
    record: File = "",
    once: bool = False,
    every: bool = False,
    quiet: bool = False,
    json: bool = False,
) -> int:
    """Subscribe to a stream and print one line per message: people, rate, age.

    It shows the newest message and skips those for which the terminal is too slow.

    Args:
        address: The address that a publisher binds.
        key: The publisher's public key, of a stream that is encrypted (publish.key).
        record: Also write the messages of one run to this file, a motion.npz.
        once: End when the stream ends, instead of waiting for the next one.
        every: Skip no message, even if that makes it late. A recording skips none.
        quiet: Print warnings and errors alone.
        json: Print one JSON object per message, for programs.
    """
    from refit_rt.commands.shown import LINE_S, say_json, shown
    from refit_rt.live.interrupt import ended_by_signals
    from refit_rt.stream.subscribe import Listener

    shown(quiet, json).close()
    rewritten = sys.stdout.isatty() and is_terminal()
    stop, shown_s = threading.Event(), 0.0
    # Outermost, so that a second signal does not kill the process while the recording is written.
    with ExitStack() as ends:
        ends.enter_context(ended_by_signals(stop))
        recording = ends.enter_context(closing(Recording(record)))
        listener = ends.enter_context(closing(Listener(address, newest=not (every or record), key=key)))
        meter = Meter()
        if not (quiet or json):
            say(f"listening to {address}, Ctrl-C ends")
        while not stop.is_set():
            if (message := listener.get()) is None:
                continue
            meter.add(message)
            if recording.add(message) and not (quiet or json):
                say(f"{record} is written: its run has ended")
            if json:
                say_json("message", meter.fields(message))
            elif rewritten and not quiet and message.status == "live":
                if time.monotonic() - shown_s > LINE_S:
                    LINE.show(meter.line(message))
                    shown_s = time.monotonic()
            elif not quiet:
                say(meter.line(message))
            if once and message.status == "ended":
                break
        LINE.show("")
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
        rate, p50, p95 = self._numbers()
        speed = f"{rate:.1f} messages/s, " if rate else ""  # of one message there is none
        ids, count = ", ".join(map(str, people.ids)), len(people.ids)
        who = f"{count} {'person' if count == 1 else 'people'} ({ids})" if count else "no people"
        return (
            f"{people.camera} frame {people.frame_index}: {who}; {speed}"
            f"age {p50:.1f} ms (p95 {p95:.1f}), {people.dropped} dropped, {message.status}"
        )

    def fields(self, message: Message) -> dict[str, Any]:
        """The same for programs."""
        people = message.people
        rate, p50, p95 = self._numbers() if self._times_s else (0.0, None, None)
        return {
            "camera": people.camera,
            "frame": people.frame_index,
            "status": message.status,
            "ids": people.ids.tolist(),
            "dropped": people.dropped,
            "messages_per_s": rate,
            "age_p50_ms": p50,
            "age_p95_ms": p95,
        }

    def _numbers(self) -> tuple[float, float, float]:
        """Messages per second, and the median and the 95th percentile of their age in ms."""
        span_s = self._times_s[-1] - self._times_s[0]
        p50, p95 = np.percentile(self._ages_ms, [50, 95])
        return (len(self._times_s) - 1) / span_s if span_s > 0 else 0.0, float(p50), float(p95)


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
