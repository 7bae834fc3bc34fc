"""People → People: a Kalman filter of each joint's turn and of the place; the shape settles and is held.

A joint turns, and a pelvis moves, at a constant speed that white acceleration disturbs. Recorded motion (CMU, 69 clips)
gives the acceleration's density: it grows with the speed to the power 1.5, and is the same at 15 and at 60 frames a
second. Fits of rendered clips give their noise, the part of an error that changes from frame to
frame: it is proportional to the error that the network predicts, so a body that is hard to see coasts, and one in plain
view hardly lags. `training/LOG.md` has both measurements; `python -m training.noise` repeats them.
"""

from dataclasses import dataclass, replace

import numpy as np

from refit_rt import config, geometry
from refit_rt.body.smpl import Body
from refit_rt.cameras import Camera
from refit_rt.fit import kernels, start
from refit_rt.types import JOINTS, People

GAP_S = 0.5  # a person unseen for longer is filtered afresh
# Of a joint's acceleration: rad^2/s^3 at 1 rad/s, and at rest. The means are 4 (arms) to 8.5 (knees); with them and a
# strength of 3.5, acceleration and lag are those of 3 and a strength of 2.
DENSITY, REST_DENSITY = 3.0, 0.02
PLACE_DENSITY, PLACE_REST_DENSITY = 1.4, 0.002  # of the pelvis's acceleration: m^2/s^3 at 1 m/s, and at rest
FIRST_SPREAD = 1.0  # variance of a speed that is not known yet, (rad/s)^2 and (m/s)^2
MOST_SIGMAS = 3.0  # farther off is no noise: the motion has changed
# Radians of noise per metre of predicted error, at 30 frames a second: pelvis, hips, spine, knees, and so on.
NOISE = np.array(
    [0.95, 0.85, 0.85, 0.34, 0.8, 0.8, 0.22, 0.75, 0.75, 0.15, 0.32, 0.32,
     0.4, 0.46, 0.46, 0.34, 1.15, 1.15, 1.2, 1.2, 0.8, 0.8, 0.1, 0.1]
)  # fmt: skip
PLACE_NOISE = np.array(
    [0.13, 0.24]
)  # the same of the place: metres across, shares of the depth along the line of sight
LEAST_ERROR_M = 0.015  # the network predicts no less
DRIFT_S, MEASURED_S = 0.011, 1 / 30  # errors drift: their change between two frames has a variance of 1 + gap / DRIFT_S
# A person's shape is the mean of all fits, in which the first counts as much as this time. Frames hardly tell a shape:
# on rendered clips a clip's mean and the true shape correlate by 0.18, so nothing is lost by being slow.
FIRST_SHAPE_S = 3.0


@dataclass(frozen=True, slots=True, eq=False)
class Filtered:
    """One person's filtered body, its speed, and how well both are known (`kernels.predicted`)."""

    time_s: float
    shape_s: float  # the time that the shape is the mean of
    turns: np.ndarray  # (24, 4) the rotations as quaternions x, y, z, w
    spin: np.ndarray  # (24, 3) rad/s
    spread: np.ndarray  # (24, 3)
    betas: np.ndarray  # (10,)
    place: np.ndarray  # (3,) the pelvis: x / z, y / z, log z
    velocity: np.ndarray  # (3,) of these, per second
    place_spread: np.ndarray  # (3, 3)

    @staticmethod
    def begun(time_s: float, betas: np.ndarray) -> "Filtered":
        """The filter of a person who is new; betas (10,) of the first fit. The kernels fill in the rest."""
        turns, spin, spread = np.zeros((JOINTS, 4)), np.zeros((JOINTS, 3)), np.zeros((JOINTS, 3))
        shape = betas.astype(np.float64)
        return Filtered(time_s, FIRST_SHAPE_S, turns, spin, spread, shape, np.zeros(3), np.zeros(3), np.zeros((3, 3)))

    def at(self, time_s: float, betas: np.ndarray) -> "Filtered":
        """A copy for a later fit, whose betas (10,) have joined the mean."""
        dt_s = time_s - self.time_s
        shape_s = self.shape_s + dt_s
        shape = self.betas + dt_s / shape_s * (betas - self.betas)
        parts = (self.turns, self.spin, self.spread, self.place, self.velocity, self.place_spread)
        turns, spin, spread, place, velocity, place_spread = (part.copy() for part in parts)
        return Filtered(time_s, shape_s, turns, spin, spread, shape, place, velocity, place_spread)


class Smoother:
    """Filters each person by id, at whatever times frames come. Joints move along with the pose."""

    def __init__(self, settings: config.Smooth, body: Body) -> None:
        self._settings, self._body = settings, body
        self._filtered: dict[int, Filtered] = {}

    def smooth(self, people: People, camera: Camera, measured: np.ndarray | None = None) -> People:
        """The same people, calmer. `camera` is the one they were fitted with. Unchanged without smooth.enabled.

        measured: whose (n,) place and shape several cameras have measured: the depth is as well known as the rest, and
        the shape stays as it is. None: nobody's.
        """
        if not self._settings.enabled or not len(people.ids):
            return people
        poses, joints = np.empty((len(people.ids), JOINTS, 3), np.float32), np.empty((len(people.ids), JOINTS, 3))
        trans, visible = np.empty((len(people.ids), 3)), {}
        for row, person in enumerate(people.ids.tolist()):
            before = self._filtered.get(person)
            if before is not None and not 0 < people.time_s - before.time_s <= GAP_S:
                before = None
            known = measured is not None and bool(measured[row])
            visible[person] = self._step(before, people, row, poses[row], joints[row], trans[row], known)
        unseen = {i: one for i, one in self._filtered.items() if 0 <= people.time_s - one.time_s <= GAP_S}
        self._filtered = unseen | visible
        return replace(
            people,
            poses=poses,
            betas=np.array([one.betas for one in visible.values()], np.float32),
            trans=trans.astype(np.float32),
            joints_camera=joints.astype(np.float32),
            joints_px=geometry.project(joints, people.focal_px, people.centre_px).astype(np.float32),
            joints_world=camera.world(joints).astype(np.float32),
        )

    def forget(self) -> None:
        """Filters everybody afresh."""
        self._filtered = {}

    def _step(
        self,
        before: Filtered | None,
        people: People,
        row: int,
        pose: np.ndarray,
        joints: np.ndarray,
        trans: np.ndarray,
        measured: bool,
    ) -> Filtered:
        """One person's next frame. Writes pose (24, 3), joints (24, 3) metres and trans (3,)."""
        time_s, betas = people.time_s, people.betas[row]
        now = Filtered.begun(time_s, betas) if before is None else before.at(time_s, betas)
        if measured:
            now = replace(now, betas=betas.astype(np.float64))
        dt_s, rotations = time_s - before.time_s if before else 0.0, np.empty((JOINTS, 3, 3))
        error_m = self._settings.strength * noisy(predicted_error(float(people.confidence[row])), dt_s)
        pelvis = people.trans[row] + self._body.rest_pelvis(betas)
        across = PLACE_NOISE[0] * error_m
        place_noise = np.array([across, across / max(pelvis[2], 0.1)]) if measured else PLACE_NOISE * error_m
        kernels.filter_turns(
            people.poses[row].astype(np.float64),
            dt_s,
            NOISE * error_m,
            DENSITY,
            REST_DENSITY,
            FIRST_SPREAD,
            MOST_SIGMAS,
            now.turns,
            now.spin,
            now.spread,
            rotations,
            pose,
        )
        kernels.filter_place(
            pelvis.astype(np.float64),
            dt_s,
            place_noise,
            PLACE_DENSITY,
            PLACE_REST_DENSITY,
            FIRST_SPREAD,
            MOST_SIGMAS,
            now.place,
            now.velocity,
            now.place_spread,
        )
        depth = np.exp(now.place[2])
        trans[:] = depth * np.array([now.place[0], now.place[1], 1.0]) - self._body.rest_pelvis(now.betas)
        np.add(self._body.joints(rotations, now.betas), trans, out=joints)
        return now


def predicted_error(confidence: float) -> float:
    """The error in metres that the network predicts for a fit of this confidence: `start.confidence` backwards."""
    return max(start.CONFIDENT_M * np.sqrt(1 / min(max(confidence, 1e-3), 1.0) - 1), LEAST_ERROR_M)


def noisy(error_m: float, dt_s: float) -> float:
    """The predicted error that would give, at MEASURED_S between frames, the noise which there is at dt_s."""
    return error_m * np.sqrt((1 + dt_s / DRIFT_S) / (1 + MEASURED_S / DRIFT_S))
