"""Cuts: whether a picture shows another scene than the one before it."""

from collections import deque
from typing import Literal

import cv2
import numpy as np

THUMBNAIL = (32, 18)  # width, height: enough to tell scenes apart, too coarse to see a person move
SURE, POSSIBLE = 20.0, 6.0  # mean difference of two thumbnails, in grey levels; clips stay below 19 from frame to frame
SPIKE = 4.0  # a possible cut differs by this factor more than the frames before it did
ALIKE = 0.9  # thumbnails that correlate more than this show one scene, in another light
FLAT = 4.0  # standard deviation in grey levels below which a thumbnail shows nothing (a black frame)
REMEMBERED = 8  # differences of the last frames


class Cuts:
    """Judges each picture of a sequence by the one before it. Blank pictures are passed over: what follows them is
    compared with what came before."""

    def __init__(self) -> None:
        self._last: np.ndarray | None = None
        self._blank = False
        self._differences: deque[float] = deque(maxlen=REMEMBERED)

    def judge(self, image: np.ndarray) -> Literal["same", "doubt", "cut", "blank"]:
        """Whether `image` (height, width, 3) uint8 BGR, the next picture, shows the scene of the last one.

        doubt: perhaps not; something large may have moved before the camera.
        """
        now = thumbnail(image)
        was_blank, self._blank = self._blank, is_blank(now)
        if self._blank:
            return "blank"
        last, self._last = self._last, now
        if last is None:
            return "same"
        difference = float(np.abs(now - last).mean())
        usual = float(np.median(self._differences)) if self._differences else 0.0
        self._differences.append(difference)
        if not unrelated(last, now):
            return "doubt" if was_blank else "same"
        if difference >= SURE:
            self._differences.clear()
            return "cut"
        return "doubt" if was_blank or difference >= SPIKE * usual else "same"

    def forget(self) -> None:
        """The next picture is compared with nothing."""
        self._last, self._blank = None, False
        self._differences.clear()


def thumbnail(image: np.ndarray) -> np.ndarray:
    """(18, 32) float32 grey levels of a picture (height, width, 3) uint8 BGR."""
    step = max(1, min(image.shape[1] // (4 * THUMBNAIL[0]), image.shape[0] // (4 * THUMBNAIL[1])))
    small = cv2.resize(np.ascontiguousarray(image[::step, ::step]), THUMBNAIL, interpolation=cv2.INTER_AREA)
    return cv2.cvtColor(small, cv2.COLOR_BGR2GRAY).astype(np.float32)


def is_blank(thumb: np.ndarray) -> bool:
    """Whether a thumbnail shows nothing, as a black frame does."""
    return float(thumb.std()) < FLAT


def unrelated(one: np.ndarray, other: np.ndarray) -> bool:
    """Whether two thumbnails show different scenes; the same scene in another light is one scene."""
    if float(np.abs(one - other).mean()) < POSSIBLE:
        return False
    return float(np.corrcoef(one.ravel(), other.ravel())[0, 1]) < ALIKE
