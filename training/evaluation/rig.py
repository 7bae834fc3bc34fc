"""Plays the videos of a rig through the product, and compares the bodies in the world with the truth.

`python -m training.evaluation.rig FOLDER` takes a folder of make_studio: cam1.mp4 and so on, rig.json, truth.npz.
With `--reference`, the folder is a real clip with a triangulated reference (see real_clip), `--calibration` its rig.
"""

import logging
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import msgspec
import numpy as np
import torch
import tyro

from refit_rt import config
from refit_rt.cameras import read_rig
from refit_rt.capture.sync import SyncedSource, open_sources
from refit_rt.commands.bench.table import Table
from refit_rt.errors import UserError
from refit_rt.follow_rig import RigFollower, load_rig_follower
from refit_rt.live.stage import Timings
from refit_rt.types import People
from training.evaluation import metrics, studio_score
from training.evaluation.real_clip import SMPL_LIMBS, Reference, load_reference, video_of
from training.losses import pa_mpjpe_mm
from training.reporting import command_line, print_parts, run

log = logging.getLogger(__name__)
SEEN = 0.3  # a person counts in the ticks in which some camera sees so much of the body


@dataclass(frozen=True)
class Arguments:
    """Measures people followed by a rig."""

    folder: tyro.conf.Positional[Path]
    """Folder of the rig's videos, named like its cameras."""
    calibration: Path | None = None
    """The rig's file; without it, rig.json of the folder."""
    reference: Path | None = None
    """The triangulated reference of a real clip; without it, truth.npz of the folder."""
    cameras: tyro.conf.UseAppendAction[tuple[str, ...]] = ()
    """A subset to use, as cam1,cam3; give it again for another row. Without it, all cameras."""
    every: int = 1
    """Follow every n-th tick only, as with a lower frame rate."""
    config: Path | None = None
    """Settings to follow with."""
    markdown: bool = False
    """Print the table alone, in Markdown."""


@dataclass(frozen=True, slots=True, eq=False)
class Played:
    """A rig's videos, followed."""

    ticks: list[People]
    indices: np.ndarray  # (ticks,) of the frames
    camera_names: tuple[str, ...]
    tick_ms: float  # median time of a tick


def play(settings: config.Settings, videos: dict[str, Path], rig_file: Path, every: int = 1) -> Played:
    """Follows the people in a rig's videos, every tick, as `refit-rt run --out` does. Raises UserError."""
    capture = msgspec.structs.replace(settings.capture, sources={name: str(path) for name, path in videos.items()})
    camera = msgspec.structs.replace(settings.camera, calibration=str(rig_file))
    settings = msgspec.structs.replace(settings, capture=capture, camera=camera)
    source, timings = open_sources(capture, lossless=True), Timings()
    follower = load_rig_follower(settings, timings, sizes=source.sizes)
    try:
        ticks = list(_followed(source, follower, every, timings))
    finally:
        follower.close()
        source.close()
    if not ticks:
        raise UserError(f"{rig_file.parent}: its videos have no frame in common. Give the videos of one take")
    tick_ms = timings.milliseconds()["tick"][0]
    return Played(ticks, np.array([people.frame_index for people in ticks]), tuple(videos), tick_ms)


def _followed(source: SyncedSource, follower: RigFollower, every: int, timings: Timings) -> Iterator[People]:
    for index, tick in enumerate(source):
        if index % every == 0:
            with timings.measure("tick"):
                _, people = follower.step(tick)
            yield people


def made_rows(played: Played, folder: Path) -> tuple[list[str], list[float | int]]:
    """Columns and figures against the truth of a made studio."""
    with np.load(folder / "truth.npz") as file:
        joints, seen = file["joints_world"][played.indices], file["seen"][played.indices]
        every = file["cameras"].astype(str).tolist()
    visible = seen[:, :, [every.index(name) for name in played.camera_names]].max(-1) > SEEN
    truth = studio_score.Truth(joints, np.ones(visible.shape, bool), visible)
    one = studio_score.score([(people.ids, people.joints_world.astype(np.float64)) for people in played.ticks], truth)
    columns = ["recall", "precision", "identity", "switches", "MPJPE world", "MPJPE pelvis", "PA", "jitter", "of truth"]
    figures = [
        *(round(100 * share, 1) for share in (one.recall, one.precision, one.identity)),
        one.switches,
        *(round(mm, 1) for mm in (one.mpjpe_mm, one.pelvis_mpjpe_mm, one.pa_mpjpe_mm)),
        round(one.acceleration_mm, 1),
        round(one.true_acceleration_mm, 1),
    ]
    return columns, figures


def real_rows(played: Played, reference: Reference) -> tuple[list[str], list[float | int]]:
    """Columns and figures of the one person of a real clip, about the reference's limb joints."""
    known = metrics.known_of(reference.points)
    rows = [row for row, people in enumerate(played.ticks) if len(people.ids)]
    if not rows:
        raise UserError("nobody was followed. Check that the rig's file belongs to the videos")
    longest = np.bincount(np.concatenate([played.ticks[row].ids for row in rows])).argmax()
    rows = [row for row in rows if longest in played.ticks[row].ids]
    limbs = np.stack([
        played.ticks[row].joints_world[played.ticks[row].ids == longest][0][SMPL_LIMBS] for row in rows
    ]).astype(np.float64)  # fmt: skip
    truth = reference.points[played.indices[rows]]
    mpjpe, aligned = metrics.limb_errors_mm(limbs, truth)
    without = known.copy()
    without[metrics.HIPS] = False
    some, true = (part[:, without] - part[:, without].mean(1, keepdims=True) for part in (limbs, truth))
    hipless = pa_mpjpe_mm(torch.from_numpy(some).float(), torch.from_numpy(true).float()).numpy()
    world = 1000 * np.linalg.norm(limbs - truth, axis=-1)
    middle = limbs[:, metrics.root_of(known)].mean(1, keepdims=True)
    jitter = metrics.acceleration_mm((limbs - middle)[:, known])
    columns = ["found, %", "MPJPE world", "MPJPE", "PA", "PA without hips", "jitter"]
    figures = [
        round(100 * len(rows) / len(played.ticks), 1),
        *(round(float(mm.mean()), 1) for mm in (world[:, known], mpjpe, aligned, hipless, jitter)),
    ]
    return columns, figures


def main(arguments: Arguments) -> None:
    """Follows and compares. Raises UserError."""
    settings = config.load(arguments.config) if arguments.config else config.Settings()
    rig_file = arguments.calibration or arguments.folder / "rig.json"
    rig = read_rig(rig_file)
    reference = load_reference(arguments.reference) if arguments.reference else None
    if reference is None and not (arguments.folder / "truth.npz").is_file():
        raise UserError(
            f"{arguments.folder}: has no truth.npz. Make one with training.evaluation.make_studio or give --reference"
        )
    sets = [tuple(one.split(",")) for one in arguments.cameras] or [rig.names]
    rows, columns = [], []
    for names in sets:
        unknown = [name for name in names if name not in rig.names]
        if unknown:
            raise UserError(f"--cameras {','.join(names)}: the rig has {', '.join(rig.names)}")
        videos = {name: video_of(arguments.folder, name) for name in names}
        played = play(settings, videos, rig_file, arguments.every)
        columns, figures = made_rows(played, arguments.folder) if reference is None else real_rows(played, reference)
        rows.append([",".join(names), *map(str, figures), f"{played.tick_ms:.0f}"])
        log.info("%s: %s", ",".join(names), dict(zip(columns, figures, strict=True)))
    table = Table(["cameras; mm, %", *columns, "ms a tick"], rows)
    print_parts([table], command_line("training.evaluation.rig") if arguments.markdown else "")


if __name__ == "__main__":
    sys.exit(run(lambda: main(tyro.cli(Arguments))))
