"""Reads several cameras at once, each in a thread of its own, and joins their frames by the time of the grab."""

import logging
import statistics
import threading
import time
from collections import Counter, deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Literal

from refit_rt import config
from refit_rt.capture import Source
from refit_rt.capture.ticks import reach_s, tick, tolerance_s
from refit_rt.capture.times import Steady
from refit_rt.types import Frame, FrameSet

log = logging.getLogger(__name__)

GUESSED_FPS = 30.0  # until a camera has delivered frames
REMEMBERED, ENOUGH = 15, 5  # intervals between frames whose median is a camera's period: most, least
LATE_TICKS = 3  # a camera without a frame in so many ticks in a row is late: the others do not wait for it
FIRST_S = 3.0  # the longest wait for the first picture of a camera
CHECK_S = 0.1  # between two looks whether a camera is disconnected
JOIN_S = 0.3  # how long the end waits for the threads of the cameras, which may hang in a driver
CURE = "Check that camera's clock"
State = Literal["here", "late", "gone", "ended"]
NEWS: dict[State, str] = {
    "here": "is back",
    "late": "is late: the others do not wait for it",
    "gone": "is gone ({}); the others go on",
    "ended": "has ended; the others go on",
}


@dataclass(slots=True, eq=False)
class Camera:
    """One camera as it is read. The lock of its SyncedCameras guards every field."""

    source: Source
    clock: Steady
    delay_s: float
    frames: deque[tuple[float, Frame]] = field(default_factory=deque)  # time in seconds; those not used yet
    intervals_s: deque[float] = field(default_factory=lambda: deque(maxlen=REMEMBERED))
    last_s: float | None = None  # time of the newest frame
    size: tuple[int, int] | None = None  # of its pictures
    missed: int = 0  # ticks in a row without its frame
    state: State = "here"
    ended: bool = False

    @property
    def period_s(self) -> float:
        """Between two frames, as measured, else as the camera reports it."""
        return statistics.median(self.intervals_s) if len(self.intervals_s) >= ENOUGH else self.reported_s

    @property
    def reported_s(self) -> float:
        """Between two frames, as the camera reports it, else a guess."""
        return 1 / (self.source.fps if 1 <= self.source.fps <= 1000 else GUESSED_FPS)

    def put(self, frame: Frame, hidden_s: float) -> None:
        """Keeps the newest frame, and those that are newer than `hidden_s`, whose time has not come."""
        time_s = self.clock.next(frame.captured_s - self.delay_s, self.period_s)
        if self.last_s is not None:
            self.intervals_s.append(time_s - self.last_s)
        self.last_s, self.size = time_s, frame.size
        self.frames.append((time_s, frame))
        self.drop(hidden_s)

    def drop(self, hidden_s: float) -> None:
        """Forgets the frames that a newer one replaces."""
        while len(self.frames) > 1 and self.frames[1][0] <= hidden_s:
            self.frames.popleft()

    def newest(self, hidden_s: float) -> tuple[float, Frame] | None:
        """The newest frame whose time has come; None: there is none."""
        self.drop(hidden_s)
        return self.frames[0] if self.frames and self.frames[0][0] <= hidden_s else None


class SyncedCameras:
    """Several cameras, each read in its own thread, which keeps the newest frame.

    A tick comes when every camera has a new frame and these lie close together, or one period after the first new
    frame: a camera that is late or gone does not hold up the others. Where cameras have different delays, the frames of
    the faster ones wait for those of the slowest.
    """

    runs_by_itself = True

    def __init__(self, settings: config.Capture) -> None:
        """Cameras are added with `add`; names in the order of `settings.sources`."""
        self.missed: Counter[str] = Counter()  # ticks so far that have no frame of a camera
        self._names = tuple(settings.sources)
        self._delays_s = {name: settings.delays_s.get(name, 0.0) for name in self._names}
        self._lag_s = max(self._delays_s.values(), default=0.0)
        self._cameras: dict[str, Camera] = {}
        self._threads: list[threading.Thread] = []
        self._changed = threading.Condition()
        self._closed = False
        self._error: Exception | None = None
        self._first_new_s: float | None = None  # time of the first frame since the last tick
        self._first_s: float | None = None  # time of the first tick
        self._index = 0

    def add(self, name: str, source: Source) -> None:
        """Begins to read a camera at once, because unread frames queue up in some."""
        self._cameras[name] = Camera(source, Steady(name, CURE), self._delays_s[name])
        thread = threading.Thread(target=self._read, args=(name,), name=f"camera {name}", daemon=True)
        self._threads.append(thread)
        thread.start()

    @property
    def fps(self) -> float:
        """Ticks per second: the rate that the slowest camera reports."""
        return 1 / max(camera.reported_s for camera in self._cameras.values())

    @property
    def sizes(self) -> dict[str, tuple[int, int]]:
        """Width and height of each camera's pictures, in pixels: waits for the first ones, and leaves out a camera that
        delivers none for FIRST_S."""
        with self._changed:
            self._changed.wait_for(lambda: all(c.size or c.ended for c in self._cameras.values()), FIRST_S)
            return {name: camera.size for name, camera in self._cameras.items() if camera.size is not None}

    @property
    def waiting(self) -> str:
        """What is waited for while every camera is disconnected; empty: at least one is connected."""
        texts = [camera.source.waiting for camera in self._cameras.values() if not camera.ended]
        return "; ".join(texts) if texts and all(texts) else ""

    @property
    def bad(self) -> int:
        """The number of frames so far that could not be read."""
        return sum(camera.source.bad for camera in self._cameras.values())

    def close(self) -> None:
        """Ends the iteration after the current tick, and that of every camera."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        for camera in self._cameras.values():
            camera.source.close()

    def __iter__(self) -> Iterator[FrameSet]:
        """Yields ticks until every camera has ended. Raises what a camera's thread raised."""
        try:
            while (one := self._next()) is not None:
                yield one
        finally:
            self.close()
            until_s = time.monotonic() + JOIN_S
            for thread in self._threads:
                thread.join(max(0.0, until_s - time.monotonic()))

    def _read(self, name: str) -> None:
        """One camera's thread."""
        camera, error = self._cameras[name], None
        try:
            for frame in camera.source:
                with self._changed:
                    camera.put(frame, self._now_s())
                    self._changed.notify_all()
                    if self._closed:
                        break
        except Exception as raised:  # noqa: BLE001 - raised where the ticks are read
            error = raised
        with self._changed:
            camera.ended = True
            self._error = self._error or error
            self._changed.notify_all()

    def _now_s(self) -> float:
        """The moment whose frames have arrived from every camera, as far as the delays are known."""
        return time.monotonic() - self._lag_s

    def _next(self) -> FrameSet | None:
        """Waits for the next tick; None: the iteration has ended."""
        with self._changed:
            while True:
                if self._error is not None:
                    raise self._error
                if self._closed or all(camera.ended and not camera.frames for camera in self._cameras.values()):
                    return None
                now_s = self._now_s()
                self._note_gone()
                found = {n: newest for n, c in self._cameras.items() if (newest := c.newest(now_s)) is not None}
                if found and self._first_new_s is None:
                    self._first_new_s = now_s
                if found and self._is_due(found, now_s) and (made := self._tick(found)) is not None:
                    return made
                self._changed.wait(self._pause_s(now_s))

    def _is_due(self, found: dict[str, tuple[float, Frame]], now_s: float) -> bool:
        awaited = {name: camera for name, camera in self._cameras.items() if camera.state == "here"}
        period_s = max(camera.period_s for camera in (awaited or self._cameras).values())
        if self._first_new_s is not None and now_s - self._first_new_s >= period_s:
            return True
        if not awaited.keys() <= found.keys():
            return False
        times_s = [found[name][0] for name in awaited or found]
        return max(times_s) - min(times_s) <= reach_s(len(times_s), period_s)

    def _pause_s(self, now_s: float) -> float:
        """Until a look is worth while, if no frame comes before that."""
        hidden = [time_s - now_s for c in self._cameras.values() for time_s, _ in c.frames if time_s > now_s]
        periods = [c.period_s for c in self._cameras.values() if c.state == "here"]
        due = [self._first_new_s + max(periods) - now_s] if periods and self._first_new_s is not None else []
        return max(0.0005, min([CHECK_S, *hidden, *due]))

    def _tick(self, found: dict[str, tuple[float, Frame]]) -> FrameSet | None:
        """The tick of the newest frames; those that are ahead of it are left for the next one."""
        periods_s = {name: self._cameras[name].period_s for name in found}
        middle_s = statistics.median(time_s for time_s, _ in found.values())
        near = {name: one for name, one in found.items() if abs(one[0] - middle_s) <= tolerance_s(periods_s)}
        for name, (time_s, _) in found.items():
            if name in near or time_s < middle_s:
                self._cameras[name].frames.popleft()
        self._first_new_s = None
        if not near:
            return None
        self._first_s = middle_s if self._first_s is None else self._first_s
        for name, camera in self._cameras.items():
            self._note(name, camera, name in near)
        made = tick(self._names, near, self._index, self._first_s, live=True)
        self._index += 1
        return made

    def _note(self, name: str, camera: Camera, has_frame: bool) -> None:
        """Counts a camera's ticks without a frame, and reports when it becomes late or is back."""
        camera.missed = 0 if has_frame else camera.missed + 1
        if not has_frame:
            self.missed[name] += 1
        if has_frame and not camera.ended and not camera.source.waiting:
            self._change(name, camera, "here")
        elif camera.state == "here" and camera.missed >= LATE_TICKS:
            self._change(name, camera, "late")

    def _note_gone(self) -> None:
        for name, camera in self._cameras.items():
            if camera.ended:
                self._change(name, camera, "ended")
            elif camera.source.waiting:
                self._change(name, camera, "gone")

    def _change(self, name: str, camera: Camera, state: State) -> None:
        if state != camera.state:
            camera.state = state
            log.warning("camera '%s' %s", name, NEWS[state].format(camera.source.waiting))
