"""Reads frames from a webcam."""

import sys
from collections.abc import Iterator
from pathlib import Path

import cv2

from refit_rt import config
from refit_rt.capture.retry import Lasting
from refit_rt.errors import UserError
from refit_rt.types import Frame


class WebcamSource:
    """A camera attached to this machine, named by its index (0) or device file (/dev/video0)."""

    runs_by_itself = True

    def __init__(self, settings: config.Capture) -> None:
        self._settings = settings
        source = settings.source
        self._device = Path(f"/dev/video{source}" if source.isdecimal() else source)
        cure = "List the cameras with refit-rt doctor, or give a file: refit-rt run clip.mp4"
        if sys.platform == "linux" and not self._device.exists():
            raise UserError(f"capture.source: camera {source} ({self._device}) does not exist. {cure}")
        capture = self._connect()
        if capture is None:
            raise UserError(f"capture.source: camera {source} delivers no image. Close programs that use it. {cure}")
        self.fps = capture.get(cv2.CAP_PROP_FPS)
        self._capture = capture
        self._lasting = Lasting(settings.name, f"camera {source}", self._connect, settings.retry_s)

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

    def _connect(self) -> cv2.VideoCapture | None:
        """Opens the camera and grabs its first frame; None if that fails."""
        wanted, source = self._settings, self._settings.source
        if sys.platform == "linux" and not self._device.exists():
            return None
        backend = cv2.CAP_V4L2 if sys.platform == "linux" else cv2.CAP_ANY
        capture = cv2.VideoCapture(int(source) if source.isdecimal() else source, backend)
        # MJPG is set before the size, because V4L2 delivers raw 720p at only 10 frames per second over USB 2.
        capture.set(cv2.CAP_PROP_FOURCC, cv2.VideoWriter.fourcc(*"MJPG"))
        for prop, value in (
            (cv2.CAP_PROP_FRAME_WIDTH, wanted.width),
            (cv2.CAP_PROP_FRAME_HEIGHT, wanted.height),
            (cv2.CAP_PROP_FPS, wanted.fps),
            (cv2.CAP_PROP_BUFFERSIZE, 1),
        ):
            if value:
                capture.set(prop, value)
        if capture.isOpened() and capture.grab():
            return capture
        capture.release()
        return None
