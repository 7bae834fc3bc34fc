"""Detection (Frame → Boxes): finds the people in a picture."""

from typing import Protocol

import numpy as np

from refit_rt import config
from refit_rt.errors import UserError
from refit_rt.types import Boxes, Frame

# Boxes that score at least this share of the threshold are reported: they may continue a track, never start one.
DOUBTFUL = 0.5


class Detector(Protocol):
    """Anything that finds people."""

    def find(self, frame: Frame, known: np.ndarray) -> Boxes:
        """Returns the people that the detector finds in a frame, in the frame's own pixels.

        known (k, 4) xyxy: predicted boxes of the current tracks. The detector searches there first.
        Scores lie between half of the setting `detect.threshold` and 1; a new track needs the full threshold.
        """
        ...


class _Finder(Protocol):
    def find(self, image: np.ndarray, threshold: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]: ...


class WholePicture:
    """A detector that looks at the whole picture once."""

    def __init__(self, finder: _Finder, threshold: float):
        self._finder = finder
        self._threshold = threshold

    def find(self, frame: Frame, known: np.ndarray) -> Boxes:
        """See Detector; `known` is ignored."""
        return Boxes(frame, *self._finder.find(frame.image, DOUBTFUL * self._threshold))


class InParts:
    """BlazePose on the whole picture and on parts of it."""

    def __init__(self, blazepose, max_people: int, threshold: float):
        from refit_rt.detect.tiles import TiledBlazePose

        self._tiled = TiledBlazePose(blazepose, max_people)
        self._threshold = threshold

    def find(self, frame: Frame, known: np.ndarray) -> Boxes:
        """See Detector."""
        return Boxes(frame, *self._tiled.find(frame.image, known, self._threshold, DOUBTFUL * self._threshold))


def make_detector(settings: config.Detect, max_people: int, threads: int = 0) -> Detector:
    """Makes the detector that the settings name and fetches BlazePose on first use.

    threads: CPU threads; 0 leaves the choice to OpenVINO. Raises UserError for an unknown or unreadable detector.
    """
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
    raise UserError(f"detect.model: there is no detector {settings.model!r}. Set detect.model to {known}")
