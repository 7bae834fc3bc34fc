"""Frames and people → overlay.mp4."""

from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import cv2
import numpy as np

from refit_rt.errors import UserError
from refit_rt.files import write_whole
from refit_rt.types import Frame, People

Draw = Callable[[np.ndarray, People], np.ndarray]  # BGR image and who is in it -> BGR image of the same size
# Of one picture. A source that vanished for an hour does not fill the disk; and a machine so slow that it can write no
# more than it repeats does not fall behind for ever (1080x1920 at 60 a second: 870 ms a drawn frame without a bound).
LONGEST_HOLD_S = 0.5
NO_OVERLAY = "Make room, or set out.overlay to false"
MOST_LIVE_FPS = 30.0  # pictures a second while following live: what is written costs time that following could use


class OverlayWriter:
    """Draws each frame's people over it and writes a video.

    The file has another name until `close`: a whole overlay.mp4, or none.
    """

    def __init__(
        self, path: Path, fps: float, make_draw: Callable[[tuple[int, int]], Draw], keep_time: bool = False
    ) -> None:
        """make_draw(size): what draws on images of a size (width, height).

        keep_time: a picture is repeated for the frames lost before it, and left out when it comes too soon, so that a
        live recording runs at the right pace; else each frame is written once.
        """
        self._path, self._fps, self._make_draw, self._keep_time = path, fps, make_draw, keep_time
        self._whole = ExitStack()
        self._writer: cv2.VideoWriter | None = None
        self._size = (0, 0)  # of the video: the first frame's
        self._draws: dict[tuple[int, int], Draw] = {}
        self._written = 0
        self._start_s = 0.0

    def add(self, frame: Frame, people: People) -> None:
        """One more frame, at its time. Raises UserError when the video cannot be written."""
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
        """As `add`, for a stage."""
        self.add(*item)

    def _repeats(self, time_s: float) -> int:
        """How often the frame of `time_s` is to be written, to be there at its time."""
        missing = round((time_s - self._start_s) * self._fps) + 1 - self._written
        if missing > LONGEST_HOLD_S * self._fps:
            self._start_s += (missing - 1) / self._fps
            return 1
        return missing

    def close(self) -> None:
        """Moves the video to its place. Nothing is left when there was no frame."""
        if self._writer is not None:
            self._writer.release()
            self._writer = None
            self._whole.close()

    def _open(self, frame: Frame) -> cv2.VideoWriter:
        self._size = (frame.size[0] // 2 * 2, frame.size[1] // 2 * 2)  # the codec wants even sides
        self._start_s = frame.time_s
        part = self._whole.enter_context(write_whole(self._path, NO_OVERLAY))
        writer = cv2.VideoWriter(str(part), cv2.VideoWriter.fourcc(*"mp4v"), self._fps, self._size)
        if not writer.isOpened():
            raise UserError(f"{self._path}: no video can be written here. {NO_OVERLAY}")
        self._writer = writer
        return writer


def fit_into(image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """The image in a picture of `size` (width, height): whole, undistorted, black where it does not reach."""
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
