"""Tracks → People: crop each person, run the loop from last frame's body, place the body in camera and world."""

import math
from dataclasses import dataclass, replace

import numpy as np

from refit_rt import config, geometry
from refit_rt.body.shape import Shapes
from refit_rt.body.smpl import Body
from refit_rt.bundle.read import Crop
from refit_rt.cameras import Camera
from refit_rt.fit import kernels, mirror, start
from refit_rt.fit.crops import cut_rgb, square_of_body, view_of
from refit_rt.fit.memory import Memory, remembered, start_from
from refit_rt.fit.mirror import Moment
from refit_rt.fit.place import Fitted, averaged, out_of_crop
from refit_rt.fit.refine import Corrector, Errors
from refit_rt.runners import Runner
from refit_rt.types import JOINTS, Encoded, Frame, People, Pose, Square, Tracks


@dataclass(frozen=True, slots=True, eq=False)
class Look:
    """One crop of one person that is to be fitted."""

    square: Square
    memory: Memory | None = None  # where the loop starts; None: from the fresh estimate alone

    @property
    def mirrored(self) -> bool:
        """Whether the network sees its mirror image, where frames are mirrored in turns."""
        return self.memory is not None and bool(mirror.turn(True, self.memory.mirrored))


class Fitter:
    """Fits the people of each frame, remembering each between frames. Plain calls, no threads."""

    def __init__(
        self,
        settings: config.Fit,
        runner: Runner,
        body: Body,
        crop: Crop,
        bundle_name: str = "",
        errors: Errors | None = None,
    ) -> None:
        """crop: how the network wants people cut out. errors: how its bodies err; None: bodies stay where they are.

        Raises UserError for shapes and statures that the body cannot have.
        """
        self.body, self.bundle_name = body, bundle_name
        self._settings, self._crop = settings, crop
        self._runner = mirror.TwiceRunner(runner) if settings.mirror == "both" else runner
        self._mirrored = mirror.MirroredRunner(runner) if settings.mirror == "turns" else None
        self._shapes = Shapes(body, settings.shapes, settings.stature_m)
        self._update_rad = math.radians(settings.update_deg)
        self._memory: dict[int, Memory] = {}
        self._corrector = Corrector(body, errors) if settings.keypoints and errors else None

    @property
    def corrects(self) -> bool:
        """Whether bodies are moved onto key points."""
        return self._corrector is not None

    def fit(self, tracks: Tracks, camera: Camera) -> People:
        """The bodies of the tracked people, in the same order. Their frame is as the camera took it, with the lens's
        distortion; boxes and bodies are in the straight picture."""
        frame = tracks.frame
        self._forget(frame.time_s, tracks.ids)
        for person in tracks.ids[tracks.fresh]:  # the body is not where the detector sees the person: start cold
            self._memory.pop(int(person), None)
        people = tracks.ids.tolist()
        memories = [self._memory.get(person) if self._settings.warm else None for person in people]
        boxes = [self._box(tracks, row) for row in range(len(people))]
        fits = self._fits(frame, camera, memories, boxes)
        for row, (person, memory, fitted) in enumerate(zip(people, memories, fits, strict=True)):
            if fitted.confidence >= self._settings.min_confidence:
                self._memory[person] = remembered(frame, fitted, memory, self._crop)
            else:
                self._memory.pop(person, None)
            averaged = self._averaged(frame, fitted, memory, camera)
            fits[row] = self._corrected(tracks, row, self._shaped(person, averaged, camera), camera)
        return people_of(frame, camera, tracks.ids, fits)

    def _box(self, tracks: Tracks, row: int) -> Square:
        """The crop around a track's box."""
        xyxy, roll = tracks.xyxy[row], float(tracks.roll[row]) if self._crop.normalise_roll else 0.0
        if tracks.keypoints is not None:
            xyxy = start.beyond_picture(xyxy, tracks.keypoints[row], tracks.frame.size[1], self._crop.beyond)
        return geometry.square_around(xyxy, self._crop.margin, roll)

    def _fits(self, frame: Frame, camera: Camera, memories: list[Memory | None], boxes: list[Square]) -> list[Fitted]:
        """Each person's fit, and once more where the first one asks for it."""
        looks = [
            Look(memory.square(frame), memory) if memory else Look(box)
            for memory, box in zip(memories, boxes, strict=True)
        ]
        fits, again, least = self._looked(frame, camera, looks), {}, self._settings.min_confidence
        for row, fitted in enumerate(fits):
            sure = fitted.confidence >= least
            if memories[row] and not sure:  # a cut, or drift: once more from nothing
                again[row] = Look(boxes[row])
            elif not memories[row] and sure:
                # A detector's box is not the box of a body: fit again where the body was found, if that is elsewhere.
                around = square_of_body(fitted.points_px, fitted.roll, frame.size, self._crop)
                if not start.alike(boxes[row], around):
                    again[row] = Look(around)
        for row, cold in zip(again, self._looked(frame, camera, list(again.values())), strict=True):
            if not memories[row] or start.given_up(fits[row].confidence, cold.confidence, least):
                fits[row] = cold
        return fits

    def _looked(self, frame: Frame, camera: Camera, looks: list[Look]) -> list[Fitted]:
        """The crops of one frame, encoded together, each then fitted by itself."""
        if not looks:
            return []
        turns = self._mirrored is not None
        crops = np.empty((len(looks), self._runner.crop_px, self._runner.crop_px, 3), np.uint8)
        for look, crop in zip(looks, crops, strict=True):
            cut_rgb(frame.image, look.square, camera, mirrored=turns and look.mirrored, out=crop)
        encoded = self._runner.encode_all(crops)
        return [self._fit_crop(frame, camera, *one) for one in zip(looks, encoded, strict=True)]

    def _fit_crop(self, frame: Frame, camera: Camera, look: Look, encoded: Encoded) -> Fitted:
        """One encoded crop: choose the start, iterate, place."""
        memory, square, mirrored = look.memory, look.square, self._mirrored is not None and look.mirrored
        runner = self._mirrored if self._mirrored and mirrored else self._runner
        view = view_of(square, camera)
        state, iterations = runner.initial(encoded, view), self._settings.cold_iterations
        warm = None
        if memory is not None:
            warm = start_from(memory, state, square, view, self.body, self._settings.blend, frame.time_s)
        if warm is not None:
            state, iterations = warm.state, self._settings.iterations
            encoded = exchanged(encoded) if warm.exchange else encoded
        deadline_s = frame.captured_s + self._settings.deadline_ms / 1000 if self._settings.deadline_ms else None
        result = runner.iterate(encoded, view, state, iterations, self._update_rad, deadline_s)
        fitted = out_of_crop(result, view, square, camera, self.body, self._crop)
        return replace(fitted, cold=warm is None, opposed=warm is not None and warm.exchange, mirrored=mirrored)

    def _averaged(self, frame: Frame, fitted: Fitted, memory: Memory | None, camera: Camera) -> Fitted:
        """The mean with last frame's body, when one of the two was mirrored and the other was not."""
        if fitted.cold or memory is None or memory.earlier is None or memory.mirrored == fitted.mirrored:
            return fitted
        pose = averaged(Moment(frame.time_s, fitted.pose), memory.moment, memory.earlier)
        return fitted.with_pose(pose, self.body, camera)

    def _corrected(self, tracks: Tracks, row: int, fitted: Fitted, camera: Camera) -> Fitted:
        """Moved onto the detector's key points. Only what is published: the next start is the network's own."""
        person = int(tracks.ids[row])
        memory = self._memory.get(person)
        if self._corrector is None or memory is None:
            return fitted
        if fitted.cold:
            self._corrector.forget(person)
        look = None if tracks.keypoints is None else (tracks.looked_s, tracks.keypoints[row])
        pose = self._corrector.correct(person, tracks.frame.time_s, fitted.pose, memory.around, camera, look)
        return fitted if pose is None else fitted.with_pose(pose, self.body, camera)

    def _shaped(self, person: int, fitted: Fitted, camera: Camera) -> Fitted:
        """With the person's shape or stature, if one is known. Only what is published: the next start is the network's
        own."""
        made = self._shapes.made(person, fitted.pose.betas, fitted.pose.trans)
        return fitted if made is None else fitted.with_pose(Pose(fitted.pose.rotations, *made), self.body, camera)

    def forget(self) -> None:
        """Every person's next fit starts cold."""
        self._memory = {}
        if self._corrector is not None:
            self._corrector.keep(self._memory)

    def _forget(self, time_s: float, ids: np.ndarray) -> None:
        """Drops bodies that are too old to start from, and those of people who are no longer followed."""
        keep = set(ids.tolist())
        fresh = {k: m for k, m in self._memory.items() if 0 <= time_s - m.moment.time_s < start.MEMORY_S}
        self._memory = {k: m for k, m in fresh.items() if k in keep}
        if self._corrector is not None:
            self._corrector.keep(self._memory)


def exchanged(encoded: Encoded) -> Encoded:
    """The same crop with the landmarks' left and right exchanged."""
    if encoded.keypoints is None:
        return encoded
    other = None if encoded.mirrored is None else exchanged(encoded.mirrored)
    return replace(encoded, keypoints=np.ascontiguousarray(start.exchanged(encoded.keypoints)), mirrored=other)


def people_of(frame: Frame, camera: Camera, ids: np.ndarray, fits: list[Fitted]) -> People:
    """The message of a frame."""
    header = {
        "camera": frame.camera,
        "frame_index": frame.index,
        "captured_s": frame.captured_s,
        "time_s": frame.time_s,
        "dropped": 0,
        "size": frame.size,
        "focal_px": camera.focal_px,
        "centre_px": camera.centre_px,
        "cameras": (frame.camera,),
        "world_from_cameras": (camera.place,),
    }
    if not fits:
        return People.empty(**header)
    joints = np.array([f.joints for f in fits])
    points = np.array([f.points_px for f in fits])
    poses = np.empty((len(fits), JOINTS, 3), np.float32)
    kernels.axis_angles(np.array([f.pose.rotations for f in fits], np.float64), poses)
    rows = {
        "ids": ids,
        "poses": poses,
        "betas": [f.pose.betas for f in fits],
        "trans": [f.pose.trans for f in fits],
        "joints_camera": joints,
        "joints_px": points[:, :JOINTS],
        "joints_world": camera.world(joints),
        "box": np.concatenate([points.min(1), points.max(1)], 1),
        "confidence": [f.confidence for f in fits],
        "iterations": [f.iterations for f in fits],
        "views": np.ones(len(fits)),
        "roll": [f.roll for f in fits],
    }
    return People.of(rows, **header)
