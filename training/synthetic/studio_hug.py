"""Finds how two people hug: one lays the hands on the other's shoulders, the other holds the first one's waist."""

from dataclasses import dataclass

import numpy as np
from scipy.optimize import least_squares
from scipy.spatial import KDTree
from scipy.spatial.transform import Rotation

from refit_rt.body.smpl import Body
from refit_rt.draw.raster import vertex_normals
from training.synthetic.motion import about_y

ARMS = {1.0: (13, 16, 18, 20, 22), -1.0: (14, 17, 19, 21, 23)}  # side: collar, shoulder, elbow, wrist, hand
HUGGING = np.array([3, 6, 9, 12, 15, *ARMS[1.0][:4], *ARMS[-1.0][:4]])  # the joints whose rotations a hug sets
GAP_M, OPEN_M = 0.46, 0.95  # between the pelvises in the hug, and when the arms have just been raised
OVER = np.array([0.03, 0.1, 0.0])  # from the other's shoulder to the hand on it; x to the outside, z to the front
ROUND = np.array([0.24, 0.12, -0.02])  # from the other's pelvis to the hand at the waist
WIDER = np.array([0.3, 0.1, 0.0])  # of both while the arms are raised, so that the hands pass beside the other
START = {True: np.array([0.0, -1.2, 0.25, -0.35]), False: np.array([0.0, -0.9, -0.75, -0.6])}  # shoulder x, y, z; elbow
HELD = 0.03  # of an angle of 1 radian from START, against 1 m between hand and target


@dataclass(frozen=True, slots=True, eq=False)
class Hug:
    """The poses (2, 24, 3, 3) of two people, each facing +z of their own, who stand as `standing_at` says."""

    raised: np.ndarray  # OPEN_M apart
    closed: np.ndarray  # GAP_M apart


def find_hug(body: Body, betas: np.ndarray) -> Hug:
    """The hug of two bodies with betas (2, 10): the arms of the first one are over those of the second one."""
    closed = _reaching(body, betas, GAP_M, np.zeros(3))
    return Hug(_reaching(body, betas, OPEN_M, WIDER), closed)


def standing_at(gap: float, row: int) -> np.ndarray:
    """Where (3,) the pelvis of person 0 or 1 stands about the middle: 0 looks along +z, 1 along -z; y is 0."""
    return turn_of(row) @ np.array([0.0, 0.0, -gap / 2])


def turn_of(row: int) -> np.ndarray:
    """The direction (3, 3) in which person 0 or 1 looks."""
    return about_y(np.array(0.0 if row == 0 else np.pi))


def _reaching(body: Body, betas: np.ndarray, gap: float, wider: np.ndarray) -> np.ndarray:
    """Poses (2, 24, 3, 3) of two people whose hands reach for each other across a gap in metres."""
    poses = np.tile(np.eye(3), (2, 24, 1, 1))
    standing = [placed(body, poses[row], betas[row], gap, row)[0] for row in range(2)]
    for row in range(2):
        for side in ARMS:
            target = _target(standing[1 - row], 1 - row, side, (OVER if row == 0 else ROUND) + wider, over=row == 0)
            _reach(body, poses[row], betas[row], gap, row, side, target)
    return poses


def _target(joints: np.ndarray, row: int, side: float, offset: np.ndarray, over: bool) -> np.ndarray:
    """Where (3,) the hand of the left (1) or right (-1) arm lies on the other, person `row` with joints (24, 3)."""
    own = -side  # a left hand reaches the right side of the other, who looks the other way
    return joints[(16 if own > 0 else 17) if over else 0] + turn_of(row) @ (offset * [own, 1.0, 1.0])


def _reach(body: Body, pose: np.ndarray, betas: np.ndarray, gap: float, row: int, side: float, target) -> None:
    """Turns shoulder and elbow of `pose` (24, 3, 3) so that the hand comes as near to `target` (3,) as it can."""
    _, shoulder, elbow, _, hand = ARMS[side]
    mirror = np.array([1.0, side, side, side])

    def turned(x: np.ndarray) -> np.ndarray:
        own = pose.copy()
        own[shoulder] = Rotation.from_euler("xzy", (x * mirror)[[0, 2, 1]]).as_matrix()
        own[elbow] = Rotation.from_euler("y", x[3] * side).as_matrix()
        return own

    def residuals(x: np.ndarray) -> np.ndarray:
        joints = placed(body, turned(x), betas, gap, row, surface=False)[0]
        return np.concatenate([joints[hand] - target, HELD * (x - START[row == 0])])

    low, high = [-1.5, -2.2, -1.5, -2.4], [1.5, 0.5, 1.0, 0.0]
    pose[:] = turned(least_squares(residuals, START[row == 0], bounds=(low, high), diff_step=1e-3).x)


def placed(body: Body, pose: np.ndarray, betas: np.ndarray, gap: float, row: int, surface: bool = True):
    """Joints (24, 3) and, if asked for, the surface (V, 3) of one of the two people, who stand on the floor."""
    root = pose.copy()
    root[0] = turn_of(row) @ pose[0]
    rest = body.template + body.shape_dirs @ betas
    shift = standing_at(gap, row) - body.rest_pelvis(betas)
    shift[1] = -float(rest[:, 1].min())
    points = body.vertices(root, betas) + shift.astype(np.float32) if surface else None
    return body.joints(root, betas) + shift, points


def overlap_m(one: np.ndarray, other: np.ndarray, faces: np.ndarray) -> float:
    """How deep the surface `one` (V, 3) lies inside the surface `other` (V, 3) at the deepest point; 0: not at all."""
    normals = vertex_normals(other.astype(np.float32), faces)
    _, nearest = KDTree(other).query(one, workers=1)
    return float(max(-((one - other[nearest]) * normals[nearest]).sum(1).min(), 0.0))
