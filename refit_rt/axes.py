"""The axes of engines and files: from this project's world (y up, right-handed, metres) to theirs.

| name | up | handed | unit | a person in the T-pose faces, and the left arm points to |
|---|---|---|---|---|
| gltf (also Godot, VRM 1, USD with y up) | y | right | m | +z, +x |
| opencv | -y | right | m | -z, +x |
| unity | y | left | m | +z, -x |
| unreal | z | left | cm | +x, -y |
| blender (also AMASS) | z | right | m | -y, +x |

A mirrored frame (unity, unreal) takes rotations as every other one does, A R A^T: that is a rotation again, and no
extra sign is needed anywhere.
"""

from dataclasses import dataclass

import numpy as np
from scipy.spatial.transform import Rotation


@dataclass(frozen=True, slots=True, eq=False)
class Axes:
    """One target's frame."""

    name: str
    target_from_world: np.ndarray  # (3, 3) of 0, 1 and -1
    units_per_m: float = 1.0

    def points(self, world: np.ndarray) -> np.ndarray:
        """Points (..., 3) of the world, metres, in the target's frame and unit."""
        return world @ self.target_from_world.T * self.units_per_m

    def rotations(self, world: np.ndarray) -> np.ndarray:
        """Rotations (..., 3, 3), of the world or of a joint in its parent, in the target's frame."""
        return self.target_from_world @ world @ self.target_from_world.T

    def quaternions(self, world: np.ndarray) -> np.ndarray:
        """The same as quaternions (..., 4), x y z w, with w >= 0."""
        turned = self.rotations(world)
        quaternions = Rotation.from_matrix(turned.reshape(-1, 3, 3)).as_quat(canonical=True)
        return quaternions.reshape(*turned.shape[:-2], 4)


def _axes(name: str, rows: tuple[tuple[int, int, int], ...], units_per_m: float = 1.0) -> Axes:
    return Axes(name, np.array(rows, np.float64), units_per_m)


AXES: dict[str, Axes] = {
    one.name: one
    for one in (
        _axes("gltf", ((1, 0, 0), (0, 1, 0), (0, 0, 1))),
        _axes("opencv", ((1, 0, 0), (0, -1, 0), (0, 0, -1))),
        _axes("unity", ((-1, 0, 0), (0, 1, 0), (0, 0, 1))),
        _axes("unreal", ((0, 0, 1), (-1, 0, 0), (0, 1, 0)), 100.0),
        _axes("blender", ((1, 0, 0), (0, 0, -1), (0, 1, 0))),
    )
}
