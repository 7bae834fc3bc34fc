"""FrameSet → bodies in the world: every person fitted in all views at once.

Each view runs the loop on its own crop, one update at a time, and the views agree after each one (`fit.agree`). The
body is then moved onto the key points that the detector has found in any of the views lately (`fit.refine`, the same
code as for one view), which also tell the person's shape: several views measure bones, one does not.
"""

import math
from collections import deque
from dataclasses import dataclass, field, replace

import numpy as np

from refit_rt import config, geometry
from refit_rt.body.shape import Shapes
from refit_rt.body.smpl import Body
from refit_rt.body.stature import Stature
from refit_rt.bundle.read import Crop
from refit_rt.cameras import Camera
from refit_rt.fit import kernels, mirror, refine, start
from refit_rt.fit.agree import Eye, agreed, facing_together
from refit_rt.fit.crops import NECK, PELVIS, SHORT_TORSO, cut_rgb, lean, square_of_body
from refit_rt.fit.fitter import exchanged
from refit_rt.fit.refine import HISTORY_S, NO_SHAPE, NUMBERS, SAME_S, Eased, Errors, Sight
from refit_rt.fit.smooth import LEAST_ERROR_M
from refit_rt.runners import Runner
from refit_rt.types import BETAS, JOINTS, Encoded, Frame, Pose, Square, State, Wanted, WorldFit

# Of the covariance of one view's rotations, what is left when views agree. On the two real clips 0.25 to 2 differ by
# 3 mm; the treadmill prefers more, the desk less.
LEFT = 0.5
PLACE_M = 0.05  # deviation of the pelvis where lines of sight cross
SEEN_S = 0.3  # key points older than this say nothing
OPPOSED_S = 0.4  # for so long, the last body is believed against most views: in a hug they see two people
GONE_S = 10.0  # who was not fitted for so long is forgotten
SHAPE_S = 0.25  # between two measurements of a shape: errors of key points in successive frames are alike
# A shape is the mean of this many measurements at most, each with the population's prior. Key points err alike for
# minutes: a filter that takes them for independent arrives at betas of 3 on the treadmill and of 5 at the desk.
MOST_MEASURED = 40
SHOWN_S = 0.5  # time constant with which a shape moves to its estimate
MOVING_S = 0.15  # key points this old count half: the error of a body changes


@dataclass(slots=True, eq=False)
class _Known:
    """What the fit remembers of a person."""

    pose: Pose  # of the last tick, in the world
    time_s: float
    velocity: np.ndarray  # (3,) metres per second
    opposed_since_s: float = np.inf  # since when most views' fresh estimates face another way
    restart: bool = False  # the next fit starts cold, from the views' own estimates
    bodies: deque = field(default_factory=deque)  # of (time_s, Pose, {camera: crop's side px})
    seen: dict[int, tuple[float, np.ndarray]] = field(default_factory=dict)  # camera → time, key points (17, 3)
    new: bool = False  # key points have come since the last correction
    change: Eased = field(default_factory=Eased)
    betas: np.ndarray = field(default_factory=lambda: np.zeros(BETAS))  # the shape: the mean of its measurements
    measured: int = 0  # how many these are
    shaped_s: float = -np.inf  # when the last one was made
    shown: np.ndarray | None = None  # (10,) the betas that are published


class ViewsFitter:
    """Fits people in all views of a rig, remembering each between ticks. Plain calls, no threads."""

    def __init__(
        self,
        settings: config.Fit,
        runner: Runner,
        body: Body,
        crop: Crop,
        bundle_name: str = "",
        errors: Errors | None = None,
    ) -> None:
        """See fit.fitter.Fitter. Raises UserError for shapes and statures that the body cannot have."""
        self.body, self.bundle_name = body, bundle_name
        self._settings, self._crop, self._errors = settings, crop, errors if settings.keypoints else None
        self._runner = runner
        self._mirrored = None if settings.mirror == "off" else mirror.MirroredRunner(runner)
        self._shapes = Shapes(body, settings.shapes)
        self._usual, self._spread = shapes_as_tall(body, settings.stature_m)
        self._known: dict[int, _Known] = {}

    @property
    def corrects(self) -> bool:
        """Whether bodies are moved onto key points."""
        return self._errors is not None

    def look(self, person: int, camera: int, time_s: float, keypoints: np.ndarray) -> None:
        """What a detector has found of a person: key points (17, 3) px and score, in a camera's frame of time_s."""
        known = self._known.get(person)
        if known is not None and time_s >= known.seen.get(camera, (-np.inf, None))[0]:
            known.seen[camera], known.new = (time_s, keypoints), True

    def forget(self, person: int | None = None) -> None:
        """The person's next fit starts cold; None: everybody's."""
        self._known = {} if person is None else {key: one for key, one in self._known.items() if key != person}

    def fit(
        self, time_s: float, frames: list[Frame | None], cameras: list[Camera], people: list[Wanted]
    ) -> list[WorldFit]:
        """The bodies of people in a tick, in the same order; nobody is fitted in a camera without a frame.

        frames: as the cameras took them, with the lenses' distortion; squares and bodies are in the straight pictures.
        """
        self._known = {key: one for key, one in self._known.items() if time_s - one.time_s < GONE_S}
        jobs = [self._job(time_s, frames, cameras, one) for one in people]
        crops = [
            (frame, eye, cameras[camera], mirrored)
            for job in jobs
            for frame, eye, camera, mirrored in zip(job.frames, job.eyes, job.cameras, job.mirrored, strict=True)
        ]
        pictures = np.empty((len(crops), self._runner.crop_px, self._runner.crop_px, 3), np.uint8)
        for (frame, eye, camera, mirrored), picture in zip(crops, pictures, strict=True):
            cut_rgb(frame.image, eye.square, camera, mirrored=mirrored, out=picture)
        # While one person is fitted, the next one's crops are encoded.
        encoded = map(kept, self._runner.encode_all(pictures) if crops else ())
        fits = [self._fit_person(job, [next(encoded) for _ in job.eyes]) for job in jobs]
        return [self._finished(time_s, job, fit, cameras) for job, fit in zip(jobs, fits, strict=True)]

    def _job(self, time_s: float, frames: list[Frame | None], cameras: list[Camera], wanted: Wanted) -> "_Job":
        """Where to cut a person out of each view, and the body to start from."""
        known = None if wanted.boxes else self._known.get(wanted.id)
        around = None  # the body to cut out
        if known is not None:
            ahead_s = min(max(time_s - known.time_s, 0.0), start.MEMORY_S)
            around = replace(known.pose, trans=known.pose.trans + ahead_s * known.velocity)
        job = _Job(wanted, None)
        if known is not None and self._settings.warm and not known.restart:
            job.last = around if 0 <= time_s - known.time_s < start.MEMORY_S else None
        for camera in wanted.views:
            frame = frames[camera]
            if frame is None or (around is None and camera not in wanted.boxes):
                continue
            if around is not None:
                square = self.square_in(around, cameras[camera])
            else:
                xyxy, roll = wanted.boxes[camera]
                square = geometry.square_around(xyxy, self._crop.margin, roll if self._crop.normalise_roll else 0.0)
            job.cameras.append(camera)
            job.frames.append(frame)
            job.eyes.append(Eye.of(square, cameras[camera]))
            # Every other view sees mirror images: their errors differ, so that the mean is better, and it does not
            # alternate from frame to frame as with one view.
            job.mirrored.append(self._mirrored is not None and job.last is not None and len(job.cameras) % 2 == 0)
        return job

    def square_in(self, body: Pose, camera: Camera) -> Square:
        """Where a camera sees a body of the world, standing upright."""
        points = camera.camera(self.body.joints_and_markers(body.rotations, body.betas) + body.trans)
        points_px = geometry.project(points, camera.focal_px, camera.centre_px)
        roll = lean(points_px[PELVIS], points_px[NECK], SHORT_TORSO * float(np.ptp(points_px, axis=0).max()), 0.0)
        return square_of_body(points_px, roll, camera.size, self._crop)

    def _fit_person(self, job: "_Job", encoded: list[Encoded]) -> "_Fit | None":
        """The loop in every view, agreed upon after every update."""
        if not job.eyes:
            return None
        runners = [self._mirrored if mirrored and self._mirrored else self._runner for mirrored in job.mirrored]
        states = [runner.initial(one, eye.view) for runner, one, eye in zip(runners, encoded, job.eyes, strict=True)]
        iterations = self._settings.cold_iterations if job.last is None else self._settings.iterations
        states, encoded, opposed = self._started(job, states, encoded)
        weights = np.ones(len(states))
        body = agreed(job.eyes, states, weights, self.body)
        errors_m, presence, made = np.full(len(states), LEAST_ERROR_M), np.ones(len(states)), 0
        for _ in range(iterations):
            for row, (runner, eye, one) in enumerate(zip(runners, job.eyes, encoded, strict=True)):
                result = runner.iterate(one, eye.view, eye.state(body, self.body), 1)
                states[row] = result.state
                if result.error_px is not None:
                    scale = max(float(result.state.cam[0]), 1e-3)
                    errors_m[row] = max(result.error_px / (start.HALF_CROP_PX * scale), LEAST_ERROR_M)
                presence[row] = 1.0 if result.presence is None else result.presence
            made += 1
            weights = presence / errors_m**2 + 1e-6
            body = agreed(job.eyes, states, weights, self.body)
        # Of views that err alike, the mean is as good as the usual one of them, and the best of them is believed most.
        usual_m = math.sqrt(float(weights.sum() / (weights / errors_m**2).sum()))
        sure = float(presence.max() / (1 + (usual_m / start.CONFIDENT_M) ** 2))
        return _Fit(body, sure, made, opposed)

    def _started(
        self, job: "_Job", states: list[State], encoded: list[Encoded]
    ) -> tuple[list[State], list[Encoded], bool]:
        """Where each view starts, and whether most views oppose the last body.

        A view starts between the last body and its own fresh estimate, as it would by itself. One whose estimate faces
        another way than the last body starts at that; without one, where most other views do.
        """
        roots = np.stack([eye.root(state) for eye, state in zip(job.eyes, states, strict=True)])
        if job.last is None:
            together = facing_together(roots)
            if together.all():
                return states, encoded, False
            of_those = [row for row in range(len(states)) if together[row]]
            body = agreed(
                [job.eyes[row] for row in of_those],
                [states[row] for row in of_those],
                np.ones(len(of_those)),
                self.body,
            )
            states = [
                one if sure else eye.state(body, self.body)
                for one, sure, eye in zip(states, together, job.eyes, strict=True)
            ]
            return states, [one if sure else exchanged(one) for one, sure in zip(encoded, together, strict=True)], False
        out, share = [], self._settings.blend
        last = [eye.state(job.last, self.body) for eye in job.eyes]
        away = start.faces_away(np.broadcast_to(job.last.rotations[0], roots.shape), roots)
        for before, fresh, opposed in zip(last, states, away, strict=True):
            if opposed or not start.sizes_agree(before.cam[:1], fresh.cam[:1])[0]:
                out.append(before)
                continue
            six = np.empty(6 * JOINTS)
            kernels.orthonormal_pose(fresh.pose6d, six)
            mixed = (
                start.blended(before.pose6d, six, share),
                start.blended(before.betas, fresh.betas, share),
                start.blended(before.cam, fresh.cam, share),
            )
            out.append(State(*(np.ascontiguousarray(part, np.float32) for part in mixed)))
        most = len(away) > 1 and 2 * np.count_nonzero(away) > len(away) and facing_together(roots[away]).all()
        return out, [exchanged(one) if opposed else one for one, opposed in zip(encoded, away, strict=True)], bool(most)

    def _finished(self, time_s: float, job: "_Job", fit: "_Fit | None", cameras: list[Camera]) -> WorldFit:
        """Remembered, moved onto key points, with the person's shape."""
        person = job.wanted.id
        if fit is None:  # no camera that sees the person has a frame
            nobody = Pose(np.tile(np.eye(3), (JOINTS, 1, 1)), np.zeros(BETAS), np.zeros(3))
            return self._fit_of(job, job.last or nobody, 0.0, 0)
        if fit.confidence < self._settings.min_confidence or not np.isfinite(fit.body.trans).all():
            self._known.pop(person, None)
            return self._fit_of(job, fit.body, 0.0, fit.iterations)
        known = self._known.get(person)
        if known is None or job.last is None or time_s <= known.time_s:
            shape = {} if known is None else {"betas": known.betas, "measured": known.measured, "shown": known.shown}
            known = self._known[person] = _Known(fit.body, time_s, np.zeros(3), **shape)
        sides = {camera: eye.square.side_px for camera, eye in zip(job.cameras, job.eyes, strict=True)}
        known.bodies.append((time_s, fit.body, sides))
        while time_s - known.bodies[0][0] > HISTORY_S:
            known.bodies.popleft()
        known.opposed_since_s = min(known.opposed_since_s, time_s) if fit.opposed else np.inf
        known.restart = time_s - known.opposed_since_s >= OPPOSED_S
        before, passed_s, known.pose = known.pose, time_s - known.time_s, fit.body
        pose = self._corrected(known, person, time_s, cameras)
        if passed_s > 0:
            known.velocity = 0.5 * known.velocity + 0.5 * (pose.trans - before.trans) / passed_s
        known.pose, known.time_s = pose, time_s
        return self._fit_of(job, pose, fit.confidence, fit.iterations)

    def _fit_of(self, job: "_Job", pose: Pose, confidence: float, iterations: int) -> WorldFit:
        joints = self.body.joints(pose.rotations, pose.betas) + pose.trans
        return WorldFit(job.wanted.id, pose, joints, confidence, iterations, tuple(job.cameras), job.last is None)

    # The shape and the key points

    def _corrected(self, known: _Known, person: int, time_s: float, cameras: list[Camera]) -> Pose:
        held = self._shapes.made(person, known.pose.betas, known.pose.trans)
        if held is not None:
            known.betas = known.shown = held[0].astype(np.float64)
            known.measured = 1
        if known.new and self._errors is not None:
            self._take_looks(known, time_s, cameras, measured=held is None)
            known.new = False
        if known.shown is None:
            known.shown = known.betas if known.measured else self._as_tall(known.pose.betas)
        elif held is None and known.measured:
            passed_s = time_s - known.bodies[-2][0] if len(known.bodies) > 1 else 0.0
            known.shown = known.shown + (1 - math.exp(-passed_s / SHOWN_S)) * (known.betas - known.shown)
        pose = with_betas(known.pose, known.shown, self.body)
        now = known.change.at(time_s)
        return pose if now is None else refine.corrected(pose, now, np.eye(3))

    def _take_looks(self, known: _Known, time_s: float, cameras: list[Camera], measured: bool) -> None:
        """The newest correction, by what was seen lately; the shape, where it is to be measured."""
        assert self._errors is not None
        sights = []
        for camera, (then_s, keypoints) in known.seen.items():
            if time_s - then_s > SEEN_S:
                continue
            at_s, then, sides = min(known.bodies, key=lambda one: abs(one[0] - then_s))
            if abs(at_s - then_s) > SAME_S or camera not in sides:
                continue
            older = math.sqrt(1 + ((time_s - then_s) / MOVING_S) ** 2)
            here = with_betas(then, known.betas if known.measured else self._as_tall(then.betas), self.body)
            sights.append(
                Sight(here, keypoints, older * sides[camera], cameras[camera], cameras[camera].camera_from_world)
            )
        if not sights:
            return
        axes = np.eye(3) if len(known.bodies[-1][2]) > 1 else self._axes_of_one(known, sights[0])
        several = len({one.camera.name for one in sights}) > 1
        if several and measured and time_s - known.shaped_s >= SHAPE_S:
            self._measure(known, time_s, sights)
            sights = [replace(one, pose=with_betas(one.pose, known.betas, self.body)) for one in sights]
        covariance = self._covariance(len(known.bodies[-1][2]))
        found = refine.most_probable(sights, self.body, self._errors, covariance, axes, NO_SHAPE)
        if found is None:
            return
        found[3 * JOINTS :] = axes @ found[3 * JOINTS :]
        known.change.take(found, max(then_s for then_s, _ in known.seen.values()))

    def _measure(self, known: _Known, time_s: float, sights: list[Sight]) -> None:
        """One more measurement of the shape: the most probable betas of a person of whose shape at most the stature is
        known."""
        assert self._errors is not None
        anybody = [replace(one, pose=with_betas(one.pose, self._usual, self.body)) for one in sights]
        covariance = np.zeros((NUMBERS + BETAS, NUMBERS + BETAS))
        covariance[:NUMBERS, :NUMBERS] = self._covariance(len(sights))
        covariance[NUMBERS:, NUMBERS:] = self._spread
        dirs = np.asarray(self.body.joint_shape_dirs, np.float64)
        found = refine.most_probable(anybody, self.body, self._errors, covariance, np.eye(3), dirs)
        if found is not None:
            known.measured, known.shaped_s = min(known.measured + 1, MOST_MEASURED), time_s
            known.betas = known.betas + (self._usual + found[NUMBERS:] - known.betas) / known.measured

    def _as_tall(self, betas: np.ndarray) -> np.ndarray:
        """The nearest betas (10,) of the known stature, if there is one."""
        return self._usual + self._spread @ betas

    def _axes_of_one(self, known: _Known, sight: Sight) -> np.ndarray:
        """How the pelvis moves in the world by the numbers of a single view."""
        there = sight.camera_from_base
        pelvis = refine.moved_into(there, (self.body.rest_pelvis(known.pose.betas) + known.pose.trans)[None])[0]
        return there[:3, :3].T @ refine.place_axes(pelvis, 0.0)

    def _covariance(self, views: int) -> np.ndarray:
        """(75, 75) of the correction that is expected of a body that so many views agree on."""
        assert self._errors is not None
        if views < 2:
            return self._errors.covariance
        covariance, turns = PLACE_M**2 * np.eye(NUMBERS), slice(0, 3 * JOINTS)
        covariance[turns, turns] = LEFT * self._errors.covariance[turns, turns]
        return covariance


@dataclass(slots=True, eq=False)
class _Job:
    """One person's crops in one tick."""

    wanted: Wanted
    last: Pose | None  # where the loop starts, in the world; None: cold
    cameras: list[int] = field(default_factory=list)
    frames: list[Frame] = field(default_factory=list)
    eyes: list[Eye] = field(default_factory=list)
    mirrored: list[bool] = field(default_factory=list)


@dataclass(frozen=True, slots=True, eq=False)
class _Fit:
    """What the loop ends with."""

    body: Pose  # in the world
    confidence: float
    iterations: int
    opposed: bool  # most views' fresh estimates face another way than the last body, and agree with one another


def kept(encoded: Encoded) -> Encoded:
    """Maps that stay when the next crop is encoded: unlike those of one view, all of a person are needed at once, and
    an encoder may use its memory again."""
    maps = np.asarray(encoded.maps)
    return replace(encoded, maps=maps if maps.flags.owndata else maps.copy())


def with_betas(pose: Pose, betas: np.ndarray, body: Body) -> Pose:
    """The same pose of another shape, with the pelvis where it was."""
    return Pose(pose.rotations, betas, pose.trans + body.rest_pelvis(pose.betas) - body.rest_pelvis(betas))


def shapes_as_tall(body: Body, stature_m: float) -> tuple[np.ndarray, np.ndarray]:
    """Mean (10,) and covariance (10, 10) of the betas of people of a stature; 0: of everybody.

    Betas are independent and of variance 1 in everybody, and a stature is a linear function of them: given it, they
    differ only across its slope. Raises UserError when the body cannot take that height.
    """
    if not stature_m:
        return np.zeros(BETAS), np.eye(BETAS)
    stature = Stature(body, stature_m)
    usual, _ = stature.made(np.zeros(BETAS), np.zeros(3))
    slope = np.array([stature.of(one) for one in np.eye(BETAS)]) - stature.of(np.zeros(BETAS))
    slope /= np.linalg.norm(slope)
    return usual.astype(np.float64), np.eye(BETAS) - np.outer(slope, slope)
