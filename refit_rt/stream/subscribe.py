"""A ZeroMQ publisher → messages."""

from collections.abc import Iterator

import zmq

from refit_rt.errors import UserError
from refit_rt.stream.wire import Message, decode

WAKE_MS = 100  # between two checks of whether to go on


class Listener:
    """Subscribes to an address. Use and close it in the thread that made it."""

    def __init__(self, address: str, newest_only: bool = False) -> None:
        """newest_only: a new message replaces an unread one (CONFLATE). Raises UserError for a malformed address."""
        self._context = zmq.Context()
        self._socket = self._context.socket(zmq.SUB)
        self._socket.setsockopt(zmq.CONFLATE, int(newest_only))
        self._socket.setsockopt(zmq.SUBSCRIBE, b"")
        try:
            self._socket.connect(address)
        except zmq.ZMQError as error:
            self._context.destroy(linger=0)
            reason = zmq.strerror(error.errno or 0).lower()
            raise UserError(f"{address}: is not an address ({reason}). Give one like tcp://127.0.0.1:5560") from error

    def get(self, wait_ms: int = WAKE_MS) -> Message | None:
        """The next message, or None if none arrives in time. Raises UserError for one that cannot be read."""
        return decode(self._socket.recv()) if self._socket.poll(wait_ms) else None

    def close(self) -> None:
        """Leaves the stream."""
        self._context.destroy(linger=0)


def listen(address: str = "tcp://127.0.0.1:5560", once: bool = False) -> Iterator[Message]:
    """The messages of a stream as they come, always the newest: one that is not read in time is replaced by the next.

    It waits for a publisher that does not run yet, and for the next run when one has ended; `once` ends after a run's
    last message. Raises UserError for a malformed address and for a message that cannot be read.
    """
    listener = Listener(address, newest_only=True)
    try:
        while True:
            message = listener.get()
            if message is None:
                continue
            yield message
            if once and message.status == "ended":
                return
    finally:
        listener.close()
