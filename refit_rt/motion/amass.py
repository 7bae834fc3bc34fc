"""Writes a person's motion as AMASS does: an .npz that the SMPL Blender add-on and aitviewer read.

| entry | what |
|---|---|
| poses | (N, 156) axis-angle, radians: SMPL+H's 22 body joints, then 30 joints of the fingers, which are zero |
| trans | (N, 3) metres, added to the posed body; z up |
| betas | (16,) the shape; zeros where the recording is not of SMPL's own body, whose shapes it alone has |
| gender | neutral |
| mocap_framerate, mocap_frame_rate | frames per second, under both names that readers ask for |

The world is z up, but the body in its rest pose is y up, as in AMASS: the rotation of joint 0 holds the quarter turn.
"""

from pathlib import Path

import numpy as np

from refit_rt import geometry
from refit_rt.axes import AXES
from refit_rt.body.smpl import Body
from refit_rt.files import write_whole
from refit_rt.motion.performance import Performance
from refit_rt.types import BETAS

BODY_JOINTS, SMPLH_JOINTS, AMASS_BETAS = 22, 52, 16
FREE = "free"  # the body that ships: its betas mean nothing to SMPL


def write_amass(path: Path, one: Performance, body: Body) -> None:
    """Writes the .npz. Raises UserError when it cannot be written."""
    axes = AXES["blender"]
    turns = one.rotations.copy()
    turns[:, 0] = axes.target_from_world @ turns[:, 0]
    poses = np.zeros((len(turns), SMPLH_JOINTS, 3))
    poses[:, :BODY_JOINTS] = geometry.axis_angle_from_matrix(turns[:, :BODY_JOINTS])
    betas = np.zeros(AMASS_BETAS)
    if body.name != FREE:
        betas[:BETAS] = one.betas
    rest = body.rest_pelvis(betas[:BETAS])
    with write_whole(path) as part:
        np.savez(
            part,
            poses=poses.reshape(len(poses), -1),
            trans=axes.points(one.pelvis) - rest,
            betas=betas,
            gender=np.array("neutral"),
            mocap_framerate=np.array(one.fps),
            mocap_frame_rate=np.array(one.fps),
        )
