"""Rows of settings → outlets: the same people in the words of others, each sent by a thread of its own.

An outlet takes the newest frame when it is ready for one. One that stalls or fails loses its own frames, which are
counted, and holds up neither the run nor another outlet.
"""

import logging
import sys
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol
from urllib.parse import parse_qsl, urlsplit

from refit_rt.axes import AXES
from refit_rt.body.smpl import Body
from refit_rt.errors import UserError
from refit_rt.live.latest import Closed, Latest
from refit_rt.stream.bridges import json_lines, sonic, vmc, websocket
from refit_rt.stream.bridges.bodies import bodies_of
from refit_rt.stream.bridges.links import Datagrams, Encode, Lines, Messages
from refit_rt.stream.wire import Run
from refit_rt.types import People

log = logging.getLogger(__name__)

LOOPBACK = "127.0.0.1"
SAY_AGAIN_S = 10.0  # between two warnings of one outlet


class Item(NamedTuple):
    """One frame's people, or nobody and why."""

    people: People
    status: str  # live, waiting or ended, as on the wire
    run: Run


class Link(Protocol):
    """Where an outlet's messages go."""

    def send(self, item: Item) -> int:
        """Sends what the item makes; returns the number of messages. Raises OSError where that fails."""
        ...

    def close(self) -> None:
        """Ends it."""
        ...


@dataclass(frozen=True, slots=True)
class Row:
    """One row of settings: KIND://HOST:PORT?OPTION=VALUE&…"""

    text: str
    kind: str
    host: str
    port: int
    options: dict[str, str] = field(default_factory=dict)

    def option(self, name: str, default: str, choices: tuple[str, ...] = ()) -> str:
        """A word. Raises UserError for one that is no choice."""
        value = self.options.get(name, default)
        if choices and value not in choices:
            raise UserError(f"outlet {self.text}: {name} is one of {', '.join(choices)}, not {value!r}")
        return value

    def count(self, name: str, default: int, least: int, most: int) -> int:
        """A whole number. Raises UserError for one that is out of range."""
        value = self.options.get(name, str(default))
        if not value.isdecimal() or not least <= int(value) <= most:
            raise UserError(f"outlet {self.text}: {name} is a whole number from {least} to {most}, not {value!r}")
        return int(value)


def _vmc(row: Row, body: Body) -> Link:
    encode = vmc.Vmc(row.count("people", 1, 1, 64), row.option("origin", "person", ("person", "world")))
    return Datagrams(_live(encode), row.host, row.port)


def _sonic(row: Row, body: Body) -> Link:
    return Messages(_live(sonic.Sonic(body, row.count("frames", 5, 5, 64))), row.host, row.port)


def _json(row: Row, body: Body) -> Link:
    encode = _live(json_lines.JsonLines(row.option("axes", "gltf", tuple(AXES))))
    return Lines(encode, sys.stdout.buffer) if row.host == "stdout" else Datagrams(encode, row.host, row.port)


def _websocket(row: Row, body: Body) -> Link:
    origins = [one for one in row.options.get("origin", "").split(",") if one]
    if row.host not in (LOOPBACK, "localhost", "::1") and not row.options.get("token"):
        raise UserError(
            f"outlet {row.text}: opens the stream to the network. Give it a secret, as in {row.text}?token=SECRET"
        )
    return websocket.WebSockets(row.host, row.port, row.options.get("token", ""), origins)


class Kind(NamedTuple):
    """A kind of outlet."""

    make: Callable[[Row, Body], Link]
    port: int
    options: tuple[str, ...]


KINDS = {
    "vmc": Kind(_vmc, vmc.PORT, ("people", "origin")),
    "sonic": Kind(_sonic, sonic.PORT, ("frames",)),
    "json": Kind(_json, json_lines.PORT, ("axes",)),
    "websocket": Kind(_websocket, websocket.PORT, ("token", "origin")),
}


def parsed(text: str) -> Row:
    """A row of settings. Raises UserError."""
    cure = f"Give one like vmc://{LOOPBACK}:{vmc.PORT}; the kinds are {', '.join(KINDS)}"
    try:
        parts = urlsplit(text if "://" in text else f"{text}://")
        port = parts.port
    except ValueError as error:
        raise UserError(f"outlet {text}: {str(error).lower()}. {cure}") from error
    kind = KINDS.get(parts.scheme)
    if kind is None:
        raise UserError(f"outlet {text}: {parts.scheme!r} is no kind of outlet. {cure}")
    if parts.path.strip("/") or parts.username or parts.fragment or port == 0:
        raise UserError(f"outlet {text}: is not KIND://HOST:PORT?OPTION=VALUE. {cure}")
    options = dict(parse_qsl(parts.query, keep_blank_values=True))
    if unknown := [name for name in options if name not in kind.options]:
        known = ", ".join(kind.options)
        raise UserError(f"outlet {text}: has no option {unknown[0]!r}; {parts.scheme} has {known}")
    return Row(text, parts.scheme, parts.hostname or LOOPBACK, port or kind.port, options)


def check_rows(rows: Iterable[str]) -> None:
    """Raises UserError for a row that is malformed, and for one that is there twice."""
    seen = [(row.kind, row.host, row.port) for row in map(parsed, rows)]
    if twice := next((one for one in seen if seen.count(one) > 1), None):
        raise UserError(f"outlet {twice[0]}://{twice[1]}:{twice[2]}: is there twice. Leave one out")


class Outlets:
    """Every outlet of a run."""

    def __init__(self, rows: Iterable[str], run: Run, body: Body) -> None:
        """Opens them. Raises UserError for a row that is malformed, and for a port that cannot be had."""
        self._run, self._outlets = run, list[Outlet]()
        rows = list(rows)
        check_rows(rows)
        try:
            for row in map(parsed, rows):
                self._outlets.append(Outlet(row.text, KINDS[row.kind].make(row, body)))
        except BaseException:
            self.close()
            raise

    def send(self, people: People, status: str = "live", run: Run | None = None) -> None:
        """Hands a frame to every outlet. It never waits. run: the facts of the frame's own run, if they differ."""
        for outlet in self._outlets:
            outlet.offer(Item(people, status, run or self._run))

    def close(self) -> None:
        """Ends them, after the frame that each is sending."""
        for outlet in self._outlets:
            outlet.close()

    def table(self) -> list[str]:
        """What became of each, for people to read."""
        return [outlet.summary() for outlet in self._outlets]


class Outlet:
    """One outlet and its thread."""

    def __init__(self, name: str, link: Link) -> None:
        self._name, self._link = name, link
        self._waiting: Latest[Item] = Latest()
        self.messages = self.failed = 0
        self._said_s = -SAY_AGAIN_S
        self._thread = threading.Thread(target=self._run, name=f"outlet {name}", daemon=True)
        self._thread.start()

    @property
    def dropped(self) -> int:
        """Frames that came while an earlier one was being sent, and that a newer one replaced."""
        return self._waiting.dropped

    def offer(self, item: Item) -> None:
        """The newest frame. It never waits."""
        self._waiting.put(item)

    def close(self, wait_s: float = 1.0) -> None:
        """Ends the thread after the frame that it is sending; one that stalls is left behind."""
        self._waiting.close()
        self._thread.join(wait_s)
        if self._thread.is_alive():
            log.warning("outlet %s: does not take its last frame", self._name)

    def summary(self) -> str:
        """What it came to, for people to read."""
        failed = f", {self.failed} failed" if self.failed else ""
        return f"outlet {self._name}: {self.messages} messages, {self.dropped} frames dropped{failed}"

    def _run(self) -> None:
        try:
            for item in self._waiting:
                self._send(item)
        finally:
            self._link.close()

    def _send(self, item: Item) -> None:
        try:
            self.messages += self._link.send(item)
        except Closed:
            raise
        except Exception as error:  # noqa: BLE001 - whatever fails here must not reach the run
            self.failed += 1
            if time.monotonic() - self._said_s >= SAY_AGAIN_S:
                self._said_s = time.monotonic()
                log.warning("outlet %s: a frame is lost (%s)", self._name, error)


def _live(encode: Callable) -> Encode:
    """An encoder of bodies as one of items: frames alone make messages, not the news of a source."""

    def encoded(item: Item) -> list[tuple[int, bytes]]:
        return encode(bodies_of(item.people)) if item.status == "live" else []

    return encoded
