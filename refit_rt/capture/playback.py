"""The frames of a recording: all of them, or as a camera would have given them."""

import logging
import threading
import time
from collections.abc import Callable, Iterable, Iterator

import numpy as np

from refit_rt.capture.picture import as_bgr
from refit_rt.types import Frame

log = logging.getLogger(__name__)

# Counted from the recording's begin, what cannot be read included; seconds since its first frame; decodes it, or None.
Shot = tuple[int, float, Callable[[], np.ndarray | None]]

MOST_SKIPPED = 10  # in a row: a machine too slow to decode still shows something


class Playback:
    """Turns shots into frames. Lossless: each one. Live: each at its due time, and those already over are skipped."""

    def __init__(self, name: str, fps: float, lossless: bool, focal_over_diagonal: float | None = None) -> None:
        """focal_over_diagonal: the focal length over the picture's diagonal, if the recording reports one."""
        self.bad = 0
        self._focal_over_diagonal = focal_over_diagonal
        self._name, self._fps, self._lossless = name, fps, lossless
        self._start_s: float | None = None
        self._stopped = threading.Event()

    def frames(self, once: Callable[[], Iterable[Shot]], loop: bool) -> Iterator[Frame]:
        """The frames of `once()`; again and again with `loop`, the index and the time going on."""
        begin, offset_s, skipped = 0, 0.0, 0
        while True:
            index = begin - 1
            for shot, shot_s, decode in once():
                index, time_s = begin + shot, offset_s + shot_s
                if not self._lossless:
                    late_s = self._wait(time_s)
                    skipped = skipped + 1 if late_s > 1 / self._fps and skipped < MOST_SKIPPED else 0
                if self._stopped.is_set():
                    return
                if not skipped and (frame := self._frame(index, time_s, decode)) is not None:
                    yield frame
            if not loop or self._lossless or index < begin:
                return
            offset_s += (index + 1 - begin) / self._fps
            begin = index + 1

    def stop(self) -> None:
        """Ends the frames, from any thread; wakes one that waits."""
        self._stopped.set()

    def _wait(self, time_s: float) -> float:
        """Returns when the frame of `time_s` is due: by how many seconds it is late."""
        if self._start_s is None:  # the first frame is due now
            self._start_s = time.monotonic() - time_s
            return 0.0
        self._stopped.wait(max(0.0, self._start_s + time_s - time.monotonic()))
        return time.monotonic() - self._start_s - time_s

    def _focal_px(self, image: np.ndarray) -> float | None:
        share = self._focal_over_diagonal
        return None if share is None else share * float(np.hypot(*image.shape[1::-1]))

    def _frame(self, index: int, time_s: float, decode: Callable[[], np.ndarray | None]) -> Frame | None:
        captured_s = time.monotonic()
        try:
            image = decode()
            if image is not None:
                return Frame(self._name, index, captured_s, time_s, as_bgr(image), self._focal_px(image))
            reason = "it cannot be decoded"
        except ValueError as error:
            reason = str(error)
        self.bad += 1
        log.warning("frame %d is left out: %s", index, reason)
        return None
