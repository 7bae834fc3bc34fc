"""Camera to stream, joined: read this file first.

```
capture ──▶ follow (detect when due · track · fit · smooth) ──▶ send (stream · motion.npz) ──▶ draw (overlay.mp4)
```
Each is a thread, each arrow a one-item mailbox. Live, the newest frame wins and the lost ones are counted; lossless,
every frame goes all the way. Following people is one thread, because each frame starts from the bodies of the last.
"""

import logging
import os
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack, suppress
from dataclasses import dataclass, replace
from pathlib import Path

import msgspec

from refit_rt import config
from refit_rt.capture import Source, is_camera, open_source
from refit_rt.draw.video import MOST_LIVE_FPS, OverlayWriter, prepare_folder
from refit_rt.follow import Follower, load_follower
from refit_rt.live.interrupt import ended_by_signals
from refit_rt.live.latest import Closed, Latest
from refit_rt.live.stage import Stage, Timings
from refit_rt.motion.npz import MotionWriter
from refit_rt.stream.publish import Publisher
from refit_rt.stream.wire import Run, encode, nobody
from refit_rt.types import Frame, People

log = logging.getLogger(__name__)

WAKE_S = 0.05  # between two looks at whether to end
HEARTBEAT_S = 1.0  # a camera that is silent for longer is said to be waited for
STATUS_S = 5.0  # between two lines on how it goes
PATIENCE_S = 0.7  # with a camera that hangs in its driver, after Ctrl-C
GUESSED_FPS = 30.0  # of a recording whose camera does not say


@dataclass(frozen=True, slots=True)
class Report:
    """What a run came to."""

    frames: int  # published
    dropped: int  # lost before that
    bad: int  # of those, the ones that could not be read
    people: int  # different ones followed
    seconds: float  # from the first message to the last
    milliseconds: dict[str, tuple[float, float, int]]  # each step's median, 95th percentile, count
    hung: bool = False  # the camera did not let go: its driver hangs

    @property
    def fps(self) -> float:
        """Frames published a second."""
        return (self.frames - 1) / self.seconds if self.seconds > 0 else 0.0

    def table(self) -> str:
        """For people to read."""
        rows = [f"{'step':<10}{'p50 ms':>9}{'p95 ms':>9}{'count':>8}"]
        rows += [f"{name:<10}{p50:>9.2f}{p95:>9.2f}{n:>8}" for name, (p50, p95, n) in self.milliseconds.items()]
        lost = f"{self.dropped} dropped" + (f" ({self.bad} unreadable)" if self.bad else "")
        rows.append(f"{self.frames} frames, {self.fps:.1f} a second, {lost}; {_count(self.people)} followed")
        return "\n".join(rows)


class Sender:
    """People → stream and motion.npz, with what was lost counted. `send` and `close` belong to one thread."""

    def __init__(self, publisher: Publisher | None, motion: MotionWriter | None, run: Run, timings: Timings) -> None:
        self.people: People | None = None  # the newest that were sent
        self.frames = self.followed = 0
        self.first_s = self.last_s = 0.0  # monotonic times of the first and the newest frame sent
        self._publisher, self._motion, self._run, self._timings = publisher, motion, run, timings
        self._first_index, self._newest_id = 0, -1

    def send(self, item: tuple[Frame, People] | str) -> tuple[Frame, People] | None:
        """One frame's people, handed on to whoever draws them; or a status: the last frame again, nobody in it."""
        if isinstance(item, str):
            self._publish(item)
            return None
        frame, people = item
        if not self.frames:
            self._first_index, self.first_s = people.frame_index, time.monotonic()
        self.people = replace(people, dropped=people.frame_index - self._first_index - self.frames)
        self._publish("live")
        if self._motion is not None:
            self._motion.add(self.people)
        new = people.ids[people.ids > self._newest_id].tolist()  # an id is never used again, and they only grow
        self.followed, self._newest_id = self.followed + len(new), max(new, default=self._newest_id)
        self.last_s, self.frames = time.monotonic(), self.frames + 1
        self._timings.add("age", self.last_s - people.captured_s)
        return frame, self.people

    def close(self) -> None:
        """Says that the stream has ended, and writes motion.npz."""
        try:
            self._publish("ended")
            if self._publisher is not None:
                self._publisher.close()
        finally:
            if self._motion is not None:
                self._motion.close()

    def _publish(self, status: str) -> None:
        if self._publisher is not None and self.people is not None:
            people = self.people if status == "live" else nobody(self.people)
            self._publisher.send(encode(people, self._run, time.monotonic(), status))


class Pipeline:
    """Everything that `config` asks for, opened and joined. `run` runs it to its end, once."""

    def __init__(self, settings: config.Config, load: Callable[..., Follower] = load_follower) -> None:
        """Raises UserError for what cannot be opened, with nothing left open. `load`: as load_follower."""
        self._started_s = time.monotonic()
        self._lossless = is_lossless(settings)
        if (
            self._lossless
        ):  # a deadline, or threads chosen by the clock, would make the answer depend on the machine's mood
            threads = settings.fit.threads or os.cpu_count() or 1
            fit = msgspec.structs.replace(settings.fit, deadline_ms=0.0, threads=threads)
            settings = msgspec.structs.replace(settings, fit=fit)
        self._timings = Timings()
        self._where = settings.publish.address if settings.publish.enabled else "nowhere"
        with ExitStack() as undo:
            folder = Path(settings.out.dir).expanduser() if settings.out.dir else None
            if folder is not None:
                if not folder.exists():
                    undo.callback(_remove_empty, folder)
                prepare_folder(folder)
            self._source: Source = open_source(settings.capture, self._lossless)
            undo.callback(self._source.close)
            publisher = Publisher(settings.publish.address) if settings.publish.enabled else None
            if publisher is not None:
                undo.callback(publisher.close)
            self._frames: Latest[Frame] = Latest(self._lossless)
            self._people: Latest[tuple[Frame, People] | str] = Latest(self._lossless)
            self._stages = [Stage("capture", self._captured, self._source, self._frames)]
            if self._source.runs_by_itself:  # unread while the network loads, a camera's frames would queue up
                self._stages[0].start()
            follower = load(settings, self._source, self._timings)
            self._stages += self._outputs(settings, folder, follower, publisher)
            undo.pop_all()

    def _outputs(
        self, settings: config.Config, folder: Path | None, follower: Follower, publisher: Publisher | None
    ) -> list[Stage]:
        """The stages after capture."""
        body, bundle = follower.fitter.body, follower.fitter.bundle_name
        fps = self._source.fps if 1 <= self._source.fps <= 1000 else GUESSED_FPS
        motion = MotionWriter(folder / "motion.npz", fps, body.name, bundle) if folder else None
        run = Run(time.time() - time.monotonic(), body.name, bundle)
        self._sender = Sender(publisher, motion, run, self._timings)
        drawn: Latest[tuple[Frame, People]] | None = None
        stages = []
        self._stale = folder / "overlay.mp4" if folder and not settings.out.overlay else None
        if folder and settings.out.overlay:
            from refit_rt.draw.overlay import Overlay

            drawn = Latest(self._lossless)
            rate = fps if self._lossless else min(fps, MOST_LIVE_FPS)
            overlay = OverlayWriter(
                folder / "overlay.mp4", rate, lambda size: Overlay(body, size).draw, keep_time=not self._lossless
            )
            draw = Stage("draw", lambda item: overlay.add(*item), drawn, timings=self._timings, close=overlay.close)
            stages.append(draw)
        send = Stage("send", self._sender.send, self._people, drawn, timings=self._timings, close=self._sender.close)
        follow = Stage("follow", follower.follow, self._frames, self._people, timings=self._timings)
        return [follow, send, *stages]

    @property
    def frames(self) -> int:
        """Published so far."""
        return self._sender.frames

    def run(self, stop: threading.Event) -> Report:
        """Until the source ends or `stop` is set; then everything is closed and whole. Raises a stage's error."""
        log.info("publishing at %s; Ctrl-C ends", self._where)
        for stage in self._stages:
            if not stage.ident:
                stage.start()
        self._watch(stop)
        self._end(stop)
        if self._stale is not None and self._sender.frames:  # of an earlier run, whose motion is no longer there
            self._stale.unlink(missing_ok=True)
        for stage in self._stages:
            if stage.error is not None:
                raise stage.error
        return self._report()

    def _end(self, stop: threading.Event) -> None:
        """Lets the stages finish what they have begun and close their files. Only a camera may hang for ever."""
        patience_s, capture = PATIENCE_S, self._stages[0]
        while alive := [stage for stage in self._stages if stage.is_alive()]:
            if stop.is_set() or any(stage.error for stage in self._stages):
                for stream in (self._source, self._frames, self._people):
                    stream.close()
                patience_s -= WAKE_S
            if alive == [capture] and patience_s <= 0:
                log.warning("the camera does not let go: its driver hangs. Unplug it and plug it in again")
                return
            alive[-1].join(WAKE_S)

    def _watch(self, stop: threading.Event) -> None:
        """Returns when the source has ended, a stage failed, or `stop` is set. Says meanwhile how it goes."""
        sender, seen_s, seen_frames, welcomed = self._sender, time.monotonic(), 0, False
        heard_s = seen_s
        while all(stage.is_alive() for stage in self._stages) and not stop.wait(WAKE_S):
            now_s = time.monotonic()
            if not welcomed and sender.followed:
                welcomed = True
                log.info("first person published %.1f s after the start", now_s - self._started_s)
            if self._source.waiting and now_s - max(heard_s, sender.last_s) > HEARTBEAT_S:
                heard_s = now_s
                self._say_waiting()
            if now_s - seen_s > STATUS_S:
                log.info("%s", self._status((sender.frames - seen_frames) / (now_s - seen_s)))
                seen_s, seen_frames = now_s, sender.frames

    def _captured(self, frame: Frame) -> Frame:
        """The frame as it came, timed from its grab: this far its decoding took."""
        self._timings.add("capture", time.monotonic() - frame.captured_s)
        return frame

    def _say_waiting(self) -> None:
        with suppress(Closed):
            self._people.put("waiting")

    def _status(self, fps: float) -> str:
        people = self._sender.people
        if self._source.waiting or people is None:
            return self._source.waiting or "no frame yet"
        line = f"frame {people.frame_index}: {_count(len(people.ids))}, {fps:.1f} frames/s"
        if self._lossless:
            return line
        p50, p95, _ = self._timings.milliseconds()["age"]
        return f"{line}, age {p50:.0f} ms (p95 {p95:.0f}), {people.dropped} dropped"

    def _report(self) -> Report:
        sender, milliseconds = self._sender, self._timings.milliseconds()
        if self._lossless:  # a frame that waited for the one before is not late
            milliseconds.pop("age", None)
        return Report(
            frames=sender.frames,
            dropped=sender.people.dropped if sender.people is not None else 0,
            bad=self._source.bad,
            people=sender.followed,
            seconds=sender.last_s - sender.first_s,
            milliseconds=milliseconds,
            hung=self._stages[0].is_alive(),
        )


def run(settings: config.Config, stop: threading.Event | None = None) -> Report:
    """Runs the pipeline until its source ends, `stop` is set, or Ctrl-C or SIGTERM comes. Raises UserError."""
    pipeline = Pipeline(settings)
    stop = stop or threading.Event()
    with ended_by_signals(stop):
        return pipeline.run(stop)


def _remove_empty(folder: Path) -> None:
    with suppress(OSError):
        folder.rmdir()


def _count(people: int) -> str:
    return f"{people} {'person' if people == 1 else 'people'}"


def is_lossless(settings: config.Config) -> bool:
    """Whether every frame is processed: asked for, or a recording whose result is kept."""
    if settings.capture.pace == "auto":
        return bool(settings.out.dir) and not is_camera(settings.capture.source)
    return settings.capture.pace == "lossless"
