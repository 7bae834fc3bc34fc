"""Cameras: one camera's lens and place, a rig of several, and the files that hold them."""

import json
import math
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from refit_rt import config
from refit_rt.errors import UserError
from refit_rt.files import write_whole
from refit_rt.geometry import WORLD_FROM_CAMERA

SCHEMA = "refit_rt.rig/1"
CURE = "Calibrate again, or leave camera.calibration empty"
SAME_SHAPE_PX = 2  # an image scaled to the calibrated width may differ by so much in height


@dataclass(frozen=True, slots=True, eq=False)
class Camera:
    """A pinhole camera with a lens and a place in the world.

    ReFit's full-frame camera assumes square pixels, so that `focal_px` is one number; `aspect` keeps the rest.
    """

    name: str
    size: tuple[int, int]  # width, height in pixels
    focal_px: float  # mean of both axes
    centre_px: tuple[float, float]  # principal point
    distortion: np.ndarray = field(default_factory=lambda: np.zeros(5))  # (5,) OpenCV k1 k2 p1 p2 k3
    world_from_camera: np.ndarray = field(default_factory=lambda: _upright())  # (4, 4) metres
    aspect: float = 1.0  # focal length along y over the one along x

    @property
    def matrix(self) -> np.ndarray:
        """The lens as OpenCV writes it (3, 3)."""
        focal_x = 2 * self.focal_px / (1 + self.aspect)
        return np.array([
            [focal_x, 0.0, self.centre_px[0]], [0.0, focal_x * self.aspect, self.centre_px[1]], [0.0, 0.0, 1.0],
        ])  # fmt: skip

    @property
    def camera_from_world(self) -> np.ndarray:
        """(4, 4) metres: the inverse of `world_from_camera`. A rounded rotation in a file comes back as it was."""
        return np.linalg.inv(self.world_from_camera)

    def world(self, points: np.ndarray) -> np.ndarray:
        """Camera-frame points (..., 3) → world points (..., 3), metres."""
        return points @ self.world_from_camera[:3, :3].T + self.world_from_camera[:3, 3]

    def camera(self, points: np.ndarray) -> np.ndarray:
        """World points (..., 3) → camera-frame points (..., 3), metres."""
        matrix = self.camera_from_world
        return points @ matrix[:3, :3].T + matrix[:3, 3]

    def project(self, points: np.ndarray) -> np.ndarray:
        """World points (..., 3) → pixels (..., 2) as the lens bends them."""
        flat = self.camera(points).reshape(-1, 1, 3)
        pixels, _ = cv2.projectPoints(flat, np.zeros(3), np.zeros(3), self.matrix, self.distortion)
        return pixels.reshape(*points.shape[:-1], 2)

    def rays(self, pixels: np.ndarray) -> np.ndarray:
        """Pixels (..., 2) → directions (x/z, y/z) (..., 2) without distortion. NaN stays NaN."""
        flat = np.ascontiguousarray(pixels, float).reshape(-1, 1, 2)
        return cv2.undistortPoints(flat, self.matrix, self.distortion).reshape(pixels.shape)

    def scaled(self, size: tuple[int, int]) -> "Camera":
        """The same camera for images of another size (width, height). Raises ValueError when their shape differs."""
        factor = size[0] / self.size[0]
        if abs(size[1] - self.size[1] * factor) > SAME_SHAPE_PX:
            raise ValueError(f"was calibrated at {self.size}, the video is {size}")
        x, y = self.centre_px
        centre_px = ((x + 0.5) * factor - 0.5, (y + 0.5) * factor - 0.5)
        return replace(self, size=size, focal_px=self.focal_px * factor, centre_px=centre_px)


@dataclass(frozen=True, slots=True, eq=False)
class Rig:
    """Cameras that were calibrated together, in one world."""

    cameras: tuple[Camera, ...]

    def __iter__(self) -> Iterator[Camera]:
        return iter(self.cameras)

    def __len__(self) -> int:
        return len(self.cameras)

    def __getitem__(self, name: str) -> Camera:
        """Raises KeyError for a name that no camera has."""
        return {camera.name: camera for camera in self.cameras}[name]

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(camera.name for camera in self.cameras)


def _upright() -> np.ndarray:
    matrix = np.eye(4)
    matrix[:3, :3] = WORLD_FROM_CAMERA
    return matrix


def camera_for(settings: config.Camera, name: str, size: tuple[int, int], file_focal_px: float | None = None) -> Camera:
    """The camera of an image of `size` (width, height): first of calibration, focal, field of view, the picture's own
    file (EXIF), diagonal.

    The diagonal as focal length is what ReFit and the SPIN family assume of an unknown camera (about 53 degrees).
    Raises UserError when the calibration file cannot be used.
    """
    width, height = size
    if settings.calibration:
        return read_camera(Path(settings.calibration).expanduser(), name, size)
    if settings.focal_px:
        focal_px = settings.focal_px
    elif settings.fov_deg:
        focal_px = max(size) / 2 / math.tan(math.radians(settings.fov_deg) / 2)
    else:
        focal_px = file_focal_px or math.hypot(width, height)
    return Camera(name, size, focal_px, ((width - 1) / 2, (height - 1) / 2))


def check_calibration(settings: config.Camera, name: str) -> None:
    """Reads the calibration file, if one is set, before any picture is there. Raises UserError when it is of no use."""
    if settings.calibration:
        read_camera(Path(settings.calibration).expanduser(), name)


def read_camera(path: Path, name: str, size: tuple[int, int] | None = None) -> Camera:
    """One camera of a calibration file (see `read_rig`) for images of `size`; None: as calibrated. Raises UserError."""
    entries = _entries(path)
    if name not in entries:
        known = ", ".join(entries)
        raise UserError(f"{path}: has no camera '{name}', only {known}. Set capture.name to one of them")
    camera = _checked(path, name, entries[name])
    try:
        return camera if size is None else camera.scaled(size)
    except ValueError as error:
        raise UserError(f"{path}: camera '{name}' {error}. {CURE}") from error


def read_rig(path: Path) -> Rig:
    """A calibration file: `write_rig`'s, a json object of the same kind without a schema, or Caliscope's toml.

    {"schema", "cameras": [{"name", "size", "matrix", "distortion", "camera_from_world"}]}: size in pixels (width,
    height), matrix (3, 3), distortion OpenCV's k1 k2 p1 p2 k3, camera_from_world (4, 4) metres. Also read: `K`, `dist`
    for the lens; `rotation` (3, 3) with `translation` (3,), or `R_world_to_cam` with `t_world_to_cam`, for the place.
    A single camera without a place stands upright at the origin. Raises UserError.
    """
    entries = _entries(path)
    cameras = tuple(_checked(path, name, entry) for name, entry in entries.items())
    for name, entry in entries.items() if len(cameras) > 1 else ():
        if _camera_from_world(entry) is None:
            raise UserError(f"{path}: camera '{name}' has no place (camera_from_world). {CURE}")
        if not {"dist", "distortion"} & entry.keys():
            raise UserError(f"{path}: camera '{name}' has no 'distortion'. {CURE}")
    return Rig(cameras)


def write_rig(rig: Rig, path: Path) -> None:
    """Writes what `read_rig` reads. Raises UserError when it cannot be written."""
    cameras = [
        {
            "name": camera.name,
            "size": list(camera.size),
            "matrix": camera.matrix.tolist(),
            "distortion": camera.distortion.tolist(),
            "camera_from_world": camera.camera_from_world.tolist(),
        }
        for camera in rig
    ]
    with write_whole(path) as part:
        part.write_text(json.dumps({"schema": SCHEMA, "cameras": cameras}, indent=1) + "\n")


def _entries(path: Path) -> dict[str, dict[str, Any]]:
    """Name → what the file says of that camera."""
    try:
        text = path.read_text()
        if path.suffix == ".toml":
            return {entry["name"]: entry for entry in _caliscope(tomllib.loads(text))}
        content = json.loads(text)
        schema = content.get("schema", SCHEMA) if isinstance(content, dict) else SCHEMA
        if str(schema).startswith("refit_rt.rig/") and schema != SCHEMA:
            raise UserError(f"{path}: has schema '{schema}', but this version reads '{SCHEMA}'. Update refit-rt")
        entries = {str(entry["name"]): entry for entry in content["cameras"]}
        if len(entries) < len(content["cameras"]):
            raise UserError(f"{path}: two cameras have the same name. {CURE}")
        return entries
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror}). {CURE}") from error
    except KeyError as error:
        raise UserError(f"{path}: is no calibration file, it lacks {error}. {CURE}") from error
    except (ValueError, TypeError, AttributeError) as error:
        need = "a json object with a list 'cameras', or Caliscope's toml"
        raise UserError(f"{path}: is no calibration file ({need}). {CURE}") from error


def _caliscope(content: dict[str, Any]) -> list[dict[str, Any]]:
    """Caliscope's cameras film into cam_0.mp4 and so on; rotation (a matrix or a rotation vector) and translation take
    world to camera."""
    return [
        {
            "name": f"cam_{one['cam_id']}",
            "size": one["size"],
            "matrix": one["matrix"],
            "distortion": one["distortions"],
            "rotation": one["rotation"],
            "translation": one["translation"],
        }
        for one in content["cameras"].values()
    ]


def _checked(path: Path, name: str, entry: dict[str, Any]) -> Camera:
    """One camera of a file. Raises UserError that names the file and the camera."""
    try:
        return _camera(name, entry)
    except KeyError as error:
        raise UserError(f"{path}: camera '{name}' has no {error}. {CURE}") from error
    except (ValueError, TypeError, np.linalg.LinAlgError, cv2.error) as error:
        raise UserError(f"{path}: camera '{name}' is of no use ({error}). {CURE}") from error


def _camera(name: str, entry: dict[str, Any]) -> Camera:
    matrix = np.array(entry["K"] if "K" in entry else entry["matrix"], float).reshape(3, 3)
    width, height = (int(side) for side in entry["size"])
    if min(width, height, matrix[0, 0], matrix[1, 1]) <= 0 or not np.isfinite(matrix).all():
        raise ValueError("size and focal length must be above zero")
    distortion = np.zeros(5)
    given = np.ravel(np.array(entry["dist"] if "dist" in entry else entry.get("distortion", []), float))
    if given[5:].any():
        raise ValueError(f"{len(given)} distortion coefficients, but only k1 k2 p1 p2 k3 are read")
    distortion[: len(given[:5])] = given[:5]
    place = _camera_from_world(entry)
    world_from_camera = _upright() if place is None else np.linalg.inv(place)
    focal_px, aspect = (matrix[0, 0] + matrix[1, 1]) / 2, float(matrix[1, 1] / matrix[0, 0])
    return Camera(name, (width, height), focal_px, (matrix[0, 2], matrix[1, 2]), distortion, world_from_camera, aspect)


def _camera_from_world(entry: dict[str, Any]) -> np.ndarray | None:
    """(4, 4) metres of a calibration entry; None: it has no place."""
    if "camera_from_world" in entry:
        return np.array(entry["camera_from_world"], float).reshape(4, 4)
    for rotation, translation in (("rotation", "translation"), ("R_world_to_cam", "t_world_to_cam")):
        if rotation in entry and translation in entry:
            turn = np.array(entry[rotation], float)
            camera_from_world = np.eye(4)
            camera_from_world[:3, :3] = cv2.Rodrigues(turn)[0] if turn.size == 3 else turn.reshape(3, 3)
            camera_from_world[:3, 3] = np.ravel(entry[translation])
            return camera_from_world
    return None
