"""Between a person's rolled crop and the camera's frame: a body into the one, a result out into the other."""

from dataclasses import dataclass, replace

import numpy as np

from refit_rt import geometry
from refit_rt.body.smpl import Body
from refit_rt.bundle.read import Crop
from refit_rt.cameras import Camera
from refit_rt.fit import start
from refit_rt.fit.crops import NECK, PELVIS, SHORT_TORSO, lean, translation_from_cam
from refit_rt.types import JOINTS, Encoded, Pose, Result, Square, View


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
        joints, markers = (at(pose.rotations, pose.betas) + pose.trans for at in (body.joints, body.markers_at))
        points_px = geometry.project(np.concatenate([joints, markers]), camera.focal_px, camera.centre_px)
        return replace(self, pose=pose, joints=joints, points_px=points_px)


def into_crop(pose: Pose, square: Square, body: Body) -> Pose:
    """A body of the camera's frame in the frame of the rolled crop."""
    turn = geometry.roll_matrix(square.roll)
    rotations = pose.rotations.copy()
    rotations[0] = turn @ rotations[0]
    pelvis = body.rest_pelvis(pose.betas)
    return Pose(rotations, pose.betas, turn @ (pose.trans + pelvis) - pelvis)


def out_of_crop(
    result: Result, encoded: Encoded, view: View, square: Square, camera: Camera, body: Body, crop: Crop
) -> Fitted:
    """The loop's result, out of the rolled crop, in the camera's frame; it counts as a cold, unmirrored fit."""
    turn, state, roll = geometry.roll_matrix(square.roll), result.state, square.roll
    placed = np.concatenate([result.joints, result.markers]) + translation_from_cam(state.cam, view)
    points = placed @ turn  # each row turned by the inverse of `turn`
    rotations = result.rotations.copy()
    rotations[0] = turn.T @ rotations[0]
    # The root turns about the pelvis, which the translation must carry to where it now is.
    trans = points[PELVIS] - body.rest_pelvis(state.betas)
    points_px = geometry.project(points, camera.focal_px, camera.centre_px)
    if crop.normalise_roll:
        roll = lean(points_px[PELVIS], points_px[NECK], SHORT_TORSO * square.side_px, roll)
    sure = start.confidence(result.error_px, np.float64(state.cam[0]), encoded.keypoints)
    return Fitted(
        pose=Pose(rotations, state.betas, trans),
        joints=points[:JOINTS],
        points_px=points_px,
        roll=roll,
        confidence=float(sure),
        iterations=result.iterations,
        cold=True,
        opposed=False,
        mirrored=False,
    )
