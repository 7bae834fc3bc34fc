"""Reads frames from a folder of images, in natural order."""

import logging
import re
from collections.abc import Iterator
from pathlib import Path

from refit_rt import config
from refit_rt.capture.exif import focal_35mm
from refit_rt.capture.picture import read_picture
from refit_rt.capture.playback import Playback, Shot
from refit_rt.capture.several import pictures_in
from refit_rt.errors import UserError
from refit_rt.types import Frame

log = logging.getLogger(__name__)

SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff", ".avif", ".mpo"})
UNKNOWN = frozenset({".heic", ".heif", ".hif", ".jxl", ".dng", ".cr2", ".cr3", ".nef", ".arw", ".raf", ".rw2"})
FILMS = frozenset({".png", ".avif"})  # kinds of pictures whose animated ones FFmpeg reads
GUESSED_FPS = 30.0  # images carry no frame rate
FULL_FRAME_DIAGONAL_MM = 43.267  # 36 x 24 mm, to which "focal length in 35 mm film" refers (CIPA DC-008)


class FolderSource:
    """The images of a folder, 2.jpg before 10.jpg, or a single image: frames of a clip, or stills."""

    runs_by_itself = False
    waiting = ""

    def __init__(self, path: Path, settings: config.Capture, lossless: bool) -> None:
        if path.suffix.lower() in UNKNOWN and path.is_file():
            raise UserError(f"{path}: pictures of this kind cannot be read. Convert it to jpg")
        self._files = pictures_of(path)
        note_unknown(path)
        if not any(read_picture(file) is not None for file in self._files):
            if path.is_file():
                raise UserError(f"{path}: is not a readable image. Convert it to jpg, or download it again")
            known = " ".join(sorted(SUFFIXES))
            raise UserError(f"{path}: contains no readable image. Give a folder with images of these types: {known}")
        self._loop, self._stills = settings.loop, settings.pictures == "stills"
        self._noted = False  # that a file contains more than the picture that is read
        self.fps = settings.fps or GUESSED_FPS
        self.length_s = 0.0 if self._loop else len(self._files) / self.fps  # 0: it has no end
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
            self._note_more(file)
            yield Shot(index, index / self.fps, lambda file=file: read_picture(file), file.name, self._stills, lens)

    def _note_more(self, file: Path) -> None:
        """Reports the first file of which only a part is read."""
        if not self._noted and (count := pictures_in(file)) > 1:
            self._noted = True
            log.warning("%s: contains %d pictures, of which the first is read. Save each as its own file", file, count)


def is_of_pictures(path: Path) -> bool:
    """Whether a path that exists is a folder, or a file whose name is that of an image and that is no film."""
    suffix = path.suffix.lower()
    return path.is_dir() or (suffix in SUFFIXES | UNKNOWN and not (suffix in FILMS and pictures_in(path) > 1))


def pictures_of(path: Path) -> list[Path]:
    """The image files of a folder in natural order, without hidden ones (macOS puts a ._a.jpg beside an a.jpg on disks
    of others); or a single file."""
    if path.is_file():
        return [path]
    files = (file for file in path.iterdir() if not file.name.startswith("."))
    return sorted((file for file in files if file.suffix.lower() in SUFFIXES), key=natural)


def note_unknown(path: Path) -> None:
    """Reports pictures in a folder that are of a kind that cannot be read."""
    if not path.is_dir():
        return
    unknown = sorted(file.name for file in path.iterdir() if file.suffix.lower() in UNKNOWN and file.name[0] != ".")
    if unknown:
        more = ", …" if len(unknown) > 1 else ""
        text = "%s: %d pictures of a kind that cannot be read are left out (%s%s). Convert them to jpg"
        log.warning(text, path, len(unknown), unknown[0], more)


def natural(path: Path) -> list[tuple[int, str]]:
    """A sort key that puts 2.jpg before 10.jpg."""
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in re.split(r"(\d+)", path.name.lower())]


def _focal_over_diagonal(file: Path) -> float | None:
    """The focal length divided by the image diagonal, if the file states it."""
    focal_mm = focal_35mm(file)
    return focal_mm / FULL_FRAME_DIAGONAL_MM if focal_mm else None
