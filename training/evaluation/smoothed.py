"""Followed bodies as they are published: after refit_rt.fit.smooth with its default settings."""

import numpy as np

from refit_rt import config
from refit_rt.body.smpl import Body
from refit_rt.cameras import Camera
from refit_rt.fit.smooth import Smoother
from refit_rt.types import People


def published_joints(
    poses: np.ndarray, betas: np.ndarray, confidence: np.ndarray, fps: float, body: Body
) -> np.ndarray:
    """Smooths one person's results in order, poses (T, 24, 3) axis-angle, betas (T, 10) and confidence (T,), at `fps`.

    Returns joints (T, 24, 3) metres about the pelvis. Translation is left out, because the errors have the pelvis as
    origin.
    """
    smoother, camera = Smoother(config.Smooth(), body), Camera("none", (2, 2), 1.0, (0.5, 0.5))
    ahead, ids = np.array([[0.0, 0.0, 3.0]], np.float32), np.zeros(1, np.int64)
    joints = []
    for moment, (pose, shape, sure) in enumerate(zip(poses, betas, confidence, strict=True)):
        one = People.of(
            {"ids": ids, "poses": pose[None], "betas": shape[None], "trans": ahead, "confidence": [sure]},
            camera=camera.name,
            frame_index=moment,
            captured_s=0.0,
            time_s=moment / fps,
            dropped=0,
            size=camera.size,
            focal_px=camera.focal_px,
            centre_px=camera.centre_px,
        )
        published = smoother.smooth(one, camera)
        joints.append(published.joints_camera[0] - published.joints_camera[0, :1])
    return np.stack(joints)
