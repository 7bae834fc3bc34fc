"""The verb `calibrate record`: a board before the cameras of a studio → the takes that `calibrate solve` reads."""

import sys
import threading
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
from tyro.conf import FlagCreatePairsOff, Positional, arg

from refit_rt.commands.shared import File, say
from refit_rt.config import Capture
from refit_rt.errors import UserError

if TYPE_CHECKING:
    from calib.recorder import Recorder
    from refit_rt.capture import Source
    from refit_rt.capture.sync import SyncedSource

REDRAW_S = 0.1


def record(
    folder: Positional[Annotated[str, arg(metavar="FOLDER")]],
    /,
    *,
    board: File,
    until_enough: FlagCreatePairsOff[bool] = False,
    lenses_only: FlagCreatePairsOff[bool] = False,
    places_only: FlagCreatePairsOff[bool] = False,
    floor: FlagCreatePairsOff[bool] = False,
    still_px: float = 0.0,
    page: bool = True,
    port: int = 0,
    capture: Capture,
) -> int:
    """Record a board with all cameras: say what is missing, take pictures by itself, and say when it is enough.

    Carry the board through the room and hold it still for half a second at each place; no key needs to be pressed. The
    terminal, and a page for the browser, show what to do next. Ctrl-C ends. A folder that has takes is continued.

    Args:
        folder: Folder for the pictures, which calibrate solve reads.
        board: The board's file, which calibrate board writes.
        until_enough: End by itself when nothing is missing.
        lenses_only: Only the lenses are to be found: the cameras need not see the board together.
        places_only: Only the places are to be found: the lenses are known (calibrate solve --intrinsics).
        floor: Wait until the board lies on the floor, take one picture per camera, CAMERA.jpg, for calibrate floor, and
            end.
        still_px: How far corners may move in 0.3 seconds while the board counts as still; 0: a 600th of the picture's
            longer side. Cameras that are triggered together, with short exposures, allow more.
        page: Serve the page.
        port: Port of the page on 127.0.0.1; 0: any that is free.
    """
    from calib.board import read_board
    from calib.guidance import Guidance
    from calib.record_page import Page
    from calib.recorder import Recorder
    from calib.screen import Screen
    from calib.still import FLOOR_HOLD_S, HOLD_S
    from calib.takes import FloorPictures, Takes

    if lenses_only + places_only + floor > 1:
        raise UserError("calibrate record: --lenses-only, --places-only and --floor exclude each other. Give one")
    if still_px < 0:
        raise UserError("calibrate record: --still-px is not negative")
    path, shape = Path(folder).expanduser(), read_board(Path(board).expanduser())
    names = tuple(capture.sources) or (capture.name,)
    pairs = len(names) > 1 and not lenses_only
    if (places_only or floor) and not pairs:
        raise UserError("calibrate record: this needs several cameras. Give them with capture.sources")
    if pairs and not shape.has_one_way_up:
        raise UserError(
            f"{board}: {shape.columns} x {shape.rows} squares look the same after half a turn, so they cannot tie "
            "cameras together. Use a board with an odd and an even number of squares, or a ChArUco board"
        )
    takes = (FloorPictures if floor else Takes)(path, names)
    lossless = capture.pace == "lossless"
    made = not path.exists()
    with ExitStack() as ends:
        source = _opened(capture, lossless)
        ends.callback(source.close)
        guidance = Guidance(shape, names, lenses=not places_only, places=not lenses_only, floor=floor)
        if takes.last:
            say(f"{path}: has takes already, they are read")
        hold_s, fewest = (FLOOR_HOLD_S, 2) if floor else (HOLD_S, 1)
        recorder = Recorder(shape, takes, guidance, lossless, still_px, hold_s, fewest)
        ends.callback(recorder.close)
        _make(path)
        ends.callback(_remove_if_empty, path, made)
        screen = ends.enter_context(Screen(sys.stdout, pairs))
        if page:
            served = ends.enter_context(Page(port, lambda: recorder.progress, lambda: source.waiting, pairs))
            say(f"See it in a browser: {served.address}")
        say("Ctrl-C ends")
        _run(source, recorder, screen, lossless, until_enough or floor)
        progress = recorder.progress
        if not progress.takes:
            if reason := recorder.reason():
                raise UserError(f"calibrate record: no camera saw the board; {reason}")
            raise UserError("calibrate record: the board was never held still. Hold it still for half a second")
    if floor:
        say(f"Next: refit-rt calibrate floor RIG.json FLOOR.json --board {board} --pictures {path}")
        return 0
    for text in guidance.lacks():
        say(f"missing: {text}")
    enough = "enough" if progress.enough else "not enough yet; the same command continues"
    say(f"{path}: {progress.takes} takes, {enough}")
    known = " --lenses-only" * lenses_only + " --intrinsics LENSES.json" * places_only
    say(f"Next: refit-rt calibrate solve {path} --board {board}{known} --out solved.json")
    say(f"Is a square really {1000 * shape.square_m:g} mm wide, as {board} says? Measure it: no picture shows that")
    return 0


def _opened(capture: Capture, lossless: bool) -> "Source | SyncedSource":
    """All of `capture.sources`, or `capture.source`. Raises UserError."""
    from refit_rt.capture import open_source
    from refit_rt.capture.sync import open_sources

    if len(capture.sources) > 1:
        return open_sources(capture, lossless)
    if capture.timestamps or capture.delays_s:
        raise UserError("capture.timestamps and capture.delays_s are for several capture.sources. Leave them out")
    for name, source in capture.sources.items():
        capture = msgspec.structs.replace(capture, source=source, name=name, sources={})
    return open_source(msgspec.structs.replace(capture, pictures="clip"), lossless)


def _run(source: Any, recorder: "Recorder", screen: Any, lossless: bool, until_enough: bool) -> None:
    """Until the source ends, Ctrl-C, or there is enough. Raises a stage's error."""
    from refit_rt.live.interrupt import ended_by_signals
    from refit_rt.live.latest import Latest
    from refit_rt.live.stage import Stage
    from refit_rt.watch import finish

    frames: Latest[Any] = Latest(lossless)
    stages = [Stage("capture", lambda frame: frame, source, frames), Stage("look", recorder.look, frames)]
    stop = threading.Event()
    with ended_by_signals(stop):
        for stage in stages:
            stage.start()
        while all(stage.is_alive() for stage in stages) and not stop.wait(REDRAW_S):
            screen.show(recorder.progress, source.waiting)
            if until_enough and recorder.progress.enough:
                stop.set()
        finish(stages, [source, frames], stop)
    screen.show(recorder.progress, "")
    for stage in stages:
        if stage.error is not None:
            raise stage.error


def _make(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"{folder}: cannot be made ({error.strerror}). Give another folder") from error


def _remove_if_empty(folder: Path, made: bool) -> None:
    if made:
        with suppress(OSError):
            folder.rmdir()
