"""The verb `calibrate people`: recordings or live cameras of people who walk about → the rig, without any board."""

import datetime
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import msgspec
import numpy as np
from tyro.conf import FlagCreatePairsOff, Positional, arg

from refit_rt.commands.shared import File, say
from refit_rt.config import Camera, Capture, Detect, Fit, Settings, Smooth, Track
from refit_rt.errors import UserError

if TYPE_CHECKING:
    from calib.from_people import Found
    from refit_rt.cameras import Rig

NOTE = "approximate, from people"
WORST = 0.02  # of the focal length: median residuals of cameras that do not fit are larger
LIVE_S = 30.0  # how long live cameras are watched where nothing else is asked for
FEET, HEAD = (10, 11), 15  # SMPL's joints
NARROW_M = 0.5  # root of the mean squared distance from the middle of where people were
FLOOR_ROUNDS, STRAY, LEAST_STRAY_M = 5, 4.0, 0.03  # feet farther from the floor, in medians, are in the air
LEAST_DELAY_S = 0.0005  # shorter ones are not stored


def people(
    recordings: Positional[Annotated[tuple[str, ...], arg(metavar="[RECORDING …]")]] = (),
    /,
    *,
    out: File,
    intrinsics: File = "",
    guess_lenses: FlagCreatePairsOff[bool] = False,
    fov_deg: float = 0.0,
    seconds: float = 0.0,
    most_delay_s: float = 2.5,
    capture: Capture,
    detect: Detect,
    track: Track,
    fit: Fit,
) -> int:
    """Find the places of cameras from people who walk about, without a board.

    Give one video per camera, named like the camera, or name cameras with --capture.sources. Everybody is followed in
    each view alone; the bodies give the places and the constant delay of each camera, all joints together refine them,
    and the feet give the floor. Let one to three persons walk all over the room, in view of two cameras or more at a
    time. The result is approximate: centimetres, not millimetres, and its scale is that of the fitted bodies: give
    --fit.stature-m where everybody is equally tall.

    Args:
        recordings: Videos or folders of pictures, one per camera. Short for --capture.sources.
        out: The rig file to write (.json).
        intrinsics: A calibration file to take the lenses from.
        guess_lenses: The lenses are not known: they are taken to be without distortion, and the focal lengths are
            found too, less exactly.
        fov_deg: Field of view of guessed lenses to start from, along the longer side; 0: about 53 degrees.
        seconds: Watch for so long; 0: whole recordings, and live cameras for 30 s.
        most_delay_s: The longest delay between two cameras that is looked for.
    """
    from calib.bodies import watch
    from calib.from_people import solve_people
    from refit_rt.cameras import read_rig, write_rig

    target = Path(out).expanduser()
    if target.suffix != ".json":
        raise UserError(f"--out {out}: a rig file is called NAME.json")
    if bool(intrinsics) == guess_lenses:
        raise UserError("calibrate people: give --intrinsics FILE, or --guess-lenses where the lenses are not known")
    if min(seconds, most_delay_s) < 0 or not 0 <= fov_deg < 170:
        raise UserError("calibrate people: --seconds, --most-delay-s and --fov-deg are not negative, and fov below 170")
    lenses = Path(intrinsics).expanduser() if intrinsics else None
    settings = settings_of(recordings, capture, lenses, detect, track, fit, fov_deg)
    known = read_rig(lenses) if lenses else None
    seen = watch(settings, seconds or live_s(settings.capture))
    for one in seen:
        say(f"{one.camera.name}: {len(one.tracks)} people in {one.frames} frames")
    found = solve_people(seen, known is None, most_delay_s)
    check_fit(found)
    made = placed(found, known)
    for line in made.table(found):
        say(line)
    write_rig(made.rig, target)
    say(f"{target}: {len(made.rig)} cameras, {NOTE}")
    return 0


def settings_of(
    recordings: tuple[str, ...],
    capture: Capture,
    calibration: Path | None,
    detect: Detect,
    track: Track,
    fit: Fit,
    fov_deg: float = 0.0,
) -> Settings:
    """For following people in each camera alone. Raises UserError for sources or names that cannot be used."""
    from calib.solve import cameras_in
    from refit_rt.cameras import read_rig
    from refit_rt.capture.sync import check_sources

    if recordings:
        named = {name: str(path) for name, path in cameras_in([Path(one).expanduser() for one in recordings]).items()}
        capture = msgspec.structs.replace(capture, sources=named)
    if len(capture.sources) < 2:
        raise UserError(
            "calibrate: needs two cameras or more. Give one recording per camera, or name them with --capture.sources"
        )
    check_sources(capture)
    capture = msgspec.structs.replace(capture, delays_s={})  # they are found, or those of the rig
    if calibration is not None:
        names = read_rig(calibration).names
        if strangers := [name for name in capture.sources if name not in names]:
            raise UserError(
                f"{calibration}: has no camera '{strangers[0]}', only {', '.join(names)}. "
                "Name the recordings like these"
            )
    camera = Camera(calibration=str(calibration or ""), fov_deg=fov_deg)
    return Settings(capture=capture, camera=camera, detect=detect, track=track, fit=fit, smooth=Smooth(enabled=False))


def live_s(capture: Capture) -> float:
    """How long to watch: 0 for recordings."""
    from refit_rt.capture import is_camera

    return LIVE_S if any(map(is_camera, capture.sources.values())) else 0.0


def check_fit(found: "Found") -> None:
    """Raises UserError where the cameras do not see the same people."""
    for camera, median_px in zip(found.rig, found.median_px, strict=True):
        if median_px > WORST * camera.focal_px:
            raise UserError(
                f"{camera.name}: people fit the other cameras to {median_px:.0f} px only. Check that its recording is "
                "of the same time and place (--most-delay-s), not mirrored, and that its lens is right"
            )


@dataclass(frozen=True, slots=True, eq=False)
class Placed:
    """The rig that is written, and what is to be known about it."""

    rig: "Rig"
    said: tuple[str, ...]

    def table(self, found: "Found") -> list[str]:
        """Lines to print: one per camera, then what is weak."""
        lines = [f"{'camera':<12}{'moments':>8}{'median px':>10}{'focal px':>16}{'delay ms':>10}{'height m':>10}"]
        for row, camera in enumerate(self.rig):
            share = found.focal_share
            focal = f"{camera.focal_px:.0f} " + ("known" if share is None else f"± {100 * share[row]:.0f} %")
            height = f"{camera.position[1]:.2f}" if self.rig.floor else "-"
            lines.append(
                f"{camera.name:<12}{found.seen[row]:>8}{found.median_px[row]:>10.1f}{focal:>16}"
                f"{1000 * camera.delay_s:>10.1f}{height:>10}"
            )
        return [*lines, *self.said]


def placed(found: "Found", known: "Rig | None") -> Placed:
    """The rig in metres on its floor, with the lenses as they are known, and delays beside the first camera's."""
    from refit_rt.cameras import Figures

    scale = float(np.nanmedian(found.sizes))
    rig, joints, said = found.rig.moved(np.eye(4), scale), scale * found.joints, []
    first_s = rig.cameras[0].delay_s
    if known is not None:
        rig = replace(
            rig,
            cameras=tuple(
                replace(known[one.name].scaled(one.size), world_from_camera=one.world_from_camera, delay_s=one.delay_s)
                for one in rig
            ),
        )
    else:
        said.append("The lenses were guessed: focal lengths are as uncertain as given, and distortion is not known")
    cameras = []
    for one in rig:
        delay_s = round(one.delay_s - first_s, 4)
        cameras.append(replace(one, delay_s=delay_s if abs(delay_s) > LEAST_DELAY_S else 0.0))
    rig = replace(rig, cameras=tuple(cameras))
    spread_m = float(np.sqrt(np.nanvar(joints[:, 0], axis=0).sum()))
    if spread_m < NARROW_M:
        said.append(
            f"People stayed within {spread_m:.1f} m of one place: far from it, the rig is less exact. Let them walk "
            "all over the room"
        )
    try:
        rig = on_floor(rig, joints)
    except UserError as error:
        said.append(f"The floor is not known ({error})")
    made = datetime.datetime.now().astimezone().isoformat(timespec="seconds")
    figures = Figures(rms_px=round(found.rms_px, 4), made=made, approximate=True)
    return Placed(replace(rig, notes=NOTE, figures=figures), tuple(said))


def on_floor(rig: "Rig", joints: np.ndarray) -> "Rig":
    """The rig on the floor on which people stand who have joints (sight, 24, 3): the lower foot of each is on it.

    `floor.from_feet` wants single feet within 2 cm of the floor; these are 3 cm off, but hundreds. Raises UserError
    where the feet leave the floor uncertain.
    """
    from calib.floor import SOLE_M, from_plane, plane

    feet = joints[:, FEET]
    up = np.nanmedian(joints[:, HEAD] - feet.mean(1), axis=0)
    feet = feet[np.isfinite(feet).all((1, 2))]
    lower = feet[np.arange(len(feet)), (feet @ up).argmin(1)]
    for _ in range(FLOOR_ROUNDS):
        middle, normal, _ = plane(lower)
        height = (lower - middle) @ (normal * np.sign(normal @ up))
        off = np.abs(height - np.median(height))
        lower = lower[off <= max(STRAY * float(np.median(off)), LEAST_STRAY_M)]
    found = from_plane(rig, lower, what="people's feet").rig
    lifted = np.eye(4)
    lifted[1, 3] = SOLE_M
    return replace(found.moved(lifted), floor=True)
