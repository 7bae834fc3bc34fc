"""Writes overlay.mp4: the video with bodies drawn over it."""

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np

from refit_rt.draw.mp4 import VideoFile, even
from refit_rt.types import Frame, People

Draw = Callable[[np.ndarray, People], np.ndarray]  # BGR image and the people in it -> BGR image of the same size
NO_OVERLAY = "Free some disk space, or set out.overlay to false"
MOST_LIVE_FPS = 30.0  # frames per second in live runs, because writing takes time away from fitting
EARLY = 0.25  # of the time between two live frames: so much too soon one may come


class OverlayWriter:
    """Draws the people of each frame over it and writes a video, in which each frame stands at its time.

    The file has a temporary name until `close`, so that overlay.mp4 is either complete or absent.
    """

    def __init__(
        self, path: Path, fps: float, make_draw: Callable[[tuple[int, int]], Draw], live: bool = False
    ) -> None:
        """make_draw(size) returns the function that draws on images of one size (width, height).

        live: at most `fps` frames per second are written, in 60 % of the processor time and three times as large;
        otherwise each frame is.
        """
        self._path, self._fps, self._make_draw, self._live = path, fps, make_draw, live
        self._video: VideoFile | None = None
        self._size = (0, 0)  # of the video: that of the first frame
        self._draws: dict[tuple[int, int], Draw] = {}
        self._newest_s = self._due_s = 0.0  # times of the newest frame, and of the next one when live

    def add(self, frame: Frame, people: People) -> None:
        """Adds one frame, at its time. Raises UserError when the video cannot be written."""
        period_s = 1 / self._fps
        if self._video is None or frame.time_s < self._newest_s:  # the first one, or a clip that begins again
            self._due_s = frame.time_s
        if self._live and frame.time_s < self._due_s - EARLY * period_s:
            return
        self._newest_s = frame.time_s
        self._due_s = max(self._due_s, frame.time_s - period_s) + period_s
        if self._video is None:
            self._size = even(frame.size)
            preset = "ultrafast" if self._live else "veryfast"
            self._video = VideoFile(self._path, self._size, self._fps, preset, cure=NO_OVERLAY)
        if frame.size not in self._draws:
            self._draws = {frame.size: self._make_draw(frame.size)}
        picture = fit_into(self._draws[frame.size](frame.image, people), self._size)
        self._video.write(picture, frame.time_s)

    def draw(self, item: tuple[Frame, People]) -> None:
        """Does the same as `add`; a stage calls it with one argument."""
        self.add(*item)

    def close(self) -> None:
        """Moves the video to its place. Without any frame, or after an error, it leaves no file."""
        if self._video is not None:
            self._video.close()
            self._video = None


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
