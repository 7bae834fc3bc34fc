"""Where the cameras of a rig see bodies of the world: pixels, how much of a body a picture shows, who is behind others.

All pixels are in the cameras' straight pictures. Everything is computed for several people, and several cameras, at
once: C cameras, given by their rows in the rig, and P people.
"""

import numpy as np

from refit_rt.cameras import Camera
from refit_rt.compiler import njit

REACH_M = 0.13  # a joint this near to the line of sight to a nearer body's joint is behind that body
NEARER_M = 0.2  # by which the nearer body's joint is nearer
LEAST_DEPTH_M = 0.3  # a body with a joint nearer to the camera, or behind it, is not seen


class Sight:
    """The cameras of a rig, as arrays."""

    def __init__(self, cameras: list[Camera], least_px: float) -> None:
        """least_px: the longer side of the smallest body that counts as seen."""
        there = np.stack([camera.camera_from_world for camera in cameras])
        self._turns, self._shifts = there[:, :3, :3], there[:, :3, 3]
        self.focals = np.array([camera.focal_px for camera in cameras])  # (C,) px
        self._centres = np.array([camera.centre_px for camera in cameras])
        self._sizes = np.array([camera.size for camera in cameras], float)
        self._least_px = least_px
        self.places = np.stack([camera.position for camera in cameras])  # (C, 3) metres
        self.hidden([0], np.zeros((2, 1, 3)))  # numba compiles

    def pixels(self, cameras: list[int], joints: np.ndarray) -> np.ndarray:
        """(C, P, 24, 2) of joints (P, 24, 3) of the world; NaN for bodies that are not before the camera."""
        flat = joints.reshape(1, -1, 3) @ self._turns[cameras].transpose(0, 2, 1) + self._shifts[cameras][:, None]
        there = flat.reshape(len(cameras), *joints.shape)
        depth = there[..., 2]
        before = np.all(np.isfinite(there), axis=(-1, -2)) & (depth.min(-1, initial=np.inf) >= LEAST_DEPTH_M)
        depth = np.where(before[..., None], depth, np.nan)[..., None]
        focals, centres = self.focals[cameras][:, None, None, None], self._centres[cameras][:, None, None]
        return there[..., :2] / depth * focals + centres

    def shares(self, cameras: list[int], pixels: np.ndarray) -> np.ndarray:
        """(C, P) share of each body's box that the picture shows; 0 for bodies that are not seen or too small."""
        low, high = pixels.min(2), pixels.max(2)
        extent = high - low
        inside = np.minimum(high, self._sizes[cameras][:, None]) - np.maximum(low, 0)
        share = np.clip(inside, 0, None).prod(-1) / np.maximum(extent.prod(-1), 1e-6)
        return np.where(extent.max(-1) >= self._least_px, share, 0.0)

    def hidden(self, cameras: list[int], joints: np.ndarray) -> np.ndarray:
        """(C, P) share of each body's joints (P, 24, 3) that are behind another one's."""
        shares = np.zeros((len(cameras), len(joints)))
        hidden_shares(self.places[cameras], np.ascontiguousarray(joints, np.float64), shares)
        return shares

    def rays(self, camera: int, points: np.ndarray) -> np.ndarray:
        """(..., 3) directions of length 1 in the world of pixels (..., 2)."""
        flat = (points - self._centres[camera]) / self.focals[camera]
        rays = np.concatenate([flat, np.ones((*flat.shape[:-1], 1))], -1) @ self._turns[camera]
        return rays / np.linalg.norm(rays, axis=-1, keepdims=True)


@njit(nogil=True, error_model="numpy")
def hidden_shares(eyes, joints, shares):
    """Fills shares (C, P): of each body's joints (P, J, 3), how many are behind another body's from eyes (C, 3)."""
    people, count = joints.shape[0], joints.shape[1]
    for camera in range(len(eyes)):
        eye_x, eye_y, eye_z = eyes[camera]
        for i in range(people):
            behind = 0
            for j in range(count):
                x, y, z = joints[i, j, 0] - eye_x, joints[i, j, 1] - eye_y, joints[i, j, 2] - eye_z
                far = np.sqrt(x * x + y * y + z * z)
                covered = False
                for k in range(people):
                    if k == i:
                        continue
                    for m in range(count):
                        a, b, c = joints[k, m, 0] - eye_x, joints[k, m, 1] - eye_y, joints[k, m, 2] - eye_z
                        along, square = (a * x + b * y + c * z) / far, a * a + b * b + c * c
                        if 0 < along < far - NEARER_M and square - along * along < REACH_M**2:
                            covered = True
                            break
                    if covered:
                        break
                behind += covered
            shares[camera, i] = behind / count
