"""The fit's arithmetic in numpy: the slow, readable reference of kernels.py.

Only tests run it. The other halves of the reference are the functions on arrays in `start.py` and `mirror.py`, which
training and the benchmark run.
"""

from dataclasses import dataclass

import numpy as np
from scipy.spatial.transform import Rotation

from refit_rt import config, geometry
from refit_rt.body.smpl import Body, joint_transforms
from refit_rt.bundle.read import Crop
from refit_rt.cameras import Camera
from refit_rt.fit import refine, start
from refit_rt.fit.crops import (
    LEAST_SHARE,
    LEAST_SIDE_PX,
    NECK,
    PELVIS,
    SHORT_TORSO,
    cam_from_translation,
    lean,
    translation_from_cam,
    within_reach,
)
from refit_rt.fit.memory import Memory, WarmStart
from refit_rt.fit.smooth import SPEED_CUTOFF_HZ, share
from refit_rt.geometry import matrix_from_6d, six_d_from_matrix
from refit_rt.types import JOINTS, Pose, Result, Square, State, View


def square_of_body(points_px: np.ndarray, roll: float, size: tuple[int, int], crop: Crop) -> Square:
    """`crops.square_of_body`."""
    roll = roll if crop.normalise_roll else 0.0
    inside = within_reach(points_px, np.zeros(2), np.array(size) - 1.0, crop.beyond)
    turn = geometry.roll_matrix(roll)[:2, :2]
    upright = inside @ turn.T
    low, high = upright.min(0), upright.max(0)
    least_px = max(LEAST_SHARE * min(np.ptp(points_px, 0).max(), max(size)), LEAST_SIDE_PX)
    return Square(turn.T @ ((low + high) / 2), max(float((high - low).max() * crop.margin), least_px), roll)


def into_crop(pose: Pose, square: Square, body: Body) -> Pose:
    """A body of the camera's frame in the frame of the rolled crop."""
    turn = geometry.roll_matrix(square.roll)
    rotations = pose.rotations.copy()
    rotations[0] = turn @ rotations[0]
    pelvis = body.rest_pelvis(pose.betas)
    return Pose(rotations, pose.betas, turn @ (pose.trans + pelvis) - pelvis)


def start_from(
    memory: Memory, fresh: State, square: Square, view: View, body: Body, share: float, time_s: float
) -> WarmStart | None:
    """`memory.start_from`."""
    last = into_crop(memory.moment.pose, square, body)
    rotations = matrix_from_6d(fresh.pose6d.reshape(JOINTS, 6))
    cam = cam_from_translation(last.trans, view) if last.trans[2] >= start.LEAST_DEPTH_M else fresh.cam
    chosen = start.choose_start(
        last_root=last.rotations[0],
        fresh_root=rotations[0],
        last_scale=cam[0],
        fresh_scale=fresh.cam[0],
        depth_m=last.trans[2],
        time_s=time_s,
        opposed_since_s=memory.opposed_since_s,
        born_s=memory.born_s,
        share=share,
    )
    if chosen.cold:
        return None
    parts = (
        (six_d_from_matrix(last.rotations).reshape(6 * JOINTS), six_d_from_matrix(rotations).reshape(6 * JOINTS)),
        (last.betas, fresh.betas),
        (cam, fresh.cam),
    )
    weight = float(chosen.weight)
    state = State(*(start.blended(old, new, weight).astype(np.float32) for old, new in parts))
    return WarmStart(state, bool(chosen.exchange))


@dataclass(frozen=True, slots=True, eq=False)
class Placed:
    """The parts of a `Fitted` that `place.out_of_crop` computes."""

    pose: Pose
    points: np.ndarray  # (91, 3) metres, camera frame
    points_px: np.ndarray  # (91, 2)
    roll: float
    confidence: float


def out_of_crop(result: Result, view: View, square: Square, camera: Camera, body: Body, crop: Crop) -> Placed:
    """`place.out_of_crop`."""
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
    sure = start.confidence(result.error_px, np.float64(state.cam[0]), result.presence)
    return Placed(Pose(rotations, state.betas, trans), points, points_px, roll, float(sure))


@dataclass(frozen=True, slots=True, eq=False)
class Moving:
    """The state of one person's filter of place and shape."""

    trans: np.ndarray  # (3,) metres
    velocity: np.ndarray  # (3,) m/s
    betas: np.ndarray  # (10,)


def moved(before: Moving, trans: np.ndarray, betas: np.ndarray, dt_s: float, young_s: float, settings: config.Smooth):
    """`smooth.Smoother` for translation (3,) and shape (10,), dt_s after `before`, after young_s of following."""
    step = trans - before.trans
    velocity = before.velocity + share(SPEED_CUTOFF_HZ, dt_s) * (step / dt_s - before.velocity)
    cutoff = settings.cutoff_hz + settings.beta * np.abs(velocity)
    settled = 1 - np.exp(-dt_s / settings.betas_s) if settings.betas_s else 1.0
    forward = max(settled, dt_s / (young_s + dt_s))
    return Moving(before.trans + share(cutoff, dt_s) * step, velocity, before.betas + forward * (betas - before.betas))


@dataclass(frozen=True, slots=True, eq=False)
class Turns:
    """The state of one person's filter of rotations."""

    rotations: Rotation  # 24
    spin: np.ndarray  # (24, 3) rad/s


def filtered(before: Turns | None, poses: np.ndarray, dt_s: float, settings: config.Smooth) -> Turns:
    """`smooth.Smoother` for rotations alone. poses (24, 3) axis-angle; before: None begins.

    Casiez, Roussel, Vogel 2012, algorithm 1; on SO(3) the difference is the log map of the turn between.
    """
    now = Rotation.from_rotvec(poses)
    if before is None:
        return Turns(now, np.zeros((JOINTS, 3)))
    turn = (before.rotations.inv() * now).as_rotvec()
    spin = before.spin + share(SPEED_CUTOFF_HZ, dt_s) * (turn / dt_s - before.spin)
    cutoff = settings.cutoff_hz + settings.beta * np.linalg.norm(spin, axis=1, keepdims=True)
    return Turns(before.rotations * Rotation.from_rotvec(share(cutoff, dt_s) * turn), spin)


def correction(
    pose: Pose, keypoints: np.ndarray, roll: float, side_px: float, camera: Camera, body: Body, errors: refine.Errors
) -> np.ndarray:
    """`refine.correction` of key points (17, 3) that are all seen, its slopes by differences."""
    seen = keypoints[refine.POINTS]
    deviations = [
        np.interp(score, refine.SCORES, row) for score, row in zip(seen[:, 2], errors.deviations, strict=True)
    ]
    spread = np.repeat(np.array(deviations) * side_px / refine.CROP_PX, 2)

    def places(change: np.ndarray) -> np.ndarray:
        moved = refine.corrected(pose, change, roll, body)
        joints = joint_transforms(body, moved.rotations, moved.betas)[1] + moved.trans
        return geometry.project(joints[refine.POINT_JOINTS], camera.focal_px, camera.centre_px).ravel()

    change, step = np.zeros(refine.NUMBERS), 1e-5
    for _ in range(refine.ROUNDS):
        off = seen[:, :2].ravel() - places(change)
        slopes = np.array(
            [(places(change + d) - places(change - d)) / (2 * step) for d in step * np.eye(len(change))]
        ).T
        far = np.repeat((off.reshape(-1, 2) ** 2).sum(-1), 2) / spread**2
        noise = spread**2 * (refine.DEGREES + far) / (refine.DEGREES + 2)
        gain = errors.covariance @ slopes.T @ np.linalg.inv(slopes @ errors.covariance @ slopes.T + np.diag(noise))
        change = gain @ (off + slopes @ change)
    return change
