"""A folder of images → frames, in natural order."""

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
GUESSED_FPS = 30.0  # images have no rate of their own
FULL_FRAME_DIAGONAL_MM = 43.267  # of 36 x 24 mm: what "focal length in 35 mm film" refers to (CIPA DC-008)


class FolderSource:
    """A folder's images, 2.jpg before 10.jpg; or one image."""

    runs_by_itself = False
    waiting = ""

    def __init__(self, path: Path, settings: config.Capture, lossless: bool) -> None:
        files = [path] if path.is_file() else [file for file in path.iterdir() if file.suffix.lower() in SUFFIXES]
        self._files = sorted(files, key=natural)
        if not any(_read(file) is not None for file in self._files):
            known = " ".join(sorted(SUFFIXES))
            raise UserError(f"{path}: holds no image that can be read. Give a folder of {known}")
        self._loop = settings.loop
        self.fps = settings.fps or GUESSED_FPS
        focal_mm = focal_35mm(self._files[0])  # one lens per folder
        focal_over_diagonal = focal_mm / FULL_FRAME_DIAGONAL_MM if focal_mm else None
        self._playback = Playback(settings.name, self.fps, lossless, focal_over_diagonal)

    @property
    def bad(self) -> int:
        """Images so far that could not be read."""
        return self._playback.bad

    def __iter__(self) -> Iterator[Frame]:
        """Every image that is in time."""
        return self._playback.frames(self._once, self._loop)

    def close(self) -> None:
        """Ends the iteration after the image under way."""
        self._playback.stop()

    def _once(self) -> Iterator[Shot]:
        for index, file in enumerate(self._files):
            yield index, index / self.fps, lambda file=file: _read(file)


def natural(path: Path) -> list[tuple[int, str]]:
    """Sorts 2.jpg before 10.jpg."""
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in re.split(r"(\d+)", path.name.lower())]


def _read(path: Path) -> np.ndarray | None:
    """BGR uint8 turned as the image says it was held; None: no image. Bytes are read here: any name will do."""
    try:
        data = np.frombuffer(path.read_bytes(), np.uint8)
        return cv2.imdecode(data, cv2.IMREAD_COLOR) if data.size else None
    except (OSError, cv2.error):
        return None
