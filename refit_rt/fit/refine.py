"""A body moved onto a detection's key points, as far as the network's known errors allow.

The loop ends with a body whose errors have a known distribution: a Gaussian, learned on held-out renders, over the turn
of each joint and the place of the pelvis. Key points of a detector are other evidence, with errors of their own. The
correction is the most probable error of the body, given the key points: a Gauss-Newton step in the space of the
observations (an iterated Kalman update), with heavy tails for the key points. There is no weight to tune.

A correction is 75 numbers: a rotation vector per joint, which turns the joint's frame about its own axes, and how the
pelvis moves. In one view that is the share of its distance by which it comes nearer, and its move to the right and
down, in metres, in the picture that stands the person upright. In several views it is a move in the world, in metres,
and ten more numbers may follow: changes of the shape.
"""

from collections import deque
from collections.abc import Collection
from dataclasses import dataclass, field

import numpy as np

from refit_rt.body.smpl import Body
from refit_rt.cameras import Camera
from refit_rt.compiler import njit
from refit_rt.geometry import matrix_from_axis_angle, project, roll_matrix
from refit_rt.types import JOINTS, Pose, Square

NUMBERS = 3 * JOINTS + 3
NO_SHAPE = np.zeros((JOINTS, 3, 0))  # the shape is known: no number changes it
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
# A correction fades with this time constant, because errors change. On real video with four looks per second, 0.15 and
# 0.6 s differ by 1 mm.
FADING_S = 0.3
# It begins without a jolt: in one view with the time between two looks as its time constant, within these bounds, and
# in several, whose looks come in turns, with the second. On the treadmill with a look in each of 30 frames a second,
# 0.05 s is better than 0.1 by 0.8 mm, and 0.03 s adds 0.7 mm of jitter.
LEAST_EASING_S, EASING_S = 0.05, 0.1
HISTORY_S, SAME_S = 0.6, 0.02  # bodies are kept for late looks; a body this near to a look's frame is that frame's
CROP_PX = 256  # deviations are in pixels of a crop of this side around the person


@dataclass(frozen=True, slots=True, eq=False)
class Errors:
    """How a network's bodies and a detector's key points err; `training.errors` measures both."""

    covariance: np.ndarray  # (75, 75) of the correction that the true body needs in one view: rad, share, metres
    deviations: np.ndarray  # (12, 4) px of the crop, of each of POINTS at each of SCORES
    offsets: np.ndarray  # (12, 3) metres from a joint to its key point, in the frame of the joint's parent


@dataclass(frozen=True, slots=True, eq=False)
class Sight:
    """A body as one camera sees it in one frame, and the key points that a detector found there."""

    pose: Pose  # metres, in the base frame: that of the camera, or the world
    keypoints: np.ndarray  # (17, 3) image px, score
    side_px: float  # of the crop around the body
    camera: Camera
    camera_from_base: np.ndarray  # (4, 4) metres


def correction(
    pose: Pose, keypoints: np.ndarray, roll: float, side_px: float, camera: Camera, body: Body, errors: Errors
) -> np.ndarray | None:
    """The correction (75,) of a body in the camera's frame, by the key points (17, 3) of the same picture.

    keypoints: x, y image px, score. roll: of the crop, radians; side_px: its side in the image. None: too few key
    points are seen.
    """
    sight = Sight(pose, keypoints, side_px, camera, np.eye(4))
    axes = place_axes(body.rest_pelvis(pose.betas) + pose.trans, roll)
    return most_probable([sight], body, errors, errors.covariance, axes, NO_SHAPE)


def place_axes(pelvis: np.ndarray, roll: float) -> np.ndarray:
    """(3, 3) columns: how a pelvis (3,) in the camera's frame moves by each of a correction's last three numbers."""
    return np.column_stack([-pelvis, *roll_matrix(roll)[:2]])


def most_probable(
    sights: list[Sight], body: Body, errors: Errors, covariance: np.ndarray, axes: np.ndarray, shape_dirs: np.ndarray
) -> np.ndarray | None:
    """The one correction (75 + shapes,) of all sights of a person; None: too few key points are seen.

    covariance (75 + shapes, 75 + shapes): of the correction that is expected. axes (3, 3): see `place_axes`. shape_dirs
    (24, 3, shapes): how rest joints move with the last numbers, which are added to betas; (24, 3, 0): they are known.
    """
    known, points, deviations = [], [], []
    for sight in sights:
        joints = body.joints(sight.pose.rotations, sight.pose.betas) + sight.pose.trans
        seen = sided(sight.keypoints, moved_into(sight.camera_from_base, joints), sight.camera)[POINTS]
        known.append((seen[:, 2] >= LEAST_SCORE) & np.isfinite(seen).all(1))
        points.append(seen[:, :2])
        spread = [np.interp(score, SCORES, row) for score, row in zip(seen[:, 2], errors.deviations, strict=True)]
        deviations.append(np.array(spread) * sight.side_px / CROP_PX)
    mask = np.concatenate(known)
    if np.count_nonzero(mask) < LEAST_POINTS:
        return None
    rest = np.stack([body.joint_template + body.joint_shape_dirs @ one.pose.betas for one in sights])
    found = np.zeros(len(covariance))
    solve(
        np.stack([np.asarray(one.pose.rotations, np.float64) for one in sights]),
        np.ascontiguousarray(rest, np.float64),
        np.stack([rest[row, 0] + one.pose.trans for row, one in enumerate(sights)]),
        body.parents.astype(np.int64),
        np.ascontiguousarray(axes, np.float64),
        np.stack([one.camera_from_base[:3, :3] for one in sights]),
        np.stack([one.camera_from_base[:3, 3] for one in sights]),
        np.array([[one.camera.focal_px, *one.camera.centre_px] for one in sights], np.float64),
        np.repeat(np.arange(len(sights)), len(POINTS))[mask],
        np.tile(POINT_JOINTS, len(sights))[mask],
        np.tile(errors.offsets, (len(sights), 1))[mask],
        np.ascontiguousarray(np.concatenate(points)[mask], np.float64),
        np.concatenate(deviations)[mask],
        np.ascontiguousarray(covariance, np.float64),
        np.ascontiguousarray(shape_dirs, np.float64),
        found,
    )
    return found if np.isfinite(found).all() else None


def moved_into(matrix: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Points (n, 3) by a transform (4, 4)."""
    return points @ matrix[:3, :3].T + matrix[:3, 3]


def sided(keypoints: np.ndarray, joints: np.ndarray, camera: Camera, before: np.ndarray | None = None) -> np.ndarray:
    """Key points (17, 3), left and right exchanged where that brings them much nearer to the body.

    joints: (24, 3) metres, camera frame. The body comes from many frames, in which its sides were settled; a detector
    settles them anew in each, and may err when a person leans far over. before: the sided key points of a moment ago,
    which decide where the body lies between the two sides; None: there are none.
    """
    there = np.full((len(keypoints), 2), np.nan)
    there[POINTS] = project(joints[POINT_JOINTS], camera.focal_px, camera.centre_px)
    out = keypoints
    for pairs in SIDES:
        ours, others = np.array(pairs).T.ravel(), np.array(pairs)[:, ::-1].T.ravel()
        if keypoints[ours, 2].min() < LEAST_SCORE:
            continue
        as_is, exchanged = _apart(keypoints, there, ours, others)
        doubtful = as_is > EXCHANGED * exchanged
        if doubtful and exchanged >= EXCHANGED * as_is and before is not None and before[ours, 2].min() >= LEAST_SCORE:
            as_is, exchanged = _apart(keypoints, before, ours, others)
        if doubtful and exchanged < EXCHANGED * as_is:
            out = out.copy()
            out[ours] = keypoints[others]
    return out


def _apart(keypoints: np.ndarray, there: np.ndarray, ours: np.ndarray, others: np.ndarray) -> tuple[float, float]:
    """How far key points are from where they should be, summed, px: as they are and exchanged."""
    as_is, exchanged = (np.linalg.norm(keypoints[o, :2] - there[ours, :2], axis=-1).sum() for o in (ours, others))
    return float(as_is), float(exchanged)


def corrected(pose: Pose, change: np.ndarray, axes: np.ndarray) -> Pose:
    """A body with a correction (75,), or with one that changes its betas as well. axes (3, 3): see `place_axes`."""
    turns = matrix_from_axis_angle(change[: 3 * JOINTS].reshape(JOINTS, 3))
    return Pose(pose.rotations @ turns, pose.betas, pose.trans + axes @ change[3 * JOINTS : NUMBERS])


@dataclass(slots=True, eq=False)
class Eased:
    """A correction that begins without a jolt and fades."""

    wanted: np.ndarray | None = None  # (75,) by the newest look; None: there was none
    wanted_s: float = 0.0  # time of that look's frame
    now: np.ndarray | None = None  # (75,) as last applied
    now_s: float = 0.0
    easing_s: float = EASING_S
    least_easing_s: float = EASING_S

    def take(self, found: np.ndarray, time_s: float) -> None:
        """A look at a frame of time_s asks for the correction `found` (75,)."""
        if self.wanted is not None:
            self.easing_s = min(max(time_s - self.wanted_s, self.least_easing_s), EASING_S)
        self.wanted, self.wanted_s = found, time_s

    def at(self, time_s: float) -> np.ndarray | None:
        """The correction (75,) to apply at a time, which must not go back; None: no look has asked for one."""
        if self.wanted is None:
            return None
        wanted = self.wanted * np.exp(-(time_s - self.wanted_s) / FADING_S)
        if self.now is None:
            self.now = wanted
        else:
            self.now = self.now + (1 - np.exp(-(time_s - self.now_s) / self.easing_s)) * (wanted - self.now)
        self.now_s = time_s
        return self.now


@dataclass(slots=True, eq=False)
class _Held:
    """What is known of one person's errors."""

    bodies: deque = field(default_factory=deque)  # of (time_s, Pose, Square): to which a later look may belong
    change: Eased = field(default_factory=lambda: Eased(least_easing_s=LEAST_EASING_S))
    sided: tuple[float, np.ndarray] | None = None  # the newest look's time, and its key points (17, 3)


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
                before = held.sided[1] if held.sided and 0 < look[0] - held.sided[0] <= EASING_S else None
                joints = self._body.joints(then.rotations, then.betas) + then.trans
                keypoints = sided(look[1], joints, camera, before)
                held.sided = look[0], keypoints
                found = correction(then, keypoints, there.roll, there.side_px, camera, self._body, self._errors)
                if found is not None:
                    held.change.take(found, then_s)
        now = held.change.at(time_s)
        if now is None:
            return None
        return corrected(pose, now, place_axes(self._body.rest_pelvis(pose.betas) + pose.trans, square.roll))

    def forget(self, person: int) -> None:
        """The person's body starts afresh, with other errors."""
        self._held.pop(person, None)

    def keep(self, people: Collection[int]) -> None:
        """Forgets all others."""
        self._held = {person: held for person, held in self._held.items() if person in people}


compiled = njit(nogil=True, error_model="numpy")


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
def solve(
    rotations, rest, pelvis, parents, axes_of_place, eyes, shifts, lenses,
    sight, chosen, offsets, points, deviations, covariance, shape_dirs, change,
):  # fmt: skip
    """Fills `change` (75 + shapes,) with what `most_probable` returns; `reference.correction` is the readable twin.

    Of S sights: rotations (S, 24, 3, 3), rest joints (S, 24, 3), pelvis (S, 3), eyes (S, 3, 3) and shifts (S, 3) camera
    from base, lenses (S, 3) focal length and principal point. Of P key points: sight (P,), chosen (P,) joint, offsets
    (P, 3), points (P, 2) px, deviations (P,) px.
    """
    sights, joints, count = rest.shape[0], rest.shape[1], len(chosen)
    numbers, shapes = 3 * joints + 3, shape_dirs.shape[2]
    turned, axes = np.empty((sights, joints, 3, 3)), np.empty((sights, joints, 3, 3))
    placed, grown = np.empty((sights, joints, 3)), np.zeros((sights, joints, 3, shapes))
    turn, right = np.empty((3, 3)), np.empty((3, 3))
    slopes, off = np.empty((2 * count, len(change))), np.empty(2 * count)
    for _ in range(ROUNDS):
        for s in range(sights):
            for k in range(joints):
                turn_of(change[3 * k : 3 * k + 3], turn, right)
                own = rotations[s, k] @ turn
                if k == 0:
                    turned[s, 0] = own
                    placed[s, 0] = pelvis[s] + axes_of_place @ change[3 * joints : numbers]
                else:
                    p = parents[k]
                    turned[s, k] = turned[s, p] @ own
                    bone = rest[s, k] - rest[s, p]
                    if shapes:
                        dirs = shape_dirs[k] - shape_dirs[p]
                        bone = bone + dirs @ change[numbers:]
                        grown[s, k] = grown[s, p] + turned[s, p] @ dirs
                    placed[s, k] = placed[s, p] + turned[s, p] @ bone
                axes[s, k] = turned[s, k] @ right  # about which the joint's three numbers turn all below it
        slopes[:] = 0
        for i in range(count):
            s, joint = sight[i], chosen[i]
            point = placed[s, joint] + turned[s, parents[joint]] @ offsets[i]
            x, y, z = eyes[s] @ point + shifts[s]
            z = max(z, 0.05)
            u, v = lenses[s, 0] / z, -lenses[s, 0] / z**2
            off[2 * i] = points[i, 0] - (u * x + lenses[s, 1])
            off[2 * i + 1] = points[i, 1] - (u * y + lenses[s, 2])
            seen = np.empty((2, 3))  # px by metres in the base frame
            for a in range(3):
                seen[0, a] = u * eyes[s, 0, a] + v * x * eyes[s, 2, a]
                seen[1, a] = u * eyes[s, 1, a] + v * y * eyes[s, 2, a]
            k = parents[joint]  # a joint's own turn does not move it
            while k >= 0:
                arm = point - placed[s, k]
                for a in range(3):
                    axis = axes[s, k, :, a]
                    dx = axis[1] * arm[2] - axis[2] * arm[1]
                    dy = axis[2] * arm[0] - axis[0] * arm[2]
                    dz = axis[0] * arm[1] - axis[1] * arm[0]
                    for b in range(2):
                        slopes[2 * i + b, 3 * k + a] = seen[b, 0] * dx + seen[b, 1] * dy + seen[b, 2] * dz
                k = parents[k] if k > 0 else -1
            slopes[2 * i : 2 * i + 2, 3 * joints : numbers] = seen @ axes_of_place
            if shapes:
                slopes[2 * i : 2 * i + 2, numbers:] = seen @ grown[s, joint]
        spread = covariance @ slopes.T
        noise = slopes @ spread
        for i in range(count):
            far = (off[2 * i] ** 2 + off[2 * i + 1] ** 2) / deviations[i] ** 2
            variance = deviations[i] ** 2 * (DEGREES + far) / (DEGREES + 2)
            noise[2 * i, 2 * i] += variance
            noise[2 * i + 1, 2 * i + 1] += variance
        change[:] = spread @ np.linalg.solve(noise, off + slopes @ change)
