"""Feeds → scenes and panel, in one thread: read this file first.

```
Feed (thread per stream: newest message) ──▶ Viewer.step ──▶ Scene (bones, floor, cameras) ──▶ viser ──▶ browsers
PictureFeed (thread) ───────────────────────────┘ └──────▶ Panel (status, people, plots, picture)
Recorder (thread per recording: every message) ──▶ motion.npz
```
"""

import logging
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from refit_rt.body.smpl import Body
from refit_rt.errors import UserError
from refit_rt.view.camera import looks_from
from refit_rt.view.feed import Feed
from refit_rt.view.panel import EVERYTHING, Line, Panel
from refit_rt.view.picture_feed import PictureFeed
from refit_rt.view.recorder import Recorder, Recording
from refit_rt.view.scene import Scene

if TYPE_CHECKING:
    from viser import ClientHandle, ViserServer

log = logging.getLogger(__name__)

DRAWN_PER_S = 30.0  # at most: three people cost a third of a core, with one page open (Xeon, 2.5 GHz); 60 half of it
UNSEEN_PER_S = 4.0  # while no page is open
PANEL_S = 0.25
PICTURE_GONE_S = 3.0
BESIDE_M = 5.0  # between two streams
COLOURS = ((36, 120, 200), (214, 106, 20), (30, 140, 90), (160, 70, 160), (150, 120, 20), (90, 90, 200))  # of streams


@dataclass(slots=True)
class Stream:
    """One stream and what is shown of it."""

    name: str
    colour: tuple[int, int, int]
    feed: Feed
    scene: Scene
    recorder: Recorder | None = None
    shift: np.ndarray = field(default_factory=lambda: np.zeros(3))  # metres, by which it is moved beside the others

    def line(self) -> Line:
        """Its state, for the panel."""
        feed, (rate, age_ms) = self.feed, self.feed.rate_and_age()
        note = feed.problem
        if self.scene.unknown:
            note = f"body '{self.scene.unknown}' is not at hand: sticks. Start with --body FILE" + f". {note}" * bool(
                note
            )
        if not feed.status:
            return Line(self.name, self.colour, f"no stream yet at {feed.address}", False, note)
        if feed.status == "ended":
            return Line(self.name, self.colour, "ended; the next run appears by itself", False, note)
        if feed.lost:
            return Line(self.name, self.colour, f"silent for {feed.silent_s:.0f} s", False, note)
        if feed.status != "live":
            return Line(self.name, self.colour, "waiting for the camera", False, note)
        count = len(self.scene.rows)
        text = f"live, {count} {'person' if count == 1 else 'people'}"
        if np.isfinite(rate):
            text += f", {rate:.0f} frames/s, {age_ms:.0f} ms old"
        return Line(self.name, self.colour, text, True, note, self.scene.rows)


class Viewer:
    """Shows streams on the page of a server."""

    def __init__(
        self,
        server: "ViserServer",
        streams: Sequence[tuple[str, str]],
        body: Body,
        pictures: str = "",
        folder: Path | None = None,
        record: Callable[[str], Recording] | None = None,
        key: str = "",
    ) -> None:
        """streams: name and address of each. pictures: the address of published pictures; empty: none. folder: of
        recordings. record: makes the recording of a path. key: the file of the publishers' public key. Raises UserError
        for a malformed address and for a key of no use."""
        self.server, self._folder, self._record, self._key = server, folder, record, key
        self._news, self._wants_record, self._looked = threading.Event(), False, False
        self._panel_s, self.recorded = -float("inf"), ""
        self.streams: list[Stream] = []
        self.pictures: PictureFeed | None = None
        try:
            for number, (name, address) in enumerate(streams):
                colour = COLOURS[number % len(COLOURS)]
                feed = Feed(address, self._news.set, key)
                scene = Scene(server, f"stream{number}", name, body, colour, alone=len(streams) == 1)
                self.streams.append(Stream(name, colour, feed, scene))
            if pictures:
                self.pictures = PictureFeed(pictures, key)
        except UserError:
            self.close()
            raise
        self.panel = Panel(server, [one.name for one in self.streams], [one.colour for one in self.streams])
        self.panel.record.on_click(lambda _: self.press_record())
        self.panel.record.visible = record is not None
        self.panel.look.on_click(lambda event: self._look(event.client))
        server.on_client_connect(self._look)
        self.arrange()

    def run(self, stop: threading.Event) -> None:
        """Shows what comes until `stop` is set."""
        while not stop.is_set():
            self._news.wait(PANEL_S / 2)
            self._news.clear()
            began_s = time.monotonic()
            self.step()
            per_s = DRAWN_PER_S if self.server.get_clients() else UNSEEN_PER_S
            stop.wait(max(0.0, 1 / per_s - (time.monotonic() - began_s)))

    def step(self) -> None:
        """Brings the page up to the newest messages, once."""
        with self.server.atomic():
            for stream in self.streams:
                self._step_stream(stream)
        if not self._looked and any(stream.scene.centre is not None for stream in self.streams):
            self._looked = True
            self._set_home()
            for client in self.server.get_clients().values():
                self._look(client)
        self._step_picture()
        if time.monotonic() - self._panel_s >= PANEL_S:
            self._panel_s = time.monotonic()
            self._step_panel()

    def close(self) -> None:
        """Ends every subscription, writes recordings and stops the server."""
        for stream in self.streams:
            stream.feed.close()
            if stream.recorder is not None:
                stream.recorder.close()
        if self.pictures is not None:
            self.pictures.close()
        self.server.stop()

    def _step_stream(self, stream: Stream) -> None:
        message = stream.feed.take()
        if message is not None:
            stream.scene.show(message)
        elif stream.feed.lost:
            stream.scene.hide_people()

    def _step_picture(self) -> None:
        if self.pictures is None:
            return
        picture = self.pictures.take()
        if picture is not None:
            self.panel.show_picture(picture)
        elif self.pictures.silent_s > PICTURE_GONE_S:
            self.panel.hide_picture()

    def _step_panel(self) -> None:
        self.arrange()
        lines, now_s = [stream.line() for stream in self.streams], time.monotonic()
        numbers = [stream.feed.rate_and_age() for stream in self.streams]
        self.panel.write(lines)
        self.panel.rates.add(now_s, [rate for rate, _ in numbers])
        self.panel.ages.add(now_s, [age_ms for _, age_ms in numbers])
        self._step_recording()

    def arrange(self) -> None:
        """Shows the chosen streams, beside each other or in one world."""
        panel, last = self.panel, len(self.streams) - 1
        for number, stream in enumerate(self.streams):
            chosen = panel.chosen in (EVERYTHING, stream.name)
            beside = panel.beside.value and panel.chosen == EVERYTHING
            side = np.array([BESIDE_M * (number - last / 2), 0.0, 0.0])
            stream.shift = side - stream.scene.middle if beside else np.zeros(3)
            stream.scene.root.visible = chosen
            stream.scene.root.position = stream.shift
            stream.scene.show_trails(panel.trails.value)
            stream.scene.show_cameras(panel.cameras.value)

    def press_record(self) -> None:
        """Begins or ends a recording, at the next step."""
        self._wants_record = not self._wants_record
        self._panel_s = -float("inf")

    def _step_recording(self) -> None:
        running = [stream for stream in self.streams if stream.recorder is not None]
        if self._wants_record and not running:
            self._begin_recording()
        ended = bool(running) and not any(s.recorder is not None and s.recorder.running for s in running)
        if running and (ended or not self._wants_record):
            self._end_recording(running)
        going = [stream.recorder for stream in self.streams if stream.recorder is not None]
        text = ", ".join(f"{one.path}: {one.count} frames" for one in going) or self.recorded
        self.panel.write_recording(bool(going), text)

    def _begin_recording(self) -> None:
        stamp = time.strftime("%Y%m%d-%H%M%S")
        for stream in self.streams:
            if self.panel.chosen not in (EVERYTHING, stream.name) or self._record is None or self._folder is None:
                continue
            name = f"motion-{stamp}" + (f"-{stream.name}" if len(self.streams) > 1 else "")
            try:
                stream.recorder = Recorder(
                    stream.feed.address, str(self._folder / f"{name}.npz"), self._record, self._key
                )
            except UserError as error:
                self._wants_record, self.recorded = False, str(error)

    def _end_recording(self, running: Sequence[Stream]) -> None:
        said = []
        for stream in running:
            recorder, stream.recorder = stream.recorder, None
            if recorder is not None:
                recorder.close()
                written = f"{recorder.path} is written: {recorder.count} frames"
                said.append(recorder.error or (written if recorder.count else "nothing came, so nothing is written"))
        self._wants_record, self.recorded = False, ". ".join(said)
        log.info("%s", self.recorded)

    def view(self, aspect: float, fov_rad: float) -> tuple[np.ndarray, np.ndarray] | None:
        """The camera's place and what it looks at, to see everybody who is shown; None: nobody was seen."""
        shown = [one for one in self.streams if self.panel.chosen in (EVERYTHING, one.name)]
        seen = [(one, one.scene.centre) for one in shown if one.scene.centre is not None]
        if not seen:
            return None
        centres = np.array([centre + one.shift for one, centre in seen])
        middle = centres.mean(0)
        level_m = np.linalg.norm((centres - middle)[:, [0, 2]], axis=1)
        spread_m = max(one.scene.spread_m + float(far_m) for (one, _), far_m in zip(seen, level_m, strict=True))
        return looks_from(middle, seen[0][0].scene.camera_side(), spread_m, fov_rad, aspect)

    def _set_home(self) -> None:
        camera = self.server.initial_camera
        if (view := self.view(16 / 9, camera.fov)) is not None:
            camera.position, camera.look_at = view

    def _look(self, client: "ClientHandle | None") -> None:
        """Moves a visitor's camera so that it sees everybody."""
        if client is None:
            return
        view = self.view(client.camera.aspect, client.camera.fov)
        if view is not None:
            with client.atomic():
                client.camera.position, client.camera.look_at = view
