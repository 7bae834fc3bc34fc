"""Frame → People: detect when due, track, fit, smooth."""

import logging
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
import numpy as np

from refit_rt import config
from refit_rt.cameras import Camera, camera_for, check_calibration, floor_of, lens
from refit_rt.capture.cuts import Cuts
from refit_rt.capture.picture import as_bgr
from refit_rt.fit.feet import Feet
from refit_rt.fit.smooth import Smoother
from refit_rt.live.beside import AtOnce, Beside
from refit_rt.live.stage import Timings
from refit_rt.types import Boxes, Frame, Known, People

if TYPE_CHECKING:
    from refit_rt.detect import Detector
    from refit_rt.detect.closer import Closer
    from refit_rt.fit.fitter import Fitter
    from refit_rt.track.one_camera import Tracker

log = logging.getLogger(__name__)

SLOWEST_S = 1 / 15  # live: more people than can be fitted in this time are left out, the smallest first
FORGETTING = 0.1  # weight of a new frame in the mean time of a fit


class Follower:
    """Follows the people in front of one camera, one call per frame, in order.

    Without `live`, there are no threads and no clock in `step`: the same frames give the same people.
    """

    def __init__(
        self,
        settings: config.Settings,
        detector: "Detector",
        tracker: "Tracker",
        fitter: "Fitter",
        timings: Timings | None = None,
        live: bool = False,
        closer: "Closer | None" = None,
    ) -> None:
        """See `load_follower`. timings: where the duration of each part goes. closer: finds people's key points between
        two looks at the whole picture; None: nobody does."""
        self.fitter = fitter
        self._settings, self._detector, self._tracker, self._closer = settings, detector, tracker, closer
        self._timings = timings or Timings()
        self._looking = Beside(self._look, "detect") if live else AtOnce(self._look)
        self._cuts = Cuts()
        self._each_s = 0.0  # mean time of one person's fit, where it limits how many are fitted; 0: it does not
        self._limited = live and not settings.track.max_people
        self._left_out = 0  # people who are seen and not fitted, as last reported
        self._smoother, self._feet = Smoother(settings.smooth, fitter.body), Feet(settings.smooth, fitter.body)
        self._floor = floor_of(settings.camera)
        # Size and EXIF focal length of the last picture, and its camera; one tuple, because several threads ask
        self._camera: tuple[tuple[tuple[int, int], float | None], Camera] | None = None
        self._size: tuple[int, int] | None = None  # of the last picture of a clip
        self._pictures, self._first_s = 0, 0.0  # pictures given to `follow`, and when the first one came

    def follow(self, picture: np.ndarray | Frame, time_s: float | None = None) -> People:
        """The people in the next picture of a camera or clip.

        picture: (height, width, 3) uint8 BGR, as OpenCV reads it, or a `Frame`. time_s: seconds since the clip's first
        picture, by which the motion is filtered; None: the time of the call. Raises ValueError for an array that is no
        picture. For a picture that has nothing to do with the last one, call `forget` first.
        """
        if isinstance(picture, Frame):
            return self.step(picture)[1]
        now_s = time.monotonic()
        self._first_s = self._first_s if self._pictures else now_s
        at_s = now_s - self._first_s if time_s is None else time_s
        frame = Frame(self._settings.capture.name, self._pictures, now_s, at_s, as_bgr(picture))
        self._pictures += 1
        return self.step(frame)[1]

    def step(self, frame: Frame) -> tuple[Frame, People]:
        """One frame, as it came, and who is in it: in pixels of the straight picture (`straight`)."""
        camera = self._tracker.camera = self._camera_of(frame)
        with self._timings.measure("track"):
            self._watch_scene(frame)
        self._ask(frame)
        boxes = self._looking.take()
        with self._timings.measure("track"):
            tracks = self._tracker.update(frame, boxes)
        began_s = time.perf_counter()
        with self._timings.measure("fit"):
            people = self.fitter.fit(tracks, camera)
        if self._limited and len(people.ids):
            self._make_room((time.perf_counter() - began_s) / len(people.ids))
        with self._timings.measure("track"):
            keep = self._tracker.observe(people)
        with self._timings.measure("smooth"):
            people = self._smoother.smooth(people if keep.all() else people.take(keep), camera)
            upright = not self._settings.camera.calibration
            return frame, self._feet.plant(replace(people, floor=self._floor), camera, upright)

    def straight(self, frame: Frame) -> Frame:
        """A frame whose picture has no distortion any more: that on which bodies lie. Any thread may ask."""
        return replace(frame, image=lens.straight_picture(frame.image, self._camera_of(frame)))

    def forget(self) -> None:
        """Forgets everybody: the next picture is another clip's. Ids are not used again."""
        self._cuts.forget()
        self._forget_people()

    def _forget_people(self) -> None:
        self._tracker.forget()
        self.fitter.forget()
        self._smoother.forget()
        self._feet.forget()
        self._looking.forget()

    def close(self) -> None:
        """Ends the detector's thread, where there is one."""
        self._looking.close()

    def _watch_scene(self, frame: Frame) -> None:
        """Forgets everybody at a cut, where the size changes (a phone is turned), and for a picture that continues no
        clip."""
        if frame.still:
            self.forget()
            return
        if self._size not in (None, frame.size):
            log.warning("the pictures are %d x %d from frame %d on: everybody is found again", *frame.size, frame.index)
            self.forget()
        self._size = frame.size
        match self._cuts.judge(frame.image):
            case "cut":
                self._forget_people()
            case "blank":
                self._tracker.lose_sight()
            case "doubt":
                self._tracker.doubt()

    def _make_room(self, each_s: float) -> None:
        """Limits how many people are fitted to what a live frame has time for, and reports when some are left out."""
        self._each_s += (FORGETTING if self._each_s else 1.0) * (each_s - self._each_s)
        self._tracker.most = max(1, int(SLOWEST_S / self._each_s))
        waiting = self._tracker.waiting
        if waiting > self._left_out:
            log.warning("%d more people are seen than a live frame has time for; the largest are followed", waiting)
        self._left_out = waiting

    def _ask(self, frame: Frame) -> None:
        """Has the detector look at the whole frame, or at some people more closely, where that is due."""
        if self._tracker.wants_look(frame.time_s, self._settings.detect.every_s):
            self._looking.ask(self._detector, "detect", frame, self._tracker.predict(frame.time_s))
        elif self._closer is not None:
            known = self._tracker.unseen(frame.time_s, self._settings.fit.look_s)
            if len(known.ids):
                self._looking.ask(self._closer, "closer", frame, known)

    def _look(self, looker: "Detector | Closer", name: str, frame: Frame, known: Known) -> Boxes:
        """What is found in a frame: in the picture as taken, and moved to where it is in the straight one."""
        camera = self._camera_of(frame)
        with self._timings.measure(name):
            return lens.straightened_boxes(looker.find(frame, lens.bent_known(known, camera)), camera)

    def _camera_of(self, frame: Frame) -> Camera:
        """The lens for images like this one; made once, because size and lens hardly ever change."""
        kind, known = (frame.size, frame.focal_px), self._camera
        if known is None or known[0] != kind:
            self._camera = known = kind, camera_for(self._settings.camera, self._settings.capture.name, *kind)
        return known[1]


def load(settings: config.Settings | None = None, *, bundle: str | Path = "", body: str | Path = "") -> Follower:
    """A follower for pictures of your own: `load().follow(image_bgr)`.

    settings: those of config.yaml; None: the defaults. bundle, body: short for its fit.bundle and fit.body. Raises
    UserError for what cannot be used.
    """
    settings = settings or config.Settings()
    named = {name: str(given) for name, given in (("bundle", bundle), ("body", body)) if given}
    fit = msgspec.structs.replace(settings.fit, **named)
    return load_follower(msgspec.structs.replace(settings, fit=fit))


def load_follower(settings: config.Settings, timings: Timings | None = None, live: bool = False) -> Follower:
    """Loads network, body and detector. Raises UserError for what cannot be used.

    live: the detector runs in a thread of its own, and no frame waits for it.
    """
    from refit_rt.detect import make_detector
    from refit_rt.detect.closer import Closer
    from refit_rt.fit.load import make_fitter
    from refit_rt.track.one_camera import Tracker

    check_calibration(settings.camera, settings.capture.name)
    if settings.fit.stature_m and settings.track.max_people != 1 and not settings.fit.shapes:
        log.warning("fit.stature_m: everybody is taken to be %g m tall", settings.fit.stature_m)
    detector = make_detector(settings.detect)
    tracker = Tracker(settings.track, detector.threshold, settings.fit.min_confidence)
    log.info("loading bundle %s", settings.fit.bundle)
    fitter = make_fitter(settings.fit)
    return Follower(settings, detector, tracker, fitter, timings, live, Closer() if fitter.corrects else None)
