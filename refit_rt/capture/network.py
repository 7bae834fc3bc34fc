"""Reads frames from a network camera at an address: rtsp://, http://, udp:// and others that FFmpeg knows."""

import logging
import threading
import time
from collections.abc import Callable, Iterator

import numpy as np
from av.error import FFmpegError

from refit_rt import config
from refit_rt.capture.apart import Apart
from refit_rt.capture.film import GUESSED_FPS, LISTS, Film, Shown, reason, shown_address
from refit_rt.capture.film_times import FilmTimes
from refit_rt.capture.retry import Lasting
from refit_rt.errors import UserError
from refit_rt.types import Frame

log = logging.getLogger(__name__)

# FFmpeg's options. A second is looked at before the first picture; fflags=nobuffer, which drops what was looked at,
# would drop the first keyframe, and the next one may be 20 s away.
OPTIONS = {"analyzeduration": "1000000", "fpsprobesize": "0"}
REORDER_US = {"tcp": "0", "udp": "100000"}  # how long a late packet is waited for
KEYFRAME_S = 30.0  # the longest wait for a picture: keyframes of cameras lie up to 20 s apart
SILENT_S, SILENT_STEPS = 2.0, 3.0  # a camera is silent after this long, and this many times its usual step
LATE_S = 5.0  # a paced frame that is later than this begins a new pace
MOST_FAILED = 900  # damaged frames in a row, which a lost packet may cause until the next keyframe


class NetworkSource:
    """A camera on the network. It is read in a thread of its own, because a read from a camera that stalls lasts until
    its timeout, and without a pause, because FFmpeg queues unread frames, which adds seconds of delay."""

    runs_by_itself = True
    fps = 0.0  # what a stream states is often wrong; the times of its frames say it

    def __init__(self, settings: config.Capture) -> None:
        self._address, self._transport = settings.source, settings.transport
        self._shown, self._why = shown_address(self._address), ""
        self._heard_s, self._step_s = time.monotonic(), 0.0
        self._stopped = threading.Event()
        capture = self._connect()
        if capture is None:
            cure = "Check the address, the password and that the camera is on"
            if self._address.startswith("rtsp") and self._transport == "tcp":
                cure += "; for a camera that sends by UDP alone, set capture.transport to udp"
            raise UserError(f"{self._shown}: no video arrives ({self._why}). {cure}")
        self._lasting = Lasting(settings.name, self._shown, self._connect, settings.retry_s, MOST_FAILED, KEYFRAME_S)
        self._apart = Apart(self._heard(capture), newest=True)

    @property
    def waiting(self) -> str:
        """What the source waits for while the camera is disconnected or silent; empty: its frames arrive."""
        silent_s = time.monotonic() - self._heard_s
        limit_s = max(SILENT_S, SILENT_STEPS * self._step_s)
        return self._lasting.waiting or (f"{self._shown} is silent" if silent_s > limit_s else "")

    @property
    def bad(self) -> int:
        """The number of frames so far that could not be read."""
        return self._lasting.bad

    def __iter__(self) -> Iterator[Frame]:
        """Yields the newest frame each time."""
        return iter(self._apart)

    def close(self) -> None:
        """Ends the iteration at once; a read that has begun ends by itself."""
        self._stopped.set()
        self._lasting.stop()
        self._apart.close()

    def _heard(self, capture: "Arriving") -> Iterator[Frame]:
        for frame in self._lasting.frames(capture):
            now_s = time.monotonic()
            self._step_s, self._heard_s = now_s - self._heard_s, now_s
            yield frame

    def _connect(self) -> "Arriving | None":
        """Opens the stream and waits for its first picture; None if that fails, and `_why`."""
        options = OPTIONS | {"rtsp_transport": self._transport, "max_delay": REORDER_US[self._transport]}
        try:
            film = Film(self._address, options, live=True, patience_s=KEYFRAME_S)
        except (FFmpegError, OSError, LookupError, ValueError) as error:
            self._why = reason(error)
            return None
        capture = Arriving(film, self._shown, self._stopped, self._end)
        if capture.begin():
            return capture
        self._why = film.error or "the stream ends at once"
        capture.release()
        return None

    def _end(self) -> None:
        self._lasting.stop()


class Arriving:
    """An open stream as a capture device (retry.Capture)."""

    def __init__(self, film: Film, shown: str, stopped: threading.Event, end: Callable[[], None]) -> None:
        """stopped: ends a wait. end: called at the end of what has one."""
        self._film, self._where, self._stopped, self._end = film, shown, stopped, end
        self._frames = film.frames()
        self._shown: Shown | None = None
        self._begun = False
        # A list of files delivers seconds of frames at once; they are shown at their own times.
        self._times = FilmTimes(shown, GUESSED_FPS, may_jump=True) if film.format in LISTS else None
        self._start_s: float | None = None

    def begin(self) -> bool:
        """Waits for the first picture that can be decoded."""
        for shown in self._frames:
            if shown.frame is not None:
                self._shown, self._begun = shown, True
                return True
            if not self._begun:
                self._begun = True
                log.info("%s: waiting for a keyframe", self._where)
        return False

    def grab(self) -> bool:
        """Waits for the next frame. False: there will be none."""
        if self._begun:  # `begin` has read the first one
            self._begun = False
        else:
            self._shown = next(self._frames, None)
        if self._shown is None:
            if self._film.has_end and not self._film.error:
                self._end()
            return False
        if self._times is not None:
            self._pace(self._times.next(self._shown.time_s))
        return True

    def retrieve(self) -> tuple[bool, np.ndarray | None]:
        """The picture of the frame, if it can be decoded."""
        if self._shown is None or self._shown.frame is None:
            return False, None
        return True, self._film.picture(self._shown.frame)

    def release(self) -> None:
        """Closes the stream."""
        self._film.close()

    def _pace(self, time_s: float) -> None:
        now_s = time.monotonic()
        if self._start_s is None or now_s - self._start_s - time_s > LATE_S:
            self._start_s = now_s - time_s
        self._stopped.wait(max(0.0, self._start_s + time_s - now_s))
