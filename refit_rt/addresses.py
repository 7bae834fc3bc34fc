"""Addresses of ZeroMQ sockets: checked, bound and connected in one place, IPv6 included."""

import logging
import re
import socket as sockets
import stat
from pathlib import Path

import zmq

from refit_rt.errors import UserError

log = logging.getLogger(__name__)

LAST_PORT = 65535
TCP = re.compile(r"tcp://(?P<host>.*):(?P<port>[^:]*)")
BRACKETS = re.compile(r"\[[0-9a-fA-F:.]+(%\w+)?\]")
# Origins of pages of this machine: served here, files, and those of VS Code and Electron.
OWN_PAGES = re.compile(r"null|https?://(localhost|127\.0\.0\.1|\[::1\])(:\d+)?|(vscode-webview|app|file)://.*")
ANSWER_S = 0.5  # the longest wait for the program that holds a path


def bind(socket: zmq.Socket, address: str, setting: str, example: str) -> str:
    """Binds, and returns the address with its real port. `:*` and `:0` take a free port, which the log names.

    setting begins errors, and example is in their cure. Raises UserError for an address that is malformed or in use; an
    ipc path in use as well, which ZeroMQ would take over.
    """
    place = "path" if address.startswith("ipc://") else "port"
    taken = f"End the other program (a second refit-rt?), or set {setting} to another {place}"
    cure = f"Set {setting} to {example}"
    if wrong := fault(address, binds=True):
        raise UserError(f"{setting}: {address} cannot be bound ({wrong}). {cure}")
    if address.startswith("ipc://") and (holder := holder_of(Path(address.removeprefix("ipc://")))):
        raise UserError(f"{setting}: {address} cannot be bound ({holder}). {taken}")
    socket.setsockopt(zmq.IPV6, int(needs_ipv6(address)))
    try:
        socket.bind(address)
    except zmq.ZMQError as error:
        reason = zmq.strerror(error.errno or 0).lower()
        raise UserError(
            f"{setting}: {address} cannot be bound ({reason}). {taken if error.errno == zmq.EADDRINUSE else cure}"
        ) from error
    real = socket.getsockopt_string(zmq.LAST_ENDPOINT)
    if address.rpartition(":")[2] in ("*", "0", "//*"):
        log.info("%s: %s is bound at %s", setting, address, real)
    return real


def connect(socket: zmq.Socket, address: str, example: str) -> None:
    """Connects. ZeroMQ waits for the program that binds the address. Raises UserError for a malformed one."""
    if wrong := fault(address, binds=False):
        raise UserError(f"{address}: is not an address ({wrong}). Give one like {example}")
    socket.setsockopt(zmq.IPV6, int(needs_ipv6(address)))
    try:
        socket.connect(address)
    except zmq.ZMQError as error:
        reason = zmq.strerror(error.errno or 0).lower()
        raise UserError(f"{address}: is not an address ({reason}). Give one like {example}") from error
    host = host_of(address)
    if host and not (families(host) or BRACKETS.fullmatch(host)):
        log.warning("%s: this machine does not know the name %s. Check it, or give the IP address", address, host)


def fault(address: str, binds: bool) -> str:
    """What is wrong with an address, or nothing."""
    transport, separator, rest = address.partition("://")
    if separator and transport == "ipc":
        return "" if rest and (binds or rest != "*") else "it has no path"
    if transport == "inproc":
        return "inproc:// reaches only its own process"
    if not separator or transport != "tcp":
        return "it does not begin with tcp:// or ipc://"
    parts = TCP.fullmatch(address)
    if parts is None or not parts["host"]:
        return "it needs a host and a port"
    host, port = parts["host"], parts["port"]
    if ":" in host and not BRACKETS.fullmatch(host):
        return f"IPv6 stands in brackets, as in tcp://[::1]:{port}"
    if "*" in (host, port) and not binds:
        return "* is for the side that binds"
    if port != "*" and not (port.isascii() and port.isdigit() and (0 if binds else 1) <= int(port) <= LAST_PORT):
        return f"its port is not a number from {0 if binds else 1} to {LAST_PORT}"
    return ""


def local(address: str) -> str:
    """The address by which a program on this machine reaches what is bound at `address`: a wildcard only binds."""
    address = re.sub(r"^tcp://(\*|0\.0\.0\.0):", "tcp://127.0.0.1:", address)
    return re.sub(r"^tcp://\[::\]:", "tcp://[::1]:", address)


def is_open(address: str) -> bool:
    """Whether what is bound at an address can be reached from other machines."""
    host = host_of(address)
    return bool(host) and host != "localhost" and not host.startswith("127.") and host != "[::1]"


def host_of(address: str) -> str:
    parts = TCP.fullmatch(address)
    return parts["host"] if parts else ""


def needs_ipv6(address: str) -> bool:
    """Whether the host is an IPv6 address, or a name that has no other.

    ZeroMQ would look up every name in IPv6 alone otherwise, and miss a publisher at 127.0.0.1 behind `localhost`.
    """
    host = host_of(address)
    return bool(BRACKETS.fullmatch(host)) or families(host) == {sockets.AF_INET6}


def families(host: str) -> set[int]:
    """The kinds of addresses that this machine knows for a host name; none for an unknown name or a device."""
    if not host or host == "*":
        return {sockets.AF_INET}
    try:
        return {entry[0] for entry in sockets.getaddrinfo(host, None, type=sockets.SOCK_STREAM)}
    except (OSError, UnicodeError):
        return set()


def holder_of(path: Path) -> str:
    """What an ipc path is held by, so that it must not be bound; nothing for a free path or a socket left behind."""
    try:
        mode = path.stat().st_mode
    except (OSError, ValueError):
        return ""
    if not stat.S_ISSOCK(mode):
        return "a file is there"
    if not hasattr(sockets, "AF_UNIX"):
        return ""
    with sockets.socket(sockets.AF_UNIX, sockets.SOCK_STREAM) as probe:
        probe.settimeout(ANSWER_S)
        try:
            probe.connect(str(path))
        except (ConnectionRefusedError, FileNotFoundError):
            return ""
        except OSError as error:
            return (error.strerror or str(error)).lower()
    return "address already in use"
