"""A recording's progress in the browser: one page, its pictures and its figures, served to this machine alone."""

import json
import re
import threading
from collections.abc import Callable
from contextlib import suppress
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import cv2
import numpy as np

from calib.guidance import WANTED_DISTANCES, WANTED_TILT_DEG
from calib.recorder import CameraLook, Progress
from calib.weaknesses import COVERED, EDGES_COVERED, FEW_FRAMES, FEW_SHARED, GRID
from refit_rt.errors import UserError

PAGE = Path(__file__).with_name("record_page.html")
HOST = "127.0.0.1"
WIDEST, QUALITY = 640, 80  # of a picture on the page
GREEN, ORANGE, LINE = (61, 128, 21), (9, 130, 235), (255, 255, 255)  # BGR
SHADE = 0.3


class Page:
    """Serves the page while its `with` block runs, at `address`."""

    def __init__(self, port: int, progress: Callable[[], Progress], waiting: Callable[[], str], pairs: bool) -> None:
        """port: 0 takes any that is free. waiting: as Screen.show's. pairs: whether pairs of cameras matter.
        Raises UserError when the port cannot be had."""

        class Handler(_Handler):
            """Knows what to show."""

            def state(self) -> dict:
                return state_of(progress(), waiting(), pairs)

            def looks(self) -> tuple[CameraLook, ...]:
                return progress().cameras

        try:
            self._server = ThreadingHTTPServer((HOST, port), Handler)
        except (OSError, OverflowError) as error:
            reason = getattr(error, "strerror", None) or error
            raise UserError(f"--port {port}: cannot be used ({reason}). Give another one, or 0 for any") from error
        self._server.daemon_threads = True
        self.address = f"http://{HOST}:{self._server.server_port}/"

    def __enter__(self) -> "Page":
        threading.Thread(target=self._server.serve_forever, args=(0.1,), name="page", daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()


class _Handler(BaseHTTPRequestHandler):
    """Answers /, /state.json and /picture/N.jpg."""

    def state(self) -> dict:
        """What the page polls."""
        raise NotImplementedError

    def looks(self) -> tuple[CameraLook, ...]:
        """The cameras of the newest look."""
        raise NotImplementedError

    def do_GET(self) -> None:
        """Answers one request."""
        # Another site's page may have its own name lead here, to read the pictures; this name is not ours.
        if self.headers.get("Host", "").rpartition(":")[0] not in (HOST, "localhost"):
            self.send_error(HTTPStatus.FORBIDDEN, f"This page is called {HOST}")
            return
        path = self.path.partition("?")[0]
        if path == "/":
            self._send("text/html; charset=utf-8", PAGE.read_bytes())
        elif path == "/state.json":
            self._send("application/json", json.dumps(self.state()).encode())
        elif found := re.fullmatch(r"/picture/(\d{1,3})\.jpg", path):
            self._picture(int(found.group(1)))
        else:
            self.send_error(HTTPStatus.NOT_FOUND)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class's name
        """Requests are not logged."""

    def _picture(self, number: int) -> None:
        looks = self.looks()
        if number >= len(looks):
            self.send_error(HTTPStatus.NOT_FOUND)
            return
        encoded = cv2.imencode(".jpg", drawn(looks[number]), [cv2.IMWRITE_JPEG_QUALITY, QUALITY])[1]
        self._send("image/jpeg", encoded.tobytes())

    def _send(self, kind: str, content: bytes) -> None:
        with suppress(ConnectionError):  # a browser that has gone is not an error
            self.send_response(HTTPStatus.OK)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(content)))
            self.send_header("Cache-Control", "no-store")
            self.end_headers()
            self.wfile.write(content)


def state_of(progress: Progress, waiting: str, pairs: bool) -> dict:
    """What the page polls, as JSON has it."""
    return {
        "takes": progress.takes,
        "last": progress.last[0] if progress.last else 0,
        "now": waiting or progress.now,
        "next": progress.next,
        "enough": progress.enough,
        "connected": progress.connected,
        "few_shared": FEW_SHARED,
        "pairs": progress.pairs.tolist() if pairs else [],
        "cameras": [
            {
                "name": one.state.name,
                "sees": one.view is not None,
                "still": one.still,
                "note": one.note,
                "lacks": next(iter(one.state.lacks), ""),
                "facts": _facts(one, progress.lenses),
            }
            for one in progress.cameras
        ],
    }


def _facts(one: CameraLook, lenses: bool) -> list[tuple[str, str, bool | None]]:
    """Name, value, and whether it is enough; None: it does not matter. lenses: whether they are to be found."""
    state = one.state
    near, far = state.distance_m or (0.0, 0.0)
    times = f"{far / near:.1f} of {WANTED_DISTANCES:.1f} times" if far else ""
    distance = f"{near:.1f} to {far:.1f} m, {times}" if far else "-"
    if not lenses:
        return [("takes", str(state.takes), None)]
    return [
        ("takes", f"{state.takes} of {FEW_FRAMES}", state.takes >= FEW_FRAMES),
        ("picture", f"{state.covered:.0%} of {COVERED:.0%}", state.covered >= COVERED),
        ("edges", f"{state.edges:.0%} of {EDGES_COVERED:.0%}", state.edges >= EDGES_COVERED),
        ("tilt", f"{state.tilt_deg:.0f}° of {WANTED_TILT_DEG:.0f}°", state.tilt_deg >= WANTED_TILT_DEG),
        ("distance", distance, bool(far) and far >= WANTED_DISTANCES * near),
    ]


def drawn(look: CameraLook) -> np.ndarray:
    """The picture (height, width, 3) BGR of a camera, with its fields and the board's corners; grey: there is none."""
    if look.frame is None:
        return np.full((WIDEST * 9 // 16, WIDEST, 3), 60, np.uint8)
    width, height = look.frame.size
    scale = min(1.0, WIDEST / width)
    image = cv2.resize(look.frame.image, (round(width * scale), round(height * scale)), interpolation=cv2.INTER_AREA)
    high, wide = image.shape[:2]
    xs, ys = (np.linspace(0, side, GRID + 1).round().astype(int) for side in (wide, high))
    for row, column in np.argwhere(look.state.fields):
        part = image[ys[row] : ys[row + 1], xs[column] : xs[column + 1]]
        part[:] = ((1 - SHADE) * part + SHADE * np.array([80, 220, 60])).astype(np.uint8)
    for x, y in zip(xs[1:-1], ys[1:-1], strict=True):
        cv2.line(image, (int(x), 0), (int(x), high), LINE, 1)
        cv2.line(image, (0, int(y)), (wide, int(y)), LINE, 1)
    if look.view is not None:
        for x, y in (look.view.pixels + 0.5) * scale - 0.5:
            cv2.circle(image, (round(x), round(y)), 4, GREEN if look.still else ORANGE, -1, cv2.LINE_AA)
            cv2.circle(image, (round(x), round(y)), 4, LINE, 1, cv2.LINE_AA)
    return image
