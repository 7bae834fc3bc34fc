"""Draws the views of a rig beside each other, each with the bodies as that camera sees them."""

import math
from collections.abc import Mapping

import cv2
import numpy as np

from refit_rt.body.smpl import Body
from refit_rt.cameras import Camera, seen_from
from refit_rt.draw.overlay import Overlay, contact_sheet
from refit_rt.draw.raster import NEAR_M
from refit_rt.draw.video import OverlayWriter, fit_into
from refit_rt.types import Frame, FrameSet, People

LONGEST_PX = 640  # longer side of one view
NAME_COLOUR, MISSING_COLOUR = (235, 235, 235), (130, 130, 130)
NAME_SIZE = 0.6  # in OpenCV's measure


class Mosaic:
    """Draws each tick of a rig as one picture: a grid of its views, row by row in the order of the cameras. A camera
    without a frame has a black view with its name."""

    def __init__(self, body: Body, cameras: Mapping[str, Camera]) -> None:
        """cameras: of the rig, for the pictures without distortion; those of pictures of another size are scaled."""
        self._body, self._cameras = body, cameras
        self._overlays: dict[tuple[int, int], Overlay] = {}
        self._cell: tuple[int, int] | None = None  # width, height of a view: that of the first picture

    def draw(self, ticks: FrameSet, people: People) -> np.ndarray:
        """The picture (height, width, 3) uint8 BGR of a tick, whose pictures have no distortion, and of the people in
        the frame of camera `people.camera`."""
        first = next(frame for frame in ticks.frames if frame is not None)
        self._cell = self._cell or _reduced(first.size)
        views = [self._view(name, frame, people) for name, frame in zip(ticks.names, ticks.frames, strict=True)]
        return contact_sheet(views, math.ceil(math.sqrt(len(views))))

    def _view(self, name: str, frame: Frame | None, people: People) -> np.ndarray:
        width, height = cell = self._cell or (0, 0)
        if frame is None:
            view = np.zeros((height, width, 3), np.uint8)
            _write(view, f"{name}: no picture", MISSING_COLOUR)
            return view
        size = _reduced(frame.size)
        small = frame.image if size == frame.size else cv2.resize(frame.image, size, interpolation=cv2.INTER_AREA)
        here, there = self._cameras[people.camera], self._cameras[name].scaled(frame.size)
        if size not in self._overlays:
            self._overlays[size] = Overlay(self._body, size)
        seen = seen_from(people, here, there)
        view = fit_into(self._overlays[size].draw(small, seen.take(_in_view(seen))), cell)
        _write(view, name, NAME_COLOUR)
        return view


class MosaicWriter:
    """Writes the ticks of a rig as a video, one picture per tick."""

    def __init__(self, mosaic: Mosaic, video: OverlayWriter) -> None:
        """video: draws nothing itself."""
        self._mosaic, self._video = mosaic, video

    def draw(self, item: tuple[FrameSet, People]) -> None:
        """Adds one tick, at its time. Raises UserError when the video cannot be written."""
        ticks, people = item
        picture = self._mosaic.draw(ticks, people)
        self._video.add(Frame("", ticks.index, ticks.captured_s, ticks.time_s, picture), people)

    def close(self) -> None:
        """Moves the video to its place. Without any tick, it leaves no file."""
        self._video.close()


def _in_view(people: People) -> np.ndarray:
    """(person,) bool: whether the picture shows a joint."""
    inside = ((people.joints_px >= 0) & (people.joints_px < people.size)).all(-1)
    return np.any(inside & (people.joints_camera[..., 2] > NEAR_M), axis=1)


def _reduced(size: tuple[int, int]) -> tuple[int, int]:
    """The size of a view, its longer side at most LONGEST_PX, for a picture of this size (width, height)."""
    factor = min(1.0, LONGEST_PX / max(size))
    return round(size[0] * factor), round(size[1] * factor)


def _write(view: np.ndarray, text: str, colour: tuple[int, int, int]) -> None:
    """Writes into the upper left corner, on a darkened strip."""
    (width, height), below = cv2.getTextSize(text, cv2.FONT_HERSHEY_SIMPLEX, NAME_SIZE, 1)
    strip = view[: height + below + 8, : width + 16]
    strip[:] = (strip * 0.35).astype(np.uint8)
    cv2.putText(view, text, (8, height + 5), cv2.FONT_HERSHEY_SIMPLEX, NAME_SIZE, colour, 1, cv2.LINE_AA)
