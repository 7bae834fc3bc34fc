"""This project's rig file: json, the world with y up, metres, pixels with the first one's centre at (0, 0).

{"schema", "cameras": [{"name", "size", "matrix", "distortion", "camera_from_world"}]}: size in pixels (width, height),
matrix (3, 3), distortion OpenCV's k1 k2 p1 p2 k3, camera_from_world (4, 4) metres. "delay_s": seconds by which a
camera's pictures are older than they claim, where it is not 0. "floor": true, where the world's y = 0 is known to be
the floor; "notes" and "figures", where there are any. Also read: `K`, `dist` for the lens; `rotation` (3, 3) with
`translation` (3,), or `R_world_to_cam` with `t_world_to_cam`, for the place.
"""

import json
from dataclasses import asdict
from pathlib import Path

from refit_rt.cameras.entries import Content
from refit_rt.cameras.rig import Figures, Rig
from refit_rt.errors import UserError
from refit_rt.files import write_whole

SCHEMA = "refit_rt.rig/1"


def read(path: Path) -> Content:
    """Raises UserError for another schema; KeyError, ValueError, TypeError and AttributeError for no rig file."""
    content = json.loads(path.read_text(encoding="utf-8"))
    schema = content.get("schema", SCHEMA) if isinstance(content, dict) else SCHEMA
    if str(schema).startswith("refit_rt.rig/") and schema != SCHEMA:
        raise UserError(f"{path}: has schema '{schema}', but this version reads '{SCHEMA}'. Update refit-rt")
    cameras = [dict(entry, name=entry["name"]) for entry in content["cameras"]]
    floor, notes = content.get("floor", False), content.get("notes", "")
    if not isinstance(floor, bool) or not isinstance(notes, str):
        raise TypeError("floor is true or false, notes are a text")
    return Content(cameras, floor, notes, Figures(**content.get("figures", {})))


def write(rig: Rig, path: Path) -> list[str]:
    """Everything that a rig knows."""
    content: dict[str, object] = {"schema": SCHEMA}
    if rig.floor:
        content["floor"] = True
    if rig.notes:
        content["notes"] = rig.notes
    if rig.figures != Figures():
        content["figures"] = asdict(rig.figures)
    content["cameras"] = [
        {
            "name": camera.name,
            "size": list(camera.size),
            "matrix": camera.matrix.tolist(),
            "distortion": camera.distortion.tolist(),
            "camera_from_world": camera.camera_from_world.tolist(),
            **({"delay_s": camera.delay_s} if camera.delay_s else {}),
        }
        for camera in rig
    ]
    with write_whole(path) as part:
        part.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    return []
