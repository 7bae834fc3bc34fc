"""Reads frames from a folder of images, in natural order."""

import re
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np

from refit_rt import config
from refit_rt.capture.exif import focal_35mm
from refit_rt.capture.playback import Playback, Shot
from refit_rt.errors import UserError
from refit_rt.types import Frame

SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff"})
GUESSED_FPS = 30.0  # images carry no frame rate
FULL_FRAME_DIAGONAL_MM = 43.267  # 36 x 24 mm, to which "focal length in 35 mm film" refers (CIPA DC-008)


class FolderSource:
    """The images of a folder, 2.jpg before 10.jpg, or a single image."""

    runs_by_itself = False
    waiting = ""

    def __init__(self, path: Path, settings: config.Capture, lossless: bool) -> None:
        files = [path] if path.is_file() else [file for file in path.iterdir() if file.suffix.lower() in SUFFIXES]
        self._files = sorted(files, key=natural)
        if not any(_read(file) is not None for file in self._files):
            known = " ".join(sorted(SUFFIXES))
            raise UserError(f"{path}: contains no readable image. Give a folder with images of these types: {known}")
        self._loop = settings.loop
        self.fps = settings.fps or GUESSED_FPS
        focal_mm = focal_35mm(self._files[0])  # all images of a folder are taken with one lens
        focal_over_diagonal = focal_mm / FULL_FRAME_DIAGONAL_MM if focal_mm else None
        self._playback = Playback(settings.name, self.fps, lossless, focal_over_diagonal)

    @property
    def bad(self) -> int:
        """The number of images so far that could not be read."""
        return self._playback.bad

    def __iter__(self) -> Iterator[Frame]:
        """Yields every image when lossless; live, images whose time has passed are skipped."""
        return self._playback.frames(self._once, self._loop)

    def close(self) -> None:
        """Ends the iteration after the current image."""
        self._playback.stop()

    def _once(self) -> Iterator[Shot]:
        for index, file in enumerate(self._files):
            yield index, index / self.fps, lambda file=file: _read(file)


def natural(path: Path) -> list[tuple[int, str]]:
    """A sort key that puts 2.jpg before 10.jpg."""
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in re.split(r"(\d+)", path.name.lower())]


def _read(path: Path) -> np.ndarray | None:
    """The image as BGR uint8, turned upright as its EXIF orientation states; None if it cannot be decoded.

    The bytes are read in Python, so that any file name works.
    """
    try:
        data = np.frombuffer(path.read_bytes(), np.uint8)
        return cv2.imdecode(data, cv2.IMREAD_COLOR) if data.size else None
    except (OSError, cv2.error):
        return None
