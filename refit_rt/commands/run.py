"""The verb `run`: a source of frames → the stream, and files if asked."""

from pathlib import Path
from typing import Annotated

import msgspec
from tyro.conf import FlagCreatePairsOff, Positional, arg

from refit_rt.commands.shared import Folder, say
from refit_rt.config import Settings


def run(
    source: Positional[Annotated[str, arg(metavar="[SOURCE]")]] = "",
    /,
    *,
    out: Folder = "",
    stills: FlagCreatePairsOff[bool] = False,
    quiet: FlagCreatePairsOff[bool] = False,
    json: FlagCreatePairsOff[bool] = False,
    settings: Annotated[Settings, arg(name="")],
) -> int:
    """Follow people in a webcam, a file or a network stream, and publish their bodies.

    Args:
        source: Short for --capture.source: webcam index, video, picture, folder of pictures, rtsp:// or http:// URL.
            It is used alone, without the cameras of a rig in capture.sources.
        out: Write motion.npz and overlay.mp4 to this folder; short for --out.dir. Every frame of a file is processed.
        stills: Short for --capture.pictures=stills: fit each picture by itself; it is drawn as overlay/NAME.jpg.
        quiet: Print warnings and errors alone.
        json: Print one JSON object per line for programs: one per second while it runs, and the report.
    """
    from refit_rt import pipeline
    from refit_rt.commands.shown import say_json, shown

    show = shown(quiet, json)
    replace = msgspec.structs.replace
    if source:
        alone = replace(settings.capture, source=source, sources={}, timestamps="", delays_s={})
        settings = replace(settings, capture=alone)
    if stills:
        settings = replace(settings, capture=replace(settings.capture, pictures="stills"))
    if out:
        settings = replace(settings, out=replace(settings.out, dir=out))
    report = pipeline.run(settings, show=show)
    files = files_in(settings.out.dir)
    if json:
        say_json("report", report.fields() | {"folder": settings.out.dir, "files": files})
    elif not quiet:
        say(report.table())
        if files:
            say(f"in {settings.out.dir}: {', '.join(files)}")
    return int(report.hung)


def files_in(folder: str) -> list[str]:
    """The names of the files and folders that are not hidden, a folder's with a slash; none without a folder."""
    if not folder:
        return []
    files = (file for file in Path(folder).expanduser().iterdir() if not file.name.startswith("."))
    return sorted(f"{file.name}{'/' * file.is_dir()}" for file in files)
