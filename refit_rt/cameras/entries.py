"""What a file reports about one camera, in this project's words → a `Camera`, checked.

A format's reader translates its own words into these: "name", "size" (width, height), "matrix" (3, 3), "distortion"
(OpenCV's k1 k2 p1 p2 k3, then zeros), and "camera_from_world" (4, 4) or "rotation", a matrix or a rotation vector, with
"translation" (3,), which take the world to the camera; this project's own file may also have "delay_s".
"""

import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from refit_rt.cameras.rig import Camera, Figures, upright
from refit_rt.errors import UserError

CURE = "Calibrate again, or leave camera.calibration empty"
SKEW = 1e-3  # pixels that are no rectangles: a camera has none, and OpenCV's model neither
ROTATION = 1e-2  # by which a rotation in a file may be rounded
FARTHEST_M = 100.0  # between two cameras of a rig; farther apart, they stand in millimetres


@dataclass(frozen=True, slots=True)
class Content:
    """A calibration file."""

    cameras: list[dict[str, Any]]
    floor: bool = False
    notes: str = ""
    figures: Figures = field(default_factory=Figures)


def named(path: Path, entries: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Name → entry. Raises UserError when two cameras have one name, or there is none."""
    found = {str(entry["name"]): entry for entry in entries}
    if len(found) < len(entries):
        raise UserError(f"{path}: two cameras have the same name. {CURE}")
    if not found:
        raise UserError(f"{path}: holds no camera. {CURE}")
    return found


def checked(path: Path, name: str, entry: dict[str, Any]) -> Camera:
    """One camera of a file. Raises UserError that names the file and the camera."""
    try:
        return _camera(name, entry)
    except KeyError as error:
        if error.args == ("size",):
            cure = f"Give the size: refit-rt calibrate convert {path} rig.json --size WIDTH HEIGHT"
            raise UserError(f"{path}: camera '{name}' has no 'size' of its images. {cure}") from error
        raise UserError(f"{path}: camera '{name}' has no {error}. {CURE}") from error
    except (ValueError, TypeError, OverflowError, np.linalg.LinAlgError, cv2.error) as error:
        raise UserError(f"{path}: camera '{name}' is of no use ({error}). {CURE}") from error


def check_rig(path: Path, cameras: tuple[Camera, ...], floor: bool) -> None:
    """What only a whole rig shows. Raises UserError for cameras under their floor, or in another unit than metres."""
    for camera in cameras if floor else ():
        if camera.position[1] <= 0:
            raise UserError(
                f"{path}: camera '{camera.name}' stands {-camera.position[1]:.2f} m under the floor (y = 0), which "
                "no camera films. Find the floor again: refit-rt calibrate floor"
            )
    places = np.array([camera.position for camera in cameras])
    apart = np.linalg.norm(places[:, None] - places, axis=-1).max()
    if apart > FARTHEST_M:
        raise UserError(
            f"{path}: its cameras stand {apart:.0f} m apart, so its unit is not the metre. "
            f"Give the unit: refit-rt calibrate convert {path} rig.json --unit mm"
        )


def _camera(name: str, entry: dict[str, Any]) -> Camera:
    matrix = np.array(entry["K"] if "K" in entry else entry["matrix"], float).reshape(3, 3)
    width, height = (int(side) for side in entry["size"])
    if min(width, height, matrix[0, 0], matrix[1, 1]) <= 0 or not np.isfinite(matrix).all():
        raise ValueError("size and focal length must be above zero")
    if abs(matrix[0, 1]) > SKEW:
        raise ValueError(f"its axes are skewed by {matrix[0, 1]:.3g} px, which is not read")
    if not (0 < matrix[0, 2] < width and 0 < matrix[1, 2] < height):
        x, y = matrix[:2, 2]
        raise ValueError(f"its centre ({x:.0f}, {y:.0f}) is outside of its images of {width} x {height} pixels")
    distortion = np.zeros(5)
    given = np.ravel(np.array(entry["dist"] if "dist" in entry else entry.get("distortion", []), float))
    if not np.isfinite(given).all():
        raise ValueError("its distortion is not finite")
    if given[5:].any():
        raise ValueError(f"{len(given)} distortion coefficients, but only k1 k2 p1 p2 k3 are read")
    distortion[: len(given[:5])] = given[:5]
    place = camera_from_world(entry)
    world_from_camera = upright() if place is None else _inverse(place)
    focal_px, aspect = (matrix[0, 0] + matrix[1, 1]) / 2, float(matrix[1, 1] / matrix[0, 0])
    centre_px, delay_s = (matrix[0, 2], matrix[1, 2]), float(entry.get("delay_s", 0.0))
    if not math.isfinite(delay_s):
        raise ValueError("its delay_s is not finite")
    return Camera(name, (width, height), focal_px, centre_px, distortion, world_from_camera, aspect, delay_s)


def _inverse(place: np.ndarray) -> np.ndarray:
    """The inverse of a place (4, 4). Raises ValueError for one that is no rotation and translation."""
    if not np.isfinite(place).all():
        raise ValueError("its place is not finite")
    inverse = np.linalg.inv(place)
    turn = place[:3, :3]
    if np.abs(turn @ turn.T - np.eye(3)).max() > ROTATION:
        raise ValueError("its place has no rotation: the axes are not at right angles, or not of length one")
    if np.linalg.det(turn) < 0:
        raise ValueError("its rotation is left-handed: one axis points the wrong way")
    return inverse


def camera_from_world(entry: dict[str, Any]) -> np.ndarray | None:
    """(4, 4) metres of an entry; None: it has no place."""
    if "camera_from_world" in entry:
        return np.array(entry["camera_from_world"], float).reshape(4, 4)
    for rotation, translation in (("rotation", "translation"), ("R_world_to_cam", "t_world_to_cam")):
        if entry.get(rotation) is not None and entry.get(translation) is not None:
            turn = np.array(entry[rotation], float)
            place = np.eye(4)
            place[:3, :3] = cv2.Rodrigues(turn)[0] if turn.size == 3 else turn.reshape(3, 3)
            place[:3, 3] = np.ravel(entry[translation])
            return place
    return None


def rotation_vector(camera: Camera) -> np.ndarray:
    """(3,) radians: the rotation from world to camera."""
    return cv2.Rodrigues(camera.camera_from_world[:3, :3])[0][:, 0]
