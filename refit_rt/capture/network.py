"""Reads frames from a network camera at an rtsp:// or http:// address."""

import os
import re

import cv2

from refit_rt import config
from refit_rt.capture.retry import Lasting, LiveSource
from refit_rt.errors import UserError

# FFmpeg options: no buffering, no reordering, and TCP, because lost UDP packets smear the image.
LOW_DELAY = "rtsp_transport;tcp|fflags;nobuffer|flags;low_delay|max_delay;0"
TIMEOUT_MS = 5000  # for connecting, and for each frame


class NetworkSource(LiveSource):
    """A camera on the network. The reader must not pause: FFmpeg queues unread frames, which adds seconds of delay."""

    def __init__(self, settings: config.Capture) -> None:
        self._address = settings.source
        shown = re.sub(r"//[^/@]*@", "//", self._address)  # without user and password
        capture = self._connect()
        if capture is None:
            raise UserError(f"{shown}: no video arrives. Check the address, the password and that the camera is on")
        super().__init__(capture, Lasting(settings.name, shown, self._connect, settings.retry_s))

    def _connect(self) -> cv2.VideoCapture | None:
        """Opens the stream and grabs its first frame; None if that fails."""
        key = "OPENCV_FFMPEG_CAPTURE_OPTIONS"  # applies to every open in the process, so it is set only around this one
        before = os.environ.get(key)
        os.environ[key] = before or LOW_DELAY
        timeouts = [cv2.CAP_PROP_OPEN_TIMEOUT_MSEC, TIMEOUT_MS, cv2.CAP_PROP_READ_TIMEOUT_MSEC, TIMEOUT_MS]
        try:
            capture = cv2.VideoCapture(self._address, cv2.CAP_FFMPEG, timeouts)
        finally:
            if before is None:
                del os.environ[key]
        if capture.isOpened() and capture.grab():
            return capture
        capture.release()
        return None
