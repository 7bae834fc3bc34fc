"""People → People: feet that stand on the floor stay where they are.

Whether a heel or the ball of a foot stands is the state of a hidden Markov model of two states (Rabiner 1989): a point
that stands hardly moves in the world and, where the floor is known, is low. Where a foot stands, and by how much the
body's place is wrong, are found together by one Kalman filter, as a robot finds landmarks and its own place
(Smith, Self and Cheeseman 1990): the error of the place is large along the line of sight of one camera, small across
it, and fades; a foot that stands does not move. The body is shifted by the error of its place; what is left, a few
centimetres, bends the leg. A foot that lifts is let go by a critically damped spring, so it does not jump.

Nothing waits for a later frame. What moves moves as it did, but for a foot that begins to lift: it follows within a few
frames. Feet outside the picture of a single camera are left alone. `training/LOG.md` has the measurements.
"""

from dataclasses import dataclass, replace

import numpy as np

from refit_rt import config, geometry
from refit_rt.body.smpl import Body
from refit_rt.cameras import Camera
from refit_rt.fit import feet_kernels, kernels
from refit_rt.fit.smooth import GAP_S
from refit_rt.types import CONTACTS, JOINTS, People

LEGS = [1, 4, 7, 2, 5, 8]  # hip, knee, ankle: of the left leg, of the right one
POINTS = np.array(CONTACTS)  # left and right ankle, left and right ball of the foot
# m/s, deviations of the speed of a foot that stands, as measured in published bodies: across and along the line of
# sight of one camera, and in any direction where several cameras see the person.
SPEED_NOISE, SPEED_NOISE_SEVERAL = np.array([0.15, 0.15, 0.4]), np.full(3, 0.2)
SPEED = 1.0  # m/s, deviation along each axis of the speed of a foot that swings
HEIGHT_NOISE_M = 0.03  # of a foot that stands, about its height on a bare sole: shoes, and the fit
TILT = 0.2  # radians by which a camera without a calibration may be off upright
# Deviation of the error of a body's place: metres across, share of the depth along one camera's line of sight.
PLACE_NOISE_M, PLACE_NOISE_SIGHT = 0.01, 0.02


@dataclass(slots=True, eq=False)
class Stance:
    """One person's feet. Vectors are in the world; the axes of a covariance are those of the line of sight."""

    time_s: float
    points: np.ndarray  # (4, 3) where the contact points were, before any correction
    speed: np.ndarray  # (4, 3) m/s
    odds: np.ndarray  # (4,) logarithm of the odds that each one stands
    stands: np.ndarray  # (2,) bool: which foot is held
    share: np.ndarray  # (2,) where between ankle, 0, and ball, 1, each foot is held
    place: np.ndarray  # (3, 3) the error of the body's place, then where each foot stands
    spread: np.ndarray  # (3, 3, 3) of each axis, the covariance of these three
    offset: np.ndarray  # (2, 2, 3) of each foot: how far the leg is bent from the shifted body, and its speed

    @staticmethod
    def begun(time_s: float, points: np.ndarray, deviation: np.ndarray) -> "Stance":
        """The feet of a person who is new; points (4, 3), deviation (3,) of the body's place."""
        spread = np.zeros((3, 3, 3))
        spread[:, 0, 0] = deviation**2
        odds, stands = np.full(4, -np.inf), np.zeros(2, np.bool_)  # one frame says nothing: contacts are 0
        return Stance(
            time_s, points, np.zeros((4, 3)), odds, stands, np.zeros(2), np.zeros((3, 3)), spread, np.zeros((2, 2, 3))
        )


class Feet:
    """Holds the feet of each person by id, at whatever times frames come."""

    def __init__(self, settings: config.Smooth, body: Body) -> None:
        self._enabled, self._body = settings.enabled and settings.feet, body
        self._stances: dict[int, Stance] = {}
        sole = body.template[:, 1].min()
        self._rest_m = (body.joint_template[POINTS, 1] - sole).astype(np.float64)  # heights over the sole

    def plant(
        self, people: People, camera: Camera, upright: bool = False, measured: np.ndarray | None = None
    ) -> People:
        """The same people with their feet on the floor, and `contacts`. Unchanged without smooth.feet.

        people: smoothed, with `floor` where it is known. camera: the one in whose frame they are. upright: where the
        floor is not known, whether the world's y is about upwards. measured: whose (n,) place several cameras have
        measured, so that it is as sure along the line of sight as across. None: nobody's.
        """
        if not self._enabled or not len(people.ids):
            return people
        rotations, poses = np.empty((len(people.ids), JOINTS, 3, 3)), people.poses.copy()
        feet_kernels.matrices(people.poses, rotations)
        joints, trans = people.joints_camera.astype(np.float64), people.trans.astype(np.float64)
        positions = np.array(people.world_from_cameras or (camera.place,)).reshape(-1, 3, 4)[:, :, 3]
        present: dict[int, Stance] = {}
        turn = np.ascontiguousarray(camera.world_from_camera[:3, :3].T)  # camera from world
        for row, person in enumerate(people.ids.tolist()):
            several = measured is not None and bool(measured[row])
            stance = self._observe(person, people, row, positions, several, upright)
            feet_kernels.shift_and_bend(
                turn, stance.place[0], stance.offset[:, 0], rotations[row], joints[row], trans[row]
            )
            joints[row] = self._body.joints(rotations[row], people.betas[row]) + trans[row]
            present[person] = stance
        absent = {i: one for i, one in self._stances.items() if 0 <= people.time_s - one.time_s <= GAP_S}
        self._stances = absent | present
        odds = np.stack([stance.odds for stance in present.values()])
        bent = np.empty((len(people.ids), len(LEGS), 3), np.float32)
        kernels.axis_angles(np.ascontiguousarray(rotations[:, LEGS]), bent)
        poses[:, LEGS] = bent
        return replace(
            people,
            poses=poses,
            trans=trans.astype(np.float32),
            joints_camera=joints.astype(np.float32),
            joints_px=geometry.project(joints, people.focal_px, people.centre_px).astype(np.float32),
            joints_world=camera.world(joints).astype(np.float32),
            contacts=(1 / (1 + np.exp(-odds))).astype(np.float32),
        )

    def forget(self) -> None:
        """Everybody's feet are found afresh."""
        self._stances = {}

    def _observe(
        self, person: int, people: People, row: int, positions: np.ndarray, several: bool, upright: bool
    ) -> Stance:
        """One person's feet after this frame. positions (c, 3) of the cameras, world."""
        points = people.joints_world[row, POINTS].astype(np.float64)
        views = int(people.views[row])
        first = (views & -views).bit_length() - 1 if views > 0 else 0  # camera that shows the person
        axes, depth = feet_kernels.axes_of(people.joints_world[row, 0] - positions[min(first, len(positions) - 1)])
        along_m, noise = PLACE_NOISE_SIGHT * depth, SPEED_NOISE
        if several:
            along_m, noise = PLACE_NOISE_M, SPEED_NOISE_SEVERAL
        deviation = np.array([PLACE_NOISE_M, PLACE_NOISE_M, along_m])
        stance = self._stances.get(person)
        if stance is None or not 0 < people.time_s - stance.time_s <= GAP_S:
            return Stance.begun(people.time_s, points, deviation)
        dt_s, stance.time_s = people.time_s - stance.time_s, people.time_s
        normal, heights, height_noise = self._heights(people, points - stance.place[0], upright)
        # A wrong depth moves a foot off the floor, by this much
        wrong_m = 0.0 if several or people.floor is None else float(normal @ axes[2]) * along_m
        feet_kernels.weigh(
            points,
            dt_s,
            axes,
            noise,
            SPEED,
            heights,
            np.hypot(height_noise, wrong_m),
            stance.points,
            stance.speed,
            stance.odds,
        )
        if len(positions) == 1:  # several cameras may see what the first one does not
            pixels = people.joints_px[row, POINTS]
            stance.odds[((pixels < 0) | (pixels > people.size)).any(1)] = -feet_kernels.MOST_ODDS
        feet_kernels.hold(
            points, dt_s, axes, deviation, stance.odds, stance.stands, stance.share, stance.place, stance.spread,
            stance.offset,
        )  # fmt: skip
        return stance

    def _heights(self, people: People, points: np.ndarray, upright: bool) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """The floor's normal (3,), the heights (4,) of points (4, 3) over where they would stand, and their deviations
        (4,): infinite where nothing is known.

        Without a floor, the lower foot is taken to be on it, and the camera to be about upright.
        """
        if people.floor is not None:
            normal = np.array(people.floor[:3])
            return normal, points @ normal - people.floor[3] - self._rest_m, np.full(4, HEIGHT_NOISE_M)
        normal = np.array([0.0, 1.0, 0.0])
        if not upright:
            return normal, np.zeros(4), np.full(4, np.inf)
        heights = points[:, 1] - self._rest_m
        lowest = int(heights.argmin())
        apart = np.linalg.norm((points - points[lowest])[:, [0, 2]], axis=1)
        return normal, heights - heights[lowest], np.hypot(2 * HEIGHT_NOISE_M, TILT * apart)
