"""Settings → what a run reads from and writes to, opened; nothing stays open when a later part fails."""

import os
import shutil
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from refit_rt import config
from refit_rt.cameras import Rig, read_rig
from refit_rt.capture import Source, is_camera, open_source
from refit_rt.capture.stills import are_stills
from refit_rt.capture.sync import SyncedSource, check_sources, open_sources
from refit_rt.draw.pictures import PictureWriter, check_folder, is_of_overlays
from refit_rt.draw.video import MOST_LIVE_FPS, OverlayWriter
from refit_rt.errors import UserError
from refit_rt.files import prepare_folder
from refit_rt.follow import Follower
from refit_rt.live.stage import Timings
from refit_rt.motion.npz import MotionWriter
from refit_rt.sender import Sender
from refit_rt.stream.bridges.outlets import Outlets, check_rows
from refit_rt.stream.pictures import PicturePublisher
from refit_rt.stream.publish import Publisher
from refit_rt.stream.wire import Run

if TYPE_CHECKING:
    from refit_rt.draw.live_pictures import LivePictures
    from refit_rt.draw.mosaic import MosaicWriter
    from refit_rt.follow_rig import RigFollower

GUESSED_FPS = 30.0  # of a recording whose camera does not report its rate


@dataclass(frozen=True, slots=True)
class Opened:
    """The ends of a run."""

    settings: config.Settings
    lossless: bool  # every frame goes all the way
    source: Source | SyncedSource
    publisher: Publisher | None
    folder: Path | None  # of motion.npz, and of overlay.mp4 or the folder overlay
    picture_publisher: PicturePublisher | None = None

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

    def sender(self, follower: "Follower | RigFollower", timings: Timings) -> Sender:
        """The stream and the recording."""
        body, bundle = follower.fitter.body.name, follower.fitter.bundle_name
        path = self.folder / "motion.npz" if self.folder else None
        fps = 0.0 if self.source.runs_by_itself else self.fps  # of a camera, the times of its frames say it
        motion = MotionWriter(path, fps, body, bundle, self.stills) if path else None
        run = Run(time.time() - time.monotonic(), body, bundle)
        rows = self.settings.publish.outlets
        outlets = Outlets(rows, run, follower.fitter.body) if rows else None
        return Sender(self.publisher, motion, run, timings, outlets)

    def overlay(self, follower: "Follower | RigFollower") -> "OverlayWriter | PictureWriter | MosaicWriter | None":
        """overlay.mp4, of all views for a rig, or a picture per still; None: none is asked for."""
        if self.folder is None or not self.settings.out.overlay:
            return None
        from refit_rt.draw.overlay import Overlay

        body = follower.fitter.body
        if self.stills:
            return PictureWriter(self.folder / "overlay", lambda size: Overlay(body, size).draw)
        rate = self.fps if self.lossless else min(self.fps, MOST_LIVE_FPS)
        path = self.folder / "overlay.mp4"
        if not isinstance(follower, Follower):
            from refit_rt.draw.mosaic import Mosaic, MosaicWriter

            video = OverlayWriter(path, rate, lambda _: lambda picture, _: picture, live=not self.lossless)
            return MosaicWriter(Mosaic(body, follower.cameras), video)
        return OverlayWriter(path, rate, lambda size: Overlay(body, size).draw, live=not self.lossless)

    def pictures(self, follower: "Follower | RigFollower") -> "LivePictures | None":
        """Pictures for viewers, of all views for a rig; None: none are asked for."""
        if self.picture_publisher is None:
            return None
        from refit_rt.draw.live_pictures import LivePictures
        from refit_rt.draw.mosaic import Mosaic

        body = follower.fitter.body
        mosaic = None if isinstance(follower, Follower) else Mosaic(body, follower.cameras)
        return LivePictures(self.picture_publisher, body, mosaic)


@contextmanager
def opened(settings: config.Settings) -> Iterator[Opened]:
    """Folder, source and publisher of the settings. They stay open when the block ends well, and are closed when it
    raises. Raises UserError for what cannot be opened."""
    settings = alone(settings)
    if settings.capture.sources:
        check_sources(settings.capture)
        settings = with_delays(settings, check_rig(settings))
    elif settings.capture.timestamps or settings.capture.delays_s:
        raise UserError(
            "capture.timestamps and capture.delays_s are for capture.sources, which is empty. Leave them out"
        )
    elif are_stills(settings.capture):
        settings = one_by_one(settings)
    check_rows(settings.publish.outlets)
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
        capture = settings.capture
        source = open_sources(capture, lossless) if capture.sources else open_source(capture, lossless)
        undo.callback(source.close)
        publisher = Publisher(settings.publish.address, settings.publish.key) if settings.publish.enabled else None
        if publisher is not None:
            undo.callback(publisher.close)
        shown = PicturePublisher(settings.publish.pictures, settings.publish.key) if _shows_pictures(settings) else None
        if shown is not None:
            undo.callback(shown.close)
        yield Opened(settings, lossless, source, publisher, folder, shown)
        undo.pop_all()


def alone(settings: config.Settings) -> config.Settings:
    """A single one of `capture.sources` as `capture.source`, under its name: one camera of a rig is followed as any."""
    capture = settings.capture
    if len(capture.sources) != 1 or capture.timestamps or capture.delays_s:
        return settings
    ((name, source),) = capture.sources.items()
    capture = msgspec.structs.replace(capture, source=source, name=name, sources={})
    return msgspec.structs.replace(settings, capture=capture)


def with_delays(settings: config.Settings, rig: Rig) -> config.Settings:
    """`capture.delays_s` of a rig's file for the sources to which the settings give none."""
    capture = settings.capture
    known_s = {name: delay_s for name, delay_s in rig.delays_s.items() if name in capture.sources}
    capture = msgspec.structs.replace(capture, delays_s=known_s | capture.delays_s)
    return msgspec.structs.replace(settings, capture=capture)


def check_rig(settings: config.Settings) -> Rig:
    """The rig of the calibration file. Raises UserError unless it is of the cameras of capture.sources."""
    names = list(settings.capture.sources)
    if not settings.camera.calibration:
        raise UserError(
            f"camera.calibration: is empty, but capture.sources needs the places of {', '.join(names)}. "
            "Make a rig file with refit-rt calibrate"
        )
    path = Path(settings.camera.calibration).expanduser()
    rig = read_rig(path)
    if strangers := [name for name in names if name not in rig.names]:
        raise UserError(
            f"{path}: has no camera '{strangers[0]}', only {', '.join(rig.names)}. "
            "Name each of capture.sources as the calibration does"
        )
    return rig


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
        sources = settings.capture.sources.values() or [settings.capture.source]
        return bool(settings.out.dir) and not any(map(is_camera, sources))
    return settings.capture.pace == "lossless"


def repeatable(settings: config.Settings) -> config.Settings:
    """Without a deadline and without a choice of threads by the clock, which would make the answer depend on how busy
    the machine is."""
    threads = settings.fit.threads or os.cpu_count() or 1
    fit = msgspec.structs.replace(settings.fit, deadline_ms=0.0, threads=threads)
    return msgspec.structs.replace(settings, fit=fit)


def _shows_pictures(settings: config.Settings) -> bool:
    return settings.publish.enabled and bool(settings.publish.pictures)


def _remove_empty(folder: Path) -> None:
    with suppress(OSError):
        folder.rmdir()
