"""Reads frames from a video file."""

import logging
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np

from refit_rt import config
from refit_rt.capture.playback import Playback, Shot
from refit_rt.errors import UserError
from refit_rt.types import Frame

log = logging.getLogger(__name__)

GUESSED_FPS = 30.0  # for a file that states no frame rate
MOST_FPS = 1000.0  # a higher rate in the header is an error (a time base written as a rate)
MOST_FAILED = 25  # the file counts as ended after this many unreadable frames in a row


class VideoSource:
    """A video file. It is read one frame ahead (`grab`), so that in live playback a frame is ready when it is due."""

    runs_by_itself = False
    waiting = ""

    def __init__(self, path: Path, settings: config.Capture, lossless: bool) -> None:
        self._path = path
        self._loop = settings.loop
        self._holes = 0
        capture = _open(path)
        own_fps = capture.get(cv2.CAP_PROP_FPS)
        capture.release()
        self._own_times = lossless or not settings.fps
        self.fps = settings.fps if not self._own_times else own_fps if 0 < own_fps <= MOST_FPS else GUESSED_FPS
        self._playback = Playback(settings.name, self.fps, lossless)

    @property
    def bad(self) -> int:
        """The number of frames so far that could not be read."""
        return self._playback.bad + self._holes

    def __iter__(self) -> Iterator[Frame]:
        """Yields every frame when lossless; live, frames whose time has passed are skipped."""
        return self._playback.frames(self._once, self._loop)

    def close(self) -> None:
        """Ends the iteration after the current frame."""
        self._playback.stop()

    def _once(self) -> Iterator[Shot]:
        """The shots of the file from start to end."""
        capture = _open(self._path)
        count = capture.get(cv2.CAP_PROP_FRAME_COUNT)
        index, time_s, first_s, failed = 0, -1 / self.fps, None, 0

        def decode() -> np.ndarray | None:
            done, image = capture.retrieve()
            return image if done else None

        try:
            done = True  # _open has grabbed the first frame
            while done or (index + failed + 1 < count and failed < MOST_FAILED):
                if not done:
                    failed += 1
                else:
                    self._holes += failed
                    clock_s = capture.get(cv2.CAP_PROP_POS_MSEC) / 1e3
                    first_s = clock_s if first_s is None else first_s
                    own_s = clock_s - first_s
                    time_s = own_s if self._own_times and own_s > time_s else time_s + (1 + failed) / self.fps
                    shot, index, failed = index + failed, index + failed + 1, 0
                    yield Shot(shot, time_s, decode)
                done = capture.grab()
            if failed:
                log.warning("%s: the file ends after %d frames, but its header states %d", self._path, index, count)
        finally:
            capture.release()


def _open(path: Path) -> cv2.VideoCapture:
    """Opens the file and grabs its first frame. Raises UserError if it is not a readable video."""
    capture = cv2.VideoCapture(str(path), cv2.CAP_FFMPEG)
    if not capture.isOpened() or not capture.grab():
        capture.release()
        raise UserError(f"{path}: is not a readable video. Convert it to mp4, or download it again")
    return capture
