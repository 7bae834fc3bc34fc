"""The verb `view`: streams → a page in the browser."""

import re
import threading
import webbrowser
from contextlib import closing
from pathlib import Path
from typing import Annotated

from tyro.conf import FlagCreatePairsOff, Positional, arg

from refit_rt.commands.shared import File, Folder, say
from refit_rt.errors import UserError


def view(
    addresses: Positional[Annotated[tuple[str, ...], arg(metavar="[ADDRESS]")]] = ("tcp://127.0.0.1:5560",),
    /,
    *,
    pictures: str = "tcp://127.0.0.1:5561",
    host: str = "127.0.0.1",
    port: int = 8090,
    open: FlagCreatePairsOff[bool] = False,  # noqa: A002 - the option's name
    out: Folder = "out/view",
    body: File = "",
    key: File = "",
) -> int:
    """Show streams in the browser: bodies, trails, cameras, the live picture and plots.

    The page is for computers and phones.

    Args:
        addresses: Any number of streams. NAME=ADDRESS gives one a name.
        pictures: Where refit-rt run --publish.pictures publishes pictures; empty: no pictures.
        host: Where the page is served; 0.0.0.0 opens it to the network.
        port: Of the page; 0 takes a free one.
        open: Open the page in the browser of this machine.
        out: Folder of the recordings that the page's button makes.
        body: The body file of the streams, if they are not of the free body.
        key: The publisher's public key, of streams and pictures that are encrypted (publish.key).
    """
    from refit_rt.body.smpl import load_body
    from refit_rt.commands.listen import Recording
    from refit_rt.live.interrupt import ended_by_signals
    from refit_rt.view.page import LOOPBACK, open_page, url_of
    from refit_rt.view.viewer import Viewer

    streams = named(addresses)
    pictures = "" if pictures in [address for _, address in streams] else pictures
    used, stop = load_body(Path(body).expanduser() if body else None), threading.Event()
    with ended_by_signals(stop):
        server = open_page(host, port, "refit_rt")
        with closing(Viewer(server, streams, used, pictures, Path(out).expanduser(), Recording, key)) as viewer:
            there = "" if host in LOOPBACK else f", and port {server.get_port()} of this machine,"
            say(f"{url_of(server)}{there} shows {', '.join(address for _, address in streams)}; Ctrl-C ends")
            if open:
                webbrowser.open(url_of(server))
            viewer.run(stop)
    return 0


def named(addresses: tuple[str, ...]) -> list[tuple[str, str]]:
    """Name and address of each stream: A, B, … where no name is given. Raises UserError for a name that cannot be used,
    or is there twice."""
    from refit_rt.view.panel import EVERYTHING

    streams, cure = [], "Name each stream, as in left=tcp://127.0.0.1:5560"
    for number, text in enumerate(addresses):
        name, separator, address = text.partition("=")
        if not separator or "://" in name:
            name, address = chr(ord("A") + number % 26), text
        if not re.fullmatch(r"[\w-]+", name) or name == EVERYTHING:
            raise UserError(f"view: {name!r} cannot be a stream's name. Use letters, digits, - and _. {cure}")
        streams.append((name, address))
    names = [name for name, _ in streams]
    if twice := next((name for name in names if names.count(name) > 1), None):
        raise UserError(f"view: the name {twice!r} is there twice. {cure}")
    return streams
