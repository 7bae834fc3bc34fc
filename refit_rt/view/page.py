"""The page's server: viser on a free port, without output of its own and without ways out of this machine."""

import logging
import os
import socket
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any

from refit_rt.errors import UserError
from refit_rt.view.inside import own_pages_only, whole_frames

if TYPE_CHECKING:
    from viser import ViserServer

log = logging.getLogger(__name__)

LOOPBACK = ("127.0.0.1", "localhost", "::1")
PANEL_PX = 340
SKY, GROUND = 1.6, (150, 150, 150)  # light from everywhere, beside viser's lamp, which throws the shadows
FOV_RAD = 0.75  # of the page's own camera, from bottom to top


def open_page(host: str, port: int, title: str) -> "ViserServer":
    """Serves an empty scene with y up. port: 0 takes a free one. Raises UserError without viser, and for a port that
    cannot be used."""
    try:
        import rich
        import viser
    except ImportError as error:
        raise UserError(f"view: needs {error.name}. Install it: pip install 'refit-rt[view]'") from error
    check_port(host, port)
    if host not in LOOPBACK:
        log.warning("--host %s: everybody who can reach this machine can watch the people and press the buttons", host)
    rich.get_console().quiet = True  # viser prints a table of addresses and each visitor
    with own_pages_only() if host in LOOPBACK else nullcontext():
        server = viser.ViserServer(host, port, label=title, verbose=False)
    if port and server.get_port() != port:  # taken since the check: viser then takes the next one
        server.stop()
        raise UserError(_taken(host, port, "address already in use"))
    whole_frames(server)
    setattr(server, "request_share_url", _not_shared)  # noqa: B010 - a page could ask for a tunnel to the internet
    server.scene.set_up_direction("+y")
    server.scene.configure_environment_map(None)  # 100 kB, and bodies are black until it has been read
    server.scene.add_light_hemisphere("/sky", ground_color=GROUND, intensity=SKY, position=(0.0, 1.0, 0.0))
    server.initial_camera.fov = FOV_RAD
    server.gui.configure_theme(show_logo=False, show_share_button=False)
    server.gui.main_panel.dock_right()  # beside the scene; a phone has it below
    server.gui.main_panel.set_width(PANEL_PX)
    return server


def check_port(host: str, port: int) -> None:
    """Raises UserError for a port that cannot be bound: viser would take another one and go on."""
    if not 0 <= port <= 65535:
        raise UserError(f"--port {port}: a port is a number from 0 to 65535")
    try:
        with socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET):
            pass
    except OSError as error:
        number = error.errno or 0  # Python's own text for it repeats the address
        reason = os.strerror(number) if number > 0 else str(error)
        raise UserError(_taken(host, port, reason.lower())) from error


def url_of(server: "ViserServer") -> str:
    """Where a browser on this machine finds the page."""
    host = server.get_host()
    host = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(host, f"[{host}]" if ":" in host else host)
    return f"http://{host}:{server.get_port()}"


def _taken(host: str, port: int, reason: str) -> str:
    return f"--port {port}: {host}:{port} cannot be bound ({reason}). Give another port, as in --port {port + 1}"


def _not_shared(*_: Any, **__: Any) -> None:
    """Takes the place of viser's way to publish a page in the internet."""
    log.warning("a visitor asked for a public address of this page; there is none")
