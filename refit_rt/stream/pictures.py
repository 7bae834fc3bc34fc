"""Publishes pictures to viewers: each message is one JPEG."""

import logging

import zmq

from refit_rt.addresses import bind, is_open
from refit_rt.errors import UserError
from refit_rt.stream import curve

log = logging.getLogger(__name__)

SETTING = "publish.pictures"
EXAMPLE = "tcp://127.0.0.1:5561"
QUEUED = 2  # pictures kept for a slow viewer


class PicturePublisher:
    """Binds the address, and knows whether there are subscribers. One thread uses it, as with Publisher."""

    address: str  # as bound: with the real port where `:*` was given

    def __init__(self, address: str, key: str = "") -> None:
        """key: as of Publisher. Raises UserError when the address is malformed or in use, or the key is of no use."""
        self._context, self._topics = zmq.Context(), set[bytes]()
        self._socket = self._context.socket(zmq.XPUB)  # a PUB socket does not say whether it has subscribers
        self._socket.setsockopt(zmq.SNDHWM, QUEUED)
        try:
            if key:
                curve.serve(self._socket, key, "publish.key")
            self.address = bind(self._socket, address, SETTING, EXAMPLE)
        except UserError:
            self._context.destroy(linger=0)
            raise
        if is_open(self.address) and not key:
            log.warning("%s: %s shows the pictures of people to everybody in the network", SETTING, self.address)

    @property
    def watched(self) -> bool:
        """Whether there is a subscriber."""
        while self._socket.poll(0):  # ZeroMQ reports the first subscriber of a topic, and the end of its last one
            news = self._socket.recv()
            (self._topics.add if news[:1] == b"\x01" else self._topics.discard)(news[1:])
        return bool(self._topics)

    def send(self, jpeg: bytes) -> None:
        """Sends one picture. It never waits."""
        self._socket.send(jpeg)

    def close(self) -> None:
        """Closes the socket."""
        self._context.destroy(linger=0)
