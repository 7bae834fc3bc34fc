"""Where the messages of an outlet go: UDP packets, lines on stdout, a ZeroMQ publisher."""

import socket
from collections.abc import Callable
from typing import Any, BinaryIO

import zmq

from refit_rt.addresses import bind
from refit_rt.errors import UserError

Encode = Callable[[Any], list[tuple[int, bytes]]]  # an item → messages, each with how far its port is above the first
QUEUED, LINGER_MS = 4, 500  # as in stream/publish.py
EXAMPLE = "sonic://127.0.0.1:5556"


class Datagrams:
    """Sends each message as a UDP packet."""

    def __init__(self, encode: Encode, host: str, port: int) -> None:
        """Raises UserError for a host that has no address."""
        try:
            found = socket.getaddrinfo(host, port, type=socket.SOCK_DGRAM)
        except OSError as error:
            raise UserError(f"outlet: {host} has no address ({error.strerror or error}). Check its name") from error
        family, _, _, _, self._address = found[0]
        self._encode = encode
        self._socket = socket.socket(family, socket.SOCK_DGRAM)

    def send(self, item: Any) -> int:
        """Sends an item's packets; UDP does not report whether they arrive."""
        messages = self._encode(item)
        for above, message in messages:
            self._socket.sendto(message, (self._address[0], int(self._address[1]) + above, *self._address[2:]))
        return len(messages)

    def close(self) -> None:
        """Closes the socket."""
        self._socket.close()


class Lines:
    """Writes each message to a stream, as stdout."""

    def __init__(self, encode: Encode, stream: BinaryIO) -> None:
        self._encode, self._stream = encode, stream

    def send(self, item: Any) -> int:
        """Writes an item's lines at once."""
        messages = self._encode(item)
        for _, message in messages:
            self._stream.write(message)
        self._stream.flush()
        return len(messages)

    def close(self) -> None:
        """The stream is not ours to close."""


class Messages:
    """Publishes each message over ZeroMQ."""

    def __init__(self, encode: Encode, host: str, port: int) -> None:
        """Binds the port. Raises UserError when it cannot be had."""
        self._encode = encode
        self._context = zmq.Context()
        self._socket = self._context.socket(zmq.PUB)
        self._socket.setsockopt(zmq.SNDHWM, QUEUED)
        try:
            bind(self._socket, f"tcp://[{host}]:{port}" if ":" in host else f"tcp://{host}:{port}", "outlet", EXAMPLE)
        except UserError:
            self._context.destroy(linger=0)
            raise

    def send(self, item: Any) -> int:
        """Publishes an item's messages. It never waits for a subscriber."""
        messages = self._encode(item)
        for _, message in messages:
            self._socket.send(message)
        return len(messages)

    def close(self) -> None:
        """Closes the socket, and waits up to LINGER_MS for the last message to be sent."""
        self._context.destroy(linger=LINGER_MS)
