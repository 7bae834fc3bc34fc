"""anipose's calibration.toml (aniposelib, FreeMoCap): a table per camera, [cam_0], [cam_1], … and [metadata].

name, size (width, height), matrix (3, 3), distortions (k1 k2 p1 p2 k3); rotation, a vector, and translation take the
world to the camera; OpenCV's model and pixels. The unit is the one in which the board's squares were given, often the
millimetre, and the file does not name it; the world is that of the first camera, unless another program moved it. It
is written in metres.
"""

import json
import re
import tomllib
from pathlib import Path
from typing import Any

from refit_rt.cameras.entries import Content, rotation_vector
from refit_rt.cameras.rig import Camera, Rig
from refit_rt.files import write_whole

BARE = re.compile(r"[A-Za-z0-9_-]+")


def read(path: Path) -> Content:
    """Also reads Pose2Sim's file. Raises KeyError, ValueError and TypeError for anything else."""
    return Content(read_tables(tomllib.loads(path.read_text(encoding="utf-8"))))


def read_tables(content: dict[str, Any]) -> list[dict[str, Any]]:
    """The cameras of parsed toml. Raises KeyError for what a camera lacks, ValueError for a fisheye lens."""
    tables = {key: one for key, one in content.items() if isinstance(one, dict) and key != "metadata"}
    return [{"name": key, **entry(one)} for key, one in tables.items()]


def entry(table: dict[str, Any]) -> dict[str, Any]:
    """A table with `matrix` and `distortions`, also Caliscope's, in this project's words."""
    if table.get("fisheye"):
        raise ValueError("a fisheye lens is not read")
    names = {"name": "name", "rotation": "rotation", "translation": "translation"}
    words = {ours: table[theirs] for theirs, ours in names.items() if theirs in table}
    size = [int(side) for side in table["size"]]
    return {**words, "size": size, "matrix": table["matrix"], "distortion": table["distortions"]}


def write(rig: Rig, path: Path) -> list[str]:
    """In metres, the rig's own world."""
    tables = [f"[cam_{number}]\n{table(camera)}" for number, camera in enumerate(rig)]
    error = rig.figures.rms_px
    tables.append(f"[metadata]\nadjusted = true\n{'' if error is None else f'error = {float(error)!r}'}")
    with write_whole(path) as part:
        part.write_text("\n\n".join(table.rstrip() for table in tables) + "\n", encoding="utf-8")
    return []


def table(camera: Camera, coefficients: int = 5) -> str:
    """The lines of a camera's table below its heading."""
    rows = {
        "name": text(camera.name),
        "size": list(camera.size),
        "matrix": camera.matrix.tolist(),
        "distortions": camera.distortion[:coefficients].tolist(),
        "rotation": rotation_vector(camera).tolist(),
        "translation": camera.camera_from_world[:3, 3].tolist(),
    }
    return "\n".join(f"{key} = {value}" for key, value in rows.items())


def text(words: str) -> str:
    """A string of toml."""
    return json.dumps(words, ensure_ascii=False)


def heading(words: str) -> str:
    """A table's heading: its name is quoted where toml wants that."""
    return f"[{words if BARE.fullmatch(words) else text(words)}]"
