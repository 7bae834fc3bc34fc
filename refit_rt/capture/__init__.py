"""Opens the source of frames: a camera, a file, a folder or a network address."""

import functools
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

from refit_rt import config
from refit_rt.errors import UserError
from refit_rt.types import Frame


class Source(Protocol):
    """A source of frames. One thread iterates over it, once; any thread may call `close` to end the iteration.

    Opening a source raises UserError when there is nothing to read. `Frame.index` counts every frame of the source,
    including those that are skipped or cannot be read.
    """

    fps: float  # the frame rate that the source reports; 0: it reports none
    runs_by_itself: bool  # True: a camera, which does not wait for its reader; False: a recording, which does

    @property
    def waiting(self) -> str:
        """What the source waits for while it is disconnected and being reopened; empty: it is connected."""
        ...

    @property
    def bad(self) -> int:
        """The number of frames so far that could not be read."""
        ...

    def __iter__(self) -> Iterator[Frame]: ...

    def close(self) -> None:
        """Ends the iteration after the current frame."""


def open_source(settings: config.Capture, lossless: bool) -> Source:
    """Opens the source that `settings.source` names.

    lossless: every frame is delivered, as fast as it is read; otherwise frames come at the pace of a camera. Raises
    UserError when the source is missing or unreadable, and when a camera is opened as lossless.
    """
    source = settings.source
    if "://" in source and not is_camera(source):
        from refit_rt.capture.video import VideoSource

        return VideoSource(source, settings, lossless)
    if lossless and is_camera(source):
        raise UserError(f"capture.pace: lossless needs a file or a folder, not '{source}'. Set capture.pace to live")
    if source.startswith("tcp://"):
        from refit_rt.capture.node import NodeSource

        return NodeSource(settings)
    if "://" in source:
        from refit_rt.capture.network import NetworkSource

        return NetworkSource(settings)
    if is_camera(source):
        from refit_rt.capture.webcam import WebcamSource

        return WebcamSource(settings)
    from refit_rt.capture.folder import FolderSource, is_of_pictures

    path = Path(source).expanduser()
    if not path.exists():
        raise UserError(f"{source or 'capture.source'}: no such file, folder or camera. Check capture.source")
    if is_of_pictures(path):
        return FolderSource(path, settings, lossless)
    from refit_rt.capture.video import VideoSource

    return VideoSource(path, settings, lossless)


def is_camera(source: str) -> bool:
    """True for a webcam or a camera's address, whose frames come whether or not they are read; False for a recording,
    wherever it lies. An http address is asked once whether it has an end."""
    return source.isdecimal() or source.startswith("/dev/video") or ("://" in source and not _is_recorded(source))


@functools.cache
def _is_recorded(address: str) -> bool:
    if not address.startswith(("http://", "https://")):
        return False
    from refit_rt.capture.film import has_end

    return has_end(address)
