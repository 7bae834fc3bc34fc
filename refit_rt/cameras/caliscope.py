"""Caliscope's camera_array.toml: a table per camera, [cameras.0], [cameras.1], …; its videos are cam_0.mp4, ….

size (width, height), matrix (3, 3), distortions (k1 k2 p1 p2 k3); rotation, a vector or a matrix, and translation take
the world to the camera; metres, OpenCV's model and pixels. The world is that of the board or camera which the user
chose there, and it stays as it is. cam_id is called port in some files. Caliscope's other file,
camera_array_aniposelib.toml, is anipose's.
"""

import re
import tomllib
from pathlib import Path
from typing import Any

from refit_rt.cameras import anipose
from refit_rt.cameras.entries import Content
from refit_rt.cameras.rig import Rig
from refit_rt.files import write_whole

NAME = re.compile(r"cam_(0|[1-9][0-9]*)")


def read(path: Path) -> Content:
    """Cameras that the user had Caliscope ignore are left out. Raises KeyError, ValueError and TypeError."""
    return Content(read_tables(tomllib.loads(path.read_text(encoding="utf-8"))))


def read_tables(content: dict[str, Any]) -> list[dict[str, Any]]:
    """The cameras of parsed toml."""
    return [
        anipose.entry(one) | {"name": f"cam_{one['cam_id'] if 'cam_id' in one else one['port']}"}
        for one in content["cameras"].values()
        if not one.get("ignore")
    ]


def write(rig: Rig, path: Path) -> list[str]:
    """Caliscope knows its cameras by numbers: names like cam_3 keep theirs, otherwise all are counted from 0."""
    kept = all(NAME.fullmatch(name) for name in rig.names)
    numbers = [int(name[4:]) for name in rig.names] if kept else list(range(len(rig)))
    lines = []
    for number, camera in zip(numbers, rig, strict=True):
        rows = anipose.table(camera).split("\n", 1)[1]  # without the name
        head = f"[cameras.{number}]\ncam_id = {number}\nrotation_count = 0\nignore = false\nfisheye = false"
        lines.append(f"{head}\n{rows}")
    with write_whole(path) as part:
        part.write_text("\n\n".join(lines) + "\n", encoding="utf-8")
    names = ", ".join(f"{name} is cam_{number}" for name, number in zip(rig.names, numbers, strict=True))
    return [] if kept else [f"Caliscope numbers its cameras: {names}"]
