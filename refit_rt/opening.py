"""Settings → what a run reads from and writes to, opened; nothing stays open when a later part fails."""

import os
import shutil
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import msgspec

from refit_rt import config
from refit_rt.capture import Source, is_camera, open_source
from refit_rt.capture.stills import are_stills
from refit_rt.draw.pictures import PictureWriter, check_folder, is_of_overlays
from refit_rt.draw.video import MOST_LIVE_FPS, OverlayWriter
from refit_rt.files import prepare_folder
from refit_rt.follow import Follower
from refit_rt.live.stage import Timings
from refit_rt.motion.npz import MotionWriter
from refit_rt.sender import Sender
from refit_rt.stream.publish import Publisher
from refit_rt.stream.wire import Run

GUESSED_FPS = 30.0  # of a recording whose camera does not report its rate


@dataclass(frozen=True, slots=True)
class Opened:
    """The ends of a run."""

    settings: config.Settings
    lossless: bool  # every frame goes all the way
    source: Source
    publisher: Publisher | None
    folder: Path | None  # of motion.npz, and of overlay.mp4 or the folder overlay

    @property
    def fps(self) -> float:
        """Frames per second of the source, or a guess."""
        return self.source.fps if 1 <= self.source.fps <= 1000 else GUESSED_FPS

    @property
    def stills(self) -> bool:
        """Whether the frames are pictures by themselves."""
        return self.settings.capture.pictures == "stills"

    def remove_stale(self) -> None:
        """Removes an earlier run's overlays, which must not lie beside this run's motion.npz."""
        if self.folder is None:
            return
        drawn = self.settings.out.overlay
        if self.stills or not drawn:
            (self.folder / "overlay.mp4").unlink(missing_ok=True)
        if (not self.stills or not drawn) and is_of_overlays(self.folder / "overlay"):
            shutil.rmtree(self.folder / "overlay")

    def sender(self, follower: Follower, timings: Timings) -> Sender:
        """The stream and the recording."""
        body, bundle = follower.fitter.body.name, follower.fitter.bundle_name
        path = self.folder / "motion.npz" if self.folder else None
        motion = MotionWriter(path, self.fps, body, bundle, self.stills) if path else None
        return Sender(self.publisher, motion, Run(time.time() - time.monotonic(), body, bundle), timings)

    def overlay(self, follower: Follower) -> OverlayWriter | PictureWriter | None:
        """overlay.mp4, or a picture per still; None: none is asked for."""
        if self.folder is None or not self.settings.out.overlay:
            return None
        from refit_rt.draw.overlay import Overlay

        body = follower.fitter.body
        if self.stills:
            return PictureWriter(self.folder / "overlay", lambda size: Overlay(body, size).draw)
        rate = self.fps if self.lossless else min(self.fps, MOST_LIVE_FPS)
        path = self.folder / "overlay.mp4"
        return OverlayWriter(path, rate, lambda size: Overlay(body, size).draw, keep_time=not self.lossless)


@contextmanager
def opened(settings: config.Settings) -> Iterator[Opened]:
    """Folder, source and publisher of the settings. They stay open when the block ends well, and are closed when it
    raises. Raises UserError for what cannot be opened."""
    settings = one_by_one(settings) if are_stills(settings.capture) else settings
    lossless = is_lossless(settings)
    settings = repeatable(settings) if lossless else settings
    with ExitStack() as undo:
        folder = Path(settings.out.dir).expanduser() if settings.out.dir else None
        if folder is not None:
            if not folder.exists():
                undo.callback(_remove_empty, folder)
            prepare_folder(folder)
            if settings.capture.pictures == "stills" and settings.out.overlay:
                check_folder(folder / "overlay")
        source = open_source(settings.capture, lossless)
        undo.callback(source.close)
        publisher = Publisher(settings.publish.address) if settings.publish.enabled else None
        if publisher is not None:
            undo.callback(publisher.close)
        yield Opened(settings, lossless, source, publisher, folder)
        undo.pop_all()


def one_by_one(settings: config.Settings) -> config.Settings:
    """For pictures that have nothing to do with one another: every one is processed, and fitted without a start from
    another and without a filter. The two mirror images of each are averaged, which `turns` does over two frames."""
    replace, fit = msgspec.structs.replace, settings.fit
    return replace(
        settings,
        capture=replace(settings.capture, pictures="stills", pace="lossless", loop=False),
        fit=replace(fit, warm=False, mirror="both" if fit.mirror == "turns" else fit.mirror),
        smooth=replace(settings.smooth, enabled=False),
    )


def is_lossless(settings: config.Settings) -> bool:
    """Whether every frame is processed: asked for, or a recording whose result is kept."""
    if settings.capture.pace == "auto":
        return bool(settings.out.dir) and not is_camera(settings.capture.source)
    return settings.capture.pace == "lossless"


def repeatable(settings: config.Settings) -> config.Settings:
    """Without a deadline and without a choice of threads by the clock, which would make the answer depend on how busy
    the machine is."""
    threads = settings.fit.threads or os.cpu_count() or 1
    fit = msgspec.structs.replace(settings.fit, deadline_ms=0.0, threads=threads)
    return msgspec.structs.replace(settings, fit=fit)


def _remove_empty(folder: Path) -> None:
    with suppress(OSError):
        folder.rmdir()
