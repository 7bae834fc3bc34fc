"""Reads a camera that may disconnect, and reopens it after growing pauses."""

import logging
import threading
import time
from collections.abc import Callable, Iterator
from typing import Protocol

import numpy as np

from refit_rt.capture.picture import as_bgr
from refit_rt.types import Frame

log = logging.getLogger(__name__)

FIRST_PAUSE_S = 0.5
MOST_FAILED = 5  # the camera counts as disconnected after this many unreadable frames in a row,
GONE_S = 2.0  # or after this long without a frame, because drivers and FFmpeg take seconds to report a failure


class Capture(Protocol):
    """An open camera, as OpenCV's VideoCapture."""

    def grab(self) -> bool:
        """Waits for the next frame; False: it does not come."""
        ...

    def retrieve(self) -> tuple[bool, np.ndarray | None]:
        """Whether the frame that was grabbed can be read, and its image."""
        ...

    def release(self) -> None:
        """Closes the camera."""


class Lasting:
    """The frames of a capture device across disconnections."""

    def __init__(
        self,
        name: str,
        where: str,
        connect: Callable[[], Capture | None],
        longest_s: float,
        most_failed: int = MOST_FAILED,
        gone_s: float = GONE_S,
    ) -> None:
        """`connect` opens the device or returns None; `where` names it in the log; `longest_s` bounds the pauses."""
        self.waiting = ""
        self.bad = 0
        self._name, self._where, self._connect, self._longest_s = name, where, connect, longest_s
        self._most_failed, self._gone_s = most_failed, gone_s
        self._stopped = threading.Event()

    def frames(self, capture: Capture) -> Iterator[Frame]:
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
                if failed >= self._most_failed or captured_s - last_s > self._gone_s:
                    capture.release()
                    capture, failed, last_s = self._reopen(capture), 0, time.monotonic()
        finally:
            capture.release()

    def stop(self) -> None:
        """Ends the iteration, from any thread, and any pause before a reopening."""
        self._stopped.set()

    def _reopen(self, gone: Capture) -> Capture:
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
