"""Reads the recordings of several cameras in step, by the times of their frames."""

import logging
import statistics
import threading
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import replace

import numpy as np

from refit_rt import config
from refit_rt.capture import Source
from refit_rt.capture.ticks import moment_s, moved, tick, tolerance_s
from refit_rt.capture.times import Steady
from refit_rt.errors import UserError
from refit_rt.types import Frame, FrameSet

log = logging.getLogger(__name__)

CURE = "Its frames are taken to follow each other at its frame rate; give their times with capture.timestamps"
GUESSED_FPS = 30.0


class SyncedRecordings:
    """Files of several cameras, in step: each tick has one camera's frame at most once, and None where a camera has no
    frame within half a period. It ends with the last file."""

    runs_by_itself = False
    waiting = ""

    def __init__(
        self,
        sources: Mapping[str, Source],
        settings: config.Capture,
        lossless: bool,
        times_s: Mapping[str, np.ndarray] | None = None,
    ) -> None:
        """sources: opened as lossless. times_s: of the frames of each (frame,), seconds; None: the files' own."""
        self._sources, self._settings, self._lossless, self._times_s = sources, settings, lossless, times_s
        self._periods_s = {name: self._period_s(name, source) for name, source in sources.items()}
        self.fps = settings.fps if settings.fps and not lossless else 1 / max(self._periods_s.values())
        self.length_s = max(getattr(source, "length_s", 0.0) for source in sources.values())
        self.missed: Counter[str] = Counter()  # ticks so far that have no frame of a camera
        self._stopped = threading.Event()
        self._reels = self._begun()

    @property
    def sizes(self) -> dict[str, tuple[int, int]]:
        """Width and height of each camera's pictures, in pixels."""
        heads = {name: reel.head for name, reel in self._reels.items()}
        return {name: head[1].size for name, head in heads.items() if head is not None}

    @property
    def bad(self) -> int:
        """The number of frames so far that could not be read."""
        return sum(source.bad for source in self._sources.values())

    def __iter__(self) -> Iterator[FrameSet]:
        """Yields every tick: lossless as fast as they are read, live not before each is due."""
        return self._in_step() if self._lossless else self._paced()

    def close(self) -> None:
        """Ends the iteration after the current tick."""
        self._stopped.set()
        for source in self._sources.values():
            source.close()

    def _paced(self) -> Iterator[FrameSet]:
        """The ticks at the pace of a camera; with `capture.loop` they repeat, and index and time keep counting.

        An overdue tick is not skipped: most of the time it takes is that of decoding, which the next one needs too.
        """
        start_s, began_s, first = None, 0.0, 0
        while True:
            index, time_s = first - 1, began_s
            for one in self._in_step():
                index = first + one.index
                time_s = began_s + (one.index / self.fps if self._settings.fps else one.time_s)
                start_s = time.monotonic() - time_s if start_s is None else start_s
                self._stopped.wait(max(0.0, start_s + time_s - time.monotonic()))
                if self._stopped.is_set():
                    return
                yield moved(one, index, time_s, time.monotonic())
            if not self._settings.loop or index < first:
                return
            first, began_s = index + 1, time_s + 1 / self.fps
            self._reels = self._begun()

    def _begun(self) -> "dict[str, Reel]":
        """Every file at its first frame."""
        return {name: Reel(self._timed(name, source)) for name, source in self._sources.items()}

    def _in_step(self) -> Iterator[FrameSet]:
        reels = self._reels
        names, tolerance, index, first_s = tuple(reels), tolerance_s(self._periods_s), 0, 0.0
        ended: set[str] = set()
        while not self._stopped.is_set():
            began_s = time.monotonic()
            heads_s = {name: reel.head[0] for name, reel in reels.items() if reel.head is not None}
            if not heads_s:
                return
            for name in [name for name in names if name not in heads_s and name not in ended]:
                ended.add(name)
                log.warning("camera '%s': its recording has ended; the others go on", name)
            now_s = moment_s(heads_s, self._periods_s)
            frames = {name: found for name in heads_s if (found := reels[name].take(now_s, tolerance)) is not None}
            if not frames:
                continue
            frames = {name: (time_s, replace(frame, captured_s=began_s)) for name, (time_s, frame) in frames.items()}
            first_s = first_s if index else statistics.median(time_s for time_s, _ in frames.values())
            self.missed.update(name for name in names if name not in frames)
            yield tick(names, frames, index, first_s, live=False)
            index += 1

    def _timed(self, name: str, source: Source) -> Iterator[tuple[float, Frame]]:
        """The frames of one camera with their times on the clock of the rig."""
        times_s = self._times_s[name] if self._times_s is not None else None
        delay_s, clock = self._settings.delays_s.get(name, 0.0), Steady(name, CURE)
        for frame in source:
            time_s = frame.time_s
            if times_s is not None:
                if frame.index >= len(times_s):
                    raise UserError(
                        f"{self._settings.timestamps}: has {len(times_s)} times of camera '{name}', but its file has "
                        "more frames. Give the file that was written with the recording (capture.timestamps)"
                    )
                time_s = float(times_s[frame.index])
            yield clock.next(time_s, self._periods_s[name]) - delay_s, frame

    def _period_s(self, name: str, source: Source) -> float:
        """Between two frames of one camera."""
        if self._times_s is not None and len(times_s := self._times_s[name]) > 1:
            steps_s = np.diff(times_s)
            if (steps_s > 0).any():
                return float(np.median(steps_s[steps_s > 0]))
        return 1 / (source.fps or GUESSED_FPS)


class Reel:
    """One camera's frames, read one ahead."""

    def __init__(self, frames: Iterator[tuple[float, Frame]]) -> None:
        self._frames = frames
        self.head = next(frames, None)  # time in seconds, and frame; None: there are no more

    def take(self, now_s: float, tolerance_s: float) -> tuple[float, Frame] | None:
        """The frame nearest to a moment, which later moments do not get; None: none is near. Earlier ones are
        passed over."""
        while self.head is not None and self.head[0] < now_s:
            head, self.head = self.head, next(self._frames, None)
            if self.head is None or self.head[0] - now_s >= now_s - head[0]:
                return head if now_s - head[0] <= tolerance_s else None
        if self.head is None or self.head[0] - now_s > tolerance_s:
            return None
        head, self.head = self.head, next(self._frames, None)
        return head
