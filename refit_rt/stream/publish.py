"""Publishes messages to subscribers over ZeroMQ."""

import zmq

from refit_rt.errors import UserError

QUEUED = 4  # messages kept for a slow subscriber, so that it gets recent ones soon rather than all of them late
LINGER_MS = 100  # the longest time that closing waits for the last message to be sent


class Publisher:
    """Binds the address and sends one message per frame, each in one part, so that subscribers may set CONFLATE.

    Create it before the sending thread starts, and let that thread alone use and close it: ZeroMQ allows a socket to
    move to another thread across a full memory fence, and starting a thread is one.
    """

    def __init__(self, address: str) -> None:
        """Raises UserError when the address is malformed or in use."""
        self._context = zmq.Context()
        self._socket = self._context.socket(zmq.PUB)
        self._socket.setsockopt(zmq.SNDHWM, QUEUED)
        self._socket.setsockopt(zmq.LINGER, LINGER_MS)
        try:
            self._socket.bind(address)
        except zmq.ZMQError as error:
            self._context.destroy(linger=0)
            reason = zmq.strerror(error.errno or 0).lower()
            taken = "End the other program (a second refit-rt?), or set publish.address to another port"
            cure = taken if error.errno == zmq.EADDRINUSE else "Set publish.address to tcp://127.0.0.1:PORT"
            raise UserError(f"publish.address: {address} cannot be bound ({reason}). {cure}") from error

    def send(self, message: bytes) -> None:
        """Sends one message. It never waits for a subscriber."""
        self._socket.send(message)

    def close(self) -> None:
        """Closes the socket, and waits up to LINGER_MS for the last message to be sent."""
        self._context.destroy(linger=LINGER_MS)
