"""A body moved onto a detection's key points, as far as the network's known errors allow.

The loop ends with a body whose errors have a known distribution: a Gaussian, learned on held-out renders, over the turn
of each joint and the place of the pelvis. Key points of a detector are other evidence, with errors of their own. The
correction is the most probable error of the body, given the key points: a Gauss-Newton step in the space of the
observations (an iterated Kalman update), with heavy tails for the key points. There is no weight to tune.

A correction is 75 numbers: a rotation vector per joint, which turns the joint's frame about its own axes; the logarithm
of how much nearer the pelvis is; its move to the right and down, in metres, in the picture that stands the person
upright.
"""

from collections import deque
from collections.abc import Collection
from dataclasses import dataclass, field

import numpy as np
from numba import njit

from refit_rt.body.smpl import Body
from refit_rt.cameras import Camera
from refit_rt.geometry import matrix_from_axis_angle, project, roll_matrix
from refit_rt.types import JOINTS, Pose, Square

NUMBERS = 3 * JOINTS + 3
# COCO's key points from shoulders to ankles, and the SMPL joints that they are taken for.
POINTS = np.array([5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16])
POINT_JOINTS = np.array([16, 17, 18, 19, 20, 21, 1, 2, 4, 5, 7, 8])
SCORES = np.array([0.3, 0.5, 0.7, 0.9])  # for which the deviations of key points are known
LEAST_SCORE = 0.2  # a key point that scores less is not seen
# Key points (COCO) of which a detector exchanges left and right together: shoulders, arms, hips, legs.
SIDES = (((5, 6),), ((7, 8), (9, 10)), ((11, 12),), ((13, 14), (15, 16)))
# Exchanged key points lie nearer to the body than this share of their distance as they are. On the treadmill MoveNet
# exchanges the shoulders in 18 of one camera's 100 frames, while the man leans far over; the body does in none.
EXCHANGED = 0.5
LEAST_POINTS = 4
DEGREES = 4.0  # of freedom of the key points' errors (a t-distribution): one in twenty is far off
ROUNDS = 3
# A correction fades with the first of these time constants, because errors change, and begins with the second, without
# a jolt. On real video with four looks per second, fading in 0.15 and in 0.6 s differs by 1 mm.
FADING_S, EASING_S = 0.3, 0.1
HISTORY_S, SAME_S = 0.6, 0.02  # bodies are kept for late looks; a body this near to a look's frame is that frame's
CROP_PX = 256  # deviations are in pixels of a crop of this side around the person


@dataclass(frozen=True, slots=True, eq=False)
class Errors:
    """How a network's bodies and a detector's key points err; `training.errors` measures both."""

    covariance: np.ndarray  # (75, 75) of the correction that the true body needs: rad, log, metres
    deviations: np.ndarray  # (12, 4) px of the crop, of each of POINTS at each of SCORES
    offsets: np.ndarray  # (12, 3) metres from a joint to its key point, in the frame of the joint's parent


def correction(
    pose: Pose, keypoints: np.ndarray, roll: float, side_px: float, camera: Camera, body: Body, errors: Errors
) -> np.ndarray | None:
    """The correction (75,) of a body in the camera's frame, by the key points (17, 3) of the same picture.

    keypoints: x, y image px, score. roll: of the crop, radians; side_px: its side in the image. None: too few key
    points are seen.
    """
    seen = sided(keypoints, body.joints(pose.rotations, pose.betas) + pose.trans, camera)[POINTS]
    known = seen[:, 2] >= LEAST_SCORE
    if np.count_nonzero(known) < LEAST_POINTS or not np.isfinite(seen[known]).all():
        return None
    rows = zip(seen[:, 2], errors.deviations, strict=True)
    deviations = np.array([np.interp(score, SCORES, deviation) for score, deviation in rows])
    rest = body.joint_template + body.joint_shape_dirs @ pose.betas
    found = np.zeros(NUMBERS)
    solve(
        np.ascontiguousarray(pose.rotations, np.float64),
        np.ascontiguousarray(rest, np.float64),
        rest[0] + pose.trans,
        body.parents.astype(np.int64),
        np.array([camera.focal_px, *camera.centre_px]),
        roll_matrix(roll),
        POINT_JOINTS[known],
        errors.offsets[known],
        np.ascontiguousarray(seen[known, :2], np.float64),
        deviations[known] * side_px / CROP_PX,
        errors.covariance,
        found,
    )
    return found if np.isfinite(found).all() else None


def sided(keypoints: np.ndarray, joints: np.ndarray, camera: Camera) -> np.ndarray:
    """Key points (17, 3), left and right exchanged where that brings them much nearer to the body.

    joints: (24, 3) metres, camera frame. The body comes from many frames, in which its sides were settled; a detector
    settles them anew in each, and may err when a person leans far over.
    """
    there = np.full((len(keypoints), 2), np.nan)
    there[POINTS] = project(joints[POINT_JOINTS], camera.focal_px, camera.centre_px)
    out = keypoints
    for pairs in SIDES:
        ours, others = np.array(pairs).T.ravel(), np.array(pairs)[:, ::-1].T.ravel()
        if keypoints[ours, 2].min() < LEAST_SCORE:
            continue
        as_is, exchanged = (np.linalg.norm(keypoints[o, :2] - there[ours], axis=-1).sum() for o in (ours, others))
        if exchanged < EXCHANGED * as_is:
            out = out.copy()
            out[ours] = keypoints[others]
    return out


def corrected(pose: Pose, change: np.ndarray, roll: float, body: Body) -> Pose:
    """A body in the camera's frame with a correction (75,)."""
    turns = matrix_from_axis_angle(change[: 3 * JOINTS].reshape(JOINTS, 3))
    pelvis = body.rest_pelvis(pose.betas)
    move = roll_matrix(roll).T @ np.array([change[-2], change[-1], 0.0])
    trans = np.exp(-change[-3]) * (pelvis + pose.trans) + move - pelvis
    return Pose(pose.rotations @ turns, pose.betas, trans)


@dataclass(slots=True, eq=False)
class _Held:
    """What is known of one person's errors."""

    bodies: deque = field(default_factory=deque)  # of (time_s, Pose, Square): to which a later look may belong
    wanted: np.ndarray | None = None  # (75,) by the newest look; None: there was none
    wanted_s: float = 0.0  # time of that look's frame
    now: np.ndarray | None = None  # (75,) as last applied
    now_s: float = 0.0


class Corrector:
    """Corrects people from frame to frame. A look may belong to an older frame: its correction holds for the frames
    after it, and fades."""

    def __init__(self, body: Body, errors: Errors) -> None:
        self._body, self._errors = body, errors
        self._held: dict[int, _Held] = {}

    def correct(
        self,
        person: int,
        time_s: float,
        pose: Pose,
        square: Square,
        camera: Camera,
        look: tuple[float, np.ndarray] | None,
    ) -> Pose | None:
        """A person's corrected body; None: nothing is known.

        pose, square: the body of the frame at time_s and its crop. look: the time of a frame, and the key points
        (17, 3) that a detector found there; NaN: it did not see the person.
        """
        held = self._held.setdefault(person, _Held())
        held.bodies.append((time_s, pose, square))
        while time_s - held.bodies[0][0] > HISTORY_S:
            held.bodies.popleft()
        if look is not None:
            then_s, then, there = min(held.bodies, key=lambda one: abs(one[0] - look[0]))
            if abs(then_s - look[0]) <= SAME_S:
                found = correction(then, look[1], there.roll, there.side_px, camera, self._body, self._errors)
                if found is not None:
                    held.wanted, held.wanted_s = found, then_s
        if held.wanted is None:
            return None
        wanted = held.wanted * np.exp(-(time_s - held.wanted_s) / FADING_S)
        now = wanted
        if held.now is not None:
            now = held.now + (1 - np.exp(-(time_s - held.now_s) / EASING_S)) * (wanted - held.now)
        held.now, held.now_s = now, time_s
        return corrected(pose, now, square.roll, self._body)

    def forget(self, person: int) -> None:
        """The person's body starts afresh, with other errors."""
        self._held.pop(person, None)

    def keep(self, people: Collection[int]) -> None:
        """Forgets all others."""
        self._held = {person: held for person, held in self._held.items() if person in people}


compiled = njit(cache=True, nogil=True, error_model="numpy")


@compiled
def turn_of(vector, turn, right):
    """The rotation (3, 3) of a rotation vector (3,), and its right Jacobian."""
    angle = np.sqrt(vector[0] ** 2 + vector[1] ** 2 + vector[2] ** 2)
    cross = np.array([[0.0, -vector[2], vector[1]], [vector[2], 0.0, -vector[0]], [-vector[1], vector[0], 0.0]])
    square = cross @ cross
    if angle < 1e-4:
        a, b, c = 1.0, 0.5, 1 / 6
    else:
        a, b = np.sin(angle) / angle, (1 - np.cos(angle)) / angle**2
        c = (1 - a) / angle**2
    turn[:] = np.eye(3) + a * cross + b * square
    right[:] = np.eye(3) - b * cross + c * square


@compiled
def solve(rotations, rest, pelvis, parents, lens, upright, chosen, offsets, points, deviations, covariance, change):
    """Fills `change` (75,) with what `correction` returns; `reference.correction` is the readable twin."""
    joints, count = len(rest), len(chosen)
    turned, axes, placed = np.empty((joints, 3, 3)), np.empty((joints, 3, 3)), np.empty((joints, 3))
    turn, right = np.empty((3, 3)), np.empty((3, 3))
    slopes, off = np.empty((2 * count, len(change))), np.empty(2 * count)
    for _ in range(ROUNDS):
        nearer = np.exp(-change[3 * joints])
        for k in range(joints):
            turn_of(change[3 * k : 3 * k + 3], turn, right)
            own = rotations[k] @ turn
            if k == 0:
                turned[0] = own
                for a in range(3):
                    move = upright[0, a] * change[3 * joints + 1] + upright[1, a] * change[3 * joints + 2]
                    placed[0, a] = nearer * pelvis[a] + move
            else:
                p = parents[k]
                turned[k] = turned[p] @ own
                placed[k] = placed[p] + turned[p] @ (rest[k] - rest[p])
            axes[k] = turned[k] @ right  # the axes about which the three numbers of the joint turn all below it
        slopes[:] = 0
        for i in range(count):
            joint = chosen[i]
            point = placed[joint] + turned[parents[joint]] @ offsets[i]
            x, y, z = point[0], point[1], max(point[2], 0.05)
            u, v = lens[0] / z, -lens[0] / z**2
            off[2 * i] = points[i, 0] - (u * x + lens[1])
            off[2 * i + 1] = points[i, 1] - (u * y + lens[2])
            k = parents[joint]  # a joint's own turn does not move it
            while k >= 0:
                arm = point - placed[k]
                for a in range(3):
                    axis = axes[k, :, a]
                    dx = axis[1] * arm[2] - axis[2] * arm[1]
                    dy = axis[2] * arm[0] - axis[0] * arm[2]
                    dz = axis[0] * arm[1] - axis[1] * arm[0]
                    slopes[2 * i, 3 * k + a] = u * dx + v * x * dz
                    slopes[2 * i + 1, 3 * k + a] = u * dy + v * y * dz
                k = parents[k] if k > 0 else -1
            deeper = -nearer * pelvis
            slopes[2 * i, 3 * joints] = u * deeper[0] + v * x * deeper[2]
            slopes[2 * i + 1, 3 * joints] = u * deeper[1] + v * y * deeper[2]
            for a in range(2):
                slopes[2 * i, 3 * joints + 1 + a] = u * upright[a, 0]
                slopes[2 * i + 1, 3 * joints + 1 + a] = u * upright[a, 1]
        spread = covariance @ slopes.T
        noise = slopes @ spread
        for i in range(count):
            far = (off[2 * i] ** 2 + off[2 * i + 1] ** 2) / deviations[i] ** 2
            variance = deviations[i] ** 2 * (DEGREES + far) / (DEGREES + 2)
            noise[2 * i, 2 * i] += variance
            noise[2 * i + 1, 2 * i + 1] += variance
        change[:] = spread @ np.linalg.solve(noise, off + slopes @ change)
