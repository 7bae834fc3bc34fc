"""Files of cv2.FileStorage (yaml, xml): one for all cameras, or one per camera, named after it.

camera_matrix (3, 3), distortion_coefficients, image_width and image_height, as OpenCV's calibration sample writes them;
cameraMatrix and distCoeffs are read too. R (3, 3) or a rotation vector, and T (3,), as its stereo sample calls them,
take the world to the camera; metres. In a file for all, they stand in a list `cameras`, each with its name. The
samples name no world and no unit; both stay as they are in the file.
"""

from pathlib import Path
from typing import Any

import cv2
import numpy as np

from refit_rt.cameras.entries import Content
from refit_rt.cameras.rig import Camera, Rig
from refit_rt.errors import UserError
from refit_rt.files import write_whole

HEAD = "%YAML:1.0\n---\n"  # the version that OpenCV 2 to 5 read
SUFFIXES = (".yml", ".yaml", ".xml")
WORDS = {  # ours → theirs, the first that a file has
    "matrix": ("camera_matrix", "cameraMatrix", "K"),
    "distortion": ("distortion_coefficients", "distCoeffs", "D"),
    "rotation": ("R", "rvec"),
    "translation": ("T", "tvec"),
}


def read(path: Path) -> Content:
    """One file, or a folder with one per camera. Raises KeyError, ValueError and cv2.error for anything else."""
    if path.is_dir():
        files = sorted(file for file in path.iterdir() if file.suffix in SUFFIXES)
        return Content([_entry(opened(file), file.stem) for file in files])
    storage = opened(path)
    several = storage.getNode("cameras")
    if several.empty():
        return Content([_entry(storage, path.stem)])
    nodes = [several.at(number) for number in range(several.size())]
    return Content([_entry(node, node.getNode("name").string()) for node in nodes])


def opened(path: Path) -> cv2.FileStorage:
    """Raises ValueError for a text that is no such file, OSError where there is none."""
    words = path.read_text(encoding="utf-8")
    try:
        return cv2.FileStorage(words, cv2.FILE_STORAGE_READ | cv2.FILE_STORAGE_MEMORY)
    except (cv2.error, SystemError) as error:
        raise ValueError("no file of cv2.FileStorage") from error


def numbers(node: cv2.FileNode) -> np.ndarray | None:
    """A matrix, or a list of numbers; None: neither."""
    if node.empty():
        return None
    if node.isSeq():
        return np.array([node.at(number).real() for number in range(node.size())])
    return node.mat()


def _entry(node: Any, name: str) -> dict[str, Any]:
    """node: an open storage or a node in it."""
    entry: dict[str, Any] = {"name": name}
    for ours, theirs in WORDS.items():
        found = [value for value in (numbers(node.getNode(word)) for word in theirs) if value is not None]
        if found:
            entry[ours] = found[0]
    sides = [node.getNode(word) for word in ("image_width", "image_height")]
    if not any(side.empty() for side in sides):
        entry["size"] = [int(side.real()) for side in sides]
    return entry


def write(rig: Rig, path: Path) -> list[str]:
    """A path with a suffix: one file for all. Otherwise a folder, with one file per camera."""
    if path.suffix:
        entries = [indented(f"name: {quoted(path, camera.name)}\n{_rows(camera)}") for camera in rig]
        return _put(path, HEAD + "cameras:\n" + "".join(entries))
    for camera in rig:
        if Path(camera.name).name != camera.name:
            raise UserError(f"{path}: no file can be called '{camera.name}'. Give that camera another name")
    for camera in rig:
        _put(path / f"{camera.name}.yml", HEAD + _rows(camera))
    return []


def _put(path: Path, words: str) -> list[str]:
    with write_whole(path) as part:
        part.write_text(words, encoding="utf-8")
    return []


def _rows(camera: Camera) -> str:
    place = camera.camera_from_world
    return (
        f"image_width: {camera.size[0]}\nimage_height: {camera.size[1]}\n"
        + matrix("camera_matrix", camera.matrix)
        + matrix("distortion_coefficients", camera.distortion[None])
        + matrix("R", place[:3, :3])
        + matrix("T", place[:3, 3:])
    )


def matrix(key: str, values: np.ndarray) -> str:
    """A matrix (rows, columns) as cv2.FileStorage writes it, but with every digit."""
    rows, columns = values.shape
    data = ", ".join(repr(float(value)) for value in values.ravel())
    return f"{key}: !!opencv-matrix\n   rows: {rows}\n   cols: {columns}\n   dt: d\n   data: [ {data} ]\n"


def quoted(path: Path, words: str) -> str:
    """A string. Raises UserError for one that this format cannot hold."""
    if any(letter in words for letter in '"\\') or not words.isprintable():
        raise UserError(f"{path}: the name '{words}' cannot be written. Give that camera a name without quotes")
    return f'"{words}"'


def indented(words: str) -> str:
    """An item of a list."""
    lines = words.splitlines(keepends=True)
    return "   -\n" + "".join(f"      {line}" for line in lines)
