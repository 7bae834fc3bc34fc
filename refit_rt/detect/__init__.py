"""Frame → Boxes: finds the people in a picture."""

from typing import Protocol

import numpy as np

from refit_rt import config
from refit_rt.errors import UserError
from refit_rt.types import Boxes, Frame

DOUBTFUL = 0.5  # share of the threshold from which a box is still told: it may hold a followed person, never begin one


class Detector(Protocol):
    """Anything that finds people."""

    def find(self, frame: Frame, known: np.ndarray) -> Boxes:
        """All people of a frame, as far as the detector sees them, in the frame's own pixels.

        known (k, 4) xyxy: where the people already followed should be. They are looked for first, and told when found.
        Scores may lie between half of the setting `detect.threshold` and 1; who is new needs the full threshold.
        """
        ...


class _Finder(Protocol):
    def find(self, image: np.ndarray, threshold: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]: ...


class WholePicture:
    """One look at the whole picture answers everything."""

    def __init__(self, finder: _Finder, threshold: float):
        self._finder = finder
        self._threshold = threshold

    def find(self, frame: Frame, known: np.ndarray) -> Boxes:
        """As in Detector; `known` is not needed."""
        return Boxes(frame, *self._finder.find(frame.image, DOUBTFUL * self._threshold))


class InParts:
    """BlazePose on the picture and its parts."""

    def __init__(self, blazepose, max_people: int, threshold: float):
        from refit_rt.detect.tiles import TiledBlazePose

        self._tiled = TiledBlazePose(blazepose, max_people)
        self._threshold = threshold

    def find(self, frame: Frame, known: np.ndarray) -> Boxes:
        """As in Detector."""
        return Boxes(frame, *self._tiled.find(frame.image, known, self._threshold, DOUBTFUL * self._threshold))


def make_detector(settings: config.Detect, max_people: int, threads: int = 0) -> Detector:
    """The detector of the settings, BlazePose fetched if need be. threads 0: OpenVINO's choice. Raises UserError."""
    if settings.model == "blazepose":
        from refit_rt.detect.blazepose import BlazePoseDetector
        from refit_rt.detect.pull import pull

        blazepose = BlazePoseDetector(pull("pose_detection.tflite"), threads)
        if settings.tiles:
            return InParts(blazepose, max_people, settings.threshold)
        return WholePicture(blazepose, settings.threshold)
    if settings.model.lower().endswith(".onnx"):
        from refit_rt.detect.onnx_detector import OnnxDetector

        return WholePicture(OnnxDetector(settings, threads), settings.threshold)
    known = "blazepose, or the path of an .onnx file"
    raise UserError(f"detect.model: no detector {settings.model!r}. Set it to {known}")
