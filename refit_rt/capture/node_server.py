"""Sends the pictures of a camera to other machines, as JPEG over ZeroMQ; node.py has the messages."""

import logging
import threading
import time
from collections.abc import Callable
from contextlib import suppress

import cv2
import zmq

from refit_rt.addresses import bind
from refit_rt.capture import Source
from refit_rt.capture.node import ANSWER, FORGOTTEN_S, FRAME, HEADER, PING, POLL_MS, PONG, QUEUED, TIME
from refit_rt.errors import UserError

log = logging.getLogger(__name__)

JOIN_S = 0.5  # how long the end waits for the thread of the camera, which may hang in a driver
INSIDE, END = "inproc://frames", b"end"


class Node:
    """Sends the frames of a source to every reader that asks."""

    def __init__(self, address: str, quality: int = 90, clock: Callable[[], float] = time.monotonic) -> None:
        """quality: of the JPEG, 1 to 100. clock: the one of the frames' captured_s. Raises UserError when the address
        cannot be bound."""
        self.sent = 0  # frames sent to at least one reader
        self._quality, self._clock = quality, clock
        self._readers: dict[bytes, float] = {}  # identity → when its last ping came
        self._context = zmq.Context()
        self._socket = self._context.socket(zmq.ROUTER)
        self._socket.setsockopt(zmq.SNDHWM, QUEUED)
        try:
            self.address = bind(self._socket, address, "--address", "tcp://0.0.0.0:PORT")
        except UserError:
            self._context.destroy(linger=0)
            raise

    @property
    def readers(self) -> int:
        """How many readers have asked for pictures of late."""
        return len(self._readers)

    def serve(self, source: Source, stop: threading.Event) -> None:
        """Until the source ends or `stop` is set; then everything is closed. Raises what the source raises.

        The frames are read and encoded in a thread of their own, so that pings are answered at once.
        """
        failed: list[Exception] = []
        inbox = self._context.socket(zmq.PAIR)
        inbox.bind(INSIDE)
        reader = threading.Thread(target=self._read, args=(source, failed), name="capture", daemon=True)
        reader.start()
        try:
            poller = zmq.Poller()
            poller.register(self._socket, zmq.POLLIN)
            poller.register(inbox, zmq.POLLIN)
            while not stop.is_set():
                events = dict(poller.poll(POLL_MS))
                if self._socket in events:
                    self._answer(source.fps)
                if inbox in events:
                    parts = inbox.recv_multipart()
                    if parts == [END]:
                        break
                    self._send(parts)
        finally:
            source.close()
            reader.join(JOIN_S)
            self._context.destroy(linger=0)
        if failed:
            raise failed[0]

    def _read(self, source: Source, failed: list[Exception]) -> None:
        """The thread of the source: frames → parts of messages."""
        outbox = self._context.socket(zmq.PAIR)
        outbox.setsockopt(zmq.SNDHWM, QUEUED)
        outbox.connect(INSIDE)
        try:
            for frame in source:
                if self._readers:
                    _, jpeg = cv2.imencode(".jpg", frame.image, [cv2.IMWRITE_JPEG_QUALITY, self._quality])
                    header = HEADER.pack(frame.index, frame.captured_s)
                    with suppress(zmq.Again):  # a picture for which there is no time is left out
                        outbox.send_multipart([FRAME, header, jpeg.tobytes()], zmq.NOBLOCK)
        except zmq.ZMQError:  # the other thread has closed everything
            pass
        except Exception as error:  # noqa: BLE001 - raised in the other thread
            failed.append(error)
        finally:
            with suppress(zmq.ZMQError):
                outbox.send(END)
            outbox.close(0)

    def _answer(self, fps: float) -> None:
        while True:
            try:
                parts = self._socket.recv_multipart(zmq.NOBLOCK)
            except zmq.Again:
                break
            now_s = self._clock()
            if len(parts) == 3 and parts[1] == PING and len(parts[2]) == TIME.size:
                (asked_s,) = TIME.unpack(parts[2])
                if parts[0] not in self._readers:
                    log.info("a reader has connected")
                self._readers[parts[0]] = time.monotonic()
                self._socket.send_multipart([parts[0], PONG, ANSWER.pack(asked_s, now_s, fps)], zmq.NOBLOCK)

    def _send(self, parts: list[bytes]) -> None:
        now_s = time.monotonic()
        for reader, last_s in list(self._readers.items()):
            if now_s - last_s > FORGOTTEN_S:
                log.info("a reader has gone")
                del self._readers[reader]
                continue
            self._socket.send_multipart([reader, *parts], zmq.NOBLOCK)  # a full queue drops the picture
        self.sent += bool(self._readers)
