"""Measures how far feet slide that truly stand, with and without smooth.feet, and what else that changes.

`python -m training.evaluation.feet` follows the clip and the films that ship with refit_rt. With a folder of a real
clip's videos, its `--calibration` and its `--reference` (see real_clip), it follows each camera by itself and then all
together; with `--recordings`, the clips of `python -m training.noise record`.

A joint truly stands where its truth, over 0.25 s, moves slower than 0.2 m/s. Slide is its move in the world from one
such frame to the next, in mm.
"""

import logging
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import cv2
import msgspec
import numpy as np
import tyro
from scipy.signal import savgol_filter

from refit_rt import config
from refit_rt.body.smpl import Body, load_body
from refit_rt.bundle.read import find_bundle, load_bundle
from refit_rt.cameras import Camera, camera_for, read_rig
from refit_rt.commands import demo_clip, demo_studio
from refit_rt.errors import UserError
from refit_rt.fit.feet import Feet
from refit_rt.fit.smooth import Smoother
from refit_rt.follow import load_follower
from refit_rt.follow_rig import rig_cameras
from refit_rt.motion.npz import read_motion
from refit_rt.types import CONTACTS, JOINTS, Frame, People
from training.evaluation import metrics
from training.evaluation.real_clip import SMPL_LIMBS, Reference, load_reference, video_of
from training.evaluation.rig import play
from training.followed_clips import Recording, load_recordings
from training.reporting import Table, command_line, print_parts, run

log = logging.getLogger(__name__)
STEADY_S, SLOW_M_PER_S = 0.25, 0.2  # see above
LIFTED_S = 0.15  # after a foot has left the floor
FEET = list(CONTACTS)
COLUMNS = [
    "clip; mm, px, %", "frames", "slide", "with feet", "truth", "MPJPE", "with feet", "PA", "with feet", "jitter",
    "with feet", "jump", "with feet", "moved, px", "found", "right",
]  # fmt: skip


@dataclass(frozen=True)
class Arguments:
    """Measures the slide of feet, with and without smooth.feet."""

    folder: tyro.conf.Positional[Path | None] = None
    """Folder of a real clip's videos, named like its cameras; without it, the demo's clip and films."""
    calibration: Path | None = None
    """The real clip's calibration."""
    reference: Path | None = None
    """The real clip's triangulated reference."""
    recordings: Path | None = None
    """Folder of training.noise record, instead."""
    every: int = 1
    """Follow every n-th frame of a real clip only, as with a lower frame rate."""
    markdown: bool = False
    """Print the table alone, in Markdown."""


@dataclass(frozen=True, slots=True, eq=False)
class Case:
    """One person of one clip, followed, before and after the feet are held. A frame without the person is NaN."""

    name: str
    fps: float
    truth: np.ndarray  # (T, 24, 3) metres, world; NaN in every frame: a joint that is not known
    before: np.ndarray  # (T, 24, 3) metres, world
    after: np.ndarray  # (T, 24, 3)
    moved_px: np.ndarray  # (T,) mean over the joints
    contacts: np.ndarray  # (T, 4) 0..1


def cases_of(
    name: str, fps: float, shown: list[People], held: list[People], truth: np.ndarray, frames: np.ndarray
) -> list[Case]:
    """The people of a truth (frame, person, 24, 3), each with the body next to it; frames (T,) of the messages.

    Of a truth with one person, the body that is there most often counts.
    """
    known = np.asarray(np.isfinite(truth).all((0, 1, 3)))
    count, people = len(shown), truth.shape[1]
    before, after = np.full((2, people, count, JOINTS, 3), np.nan)
    moved_px, contacts = np.full((people, count), np.nan), np.zeros((people, count, len(FEET)))
    ids = np.concatenate([one.ids for one in shown])
    if not len(ids):
        raise UserError(f"{name}: nobody was followed. Check that calibration and videos belong together")
    longest = np.bincount(ids).argmax()
    for moment, (old, new) in enumerate(zip(shown, held, strict=True)):
        for row, person in enumerate(old.ids):
            if people == 1 and person != longest:
                continue
            off = truth[frames[moment]][:, known] - old.joints_world[row, known]
            at = int(np.linalg.norm(off, axis=-1).mean(-1).argmin())
            before[at, moment], after[at, moment] = old.joints_world[row], new.joints_world[row]
            moved_px[at, moment] = np.linalg.norm(new.joints_px[row] - old.joints_px[row], axis=-1).mean()
            contacts[at, moment] = new.contacts[row]
    numbered = [name] if people == 1 else [f"{name}, person {at + 1}" for at in range(people)]
    rows = zip(numbered, before, after, moved_px, contacts, strict=True)
    return [Case(one, fps, truth[frames, at], *arrays) for at, (one, *arrays) in enumerate(rows)]


def stands(truth: np.ndarray, fps: float) -> np.ndarray:
    """Which points (T, n, 3) metres truly stand, (T, n) bool. NaN: they do not."""
    window = max(round(STEADY_S * fps) // 2 * 2 + 1, 3)
    speed = np.asarray(savgol_filter(truth, window, 2 if window > 3 else 1, deriv=1, delta=1 / fps, axis=0))
    return np.linalg.norm(speed, axis=-1) < SLOW_M_PER_S


def steps_mm(points: np.ndarray, standing: np.ndarray) -> np.ndarray:
    """How far points (T, n, 3) move from one frame in which they stand (T, n) to the next, (m,) mm."""
    steps = 1000 * np.linalg.norm(np.diff(points, axis=0), axis=-1)
    return steps[standing[1:] & standing[:-1] & np.isfinite(steps)]


def jump_mm(points: np.ndarray, standing: np.ndarray, fps: float) -> float:
    """The largest second difference of points (T, n, 3) within LIFTED_S after they stood, mm; NaN: none lifts."""
    jumps = 1000 * np.linalg.norm(np.diff(points, 2, axis=0), axis=-1)
    lifted = np.zeros(standing.shape, bool)
    for moment, (last, now) in enumerate(pairwise(standing), 1):
        lifted[moment : moment + max(round(LIFTED_S * fps), 1)] |= last & ~now
    counted = jumps[lifted[1:-1] & np.isfinite(jumps)]
    return float(counted.max()) if len(counted) else np.nan


def row_of(case: Case) -> list[str]:
    """A line of the table."""
    known = np.asarray(np.isfinite(case.truth[:, FEET]).all((0, 2)))
    feet = [joint for joint, there in zip(FEET, known, strict=True) if there]
    standing = stands(case.truth[:, feet], case.fps)
    seen = np.isfinite(case.before[:, 0, 0])
    slides = [steps_mm(joints[:, feet], standing) for joints in (case.before, case.after, case.truth)]
    errors, aligned, jitter = [], [], []
    for joints in (case.before, case.after):
        limbs = joints[seen][:, SMPL_LIMBS]
        mpjpe, pa = metrics.limb_errors_mm(limbs, case.truth[seen][:, SMPL_LIMBS])
        errors.append(mpjpe.mean())
        aligned.append(pa.mean())
        jitter.append(metrics.acceleration_mm(limbs - limbs[:, metrics.HIPS].mean(1, keepdims=True)).mean())
    jumps = [jump_mm(joints[:, feet], standing, case.fps) for joints in (case.before, case.after)]
    said = case.contacts[seen][:, known] > 0.5
    true = standing[seen]
    figures = [
        *(slide.mean() if len(slide) else np.nan for slide in slides), *errors, *aligned, *jitter, *jumps,
        np.nanmean(case.moved_px),
        100 * (said & true).sum() / max(true.sum(), 1),
        100 * (said & true).sum() / max(said.sum(), 1),
    ]  # fmt: skip
    return [case.name, str(len(slides[0])), *("" if np.isnan(one) else f"{one:.1f}" for one in figures)]


def planted(shown: list[People], camera: Camera, body: Body, upright: bool) -> list[People]:
    """What smooth.feet makes of the people of a clip."""
    feet = Feet(config.Smooth(), body)
    return [feet.plant(one, camera, upright, np.array([view & (view - 1) > 0 for view in one.views])) for one in shown]


def without_feet() -> config.Settings:
    """The default settings, with feet as they are fitted."""
    return config.Settings(smooth=config.Smooth(feet=False))


def one_camera(
    name: str, video: Path, camera: config.Camera, truth: np.ndarray, fps: float, every: int = 1
) -> list[Case]:
    """A video followed by itself. truth (frame, 1, 24, 3) metres, in the camera's world."""
    settings = without_feet()
    capture = msgspec.structs.replace(settings.capture, name=name)
    settings = msgspec.structs.replace(settings, camera=camera, capture=capture)
    follower, shown, frames = load_follower(settings), [], np.arange(0, len(truth), every)
    film, size = cv2.VideoCapture(str(video)), (0, 0)
    for index in range(len(truth)):
        got, image = film.read()
        if not got:
            raise UserError(
                f"{video}: has {index} frames, but its truth has {len(truth)}. Give the video it belongs to"
            )
        if index % every == 0:
            time_s, size = index / fps, (image.shape[1], image.shape[0])
            shown.append(follower.step(Frame(name, index, time_s, time_s, image))[1])
    film.release()
    follower.close()
    lens = camera_for(camera, name, size)
    held = planted(shown, lens, follower.fitter.body, upright=not camera.calibration)
    return cases_of(name, fps / every, shown, held, truth, frames)


def several_cameras(
    name: str, videos: dict[str, Path], rig_file: Path, truth: np.ndarray, fps: float, every: int = 1
) -> list[Case]:
    """A rig's videos followed together. truth (frame, person, 24, 3) metres, world."""
    settings = without_feet()
    played = play(settings, videos, rig_file, every)
    sources = {camera: str(path) for camera, path in videos.items()}
    settings = msgspec.structs.replace(
        settings,
        capture=msgspec.structs.replace(settings.capture, sources=sources),
        camera=config.Camera(calibration=str(rig_file)),
    )
    body = load_bundle(find_bundle(settings.fit.bundle)).body
    held = planted(played.ticks, rig_cameras(settings)[0], body, upright=False)
    return cases_of(name, fps / every, played.ticks, held, truth, played.indices)


def shipped() -> Iterator[Case]:
    """The demo's clip, and the films of its studio."""
    motion = read_motion(demo_clip.TRUTH)
    camera = config.Camera(focal_px=float(np.load(demo_clip.TRUTH)["focal_px"]))
    yield from one_camera("demo", demo_clip.CLIP, camera, motion.joints_world[:, None].astype(np.float64), motion.fps)
    with np.load(demo_studio.TRUTH) as file:
        truth, fps = file["joints_world"].astype(np.float64), float(file["fps"])
    videos = {name: demo_studio.STUDIO / f"{name}.mp4" for name in demo_studio.CAMERAS}
    yield from several_cameras("studio", videos, demo_studio.RIG, truth, fps)


def real(folder: Path, calibration: Path, reference: Reference, every: int) -> Iterator[Case]:
    """Each camera of a real clip, and all of them together. Only the ankles of the reference stand."""
    rig = read_rig(calibration)
    truth = np.full((len(reference.points), 1, JOINTS, 3), np.nan)
    truth[:, 0, SMPL_LIMBS] = reference.points
    videos = {name: video_of(folder, name) for name in rig.names}
    for name, video in videos.items():
        camera = config.Camera(calibration=str(calibration))
        yield from one_camera(name, video, camera, truth, reference.fps, every)
    yield from several_cameras("together", videos, calibration, truth, reference.fps, every)


def recorded(recording: Recording, name: str, body: Body) -> list[Case]:
    """A followed render, smoothed as it would be published."""
    lens = Camera(name, (4000, 4000), 1000.0, (1999.5, 1999.5))  # the render's own is not kept: pixels are about right
    smoother, shown, truth = Smoother(config.Smooth(), body), [], []
    for moment in range(len(recording)):
        time_s = moment / recording.fps
        rows = {"ids": [1], "views": [1], "confidence": [recording.confidence[moment]]}
        rows |= {part: getattr(recording, part)[moment][None] for part in ("poses", "betas", "trans")}
        one = People.of(
            rows, camera=name, frame_index=moment, captured_s=time_s, time_s=time_s, dropped=0, size=lens.size,
            focal_px=lens.focal_px, centre_px=lens.centre_px, cameras=(name,), world_from_cameras=(lens.place,),
        )  # fmt: skip
        shown.append(smoother.smooth(one, lens))
        joints = body.joints(recording.true_rotations[moment], recording.true_betas[moment])
        truth.append(lens.world(joints + recording.true_trans[moment]))
    held = planted(shown, lens, body, upright=True)
    return cases_of(name, recording.fps, shown, held, np.stack(truth)[:, None], np.arange(len(shown)))


def main(arguments: Arguments) -> None:
    """Follows, and prints the table. Raises UserError."""
    if arguments.every < 1:
        raise UserError(f"--every {arguments.every}: must be at least 1")
    if arguments.recordings:
        names, body = sorted(path.stem for path in arguments.recordings.glob("*.npz")), load_body()
        clips = zip(names, load_recordings(arguments.recordings), strict=True)
        cases = (case for name, recording in clips for case in recorded(recording, name, body))
    elif arguments.folder:
        if arguments.calibration is None or arguments.reference is None:
            raise UserError(f"{arguments.folder}: a real clip needs its truth. Give --calibration and --reference")
        reference = load_reference(arguments.reference)
        cases = real(arguments.folder, arguments.calibration, reference, arguments.every)
    else:
        cases = shipped()
    table = Table(COLUMNS, [row_of(case) for case in cases])
    print_parts([table], command_line("training.evaluation.feet") if arguments.markdown else "")


if __name__ == "__main__":
    sys.exit(run(lambda: main(tyro.cli(Arguments))))
