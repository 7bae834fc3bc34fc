"""How far rotations are apart."""

import numpy as np


def angle_between(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Angle in radians between rotations (..., 3, 3) and (..., 3, 3) -> (...,)."""
    trace = np.einsum("...ij,...ij->...", a, b)
    return np.arccos(np.clip((trace - 1) / 2, -1, 1))
