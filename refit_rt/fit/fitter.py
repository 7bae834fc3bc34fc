"""Tracks → People: crop each person, run the loop from last frame's body, place the body in camera and world."""

from dataclasses import replace

import cv2
import numpy as np

from refit_rt import config, geometry
from refit_rt.body.smpl import Body
from refit_rt.body.stature import Stature
from refit_rt.bundle.read import Crop
from refit_rt.cameras import Camera
from refit_rt.fit import mirror, start
from refit_rt.fit.crops import square_of_body, view_of
from refit_rt.fit.memory import Memory, remembered, start_from
from refit_rt.fit.mirror import Moment
from refit_rt.fit.place import Fitted, out_of_crop
from refit_rt.runners import Runner
from refit_rt.types import Encoded, Frame, People, Pose, Square, Tracks


class Fitter:
    """Fits the people of each frame, remembering each between frames. Plain calls, no threads."""

    def __init__(self, settings: config.Fit, runner: Runner, body: Body, crop: Crop, bundle_name: str = "") -> None:
        """crop: how the network wants people cut out. Raises UserError for a stature that the body cannot have."""
        self.body, self.bundle_name = body, bundle_name
        self._settings, self._crop = settings, crop
        self._runner = mirror.TwiceRunner(runner) if settings.mirror == "both" else runner
        self._mirrored = mirror.MirroredRunner(runner) if settings.mirror == "turns" else None
        self._stature = Stature(body, settings.stature_m) if settings.stature_m else None
        self._memory: dict[int, Memory] = {}

    def fit(self, tracks: Tracks, camera: Camera) -> People:
        """The bodies of the tracked people, in the same order."""
        frame = tracks.frame
        self._forget(frame.time_s, tracks.ids)
        for person in tracks.ids[tracks.fresh]:  # the body is not where the detector sees the person: start cold
            self._memory.pop(int(person), None)
        rows = zip(tracks.ids.tolist(), tracks.xyxy, tracks.roll, strict=True)
        fits = [self._person(frame, camera, *row) for row in rows]
        return people_of(frame, camera, tracks.ids, fits)

    def _person(self, frame: Frame, camera: Camera, person: int, xyxy: np.ndarray, roll: float) -> Fitted:
        memory = self._memory.get(person) if self._settings.warm else None
        box = geometry.square_around(xyxy, self._crop.margin, float(roll) if self._crop.normalise_roll else 0.0)
        fitted = self._warm(frame, camera, box, memory) if memory else self._cold(frame, camera, box)
        if fitted.confidence >= self._settings.min_confidence:
            self._memory[person] = remembered(frame, fitted, memory, self._crop)
        else:
            self._memory.pop(person, None)
        return self._sized(self._averaged(frame, fitted, memory, camera), camera)

    def _cold(self, frame: Frame, camera: Camera, box: Square) -> Fitted:
        fitted = self._fit_crop(frame, camera, box, None)
        if fitted.confidence < self._settings.min_confidence:
            return fitted
        # A detector's box is not the box of a body: fit again where the body was found.
        around = square_of_body(fitted.points_px, fitted.roll, frame.size, self._crop)
        return self._fit_crop(frame, camera, around, None)

    def _warm(self, frame: Frame, camera: Camera, box: Square, memory: Memory) -> Fitted:
        fitted = self._fit_crop(frame, camera, memory.square(frame, self._crop), memory)
        least = self._settings.min_confidence
        if fitted.confidence < least:  # a cut, or drift: once more from nothing
            cold = self._fit_crop(frame, camera, box, None)
            fitted = cold if start.given_up(fitted.confidence, cold.confidence, least) else fitted
        return fitted

    def _fit_crop(self, frame: Frame, camera: Camera, square: Square, memory: Memory | None) -> Fitted:
        """One crop: encode, choose the start, iterate, place."""
        mirrored = self._mirrored is not None and memory is not None and mirror.turn(True, memory.mirrored)
        runner = self._mirrored if self._mirrored and mirrored else self._runner
        image = geometry.crop(frame.image, square, runner.crop_px)
        view = view_of(square, camera)
        encoded = runner.encode(cv2.cvtColor(image, cv2.COLOR_BGR2RGB))
        state, iterations = runner.initial(encoded, view), self._settings.cold_iterations
        warm = None
        if memory is not None:
            warm = start_from(memory, state, square, view, self.body, self._settings.blend, frame.time_s)
        if warm is not None:
            state, iterations = warm.state, self._settings.iterations
            encoded = exchanged(encoded) if warm.exchange else encoded
        deadline_s = frame.captured_s + self._settings.deadline_ms / 1000 if self._settings.deadline_ms else None
        update_rad = np.deg2rad(self._settings.update_deg)
        result = runner.iterate(encoded, view, state, iterations, update_rad, deadline_s)
        fitted = out_of_crop(result, encoded, view, square, camera, self.body, self._crop)
        return replace(fitted, cold=warm is None, opposed=warm is not None and warm.exchange, mirrored=bool(mirrored))

    def _averaged(self, frame: Frame, fitted: Fitted, memory: Memory | None, camera: Camera) -> Fitted:
        """The mean with last frame's body, when one of the two was mirrored and the other was not."""
        if fitted.cold or memory is None or memory.earlier is None or memory.mirrored == fitted.mirrored:
            return fitted
        pose = mirror.averaged(Moment(frame.time_s, fitted.pose), memory.moment, memory.earlier)
        return fitted.with_pose(pose, self.body, camera)

    def _sized(self, fitted: Fitted, camera: Camera) -> Fitted:
        """As tall as the person is, if that is known. Only what is published: the next start is the network's own."""
        if self._stature is None:
            return fitted
        betas, trans = self._stature.made(fitted.pose.betas, fitted.pose.trans)
        return fitted.with_pose(Pose(fitted.pose.rotations, betas, trans), self.body, camera)

    def forget(self) -> None:
        """Every person's next fit starts cold."""
        self._memory = {}

    def _forget(self, time_s: float, ids: np.ndarray) -> None:
        """Drops bodies that are too old to start from, and those of people who are no longer followed."""
        keep = set(ids.tolist())
        fresh = {k: m for k, m in self._memory.items() if 0 <= time_s - m.moment.time_s < start.MEMORY_S}
        self._memory = {k: m for k, m in fresh.items() if k in keep}


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
    }
    if not fits:
        return People.empty(**header)
    joints = np.asarray([f.joints for f in fits], np.float32)
    points = np.asarray([f.points_px for f in fits], np.float32)
    rows = {
        "ids": ids,
        "poses": geometry.axis_angle_from_matrix(np.asarray([f.pose.rotations for f in fits], np.float32)),
        "betas": [f.pose.betas for f in fits],
        "trans": [f.pose.trans for f in fits],
        "joints_camera": joints,
        "joints_px": points[:, :24],
        "joints_world": camera.world(joints),
        "box": np.concatenate([points.min(1), points.max(1)], 1),
        "confidence": [f.confidence for f in fits],
        "iterations": [f.iterations for f in fits],
        "roll": [f.roll for f in fits],
    }
    return People.of(rows, **header)
