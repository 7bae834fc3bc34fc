"""Encrypts a ZeroMQ stream with CURVE (ZeroMQ RFC 26): who has the publisher's public key can read it, and nobody else.

The keys are files in the format of zmq.auth, which czmq reads as well: NAME.key_secret stays with the publisher, and
NAME.key goes to the subscribers. A subscriber needs no key of its own, and makes one for each connection.
"""

import logging
import os
import struct
from contextlib import suppress
from pathlib import Path

import zmq
from zmq.auth import load_certificate
from zmq.auth.certs import create_certificates
from zmq.utils import z85
from zmq.utils.monitor import recv_monitor_message

from refit_rt.errors import UserError

log = logging.getLogger(__name__)

KEY_BYTES = 32
SECRET, PUBLIC = ".key_secret", ".key"
MOST_FAILURES = 3  # attempts without an answer after which the key is taken to be wrong: a publisher may be restarting
REFUSED = zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL | zmq.EVENT_HANDSHAKE_FAILED_AUTH | zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL


def serve(socket: zmq.Socket, file: str, setting: str) -> None:
    """Encrypts what a socket will publish. To be called before it binds.

    file: NAME.key_secret. Where it is missing, it is made, with NAME.key beside it. setting begins errors. Raises
    UserError.
    """
    if not zmq.has("curve"):
        raise UserError(f"{setting}: this build of ZeroMQ cannot encrypt. Install pyzmq from PyPI")
    path = Path(file).expanduser()
    if path.suffix != SECRET:
        raise UserError(f"{setting}: {file} is no name of a secret key. Give one that ends in {SECRET}")
    if not path.exists():
        _make(path, setting)
    _, secret = _read(path, setting)
    if secret is None:
        raise UserError(f"{setting}: {path} holds no secret key. Delete it, and a new one is made")
    socket.setsockopt(zmq.CURVE_SERVER, 1)
    socket.setsockopt(zmq.CURVE_SECRETKEY, secret)


def trust(socket: zmq.Socket, file: str) -> None:
    """Lets a socket read the stream of the publisher whose NAME.key is given. To be called before it connects. Raises
    UserError."""
    path = Path(file).expanduser()
    if not path.exists():
        raise UserError(
            f"--key {file}: no such file. Copy NAME{PUBLIC} from the publisher, which makes it when it starts"
        )
    public, _ = _read(path, "--key")
    own_public, own_secret = zmq.curve_keypair()
    socket.setsockopt(zmq.CURVE_SERVERKEY, public)
    socket.setsockopt(zmq.CURVE_PUBLICKEY, own_public)
    socket.setsockopt(zmq.CURVE_SECRETKEY, own_secret)


class Handshakes:
    """Watches whether the other side accepts a subscriber: ZeroMQ itself is silent when keys do not match."""

    def __init__(self, socket: zmq.Socket, address: str, key: str) -> None:
        """To be made before the socket connects."""
        self._events = socket.get_monitor_socket(REFUSED | zmq.EVENT_HANDSHAKE_SUCCEEDED)
        self._address, self._key, self._failures = address, key, 0

    def check(self) -> None:
        """Raises UserError when the keys of the two sides do not match."""
        while self._events.poll(0):
            event = recv_monitor_message(self._events)
            if event["event"] == zmq.EVENT_HANDSHAKE_SUCCEEDED:
                self._failures = 0
            elif event["value"] == zmq.PROTOCOL_ERROR_ZMTP_MECHANISM_MISMATCH:
                raise UserError(self._other if self._key else self._encrypted)
            elif event["event"] == zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL and self._key:
                self._failures += 1
        if self._failures >= MOST_FAILURES:
            raise UserError(self._other)

    @property
    def _encrypted(self) -> str:
        return f"{self._address}: its stream is encrypted. Give the publisher's NAME{PUBLIC} with --key"

    @property
    def _other(self) -> str:
        return (
            f"{self._address}: {self._key} is not its key, or its stream is not encrypted. Copy NAME{PUBLIC} from the "
            "publisher, or leave out --key"
        )


def _make(path: Path, setting: str) -> None:
    """Makes NAME.key_secret, readable for its owner alone, and NAME.key. An older NAME.key is never written over."""
    public = path.with_suffix(PUBLIC)
    if public.exists():
        raise UserError(f"{setting}: {public} is there, but {path} is not. Restore it, or delete {public} for new keys")
    before = os.umask(0o077) if os.name == "posix" else None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        create_certificates(path.parent, path.stem, metadata={"for": "refit_rt"})
    except OSError as error:
        with suppress(OSError):  # half a pair would be refused at the next start
            public.unlink(missing_ok=True)
            path.unlink(missing_ok=True)
        raise UserError(f"{setting}: {path} cannot be made ({error.strerror}). Give another place") from error
    finally:
        if before is not None:
            os.umask(before)
    log.info("%s: new keys are made. Subscribers need %s: refit-rt listen --key %s", setting, public, public.name)


def _read(path: Path, setting: str) -> tuple[bytes, bytes | None]:
    """The public and the secret key of a file; None: it has no secret one. Raises UserError."""
    cure = f"Give a file NAME{PUBLIC} or NAME{SECRET} that refit-rt run made"
    try:
        public, secret = load_certificate(path)
        for key in (public, secret or public):
            if len(z85.decode(key)) != KEY_BYTES:
                raise ValueError(f"a key has 40 characters, not {len(key)}")
    except OSError as error:
        raise UserError(f"{setting}: {path} cannot be read ({error.strerror}). {cure}") from error
    except (ValueError, LookupError, struct.error) as error:
        raise UserError(f"{setting}: {path} holds no key ({error}). {cure}") from error
    return public, secret
