"""A camera, a file, a folder or an address → frames."""

from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

from refit_rt import config
from refit_rt.errors import UserError
from refit_rt.types import Frame


class Source(Protocol):
    """Where frames come from. Iterated once, by one thread; `close` ends the iteration and may come from any thread.

    Opening one raises UserError when there is nothing to read. `Frame.index` counts every frame of the source, also
    those that were skipped or could not be read.
    """

    fps: float  # frames a second it says it has; 0: it does not say
    runs_by_itself: bool  # a camera, that goes on whether it is read or not; False: a recording, that waits

    @property
    def waiting(self) -> str:
        """What it waits for, when it has vanished and is tried again; empty: all is well."""
        ...

    @property
    def bad(self) -> int:
        """Frames so far that could not be read."""
        ...

    def __iter__(self) -> Iterator[Frame]: ...

    def close(self) -> None:
        """Ends the iteration after the frame under way."""


def open_source(settings: config.Capture, lossless: bool) -> Source:
    """Opens what `settings.source` names. lossless: every frame, as fast as they are read; else as a camera gives them.

    Raises UserError when it is missing, unreadable, or a camera asked to lose no frame.
    """
    source = settings.source
    if lossless and is_camera(source):
        raise UserError(f"capture.pace: lossless needs a file or a folder, not '{source}'. Set capture.pace to live")
    if "://" in source:
        from refit_rt.capture.network import NetworkSource

        return NetworkSource(settings)
    if is_camera(source):
        from refit_rt.capture.webcam import WebcamSource

        return WebcamSource(settings)
    from refit_rt.capture.folder import SUFFIXES, FolderSource

    path = Path(source).expanduser()
    if not path.exists():
        raise UserError(f"{source or 'capture.source'}: no such file, folder or camera. Check capture.source")
    if path.is_dir() or path.suffix.lower() in SUFFIXES:
        return FolderSource(path, settings, lossless)
    from refit_rt.capture.video import VideoSource

    return VideoSource(path, settings, lossless)


def is_camera(source: str) -> bool:
    """Whether frames come whether they are read or not: a webcam or an address, not a recording."""
    return source.isdecimal() or source.startswith("/dev/video") or "://" in source
