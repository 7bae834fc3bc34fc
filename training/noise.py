"""Measures what the filter of refit_rt.fit.smooth must know: how people move, and how fits are noisy.

python -m training.noise record FOLDER --clips 200 --motion MOTION --hdri FOLDER --garments FOLDER
python -m training.noise measure FOLDER
python -m training.noise compare FOLDER --strength 2 2.5 3

`record` renders clips with exact truth and follows each with the product's fitter, 3 to 8 frames per second on one
core; start one process per core, each with its own seed. `measure` prints the filter's constants, `compare` the filter
against the fits themselves.
"""

import logging
import os
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Annotated

os.environ.setdefault("OMP_NUM_THREADS", "1")

import cv2
import numpy as np
import tyro

from refit_rt import config
from refit_rt.body.smpl import Body, load_body
from refit_rt.errors import UserError
from refit_rt.fit import smooth
from refit_rt.fit.load import make_fitter
from refit_rt.fit.mirror import SWAP
from refit_rt.geometry import axis_angle_from_matrix, matrix_from_axis_angle
from training.evaluation.smoothed import smoothed_joints
from training.followed_clips import CURE, Recording, load_recordings, record
from training.reporting import Table, command_line, print_parts, run
from training.synthetic.generator import Assets, Generator

log = logging.getLogger(__name__)
POWER = 1.5  # the density of acceleration grows with this power of the speed
LEAST_FPS = 15.0  # motion is measured on clips with at least so many frames per second
SPEEDS = np.array([0, 0.1, 0.3, 0.6, 1, 2, 4, 8])  # rad/s, edges of the classes
PLACE_SPEEDS = np.array([0, 0.1, 0.2, 0.4, 0.8, 1.6, 3.2])  # m/s
GROUPS = {
    "pelvis": [0],
    "hips": [1, 2],
    "knees": [4, 5],
    "spine": [3, 6, 9],
    "shoulders": [16, 17],
    "elbows": [18, 19],
}
MOVING = [joint for joints in GROUPS.values() for joint in joints]  # whose motion one factor describes
JOINTS = {  # the left one of two, whose noise is the mean of both
    "pelvis": 0, "hips": 1, "spine": 3, "knees": 4, "chest": 6, "ankles": 7, "upper chest": 9, "feet": 10, "neck": 12,
    "collars": 13, "head": 15, "shoulders": 16, "elbows": 18, "wrists": 20, "hands": 22,
}  # fmt: skip
ERRORS = np.array([0, 0.02, 0.03, 0.04, 0.06, 0.09])  # metres of predicted error, edges of the classes
MOST_RAD, MOST_SHARE = 1.0, 0.2  # an error that changes by more between frames is no noise: the body was lost or found
NOISE_FPS = 1 / smooth.MEASURED_S  # clips with so many frames per second give the noise
DRIFTS_S = np.geomspace(1e-3, 10, 1000)  # that are tried
LEAST_ROWS = 50  # of a class that counts
LIMBS = [16, 17, 18, 19, 20, 21, 1, 2, 4, 5, 7, 8]  # shoulders to wrists, hips to ankles
LEAST_SURE = 0.6  # mean confidence of a clip that is compared: below it, the fits show another person
DROPPED, DROPPED_FPS = 1 / 3, 60.0  # frames are dropped from clips at this rate
BEGUN = 3  # frames in which a filter begins are not compared


@dataclass(frozen=True)
class Record:
    """Renders clips, follows them and writes a file per clip. Files that are there are kept."""

    folder: tyro.conf.Positional[Path]
    """The folder to write."""
    clips: int = 200
    """Number of clips of this seed."""
    seed: int = 0
    motion: Path | None = None
    """Recorded motion, as for training.produce."""
    hdri: Path | None = None
    """Folder of equirectangular panoramas."""
    garments: Path | None = None
    """Folder of MakeHuman's clothes and hair."""
    held_out: bool = False
    """Draw from the benchmark's people, motions and places, which training never sees."""
    bundle: str = "edge"
    """The bundle that follows: its name or its folder."""


@dataclass(frozen=True)
class Measure:
    """Prints the constants that recordings ask for, beside those of refit_rt/fit/smooth.py."""

    folder: tyro.conf.Positional[Path]
    """Folder of `record`."""
    markdown: tyro.conf.FlagCreatePairsOff[bool] = False
    """Print the tables alone, in Markdown, with the command and the processor."""


@dataclass(frozen=True)
class Compare:
    """Prints errors, acceleration and lag of the fits and of the filter, against exact truth."""

    folder: tyro.conf.Positional[Path]
    """Folder of `record`."""
    strength: tuple[float, ...] = (config.Smooth().strength,)
    """Values of smooth.strength to compare."""
    markdown: tyro.conf.FlagCreatePairsOff[bool] = False
    """Print the tables alone, in Markdown, with the command and the processor."""


Verb = (
    Annotated[Record, tyro.conf.subcommand("record")]
    | Annotated[Measure, tyro.conf.subcommand("measure")]
    | Annotated[Compare, tyro.conf.subcommand("compare")]
)


def record_clips(settings: Record) -> None:
    """Writes the clips that are missing. Raises UserError."""
    if settings.clips < 1:
        raise UserError(f"--clips {settings.clips}: give at least 1")
    cv2.setNumThreads(1)
    assets = Assets(motion=settings.motion, hdri=settings.hdri, garments=settings.garments)
    generator = Generator(settings.seed, assets, held_out=settings.held_out, whole=True)
    fitter = make_fitter(config.Fit(bundle=settings.bundle, keypoints=False))
    for number in range(settings.clips):
        name = f"{'held' if settings.held_out else 'seed'}{settings.seed}-{number:05}.npz"
        if not (settings.folder / name).exists():
            recording = record(generator, fitter, number)
            recording.save(settings.folder / name)
            sure = recording.confidence.mean()
            log.info("%s: %d frames, %g per second, confidence %.2f", name, len(recording), recording.fps, sure)


@dataclass(frozen=True, slots=True, eq=False)
class Classes:
    """Means of a quantity in classes of another one."""

    x: np.ndarray  # (class,) mean of what the classes are of; NaN: fewer than LEAST_ROWS rows
    y: np.ndarray  # (class, ...) mean of the quantity


def classes(x: np.ndarray, y: np.ndarray, edges: np.ndarray) -> Classes:
    """Sorts rows, x (n,) and y (n, ...), into the classes between `edges`."""
    row = np.digitize(x, edges) - 1
    found = Classes(np.full(len(edges) - 1, np.nan), np.full((len(edges) - 1, *y.shape[1:]), np.nan))
    for one in range(len(edges) - 1):
        if (row == one).sum() >= LEAST_ROWS:
            found.x[one], found.y[one] = x[row == one].mean(), y[row == one].mean(0)
    return found


def middle(ratios: np.ndarray) -> np.ndarray:
    """The geometric mean of the ratios (class, ...) that are known: each class counts alike. NaN where none is."""
    known = np.isfinite(ratios)
    logs = np.log(np.where(known, ratios, 1.0)).sum(0)
    return np.exp(logs / np.where(known.any(0), known.sum(0), np.nan))


def spin(rotations: np.ndarray, fps: float) -> np.ndarray:
    """Rotations (T, ..., 3, 3) -> angular velocity about the body's own axes, (T - 1, ..., 3) rad/s."""
    return axis_angle_from_matrix(rotations[:-1].swapaxes(-1, -2) @ rotations[1:]) * fps


def unrest(velocity: np.ndarray, fps: float) -> tuple[np.ndarray, np.ndarray]:
    """Velocity (T, ..., 3) per second -> speed and density of white acceleration, (T - 1, ...) each: the mean square
    change of the velocity, per axis and second."""
    change = np.diff(velocity, axis=0)
    return np.linalg.norm(velocity[:-1], axis=-1), (change**2).mean(-1) * fps


def factor(speed: np.ndarray, density: np.ndarray, edges: np.ndarray) -> float:
    """The factor of speed**POWER that gives the density, of rows (n,) each. The slowest class does not count: there
    the density at rest matters."""
    found = classes(speed, np.stack([density, speed**POWER], 1), edges).y[1:]
    return float(middle(found[:, 0] / found[:, 1]))


@dataclass(frozen=True, slots=True, eq=False)
class Changes:
    """Half the mean square change of a fit's errors between two frames: the variance of their noise. A row per pair."""

    error_m: np.ndarray  # (n,) predicted by the network
    turns: np.ndarray  # (n, 24) rad^2 per axis
    place: np.ndarray  # (n, 2) of the pelvis: m^2 per axis across the line of sight, and of the depth's logarithm

    @staticmethod
    def joined(parts: Iterable["Changes"]) -> "Changes":
        """The rows of all parts."""
        rows = zip(*((part.error_m, part.turns, part.place) for part in parts), strict=True)
        return Changes(*(np.concatenate(one) for one in rows))


def changes(recording: Recording, body: Body) -> Changes:
    """The pairs of frames of a recording in which nobody was lost or found."""
    fitted = matrix_from_axis_angle(recording.poses)
    turns = np.diff(axis_angle_from_matrix(fitted.swapaxes(-1, -2) @ recording.true_rotations), axis=0)
    here = seen_place(body.rest_pelvis(recording.betas) + recording.trans)
    there = seen_place(body.rest_pelvis(recording.true_betas) + recording.true_trans)
    place = np.diff(here - there, axis=0)
    calm = (np.linalg.norm(turns, axis=-1) < MOST_RAD).all(1) & (np.abs(place) < MOST_SHARE).all(1)
    across = (place[:, :2] ** 2).mean(1) * np.exp(2 * there[1:, 2])
    error = np.array([smooth.predicted_error(float(sure)) for sure in recording.confidence])
    return Changes(
        error_m=np.sqrt((error[1:] ** 2 + error[:-1] ** 2) / 2)[calm],
        turns=(turns**2).mean(-1)[calm] / 2,
        place=np.stack([across, place[:, 2] ** 2], 1)[calm] / 2,
    )


def seen_place(points: np.ndarray) -> np.ndarray:
    """Points (..., 3) in the camera's frame -> x / z, y / z and log z."""
    depth = np.maximum(points[..., 2:], 0.1)
    return np.concatenate([points[..., :2] / depth, np.log(depth)], -1)


def noise_per_metre(error_m: np.ndarray, variance: np.ndarray) -> np.ndarray:
    """Deviations per metre of predicted error, (k,), of rows error_m (n,) and variance (n, k)."""
    found = classes(error_m, np.concatenate([variance, error_m[:, None] ** 2], 1), ERRORS).y
    return np.sqrt(middle(found[:, :-1] / found[:, -1:]))


def per_rate(by_rate: dict[float, Changes], noise: np.ndarray) -> dict[float, float]:
    """The variance of the noise at each rate over that which noise (24,), rad per metre, says."""
    found = {}
    for fps, rows in by_rate.items():
        near = rows.error_m < ERRORS[-1]
        if near.sum() >= LEAST_ROWS:
            found[fps] = float((rows.turns[near].mean(0) / noise**2).mean() / (rows.error_m[near] ** 2).mean())
    return found


def drift_s(variances: dict[float, float]) -> float:
    """The time in which the variance of an error's change doubles, of variances by frames per second: they grow with
    1 + gap / time, and each rate counts alike. NaN: with fewer than two rates."""
    if len(variances) < 2:
        return np.nan
    gaps_s, logs = 1 / np.array(list(variances)), np.log(list(variances.values()))
    misfits = [np.std(logs - np.log1p(gaps_s / time_s)) for time_s in DRIFTS_S]
    return float(DRIFTS_S[np.argmin(misfits)])


def measure(settings: Measure) -> Iterator[str | Table]:
    """Yields the tables of motion, noise and constants. Raises UserError."""
    recordings, body = load_recordings(settings.folder), load_body()
    by_rate = {
        fps: Changes.joined(changes(one, body) for one in recordings if one.fps == fps)
        for fps in sorted({one.fps for one in recordings}, reverse=True)
    }
    if NOISE_FPS not in by_rate or (by_rate[NOISE_FPS].error_m < ERRORS[-1]).sum() < LEAST_ROWS:
        raise UserError(f"{settings.folder}: has no clips at {NOISE_FPS:g} frames per second. {CURE} --clips 200")
    frames = sum(map(len, recordings))
    yield f"{len(recordings)} clips, {frames} frames. Left and right joints are measured together.\n"
    moved = [one for one in recordings if one.fps >= LEAST_FPS]
    speed, density = pooled(unrest(spin(one.true_rotations, one.fps), one.fps) for one in moved)
    place_speed, place_density = pooled(unrest(pelvis_velocity(one, body), one.fps) for one in moved)
    yield turns_table(speed, density)
    yield place_table(place_speed, place_density)
    seen = by_rate[NOISE_FPS]
    noise = noise_per_metre(seen.error_m, alike(seen.turns))
    across, depth = noise_per_metre(seen.error_m, seen.place)
    yield noise_table(seen, noise)
    rates = per_rate(by_rate, noise)
    yield rates_table(rates)
    yield constants_table(
        {
            "DENSITY": (factor(speed[:, MOVING].ravel(), density[:, MOVING].ravel(), SPEEDS), smooth.DENSITY),
            "PLACE_DENSITY": (factor(place_speed, place_density, PLACE_SPEEDS), smooth.PLACE_DENSITY),
            "PLACE_NOISE across": (across, smooth.PLACE_NOISE[0]),
            "PLACE_NOISE in depth": (depth, smooth.PLACE_NOISE[1]),
            "DRIFT_S": (drift_s(rates), smooth.DRIFT_S),
        }
    )


def pooled(parts: Iterable[tuple[np.ndarray, np.ndarray]]) -> tuple[np.ndarray, np.ndarray]:
    """The speeds and densities of all clips, each in one array."""
    speeds, densities = zip(*parts, strict=True)
    return np.concatenate(speeds), np.concatenate(densities)


def pelvis_velocity(recording: Recording, body: Body) -> np.ndarray:
    """(T - 1, 3) m/s of the true pelvis."""
    return np.diff(body.rest_pelvis(recording.true_betas) + recording.true_trans, axis=0) * recording.fps


def alike(variance: np.ndarray) -> np.ndarray:
    """(n, 24) with the mean of left and right."""
    return (variance + variance[:, SWAP]) / 2


def brief(value: float) -> str:
    """Two digits; a dash for what is not known."""
    return f"{float(f'{value:.2g}'):g}" if np.isfinite(value) else "-"


def turns_table(speed: np.ndarray, density: np.ndarray) -> Table:
    """speed and density (n, 24) of the joints: a row per class of speed, then the factors."""
    rows = [[f"at {low:g} to {high:g} rad/s"] for low, high in pairwise(SPEEDS)]
    last = [f"factor of speed^{POWER:g}"]
    for joints in GROUPS.values():
        mine = speed[:, joints].ravel(), density[:, joints].ravel()
        for row, value in zip(rows, classes(*mine, SPEEDS).y, strict=True):
            row.append(brief(value))
        last.append(brief(factor(*mine, SPEEDS)))
    return Table(["density of a joint's acceleration, rad^2/s^3", *GROUPS], [*rows, last])


def place_table(speed: np.ndarray, density: np.ndarray) -> Table:
    """speed and density (n,) of the pelvis: a row per class of speed, then the factor."""
    found = classes(speed, np.stack([density, speed**POWER], 1), PLACE_SPEEDS)
    rows = [
        [f"at {low:g} to {high:g} m/s", brief(mean), brief(value), brief(value / power)]
        for (low, high), mean, (value, power) in zip(pairwise(PLACE_SPEEDS), found.x, found.y, strict=True)
    ]
    heads = ["density of the pelvis's acceleration", "mean m/s", "m^2/s^3", f"over speed^{POWER:g}"]
    return Table(heads, [*rows, ["all but the slowest", "", "", brief(factor(speed, density, PLACE_SPEEDS))]])


def noise_table(rows: Changes, noise: np.ndarray) -> Table:
    """A row per joint: degrees of noise by predicted error, and the constant noise (24,) rad per metre."""
    found = classes(rows.error_m, alike(rows.turns), ERRORS)
    heads = [f"noise at {NOISE_FPS:g} frames per second, degrees", *(f"to {1000 * high:g} mm" for high in ERRORS[1:])]
    cells = [
        [
            name,
            *(brief(value) for value in np.rad2deg(np.sqrt(found.y[:, joint]))),
            brief(noise[joint]),
            brief(smooth.NOISE[joint]),
        ]
        for name, joint in JOINTS.items()
    ]
    return Table([*heads, "rad per metre", "in smooth.py"], cells)


def rates_table(rates: dict[float, float]) -> Table:
    """The variance of the noise by frames per second, over that at NOISE_FPS."""
    rows = [
        [f"{fps:g}", f"{value / rates[NOISE_FPS]:.2f}", f"{smooth.noisy(1.0, 1 / fps) ** 2:.2f}"]
        for fps, value in rates.items()
    ]
    return Table(["frames per second", "variance of the noise", "in smooth.py"], rows)


def constants_table(constants: dict[str, tuple[float, float]]) -> Table:
    """A row per constant: measured, and as it is."""
    rows = [[name, brief(found), brief(value)] for name, (found, value) in constants.items()]
    return Table(["constant", "measured", "in smooth.py"], rows)


def acceleration_mm(points: np.ndarray, times_s: np.ndarray, fps: float) -> float:
    """The mean second difference of points (T, J, 3) metres in mm per frame squared, of frames 1 / fps apart; times_s
    (T,) may have gaps."""
    velocity = np.diff(points, axis=0) / np.diff(times_s)[:, None, None]
    return 1000 * float(np.linalg.norm(np.diff(velocity, axis=0), axis=-1).mean()) / fps


def lag_s(points: np.ndarray, true_points: np.ndarray, times_s: np.ndarray) -> float:
    """By how much points (T, J, 3) come later than the true ones: the shift in time with the least squares of errors.
    Constant errors are no lag."""
    velocity, error = np.gradient(true_points, times_s, axis=0), points - true_points
    error = error - error.mean(0)
    return -float((error * velocity).sum() / max((velocity**2).sum(), 1e-12))


def scores(joints: np.ndarray, true_joints: np.ndarray, times_s: np.ndarray, fps: float) -> list[float]:
    """Of joints (T, 24, 3) in the camera's frame: error mm, error of acceleration, lag ms, error of the pelvis's
    acceleration, jitter. All but the pelvis's are of the limbs about the pelvis."""
    limbs, true_limbs = (one[BEGUN:, LIMBS] - one[BEGUN:, :1] for one in (joints, true_joints))
    times_s, pelvis = times_s[BEGUN:], (joints - true_joints)[BEGUN:, :1]
    return [
        1000 * float(np.linalg.norm(limbs - true_limbs, axis=-1).mean()),
        acceleration_mm(limbs - true_limbs, times_s, fps),
        1000 * lag_s(limbs, true_limbs, times_s),
        acceleration_mm(pelvis, times_s, fps),
        acceleration_mm(limbs, times_s, fps),
    ]


def compare(settings: Compare) -> Iterator[str | Table]:
    """Yields the table of the fits and the filter. Raises UserError."""
    recordings = [one for one in load_recordings(settings.folder) if one.confidence.mean() >= LEAST_SURE]
    body = load_body()
    yield f"{len(recordings)} clips in which the person is seen well; means over clips, limbs about the pelvis.\n"
    heads = ["frames per second: filter", "clips", "error mm", "its acceleration mm", "lag ms"]
    rows = []
    ways = [(fps, 0.0) for fps in sorted({one.fps for one in recordings}, reverse=True)]
    for fps, dropped in [*ways, (DROPPED_FPS, DROPPED)]:
        clips = [one for one in recordings if one.fps == fps]
        for strength in (0.0, *settings.strength) if clips else ():
            found = [clip_scores(clip, number, strength, dropped, body) for number, clip in enumerate(clips)]
            way = f"{fps:g}, a third dropped" if dropped else f"{fps:g}"
            name = f"{way}: strength {strength:g}" if strength else f"{way}: no filter"
            rows.append([name, f"{len(clips)}", *(f"{value:.1f}" for value in np.mean(found, 0))])
    if not rows:
        raise UserError(f"{settings.folder}: shows nobody well. {CURE}")
    yield Table([*heads, "pelvis: acceleration mm", "jitter mm"], rows)


def clip_scores(clip: Recording, number: int, strength: float, dropped: float, body: Body) -> list[float]:
    """The scores of one clip, of whose frames a share is dropped. strength 0: the fits themselves."""
    kept = np.flatnonzero(np.random.default_rng(number).random(len(clip)) >= dropped)
    poses, betas, trans, times_s = clip.poses[kept], clip.betas[kept], clip.trans[kept], kept / clip.fps
    if strength:
        settings = config.Smooth(strength=strength)
        joints = smoothed_joints(poses, betas, trans, clip.confidence[kept], times_s, settings, body)
    else:
        joints = posed(matrix_from_axis_angle(poses), betas, trans, body)
    true = posed(clip.true_rotations[kept], clip.true_betas[kept], clip.true_trans[kept], body)
    return scores(joints.astype(np.float64), true, times_s, clip.fps)


def posed(rotations: np.ndarray, betas: np.ndarray, trans: np.ndarray, body: Body) -> np.ndarray:
    """Joints (T, 24, 3) in the camera's frame of bodies with rotations (T, 24, 3, 3), betas (T, 10), trans (T, 3)."""
    rows = zip(rotations, betas, trans, strict=True)
    return np.array([body.joints(turns, shape) + place for turns, shape, place in rows])


def main() -> int:
    """The command line. Returns the exit code."""
    settings = tyro.cli(Verb, description=__doc__)  # type: ignore[call-overload]
    if isinstance(settings, Record):
        return run(lambda: record_clips(settings), "%(asctime)s %(message)s")
    parts = measure(settings) if isinstance(settings, Measure) else compare(settings)
    return run(lambda: print_parts(parts, command_line("training.noise") if settings.markdown else ""))


if __name__ == "__main__":
    sys.exit(main())
