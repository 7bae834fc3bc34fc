"""People → people: a One-Euro filter on rotations and translation; the shape settles."""

from dataclasses import dataclass, replace

import numpy as np
from scipy.spatial.transform import Rotation

from refit_rt import config, geometry
from refit_rt.body.smpl import Body
from refit_rt.cameras import Camera
from refit_rt.types import People

SPEED_CUTOFF_HZ = 1.0  # of the speed's own filter (Casiez et al. 2012: the one constant that need not be tuned)
GAP_S = 0.5  # someone unseen for longer begins anew


@dataclass(slots=True)
class State:
    """One person's filtered values."""

    time_s: float
    born_s: float
    rotations: Rotation  # 24 of them, as quaternions: matrices cost twice the time here
    spin: np.ndarray  # (24, 3) rad/s
    trans: np.ndarray  # (3,) metres
    velocity: np.ndarray  # (3,) m/s
    betas: np.ndarray  # (10,)


class Smoother:
    """Filters each person by id, at whatever times frames come. Joints move along with the pose."""

    def __init__(self, settings: config.Smooth, body: Body) -> None:
        self._settings, self._body = settings, body
        self._states: dict[int, State] = {}

    def smooth(self, people: People, camera: Camera) -> People:
        """The same people, calmer. `camera` is the one they were fitted with. Off by smooth.enabled."""
        if not self._settings.enabled:
            return people
        states = {}
        for row, person in enumerate(people.ids.tolist()):
            rotations = Rotation.from_rotvec(people.poses[row])
            before = self._states.get(person)
            if before is None or not 0 < people.time_s - before.time_s <= GAP_S:
                calm, rate = np.zeros((24, 3)), np.zeros(3)
                states[person] = State(
                    people.time_s, people.time_s, rotations, calm, people.trans[row], rate, people.betas[row]
                )
            else:
                states[person] = self._step(before, people.time_s, rotations, people.trans[row], people.betas[row])
        unseen = {i: s for i, s in self._states.items() if 0 <= people.time_s - s.time_s <= GAP_S}
        self._states = unseen | states
        return self._with(people, list(states.values()), camera) if states else people

    def _step(self, before: State, time_s: float, rotations: Rotation, trans: np.ndarray, betas: np.ndarray) -> State:
        """Casiez, Roussel, Vogel 2012, algorithm 1; on SO(3) the difference is the log map of the turn between."""
        dt_s = time_s - before.time_s
        settings = self._settings
        turn = (before.rotations.inv() * rotations).as_rotvec()
        spin = before.spin + share(SPEED_CUTOFF_HZ, dt_s) * (turn / dt_s - before.spin)
        cutoff = settings.cutoff_hz + settings.beta * np.linalg.norm(spin, axis=1, keepdims=True)
        step = trans - before.trans
        velocity = before.velocity + share(SPEED_CUTOFF_HZ, dt_s) * (step / dt_s - before.velocity)
        # Each axis by itself: depth is far noisier than what lies across the picture, and must not open its filter.
        trans_cutoff = settings.cutoff_hz + settings.beta * np.abs(velocity)
        # A mean of all it was while it is young, so that the first, worst estimate does not linger; then exponential.
        settled = 1 - np.exp(-dt_s / settings.betas_s) if settings.betas_s else 1.0
        young = dt_s / (time_s - before.born_s + dt_s)
        return State(
            time_s,
            before.born_s,
            before.rotations * Rotation.from_rotvec(share(cutoff, dt_s) * turn),
            spin,
            before.trans + share(trans_cutoff, dt_s) * step,
            velocity,
            before.betas + max(settled, young) * (betas - before.betas),
        )

    def _with(self, people: People, states: list[State], camera: Camera) -> People:
        """The message with filtered bodies, its joints computed anew."""
        joints = np.stack([self._body.joints(s.rotations.as_matrix(), s.betas) + s.trans for s in states])
        return replace(
            people,
            poses=np.stack([s.rotations.as_rotvec() for s in states]).astype(np.float32),
            betas=np.stack([s.betas for s in states]).astype(np.float32),
            trans=np.stack([s.trans for s in states]).astype(np.float32),
            joints_camera=joints.astype(np.float32),
            joints_px=geometry.project(joints, people.focal_px, people.centre_px).astype(np.float32),
            joints_world=camera.world(joints).astype(np.float32),
        )


def share(cutoff_hz: np.ndarray | float, dt_s: float) -> np.ndarray | float:
    """How far a low-pass filter moves towards a new value after `dt_s`: 1 / (1 + tau / dt)."""
    return 1 / (1 + 1 / (2 * np.pi * cutoff_hz * dt_s))
