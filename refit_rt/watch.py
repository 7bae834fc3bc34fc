"""Reports how a run goes, and lets its stages finish."""

import logging
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

from refit_rt.capture import Source
from refit_rt.capture.sync import SyncedSource
from refit_rt.live.latest import Closed, Latest
from refit_rt.live.stage import Stage, Stream, Timings
from refit_rt.sender import Sender, count_of
from refit_rt.types import Status

log = logging.getLogger(__name__)

WAKE_S = 0.05  # between two checks whether to end
HEARTBEAT_S = 1.0  # a camera that is silent for longer is reported as "waiting"
STATUS_S = 5.0  # between two lines of progress
PATIENCE_S = 0.7  # with a camera that hangs in its driver, after Ctrl-C


def watch(
    stages: Sequence[Stage],
    stop: threading.Event,
    *,
    source: Source | SyncedSource,
    sender: Sender,
    outbox: Latest[Any],
    timings: Timings | None,
    started_s: float,
) -> None:
    """Returns when the source has ended, a stage failed, or `stop` is set; logs the progress meanwhile.

    outbox: where a silent camera's Status goes. timings: None where the age of frames says nothing (lossless).
    started_s: monotonic time at which the run began to load.
    """
    logged_s = heard_s = time.monotonic()
    logged_frames, welcomed = 0, False
    while all(stage.is_alive() for stage in stages) and not stop.wait(WAKE_S):
        now_s = time.monotonic()
        if not welcomed and sender.followed:
            welcomed = True
            log.info("first person published %.1f s after the start", now_s - started_s)
        if source.waiting and now_s - max(heard_s, sender.last_s) > HEARTBEAT_S:
            heard_s = now_s
            with suppress(Closed):
                outbox.put(Status("waiting"))
        if now_s - logged_s > STATUS_S:
            log.info("%s", progress(source, sender, timings, (sender.frames - logged_frames) / (now_s - logged_s)))
            logged_s, logged_frames = now_s, sender.frames


def progress(source: Source | SyncedSource, sender: Sender, timings: Timings | None, fps: float) -> str:
    """One line on how the run goes."""
    people = sender.people
    if source.waiting or people is None:
        return source.waiting or "no frame yet"
    line = f"frame {people.frame_index}: {count_of(len(people.ids))}, {fps:.1f} frames/s"
    if people.missing:
        line += f", without camera {', '.join(people.missing)}"
    if timings is None:
        return line
    p50, p95, _ = timings.milliseconds()["age"]
    return f"{line}, age {p50:.0f} ms (p95 {p95:.0f}), {people.dropped} dropped"


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
