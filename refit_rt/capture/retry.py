"""Reads a camera that may disconnect, and reopens it after growing pauses."""

import logging
import threading
import time
from collections.abc import Callable, Iterator

import cv2

from refit_rt.capture.picture import as_bgr
from refit_rt.types import Frame

log = logging.getLogger(__name__)

FIRST_PAUSE_S = 0.5
MOST_FAILED = 5  # the camera counts as disconnected after this many unreadable frames in a row,
GONE_S = 2.0  # or after this long without a frame, because drivers and FFmpeg take seconds to report a failure


class Lasting:
    """The frames of a capture device across disconnections."""

    def __init__(self, name: str, where: str, connect: Callable[[], cv2.VideoCapture | None], longest_s: float) -> None:
        """`connect` opens the device or returns None; `where` names it in the log; `longest_s` bounds the pauses."""
        self.waiting = ""
        self.bad = 0
        self._name, self._where, self._connect, self._longest_s = name, where, connect, longest_s
        self._stopped = threading.Event()

    def frames(self, capture: cv2.VideoCapture) -> Iterator[Frame]:
        """Yields frames of the open `capture`, then of each reopened one. An unreadable frame leaves an index gap."""
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
                    capture, failed, last_s = self._reopen(capture), 0, time.monotonic()
        finally:
            capture.release()

    def stop(self) -> None:
        """Ends the iteration, from any thread, and any pause before a reopening."""
        self._stopped.set()

    def _reopen(self, gone: cv2.VideoCapture) -> cv2.VideoCapture:
        """Waits until the device can be opened again. After `stop` it returns `gone`, the capture that was released."""
        pause_s, tries = FIRST_PAUSE_S, 0
        while not self._stopped.is_set():
            tries += 1
            self.waiting = f"{self._where} is disconnected, attempt {tries}"
            log.warning("%s: reopening in %.1f s", self.waiting, min(pause_s, self._longest_s))
            if self._stopped.wait(min(pause_s, self._longest_s)):
                break
            pause_s *= 2
            if (capture := self._connect()) is not None:
                log.warning("%s is connected again", self._where)
                self.waiting = ""
                return capture
        return gone


class LiveSource:
    """The part of a source of frames that a webcam and a network camera share."""

    runs_by_itself = True

    def __init__(self, capture: cv2.VideoCapture, lasting: Lasting) -> None:
        """capture: an open device whose first frame is already grabbed."""
        self.fps = capture.get(cv2.CAP_PROP_FPS)
        self._capture, self._lasting = capture, lasting

    @property
    def waiting(self) -> str:
        """What the source waits for while the camera is disconnected; empty: it is connected."""
        return self._lasting.waiting

    @property
    def bad(self) -> int:
        """The number of frames so far that could not be read."""
        return self._lasting.bad

    def __iter__(self) -> Iterator[Frame]:
        """Yields every frame that the camera delivers."""
        return self._lasting.frames(self._capture)

    def close(self) -> None:
        """Ends the iteration after the current frame."""
        self._lasting.stop()
