"""Messages → whoever subscribes, over ZeroMQ."""

import zmq

from refit_rt.errors import UserError

QUEUED = 4  # messages kept for a subscriber that is slow: it gets the newest soon, not all of them late
LINGER_MS = 100  # how long the last message may take to leave


class Publisher:
    """Binds the address and sends one message a frame, each in one part, so that subscribers may set CONFLATE.

    It is made before the thread that sends starts, and used and closed by that thread alone: ZeroMQ allows a socket to
    move to another thread once, over a full memory fence, which the start of a thread is.
    """

    def __init__(self, address: str) -> None:
        """Raises UserError when the address is none, or in use."""
        self._context = zmq.Context()
        self._socket = self._context.socket(zmq.PUB)
        self._socket.setsockopt(zmq.SNDHWM, QUEUED)
        self._socket.setsockopt(zmq.LINGER, LINGER_MS)
        try:
            self._socket.bind(address)
        except zmq.ZMQError as error:
            self._context.destroy(linger=0)
            reason = zmq.strerror(error.errno or 0).lower()
            taken = "Another refit-rt may run: end it, or set publish.address to another port"
            cure = taken if error.errno == zmq.EADDRINUSE else "Set publish.address to tcp://127.0.0.1:PORT"
            raise UserError(f"publish.address: {address} cannot be bound ({reason}). {cure}") from error

    def send(self, message: bytes) -> None:
        """Never waits."""
        self._socket.send(message)

    def close(self) -> None:
        """Waits a moment for the last message to leave."""
        self._context.destroy(linger=LINGER_MS)
