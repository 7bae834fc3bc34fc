"""Camera to stream, joined: read this file first.

```
capture ──▶ follow (detect when due · track · fit · smooth) ──▶ send (stream · motion.npz) ──▶ draw (overlay.mp4)
                                                                 └──▶ pictures (for viewers; it is never waited for)
```
Each stage is a thread, each arrow a one-item mailbox. Live, the newest frame wins and the lost ones are counted;
lossless, every frame goes all the way. Following people is one thread, because each frame starts from the bodies of the
last. Stills go the same way, each forgotten before the next; overlay/NAME.jpg takes the place of overlay.mp4. With
several cameras, what goes from stage to stage is a tick of the rig, a FrameSet, in place of a Frame.
"""

import logging
import threading
import time
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

from refit_rt import config
from refit_rt.capture.sync import SyncedSource
from refit_rt.follow import Follower, load_follower
from refit_rt.live.interrupt import ended_by_signals
from refit_rt.live.latest import Latest
from refit_rt.live.stage import Stage, Timings
from refit_rt.opening import Opened, opened
from refit_rt.sender import Report, Sender
from refit_rt.types import Frame, FrameSet, People, Status
from refit_rt.watch import LogLines, Show, finish, watch

if TYPE_CHECKING:
    from refit_rt.draw.live_pictures import LivePictures
    from refit_rt.follow_rig import RigFollower

log = logging.getLogger(__name__)


class Pipeline:
    """Everything that the settings ask for, opened and joined. `run` runs it to its end, once."""

    def __init__(self, settings: config.Settings, load: "Callable[..., Follower | RigFollower] | None" = None) -> None:
        """Raises UserError for what cannot be opened, with nothing left open. load: as load_follower, or as
        load_rig_follower for several cameras; None: the one that the settings need."""
        self._started_s, self._timings = time.monotonic(), Timings()
        stage = partial(Stage, timings=self._timings)
        with opened(settings) as ends:
            frames: Latest[Frame | FrameSet] = Latest(ends.lossless)
            people: Latest[tuple[Frame | FrameSet, People] | Status] = Latest(ends.lossless)
            capture = Stage("capture", self._captured, ends.source, frames)
            if ends.source.runs_by_itself:  # unread while the network loads, a camera's frames would queue up
                capture.start()
            follower = (load or loader(ends))(ends.settings, self._timings, not ends.lossless)
            sender, overlay = ends.sender(follower, self._timings), ends.overlay(follower)
            drawn: Latest[tuple[Frame | FrameSet, People]] | None = Latest(ends.lossless) if overlay else None
            pictures = ends.pictures(follower)
            shown: Latest[tuple[Frame | FrameSet, People]] | None = Latest() if pictures else None
            self._stages = [
                capture,
                stage("follow", follower.step, frames, people, close=follower.close),
                stage("send", partial(_sent, sender.send, shown), people, drawn, close=partial(_ended, sender, shown)),
            ]
            if pictures and shown:
                show = partial(_shown, pictures, follower.straight)
                self._stages.append(Stage("pictures", show, shown, close=pictures.close))  # most frames are not shown
            if overlay and drawn:
                draw = partial(_drawn, overlay.draw, follower.straight)
                self._stages.append(stage("draw", draw, drawn, close=overlay.close))
        self._ends, self._sender, self._frames, self._people = ends, sender, frames, people

    @property
    def frames(self) -> int:
        """Published so far."""
        return self._sender.frames

    def run(self, stop: threading.Event, show: Show | None = None) -> Report:
        """Until the source ends or `stop` is set; then everything is closed and whole. Raises a stage's error.

        show: shows the progress; None: the log does.
        """
        ends, sender = self._ends, self._sender
        where = [ends.publisher.address] if ends.publisher else []
        log.info("publishing at %s; Ctrl-C ends", ", ".join([*where, *ends.settings.publish.outlets]) or "nowhere")
        for stage in self._stages:
            if not stage.ident:
                stage.start()
        watch(
            self._stages,
            stop,
            source=ends.source,
            sender=sender,
            outbox=self._people,
            timings=None if ends.lossless else self._timings,
            started_s=self._started_s,
            show=show or LogLines(),
        )
        finish(self._stages, [ends.source, self._frames, self._people], stop)
        if sender.frames:
            ends.remove_stale()
        for stage in self._stages:
            if stage.error is not None:
                raise stage.error
        milliseconds = self._timings.milliseconds()
        if ends.lossless:  # a frame that waited for the one before is not late
            milliseconds.pop("age", None)
        return sender.report(ends.source.bad, milliseconds, hung=self._stages[0].is_alive())

    def _captured(self, frame: Frame | FrameSet) -> Frame | FrameSet:
        """The frame as it came, timed from its grab: this far its decoding took."""
        self._timings.add("capture", time.monotonic() - frame.captured_s)
        return frame


def _sent(send: Callable, shown: "Latest | None", item: "tuple | Status") -> "tuple | None":
    """Sends one frame's people, and offers them to be shown, which takes the newest alone."""
    sent = send(item)
    if shown is not None and sent is not None:
        shown.put(sent)
    return sent


def _ended(sender: Sender, shown: "Latest | None") -> None:
    """Ends the sender, and the stage that shows what was sent."""
    try:
        sender.close()
    finally:
        if shown is not None:
            shown.close()


def _shown(pictures: "LivePictures", straight: Callable, item: tuple) -> None:
    """Shows bodies over pictures that are made straight for it alone."""
    frame, people = item
    pictures.show(frame, people, straight)


def _drawn(draw: Callable, straight: Callable, item: tuple[Frame | FrameSet, People]) -> None:
    """Draws bodies over pictures that are made straight for it alone."""
    frame, people = item
    draw((straight(frame), people))


def loader(ends: Opened) -> "Callable[..., Follower | RigFollower]":
    """What loads network, body and detector, for one camera or for a rig."""
    if not isinstance(ends.source, SyncedSource):
        return load_follower
    from refit_rt.follow_rig import load_rig_follower

    return partial(load_rig_follower, sizes=ends.source.sizes)


def run(settings: config.Settings, stop: threading.Event | None = None, show: Show | None = None) -> Report:
    """Runs the pipeline until its source ends, `stop` is set, or Ctrl-C or SIGTERM comes. Raises UserError.

    show: shows the progress; None: the log does.
    """
    pipeline = Pipeline(settings)
    stop = stop or threading.Event()
    with ended_by_signals(stop):
        return pipeline.run(stop, show)
