"""A stream → its newest message, its rate and age, and what could not be read."""

import logging
import threading
import time
from collections import deque
from collections.abc import Callable
from contextlib import closing

import numpy as np

from refit_rt.errors import UserError
from refit_rt.stream.subscribe import Listener
from refit_rt.stream.wire import Message

log = logging.getLogger(__name__)

RATE_S = 2.0  # over which the rate and the age are taken
SILENT_S = 2.5  # a source that waits sends once per second
SAID_S = 10.0  # so long the reason of a message that could not be read is shown; then the count is
JOIN_S = 1.0


class Feed:
    """Subscribes to one stream in a thread of its own. A message that is not taken is replaced by the next one."""

    def __init__(self, address: str, news: Callable[[], object] = lambda: None, key: str = "") -> None:
        """news: called when a message has come. key: as of Listener. Raises UserError for a malformed address and for a
        key of no use."""
        self.address, self.bad = address, 0  # messages that could not be read
        self._problem, self._problem_s = "", -float("inf")  # why the newest of them could not, and when
        self.status = ""  # of the newest message; empty: none came
        self._news, self._lock, self._stop = news, threading.Lock(), threading.Event()
        self._newest: Message | None = None
        self._heard_s = 0.0
        self._seen: deque[tuple[float, float, int]] = deque()  # captured_s, age_s and frames sent so far, of live ones
        self._listener = Listener(address, newest=True, key=key)
        self._thread = threading.Thread(target=self._run, name=f"view {address}", daemon=True)
        self._thread.start()

    def take(self) -> Message | None:
        """The newest message, once; None: none came since the last one was taken."""
        with self._lock:
            message, self._newest = self._newest, None
            return message

    @property
    def silent_s(self) -> float:
        """Seconds since the newest message; infinite if none came."""
        return time.monotonic() - self._heard_s if self.status else float("inf")

    @property
    def lost(self) -> bool:
        """Whether a stream that was heard is silent."""
        return bool(self.status) and self.status != "ended" and self.silent_s > SILENT_S

    @property
    def problem(self) -> str:
        """What is wrong with the stream, in words; empty: nothing."""
        if not self.bad:
            return ""
        if time.monotonic() - self._problem_s < SAID_S:
            return self._problem
        return f"{self.bad} message{'s' * (self.bad != 1)} could not be read"

    def rate_and_age(self) -> tuple[float, float]:
        """Frames per second that the stream publishes, and the age of its messages in ms, at their arrival: the median.
        Both are NaN where nothing live came in the last RATE_S."""
        with self._lock:
            seen = list(self._seen)
        if len(seen) < 2 or self.status != "live" or self.silent_s > RATE_S:
            return float("nan"), float("nan")
        span_s, frames = seen[-1][0] - seen[0][0], seen[-1][2] - seen[0][2]
        return frames / span_s if span_s > 0 else float("nan"), 1e3 * float(np.median([age for _, age, _ in seen]))

    def close(self) -> None:
        """Ends the subscription."""
        self._stop.set()
        self._thread.join(JOIN_S)

    def _run(self) -> None:
        with closing(self._listener):
            while not self._stop.is_set():
                try:
                    message = self._listener.get()
                    if message is not None:
                        check(message)
                except UserError as error:
                    self._refuse(error)
                    continue
                if message is not None:
                    self._add(message)

    def _refuse(self, error: UserError) -> None:
        if str(error) != self._problem:
            log.warning("%s: %s", self.address, error)
        self.bad, self._problem, self._problem_s = self.bad + 1, str(error), time.monotonic()

    def _add(self, message: Message) -> None:
        people, age_s = message.people, time.time() - message.captured_unix_s
        with self._lock:
            if message.status == "live":
                if self._seen and people.captured_s <= self._seen[-1][0]:  # another run
                    self._seen.clear()
                self._seen.append((people.captured_s, age_s, people.frame_index - people.dropped))
                while people.captured_s - self._seen[0][0] > RATE_S:
                    self._seen.popleft()
            self._newest, self.status = message, message.status
            self._heard_s = time.monotonic()
        self._news()


def check(message: Message) -> None:
    """Raises UserError for numbers that no body has: a renderer would show nothing at all."""
    people = message.people
    for name in ("poses", "betas", "joints_camera", "joints_world", "confidence"):
        if not np.isfinite(getattr(people, name)).all():
            raise UserError(f"frame {people.frame_index}: {name} holds values that are not finite numbers")
