"""FrameSet → People: everybody in front of the cameras of a rig, each fitted in all views at once."""

import logging
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from refit_rt import config, geometry
from refit_rt.cameras import Camera, floor_of, lens, read_rig
from refit_rt.capture.cuts import is_blank, thumbnail
from refit_rt.errors import UserError
from refit_rt.fit import kernels
from refit_rt.fit.feet import Feet
from refit_rt.fit.smooth import Smoother
from refit_rt.live.beside import AtOnce, Beside
from refit_rt.live.stage import Timings
from refit_rt.track.knocked import Knocked
from refit_rt.types import JOINTS, Boxes, Frame, FrameSet, Known, People, WorldFit

if TYPE_CHECKING:
    from refit_rt.detect import Detector
    from refit_rt.detect.closer import Closer
    from refit_rt.fit.views import ViewsFitter
    from refit_rt.track.many_cameras import RigTracker

log = logging.getLogger(__name__)

# Each view of a rig is looked at closely so many times less often than a camera by itself: views share the work.
SHARED = 3.0
MOST_AT_ONCE = 2  # live: looks between two answers; the more, the older they are


class RigFollower:
    """Follows the people before a calibrated rig, one call per tick, in order.

    Bodies are published in the frame of the rig's first camera; `joints_world` is in the rig's world. Without `live`,
    there are no threads and no clock in `step`: the same frames give the same people.
    """

    def __init__(
        self,
        settings: config.Settings,
        cameras: list[Camera],
        detector: "Detector",
        tracker: "RigTracker",
        fitter: "ViewsFitter",
        timings: Timings | None = None,
        live: bool = False,
        closer: "Closer | None" = None,
    ) -> None:
        """See `load_rig_follower`. cameras: in the order of each tick's frames, for pictures of their own size."""
        self.fitter = fitter
        self.cameras = {camera.name: camera for camera in cameras}
        self._cameras, self._settings, self._detector, self._closer = cameras, settings, detector, closer
        self._tracker, self._timings, self._live = tracker, timings or Timings(), live
        self._looking = Beside(self._look, "detect") if live else AtOnce(self._look)
        self._floor = floor_of(settings.camera)
        self._smoother, self._feet = Smoother(settings.smooth, fitter.body), Feet(settings.smooth, fitter.body)
        self._knocked = Knocked(cameras)
        self._unusable = [""] * len(cameras)  # why each camera's last frame was

    def step(self, tick: FrameSet) -> tuple[FrameSet, People]:
        """One tick, with frames that can be used, and who is in it: in pixels of the straight pictures (`straight`)."""
        tick = self._usable(tick)
        frames, time_s = list(tick.frames), tick.time_s
        self._ask(frames, time_s)
        looks = self._looking.take() or []
        live = [frame is not None for frame in frames]
        with self._timings.measure("track"):
            wanted, findings = self._tracker.update(time_s, live, looks)
        for found in findings:
            self.fitter.look(found.id, found.camera, found.time_s, found.keypoints)
        with self._timings.measure("fit"):
            fits = self.fitter.fit(time_s, frames, self._cameras, wanted)
        with self._timings.measure("track"):
            keep = self._tracker.observe(time_s, fits)
        with self._timings.measure("smooth"):
            kept = [fit for fit, good in zip(fits, keep, strict=True) if good]
            self._knocked.note(time_s, findings, kept)
            people = replace(people_of(tick, self._cameras, kept, self.fitter), floor=self._floor)
            several = np.array([len(fit.views) > 1 for fit in kept], bool)
            people = self._smoother.smooth(people, self._cameras[0], measured=several)
            return tick, self._feet.plant(people, self._cameras[0], measured=several)

    def close(self) -> None:
        """Ends the detector's thread, where there is one."""
        self._looking.close()

    def straight(self, tick: FrameSet) -> FrameSet:
        """A tick whose pictures have no distortion any more: those on which bodies lie. Any thread may ask."""
        frames = [
            frame and replace(frame, image=lens.straight_picture(frame.image, camera))
            for frame, camera in zip(tick.frames, self._cameras, strict=True)
        ]
        return replace(tick, frames=tuple(frames))

    def _usable(self, tick: FrameSet) -> FrameSet:
        """The tick with every frame at the tick's own time, by which looks find the bodies they belong to; a camera
        that shows nothing, or pictures of another size than its calibration, counts as one without a frame."""
        frames = list(tick.frames)
        for row, frame in enumerate(frames):
            if frame is None:
                continue
            why = why_unusable(frame, self._cameras[row])
            if why != self._unusable[row]:
                log.warning("camera '%s' %s", frame.camera, why or "sees again")
            self._unusable[row] = why
            frames[row] = None if why else replace(frame, time_s=tick.time_s)
        return replace(tick, frames=tuple(frames))

    def _ask(self, frames: list[Frame | None], time_s: float) -> None:
        """Has the detector look where that is due: at whole pictures, the longest waiting first, or more closely at
        people."""
        # Views share the work of noticing who comes: each is searched half as often as one camera alone would be.
        every_s = self._settings.detect.every_s * max(1.0, len(frames) / 2)
        jobs: list[tuple[float, int, Frame, Known, bool]] = []
        for camera, frame in enumerate(frames):
            if frame is None:
                continue
            if self._tracker.wants_look(camera, time_s, every_s):
                jobs.append(
                    (
                        self._tracker.waited_s(camera, time_s) / every_s,
                        camera,
                        frame,
                        self._tracker.predict(camera, time_s),
                        True,
                    )
                )
            elif self._closer is not None:
                known = self._tracker.unseen(camera, time_s, SHARED * self._settings.fit.look_s)
                if len(known.ids):
                    jobs.append((1.0, camera, frame, known, False))
        jobs.sort(key=lambda job: -job[0])
        if jobs:
            self._looking.ask(jobs[:MOST_AT_ONCE] if self._live else jobs)

    def _look(self, jobs: list[tuple[float, int, Frame, Known, bool]]) -> list[tuple[int, Boxes]]:
        """What is found in some cameras' frames: in the pictures as taken, and moved to where it is in the straight
        ones."""
        found = []
        for _, camera, frame, known, whole in jobs:
            looker = self._detector if whole or self._closer is None else self._closer
            taken_by = self._cameras[camera]
            with self._timings.measure("detect" if whole else "closer"):
                boxes = looker.find(frame, lens.bent_known(known, taken_by))
                found.append((camera, lens.straightened_boxes(boxes, taken_by)))
        return found


def why_unusable(frame: Frame, camera: Camera) -> str:
    """Why a camera's frame cannot be used; empty: it can."""
    if frame.size != camera.size:
        sizes = "{} x {}, but it is calibrated for {} x {}".format(*frame.size, *camera.size)
        return f"sends pictures of {sizes}: it is left out. Start again with another calibration"
    return "shows nothing: is it covered?" if is_blank(thumbnail(frame.image)) else ""


def people_of(tick: FrameSet, cameras: list[Camera], fits: list[WorldFit], fitter: "ViewsFitter") -> People:
    """The message of a tick, in the frame of the first camera."""
    camera = cameras[0]
    header = {
        "camera": camera.name,
        "frame_index": tick.index,
        "captured_s": tick.captured_s,
        "time_s": tick.time_s,
        "dropped": 0,
        "size": camera.size,
        "focal_px": camera.focal_px,
        "centre_px": camera.centre_px,
        "missing": tick.missing,
        "cameras": tuple(one.name for one in cameras),
        "world_from_cameras": tuple(one.place for one in cameras),
    }
    if not fits:
        return People.empty(**header)
    rotations = np.array([fit.pose.rotations for fit in fits], np.float64)
    rotations[:, 0] = camera.camera_from_world[:3, :3] @ rotations[:, 0]
    poses = np.empty((len(fits), JOINTS, 3), np.float32)
    kernels.axis_angles(rotations, poses)
    joints_world = np.array([fit.joints for fit in fits])
    joints = camera.camera(joints_world)
    joints_px = geometry.project(joints, camera.focal_px, camera.centre_px)
    dx, dy = (joints_px[:, 12] - joints_px[:, 0]).T
    rows = {
        "ids": [fit.id for fit in fits],
        "poses": poses,
        "betas": [fit.pose.betas for fit in fits],
        "trans": [one[0] - fitter.body.rest_pelvis(fit.pose.betas) for one, fit in zip(joints, fits, strict=True)],
        "joints_camera": joints,
        "joints_px": joints_px,
        "joints_world": joints_world,
        "box": np.concatenate([joints_px.min(1), joints_px.max(1)], 1),
        "confidence": [fit.confidence for fit in fits],
        "iterations": [fit.iterations for fit in fits],
        "views": [sum(1 << view for view in fit.views) for fit in fits],
        "roll": np.arctan2(dx, -dy),
    }
    return People.of(rows, **header)


def rig_cameras(settings: config.Settings) -> list[Camera]:
    """The calibrated cameras of `capture.sources`, in their order. Raises UserError."""
    if not settings.camera.calibration:
        raise UserError("capture.sources: several cameras need a rig. Set camera.calibration to the file of one")
    path = Path(settings.camera.calibration).expanduser()
    rig = read_rig(path)
    missing = [name for name in settings.capture.sources if name not in rig.names]
    if missing:
        raise UserError(
            f"{path}: has no camera {', '.join(missing)}, only {', '.join(rig.names)}. Name the sources like these"
        )
    return [rig[name] for name in settings.capture.sources]


def load_rig_follower(
    settings: config.Settings,
    timings: Timings | None = None,
    live: bool = False,
    sizes: dict[str, tuple[int, int]] | None = None,
) -> RigFollower:
    """Loads network, body and detector for `capture.sources`. Raises UserError for what cannot be used.

    live: the detector runs in a thread of its own, and no tick waits for it. sizes: of the cameras' pictures, width and
    height; None: those of the calibration.
    """
    from refit_rt.detect import make_detector
    from refit_rt.detect.closer import Closer
    from refit_rt.fit.load import make_views_fitter
    from refit_rt.track.many_cameras import RigTracker

    cameras = rig_cameras(settings)
    if sizes:
        cameras = [scaled(camera, sizes.get(camera.name), settings.camera.calibration) for camera in cameras]
    if settings.fit.stature_m and settings.track.max_people != 1 and not settings.fit.shapes:
        log.warning("fit.stature_m: everybody is taken to be %g m tall", settings.fit.stature_m)
    detector = make_detector(settings.detect)
    tracker = RigTracker(settings.track, cameras, detector.threshold, settings.fit.min_confidence)
    log.info("loading bundle %s", settings.fit.bundle)
    fitter = make_views_fitter(settings.fit)
    return RigFollower(
        settings, cameras, detector, tracker, fitter, timings, live, Closer() if fitter.corrects else None
    )


def scaled(camera: Camera, size: tuple[int, int] | None, path: str) -> Camera:
    """The camera for pictures of a size. Raises UserError when it was calibrated for another shape."""
    try:
        return camera if size is None else camera.scaled(size)
    except ValueError as error:
        raise UserError(f"{path}: camera '{camera.name}' {error}. Calibrate again at this size") from error
