"""Tracks → People: crop each person, run the loop from last frame's body, place the body in camera and world."""

import logging
from dataclasses import dataclass, replace
from time import monotonic

import cv2
import numpy as np
from numpy.typing import ArrayLike

from refit_rt import config, geometry
from refit_rt.body.smpl import Body
from refit_rt.body.stature import Stature
from refit_rt.bundle.read import Crop
from refit_rt.cameras import Camera
from refit_rt.fit import mirror
from refit_rt.fit.crops import cam_from_translation, lean, square, translation_from_cam, within_reach
from refit_rt.runners import Result, Runner, Seen, State, View
from refit_rt.types import Frame, People, Tracks

log = logging.getLogger(__name__)

PELVIS, NECK = 0, 12
OPPOSED_RAD = np.deg2rad(80)  # fresh and last body turned apart by more see front and back the other way round
OPPOSED_S = 0.7  # so long the last body is believed then, but no longer than it was agreed with before
SHORT_TORSO = 0.12  # of the crop: below this the torso points at the camera and says nothing about roll
LEAST_SIDE_PX = 16.0
LEAST_SHARE = 0.2  # of a body's extent, or of the picture's if that is less: the crop of whom hardly a hand is left
MEMORY_S = 0.5  # a body older than this is no start
MOST_SCALE = 1.6  # a body that grows or shrinks by more than this in a frame is a mistake
HALF_CROP_PX = 128  # pixels of the crop in which errors are foretold; it shows 1 / scale metres of the body
CONFIDENT_M = 0.115  # foretold error, as metres at the body, at which confidence has fallen to one half
SHOULDERS, HIPS = (11, 12), (23, 24)  # BlazePose landmarks
# The landmarks' rows with left and right exchanged: eyes, ears, mouth, then every limb.
EXCHANGED = np.array([0, 4, 5, 6, 1, 2, 3, 8, 7, 10, 9, *(i + 1 - 2 * (i % 2 == 0) for i in range(11, 33))])


@dataclass(slots=True)
class Memory:
    """Where a person was a moment ago, in the camera's frame."""

    time_s: float
    rotations: np.ndarray  # (24, 3, 3)
    betas: np.ndarray  # (10,)
    trans: np.ndarray  # (3,) metres
    points_px: np.ndarray  # (91, 2) joints and markers, image pixels
    roll: float  # radians
    centre_px: np.ndarray  # (2,) of the box
    velocity_px_s: np.ndarray  # (2,)
    opposed_since_s: float | None  # since when the fresh estimate sees front and back the other way round
    born_s: float = -np.inf  # when it last began from nothing
    in_mirror: bool = False  # whether the look was at the mirror image
    earlier: mirror.Answer | None = None  # the look before, if it went on to this one


@dataclass(frozen=True, slots=True, eq=False)
class Fitted:
    """One person's body in one frame."""

    rotations: np.ndarray  # (24, 3, 3)
    betas: np.ndarray  # (10,)
    trans: np.ndarray  # (3,) metres, camera frame
    joints: np.ndarray  # (24, 3) metres, camera frame
    points_px: np.ndarray  # (91, 2) joints and markers, image pixels
    roll: float
    confidence: float
    iterations: int
    opposed: bool  # to the network's fresh estimate
    began_anew: bool = False
    in_mirror: bool = False


class Fitter:
    """Fits the people of each frame, remembering each between frames. Plain calls, no threads."""

    def __init__(
        self,
        settings: config.Fit,
        runner: Runner,
        body: Body,
        crop: Crop,
        bundle_name: str = "",
    ) -> None:
        """crop: how the network wants people cut out. Raises UserError for a stature that the body cannot have."""
        self.body, self.bundle_name = body, bundle_name
        self._settings = settings
        self._runner = mirror.TwiceRunner(runner) if settings.mirror == "both" else runner
        self._in_mirror = mirror.MirroredRunner(runner) if settings.mirror == "turns" else None
        self._crop = crop
        self._stature = Stature(body, settings.stature_m) if settings.stature_m else None
        self._memory: dict[int, Memory] = {}

    def fit(self, tracks: Tracks, camera: Camera) -> tuple[People, np.ndarray]:
        """The bodies of a frame, and how each leans: roll (person,) radians, for the tracker."""
        frame = tracks.frame
        self._forget(frame.time_s, tracks.ids)
        for person in tracks.ids[tracks.fresh]:  # the body is not where the detector sees the person: begin anew
            self._memory.pop(int(person), None)
        rows = zip(tracks.ids, tracks.xyxy, tracks.roll, strict=True)
        fits = [self._sized(self._person(frame, camera, *row), camera) for row in rows]
        return people_of(frame, camera, tracks.ids, fits), np.array([f.roll for f in fits], np.float32)

    def _person(self, frame: Frame, camera: Camera, person: int, xyxy: np.ndarray, roll: float) -> Fitted:
        memory = self._memory.get(int(person)) if self._settings.warm else None
        if memory is None:
            centre, side = square(xyxy, self._crop.margin)
            fitted = self._look(frame, camera, centre, side, float(roll), None)
            # A detector's box is not the box of a body: look again at where the body was found.
            if fitted.confidence >= self._settings.min_confidence:
                fitted = self._look(
                    frame, camera, *self._crop_of(fitted.points_px, fitted.roll, frame.size), fitted.roll, None
                )
        else:
            centre, side = self._crop_of(memory.points_px, memory.roll, frame.size)
            centre = centre + memory.velocity_px_s * (frame.time_s - memory.time_s)
            fitted = self._look(frame, camera, centre, side, memory.roll, memory)
            if fitted.confidence < self._settings.min_confidence:  # a cut, or drift: once more from nothing
                fresh = self._look(frame, camera, *square(xyxy, self._crop.margin), float(roll), None)
                fitted = max(fitted, fresh, key=lambda one: one.confidence)
        told = self._told(fitted, memory, frame.time_s, camera)
        self._remember(int(person), frame, fitted, memory)
        return told

    def _told(self, fitted: Fitted, memory: Memory | None, time_s: float, camera: Camera) -> Fitted:
        """What is sent of a look: with the last one's answer, when that was at the other hand's picture."""
        if fitted.began_anew or memory is None or memory.earlier is None or memory.in_mirror == fitted.in_mirror:
            return fitted
        now = mirror.Answer(time_s, fitted.rotations, fitted.betas, fitted.trans)
        last = mirror.Answer(memory.time_s, memory.rotations, memory.betas, memory.trans)
        calm = mirror.steadied(now, last, memory.earlier)
        return self._with(fitted, camera, calm.rotations, calm.betas, calm.trans)

    def _sized(self, fitted: Fitted, camera: Camera) -> Fitted:
        """As tall as the person is, if that is known. Only what is sent: the next start is what the network said."""
        if self._stature is None:
            return fitted
        betas, trans = self._stature.made(fitted.betas, fitted.trans)
        return self._with(fitted, camera, fitted.rotations, betas, trans)

    def _with(
        self, fitted: Fitted, camera: Camera, rotations: np.ndarray, betas: np.ndarray, trans: np.ndarray
    ) -> Fitted:
        """The same fit of another body, and where that falls."""
        joints, markers = (at(rotations, betas) + trans for at in (self.body.joints, self.body.markers_at))
        points_px = geometry.project(np.concatenate([joints, markers]), camera.focal_px, camera.centre_px)
        return replace(fitted, rotations=rotations, betas=betas, trans=trans, joints=joints, points_px=points_px)

    def _look(
        self, frame: Frame, camera: Camera, centre: np.ndarray, side: float, roll: float, memory: Memory | None
    ) -> Fitted:
        """One crop: encode, choose the start, iterate, place. centre (2,) and side in image pixels."""
        if not self._crop.normalise_roll:
            roll = 0.0
        in_mirror = self._in_mirror is not None and memory is not None and not memory.in_mirror
        runner = self._in_mirror if self._in_mirror and in_mirror else self._runner
        image = geometry.crop(frame.image, centre, side, roll, runner.crop_px)
        middle = np.asarray(camera.centre_px)
        turn = geometry.roll_matrix(roll)
        view = View((*(turn[:2, :2] @ (centre - middle) + middle), side), camera.focal_px, camera.centre_px)
        seen = runner.encode(cv2.cvtColor(image, cv2.COLOR_BGR2RGB))
        state = runner.initial(seen, view)
        most = self._settings.cold_iterations
        opposed = memory is not None and self._opposed(memory, state, turn)
        if opposed and memory and disbelieved(memory, frame.time_s):
            memory, opposed = None, False
        start = memory and self._start(memory, state, turn, view, 1.0 if opposed else self._settings.blend)
        if start is not None:
            state, most = start, self._settings.iterations
            seen = exchanged(seen) if opposed else seen
        opposed = opposed and start is not None
        deadline_s = frame.captured_s + self._settings.deadline_ms / 1000 if self._settings.deadline_ms else None
        result = runner.iterate(seen, view, state, most, np.deg2rad(self._settings.update_deg), deadline_s)
        return replace(
            self._place(result, seen, view, turn, roll, camera, opposed), began_anew=start is None, in_mirror=in_mirror
        )

    def _opposed(self, memory: Memory, fresh: State, turn: np.ndarray) -> bool:
        """Whether last frame's body faces another way than the fresh estimate: then left and right were exchanged.

        In a hard view BlazePose does so for many frames at a time. Going on from the last body, with the landmarks'
        left and right exchanged back, took PA from 78 to 72 mm and jitter from 59 to 27 mm on real video; going on
        with them as they are made it worse than starting anew.
        """
        root = geometry.matrix_from_6d(fresh.pose6d[:6])
        return bool(geometry.angle_between(turn @ memory.rotations[0], root) > OPPOSED_RAD)

    def _start(self, memory: Memory, fresh: State, turn: np.ndarray, view: View, share: float) -> State | None:
        """Between last frame's body, by its `share`, and the fresh estimate; None when their sizes disagree wildly.

        From the last body alone tracking drifts, from the fresh one alone it jitters: on real video, with the backbone
        still frozen, PA was 74 mm from half of each, 78 mm from 0.7 of the last, and 80 mm, at four times the jitter,
        from the fresh one.
        """
        rotations, trans = self._seen_by_crop(memory, turn)
        new = geometry.matrix_from_6d(fresh.pose6d.reshape(24, 6))
        if trans[2] < 0.1:
            return None
        cam = cam_from_translation(trans, view)
        if not 1 / MOST_SCALE < cam[0] / max(fresh.cam[0], 1e-3) < MOST_SCALE:
            return None
        pose = share * geometry.six_d_from_matrix(rotations) + (1 - share) * geometry.six_d_from_matrix(new)
        return State(
            pose.reshape(144).astype(np.float32),
            (share * memory.betas + (1 - share) * fresh.betas).astype(np.float32),
            (share * cam + (1 - share) * fresh.cam).astype(np.float32),
        )

    def _seen_by_crop(self, memory: Memory, turn: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """A body of the camera's frame in the frame of the rolled crop: rotations (24, 3, 3), translation (3,)."""
        rotations = memory.rotations.copy()
        rotations[0] = turn @ rotations[0]
        pelvis = self.body.rest_pelvis(memory.betas)
        return rotations, turn @ (memory.trans + pelvis) - pelvis

    def _place(
        self, result: Result, seen: Seen, view: View, turn: np.ndarray, roll: float, camera: Camera, opposed: bool
    ) -> Fitted:
        """Out of the rolled crop, into the camera's frame."""
        state = result.state
        placed = np.concatenate([result.joints, result.markers]) + translation_from_cam(state.cam, view)
        points = placed @ turn  # each row turned by the inverse of `turn`
        rotations = result.rotations.copy()
        rotations[0] = turn.T @ rotations[0]
        # The root turns about the pelvis, which the translation must carry to where it now is.
        trans = points[PELVIS] - self.body.rest_pelvis(state.betas)
        points_px = geometry.project(points, camera.focal_px, camera.centre_px)
        if self._crop.normalise_roll:
            roll = lean(points_px[PELVIS], points_px[NECK], SHORT_TORSO * view.box[2], roll)
        confidence = confidence_of(result, seen)
        return Fitted(
            rotations, state.betas, trans, points[:24], points_px, roll, confidence, result.iterations, opposed
        )

    def _crop_of(self, points_px: np.ndarray, roll: float, size: tuple[int, int]) -> tuple[np.ndarray, float]:
        """The square crop round a projected body, upright by `roll`: centre (2,), side, image pixels.

        Of somebody cut off by the picture's edge it holds what can be seen, and a little more: so training crops.
        """
        inside = within_reach(points_px, np.zeros(2), np.array(size) - 1.0, self._crop.beyond)
        turn = geometry.roll_matrix(roll if self._crop.normalise_roll else 0.0)[:2, :2]
        upright = inside @ turn.T
        low, high = upright.min(0), upright.max(0)
        least_px = max(LEAST_SHARE * min(np.ptp(points_px, 0).max(), max(size)), LEAST_SIDE_PX)
        return turn.T @ ((low + high) / 2), max(float((high - low).max() * self._crop.margin), least_px)

    def _remember(self, person: int, frame: Frame, fitted: Fitted, before: Memory | None) -> None:
        if fitted.confidence < self._settings.min_confidence:
            self._memory.pop(person, None)
            return
        centre, _ = self._crop_of(fitted.points_px, fitted.roll, frame.size)
        velocity = np.zeros(2)
        if before is not None and frame.time_s > before.time_s:
            velocity = 0.5 * before.velocity_px_s + 0.5 * (centre - before.centre_px) / (frame.time_s - before.time_s)
        since_s = None
        if fitted.opposed:
            since_s = before.opposed_since_s if before and before.opposed_since_s is not None else frame.time_s
        earlier = None
        if before is not None and not fitted.began_anew:
            earlier = mirror.Answer(before.time_s, before.rotations, before.betas, before.trans)
        self._memory[person] = Memory(
            frame.time_s, fitted.rotations, fitted.betas, fitted.trans, fitted.points_px, fitted.roll, centre, velocity,
            since_s, frame.time_s if before is None or fitted.began_anew else before.born_s, fitted.in_mirror, earlier,
        )  # fmt: skip

    def _forget(self, time_s: float, ids: np.ndarray) -> None:
        """Drops bodies that are too old to start from, and those of people who are no longer followed."""
        keep = {int(i) for i in ids}
        self._memory = {k: m for k, m in self._memory.items() if k in keep and 0 <= time_s - m.time_s < MEMORY_S}


def disbelieved(memory: Memory, time_s: float) -> bool:
    """Whether a body that the fresh estimates oppose has been believed long enough.

    A person whose first estimate had front and back exchanged would else stay turned for OPPOSED_S: measured on real
    video, where every tenth frame was, and PA 86 mm.
    """
    since_s = time_s if memory.opposed_since_s is None else memory.opposed_since_s
    return time_s - since_s >= min(OPPOSED_S, since_s - memory.born_s)


def exchanged(seen: Seen) -> Seen:
    """The same crop with the landmarks' left and right exchanged."""
    if seen.keypoints is None:
        return seen
    other = None if seen.mirrored is None else exchanged(seen.mirrored)
    return replace(seen, keypoints=np.ascontiguousarray(seen.keypoints[EXCHANGED]), mirrored=other)


def confidence_of(result: Result, seen: Seen) -> float:
    """0..1 from the foretold error, and from whether the backbone sees shoulders or hips at all."""
    confidence = 1.0
    if result.error_px is not None:
        # Metres, not pixels: of who is cut off by the picture half a body fills the crop, and 14 px are 6 cm there.
        error_m = result.error_px / (HALF_CROP_PX * max(float(result.state.cam[0]), 1e-3))
        confidence = 1 / (1 + (error_m / CONFIDENT_M) ** 2)
    if seen.keypoints is not None:
        visible = seen.keypoints[:, 3]
        confidence *= float(max(visible[list(SHOULDERS)].mean(), visible[list(HIPS)].mean()))
    return confidence


def people_of(frame: Frame, camera: Camera, ids: np.ndarray, fits: list[Fitted]) -> People:
    """The message of a frame."""
    count = len(fits)

    def stack(arrays: ArrayLike, shape: tuple[int, ...]) -> np.ndarray:
        return np.asarray(arrays, np.float32).reshape(count, *shape)

    joints = stack([f.joints for f in fits], (24, 3))
    points = stack([f.points_px for f in fits], (-1, 2)) if fits else np.zeros((0, 24, 2), np.float32)
    rotations = stack([f.rotations for f in fits], (24, 3, 3))
    return People(
        camera=frame.camera, frame_index=frame.index, captured_s=frame.captured_s, time_s=frame.time_s,
        dropped=0, size=frame.size, focal_px=camera.focal_px, centre_px=camera.centre_px, ids=ids,
        poses=stack(geometry.axis_angle_from_matrix(rotations) if count else [], (24, 3)),
        betas=stack([f.betas for f in fits], (10,)), trans=stack([f.trans for f in fits], (3,)), joints_camera=joints,
        joints_px=points[:, :24], joints_world=camera.world(joints).astype(np.float32),
        box=np.concatenate([points.min(1), points.max(1)], 1) if count else np.zeros((0, 4), np.float32),
        confidence=stack([f.confidence for f in fits], ()), iterations=np.array([f.iterations for f in fits], np.int32),
    )  # fmt: skip


def make_fitter(settings: config.Fit) -> Fitter:
    """Loads the bundle and its runner. Raises UserError when either cannot be used."""
    from refit_rt.bundle.read import find_bundle, load_bundle
    from refit_rt.runners import make_runner

    bundle = load_bundle(find_bundle(settings.bundle), settings.body)
    if bundle.body.digest != bundle.card.body_sha256:
        log.warning(
            "body %s is not the one that %s was trained on: poses hold, but its shapes (betas) are another body's",
            bundle.body.name,
            bundle.card.name,
        )
    runner = make_runner(settings, bundle)
    warm_up(runner, bundle.body)
    return Fitter(settings, runner, bundle.body, bundle.crop, bundle.card.name)


def warm_up(runner: Runner, body: Body) -> None:
    """One pass over nothing: numba compiles here (half a minute once, then from its cache), while nobody waits."""
    log.info("warming up (the first time ever, the loop is compiled: half a minute)")
    began_s = monotonic()
    view = View((0.0, 0.0, 200.0), 1000.0, (0.0, 0.0))
    seen = runner.encode(np.zeros((runner.crop_px, runner.crop_px, 3), np.uint8))
    runner.iterate(seen, view, runner.initial(seen, view), 1)
    body.joints(np.tile(np.eye(3, dtype=np.float32), (24, 1, 1)), np.zeros(10, np.float32))  # the smoother's
    log.info("ready to fit after %.1f s", monotonic() - began_s)
