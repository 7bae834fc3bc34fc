"""Calibrated cameras that filmed a clip together: lens and place of each, read from a calibration's file."""

import json
import tomllib
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from refit_rt.errors import UserError


@dataclass(frozen=True, slots=True, eq=False)
class RigCamera:
    """One calibrated camera, lens and place."""

    name: str  # the video's file name without its ending
    size: tuple[int, int]  # width, height in pixels
    matrix: np.ndarray  # (3, 3)
    distortion: np.ndarray  # (5,) OpenCV k1 k2 p1 p2 k3
    rotation: np.ndarray  # (3, 3) camera from world
    translation: np.ndarray  # (3,) metres, camera from world

    def seen(self, points: np.ndarray) -> np.ndarray:
        """World points (..., 3) → camera frame (..., 3), metres."""
        return points @ self.rotation.T + self.translation

    def project(self, points: np.ndarray) -> np.ndarray:
        """World points (..., 3) → pixels (..., 2), lens and all."""
        flat = self.seen(points).reshape(-1, 1, 3)
        pixels, _ = cv2.projectPoints(flat, np.zeros(3), np.zeros(3), self.matrix, self.distortion)
        return pixels.reshape(*points.shape[:-1], 2)

    def rays(self, pixels: np.ndarray) -> np.ndarray:
        """Pixels (..., 2) → directions (x/z, y/z) (..., 2) without distortion. NaN stays NaN."""
        flat = np.ascontiguousarray(pixels, float).reshape(-1, 1, 2)
        return cv2.undistortPoints(flat, self.matrix, self.distortion).reshape(pixels.shape)


def read_rig(path: Path) -> list[RigCamera]:
    """A calibration: {"cameras": [{"name", "size", "K", "dist", "R_world_to_cam", "t_world_to_cam"}]}, or Caliscope's
    toml.

    Raises UserError.
    """
    try:
        text = path.read_text()
        cameras = _caliscope(tomllib.loads(text)) if path.suffix == ".toml" else _ours(json.loads(text))
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror}). Give the rig's with --calibration") from error
    except (ValueError, KeyError, TypeError, cv2.error) as error:
        need = "name, size, K, dist, R_world_to_cam, t_world_to_cam"
        raise UserError(
            f"{path}: no calibration of a rig ({error!r}). Each of its cameras needs {need}; or give Caliscope's toml"
        ) from error
    if len(cameras) < 2:
        raise UserError(f"{path}: {len(cameras)} camera, two at least are needed to triangulate. Give the whole rig")
    return cameras


def _ours(rig: dict) -> list[RigCamera]:
    return [
        _camera(one["name"], one["size"], one["K"], one["dist"], one["R_world_to_cam"], one["t_world_to_cam"])
        for one in rig["cameras"]
    ]


def _caliscope(rig: dict) -> list[RigCamera]:
    """Its cameras film into cam_0.mp4 and so on; rotation (a matrix, or a rotation vector) and translation take world
    to camera."""
    cameras = []
    for one in rig["cameras"].values():
        turn = np.array(one["rotation"], float)
        turn = cv2.Rodrigues(turn)[0] if turn.size == 3 else turn
        name = f"cam_{one['cam_id']}"
        cameras.append(_camera(name, one["size"], one["matrix"], one["distortions"], turn, one["translation"]))
    return cameras


def _camera(name: str, size, matrix, dist, rotation, translation) -> RigCamera:
    distortion = np.zeros(5)
    distortion[: len(dist)] = dist
    width, height = size
    return RigCamera(str(name), (width, height), np.array(matrix, float).reshape(3, 3), distortion,
                     np.array(rotation, float).reshape(3, 3), np.array(translation, float).reshape(3))  # fmt: skip
