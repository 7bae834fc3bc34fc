"""Several cameras or files → FrameSet: the frames of one moment."""

from contextlib import ExitStack
from pathlib import Path

import msgspec

from refit_rt import config
from refit_rt.capture import Source, is_camera, open_source
from refit_rt.capture.live_cameras import SyncedCameras
from refit_rt.capture.recordings import SyncedRecordings
from refit_rt.capture.times import read_times
from refit_rt.errors import UserError

# A source of the frames of several cameras, to be used as capture.Source is. Beside it has `sizes` of the pictures, and
# counts in `missed` the ticks that have no frame of a camera.
SyncedSource = SyncedRecordings | SyncedCameras


def open_sources(settings: config.Capture, lossless: bool) -> SyncedSource:
    """Opens every source of `settings.sources`: all files are read in step; otherwise each camera has a thread, and a
    file is played as a camera.

    lossless: as in `open_source`. Raises UserError as `open_source` and `check_sources` do.
    """
    check_sources(settings)
    recorded = not any(map(is_camera, settings.sources.values()))
    if settings.timestamps and not recorded:
        raise UserError("capture.timestamps: is for recordings, but capture.sources has a camera. Leave it out")
    with ExitStack() as undo:
        if not recorded:
            cameras = SyncedCameras(settings)
            undo.callback(cameras.close)
            for name in settings.sources:
                cameras.add(name, _open_one(settings, name, lossless))
            undo.pop_all()
            return cameras
        sources = {}
        for name in settings.sources:
            sources[name] = _open_one(settings, name, lossless=True)
            undo.callback(sources[name].close)
        path = Path(settings.timestamps).expanduser() if settings.timestamps else None
        times_s = read_times(path, list(sources)) if path else None
        undo.pop_all()
        return SyncedRecordings(sources, settings, lossless, times_s)


def check_sources(settings: config.Capture) -> None:
    """Raises UserError where capture.sources and the settings beside it contradict each other."""
    if settings.pictures == "stills":
        raise UserError(
            "capture.pictures: stills are single pictures, but capture.sources are films. Leave out one of the two"
        )
    used: dict[str, str] = {}
    for name, source in settings.sources.items():
        if not name or "," in name:
            raise UserError(f"capture.sources: '{name}' is no name of a camera. Give it one without commas")
        one = _identity(source)
        if one in used:
            raise UserError(
                f"capture.sources: '{used[one]}' and '{name}' are both {source}. Give each camera its own source"
            )
        used[one] = name
    for name in settings.delays_s:
        if name not in settings.sources:
            raise UserError(
                f"capture.delays_s: has a camera '{name}', but capture.sources only {', '.join(settings.sources)}. "
                "Use the same names"
            )


def _open_one(settings: config.Capture, name: str, lossless: bool) -> Source:
    one = msgspec.structs.replace(settings, source=settings.sources[name], name=name, pictures="clip")
    try:
        return open_source(one, lossless)
    except UserError as error:
        raise UserError(f"capture.sources: camera '{name}': {error}") from error


def _identity(source: str) -> str:
    """The same text for one device or file, however it is written."""
    if source.isdecimal():
        return f"/dev/video{int(source)}"
    return source if is_camera(source) else str(Path(source).expanduser().resolve())
