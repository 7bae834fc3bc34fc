"""The verb `run`: a source of frames → the stream, and files if asked."""

from pathlib import Path
from typing import Annotated

import msgspec
from tyro.conf import Positional, arg

from refit_rt.commands.shared import Folder, say
from refit_rt.config import Settings


def run(
    source: Positional[Annotated[str, arg(metavar="[SOURCE]")]] = "",
    /,
    *,
    out: Folder = "",
    settings: Annotated[Settings, arg(name="")],
) -> int:
    """Follow people in a webcam, a file or a network stream, and publish their bodies.

    Args:
        source: Webcam index, video file, folder of images, rtsp:// or http:// address; short for --capture.source.
        out: Write motion.npz and overlay.mp4 to this folder; short for --out.dir. Every frame of a file is processed.
    """
    from refit_rt import pipeline

    replace = msgspec.structs.replace
    if source:
        settings = replace(settings, capture=replace(settings.capture, source=source))
    if out:
        settings = replace(settings, out=replace(settings.out, dir=out))
    report = pipeline.run(settings)
    say(report.table())
    if settings.out.dir:
        folder = Path(settings.out.dir).expanduser()
        files = sorted(file.name for file in folder.iterdir() if not file.name.startswith("."))
        say(f"in {settings.out.dir}: {', '.join(files)}")
    return int(report.hung)
