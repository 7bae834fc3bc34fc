"""Detection (Frame → Boxes): finds the people in a picture."""

from typing import Protocol

import numpy as np

from refit_rt import config
from refit_rt.errors import UserError
from refit_rt.types import Boxes, Frame, Known

ONNX_THRESHOLD = 0.5  # of a user's own detector, where the settings give none
# Boxes that score at least this share of the threshold are reported: they may continue a track, never start one.
DOUBTFUL = 0.7


class Detector(Protocol):
    """Anything that finds people."""

    threshold: float  # the lowest score that starts a track

    def find(self, frame: Frame, known: Known) -> Boxes:
        """Returns the people that the detector finds in a frame, in the frame's own pixels.

        known: the people who are followed; a detector may look more closely for those that it does not find.
        Scores lie between DOUBTFUL times `threshold` and 1; a new track needs the full threshold.
        """
        ...


class _Finder(Protocol):
    def find(self, image: np.ndarray, threshold: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]: ...


class WholePicture:
    """A detector that looks at every picture in the same way."""

    def __init__(self, finder: _Finder, threshold: float):
        self.threshold = threshold
        self._finder = finder

    def find(self, frame: Frame, known: Known) -> Boxes:
        """See Detector; `known` is ignored."""
        return Boxes(frame, *self._finder.find(frame.image, DOUBTFUL * self.threshold))


class Within:
    """A detector that reports only those whose centre lies in one part of the picture, and outside of other parts."""

    def __init__(self, inner: Detector, settings: config.Detect) -> None:
        self.threshold = inner.threshold
        self._inner, self._region, self._ignore = inner, settings.region, settings.ignore

    def find(self, frame: Frame, known: Known) -> Boxes:
        """See Detector."""
        boxes = self._inner.find(frame, known)
        centres = (boxes.xyxy[:, :2] + boxes.xyxy[:, 2:] + 1) / 2 / np.array(frame.size)
        keep = inside(centres, self._region)
        for part in self._ignore:
            keep &= ~inside(centres, part)
        return boxes if keep.all() else boxes.take(keep)


def inside(points: np.ndarray, part: config.Part) -> np.ndarray:
    """Which points (n, 2) lie in a part of the picture, both in shares of its width and height: (n,) bool."""
    left, top, right, bottom = part
    return np.all((points >= (left, top)) & (points <= (right, bottom)), axis=-1)


def make_detector(settings: config.Detect, threads: int = 1) -> Detector:
    """Makes the detector that the settings name. threads: CPU threads. Raises UserError when it cannot be used."""
    check_parts(settings)
    detector = _detector(settings, threads)
    if settings.region == config.WHOLE and not settings.ignore:
        return detector
    return Within(detector, settings)


def _detector(settings: config.Detect, threads: int) -> Detector:
    if settings.model == "movenet":
        from refit_rt.detect.movenet import MoveNetDetector

        return MoveNetDetector(settings.threshold, DOUBTFUL, threads)
    if settings.model == "far":
        from refit_rt.detect import nanodet

        return WholePicture(nanodet.NanoDet(threads=threads), settings.threshold or nanodet.THRESHOLD)
    if settings.model.lower().endswith(".onnx"):
        from refit_rt.detect.onnx_detector import OnnxDetector

        return WholePicture(OnnxDetector(settings, threads), settings.threshold or ONNX_THRESHOLD)
    known = "movenet, far, or the path of an .onnx file"
    raise UserError(f"detect.model: there is no detector {settings.model!r}. Set detect.model to {known}")


def check_parts(settings: config.Detect) -> None:
    """Raises UserError for a part of the picture without an area."""
    for name, parts in (("region", [settings.region]), ("ignore", settings.ignore)):
        for left, top, right, bottom in parts:
            if right <= left or bottom <= top:
                given = f"{left:g} {top:g} {right:g} {bottom:g}"
                raise UserError(
                    f"detect.{name}: {given} has no area. Give left top right bottom, in shares of the picture: 0 0 1 1"
                )
