"""People → People: a One-Euro filter on rotations and translation; the shape settles."""

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
        betas, trans = people.betas[row].astype(np.float64), people.trans[row].astype(np.float64)
        dt_s = time_s - before.time_s if before else 0.0
        turns, spin = (before.turns.copy(), before.spin.copy()) if before else (np.zeros((24, 4)), np.zeros((24, 3)))
        velocity, born_s = np.zeros(3), time_s
        if before:
            born_s, step = before.born_s, trans - before.trans
            velocity = before.velocity + share(SPEED_CUTOFF_HZ, dt_s) * (step / dt_s - before.velocity)
            # Each axis by itself: depth is far noisier than what lies across the picture, and must not open its filter.
            trans_cutoff = settings.cutoff_hz + settings.beta * np.abs(velocity)
            # A mean of all it was while it is young, so that the first, worst estimate does not linger; then
            # exponential.
            settled = 1 - np.exp(-dt_s / settings.betas_s) if settings.betas_s else 1.0
            young = dt_s / (time_s - born_s + dt_s)
            betas = before.betas + max(settled, young) * (betas - before.betas)
            trans = before.trans + share(trans_cutoff, dt_s) * step
        rotations = np.empty((JOINTS, 3, 3))
        kernels.filter_turns(
            people.poses[row].astype(np.float64),
            dt_s,
            settings.cutoff_hz,
            settings.beta,
            SPEED_CUTOFF_HZ,
            turns,
            spin,
            rotations,
            pose,
        )
        joints[:] = self._body.joints(rotations, betas)
        joints += trans
        return Filtered(time_s, born_s, turns, spin, betas, trans, velocity)


def share(cutoff_hz: np.ndarray | float, dt_s: float) -> np.ndarray | float:
    """How far a low-pass filter moves towards a new value after `dt_s`: 1 / (1 + tau / dt)."""
    return 1 / (1 + 1 / (2 * np.pi * cutoff_hz * dt_s))
