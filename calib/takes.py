"""The folder that `calibrate record` fills and `calibrate solve` reads: CAMERA/take_0007.jpg, of one moment per number.

Only the cameras that see the board have a picture of a take.
"""

import re
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np

from refit_rt.capture.folder import pictures_of
from refit_rt.errors import UserError
from refit_rt.files import write_whole

NAME = re.compile(r"take_(\d+)$")
# Corners of rendered boards moved by 0.03 px on average, a fifth of the detector's own error; a PNG of 1920 x 1080
# takes five times as long to write.
QUALITY = 95
OTHER = "Give an empty folder or a new name"


class Takes:
    """The takes of some cameras in one folder."""

    def __init__(self, folder: Path, cameras: tuple[str, ...]) -> None:
        """An empty folder, one that does not exist yet, or one with takes of these cameras, which is continued.
        Raises UserError for anything else."""
        self.folder, self.cameras = folder, cameras
        _check_names(cameras)
        if folder.is_file():
            raise UserError(f"{folder}: is a file. {OTHER}")
        inside = [path for path in folder.iterdir() if not path.name.startswith(".")] if folder.exists() else []
        for path in sorted(inside):
            if not path.is_dir() or takes_in(path) is None:
                raise UserError(f"{folder}: holds '{path.name}', which is no take of calibrate record. {OTHER}")
            if path.name not in cameras and takes_in(path):
                raise UserError(
                    f"{folder}: holds takes of '{path.name}', but the cameras are {', '.join(cameras)}. "
                    "Name them as in that recording, or give a new folder"
                )
        held = {path.name: set((takes_in(path) or {}).values()) for path in inside}
        self.last = max((number for numbers in held.values() for number in numbers), default=0)
        self._held = held

    def read(self) -> Iterator[tuple[int, dict[str, np.ndarray]]]:
        """The takes that were there: their numbers, and the pictures by camera."""
        for number in sorted(set().union(*self._held.values())):
            files = {name: self.path(name, number) for name in self.cameras if number in self._held.get(name, ())}
            pictures = {name: cv2.imread(str(path)) for name, path in files.items()}
            yield number, {name: picture for name, picture in pictures.items() if picture is not None}

    def path(self, camera: str, number: int) -> Path:
        """Where a picture lies."""
        return self.folder / camera / f"take_{number:04d}.jpg"

    def write(self, pictures: dict[str, np.ndarray]) -> int:
        """Writes one more take, (height, width, 3) uint8 BGR by camera, and returns its number. Raises UserError."""
        number = self.last + 1
        for name, picture in pictures.items():
            write_picture(self.path(name, number), picture)
        self.last = number
        return number


class FloorPictures:
    """The folder of one set of pictures, CAMERA.jpg, of the board on the floor: what `calibrate floor` reads."""

    last = 0

    def __init__(self, folder: Path, cameras: tuple[str, ...]) -> None:
        """An empty folder, one that does not exist yet, or one with such a set, which is replaced. Raises UserError for
        anything else."""
        self.folder, self.cameras = folder, cameras
        _check_names(cameras)
        if folder.is_file():
            raise UserError(f"{folder}: is a file. {OTHER}")
        inside = [path.name for path in folder.iterdir() if not path.name.startswith(".")] if folder.exists() else []
        if others := sorted(set(inside) - {self.path(name).name for name in cameras}):
            raise UserError(f"{folder}: holds '{others[0]}', which is no picture of these cameras. {OTHER}")

    def path(self, camera: str) -> Path:
        """Where a picture lies."""
        return self.folder / f"{camera}.jpg"

    def read(self) -> Iterator[tuple[int, dict[str, np.ndarray]]]:
        """Nothing: an older set is not looked at."""
        return iter(())

    def write(self, pictures: dict[str, np.ndarray]) -> int:
        """Replaces the set and returns its number, 1. Raises UserError."""
        for name, picture in pictures.items():
            write_picture(self.path(name), picture)
        for name in self.cameras:
            if name not in pictures:
                self.path(name).unlink(missing_ok=True)
        return 1


def _check_names(cameras: tuple[str, ...]) -> None:
    for name in cameras:
        if name.startswith(".") or re.search(r'[/\\:*?"<>|]', name):
            raise UserError(f"camera '{name}': is no name of a file, and its pictures get its name. Rename it")


def write_picture(path: Path, picture: np.ndarray) -> None:
    """Writes a JPEG, whole or not at all. Raises UserError."""
    encoded = cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, QUALITY])[1]
    with write_whole(path) as part:
        part.write_bytes(encoded.tobytes())


def takes_in(folder: Path) -> dict[int, int] | None:
    """The place of each picture among those of a folder of takes → its number; None: the folder holds other pictures.

    What a killed process left, whose name begins with a dot, is left out.
    """
    files = {place: file for place, file in enumerate(pictures_of(folder)) if not file.name.startswith(".")}
    found = {place: NAME.match(file.stem) for place, file in files.items()}
    return {place: int(match.group(1)) for place, match in found.items() if match} if all(found.values()) else None
