"""COLMAP's text model, a folder with cameras.txt and images.txt: give either, or the folder.

cameras.txt: CAMERA_ID MODEL WIDTH HEIGHT PARAMS…; images.txt: IMAGE_ID QW QX QY QZ TX TY TZ CAMERA_ID NAME, a line of
points after each. The quaternion and the translation take the world to the camera, whose axes are OpenCV's. The centre
of the first pixel is (0.5, 0.5) there. A reconstruction's world and scale are arbitrary, and stay as they are: find the
floor and the scale (refit-rt calibrate floor). A camera is called as its image is, without the suffix; or as the
image's folder, if it lies in one.
"""

from pathlib import Path, PurePosixPath
from typing import Any

from scipy.spatial.transform import Rotation

from refit_rt.cameras.entries import Content
from refit_rt.cameras.rig import Rig
from refit_rt.errors import UserError
from refit_rt.files import write_whole

CAMERAS, IMAGES, POINTS = "cameras.txt", "images.txt", "points3D.txt"
HALF = 0.5  # where the centre of the first pixel is
MODELS = {  # model → what its parameters are: f focal length of both axes, fx and fy of one, cx and cy centre
    "SIMPLE_PINHOLE": ("f", "cx", "cy"),
    "PINHOLE": ("fx", "fy", "cx", "cy"),
    "SIMPLE_RADIAL": ("f", "cx", "cy", "k1"),
    "RADIAL": ("f", "cx", "cy", "k1", "k2"),
    "OPENCV": ("fx", "fy", "cx", "cy", "k1", "k2", "p1", "p2"),
    "FULL_OPENCV": ("fx", "fy", "cx", "cy", "k1", "k2", "p1", "p2", "k3", "k4", "k5", "k6"),
}
DISTORTION = ("k1", "k2", "p1", "p2", "k3", "k4", "k5", "k6")


def folder_of(path: Path) -> Path:
    """The folder that a path to it, or to one of its files, means."""
    return path.parent if path.name in (CAMERAS, IMAGES, POINTS) else path


def read(path: Path) -> Content:
    """Raises OSError where one of both files is missing, ValueError and KeyError for what they lack."""
    lenses = {}
    for line in _lines(folder_of(path) / CAMERAS):
        if line.strip():
            number, model, width, height, *values = line.split()
            lenses[number] = _lens(model, [float(value) for value in values], (int(width), int(height)))
    rows = [line.split(maxsplit=9) for line in _lines(folder_of(path) / IMAGES)[::2] if line.strip()]
    cameras = []
    for _, *place, camera, image in rows:
        w, x, y, z, *translation = (float(value) for value in place)
        rotation = Rotation.from_quat([x, y, z, w]).as_matrix()
        cameras.append(lenses[camera] | {"name": named(image), "rotation": rotation, "translation": translation})
    return Content(cameras)


def named(image: str) -> str:
    """The camera that took an image: cam01.jpg and cam01/00003.jpg are of cam01."""
    path = PurePosixPath(image)
    return str(path.parent) if path.parent.name else path.stem


def _lines(path: Path) -> list[str]:
    """Without comments. An empty line stays: it is an image's line of points."""
    return [line for line in path.read_text(encoding="utf-8").splitlines() if not line.startswith("#")]


def _lens(model: str, values: list[float], size: tuple[int, int]) -> dict[str, Any]:
    if model not in MODELS:
        raise ValueError(f"its lens model {model} is not read, only {', '.join(MODELS)}")
    found = dict(zip(MODELS[model], values, strict=True))
    x, y = (found.get(axis, found.get("f", 0.0)) for axis in ("fx", "fy"))
    matrix = [[x, 0.0, found["cx"] - HALF], [0.0, y, found["cy"] - HALF], [0.0, 0.0, 1.0]]
    return {"size": size, "matrix": matrix, "distortion": [found.get(name, 0.0) for name in DISTORTION]}


def write(rig: Rig, path: Path) -> list[str]:
    """One image per camera, NAME.png, and no points."""
    folder = folder_of(path)
    cameras, images = ["# CAMERA_ID MODEL WIDTH HEIGHT PARAMS"], ["# IMAGE_ID QW QX QY QZ TX TY TZ CAMERA_ID NAME"]
    for number, camera in enumerate(rig, 1):
        if named(f"{camera.name}.png") != camera.name or not camera.name.isprintable():
            raise UserError(f"{folder}: no image can be called '{camera.name}'. Give that camera another name")
        (x, _, cx), (_, y, cy) = camera.matrix[:2].tolist()
        model = "FULL_OPENCV" if camera.distortion[4] else "OPENCV"
        found = dict(zip(DISTORTION, camera.distortion.tolist(), strict=False))
        found |= {"fx": x, "fy": y, "cx": cx + HALF, "cy": cy + HALF}
        values = " ".join(repr(float(found.get(name, 0.0))) for name in MODELS[model])
        cameras.append(f"{number} {model} {camera.size[0]} {camera.size[1]} {values}")
        place = camera.camera_from_world
        x, y, z, w = Rotation.from_matrix(place[:3, :3]).as_quat().tolist()
        turned = " ".join(repr(value) for value in (w, x, y, z, *place[:3, 3].tolist()))
        images += [f"{number} {turned} {number} {camera.name}.png", ""]
    for name, lines in ((CAMERAS, cameras), (IMAGES, images), (POINTS, ["# POINT3D_ID X Y Z R G B ERROR TRACK"])):
        with write_whole(folder / name) as part:
            part.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return []
