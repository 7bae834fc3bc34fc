"""People → People: a One-Euro filter on rotations and translation; the shape settles."""

from dataclasses import dataclass, replace

import numpy as np
from scipy.spatial.transform import Rotation

from refit_rt import config, geometry
from refit_rt.body.smpl import Body
from refit_rt.cameras import Camera
from refit_rt.types import JOINTS, People, Pose

SPEED_CUTOFF_HZ = 1.0  # of the speed's own filter (Casiez et al. 2012: the one constant that need not be tuned)
GAP_S = 0.5  # a person unseen for longer is filtered afresh


@dataclass(frozen=True, slots=True, eq=False)
class Filtered:
    """One person's filtered body and its speed."""

    time_s: float
    born_s: float
    pose: Pose
    rotations: Rotation  # those of `pose`, as quaternions: filtering matrices takes twice the time
    spin: np.ndarray  # (24, 3) rad/s
    velocity: np.ndarray  # (3,) m/s


class Smoother:
    """Filters each person by id, at whatever times frames come. Joints move along with the pose."""

    def __init__(self, settings: config.Smooth, body: Body) -> None:
        self._settings, self._body = settings, body
        self._filtered: dict[int, Filtered] = {}

    def smooth(self, people: People, camera: Camera) -> People:
        """The same people, calmer. `camera` is the one they were fitted with. Unchanged without smooth.enabled."""
        if not self._settings.enabled:
            return people
        visible = {}
        for row, person in enumerate(people.ids.tolist()):
            rotations = Rotation.from_rotvec(people.poses[row])
            before = self._filtered.get(person)
            if before is None or not 0 < people.time_s - before.time_s <= GAP_S:
                pose = Pose(rotations.as_matrix(), people.betas[row], people.trans[row])
                still = np.zeros((JOINTS, 3)), np.zeros(3)
                visible[person] = Filtered(people.time_s, people.time_s, pose, rotations, *still)
            else:
                visible[person] = self._step(before, people.time_s, rotations, people.trans[row], people.betas[row])
        unseen = {i: one for i, one in self._filtered.items() if 0 <= people.time_s - one.time_s <= GAP_S}
        self._filtered = unseen | visible
        return self._with(people, list(visible.values()), camera) if visible else people

    def forget(self) -> None:
        """Filters everybody afresh."""
        self._filtered = {}

    def _step(
        self, before: Filtered, time_s: float, rotations: Rotation, trans: np.ndarray, betas: np.ndarray
    ) -> Filtered:
        """Casiez, Roussel, Vogel 2012, algorithm 1; on SO(3) the difference is the log map of the turn between."""
        dt_s, settings, old = time_s - before.time_s, self._settings, before.pose
        turn = (before.rotations.inv() * rotations).as_rotvec()
        spin = before.spin + share(SPEED_CUTOFF_HZ, dt_s) * (turn / dt_s - before.spin)
        cutoff = settings.cutoff_hz + settings.beta * np.linalg.norm(spin, axis=1, keepdims=True)
        step = trans - old.trans
        velocity = before.velocity + share(SPEED_CUTOFF_HZ, dt_s) * (step / dt_s - before.velocity)
        # Each axis by itself: depth is far noisier than what lies across the picture, and must not open its filter.
        trans_cutoff = settings.cutoff_hz + settings.beta * np.abs(velocity)
        # A mean of all it was while it is young, so that the first, worst estimate does not linger; then exponential.
        settled = 1 - np.exp(-dt_s / settings.betas_s) if settings.betas_s else 1.0
        young = dt_s / (time_s - before.born_s + dt_s)
        filtered = before.rotations * Rotation.from_rotvec(share(cutoff, dt_s) * turn)
        pose = Pose(
            filtered.as_matrix(),
            old.betas + max(settled, young) * (betas - old.betas),
            old.trans + share(trans_cutoff, dt_s) * step,
        )
        return Filtered(time_s, before.born_s, pose, filtered, spin, velocity)

    def _with(self, people: People, filtered: list[Filtered], camera: Camera) -> People:
        """The message with filtered bodies, its joints recomputed."""
        poses = [one.pose for one in filtered]
        joints = np.stack([self._body.joints(pose.rotations, pose.betas) + pose.trans for pose in poses])
        return replace(
            people,
            poses=np.stack([one.rotations.as_rotvec() for one in filtered]).astype(np.float32),
            betas=np.stack([pose.betas for pose in poses]).astype(np.float32),
            trans=np.stack([pose.trans for pose in poses]).astype(np.float32),
            joints_camera=joints.astype(np.float32),
            joints_px=geometry.project(joints, people.focal_px, people.centre_px).astype(np.float32),
            joints_world=camera.world(joints).astype(np.float32),
        )


def share(cutoff_hz: np.ndarray | float, dt_s: float) -> np.ndarray | float:
    """How far a low-pass filter moves towards a new value after `dt_s`: 1 / (1 + tau / dt)."""
    return 1 / (1 + 1 / (2 * np.pi * cutoff_hz * dt_s))
