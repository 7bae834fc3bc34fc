"""The fit's arithmetic in numpy: the slow, readable reference of kernels.py.

Only tests run it. The other halves of the reference are the functions on arrays in `start.py` and `mirror.py`, which
training and the benchmark run.
"""

from dataclasses import dataclass
from typing import Generic, TypeVar, cast

import numpy as np
from scipy.spatial.transform import Rotation

from refit_rt import geometry
from refit_rt.body.smpl import Body, joint_transforms
from refit_rt.bundle.read import Crop
from refit_rt.cameras import Camera
from refit_rt.fit import refine, smooth, start
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


Now = TypeVar("Now", np.ndarray, Rotation)


@dataclass(frozen=True, slots=True, eq=False)
class Tracked(Generic[Now]):
    """A Kalman filter's state: numbers of constant speed, each with its own spread."""

    now: Now  # (n,) or n rotations
    speed: np.ndarray  # (n,), or (n, 3) rad/s about a joint's own axes
    covariance: np.ndarray  # (n, 2, 2) of a number and its speed, the same for the three axes of a rotation


def predicted(covariance: np.ndarray, dt_s: float, density: np.ndarray) -> np.ndarray:
    """Covariances (n, 2, 2) after dt_s of constant speed with white acceleration of density (n,)."""
    on = np.array([[1, dt_s], [0, 1]])
    disturbed = np.array([[dt_s**3 / 3, dt_s**2 / 2], [dt_s**2 / 2, dt_s]])
    return on @ covariance @ on.T + density[:, None, None] * disturbed


def weighed(covariance: np.ndarray, off: np.ndarray, variance: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The Kalman gains (n, 2) for measurements of a variance (n,), and the covariances after them.

    off (n,): mean square of the innovation. Where it is beyond MOST_SIGMAS, the covariance grows first.
    """
    unlikely = off / (covariance[:, 0, 0] + variance) / smooth.MOST_SIGMAS**2
    covariance = covariance * np.maximum(unlikely, 1)[:, None, None]
    gain = covariance[:, :, 0] / (covariance[:, 0, 0] + variance)[:, None]
    return gain, covariance - gain[:, :, None] * covariance[:, :1]


def moved(
    before: Tracked[np.ndarray] | None, pelvis: np.ndarray, dt_s: float, noise: np.ndarray
) -> Tracked[np.ndarray]:
    """`kernels.filter_place` of a pelvis (3,), dt_s after `before`; None begins. noise (2,): deviations across, metres,
    and along, shares of the depth."""
    depth = pelvis[2]
    seen = np.array([pelvis[0] / depth, pelvis[1] / depth, np.log(depth)])
    variance = np.array([noise[0] / depth, noise[0] / depth, noise[1]]) ** 2
    if before is None:
        unknown = np.full(3, smooth.FIRST_SPREAD / depth**2)
        return Tracked(seen, np.zeros(3), np.stack([np.diag(pair) for pair in zip(variance, unknown, strict=True)]))
    fast = depth * np.sqrt((before.speed**2 + before.covariance[:, 1, 1]).sum())
    density = (smooth.PLACE_REST_DENSITY + smooth.PLACE_DENSITY * fast**1.5) / depth**2
    covariance = predicted(before.covariance, dt_s, np.full(3, density))
    step = seen - (before.now + dt_s * before.speed)
    gain, covariance = weighed(covariance, step**2, variance)
    return Tracked(seen - step + gain[:, 0] * step, before.speed + gain[:, 1] * step, covariance)


def filtered(before: Tracked[Rotation] | None, poses: np.ndarray, dt_s: float, noise: np.ndarray) -> Tracked[Rotation]:
    """`kernels.filter_turns` of poses (24, 3) axis-angle, dt_s after `before`; None begins. noise (24,) rad."""
    seen, variance = Rotation.from_rotvec(poses), noise**2
    if before is None:
        unknown = np.full(JOINTS, smooth.FIRST_SPREAD)
        covariance = np.stack([np.diag(pair) for pair in zip(variance, unknown, strict=True)])
        return Tracked(seen, np.zeros((JOINTS, 3)), covariance)
    fast = np.sqrt((before.speed**2).sum(1) + 3 * before.covariance[:, 1, 1])
    covariance = predicted(before.covariance, dt_s, smooth.REST_DENSITY + smooth.DENSITY * fast**1.5)
    ahead: Rotation = before.now * Rotation.from_rotvec(dt_s * before.speed)
    turn = (ahead.inv() * seen).as_rotvec()
    gain, covariance = weighed(covariance, (turn**2).mean(1), variance)
    now: Rotation = ahead * Rotation.from_rotvec(gain[:, :1] * turn)
    return cast("Tracked[Rotation]", Tracked(now, before.speed + gain[:, 1:] * turn, covariance))


def correction(
    pose: Pose, keypoints: np.ndarray, roll: float, side_px: float, camera: Camera, body: Body, errors: refine.Errors
) -> np.ndarray:
    """`refine.correction` of key points (17, 3) that are all seen."""
    axes = refine.place_axes(body.rest_pelvis(pose.betas) + pose.trans, roll)
    sight = refine.Sight(pose, keypoints, side_px, camera, np.eye(4))
    return most_probable([sight], body, errors, errors.covariance, axes)


def most_probable(
    sights: list[refine.Sight], body: Body, errors: refine.Errors, covariance: np.ndarray, axes: np.ndarray
) -> np.ndarray:
    """`refine.most_probable` of key points that are all seen, its slopes by differences.

    covariance (75, 75), or (85, 85) where the betas are unknown.
    """
    seen = np.stack([sight.keypoints[refine.POINTS] for sight in sights])
    spread = np.array([
        np.interp(score, refine.SCORES, row) * sight.side_px / refine.CROP_PX
        for sight, points in zip(sights, seen, strict=True)
        for score, row in zip(points[:, 2], errors.deviations, strict=True)
    ]).repeat(2)  # fmt: skip

    def places(change: np.ndarray) -> np.ndarray:
        return np.concatenate([_keypoints(sight, change, axes, body, errors).ravel() for sight in sights])

    change, step = np.zeros(len(covariance)), 1e-4  # transforms are float32
    for _ in range(refine.ROUNDS):
        off = seen[:, :, :2].ravel() - places(change)
        slopes = np.array(
            [(places(change + d) - places(change - d)) / (2 * step) for d in step * np.eye(len(change))]
        ).T
        far = np.repeat((off.reshape(-1, 2) ** 2).sum(-1), 2) / spread**2
        noise = spread**2 * (refine.DEGREES + far) / (refine.DEGREES + 2)
        gain = covariance @ slopes.T @ np.linalg.inv(slopes @ covariance @ slopes.T + np.diag(noise))
        change = gain @ (off + slopes @ change)
    return change


def _keypoints(
    sight: refine.Sight, change: np.ndarray, axes: np.ndarray, body: Body, errors: refine.Errors
) -> np.ndarray:
    """(12, 2) px: where a camera sees the key points of a body with a correction."""
    moved = refine.corrected(sight.pose, change, axes)
    betas = moved.betas.copy()
    betas[: len(change) - refine.NUMBERS] += change[refine.NUMBERS :]
    trans = moved.trans + body.rest_pelvis(moved.betas) - body.rest_pelvis(betas)  # the pelvis stays
    world, joints = joint_transforms(body, moved.rotations, betas)
    parents = world[body.parents[refine.POINT_JOINTS], :, :3]
    points = joints[refine.POINT_JOINTS] + (parents @ errors.offsets[:, :, None])[..., 0] + trans
    there = refine.moved_into(sight.camera_from_base, points)
    return geometry.project(there, sight.camera.focal_px, sight.camera.centre_px)
