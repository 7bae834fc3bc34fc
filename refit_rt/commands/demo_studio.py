"""The demo of the studio: four films of three people, followed by the rig's pipeline and compared with the truth."""

import logging
import shutil
from collections import Counter
from dataclasses import asdict, dataclass
from pathlib import Path

import cv2
import numpy as np
from scipy.optimize import linear_sum_assignment

from refit_rt import config
from refit_rt.body.smpl import Body
from refit_rt.bundle.read import find_bundle, load_bundle
from refit_rt.cameras import read_rig
from refit_rt.commands.demo_clip import procrustes_error
from refit_rt.commands.demo_world import SIZE, World
from refit_rt.commands.shown import Played
from refit_rt.errors import UserError
from refit_rt.files import ASSETS, write_whole
from refit_rt.motion.npz import Motion, read_motion
from refit_rt.pipeline import run
from refit_rt.watch import Show

log = logging.getLogger(__name__)

STUDIO = ASSETS / "studio"
RIG, TRUTH = STUDIO / "rig.json", STUDIO / "truth.npz"
CAMERAS = ("cam1", "cam2", "cam3", "cam4")
FILES = ("motion.npz", "overlay.mp4", "studio.png")
SAME_M = 0.5  # a body that is further from a person, on average over its joints, is not that person
MOMENT = 130  # the frame that studio.png shows: everybody has walked past everybody


@dataclass(frozen=True, slots=True)
class Errors:
    """The published people against the truth. Lengths are means over all person-frames and joints."""

    frames: int
    persons: int  # in truth
    person_frames: int  # in truth
    found: int  # of those, with a published body
    kept: int  # of those, under the id that the person mostly has
    extra: int  # published bodies of nobody
    world_mm: float  # as published, nothing aligned
    pelvis_mm: float  # pelvis as origin
    pa_mm: float  # after the best similarity


def play(
    folder: Path,
    detect: config.Detect,
    track: config.Track,
    fit: config.Fit,
    smooth: config.Smooth,
    publish: config.Publish,
    show: Show | None = None,
) -> Played:
    """Follows the people of the films, writes FILES to the folder, with copies of films and rig.

    show: shows the progress; None: the log does. Raises UserError.
    """
    for name in FILES:  # an earlier run's files must not pass for this one's
        (folder / name).unlink(missing_ok=True)
    report = run(
        config.Settings(
            capture=config.Capture(sources={name: str(STUDIO / f"{name}.mp4") for name in CAMERAS}, pace="lossless"),
            camera=config.Camera(calibration=str(RIG)),
            detect=detect,
            track=track,
            fit=fit,
            smooth=smooth,
            publish=publish,
            out=config.Out(dir=str(folder)),
        ),
        show=show,
    )
    if not report.frames:
        raise UserError("the demo was ended before its first frame. Let it run: it takes one to two minutes")
    motion = read_motion(folder / "motion.npz")
    if not len(motion.frame):
        raise UserError("the demo found no person in its films. Run it with the default settings, or longer")
    for path in (RIG, *(STUDIO / f"{name}.mp4" for name in CAMERAS)):
        shutil.copyfile(path, folder / path.name)
    draw(motion, folder, load_bundle(find_bundle(fit.bundle), fit.body).body)
    errors = errors_of(motion)
    numbers = {"run": report.fields(), "errors": asdict(errors), "folder": str(folder), "files": FILES}
    return Played("\n".join([report.table(), *table(errors), *files(folder)]), numbers)


def table(errors: Errors) -> list[str]:
    """How well the people were followed."""
    return [
        f"against the truth ({errors.frames} frames of {errors.persons} people seen by {len(CAMERAS)} cameras):",
        f"  people found in {share(errors.found, errors.person_frames)} of the person-frames, "
        f"ids kept in {share(errors.kept, errors.found)}, bodies of nobody: {errors.extra}",
        f"  MPJPE in the world, nothing aligned: {errors.world_mm:.0f} mm",
        f"  MPJPE, aligned at the pelvis: {errors.pelvis_mm:.0f} mm",
        f"  PA-MPJPE, aligned by the best similarity: {errors.pa_mm:.0f} mm",
    ]


def files(folder: Path) -> list[str]:
    """Where to look."""
    return [
        f"look at {folder / 'studio.png'} and {folder / 'overlay.mp4'}; the motion is in {folder / 'motion.npz'}",
        f"{folder} also has the films and rig.json, to try docs/studio.md with",
    ]


def share(part: int, whole: int) -> str:
    """As a percentage that says 100 % only of all."""
    if not whole:
        return "0 %"
    percent = 100 * part / whole
    return f"{percent:.0f} %" if part == whole else f"{min(percent, 99.9):.1f} %"


def errors_of(motion: Motion) -> Errors:
    """Compares a recording of the films with their truth: each frame's bodies and people are matched by distance."""
    with np.load(TRUTH) as file:
        truth, numbers = file["joints_world"], file["ids"]  # (frame, person, 24, 3) metres; (frame, person)
    rows, seen = [], Counter()
    for frame in np.unique(motion.frame):
        mine = np.flatnonzero(motion.frame == frame)
        apart = np.linalg.norm(motion.joints_world[mine][:, None] - truth[frame][None], axis=-1).mean(-1)
        for body, person in zip(*linear_sum_assignment(np.minimum(apart, SAME_M)), strict=True):
            if apart[body, person] < SAME_M:
                rows.append((mine[body], frame, person))
                seen[int(numbers[frame, person]), int(motion.person[mine[body]])] += 1
    kept = sum(max(count for (one, _), count in seen.items() if one == number) for number in {one for one, _ in seen})
    facts = {
        "frames": len(truth),
        "persons": len(np.unique(numbers)),
        "person_frames": numbers.size,
        "found": len(rows),
        "kept": kept,
        "extra": len(motion.frame) - len(rows),
    }
    if not rows:
        return Errors(**facts, world_mm=np.nan, pelvis_mm=np.nan, pa_mm=np.nan)
    mine, frames, persons = np.array(rows).T
    joints, true = motion.joints_world[mine].astype(float), truth[frames, persons].astype(float)
    off, centred = joints - true, (joints - joints[:, :1]) - (true - true[:, :1])
    aligned = [procrustes_error(a, b) for a, b in zip(joints, true, strict=True)]
    return Errors(
        **facts,
        world_mm=1e3 * float(np.linalg.norm(off, axis=-1).mean()),
        pelvis_mm=1e3 * float(np.linalg.norm(centred, axis=-1).mean()),
        pa_mm=1e3 * float(np.mean(aligned)),
    )


def draw(motion: Motion, folder: Path, body: Body) -> None:
    """Writes studio.png: on the left the world with its cameras and people, on the right what overlay.mp4 shows."""
    shown = motion.frame[np.argmin(np.abs(motion.frame - MOMENT))]
    rig = read_rig(RIG)
    before = motion.frame <= shown
    paths = {int(n): motion.joints_world[before & (motion.person == n), 0] for n in np.unique(motion.person[before])}
    world = World(body, rig).draw(motion.people(int(shown)), rig[CAMERAS[0]], paths)
    views = frame_of(folder / "overlay.mp4", int(shown))
    views = cv2.resize(views, (round(views.shape[1] * SIZE[1] / views.shape[0]), SIZE[1]), interpolation=cv2.INTER_AREA)
    with write_whole(folder / "studio.png") as part:
        part.write_bytes(cv2.imencode(".png", np.hstack([world, views]))[1].tobytes())


def frame_of(path: Path, index: int) -> np.ndarray:
    """One picture of a video. Raises UserError where it has too few."""
    video = cv2.VideoCapture(str(path))
    got, image = False, None
    for _ in range(index + 1):
        got, image = video.read()
    video.release()
    if not got or image is None:
        raise UserError(f"{path}: has no frame {index}. Run the demo again, and let it end")
    return image
