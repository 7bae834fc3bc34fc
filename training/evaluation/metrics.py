"""The measures of evaluation besides the errors in losses.py: limbs, surface, jitter, facing and size."""

import numpy as np
import torch
from torch import Tensor

from training.evaluation.real_clip import L_HIP, R_HIP
from training.losses import pa_mpjpe_mm

SHOULDERS, HIPS = np.array([0, 1]), np.array([L_HIP, R_HIP])  # rows of real_clip.LIMBS
MIRRORED_RAD = np.pi / 2  # a body that faces further away from the truth has front and back exchanged


def known_of(true_limbs: np.ndarray) -> np.ndarray:
    """Which limb joints (12,) bool a reference (T, 12, 3) knows; the others are NaN in every frame."""
    return np.asarray(np.isfinite(true_limbs).all((0, 2)))


def root_of(known: np.ndarray) -> np.ndarray:
    """The two limb joints whose middle is the origin: the hips, or the shoulders if the hips are not known."""
    return HIPS if known[HIPS].all() else SHOULDERS


def limb_errors_mm(limbs: np.ndarray, true_limbs: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean errors of the known joints about `root_of`, and after Procrustes, (T,) mm each, of (T, 12, 3) metres."""
    known = known_of(true_limbs)
    root = root_of(known)
    centred = (limbs - limbs[:, root].mean(1, keepdims=True))[:, known]
    true_centred = (true_limbs - true_limbs[:, root].mean(1, keepdims=True))[:, known]
    aligned = pa_mpjpe_mm(torch.from_numpy(centred).float(), torch.from_numpy(true_centred).float())
    return np.linalg.norm(centred - true_centred, axis=-1).mean(1) * 1000, aligned.numpy()


def pve_mm(vertices: Tensor, pelvis: Tensor, true_vertices: Tensor, true_pelvis: Tensor) -> Tensor:
    """Mean errors (B,) mm of the surface (B, V, 3) metres with the pelvis (B, 3) as origin."""
    return ((vertices - pelvis[:, None]) - (true_vertices - true_pelvis[:, None])).norm(dim=-1).mean(1) * 1000


def acceleration_mm(points: np.ndarray) -> np.ndarray:
    """The jitter of points (T, J, 3) metres: mean length of the second difference, (T - 2,) mm per frame squared."""
    return np.linalg.norm(np.diff(points, 2, axis=0), axis=-1).mean(1) * 1000


def acceleration_error_mm(points: np.ndarray, true_points: np.ndarray) -> np.ndarray:
    """The jitter of the error: (T, J, 3) metres each -> (T - 2,) mm per frame squared."""
    return acceleration_mm(points - true_points)


def facing(limbs: np.ndarray) -> np.ndarray:
    """Where chests point: limbs (T, 12, 3) metres in a camera frame -> unit vectors (T, 3).

    They follow from shoulders and hips, or, if the hips are not known (NaN), from the shoulders and the camera's up.
    """
    across, up = limbs[:, 0] - limbs[:, 1], np.array([0.0, -1.0, 0.0])  # across: from right to left
    if known_of(limbs)[HIPS].all():
        across = across + limbs[:, 6] - limbs[:, 7]
        up = limbs[:, SHOULDERS].mean(1) - limbs[:, HIPS].mean(1)
    ahead = np.cross(across, up)
    return ahead / np.maximum(np.linalg.norm(ahead, axis=-1, keepdims=True), 1e-9)


def turned_rad(limbs: np.ndarray, true_limbs: np.ndarray) -> np.ndarray:
    """The angles (T,) in radians between the directions in which bodies and truth (T, 12, 3) face."""
    same = np.where(known_of(true_limbs)[:, None], limbs, np.nan)
    return np.arccos(np.clip((facing(same) * facing(true_limbs)).sum(-1), -1, 1))


def size_share(limbs: np.ndarray, true_limbs: np.ndarray) -> np.ndarray:
    """The length of arms, legs and trunk over the true length, (T,), of the bones that are known in (T, 12, 3)."""
    bones = np.array([(0, 2), (2, 4), (1, 3), (3, 5), (6, 8), (8, 10), (7, 9), (9, 11), (0, 6), (1, 7)])
    bones = bones[known_of(true_limbs)[bones].all(1)]

    def length(points: np.ndarray) -> np.ndarray:
        return np.linalg.norm(points[:, bones[:, 0]] - points[:, bones[:, 1]], axis=-1).sum(1)

    return length(limbs) / length(true_limbs)
