"""Writes overlay/NAME.jpg: each picture with bodies drawn over it."""

from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import cv2
import numpy as np

from refit_rt.draw.video import NO_OVERLAY, Draw
from refit_rt.errors import UserError
from refit_rt.files import write_whole, write_whole_folder
from refit_rt.types import Frame, People

SUFFIX = ".jpg"
NOTE = b"drawn by refit-rt"
COMMENT = b"\xff\xfe" + (len(NOTE) + 2).to_bytes(2, "big") + NOTE  # a JPEG segment of kind COM
HEAD_BYTES = 64  # of a file of ours, in which the comment lies
WHAT = "folder of overlays"


class PictureWriter:
    """Draws the people of each picture over it, in a folder of JPEGs with the names of the pictures.

    The folder has a temporary name until `close`, so that it holds the pictures of one run alone.
    """

    def __init__(self, folder: Path, make_draw: Callable[[tuple[int, int]], Draw]) -> None:
        """make_draw(size) returns the function that draws on images of one size (width, height)."""
        self._folder, self._make_draw = folder, make_draw
        self._whole = ExitStack()
        self._made: Path | None = None
        self._names: set[str] = set()  # in small letters: some file systems do not tell A.jpg from a.jpg

    def draw(self, item: tuple[Frame, People]) -> None:
        """Adds one picture at its full size. Raises UserError when it cannot be written."""
        frame, people = item
        if self._made is None:
            whole = write_whole_folder(self._folder, is_of_overlays, WHAT, reuse=True)
            self._made = self._whole.enter_context(whole)
        picture = self._make_draw(frame.size)(frame.image, people)
        path = self._made / self._free_name(frame.name)
        with write_whole(path, NO_OVERLAY, reuse=True) as part:
            part.write_bytes(jpeg(picture))

    def close(self) -> None:
        """Moves the folder to its place. Without any picture, it leaves the earlier one."""
        self._whole.close()

    def _free_name(self, name: str) -> str:
        """a.png → a.jpg, or a.png.jpg if there is an a.jpg of another picture."""
        stem, number = Path(name).stem, 2
        free = stem + SUFFIX
        while free.lower() in self._names:
            free = name + SUFFIX if free == stem + SUFFIX else f"{name}-{number}{SUFFIX}"
            number += free.startswith(f"{name}-")
        self._names.add(free.lower())
        return free


def jpeg(picture: np.ndarray) -> bytes:
    """The file of a picture (height, width, 3) uint8 BGR, with a comment by which a later run knows that it may replace
    it. Raises UserError for a picture that is too large for a JPEG."""
    done, data = cv2.imencode(SUFFIX, picture)
    if not done:
        raise UserError(f"a picture of {picture.shape[1]} x {picture.shape[0]} px cannot be a JPEG. {NO_OVERLAY}")
    file = data.tobytes()
    place = 4 + int.from_bytes(file[4:6], "big")  # behind the JFIF header, which has to come first
    return file[:place] + COMMENT + file[place:]


def is_of_overlays(folder: Path) -> bool:
    """Whether a folder holds nothing but pictures that a run has drawn; hidden files do not count."""
    return folder.is_dir() and all(
        file.name.startswith(".") or (file.is_file() and COMMENT in _head(file)) for file in folder.iterdir()
    )


def _head(file: Path) -> bytes:
    with file.open("rb") as opened:
        return opened.read(HEAD_BYTES)


def check_folder(folder: Path) -> None:
    """Raises UserError if the overlays of a run would replace files that no run has drawn."""
    if folder.exists() and not is_of_overlays(folder):
        raise UserError(f"{folder}: is there and is no {WHAT}. Give another folder with --out")
