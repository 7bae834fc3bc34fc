"""People → People: a One-Euro filter on rotations and translation; the shape settles."""

import math
from dataclasses import dataclass, replace

import numpy as np

from refit_rt import config, geometry
from refit_rt.body.smpl import Body
from refit_rt.cameras import Camera
from refit_rt.fit import kernels
from refit_rt.types import JOINTS, People

SPEED_CUTOFF_HZ = 1.0  # of the speed's own filter (Casiez et al. 2012: the one constant that need not be tuned)
GAP_S = 0.5  # a person unseen for longer is filtered afresh


@dataclass(frozen=True, slots=True, eq=False)
class Filtered:
    """One person's filtered body and its speed."""

    time_s: float
    born_s: float
    turns: np.ndarray  # (24, 4) the rotations as quaternions x, y, z, w
    spin: np.ndarray  # (24, 3) rad/s
    betas: np.ndarray  # (10,)
    trans: np.ndarray  # (3,) metres
    velocity: np.ndarray  # (3,) m/s


class Smoother:
    """Filters each person by id, at whatever times frames come. Joints move along with the pose."""

    def __init__(self, settings: config.Smooth, body: Body) -> None:
        self._settings, self._body = settings, body
        self._filtered: dict[int, Filtered] = {}

    def smooth(self, people: People, camera: Camera) -> People:
        """The same people, calmer. `camera` is the one they were fitted with. Unchanged without smooth.enabled."""
        if not self._settings.enabled or not len(people.ids):
            return people
        poses, joints = np.empty((len(people.ids), JOINTS, 3), np.float32), np.empty((len(people.ids), JOINTS, 3))
        visible = {}
        for row, person in enumerate(people.ids.tolist()):
            before = self._filtered.get(person)
            if before is not None and not 0 < people.time_s - before.time_s <= GAP_S:
                before = None
            visible[person] = self._step(before, people, row, poses[row], joints[row])
        unseen = {i: one for i, one in self._filtered.items() if 0 <= people.time_s - one.time_s <= GAP_S}
        self._filtered = unseen | visible
        return replace(
            people,
            poses=poses,
            betas=np.array([one.betas for one in visible.values()], np.float32),
            trans=np.array([one.trans for one in visible.values()], np.float32),
            joints_camera=joints.astype(np.float32),
            joints_px=geometry.project(joints, people.focal_px, people.centre_px).astype(np.float32),
            joints_world=camera.world(joints).astype(np.float32),
        )

    def forget(self) -> None:
        """Filters everybody afresh."""
        self._filtered = {}

    def _step(
        self, before: Filtered | None, people: People, row: int, pose: np.ndarray, joints: np.ndarray
    ) -> Filtered:
        """Casiez, Roussel, Vogel 2012, algorithm 1, for one person. Writes pose (24, 3) and joints (24, 3) metres."""
        settings, time_s = self._settings, people.time_s
        cutoffs = settings.cutoff_hz, settings.beta, SPEED_CUTOFF_HZ
        betas, trans = people.betas[row], people.trans[row]
        if before is None:
            turns, spin, velocity = np.zeros((JOINTS, 4)), np.zeros((JOINTS, 3)), np.zeros(3)
            now = Filtered(time_s, time_s, turns, spin, betas.astype(np.float64), trans.astype(np.float64), velocity)
        else:
            parts = (before.turns, before.spin, before.betas, before.trans, before.velocity)
            now = Filtered(time_s, before.born_s, *(part.copy() for part in parts))
            dt_s = time_s - before.time_s
            settled = 1 - math.exp(-dt_s / settings.betas_s) if settings.betas_s else 1.0
            young_s = time_s - now.born_s
            kernels.filter_place(trans, betas, dt_s, young_s, settled, *cutoffs, now.trans, now.velocity, now.betas)
        dt_s, rotations = time_s - before.time_s if before else 0.0, np.empty((JOINTS, 3, 3))
        fitted = people.poses[row].astype(np.float64)
        kernels.filter_turns(fitted, dt_s, *cutoffs, now.turns, now.spin, rotations, pose)
        np.add(self._body.joints(rotations, now.betas), now.trans, out=joints)
        return now


def share(cutoff_hz: np.ndarray | float, dt_s: float) -> np.ndarray | float:
    """How far a low-pass filter moves towards a new value after `dt_s`: 1 / (1 + tau / dt)."""
    return 1 / (1 + 1 / (2 * np.pi * cutoff_hz * dt_s))
