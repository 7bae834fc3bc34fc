"""One camera's lens and place, and what to assume when nobody measured them."""

import json
import math
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from refit_rt import config
from refit_rt.errors import UserError
from refit_rt.geometry import WORLD_FROM_CAMERA


@dataclass(frozen=True, slots=True, eq=False)
class Camera:
    """A pinhole camera. Square pixels, as ReFit's full-frame camera assumes."""

    name: str
    size: tuple[int, int]  # width, height in pixels
    focal_px: float
    centre_px: tuple[float, float]  # principal point
    distortion: np.ndarray = field(default_factory=lambda: np.zeros(5))  # (5,) OpenCV k1 k2 p1 p2 k3
    world_from_camera: np.ndarray = field(default_factory=lambda: _upright())  # (4, 4) metres

    def world(self, points: np.ndarray) -> np.ndarray:
        """Camera-frame points (..., 3) -> world points (..., 3), metres."""
        return points @ self.world_from_camera[:3, :3].T + self.world_from_camera[:3, 3]


def _upright() -> np.ndarray:
    matrix = np.eye(4)
    matrix[:3, :3] = WORLD_FROM_CAMERA
    return matrix


def camera_for(settings: config.Camera, name: str, size: tuple[int, int], exif_focal_px: float | None = None) -> Camera:
    """The camera of an image of `size` (width, height): first of calibration, focal, field of view, EXIF, diagonal.

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
        focal_px = exif_focal_px or math.hypot(width, height)
    return Camera(name, size, focal_px, ((width - 1) / 2, (height - 1) / 2))


def check_calibration(settings: config.Camera, name: str) -> None:
    """Reads the calibration file, if one is set, before any picture is there. Raises UserError when it is of no use."""
    if settings.calibration:
        read_camera(Path(settings.calibration).expanduser(), name)


def read_camera(path: Path, name: str, size: tuple[int, int] | None = None) -> Camera:
    """Reads one camera of a calibration file: {"cameras": [{"name", "size", "matrix", "distortion", ...}]}.

    `camera_from_world` (4, 4), or `rotation` (3, 3) and `translation` (3,), are read when there. An image of another
    size with the same shape scales the lens; size None: as calibrated. Raises UserError.
    """
    cure = "Calibrate again, or leave camera.calibration empty"
    try:
        found = {entry.get("name"): entry for entry in json.loads(path.read_text())["cameras"]}
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror}). {cure}") from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(f"{path}: is no calibration file (a json object with a list 'cameras'). {cure}") from error
    if name not in found:
        known = ", ".join(map(str, found))
        raise UserError(f"{path}: has no camera '{name}', only {known}. Set capture.name to one of them")
    entry = found[name]
    try:
        matrix = np.array(entry["matrix"], float).reshape(3, 3)
        known_width, known_height = (int(side) for side in entry["size"])
        if min(known_width, known_height, matrix[0, 0], matrix[1, 1]) <= 0 or not np.isfinite(matrix).all():
            raise ValueError("size and focal length must be above zero")
        distortion = np.zeros(5)
        given = np.ravel(entry.get("distortion", []))[:5]
        distortion[: len(given)] = given
        place = _place(entry)
    except KeyError as error:
        raise UserError(f"{path}: camera '{name}' has no {error}. {cure}") from error
    except (ValueError, TypeError, np.linalg.LinAlgError) as error:
        raise UserError(f"{path}: camera '{name}' is of no use ({error}). {cure}") from error
    size = size or (known_width, known_height)
    factor = size[0] / known_width
    if abs(size[1] - known_height * factor) > 2:
        known = (known_width, known_height)
        raise UserError(f"{path}: camera '{name}' was calibrated at {known}, the video is {size}. {cure}")
    focal_px = (matrix[0, 0] + matrix[1, 1]) / 2 * factor
    centre_px = tuple((matrix[:2, 2] + 0.5) * factor - 0.5)
    return Camera(name, size, focal_px, centre_px, distortion, place)


def _place(entry: dict) -> np.ndarray:
    """world_from_camera (4, 4) of a calibration entry."""
    if "camera_from_world" in entry:
        return np.linalg.inv(np.array(entry["camera_from_world"], float).reshape(4, 4))
    if "rotation" in entry and "translation" in entry:
        camera_from_world = np.eye(4)
        camera_from_world[:3, :3] = np.array(entry["rotation"], float).reshape(3, 3)
        camera_from_world[:3, 3] = np.ravel(entry["translation"])
        return np.linalg.inv(camera_from_world)
    return _upright()
