"""A ring of cameras and a ChArUco board in many places, as points: the truth of the calibration's tests."""

import numpy as np

from calib.adjust import Corners, Scene, project
from training.evaluation.calibration import (
    CENTRE,
    COLUMNS,
    ROWS,
    SIZE,
    SQUARE_M,
    STEEPEST_DEG,
    close_up,
    errors,
    held_up,
    ring,
)

__all__ = ["CENTRE", "COLUMNS", "POINTS", "ROWS", "SIZE", "SQUARE_M", "close_up", "errors", "held_up", "ring", "seen"]

POINTS = np.array([[x, y, 0.0] for y in range(1, ROWS) for x in range(1, COLUMNS)]) * SQUARE_M  # (35, 3) inner corners


def seen(rng: np.random.Generator, scene: Scene, noise_px: float = 0.15) -> Corners:
    """The corners that fall into the pictures, of boards that face the camera, with normal noise."""
    cameras, boards, points = np.meshgrid(
        np.arange(len(scene.lenses)), np.arange(len(scene.world_from_board)), np.arange(len(POINTS)), indexing="ij"
    )
    corners = Corners(cameras.ravel(), boards.ravel(), POINTS[points.ravel()], np.zeros((points.size, 2)))
    camera_from_board = scene.camera_from_world[corners.camera] @ scene.world_from_board[corners.board]
    here = np.einsum("nij,nj->ni", camera_from_board[:, :3, :3], corners.point) + camera_from_board[:, :3, 3]
    towards = here / np.linalg.norm(here, axis=1, keepdims=True)
    faces = (towards * camera_from_board[:, :3, 2]).sum(1) > np.cos(np.deg2rad(STEEPEST_DEG))
    corners = corners.where(np.flatnonzero(faces & (here[:, 2] > 0.15)))
    pixel = project(scene, corners)
    inside = np.flatnonzero(((pixel > 10) & (pixel < np.array(SIZE) - 10)).all(1))
    pixel = pixel + rng.normal(0, noise_px, pixel.shape)
    return Corners(corners.camera, corners.board, corners.point, pixel).where(inside)
