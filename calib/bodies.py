"""People as a target: what each camera's own single-view run sees of them."""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import msgspec
import numpy as np

from refit_rt.cameras import Camera
from refit_rt.commands.shared import say
from refit_rt.errors import UserError

if TYPE_CHECKING:
    from refit_rt import config
    from refit_rt.types import Frame, People

LEAST_FRAMES = 10  # of a track: shorter ones are mostly no people
LEAST_SURE = 0.4  # confidence of a body that counts
REPORTED = 100  # moments between two lines of progress


@dataclass(frozen=True, slots=True, eq=False)
class Track:
    """One person as one camera follows them."""

    time_s: np.ndarray  # (n,) that the camera claims for its pictures, rising
    joints: np.ndarray  # (n, 24, 3) metres, camera frame, of a body whose size the camera alone can only guess
    pixels: np.ndarray  # (n, 24, 2) of the same joints, in the picture without distortion


@dataclass(frozen=True, slots=True, eq=False)
class Watched:
    """What one camera saw."""

    camera: Camera  # the lens of the pictures without distortion, upright at the origin
    tracks: tuple[Track, ...]
    frames: int  # looked at
    period_s: float  # median time between two frames


@dataclass(slots=True)
class _Rows:
    """A track that grows."""

    time_s: list[float] = field(default_factory=list)
    joints: list[np.ndarray] = field(default_factory=list)
    pixels: list[np.ndarray] = field(default_factory=list)

    def track(self) -> Track:
        return Track(np.array(self.time_s), np.array(self.joints, float), np.array(self.pixels, float))


class Watcher:
    """Follows the people of one camera, frame by frame."""

    def __init__(self, settings: "config.Settings", name: str) -> None:
        """name: of the camera, in the calibration of the settings, if there is one. Raises UserError."""
        from refit_rt.follow import load_follower

        capture = msgspec.structs.replace(settings.capture, name=name)
        self._follower = load_follower(msgspec.structs.replace(settings, capture=capture))
        self._name = name
        self._rows: dict[int, _Rows] = {}
        self._times_s: list[float] = []
        self._people: People | None = None

    def see(self, frame: "Frame") -> None:
        """One more frame, later than those before it."""
        people = self._follower.step(frame)[1]
        self._people = people
        self._times_s.append(people.time_s)
        for row, person in enumerate(people.ids.tolist()):
            if people.confidence[row] >= LEAST_SURE:
                rows = self._rows.setdefault(person, _Rows())
                rows.time_s.append(people.time_s)
                rows.joints.append(people.joints_camera[row])
                rows.pixels.append(people.joints_px[row])

    def watched(self) -> Watched:
        """All that was seen. Raises UserError when there was no frame."""
        self._follower.close()
        if self._people is None:
            raise UserError(f"capture.sources: camera '{self._name}' has delivered no picture. Check it")
        people, steps_s = self._people, np.diff(self._times_s)
        camera = Camera(self._name, people.size, people.focal_px, people.centre_px)
        tracks = tuple(rows.track() for rows in self._rows.values() if len(rows.time_s) >= LEAST_FRAMES)
        return Watched(camera, tracks, len(self._times_s), float(np.median(steps_s)) if len(steps_s) else 0.0)


def watch(settings: "config.Settings", seconds: float) -> list[Watched]:
    """What the cameras of `capture.sources` see, in their order: of recordings, every frame.

    seconds: ends after so long; 0: with the recordings. Raises UserError for what cannot be used, and for a camera
    without a frame.
    """
    from refit_rt.capture import is_camera
    from refit_rt.capture.sync import open_sources
    from refit_rt.opening import repeatable

    capture = settings.capture
    lossless = not any(map(is_camera, capture.sources.values()))
    source = open_sources(capture, lossless)
    try:
        settings = repeatable(settings) if lossless else settings
        watchers = {name: Watcher(settings, name) for name in capture.sources}
        for tick in source:
            for frame in tick.frames:
                if frame is not None:
                    watchers[frame.camera].see(frame)
            if tick.index and tick.index % REPORTED == 0:
                say(f"  {tick.index} moments are watched")
            if seconds and tick.time_s >= seconds:
                break
    finally:
        source.close()
    return [watcher.watched() for watcher in watchers.values()]
