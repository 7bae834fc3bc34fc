"""Several views of one person, one body: what each view's loop says, agreed upon in the world.

Rotations and shape are weighted means, as in ReFit's multi-view fit (Wang and Daniilidis 2023, section 4.4). The place,
which the official code leaves to each view, is where the views' lines of sight to the pelvis cross: a single view knows
the direction to a person far better than the distance.
"""

from dataclasses import dataclass

import numpy as np

from refit_rt import geometry
from refit_rt.body.smpl import Body
from refit_rt.cameras import Camera
from refit_rt.fit import kernels, start
from refit_rt.fit.crops import cam_from_translation, translation_from_cam, view_of
from refit_rt.geometry import roll_matrix
from refit_rt.types import JOINTS, Pose, Square, State, View

SAY_ALONG_RAY = 0.01  # weight of a view's distance beside that of its direction
STRAY_M, STRAY = 0.15, 3.0  # a line of sight that passes the others' crossing so far, and so many times the median


@dataclass(frozen=True, slots=True, eq=False)
class Eye:
    """One view of a person: a crop, and how the world is seen in it."""

    square: Square
    view: View
    turn: np.ndarray  # (3, 3) from the world into the crop's camera, in which the person stands upright
    shift: np.ndarray  # (3,) metres

    @classmethod
    def of(cls, square: Square, camera: Camera) -> "Eye":
        """The view of a square in a camera's picture."""
        upright = roll_matrix(square.roll)
        there = camera.camera_from_world
        return cls(square, view_of(square, camera), upright @ there[:3, :3], upright @ there[:3, 3])

    @property
    def place(self) -> np.ndarray:
        """(3,) metres: of the camera, in the world."""
        return -self.turn.T @ self.shift

    def state(self, body: Pose, shape: Body) -> State:
        """A body in the world, as the loop's numbers in this crop."""
        pelvis = shape.rest_pelvis(body.betas)
        rotations = body.rotations.copy()
        rotations[0] = self.turn @ rotations[0]
        trans = self.turn @ (body.trans + pelvis) + self.shift - pelvis
        return State(
            np.ascontiguousarray(geometry.six_d_from_matrix(rotations).ravel(), np.float32),
            np.ascontiguousarray(body.betas, np.float32),
            np.ascontiguousarray(cam_from_translation(trans, self.view), np.float32),
        )

    def pelvis(self, state: State, shape: Body) -> np.ndarray:
        """(3,) metres in the world, of a state in this crop."""
        here = translation_from_cam(state.cam.astype(np.float64), self.view) + shape.rest_pelvis(state.betas)
        return self.turn.T @ (here - self.shift)

    def root(self, state: State) -> np.ndarray:
        """(3, 3) the body's orientation in the world, of a state in this crop."""
        return self.turn.T @ geometry.matrix_from_6d(state.pose6d[:6].astype(np.float64))


def agreed(eyes: list[Eye], states: list[State], weights: np.ndarray, body: Body) -> Pose:
    """The one body in the world of each view's state; weights (views,)."""
    share = weights / weights.sum()
    six = np.stack([state.pose6d for state in states]).astype(np.float64)
    rotations = np.empty((JOINTS, 3, 3))
    kernels.agree_turns(six, np.stack([eye.turn for eye in eyes]), share, rotations)
    betas = share @ np.stack([state.betas for state in states]).astype(np.float64)
    places = np.stack([eye.pelvis(state, body) for eye, state in zip(eyes, states, strict=True)])
    return Pose(
        rotations, betas, crossing(np.stack([eye.place for eye in eyes]), places, share) - body.rest_pelvis(betas)
    )


def crossing(eyes: np.ndarray, places: np.ndarray, share: np.ndarray) -> np.ndarray:
    """(3,) metres: the point nearest in angle to lines of sight; of four or more, those that go astray are left out.

    eyes (n, 3): where cameras are. places (n, 3): where each sees the point, whose distance counts hardly. share (n,).
    A stray line draws the point that is nearest to all towards it, so that all lines seem astray by a little. They are
    judged from where two of them cross instead: the two that most others pass near (least median of squares, Rousseeuw
    1984).
    """
    rays = places - eyes
    far = np.linalg.norm(rays, axis=1, keepdims=True)
    rays = rays / far
    along = rays[:, :, None] * rays[:, None]
    trust = (share / far[:, 0] ** 2)[:, None, None] * (np.eye(3) - (1 - SAY_ALONG_RAY) * along)
    pull = trust @ places[:, :, None]

    def off(points: np.ndarray) -> np.ndarray:
        """How far (..., n) points (..., 3) are from the lines, metres."""
        return np.linalg.norm(np.cross(rays, points[..., None, :] - eyes), axis=-1)

    point = np.linalg.solve(trust.sum(0), pull.sum(0))[:, 0]
    if len(eyes) < 4 or off(point).max() <= STRAY_M:
        return point
    one, other = np.triu_indices(len(eyes), 1)
    of_two = off(np.linalg.solve(trust[one] + trust[other], pull[one] + pull[other])[..., 0])  # (pairs, n)
    best = of_two[np.argmin(np.sort(of_two, axis=1)[:, len(eyes) // 2])]
    near = best <= max(STRAY_M, STRAY * float(np.median(best)))
    return np.linalg.solve(trust[near].sum(0), pull[near].sum(0))[:, 0]


def facing_together(roots: np.ndarray) -> np.ndarray:
    """Which of the orientations (n, 3, 3) agree with the one that agrees with most others: (n,) bool."""
    trace = np.einsum("iab,jab->ij", roots, roots)
    near = (trace - 1) / 2 >= np.cos(start.OPPOSED_RAD)
    return near[np.argmax(near.sum(1) + 1e-3 * trace.sum(1))]
