"""Draws pictures with the bodies over them, while a viewer subscribes."""

import os
import sys
import threading
import time
from collections.abc import Callable
from typing import TypeVar

import cv2
import numpy as np

from refit_rt.body.smpl import Body
from refit_rt.draw.mosaic import Mosaic
from refit_rt.draw.overlay import Overlay
from refit_rt.live.beside import LOWEST
from refit_rt.stream.pictures import PicturePublisher
from refit_rt.types import Frame, FrameSet, People

Seen = TypeVar("Seen", Frame, FrameSet)
PER_S = 10.0  # pictures, at most
LONGEST_PX = 800  # the longer side: 60 kB per picture
QUALITY = 80  # of the JPEG


class LivePictures:
    """Publishes a small picture of a frame, or of all views of a tick, a few times per second. One thread uses it, and
    has the lowest priority from then on."""

    def __init__(self, publisher: PicturePublisher, body: Body, mosaic: Mosaic | None = None) -> None:
        """mosaic: of the rig whose ticks are drawn; None: frames of one camera are."""
        self._publisher, self._body, self._mosaic = publisher, body, mosaic
        self._overlay: Overlay | None = None
        self._due_s, self._gives_way = -float("inf"), False

    def show(self, seen: Seen, people: People, straight: Callable[[Seen], Seen]) -> bool:
        """Publishes a picture if one is due and a viewer subscribes; returns whether it did.

        straight: removes the distortion of the lens, on which bodies do not lie.
        """
        now_s = time.monotonic()
        if now_s < self._due_s or not self._publisher.watched:
            return False
        self._due_s = now_s + 1 / PER_S
        self._give_way()
        _, jpeg = cv2.imencode(".jpg", self._drawn(straight(seen), people), [cv2.IMWRITE_JPEG_QUALITY, QUALITY])
        self._publisher.send(jpeg.tobytes())
        return True

    def close(self) -> None:
        """Closes the socket."""
        self._publisher.close()

    def _give_way(self) -> None:
        """Lowers the thread's priority, once: a picture takes 22 ms of one core, which fitting needs more."""
        if not self._gives_way and sys.platform == "linux":  # elsewhere this would be the whole process's priority
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), LOWEST)
        self._gives_way = True

    def _drawn(self, seen: Frame | FrameSet, people: People) -> np.ndarray:
        if isinstance(seen, FrameSet):
            assert self._mosaic is not None
            return reduced(self._mosaic.draw(seen, people))
        picture = reduced(seen.image)
        size = picture.shape[1], picture.shape[0]
        if self._overlay is None or self._overlay.size != size:
            self._overlay = Overlay(self._body, size)
        return self._overlay.draw(picture, people)


def reduced(image: np.ndarray) -> np.ndarray:
    """The picture (height, width, 3), its longer side at most LONGEST_PX."""
    height, width = image.shape[:2]
    factor = min(1.0, LONGEST_PX / max(height, width))
    size = max(round(width * factor), 1), max(round(height * factor), 1)
    return image if factor == 1 else cv2.resize(image, size, interpolation=cv2.INTER_AREA)
