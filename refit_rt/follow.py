"""Frame → people: detect when due, track, fit, smooth."""

import logging
from dataclasses import replace
from typing import TYPE_CHECKING

import cv2
import numpy as np

from refit_rt import config
from refit_rt.cameras import Camera, camera_for, check_calibration
from refit_rt.capture import Source
from refit_rt.fit.smooth import Smoother
from refit_rt.live.stage import Timings
from refit_rt.types import Frame, People

if TYPE_CHECKING:
    from refit_rt.detect import Detector
    from refit_rt.fit.fitter import Fitter
    from refit_rt.track.one_camera import Tracker

log = logging.getLogger(__name__)

PER_PERSON = (
    "ids", "poses", "betas", "trans", "joints_camera", "joints_px", "joints_world", "box", "confidence", "iterations",
)  # fmt: skip


class Follower:
    """Frame → people: one call a frame, in order. No threads, no clock: the same frames give the same people."""

    def __init__(
        self,
        settings: config.Config,
        source: Source,
        timings: Timings,
        detector: "Detector",
        tracker: "Tracker",
        fitter: "Fitter",
    ) -> None:
        self.fitter = fitter
        self._settings, self._detector, self._tracker = settings, detector, tracker
        self._source, self._timings = source, timings
        self._smoother = Smoother(settings.smooth, fitter.body)
        self._camera: Camera | None = None
        self._maps: tuple[np.ndarray, np.ndarray] | None = None  # of a lens that bends straight lines

    def follow(self, frame: Frame) -> tuple[Frame, People]:
        """The frame and who is in it."""
        camera, boxes = self._camera_of(frame.size), None
        if self._maps is not None:
            with self._timings.measure("undistort"):
                frame = replace(frame, image=cv2.remap(frame.image, *self._maps, cv2.INTER_LINEAR))
        if self._tracker.wants_detection(frame.index, self._settings.detect.every):
            with self._timings.measure("detect"):
                boxes = self._detector.find(frame, self._tracker.predict(frame.time_s).xyxy)
        with self._timings.measure("track"):
            tracks = self._tracker.update(frame, boxes)
        with self._timings.measure("fit"):
            people, roll = self.fitter.fit(tracks, camera)
        self._tracker.observe(people.ids, people.box, roll, people.confidence, frame.time_s)
        with self._timings.measure("smooth"):
            return frame, self._smoother.smooth(confident(people, self._settings.fit.min_confidence), camera)

    def _camera_of(self, size: tuple[int, int]) -> Camera:
        """The lens for images of this size; found once, as sizes hardly ever change."""
        if self._camera is None or self._camera.size != size:
            name = self._settings.capture.name
            self._camera = camera_for(self._settings.camera, name, size, self._source.exif_focal_px(size))
            self._maps = undistortion(self._camera) if self._camera.distortion.any() else None
        return self._camera


def undistortion(camera: Camera) -> tuple[np.ndarray, np.ndarray]:
    """Where each pixel of the straight picture comes from, for cv2.remap. Everything after it (the crop, the published
    joints_px, the overlay) speaks of the straight picture, which has the same size, focal length and centre."""
    lens = np.array([[camera.focal_px, 0, camera.centre_px[0]], [0, camera.focal_px, camera.centre_px[1]], [0, 0, 1]])
    return cv2.initUndistortRectifyMap(lens, camera.distortion, np.eye(3), lens, camera.size, cv2.CV_16SC2)


def confident(people: People, least: float) -> People:
    """Those fitted well enough to be shown: the others are being looked for again."""
    keep = people.confidence >= least
    if keep.all():
        return people
    rows = {name: getattr(people, name)[keep] for name in PER_PERSON}
    return replace(people, **rows)


def load_follower(settings: config.Config, source: Source, timings: Timings) -> Follower:
    """Loads network, body and detector. Raises UserError for what cannot be used."""
    from refit_rt.detect import make_detector
    from refit_rt.fit.fitter import make_fitter
    from refit_rt.track.one_camera import Tracker

    check_calibration(settings.camera, settings.capture.name)
    if settings.fit.stature_m and settings.track.max_people > 1:
        log.warning("fit.stature_m: everybody is taken to be %g m tall", settings.fit.stature_m)
    log.info("loading bundle %s", settings.fit.bundle)
    fitter = make_fitter(settings.fit)
    detector = make_detector(settings.detect, settings.track.max_people, settings.fit.threads)
    tracker = Tracker(settings.track, settings.detect.threshold, settings.fit.min_confidence)
    return Follower(settings, source, timings, detector, tracker, fitter)
