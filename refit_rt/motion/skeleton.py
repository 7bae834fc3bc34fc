"""A body's skeleton at rest, as files hold it: bones and their ends."""

import numpy as np

from refit_rt.body.smpl import Body

INFLUENCES = 4  # of a vertex: what every engine reads
MINE = 0.5  # a vertex that moves with a joint by more than this belongs to it


def rest_joints(body: Body, betas: np.ndarray) -> np.ndarray:
    """The joints (24, 3) of the T-pose, metres, with the pelvis at the origin. betas (10,)."""
    rest = body.joint_template + body.joint_shape_dirs @ betas
    return rest - rest[0]


def offsets(body: Body, betas: np.ndarray) -> np.ndarray:
    """Each joint from its parent in the T-pose (24, 3), metres; that of the pelvis is zero."""
    rest = rest_joints(body, betas)
    return rest - rest[np.maximum(body.parents, 0)]


def tips(body: Body, betas: np.ndarray) -> dict[int, np.ndarray]:
    """The end of each bone without a child, from its joint (3,), metres: joint → how far its own surface reaches in the
    direction of the bone before it."""
    rest = rest_joints(body, betas)
    surface = body.template + body.shape_dirs @ betas - (body.joint_template[0] + body.joint_shape_dirs[0] @ betas)
    found = {}
    for joint in sorted(set(range(len(rest))) - set(body.parents.tolist())):
        along = rest[joint] - rest[body.parents[joint]]
        along = along / np.linalg.norm(along)
        reach = (surface[body.skinning[:, joint] > MINE] - rest[joint]) @ along
        found[joint] = along * max(float(reach.max(initial=0.0)), 0.01)
    return found


def influences(body: Body) -> tuple[np.ndarray, np.ndarray]:
    """The joints (vertex, 4) that move each vertex most, and their weights (vertex, 4), which sum to 1."""
    joints = np.argsort(-body.skinning, 1)[:, :INFLUENCES]
    weights = np.take_along_axis(body.skinning, joints, 1).astype(np.float64)
    return joints, weights / weights.sum(1, keepdims=True)
