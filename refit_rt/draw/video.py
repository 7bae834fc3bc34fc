"""Writes overlay.mp4: the video with bodies drawn over it."""

from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import cv2
import numpy as np

from refit_rt.errors import UserError
from refit_rt.files import write_whole
from refit_rt.types import Frame, People

Draw = Callable[[np.ndarray, People], np.ndarray]  # BGR image and the people in it -> BGR image of the same size
# The longest time that one image is repeated. The bound keeps a source that is disconnected for an hour from filling
# the disk, and a slow machine from falling ever further behind by writing repeats (1080x1920 at 60 frames per second
# without a bound: 870 ms per drawn frame).
LONGEST_HOLD_S = 0.5
NO_OVERLAY = "Free some disk space, or set out.overlay to false"
MOST_LIVE_FPS = 30.0  # frames per second in live runs, because writing takes time away from fitting


class OverlayWriter:
    """Draws the people of each frame over it and writes a video.

    The file has a temporary name until `close`, so that overlay.mp4 is either complete or absent.
    """

    def __init__(
        self, path: Path, fps: float, make_draw: Callable[[tuple[int, int]], Draw], keep_time: bool = False
    ) -> None:
        """make_draw(size) returns the function that draws on images of one size (width, height).

        keep_time: an image is repeated to fill in for lost frames, and skipped when it comes too early, so that a live
        recording plays at the right speed; otherwise each frame is written once.
        """
        self._path, self._fps, self._make_draw, self._keep_time = path, fps, make_draw, keep_time
        self._whole = ExitStack()
        self._writer: cv2.VideoWriter | None = None
        self._size = (0, 0)  # of the video: that of the first frame
        self._draws: dict[tuple[int, int], Draw] = {}
        self._written = 0
        self._start_s = 0.0

    def add(self, frame: Frame, people: People) -> None:
        """Adds one frame, at its time. Raises UserError when the video cannot be written."""
        writer = self._writer or self._open(frame)
        if frame.size not in self._draws:
            self._draws = {frame.size: self._make_draw(frame.size)}
        times = self._repeats(frame.time_s) if self._keep_time else 1
        if times < 1:
            return
        picture = fit_into(self._draws[frame.size](frame.image, people), self._size)
        for _ in range(times):
            writer.write(picture)
            self._written += 1

    def draw(self, item: tuple[Frame, People]) -> None:
        """Does the same as `add`; a stage calls it with one argument."""
        self.add(*item)

    def _repeats(self, time_s: float) -> int:
        """How many copies of the frame of `time_s` the video needs to show it at its time."""
        missing = round((time_s - self._start_s) * self._fps) + 1 - self._written
        if missing > LONGEST_HOLD_S * self._fps:
            self._start_s += (missing - 1) / self._fps
            return 1
        return missing

    def close(self) -> None:
        """Moves the video to its place. Without any frame, it leaves no file."""
        if self._writer is not None:
            self._writer.release()
            self._writer = None
            self._whole.close()

    def _open(self, frame: Frame) -> cv2.VideoWriter:
        self._size = (frame.size[0] // 2 * 2, frame.size[1] // 2 * 2)  # the codec requires even sides
        self._start_s = frame.time_s
        part = self._whole.enter_context(write_whole(self._path, NO_OVERLAY, reuse=True))
        writer = cv2.VideoWriter(str(part), cv2.VideoWriter.fourcc(*"mp4v"), self._fps, self._size)
        if not writer.isOpened():
            error = UserError(f"{self._path}: the video cannot be opened for writing. {NO_OVERLAY}")
            self._whole.__exit__(UserError, error, None)  # takes the unwritten file away
            raise error
        self._writer = writer
        return writer


def fit_into(image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Scales the whole image into `size` (width, height) without distortion; the rest is black."""
    width, height = size
    if image.shape[:2] == (height, width):
        return image
    if 0 <= image.shape[1] - width < 2 and 0 <= image.shape[0] - height < 2:  # one odd pixel
        return np.ascontiguousarray(image[:height, :width])
    factor = min(width / image.shape[1], height / image.shape[0])
    inner = cv2.resize(image, (round(image.shape[1] * factor), round(image.shape[0] * factor)))
    left, top = (width - inner.shape[1]) // 2, (height - inner.shape[0]) // 2
    picture = np.zeros((height, width, 3), np.uint8)
    picture[top : top + inner.shape[0], left : left + inner.shape[1]] = inner
    return picture
