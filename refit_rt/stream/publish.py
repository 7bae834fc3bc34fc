"""Publishes messages to subscribers over ZeroMQ."""

import logging

import zmq

from refit_rt.addresses import bind, is_open
from refit_rt.errors import UserError
from refit_rt.stream import curve

log = logging.getLogger(__name__)

# Messages kept per subscriber in this process, and bytes in the system. What is more is left out for that subscriber.
# Both are small, yet they do not keep a slow subscriber in time: its own side keeps 1000 messages before it stops
# reading. Measured with 60 messages of 3 kB per second and a reader that needs 0.1 s for each, its last message after
# 12 s is 9.5 s old whatever the publisher sets. With CONFLATE on its side (stream/subscribe.py) it is 0.02 s old.
QUEUED = 4
SYSTEM_BYTES = 32768  # a subscriber that keeps one message and 8 kB itself is then 2.7 s late instead of 9.5 s
LINGER_MS = 500  # the longest time that closing waits for the last message to be sent


class Publisher:
    """Binds the address and sends one message per frame, each in one part, so that subscribers may set CONFLATE.

    Create it before the sending thread starts, and let that thread alone use and close it: ZeroMQ allows a socket to
    move to another thread across a full memory fence, and starting a thread is one.
    """

    address: str  # as bound: with the real port where `:*` was given

    def __init__(self, address: str, key: str = "") -> None:
        """key: the file of a secret key (`curve.serve`), with which the stream is encrypted; empty: it is not. Raises
        UserError when the address is malformed or in use, or the key is of no use."""
        self._context = zmq.Context()
        self._socket = self._context.socket(zmq.PUB)
        self._socket.setsockopt(zmq.SNDHWM, QUEUED)
        self._socket.setsockopt(zmq.SNDBUF, SYSTEM_BYTES)
        self._socket.setsockopt(zmq.LINGER, LINGER_MS)
        try:
            if key:
                curve.serve(self._socket, key, "publish.key")
            self.address = bind(self._socket, address, "publish.address", "tcp://127.0.0.1:PORT")
        except UserError:
            self._context.destroy(linger=0)
            raise
        if is_open(self.address) and not key:
            log.warning(
                "publish.address: everybody in the network can read %s. --publish.key studio.key_secret encrypts it",
                self.address,
            )

    def send(self, message: bytes) -> None:
        """Sends one message. It never waits for a subscriber."""
        self._socket.send(message)

    def close(self) -> None:
        """Closes the socket, and waits up to LINGER_MS for the last message to be sent."""
        self._context.destroy(linger=LINGER_MS)
