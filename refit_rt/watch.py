"""Reports how a run goes, and lets its stages finish."""

import logging
import threading
import time
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from typing import Any, Protocol

from refit_rt.capture import Source
from refit_rt.capture.sync import SyncedSource
from refit_rt.live.latest import Closed, Latest
from refit_rt.live.stage import Stage, Stream, Timings
from refit_rt.sender import Sender, count_of
from refit_rt.types import Status

log = logging.getLogger(__name__)

WAKE_S = 0.05  # between two checks whether to end
HEARTBEAT_S = 1.0  # a camera that is silent for longer is reported as "waiting"
STATUS_S = 5.0  # between two lines of progress in the log
RATE_S = 5.0  # over which the frames per second are counted
PATIENCE_S = 0.7  # with a camera that hangs in its driver, after Ctrl-C


@dataclass(frozen=True, slots=True)
class Progress:
    """How a run goes."""

    frame: int = -1  # index of the newest frame that was published; -1: none was
    people: int = 0  # in it
    fps: float = 0.0  # frames published per second, over RATE_S
    age_ms: tuple[float, float] | None = None  # median and 95th percentile from capture to send; None: lossless
    dropped: int = 0
    missing: tuple[str, ...] = ()  # cameras of a rig without a picture in the newest frame
    waiting: str = ""  # what the source waits for
    done: float | None = None  # 0 to 1; None: the end is not known
    left_s: float | None = None  # seconds to the end

    def line(self) -> str:
        """For people to read."""
        if self.waiting or self.frame < 0:
            return self.waiting or "no frame yet"
        line = f"frame {self.frame}: {count_of(self.people)}, {self.fps:.1f} frames/s"
        if self.missing:
            line += f", without camera {', '.join(self.missing)}"
        if self.age_ms is None:
            return line
        p50, p95 = self.age_ms
        return f"{line}, age {p50:.0f} ms (p95 {p95:.0f}), {self.dropped} dropped"

    def fields(self) -> dict[str, Any]:
        """For programs to read."""
        fields = asdict(self)
        p50, p95 = fields.pop("age_ms") or (None, None)
        return fields | {"age_p50_ms": p50, "age_p95_ms": p95}


class Show(Protocol):
    """Shows progress."""

    every_s: float  # seconds between two calls

    def __call__(self, progress: Progress) -> None: ...

    def close(self) -> None:
        """Ends what it shows."""


class LogLines:
    """Writes progress to the log, a line at a time."""

    every_s = STATUS_S

    def __call__(self, progress: Progress) -> None:
        """Writes one line."""
        log.info("%s", progress.line())

    def close(self) -> None:
        """Nothing to end."""


def watch(
    stages: Sequence[Stage],
    stop: threading.Event,
    *,
    source: Source | SyncedSource,
    sender: Sender,
    outbox: Latest[Any],
    timings: Timings | None,
    started_s: float,
    show: Show,
) -> None:
    """Returns when the source has ended, a stage failed, or `stop` is set; shows the progress meanwhile.

    outbox: where a silent camera's Status goes. timings: None where the age of frames says nothing (lossless).
    started_s: monotonic time at which the run began to load.
    """
    shown_s = heard_s = time.monotonic()
    counts, welcomed = deque([(shown_s, 0)]), False  # times, and the frames published by then
    while all(stage.is_alive() for stage in stages) and not stop.wait(WAKE_S):
        now_s = time.monotonic()
        if not welcomed and sender.followed:
            welcomed = True
            log.info("first person published %.1f s after the start", now_s - started_s)
        if source.waiting and now_s - max(heard_s, sender.last_s) > HEARTBEAT_S:
            heard_s = now_s
            with suppress(Closed):
                outbox.put(Status("waiting"))
        if now_s - shown_s > show.every_s:
            shown_s = now_s
            counts.append((now_s, sender.frames))
            while len(counts) > 2 and now_s - counts[0][0] > RATE_S:
                counts.popleft()
            show(progress(source, sender, timings, counts))
    show.close()


def progress(
    source: Source | SyncedSource, sender: Sender, timings: Timings | None, counts: Sequence[tuple[float, int]]
) -> Progress:
    """How the run goes. counts: times, and the frames published by then."""
    people = sender.people
    if source.waiting or people is None:
        return Progress(waiting=source.waiting)
    (first_s, first), (last_s, last) = counts[0], counts[-1]
    age_ms = None if timings is None else timings.milliseconds().get("age", (0.0, 0.0))[:2]
    length_s = getattr(source, "length_s", 0.0)  # a camera has none
    done = min(people.time_s / length_s, 1.0) if length_s else None
    left_s = (sender.last_s - sender.first_s) * (1 - done) / done if done else None
    return Progress(
        people.frame_index,
        len(people.ids),
        (last - first) / (last_s - first_s),
        age_ms,
        people.dropped,
        tuple(people.missing),
        done=done,
        left_s=left_s,
    )


def finish(stages: Sequence[Stage], streams: Sequence[Stream], stop: threading.Event) -> None:
    """Lets the stages finish what they have begun and close their files; the first one, the camera's, may hang.

    streams: closed once `stop` is set or a stage has failed.
    """
    patience_s, capture = PATIENCE_S, stages[0]
    while alive := [stage for stage in stages if stage.is_alive()]:
        if stop.is_set() or any(stage.error for stage in stages):
            for stream in streams:
                stream.close()
            patience_s -= WAKE_S
        if alive == [capture] and patience_s <= 0:
            log.warning("the camera does not let go: its driver hangs. Unplug it and plug it in again")
            return
        alive[-1].join(WAKE_S)
