"""The verb `camera`: a camera of this machine for a run on another one."""

import threading
from typing import Annotated

import msgspec
from tyro.conf import Positional, arg

from refit_rt.commands.shared import say
from refit_rt.config import Capture
from refit_rt.errors import UserError


def camera(
    source: Positional[Annotated[str, arg(metavar="[SOURCE]")]] = "0",
    /,
    *,
    address: str = "tcp://127.0.0.1:5570",
    quality: int = 90,
    capture: Capture,
) -> int:
    """Send the pictures of a camera to a run on another machine.

    There, the address of this machine is a source: --capture.sources left tcp://HOST:5570. The run aligns the clocks of
    both machines by itself. Everyone who can reach the address sees the pictures.

    Args:
        source: Webcam index, video file, folder of pictures, or an rtsp:// or http:// URL.
        address: ZeroMQ address to bind; tcp://0.0.0.0:5570 opens it to the network.
        quality: Of the JPEG pictures that are sent, 1 to 100.
    """
    from refit_rt.capture import open_source
    from refit_rt.capture.node_server import Node
    from refit_rt.live.interrupt import ended_by_signals

    if not 1 <= quality <= 100:
        raise UserError(f"--quality: {quality} is not allowed, give 1 to 100")
    opened = open_source(msgspec.structs.replace(capture, source=source, sources={}), lossless=False)
    try:
        node = Node(address, quality)
    except UserError:
        opened.close()
        raise
    say(f"{source} can be read at {address}, Ctrl-C ends")
    stop = threading.Event()
    with ended_by_signals(stop):
        node.serve(opened, stop)
    say(f"{node.sent} frames sent")
    return 0
