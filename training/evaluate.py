"""Evaluates a network on held-out renders (`benchmark`), on a real clip (`real`) and in other boxes (`boxes`), the
product on made scenes (`people`), the detector on pictures (`pictures`).

python -m training.evaluate benchmark runs/edge/last.pt runs/bench --sheets OUT
python -m training.evaluate real edge CLIP_FOLDER --calibration FILE --reference FILE.npz --sheets OUT
python -m training.evaluate boxes edge CLIP_FOLDER --calibration FILE --reference FILE.npz --sheets OUT
python -m training.evaluate people --case crossings --quick --sheets OUT
python -m training.evaluate pictures --sheets OUT
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
from refit_rt.commands.bench.table import Table
from refit_rt.errors import UserError
from training.allocator import keep_freed_memory
from training.evaluation import metrics, real_fit
from training.evaluation.real_clip import LIMBS, load_reference, whole_rig
from training.evaluation.real_fit import Clip, Track, Way
from training.reporting import Caption, command_line, print_parts, run

log = logging.getLogger(__name__)
SHARED = Path(__file__).parents[2] / "shared"  # real recordings and free assets, beside the repository
SHOWN, APART = 8, 10  # tiles on a sheet, and the least distance in frames of two tiles of one camera
Piece = tuple[float, Clip, Track, int, str]  # error, clip, track, row of the track, caption

BENCHMARK_PROTOCOL = """\
Benchmark {store}: {stills} stills; {clips} clips, {clip_rows} moments; {long} long clips, {long_rows} moments.
Weights: {checkpoint} (averaged), encoder in {precision}.
MPJPE is the mean error of SMPL's 24 joints with the pelvis as origin, PA the same after the best similarity, PVE that
of all vertices with the same origin, and px that of the joints that lie in the crop of 256 px; each is mean / median.
"cold i" are i updates from the network's first estimate. "warm i" are i updates from the live fitter's start: {share:g}
times the result of the previous moment ({live} updates; {iterations}, cold, at the first moment) plus {rest:g} times
the first estimate. Where the two face away from each other, the result alone is used, and left and right of the
landmarks are exchanged. A fit restarts cold if the two differ in size or its confidence falls below {least:g}.
"cold 0" and "warm 0" are the starts. Every other moment is fitted mirrored, and "warm {live}" averages mirrored and
unmirrored fits (refit_rt.fit.mirror). "published" is followed, then smoothed (refit_rt.fit.smooth).
Jitter is the mean second difference of the joints about the pelvis in mm per moment squared, the acceleration error
that of their errors. Long clips are followed at their own rate and at a half and a quarter of it.
"""

REAL_PROTOCOL = """\
Clip {folder}: {views} cameras, {frames} frames each at {fps:g} fps. Every frame is fitted, each camera by itself.
Bundle: {bundle}, encoder in {precision}, fit.mirror {mirror}{stature}. A warm start has {blend:g} of the last body.
Truth: {joints} limb joints, triangulated from mediapipe in all cameras (median residual {residual:.1f} px). Its hips
and shoulders differ from the body's, so a perfect fit keeps about 17 mm.
MPJPE has the middle of the hips as origin, PA is the same after the best similarity; both are mean / median. 2-D is
the mean distance of projected joints from the true ones, in per cent of the stature ({height:.2f} m) at that depth.
Jitter is the second difference of the joints about the hips, mean / median in mm per frame squared; in brackets that
of the truth, mostly the detector's noise. Place is the same of the middle of the hips, in the camera's frame. Depth
is the error of the hips' distance, mean ± deviation; size is the length of bones over the true one; turned is the
share of frames in which the body faces more than 90 degrees away from the truth. "published" is followed, moved onto
the key points of a look every {every_s:g} s (refit_rt.fit.refine), and smoothed (refit_rt.fit.smooth). Cold fits
differ between rates in jitter alone.
"""

BENCHMARK_BOXES = """\
Boxes: ground truth as stored with the crops, in every moment, followed or not: 1.2 times the extent of the true \
surface that the picture shows and some of it beyond, times 0.8 to 1.25, off the centre by 2.5 % and off upright by \
6 degrees (deviations)."""
REAL_BOXES = """\
Boxes: a detector's, {margin:g} times the longer side of mediapipe's 33 landmarks, turned upright by them, for cold \
starts alone; then, if the fit is sure, and in every followed frame, {margin:g} times the extent of the fitted body."""


@dataclass(frozen=True)
class Benchmark:
    """Evaluates an edge network on held-out renders."""

    checkpoint: tyro.conf.Positional[str]
    """A last.pt of training.train, whose averaged weights are evaluated, or a bundle: a shipped one's name or a
    folder."""
    store: tyro.conf.Positional[Path]
    """Folder of training.evaluation.make_benchmark, or of training.produce --held-out."""
    iterations: int = 5
    """Largest number of updates."""
    live: int = config.Fit().iterations
    """Updates of a followed fit whose result the next moment starts from."""
    blend: float = config.Fit().blend
    """Share of the last body in a warm start."""
    precision: Literal["f32", "bf16"] = "f32"
    """Precision of the encoder. torch computes bf16 on any processor, but slowly."""
    limit: int = 0
    """About this many rows of each kind, without people who have more moments. 0: all."""
    threads: int = 1
    """Processor threads."""
    sheets: Path | None = None
    """Folder for pictures of the best, median and worst stills, cold after the last update."""
    markdown: tyro.conf.FlagCreatePairsOff[bool] = False
    """Print the tables alone, in Markdown, with the command and the processor."""


@dataclass(frozen=True)
class Real:
    """Evaluates the runtime on a real clip of several calibrated cameras."""

    bundle: tyro.conf.Positional[str]
    """A bundle's name or folder, or a checkpoint (last.pt), which is turned into a bundle first."""
    folder: tyro.conf.Positional[Path]
    """Folder of synchronised videos, named as in the calibration."""
    calibration: Path
    """The rig's file, in any format that refit_rt reads."""
    reference: Path
    """The truth, from training.evaluation.real_clip."""
    rates: tuple[float, ...] = (60.0, 30.0, 15.0)
    """Frames per second at which people are followed. The clip's own rate must be a multiple of each."""
    iterations: tuple[int, ...] = (1, 2, 3, 5)
    """Numbers of updates."""
    blend: float = config.Fit().blend
    """fit.blend of `refit-rt run`."""
    mirror: Literal["off", "turns", "both"] = config.Fit().mirror
    """fit.mirror of `refit-rt run`."""
    stature_m: float = 0.0
    """fit.stature_m of `refit-rt run`. 0: not known."""
    precision: Literal["auto", "f32", "bf16", "int8"] = "auto"
    """fit.precision of `refit-rt run`."""
    threads: int = 1
    """fit.threads of `refit-rt run`."""
    sheets: Path | None = None
    """Folder for pictures of the best, median and worst frames of the followed fit with live settings."""
    markdown: tyro.conf.FlagCreatePairsOff[bool] = False
    """Print the tables alone, in Markdown, with the command and the processor."""


@dataclass(frozen=True)
class Boxes:
    """Evaluates the runtime in larger, smaller and shifted boxes, on rendered people or on a real clip."""

    bundle: tyro.conf.Positional[str]
    """A bundle's name or folder, or a checkpoint (last.pt), which is turned into a bundle first."""
    folder: tyro.conf.Positional[Path | None] = None
    """Folder of synchronised videos of a real clip. None: rendered people."""
    calibration: Path | None = None
    """The real clip's rig."""
    reference: Path | None = None
    """The real clip's truth, from training.evaluation.real_clip."""
    rate: float = 0.0
    """Frames per second at which the people of a real clip are followed, as --rates of `real`. 0: the clip's own."""
    every: int = 5
    """Every n-th frame is fitted cold."""
    people: int = 80
    """Number of rendered people."""
    motion: Path = SHARED / "assets" / "motion"
    """Recorded motion of the rendered people."""
    hdri: Path = SHARED / "assets" / "hdri"
    """Folder of equirectangular .hdr panoramas, in which rendered people stand."""
    precision: Literal["auto", "f32", "bf16", "int8"] = "auto"
    """fit.precision of `refit-rt run`."""
    threads: int = 1
    """fit.threads of `refit-rt run`."""
    sheets: Path | None = None
    """Folder for a plot of PA-MPJPE over side and shift of the boxes."""
    markdown: tyro.conf.FlagCreatePairsOff[bool] = False
    """Print the tables alone, in Markdown, with the command and the processor."""


@dataclass(frozen=True)
class People:
    """Evaluates the product on made scenes: people who stand close, cross, hide, leave, and cuts."""

    case: tuple[str, ...] = ()
    """Names of cases; none: all."""
    quick: tyro.conf.FlagCreatePairsOff[bool] = False
    """Play a part of each case's scenes."""
    max_people: int | None = None
    """track.max_people of `refit-rt run`, in place of what each case asks for."""
    media: Path = SHARED / "media"
    """Folder that holds treadmill_4cam and charuco_4cam."""
    hdri: Path = SHARED / "assets" / "hdri"
    """Folder of equirectangular .hdr panoramas."""
    sheets: Path | None = None
    """Folder for a strip of pictures of each scene, with the bodies drawn."""
    markdown: tyro.conf.FlagCreatePairsOff[bool] = False
    """Print the tables alone, in Markdown, with the command and the processor."""


@dataclass(frozen=True)
class Pictures:
    """Evaluates the detector on pictures: the demo clip, rendered and pasted crowds, empty places, and real clips."""

    thresholds: tuple[float, ...] = (0.15, 0.2, 0.25, 0.3, 0.35, 0.4, 0.45)
    """Values of detect.threshold to compare."""
    model: str = config.Detect().model
    """detect.model of `refit-rt run`."""
    media: Path = SHARED / "media"
    """Folder that holds treadmill_4cam and charuco_4cam."""
    hdri: Path = SHARED / "assets" / "hdri"
    """Folder of equirectangular .hdr panoramas."""
    crowd_clip: Path | None = None
    """vtest.avi of OpenCV's samples (Debian's opencv-doc); without it, the set has no real crowd."""
    sheets: Path | None = None
    """Folder for each picture, with the people who are found and missed."""
    markdown: tyro.conf.FlagCreatePairsOff[bool] = False
    """Print the tables alone, in Markdown, with the command and the processor."""


Verb = (
    Annotated[Benchmark, tyro.conf.subcommand("benchmark")]
    | Annotated[Real, tyro.conf.subcommand("real")]
    | Annotated[Boxes, tyro.conf.subcommand("boxes")]
    | Annotated[People, tyro.conf.subcommand("people")]
    | Annotated[Pictures, tyro.conf.subcommand("pictures")]
)


def benchmark(settings: Benchmark) -> Iterator[str | Table]:
    """Yields protocol and tables. Raises UserError."""
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
        store=settings.store,
        stills=people[0],
        clips=people[1],
        clip_rows=rows[1],
        long=people[2],
        long_rows=rows[2],
        checkpoint=settings.checkpoint,
        share=protocol.share,
        rest=1 - protocol.share,
        live=protocol.live,
        iterations=protocol.iterations,
        least=protocol.min_confidence,
        precision=protocol.precision,
    )
    yield Caption(BENCHMARK_BOXES)
    yield from report(scores, settings.live)
    if settings.sheets:
        from training.evaluation.benchmark_sheets import still_sheets

        yield f"Pictures of stills: {', '.join(still_sheets(network, store, scores, settings.sheets))}"


def real(settings: Real) -> Iterator[str | Table]:
    """Yields protocol and tables. Raises UserError."""
    reference = load_reference(settings.reference)
    clips = [real_fit.load_clip(settings.folder, camera, reference) for camera in whole_rig(settings.calibration)]
    steps = [_every(reference.fps, rate) for rate in settings.rates]
    if not steps or min(settings.iterations, default=0) < 1:
        raise UserError("--rates and --iterations: give at least one of each, and iterations of at least 1")
    fit = config.Fit(
        precision=settings.precision,
        threads=settings.threads,
        mirror=settings.mirror,
        stature_m=settings.stature_m,
    )
    like = config.check(config.Settings(fit=fit)).fit
    with bundle_folder(settings.bundle) as folder:
        runtime = real_fit.Runtime(folder, like)
        known = metrics.known_of(reference.points)
        yield REAL_PROTOCOL.format(
            folder=settings.folder,
            views=len(clips),
            frames=len(reference.points),
            fps=reference.fps,
            joints=known.sum(),
            bundle=settings.bundle,
            precision=settings.precision,
            mirror=settings.mirror,
            stature=f", fit.stature_m {settings.stature_m:g}" if settings.stature_m else "",
            residual=np.nanmedian(reference.residual_px[:, known]),
            blend=settings.blend,
            height=reference.height_m,
            every_s=config.Fit().look_s,
        )
        yield Caption(REAL_BOXES.format(margin=runtime.crop.margin))
        cold = [Way(False, count, 1, settings.blend) for count in settings.iterations]
        warm = [Way(True, count, step, settings.blend) for step in steps for count in settings.iterations]
        live = next((way for way in warm if way.iterations == config.Fit().iterations), warm[0])
        published = [replace(live, every=step, published=True) for step in steps]
        rows, shown = [], []
        for way in [*cold, *warm, *published]:
            log.info("%s, %g fps", _name(way), reference.fps / way.every)
            tracks = runtime.fit(clips, way)
            rows += [_row(way, step, clips, tracks) for step in ([way.every] if way.warm else steps)]
            shown = tracks if way == live else shown
        yield Table(HEADS, rows)
        what = f"{_name(live)}, {reference.fps / live.every:g} fps"
        yield _joints(what, clips, shown)
        if settings.sheets:
            yield f"Pictures of {what}: {', '.join(_sheets(clips, shown, runtime.body, settings.sheets))}"


def boxes(settings: Boxes) -> Iterator[str | Table]:
    """Yields protocol and tables. Raises UserError."""
    from refit_rt.bundle.read import load_bundle
    from training.evaluation import boxes as framed
    from training.synthetic.generator import Assets

    if min(settings.every, settings.people) < 1:
        raise UserError(f"--every {settings.every}, --people {settings.people}: give at least 1 of each")
    fit = config.check(config.Settings(fit=config.Fit(precision=settings.precision, threads=settings.threads))).fit
    with bundle_folder(settings.bundle) as bundle:
        if settings.folder is None:
            assets = Assets(settings.motion, settings.hdri)
            clips = framed.rendered_set(settings.people, assets, load_bundle(bundle), settings.every)
        else:
            if settings.calibration is None or settings.reference is None:
                raise UserError(
                    f"{settings.folder}: a real clip needs its rig and its truth. Give --calibration and --reference"
                )
            reference = load_reference(settings.reference)
            step = _every(reference.fps, settings.rate or reference.fps)
            rig = whole_rig(settings.calibration)
            clips = framed.real_set(settings.folder, rig, reference, settings.every, step)
        yield from framed.report(clips, bundle, fit, settings.sheets)


def people(settings: People) -> Iterator[str | Table]:
    """Yields protocol and tables. Raises UserError."""
    from training.evaluation.people.report import PROTOCOL, Plan, report

    plan = Plan(
        settings.media, settings.hdri, settings.case, settings.quick, settings.max_people, sheets=settings.sheets
    )
    yield PROTOCOL
    yield from report(plan)


def pictures(settings: Pictures) -> Iterator[str | Table]:
    """Yields protocol and tables. Raises UserError."""
    from training.evaluation import pictures as evaluation

    if not settings.thresholds or not 0 < min(settings.thresholds) <= max(settings.thresholds) <= 1:
        raise UserError("--thresholds: give at least one, each above 0 and at most 1")
    detect = config.check(config.Settings(detect=config.Detect(model=settings.model))).detect
    shown = list(evaluation.pictures(settings.media, settings.hdri, settings.crowd_clip))
    yield from evaluation.report(shown, detect, settings.thresholds, settings.sheets)


HEADS = [
    "start, updates",
    "fps",
    "MPJPE mm",
    "PA-MPJPE mm",
    "2-D %",
    "jitter mm",
    "place mm",
    "depth mm",
    "size %",
    "turned %",
    "PA per camera",
]


def _every(fps: float, rate: float) -> int:
    """The step in frames that gives a rate. Raises UserError if there is none."""
    every = round(fps / rate) if rate > 0 else 0
    if every < 1 or abs(every * rate - fps) > 0.02 * fps:
        raise UserError(f"--rates {rate:g}: the clip's {fps:g} fps are no multiple of it. Give {fps:g} or {fps / 2:g}")
    return every


def _name(way: Way) -> str:
    return f"{'warm' if way.warm else 'cold'} {way.iterations}{', published' if way.published else ''}"


def _row(way: Way, step: int, clips: list[Clip], tracks: list[Track]) -> list[str]:
    """Makes one row of the table. A cold fit of every frame also gives the jitter at lower rates, for every step-th."""
    scores = [real_fit.scores(clip, track.every(step // way.every)) for clip, track in zip(clips, tracks, strict=True)]
    all_of = {name: np.concatenate([score[name] for score in scores]) for name in scores[0]}

    def both(name: str) -> str:
        return f"{all_of[name].mean():.1f} / {np.median(all_of[name]):.1f}"

    return [
        _name(way),
        f"{clips[0].fps / step:g}",
        both("mpjpe"),
        both("pa"),
        f"{all_of['px'].mean():.1f}",
        f"{all_of['jitter'].mean():.0f} / {np.median(all_of['jitter']):.0f} ({all_of['true_jitter'].mean():.0f})",
        f"{all_of['shake'].mean():.0f} ({all_of['true_shake'].mean():.0f})",
        f"{all_of['depth'].mean():.0f} ± {all_of['depth'].std():.0f}",
        f"{all_of['size'].mean():.0f}",
        f"{all_of['turned'].mean():.1f}",
        " ".join(f"{score['pa'].mean():.0f}" for score in scores),
    ]


def _joints(what: str, clips: list[Clip], tracks: list[Track]) -> Table:
    """Makes the table of errors per limb joint, left and right together: mm about the hips, and per cent of the stature
    in the picture."""
    parts = [real_fit.joint_errors(clip, track) for clip, track in zip(clips, tracks, strict=True)]
    pairs = [np.concatenate(columns).reshape(-1, len(LIMBS) // 2, 2) for columns in zip(*parts, strict=True)]
    mm, share = (
        [f"{a:.1f} / {b:.1f}" for a, b in zip(p.mean((0, 2)), np.median(p, (0, 2)), strict=True)] for p in pairs
    )
    names = [name.removeprefix("l_") for name in LIMBS[::2]]
    return Table([f"{what}: mean / median", *names], [["mm about the hips", *mm], ["2-D %", *share]])


def _sheets(clips: list[Clip], tracks: list[Track], body, folder: Path) -> list[str]:
    """Draws sheets of the best, median, worst and evenly spread frames of all cameras, by error after Procrustes.

    Returns the paths of the pictures.
    """
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
    """The first SHOWN pieces of which no two are near in time and of the same camera."""
    chosen: list[Piece] = []
    for piece in pieces:
        near = [one for one in chosen if one[1] is piece[1] and abs(one[3] - piece[3]) < APART]
        if not near and len(chosen) < SHOWN:
            chosen.append(piece)
    return chosen


@contextmanager
def bundle_folder(name: str) -> Iterator[Path]:
    """Finds a bundle's folder, or makes a temporary one of a checkpoint. Raises UserError."""
    if Path(name).suffix != ".pt":
        from refit_rt.bundle.read import find_bundle

        yield find_bundle(name)
        return
    from refit_rt.bundle.checkpoint import export_checkpoint

    with tempfile.TemporaryDirectory() as folder:
        export_checkpoint(Path(name), Path(folder) / "bundle", "none")
        yield Path(folder) / "bundle"


def main() -> int:
    """The command line. Returns the exit code."""
    settings = tyro.cli(Verb, description=__doc__)  # type: ignore[call-overload]
    match settings:
        case Benchmark():
            parts = benchmark(settings)
        case Real():
            parts = real(settings)
        case Boxes():
            parts = boxes(settings)
        case People():
            parts = people(settings)
        case Pictures():
            parts = pictures(settings)
    command = command_line("training.evaluate") if settings.markdown else ""
    return run(lambda: print_parts(parts, command))


if __name__ == "__main__":
    sys.exit(main())
