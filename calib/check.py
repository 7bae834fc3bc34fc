"""The verb `calibrate check`: whether a rig fits what its cameras see, and which camera was knocked."""

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import numpy as np
from tyro.conf import Positional, arg

from refit_rt.commands.shared import File, say
from refit_rt.config import Capture, Detect, Fit, Settings, Track
from refit_rt.errors import UserError

if TYPE_CHECKING:
    from calib.bodies import Watched
    from refit_rt.cameras import Rig

GATE_M = 0.5  # lines of sight of one person pass each other within: a camera turned by 5 degrees is 35 cm off at 4 m
FEWEST = 50  # points that two cameras or more see


def check(
    source: Positional[Annotated[str, arg(metavar="RIG")]],
    recordings: Positional[Annotated[tuple[str, ...], arg(metavar="[RECORDING …]")]] = (),
    /,
    *,
    board: File = "",
    seconds: float = 0.0,
    capture: Capture,
    detect: Detect,
    track: Track,
    fit: Fit,
) -> int:
    """Compare a rig with the people or the board that its cameras see, and name a camera that was knocked.

    Give one video per camera, named like the camera, or name cameras with --capture.sources. For each camera, the
    distance of what it sees from what all cameras see is printed. Three cameras or more also show which one was
    knocked, and by how much. The exit code is 0 where the rig fits, and 1 where a camera was knocked or its
    picture is off.

    Args:
        source: The rig to check, in any format of calibrate convert.
        recordings: Videos or folders of pictures, one per camera. Short for --capture.sources.
        board: The file of a board that the recordings show; without it, people are compared.
        seconds: Watch people for so long; 0: whole recordings, and live cameras for 30 s.
    """
    from calib.misfit import knocked, misfit
    from calib.people import live_s, settings_of
    from refit_rt.cameras import read_rig

    path = Path(source).expanduser()
    rig = read_rig(path)
    if seconds < 0:
        raise UserError("calibrate check: --seconds is not negative")
    if board:
        rig, pixels = _of_board(rig, path, recordings, Path(board).expanduser())
    else:
        settings = settings_of(recordings, capture, path, detect, track, fit)
        rig, pixels = _of_people(rig, settings, capture.delays_s, seconds or live_s(settings.capture))
    seen = np.isfinite(pixels).all(-1)
    if (seen.sum(0) >= 2).sum() < FEWEST:
        raise UserError(
            f"calibrate check: two cameras see {(seen.sum(0) >= 2).sum()} points together, and {FEWEST} are needed. "
            "Record longer, or check that the recordings are of one time and place"
        )
    found, knocks = misfit(rig, pixels), knocked(rig, pixels)
    say(f"{'camera':<12}{'points':>8}{'median px':>10}")
    for camera, count, error_px in zip(rig, (seen & (seen.sum(0) >= 2)).sum(1), found.error_px, strict=True):
        say(f"{camera.name:<12}{count:>8}{error_px:>10.1f}")
    said = [one.sentence(rig) for one in knocks] or found.sentences(rig)
    for line in said:
        say(line)
    if not said:
        say(f"{path}: fits what the cameras see")
    return int(bool(said))


def _of_people(rig: "Rig", settings: Settings, delays_s: dict[str, float], seconds: float) -> tuple["Rig", np.ndarray]:
    """The rig of the sources, without distortion, and the joints of people in their pictures (camera, point, 2)."""
    from calib.bodies import watch

    return matched(rig, watch(settings, seconds), delays_s)


def matched(rig: "Rig", seen: "list[Watched]", delays_s: dict[str, float]) -> tuple["Rig", np.ndarray]:
    """As `_of_people`, from what each camera saw. delays_s: given by the user, before those of the rig."""
    from calib.from_people import ADJUSTED, FINEST_S, pixels_of
    from calib.together import clocked, sights

    known = [rig[one.camera.name] for one in seen]
    straight = replace(
        rig,
        cameras=tuple(
            replace(one.camera, world_from_camera=camera.world_from_camera)
            for one, camera in zip(seen, known, strict=True)
        ),
    )
    late_s = np.array([delays_s.get(camera.name, camera.delay_s) for camera in known])
    views = clocked(seen, max(FINEST_S, *(one.period_s for one in seen)), late_s)
    who = list(sights(views, straight, np.arange(views[0].pixels.shape[1]), GATE_M))
    pixels = pixels_of(views, who)[:, :, ADJUSTED]
    return straight, pixels.reshape(len(seen), -1, 2)


def _of_board(rig: "Rig", path: Path, recordings: tuple[str, ...], board: Path) -> tuple["Rig", np.ndarray]:
    """The rig of the recordings, and the corners of a board in their pictures (camera, point, 2)."""
    from calib.board import read_board
    from calib.solve import cameras_in, look_at, moments_of

    shape = read_board(board)
    sources = cameras_in([Path(one).expanduser() for one in recordings])
    seen = look_at(shape, sources, moments_of(sources, None, 0))
    try:
        rig = rig.for_sources({one.name: one.size for one in seen})
    except ValueError as error:
        raise UserError(f"{path}: {error}. Name the recordings like the rig's cameras") from error
    moments = sorted(set().union(*(one.views for one in seen)))
    pixels = np.full((len(seen), len(moments), len(shape.points), 2), np.nan)
    for number, one in enumerate(seen):
        for row, moment in enumerate(moments):
            if moment in one.views:
                pixels[number, row, one.views[moment].ids] = one.views[moment].pixels
    return rig, pixels.reshape(len(seen), -1, 2)
