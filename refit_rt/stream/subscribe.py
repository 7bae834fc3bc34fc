"""A ZeroMQ publisher → messages."""

from collections.abc import Iterator

import zmq

from refit_rt.addresses import connect
from refit_rt.errors import UserError
from refit_rt.stream import curve
from refit_rt.stream.wire import Message, decode

WAKE_MS = 100  # between two checks of whether to go on
EXAMPLE = "tcp://127.0.0.1:5560"


class Listener:
    """Subscribes to an address. Use and close it in the thread that made it."""

    def __init__(self, address: str, newest: bool = True, key: str = "") -> None:
        """newest: a new message replaces an unread one (CONFLATE), so that a slow reader is never late. False: every
        message waits, up to 1000 of them, and a slow reader falls behind. key: the file of the publisher's public key,
        for a stream that is encrypted. Raises UserError for a malformed address and for a key of no use."""
        self._context = zmq.Context()
        self._socket = self._context.socket(zmq.SUB)
        self._socket.setsockopt(zmq.CONFLATE, int(newest))
        self._socket.setsockopt(zmq.SUBSCRIBE, b"")
        try:
            if key:
                curve.trust(self._socket, key)
            self._handshakes = curve.Handshakes(self._socket, address, key)
            connect(self._socket, address, EXAMPLE)
        except UserError:
            self._context.destroy(linger=0)
            raise

    def get(self, wait_ms: int = WAKE_MS) -> Message | None:
        """The next message, or None if none arrives in time. Raises UserError for one that cannot be read, and when the
        publisher's key is not ours."""
        if self._socket.poll(wait_ms):
            return decode(self._socket.recv())
        self._handshakes.check()
        return None

    def close(self) -> None:
        """Leaves the stream."""
        self._socket.disable_monitor()
        self._context.destroy(linger=0)


def listen(address: str = EXAMPLE, once: bool = False, newest: bool = True, key: str = "") -> Iterator[Message]:
    """The messages of a stream as they come, always the newest: one that is not read in time is replaced by the next.

    newest: False gives every message, and a reader that is slower than the stream falls behind. It waits for a
    publisher that does not run yet, and for the next run when one has ended; `once` ends after a run's last message.
    key: the file of the publisher's public key, for a stream that is encrypted (`publish.key`). Raises UserError for a
    malformed address, for a message that cannot be read, and for a key that is not the publisher's.
    """
    listener = Listener(address, newest, key)
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
