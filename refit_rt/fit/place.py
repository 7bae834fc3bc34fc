"""Out of a person's rolled crop, into the camera's frame."""

from dataclasses import dataclass, replace

import numpy as np

from refit_rt.body.smpl import Body
from refit_rt.bundle.read import Crop
from refit_rt.cameras import Camera
from refit_rt.fit import kernels, start
from refit_rt.fit.crops import SHORT_TORSO
from refit_rt.fit.mirror import Moment, carried_mean
from refit_rt.types import JOINTS, Pose, Result, Square, View


@dataclass(frozen=True, slots=True, eq=False)
class Fitted:
    """One person's body in one frame, in the camera's frame."""

    pose: Pose
    joints: np.ndarray  # (24, 3) metres, camera frame
    points_px: np.ndarray  # (91, 2) joints and markers, image pixels
    roll: float  # radians
    confidence: float  # 0..1
    iterations: int  # updates made
    cold: bool  # started from the fresh estimate alone
    opposed: bool  # started from a last body that the fresh estimate opposes
    mirrored: bool  # the network saw the crop's mirror image

    def with_pose(self, pose: Pose, body: Body, camera: Camera) -> "Fitted":
        """The same fit of another body, and where that falls."""
        points = body.joints_and_markers(pose.rotations, pose.betas) + pose.trans
        points_px = np.empty((len(points), 2))
        kernels.project(points, np.array([0, 0, 0, camera.focal_px, *camera.centre_px]), points_px)
        return replace(self, pose=pose, joints=points[:JOINTS], points_px=points_px)


def out_of_crop(result: Result, view: View, square: Square, camera: Camera, body: Body, crop: Crop) -> Fitted:
    """The loop's result, out of the rolled crop, in the camera's frame; it counts as a cold, unmirrored fit."""
    rotations, joints, markers, cam = (
        np.ascontiguousarray(array, np.float32)
        for array in (result.rotations, result.joints, result.markers, result.state.cam)
    )
    betas = result.state.betas.astype(np.float64)
    count = len(joints) + len(markers)
    turned, points, points_px, trans = np.empty((JOINTS, 3, 3)), np.empty((count, 3)), np.empty((count, 2)), np.empty(3)
    roll = kernels.place(
        rotations,
        joints,
        markers,
        cam,
        body.rest_pelvis(betas),
        np.array([*view.square, camera.focal_px, *camera.centre_px]),
        float(square.roll),
        SHORT_TORSO * square.side_px if crop.normalise_roll else np.inf,
        turned,
        points,
        points_px,
        trans,
    )
    error_px = -1.0 if result.error_px is None else result.error_px
    presence = 1.0 if result.presence is None else result.presence
    sure = kernels.trust(error_px, float(cam[0]), presence, start.HALF_CROP_PX, start.CONFIDENT_M)
    return Fitted(
        pose=Pose(turned, betas, trans),
        joints=points[:JOINTS],
        points_px=points_px,
        roll=roll,
        confidence=sure,
        iterations=result.iterations,
        cold=True,
        opposed=False,
        mirrored=False,
    )


def averaged(now: Moment, last: Moment, earlier: Moment) -> Pose:
    """`mirror.averaged`, compiled."""
    on = (now.time_s - last.time_s) / (now.time_s - earlier.time_s)
    a, b, c = (np.ascontiguousarray(moment.pose.rotations, np.float64) for moment in (now, last, earlier))
    rotations = np.empty((JOINTS, 3, 3))
    kernels.average(a, b, c, on, rotations)
    betas = carried_mean(now.pose.betas, last.pose.betas, earlier.pose.betas, on)
    return Pose(rotations, betas, carried_mean(now.pose.trans, last.pose.trans, earlier.pose.trans, on))
