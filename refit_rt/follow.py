"""Frame → people: detect when due, track, fit, smooth."""

import logging
from typing import TYPE_CHECKING

from refit_rt import config
from refit_rt.cameras import Camera, camera_for
from refit_rt.capture import Source
from refit_rt.smooth import Smoother
from refit_rt.stage import Timings
from refit_rt.types import Frame, People

if TYPE_CHECKING:
    from refit_rt.detect import Detector
    from refit_rt.fit import Fitter
    from refit_rt.track import Tracker

log = logging.getLogger(__name__)


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

    def follow(self, frame: Frame) -> tuple[Frame, People]:
        """The frame and who is in it."""
        camera, boxes = self._camera_of(frame.size), None
        if self._tracker.wants_detection(frame.index, self._settings.detect.every):
            with self._timings.measure("detect"):
                boxes = self._detector.find(frame, self._tracker.predict(frame.time_s).xyxy)
        with self._timings.measure("track"):
            tracks = self._tracker.update(frame, boxes)
        with self._timings.measure("fit"):
            people, roll = self.fitter.fit(tracks, camera)
        with self._timings.measure("smooth"):
            self._tracker.observe(people.ids, people.box, roll, people.confidence, frame.time_s)
            return frame, self._smoother.smooth(people, camera)

    def _camera_of(self, size: tuple[int, int]) -> Camera:
        """The lens for images of this size; found once, as sizes hardly ever change."""
        if self._camera is None or self._camera.size != size:
            name = self._settings.capture.name
            self._camera = camera_for(self._settings.camera, name, size, self._source.exif_focal_px(size))
        return self._camera


def load_follower(settings: config.Config, source: Source, timings: Timings) -> Follower:
    """Loads network, body and detector. Raises UserError for what cannot be used."""
    from refit_rt.detect import make_detector
    from refit_rt.fit import make_fitter
    from refit_rt.track import Tracker

    log.info("loading bundle %s", settings.fit.bundle)
    fitter = make_fitter(settings.fit)
    detector = make_detector(settings.detect, settings.track.max_people, settings.fit.threads)
    tracker = Tracker(settings.track, settings.detect.threshold, settings.fit.min_confidence)
    return Follower(settings, source, timings, detector, tracker, fitter)
