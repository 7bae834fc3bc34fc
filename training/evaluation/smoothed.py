"""Followed bodies as they are published: after refit_rt.fit.smooth."""

import numpy as np

from refit_rt import config
from refit_rt.body.smpl import Body
from refit_rt.cameras import Camera
from refit_rt.fit.smooth import Smoother
from refit_rt.types import People

CAMERA = Camera("none", (2, 2), 1.0, (0.5, 0.5))


def published_joints(
    poses: np.ndarray, betas: np.ndarray, confidence: np.ndarray, fps: float, body: Body
) -> np.ndarray:
    """Smooths one person's results in order, poses (T, 24, 3) axis-angle, betas (T, 10) and confidence (T,), at `fps`,
    with the default settings.

    Returns joints (T, 24, 3) metres about the pelvis. Translation is left out, because the errors have the pelvis as
    origin.
    """
    ahead = np.tile(np.array([0.0, 0.0, 3.0], np.float32), (len(poses), 1))
    times_s = np.arange(len(poses)) / fps
    joints = smoothed_joints(poses, betas, ahead, confidence, times_s, config.Smooth(), body)
    return joints - joints[:, :1]


def smoothed_joints(
    poses: np.ndarray,
    betas: np.ndarray,
    trans: np.ndarray,
    confidence: np.ndarray,
    times_s: np.ndarray,
    settings: config.Smooth,
    body: Body,
) -> np.ndarray:
    """As `published_joints`, with trans (T, 3) metres and times_s (T,): joints (T, 24, 3) metres in the camera's
    frame."""
    smoother, ids, joints = Smoother(settings, body), np.zeros(1, np.int64), []
    for moment, (pose, shape, place, sure, time_s) in enumerate(
        zip(poses, betas, trans, confidence, times_s, strict=True)
    ):
        one = People.of(
            {"ids": ids, "poses": pose[None], "betas": shape[None], "trans": place[None], "confidence": [sure]},
            camera=CAMERA.name,
            frame_index=moment,
            captured_s=0.0,
            time_s=float(time_s),
            dropped=0,
            size=CAMERA.size,
            focal_px=CAMERA.focal_px,
            centre_px=CAMERA.centre_px,
        )
        joints.append(smoother.smooth(one, CAMERA).joints_camera[0])
    return np.stack(joints)
