"""Published pictures → the newest one."""

import threading
import time

import cv2
import numpy as np
import zmq

from refit_rt.addresses import connect
from refit_rt.errors import UserError
from refit_rt.stream import curve
from refit_rt.stream.pictures import EXAMPLE

WAKE_MS = 100
JOIN_S = 1.0


class PictureFeed:
    """Subscribes to pictures, each a message that is a JPEG, in a thread of its own."""

    def __init__(self, address: str, key: str = "") -> None:
        """key: the file of the publisher's public key. Raises UserError for a malformed address and for a key of no
        use."""
        self.address, self.bad = address, 0  # messages that are no pictures
        self._stop, self._lock = threading.Event(), threading.Lock()
        self._newest: np.ndarray | None = None
        self._heard_s = -float("inf")
        self._context = zmq.Context()
        self._socket = self._context.socket(zmq.SUB)
        self._socket.setsockopt(zmq.CONFLATE, 1)
        self._socket.setsockopt(zmq.SUBSCRIBE, b"")
        try:
            if key:
                curve.trust(self._socket, key)
            connect(self._socket, address, EXAMPLE)
        except UserError:
            self._context.destroy(linger=0)
            raise
        self._thread = threading.Thread(target=self._run, name=f"pictures {address}", daemon=True)
        self._thread.start()

    @property
    def silent_s(self) -> float:
        """Seconds since the newest picture; infinite if none came."""
        return time.monotonic() - self._heard_s

    def take(self) -> np.ndarray | None:
        """The newest picture (height, width, 3) uint8 RGB, once; None: none came since the last one was taken."""
        with self._lock:
            picture, self._newest = self._newest, None
            return picture

    def close(self) -> None:
        """Ends the subscription."""
        self._stop.set()
        self._thread.join(JOIN_S)

    def _run(self) -> None:
        try:
            while not self._stop.is_set():
                if self._socket.poll(WAKE_MS):
                    self._add(self._socket.recv())
        finally:
            self._context.destroy(linger=0)

    def _add(self, message: bytes) -> None:
        picture = cv2.imdecode(np.frombuffer(message, np.uint8), cv2.IMREAD_COLOR) if message else None
        if picture is None:
            self.bad += 1
            return
        with self._lock:
            self._newest, self._heard_s = cv2.cvtColor(picture, cv2.COLOR_BGR2RGB), time.monotonic()
