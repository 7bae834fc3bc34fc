"""A camera that may vanish: read, and opened again with growing pauses."""

import logging
import threading
import time
from collections.abc import Callable, Iterator

import cv2

from refit_rt.capture.picture import as_bgr
from refit_rt.types import Frame

log = logging.getLogger(__name__)

FIRST_PAUSE_S = 0.5
MOST_FAILED = 5  # frames in a row that cannot be read before the camera counts as gone,
GONE_S = 2.0  # or this long without one: drivers and FFMPEG wait seconds before they say so


class Lasting:
    """The frames of a capture device for as long as it can be had."""

    def __init__(self, name: str, where: str, connect: Callable[[], cv2.VideoCapture | None], longest_s: float) -> None:
        """`connect` opens the device, or None; `where` is what the log calls it; `longest_s` bounds the pauses."""
        self.waiting = ""
        self.bad = 0
        self._name, self._where, self._connect, self._longest_s = name, where, connect, longest_s
        self._stopped = threading.Event()

    def frames(self, capture: cv2.VideoCapture) -> Iterator[Frame]:
        """Frames of the open `capture`, then of those it is replaced by. A lost frame leaves a gap in the index."""
        index, failed, start_s, last_s = 0, 0, None, time.monotonic()
        try:
            while not self._stopped.is_set():
                grabbed = capture.grab()
                captured_s = time.monotonic()
                done, image = capture.retrieve() if grabbed else (False, None)
                if done and image is not None and image.size:
                    start_s = captured_s if start_s is None else start_s
                    failed, last_s = 0, captured_s
                    yield Frame(self._name, index, captured_s, captured_s - start_s, as_bgr(image))
                    index += 1
                    continue
                failed += 1
                if grabbed:
                    self.bad, index = self.bad + 1, index + 1
                if failed >= MOST_FAILED or captured_s - last_s > GONE_S:
                    capture.release()
                    capture, failed, last_s = self._again(capture), 0, time.monotonic()
        finally:
            capture.release()

    def stop(self) -> None:
        """Ends the frames, from any thread; wakes one that waits."""
        self._stopped.set()

    def _again(self, gone: cv2.VideoCapture) -> cv2.VideoCapture:
        """Waits until the device can be opened again. After `stop` the one that is gone is given back."""
        pause_s, tries = FIRST_PAUSE_S, 0
        while not self._stopped.is_set():
            tries += 1
            self.waiting = f"{self._where} has vanished, try {tries}"
            log.warning("%s: next in %.1f s", self.waiting, min(pause_s, self._longest_s))
            if self._stopped.wait(min(pause_s, self._longest_s)):
                break
            pause_s *= 2
            if (capture := self._connect()) is not None:
                log.warning("%s is back", self._where)
                self.waiting = ""
                return capture
        return gone


class LiveSource:
    """What a webcam and a network camera have in common as sources of frames."""

    runs_by_itself = True

    def __init__(self, capture: cv2.VideoCapture, lasting: Lasting) -> None:
        """capture: open, with its first frame grabbed."""
        self.fps = capture.get(cv2.CAP_PROP_FPS)
        self._capture, self._lasting = capture, lasting

    @property
    def waiting(self) -> str:
        """What it waits for, when the camera has vanished."""
        return self._lasting.waiting

    @property
    def bad(self) -> int:
        """Frames so far that could not be read."""
        return self._lasting.bad

    def __iter__(self) -> Iterator[Frame]:
        """Every frame that the camera gives."""
        return self._lasting.frames(self._capture)

    def close(self) -> None:
        """Ends the iteration after the frame under way."""
        self._lasting.stop()
