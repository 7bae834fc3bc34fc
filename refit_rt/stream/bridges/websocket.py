"""The stream over WebSocket: the messages of stream/wire.py, each as one binary frame, for browsers and Godot.

A client gets the newest message each time it is ready for one: the next follows when it has answered a ping that came
after the last. So a slow client loses frames, and no seconds of them wait in the buffers of the network.
Any page that a browser shows can open a connection to this machine. So pages of this machine alone may connect, unless
`origin` names others; programs that are no browsers send no origin and may.
"""

import asyncio
import hmac
import threading
import time
from typing import Any
from urllib.parse import parse_qs, urlsplit

from websockets.asyncio.server import Server, ServerConnection, serve
from websockets.exceptions import ConnectionClosed
from websockets.http11 import Request, Response

from refit_rt.addresses import OWN_PAGES
from refit_rt.errors import UserError
from refit_rt.stream.wire import encode

PORT = 8765
START_S = 5.0


class WebSockets:
    """A server in a thread of its own."""

    def __init__(self, host: str, port: int, token: str, origins: list[str]) -> None:
        """token: which a client gives as ?token=…; empty: none is needed. origins: further ones that may connect, as
        https://example.org. Raises UserError when the port cannot be had."""
        self._token = token
        self._origins = [OWN_PAGES, None, *origins]
        self._loop = asyncio.new_event_loop()
        self._newest: bytes = b""
        self._count = self.clients = 0
        self._ended = False
        self._changed = asyncio.Condition()
        self._server: Server | None = None
        self._thread = threading.Thread(target=self._loop.run_forever, name="websocket", daemon=True)
        self._thread.start()
        try:
            self._call(self._start(host, port))
        except OSError as error:
            self._end()
            reason = (error.strerror or str(error)).lower()
            raise UserError(f"outlet: {host}:{port} cannot be bound ({reason}). Give another port") from error

    def send(self, item: Any) -> int:
        """Hands a frame, or the news of a source, to every client; returns the number of clients."""
        people = item.people if item.status == "live" else item.people.take(slice(0))
        self._call(self._publish(encode(people, item.run, time.monotonic(), item.status)))
        return self.clients

    def close(self) -> None:
        """Ends every connection."""
        if self._server is not None:
            self._call(self._stop(self._server))
        self._end()

    def _end(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def _call(self, work: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(START_S)

    async def _start(self, host: str, port: int) -> None:
        self._server = await serve(
            self._serve,
            host,
            port,
            origins=self._origins,
            process_request=self._admit,
            compression=None,  # the arrays hardly shrink
            max_size=1024,  # clients have nothing to say
        )

    async def _stop(self, server: Server) -> None:
        async with self._changed:
            self._ended = True
            self._changed.notify_all()
        server.close()
        await server.wait_closed()

    async def _publish(self, message: bytes) -> None:
        async with self._changed:
            self._newest, self._count = message, self._count + 1
            self._changed.notify_all()

    def _admit(self, connection: ServerConnection, request: Request) -> Response | None:
        """Refuses a client without the token."""
        given = parse_qs(urlsplit(request.path).query).get("token", [""])[0]
        if self._token and not hmac.compare_digest(given.encode(), self._token.encode()):
            return connection.respond(401, "Give the token: ws://HOST:PORT/?token=SECRET\n")
        return None

    async def _serve(self, connection: ServerConnection) -> None:
        """One client: the newest message, whenever there is one that it has not had."""
        seen = self._count
        self.clients += 1
        try:
            while True:
                async with self._changed:
                    while self._count == seen and not self._ended:
                        await self._changed.wait()
                    if self._count == seen:
                        return
                    message, seen = self._newest, self._count
                await connection.send(message)
                await (await connection.ping())
        except ConnectionClosed:
            pass
        finally:
            self.clients -= 1
