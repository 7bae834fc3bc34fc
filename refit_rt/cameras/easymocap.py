"""EasyMocap's intri.yml and extri.yml, two files of one folder: give either, or the folder.

names, a list; per camera K_NAME (3, 3) and dist_NAME (D_NAME in some files), W_NAME and H_NAME, which some files lack;
R_NAME, a rotation vector, Rot_NAME, the same as a matrix, and T_NAME (3, 1) take the world to the camera. Metres,
OpenCV's model and pixels; EasyMocap's own worlds have z up, and the world stays as it is. Its writer rounds to six
decimals; here every digit is written.
"""

import re
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from refit_rt.cameras.entries import Content, rotation_vector
from refit_rt.cameras.opencv import HEAD, matrix, numbers, opened
from refit_rt.cameras.rig import Rig
from refit_rt.errors import UserError
from refit_rt.files import write_whole

INTRI, EXTRI = "intri.yml", "extri.yml"
KEY = re.compile(r"[A-Za-z0-9_-]+")  # what a key of cv2.FileStorage may hold


def folder_of(path: Path) -> Path:
    """The folder that a path to it, or to one of its files, means."""
    return path.parent if path.name in (INTRI, EXTRI) else path


def read(path: Path) -> Content:
    """Raises OSError where one of both files is missing, KeyError for a camera that one of them lacks."""
    lens, place = opened(folder_of(path) / INTRI), opened(folder_of(path) / EXTRI)
    names = lens.getNode("names")
    if not names.isSeq():
        raise KeyError("names")
    nodes = [names.at(number) for number in range(names.size())]
    return Content([_entry(lens, place, node.string() or str(int(node.real()))) for node in nodes])


def _entry(lens: cv2.FileStorage, place: cv2.FileStorage, name: str) -> dict[str, Any]:
    def first(storage: cv2.FileStorage, *words: str) -> np.ndarray:
        found = [numbers(storage.getNode(f"{word}_{name}")) for word in words]
        known = [one for one in found if one is not None]
        if not known:
            raise KeyError(f"{words[0]}_{name}")
        return known[0]

    entry: dict[str, Any] = {
        "name": name,
        "matrix": first(lens, "K"),
        "distortion": first(lens, "dist", "D"),
        "rotation": first(place, "Rot", "R"),
        "translation": first(place, "T"),
    }
    sides = [lens.getNode(f"{word}_{name}") for word in "WH"]
    if not any(side.empty() for side in sides) and all(side.real() > 0 for side in sides):
        entry["size"] = [int(side.real()) for side in sides]
    return entry


def write(rig: Rig, path: Path) -> list[str]:
    """Raises UserError for a name that its keys cannot hold."""
    folder = folder_of(path)
    for name in rig.names:
        if not KEY.fullmatch(name):
            cure = "Give that camera a name of letters, digits, - and _"
            raise UserError(f"{folder}: EasyMocap cannot hold the name '{name}'. {cure}")
    names = "names:\n" + "".join(f'   - "{name}"\n' for name in rig.names)
    lens, place = [HEAD, names], [HEAD, names]
    for camera in rig:
        name, at = camera.name, camera.camera_from_world
        lens += [matrix(f"K_{name}", camera.matrix), matrix(f"dist_{name}", camera.distortion[None])]
        lens += [f"H_{name}: {camera.size[1]}\n", f"W_{name}: {camera.size[0]}\n"]
        place += [matrix(f"R_{name}", rotation_vector(camera)[:, None]), matrix(f"Rot_{name}", at[:3, :3])]
        place += [matrix(f"T_{name}", at[:3, 3:])]
    for name, lines in ((INTRI, lens), (EXTRI, place)):
        with write_whole(folder / name) as part:
            part.write_text("".join(lines), encoding="utf-8")
    return []
