"""Plays a recording: delivers every frame, or only those that a live camera would deliver."""

import logging
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

import numpy as np

from refit_rt.capture.picture import as_bgr
from refit_rt.types import Frame

log = logging.getLogger(__name__)

MOST_SKIPPED = 10  # in a row, so that a machine too slow to decode every frame still shows some


class Shot(NamedTuple):
    """One frame of a recording, not decoded yet."""

    index: int  # in the recording, counting unreadable frames too
    time_s: float  # seconds since the first frame
    decode: Callable[[], np.ndarray | None]  # returns None for an unreadable frame
    name: str = ""  # of the frame's own file
    still: bool = False  # a picture by itself
    focal_over_diagonal: float | None = None  # focal length divided by image diagonal, if the recording states it


class Playback:
    """Turns shots into frames. Lossless: all of them. Live: each when it is due, and overdue ones are skipped."""

    def __init__(self, name: str, fps: float, lossless: bool) -> None:
        self.bad = 0  # frames so far that could not be read
        self._name, self._fps, self._lossless = name, fps, lossless
        self._start_s: float | None = None
        self._stopped = threading.Event()

    def frames(self, once: Callable[[], Iterable[Shot]], loop: bool) -> Iterator[Frame]:
        """The frames of `once()`. With `loop` they repeat, and index and time keep counting."""
        begin, offset_s, skipped = 0, 0.0, 0
        while True:
            index, time_s = begin - 1, offset_s
            for shot in once():
                before_s, time_s = time_s, offset_s + shot.time_s
                index = begin + shot.index
                if not self._lossless:
                    overdue = self._wait(time_s) > max(1 / self._fps, time_s - before_s)
                    skipped = skipped + 1 if overdue and skipped < MOST_SKIPPED else 0
                if self._stopped.is_set():
                    return
                if not skipped and (frame := self._frame(index, time_s, shot)) is not None:
                    yield frame
            if not loop or self._lossless or index < begin:
                return
            offset_s, begin = time_s + 1 / self._fps, index + 1

    def stop(self) -> None:
        """Ends the iteration, from any thread; a reader that waits for its next frame wakes up."""
        self._stopped.set()

    def _wait(self, time_s: float) -> float:
        """Waits until the frame of `time_s` is due. Returns the seconds by which it is late."""
        if self._start_s is None:  # the first frame is due now
            self._start_s = time.monotonic() - time_s
            return 0.0
        self._stopped.wait(max(0.0, self._start_s + time_s - time.monotonic()))
        return time.monotonic() - self._start_s - time_s

    def _frame(self, index: int, time_s: float, shot: Shot) -> Frame | None:
        captured_s = time.monotonic()
        try:
            image = shot.decode()
            if image is not None:
                lens = _focal_px(shot, image)
                return Frame(self._name, index, captured_s, time_s, as_bgr(image), lens, shot.name, shot.still)
            reason = "the image cannot be decoded"
        except ValueError as error:
            reason = str(error)
        self.bad += 1
        log.warning("%s is skipped: %s", shot_name(shot, index), reason)
        return None


def shot_name(shot: Shot, index: int) -> str:
    """What a shot is called in the log: by its own file, if it has one, and its number in a clip."""
    if shot.still:
        return shot.name
    return f"frame {index} ({shot.name})" if shot.name else f"frame {index}"


def _focal_px(shot: Shot, image: np.ndarray) -> float | None:
    share = shot.focal_over_diagonal
    return None if share is None else share * float(np.hypot(*image.shape[1::-1]))
