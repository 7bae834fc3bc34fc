"""People who walk past, turn and wave the left arm: the truth for whatever carries bodies to other programs."""

import numpy as np

from refit_rt import geometry
from refit_rt.body.smpl import Body
from refit_rt.types import People

FPS = 30.0
BETAS = np.array([0.8, -1.0, 0.4, 0, 0.2, 0, 0, 0, 0, 0.1])


def dancing(body: Body, person: int, k: int) -> dict[str, np.ndarray]:
    """One row of frame k, in the frame of a camera without a rig."""
    t = k / FPS
    pose = np.zeros((24, 3))
    pose[16], pose[17] = (0.3 * np.sin(5 * t), 0.2, 0.9 + 0.4 * np.sin(7 * t)), (0, 0, 1.2)
    pose[1], pose[4] = (-0.5 * np.sin(4 * t), 0, 0), (0.6, 0, 0.1)
    pose[18] = (0, -1.4 + 0.3 * np.cos(3 * t), 0)
    rotations = geometry.matrix_from_axis_angle(pose)
    rotations[0] = geometry.WORLD_FROM_CAMERA @ geometry.matrix_from_axis_angle(np.array([0.1, 2.5 * t - 1, 0.05]))
    joints = body.joints(rotations, BETAS)
    trans = np.array([0.4 * person - 1 + 0.5 * t, 0.2, 3.5 + 0.2 * t])
    return {
        "poses": geometry.axis_angle_from_matrix(rotations),
        "betas": BETAS,
        "trans": trans,
        "joints_camera": joints + trans,
        "joints_world": (joints + trans) @ geometry.WORLD_FROM_CAMERA.T,
        "confidence": np.array(0.9),
    }


def danced(body: Body, ids: list[int], k: int, fps: float = FPS) -> People:
    """The people of frame k, by their ids."""
    rows = [dancing(body, person, k) for person in ids]
    return People.of(
        {"ids": ids, **{name: [row[name] for row in rows] for name in (rows[0] if rows else ())}},
        camera="camera",
        frame_index=k,
        captured_s=k / fps,
        time_s=k / fps,
        dropped=0,
        size=(640, 480),
        focal_px=600.0,
        centre_px=(319.5, 239.5),
    )
