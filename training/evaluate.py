"""How good a network is: `python -m training.evaluate benchmark` on held-out renders, `… real` on a real clip.

python -m training.evaluate benchmark runs/edge/last.pt runs/bench --sheets OUT
python -m training.evaluate real edge CLIP_FOLDER --calibration FILE --reference FILE.npz --sheets OUT
"""

import logging
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
import torch
import tyro

from refit_rt import config
from refit_rt.errors import UserError
from training.allocator import keep_freed_memory
from training.evaluation import metrics, real_fit
from training.evaluation.real_clip import LIMBS, load_reference, whole_rig
from training.evaluation.real_fit import Clip, Track, Way
from training.reporting import printed

log = logging.getLogger(__name__)
SHOWN, APART = 8, 10  # frames on a sheet, and how far apart two of the same camera lie
Piece = tuple[float, Clip, Track, int, str]  # error, clip, track, row of the track, caption

BENCHMARK_PROTOCOL = """\
Benchmark {store}: {stills} stills; {clips} clips, {clip_rows} moments; {long} long clips, {long_rows} moments.
Averaged weights of {checkpoint}, encoder in {precision}. Crops and their boxes are the store's own.
MPJPE: mean error of SMPL's 24 joints, the pelvis as origin; PA: after the best similarity; PVE: of every vertex, the
pelvis as origin; px: joints of the 256-pixel crop that truly lie in it. Each cell: mean / median.
cold i: i updates from the network's own first estimate. warm i: i updates from a start as live: {share:g} times the
answer to the person's moment before ({live} updates; the first moment {iterations}, cold) plus {rest:g} times the first
estimate; where the two face away from each other the answer alone, the landmarks' left and right exchanged; started
anew, cold, when sizes disagree or confidence falls below {least:g}. "cold 0", "warm 0": the start itself.
Every second look at a person is at the mirror image, and warm {live} is the mean of both hands (refit_rt.fit.mirror).
As sent: followed, then through the filter that every subscriber's bodies go through (refit_rt.fit.smooth).
Jitter: second difference of the joints about the pelvis, mean mm a moment squared; acceleration error: that of the
difference from the truth. Long clips are followed at their own rate and at a half and a quarter of it.
"""

REAL_PROTOCOL = """\
Clip {folder}: {views} cameras of {frames} frames at {fps:g} a second, every frame of every camera, each camera on its
own; bundle {bundle}, encoder in {precision}, fit.mirror {mirror}{tall}.
Truth: {joints} limb joints, those that two cameras see, triangulated from mediapipe in all cameras (residual median
{residual:.1f} px); mediapipe's hips and shoulders are not quite the body's: a perfect fit keeps about 17 mm. Boxes and
roll of cold starts: mediapipe's landmarks. Share of the last body in a warm start: {blend:g}.
MPJPE: the middle of the hips as origin; PA: after the best similarity (mean / median); 2-D: mean distance of projected
joints from the truth's, per cent of the stature ({height:.2f} m) at that depth; jitter: second difference of joints
about the hips, mean / median, mm a frame squared (in brackets the truth's own, mostly the detector's noise); depth:
error of the hips' distance, mean ± deviation; size: bone lengths over the truth's; turned: frames in which the body
faces more than 90 degrees away from the truth. As sent: after the filter that every subscriber's bodies go through
(refit_rt.fit.smooth). Cold is the same at every rate but for the jitter.
"""


@dataclass(frozen=True)
class Benchmark:
    """A checkpoint on held-out renders."""

    checkpoint: tyro.conf.Positional[Path]
    """A last.pt of training.train; its averaged weights are evaluated."""
    store: tyro.conf.Positional[Path]
    """Folder of training.evaluation.make_benchmark, or of training.produce --held-out."""
    iterations: int = 5
    live: int = config.Fit().iterations
    """Updates of a warm answer before it is handed on to the next moment."""
    blend: float = config.Fit().blend
    precision: Literal["f32", "bf16"] = "f32"
    """Of the encoder; bf16 is computed by torch, on any processor, slowly."""
    limit: int = 0
    """About so many rows of each kind, none of people with more moments; 0: all."""
    threads: int = 1
    sheets: Path | None = None
    """Folder for pictures of the best, median and worst stills, cold after the last update."""


@dataclass(frozen=True)
class Real:
    """The runtime on a real clip of several calibrated cameras."""

    bundle: tyro.conf.Positional[str]
    """A bundle's name or folder, or a checkpoint (last.pt), which is exported first."""
    folder: tyro.conf.Positional[Path]
    """Synchronised videos, named as in the calibration."""
    calibration: Path
    reference: Path
    """Truth made by training.evaluation.real_clip."""
    rates: tuple[float, ...] = (60.0, 30.0, 15.0)
    """Frames a second at which tracking is tried; the clip's own rate must be a multiple of each."""
    iterations: tuple[int, ...] = (1, 2, 3, 5)
    blend: float = config.Fit().blend
    mirror: Literal["off", "turns", "both"] = config.Fit().mirror
    """fit.mirror of `refit-rt run`."""
    stature_m: float = 0.0
    """fit.stature_m of `refit-rt run`; 0: not known."""
    precision: Literal["auto", "f32", "bf16", "int8"] = "auto"
    threads: int = 1
    sheets: Path | None = None
    """Folder for pictures of the best, median and worst frames of the tracked fit with live settings."""


def benchmark(settings: Benchmark) -> Iterator[str]:
    """Protocol and tables. Raises UserError."""
    from training.evaluation import benchmark as held_out
    from training.evaluation.benchmark_report import report
    from training.store.shards import Store

    keep_freed_memory()
    torch.set_num_threads(settings.threads)
    store = Store(settings.store)
    if not 1 <= settings.live <= settings.iterations:
        raise UserError(f"--live {settings.live}: must lie between 1 and --iterations ({settings.iterations})")
    network = held_out.load_network(settings.checkpoint)
    protocol = held_out.Protocol(settings.iterations, settings.live, settings.blend, precision=settings.precision)
    scores = held_out.score(network, store, protocol, settings.limit)
    kind, first = scores.chains.kind, scores.chains.place == 0
    rows, people = (np.bincount(kinds, minlength=len(held_out.KINDS)) for kinds in (kind, kind[first]))
    yield BENCHMARK_PROTOCOL.format(
        store=settings.store, stills=people[0], clips=people[1], clip_rows=rows[1], long=people[2], long_rows=rows[2],
        checkpoint=settings.checkpoint, share=protocol.share, rest=1 - protocol.share, live=protocol.live,
        iterations=protocol.iterations, least=protocol.min_confidence, precision=protocol.precision)  # fmt: skip
    yield report(scores, settings.live)
    if settings.sheets:
        from training.evaluation.benchmark_sheets import still_sheets

        yield f"\nPictures of stills: {', '.join(still_sheets(network, store, scores, settings.sheets))}"


def real(settings: Real) -> Iterator[str]:
    """Protocol and tables. Raises UserError."""
    reference = load_reference(settings.reference)
    clips = [real_fit.load_clip(settings.folder, camera, reference) for camera in whole_rig(settings.calibration)]
    steps = [_every(reference.fps, rate) for rate in settings.rates]
    if not steps or min(settings.iterations, default=0) < 1:
        raise UserError("--rates and --iterations: at least one of each is needed, and one update or more")
    fit = config.Fit(precision=settings.precision, threads=settings.threads, mirror=settings.mirror,
                     stature_m=settings.stature_m)  # fmt: skip
    like = config.check(config.Settings(fit=fit)).fit
    with bundle_folder(settings.bundle) as folder:
        runtime = real_fit.Runtime(folder, like)
        known = metrics.known_of(reference.points)
        yield REAL_PROTOCOL.format(
            folder=settings.folder, views=len(clips), frames=len(reference.points), fps=reference.fps,
            joints=known.sum(), bundle=settings.bundle, precision=settings.precision, mirror=settings.mirror,
            tall=f", fit.stature_m {settings.stature_m:g}" if settings.stature_m else "",
            residual=np.nanmedian(reference.residual_px[:, known]), blend=settings.blend,
            height=reference.height_m)  # fmt: skip
        cold = [Way(False, count, 1, settings.blend) for count in settings.iterations]
        warm = [Way(True, count, step, settings.blend) for step in steps for count in settings.iterations]
        live = next((way for way in warm if way.iterations == config.Fit().iterations), warm[0])
        sent = [replace(live, every=step, sent=True) for step in steps]
        rows, shown = [], []
        for way in [*cold, *warm, *sent]:
            log.info("%s, %g frames a second", _name(way), reference.fps / way.every)
            tracks = runtime.fit(clips, way)
            rows += [_row(way, step, clips, tracks) for step in ([way.every] if way.warm else steps)]
            shown = tracks if way == live else shown
        yield metrics.table(HEAD, rows)
        what = f"{_name(live)}, {reference.fps / live.every:g} frames a second"
        yield f"\n{what}, joint by joint:\n{_joints(clips, shown)}"
        if settings.sheets:
            yield f"\nPictures of {what}: {', '.join(_sheets(clips, shown, runtime.body, settings.sheets))}"


HEAD = ["start, updates", "fps", "MPJPE mm", "PA-MPJPE mm", "2-D %", "jitter mm", "depth mm", "size %", "turned %",
        "PA each camera"]  # fmt: skip


def _every(fps: float, rate: float) -> int:
    """Frames to step at a rate. Raises UserError."""
    every = round(fps / rate) if rate > 0 else 0
    if every < 1 or abs(every * rate - fps) > 0.02 * fps:
        raise UserError(f"--rates {rate:g}: the clip has {fps:g} frames a second, which is no multiple of it")
    return every


def _name(way: Way) -> str:
    return f"{'warm' if way.warm else 'cold'} {way.iterations}{', as sent' if way.sent else ''}"


def _row(way: Way, step: int, clips: list[Clip], tracks: list[Track]) -> list[str]:
    """One line of the table; a cold fit of every frame also tells how it would shake at lower rates."""
    scores = [real_fit.scores(clip, track.every(step // way.every)) for clip, track in zip(clips, tracks, strict=True)]
    all_of = {name: np.concatenate([score[name] for score in scores]) for name in scores[0]}

    def both(name: str) -> str:
        return f"{all_of[name].mean():.1f} / {np.median(all_of[name]):.1f}"

    return [_name(way), f"{clips[0].fps / step:g}", both("mpjpe"), both("pa"), f"{all_of['px'].mean():.1f}",
            f"{all_of['jitter'].mean():.0f} / {np.median(all_of['jitter']):.0f} ({all_of['true_jitter'].mean():.0f})",
            f"{all_of['depth'].mean():.0f} ± {all_of['depth'].std():.0f}", f"{all_of['size'].mean():.0f}",
            f"{all_of['turned'].mean():.1f}", " ".join(f"{score['pa'].mean():.0f}" for score in scores)]  # fmt: skip


def _joints(clips: list[Clip], tracks: list[Track]) -> str:
    """Where the error sits: mm about the hips and per cent of the stature in the picture, left and right together."""
    parts = [real_fit.joint_errors(clip, track) for clip, track in zip(clips, tracks, strict=True)]
    pairs = [np.concatenate(columns).reshape(-1, len(LIMBS) // 2, 2) for columns in zip(*parts, strict=True)]
    mm, share = (
        [f"{a:.1f} / {b:.1f}" for a, b in zip(p.mean((0, 2)), np.median(p, (0, 2)), strict=True)] for p in pairs
    )
    names = [name.removeprefix("l_") for name in LIMBS[::2]]
    return metrics.table(["mean / median", *names], [["mm about the hips", *mm], ["2-D %", *share]])


def _sheets(clips: list[Clip], tracks: list[Track], body, folder: Path) -> list[str]:
    """Best, median and worst frames, by error after Procrustes, of all cameras; the pictures' paths."""
    from training.evaluation.sheets import sheet, tiles

    found: list[Piece] = []
    for clip, track in zip(clips, tracks, strict=True):
        score = real_fit.scores(clip, track)
        for row, (pa, mpjpe, px) in enumerate(zip(score["pa"], score["mpjpe"], score["px"], strict=True)):
            where = f"{clip.camera.name} frame {track.frames[row]}"
            found.append((pa, clip, track, row, f"{where}: PA {pa:.0f} mm, MPJPE {mpjpe:.0f}, 2-D {px:.1f} %"))
    found.sort(key=lambda piece: piece[0])
    middle = found[len(found) // 2][0]
    groups = {
        "best": _apart(found),
        "median": _apart(sorted(found, key=lambda piece: abs(piece[0] - middle))),
        "worst": _apart(found[::-1]),
        "spread": [found[i] for i in np.linspace(0, len(found) - 1, SHOWN).astype(int)],
    }
    for name, pieces in groups.items():
        drawn = [(tiles(clip, track, row, body), caption) for _, clip, track, row, caption in pieces]
        sheet(drawn, folder / f"{name}.png")
    return [str(folder / f"{name}.png") for name in groups]


def _apart(pieces: list[Piece]) -> list[Piece]:
    """The first few that are not of the same moment of the same camera."""
    chosen: list[Piece] = []
    for piece in pieces:
        near = [one for one in chosen if one[1] is piece[1] and abs(one[3] - piece[3]) < APART]
        if not near and len(chosen) < SHOWN:
            chosen.append(piece)
    return chosen


@contextmanager
def bundle_folder(name: str) -> Iterator[Path]:
    """A bundle's folder; of a checkpoint, a bundle made for the time being. Raises UserError."""
    if Path(name).suffix != ".pt":
        from refit_rt.bundle.read import find_bundle

        yield find_bundle(name)
        return
    from refit_rt.bundle.checkpoint import export_checkpoint

    with tempfile.TemporaryDirectory() as folder:
        export_checkpoint(Path(name), Path(folder) / "bundle", "none")
        yield Path(folder) / "bundle"


def main() -> int:
    """The command line."""
    settings = tyro.cli(Annotated[Benchmark, tyro.conf.subcommand("benchmark")]
                        | Annotated[Real, tyro.conf.subcommand("real")], description=__doc__)  # type: ignore  # fmt: skip
    return printed(benchmark(settings) if isinstance(settings, Benchmark) else real(settings))


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    sys.exit(main())
