"""Reads frames from a folder of images, in natural order."""

import re
from collections.abc import Iterator
from pathlib import Path

from refit_rt import config
from refit_rt.capture.exif import focal_35mm
from refit_rt.capture.picture import read_picture
from refit_rt.capture.playback import Playback, Shot
from refit_rt.errors import UserError
from refit_rt.types import Frame

SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff"})
GUESSED_FPS = 30.0  # images carry no frame rate
FULL_FRAME_DIAGONAL_MM = 43.267  # 36 x 24 mm, to which "focal length in 35 mm film" refers (CIPA DC-008)


class FolderSource:
    """The images of a folder, 2.jpg before 10.jpg, or a single image: frames of a clip, or stills."""

    runs_by_itself = False
    waiting = ""

    def __init__(self, path: Path, settings: config.Capture, lossless: bool) -> None:
        self._files = pictures_of(path)
        if not any(read_picture(file) is not None for file in self._files):
            known = " ".join(sorted(SUFFIXES))
            raise UserError(f"{path}: contains no readable image. Give a folder with images of these types: {known}")
        self._loop, self._stills = settings.loop, settings.pictures == "stills"
        self.fps = settings.fps or GUESSED_FPS
        self._playback = Playback(settings.name, self.fps, lossless)

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
        lens = _focal_over_diagonal(self._files[0])  # a clip is taken with one lens
        for index, file in enumerate(self._files):
            lens = _focal_over_diagonal(file) if self._stills else lens
            yield Shot(index, index / self.fps, lambda file=file: read_picture(file), file.name, self._stills, lens)


def is_of_pictures(path: Path) -> bool:
    """Whether a path that exists is a folder, or a file whose name is that of an image."""
    return path.is_dir() or path.suffix.lower() in SUFFIXES


def pictures_of(path: Path) -> list[Path]:
    """The image files of a folder in natural order, or a single file."""
    files = [path] if path.is_file() else [file for file in path.iterdir() if file.suffix.lower() in SUFFIXES]
    return sorted(files, key=natural)


def natural(path: Path) -> list[tuple[int, str]]:
    """A sort key that puts 2.jpg before 10.jpg."""
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in re.split(r"(\d+)", path.name.lower())]


def _focal_over_diagonal(file: Path) -> float | None:
    """The focal length divided by the image diagonal, if the file states it."""
    focal_mm = focal_35mm(file)
    return focal_mm / FULL_FRAME_DIAGONAL_MM if focal_mm else None
