"""People → stream and recording, counted; and what a run came to."""

import dataclasses
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from refit_rt.live.stage import Timings
from refit_rt.motion.npz import MotionWriter
from refit_rt.stream.bridges.outlets import Outlets
from refit_rt.stream.publish import Publisher
from refit_rt.stream.wire import Run, encode
from refit_rt.types import Frame, FrameSet, People, Status

MOST_NAMES = 30  # of pictures in one line


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
    stills: bool = False  # the frames are pictures by themselves
    nobody: tuple[str, ...] = ()  # names of the stills in which nobody was found
    missing: Mapping[str, int] = field(default_factory=dict)  # camera of a rig → frames published without its picture
    outlets: tuple[str, ...] = ()  # what became of each, a line

    @property
    def fps(self) -> float:
        """Frames published per second."""
        return (self.frames - 1) / self.seconds if self.seconds > 0 else 0.0

    def fields(self) -> dict[str, Any]:
        """For programs to read."""
        fields = {one.name: getattr(self, one.name) for one in dataclasses.fields(self)}
        steps = fields.pop("milliseconds")
        names = ("p50_ms", "p95_ms", "count")
        steps = {name: dict(zip(names, row, strict=True)) for name, row in steps.items()}
        return fields | {"fps": self.fps, "steps": steps}

    def table(self) -> str:
        """For people to read."""
        rows = [f"{'step':<10}{'p50 ms':>9}{'p95 ms':>9}{'count':>8}"]
        rows += [f"{name:<10}{p50:>9.2f}{p95:>9.2f}{n:>8}" for name, (p50, p95, n) in self.milliseconds.items()]
        if self.stills:
            lost = f", {self.bad} unreadable" if self.bad else ""
            rows.append(f"{self.frames} picture{'s' * (self.frames != 1)}{lost}; {count_of(self.people)} found")
        else:
            lost = f"{self.dropped} dropped" + (f" ({self.bad} unreadable)" if self.bad else "")
            rows.append(f"{self.frames} frames, {self.fps:.1f} a second, {lost}; {count_of(self.people)} followed")
        if self.missing:
            counts = (f"{name} in {count}" for name, count in sorted(self.missing.items()))
            rows.append(f"cameras without a picture: {', '.join(counts)} of the frames")
        rows += self.outlets
        if self.nobody:
            more = f", and {len(self.nobody) - MOST_NAMES} more" if len(self.nobody) > MOST_NAMES else ""
            names = ", ".join(self.nobody[:MOST_NAMES]).encode(errors="replace").decode()  # a name may be no valid text
            rows.append(f"nobody found in: {names}{more}")
        return "\n".join(rows)


class Sender:
    """Publishes and records each frame's people. `send` and `close` belong to one thread.

    The people of a still come largest first. Their ids are unique in the stream, as all ids are; in the recording and
    the drawing they are 0, 1, 2 … in each picture.
    """

    def __init__(
        self,
        publisher: Publisher | None,
        motion: MotionWriter | None,
        run: Run,
        timings: Timings,
        outlets: Outlets | None = None,
    ) -> None:
        self.people: People | None = None  # the newest that were sent
        self.frames = self.followed = 0
        self.first_s = self.last_s = 0.0  # monotonic times of the first and the newest frame sent
        self._publisher, self._motion, self._run, self._timings = publisher, motion, run, timings
        self._outlets = outlets
        self._first_index, self._newest_id = 0, -1
        self._stills, self._nobody = False, []  # names of the stills without anybody
        self._missing: Counter[str] = Counter()  # frames without a camera's picture

    def send(self, item: tuple[Frame | FrameSet, People] | Status) -> tuple[Frame | FrameSet, People] | None:
        """Publishes one frame's people and hands them on to be drawn; or a status, with the last frame and nobody."""
        if isinstance(item, Status):
            self._publish(item.text)
            return None
        frame, people = item
        people = largest_first(people) if frame.still else people
        if not self.frames:
            self._first_index, self.first_s = people.frame_index, time.monotonic()
        self.people = replace(people, dropped=people.frame_index - self._first_index - self.frames)
        self._publish("live")
        shown = numbered(self.people) if frame.still else self.people
        if self._motion is not None:
            self._motion.add(shown, frame.name)
        self._stills = frame.still
        self._missing.update(people.missing)
        if frame.still and not len(people.ids):
            self._nobody.append(frame.name)
        new = people.ids[people.ids > self._newest_id].tolist()  # an id is never used again, and they only grow
        self.followed, self._newest_id = self.followed + len(new), max(new, default=self._newest_id)
        self.last_s, self.frames = time.monotonic(), self.frames + 1
        self._timings.add("age", self.last_s - people.captured_s)
        return frame, shown

    def close(self) -> None:
        """Publishes that the stream has ended, and writes the recording."""
        try:
            self._publish("ended")
            if self._publisher is not None:
                self._publisher.close()
            if self._outlets is not None:
                self._outlets.close()
        finally:
            if self._motion is not None:
                self._motion.close()

    def report(self, bad: int, milliseconds: dict[str, tuple[float, float, int]], hung: bool) -> Report:
        """bad: frames that the source could not read."""
        dropped = self.people.dropped if self.people is not None else 0
        seconds, stills = self.last_s - self.first_s, (self._stills, tuple(self._nobody))
        outlets = tuple(self._outlets.table()) if self._outlets is not None else ()
        return Report(
            self.frames, dropped, bad, self.followed, seconds, milliseconds, hung, *stills, self._missing, outlets
        )

    def _publish(self, status: str) -> None:
        if self._publisher is not None and self.people is not None:
            people = self.people if status == "live" else self.people.take(slice(0))
            self._publisher.send(encode(people, self._run, time.monotonic(), status))
        if self._outlets is not None and self.people is not None:
            self._outlets.send(self.people, status)


def largest_first(people: People) -> People:
    """The same people in the order of their size in the picture."""
    return people.take(np.argsort(-np.prod(people.box[:, 2:] - people.box[:, :2], axis=1), kind="stable"))


def numbered(people: People) -> People:
    """The same people with the ids 0, 1, 2 …"""
    return replace(people, ids=np.arange(len(people.ids)))


def count_of(people: int) -> str:
    return f"{people} {'person' if people == 1 else 'people'}"
