"""Reads a camera of another machine (node_server.py), with the clocks of both aligned.

Messages of several parts, numbers little-endian:

| from | parts |
|---|---|
| reader | `ping/1`, float64 t0: the reader's monotonic time |
| node | `pong/1`, float64 t0 as it came, float64 the node's monotonic time, float64 frames per second |
| node | `frame/1`, int64 index, float64 captured_s on the node's clock, JPEG |

A node sends pictures to readers whose last ping is younger than FORGOTTEN_S. Half of the time between ping and pong is
the most that the estimate of the clocks' offset can be wrong; the quickest answer of the last ones counts.
"""

import logging
import struct
import threading
import time
from collections import deque
from collections.abc import Iterator

import cv2
import numpy as np
import zmq

from refit_rt import config
from refit_rt.addresses import connect
from refit_rt.errors import UserError
from refit_rt.types import Frame

log = logging.getLogger(__name__)

PING, PONG, FRAME = b"ping/1", b"pong/1", b"frame/1"
TIME, ANSWER, HEADER = struct.Struct("<d"), struct.Struct("<ddd"), struct.Struct("<qd")
PING_EVERY_S, FORGOTTEN_S = 0.2, 2.0
REMEMBERED = 50  # pings, of ten seconds, in which clocks drift apart by less than a millisecond
ANSWERS = 3  # before the first picture is given, so that its time is right
QUEUED = 2  # pictures kept for a slow reader or network
FIRST_S = 5.0  # the longest wait for a node's first answer
GONE_S = 2.0  # a node that is silent for so long is disconnected
POLL_MS = 20


class Offset:
    """The other clock minus this one, from times of ping and pong."""

    def __init__(self) -> None:
        self._seen: deque[tuple[float, float]] = deque(maxlen=REMEMBERED)  # seconds there and back, and the offset

    def add(self, asked_s: float, theirs_s: float, heard_s: float) -> None:
        """asked_s and heard_s on this clock, theirs_s on the other one."""
        self._seen.append((heard_s - asked_s, theirs_s - (asked_s + heard_s) / 2))

    def __len__(self) -> int:
        return len(self._seen)

    @property
    def best(self) -> tuple[float, float]:
        """Seconds, and the most by which they can be wrong."""
        there_and_back_s, offset_s = min(self._seen)
        return offset_s, there_and_back_s / 2


class NodeSource:
    """The frames of a node on another machine; `captured_s` is on this machine's clock."""

    runs_by_itself = True

    def __init__(self, settings: config.Capture) -> None:
        """Raises UserError when no node answers at the address."""
        self.waiting, self.bad, self.fps = "", 0, 0.0
        self.offset = Offset()
        self._name, self._address = settings.name, settings.source
        self._stopped = threading.Event()
        self._asked_s = 0.0
        self._context = zmq.Context()
        self._socket = self._context.socket(zmq.DEALER)
        self._socket.setsockopt(zmq.RCVHWM, QUEUED)
        self._first: list[bytes] | None = None  # a picture that came while the clocks were compared
        try:
            connect(self._socket, self._address, "tcp://HOST:5570")
        except UserError:
            self._context.destroy(linger=0)
            raise
        end_s = time.monotonic() + FIRST_S
        while len(self.offset) < ANSWERS:
            if time.monotonic() > end_s:
                self._context.destroy(linger=0)
                raise UserError(
                    f"{self._address}: no camera answers. Start it there: refit-rt camera 0 --address "
                    f"tcp://0.0.0.0:{self._address.rpartition(':')[2]}"
                )
            self._ask(0.01)
            self._first = self._receive() or self._first
        log.info("%s: the clocks are aligned within %.1f ms", self._address, 1e3 * self.offset.best[1])

    def __iter__(self) -> Iterator[Frame]:
        """Yields every frame that arrives; the node leaves out those that the network has no room for."""
        start_s, heard_s = None, time.monotonic()
        try:
            while not self._stopped.is_set():
                self._ask(PING_EVERY_S)
                parts, self._first = self._first or self._receive(), None
                now_s = time.monotonic()
                if parts is None:
                    if now_s - heard_s > GONE_S and not self.waiting:
                        self.waiting = f"{self._address} is silent"
                        log.warning("%s", self.waiting)
                    continue
                if self.waiting:
                    log.warning("%s is heard again", self._address)
                self.waiting, heard_s = "", now_s
                index, theirs_s = HEADER.unpack(parts[1])
                image = cv2.imdecode(np.frombuffer(parts[2], np.uint8), cv2.IMREAD_COLOR)
                if image is None:
                    self.bad += 1
                    continue
                captured_s = theirs_s - self.offset.best[0]
                start_s = captured_s if start_s is None else start_s
                yield Frame(self._name, index, captured_s, captured_s - start_s, image)
        finally:
            self._context.destroy(linger=0)

    def close(self) -> None:
        """Ends the iteration after the current frame."""
        self._stopped.set()

    def _ask(self, every_s: float) -> None:
        now_s = time.monotonic()
        if now_s - self._asked_s >= every_s:
            self._asked_s = now_s
            self._socket.send_multipart([PING, TIME.pack(time.monotonic())], zmq.NOBLOCK)

    def _receive(self) -> list[bytes] | None:
        """The parts of the next picture; None: none came within POLL_MS, or another message did."""
        if not self._socket.poll(POLL_MS):
            return None
        heard_s, parts = time.monotonic(), self._socket.recv_multipart()
        if len(parts) == 2 and parts[0] == PONG and len(parts[1]) == ANSWER.size:
            asked_s, theirs_s, self.fps = ANSWER.unpack(parts[1])
            self.offset.add(asked_s, theirs_s, heard_s)
        elif len(parts) == 3 and parts[0] == FRAME and len(parts[1]) == HEADER.size:
            return parts
        return None
