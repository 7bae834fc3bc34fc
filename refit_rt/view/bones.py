"""A body and the numbers of people → skinned meshes and the places of their bones."""

from dataclasses import dataclass

import numpy as np
from scipy.spatial.transform import Rotation

from refit_rt.body.smpl import Body
from refit_rt.stream.bridges.bodies import bodies_of
from refit_rt.types import People

EVERY_VERTEX = 40  # of the surface is compared when the shape changes


@dataclass(frozen=True, slots=True, eq=False)
class Rest:
    """A body of one shape in the T-pose, without translation: metres, y up."""

    betas: np.ndarray  # (10,)
    vertices: np.ndarray  # (V, 3) float32
    joints: np.ndarray  # (24, 3) float32


def rest_of(body: Body, betas: np.ndarray) -> Rest:
    """The T-pose of a shape. betas (10,)."""
    vertices = body.template + body.shape_dirs @ betas
    joints = body.joint_template + body.joint_shape_dirs @ betas
    return Rest(betas.copy(), vertices.astype(np.float32), joints.astype(np.float32))


def shape_change_m(body: Body, a: np.ndarray, b: np.ndarray) -> float:
    """How far the surface of one shape is from that of another one at most, metres. a, b: betas (10,)."""
    return float(np.abs(body.shape_dirs[::EVERY_VERTEX] @ (a - b)).max())


def bones_of(body: Body, people: People) -> np.ndarray:
    """The orientation of each joint in the world as quaternions (n, 24, 4), w x y z; 1 0 0 0 in the T-pose.

    The joints' places are `people.joints_world`. A mesh that is skinned with both is SMPL's linear blend skinning
    without its pose blend shapes (Loper et al. 2015, equation 2); the free body has none.
    """
    turns = bodies_of(people).rotations
    for joint, parent in enumerate(body.parents):
        if parent >= 0:
            turns[:, joint] = turns[:, parent] @ turns[:, joint]
    xyzw = Rotation.from_matrix(turns.reshape(-1, 3, 3)).as_quat()
    return xyzw[:, [3, 0, 1, 2]].reshape(*turns.shape[:2], 4)
