"""Measures how the framing of a person moves the accuracy: squares are resized and shifted, and people fitted again."""

import logging
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from refit_rt import config
from refit_rt.body.smpl import Body
from refit_rt.bundle.read import Bundle, Crop
from refit_rt.cameras import Camera, Rig
from refit_rt.commands.bench.table import Table
from refit_rt.detect.movenet import THRESHOLD, MoveNet
from refit_rt.fit.crops import SHORT_TORSO, lean, square_of_body
from refit_rt.geometry import iou, project
from refit_rt.types import JOINTS, Square
from training.evaluation import real_fit
from training.evaluation.box_plot import Curve, draw
from training.evaluation.real_clip import SMPL_LIMBS, Reference
from training.evaluation.real_fit import Clip, Runtime, Way
from training.reporting import Caption, write_picture
from training.synthetic.generator import Assets, Generator, Sample

log = logging.getLogger(__name__)
SCALES = (0.6, 0.7, 0.8, 0.9, 1.0, 1.2, 1.4, 1.7, 2.0)
SHIFT = 0.15  # of the square's side
PART = 10  # followed frames: a person starts cold at every tenth
SEED, RENDERED_FPS = 15, 15.0  # of the rendered people, who are none of the benchmark's
LEAST_VISIBLE = 0.3  # rendered people of whom less is seen are left out: a detector would not find them
STATURE_M = 1.7  # for the errors in the picture, which this evaluation does not print
LEAST_OVERLAP = 0.3  # of the detector's box with the person's own (IoU)
BAND = (5, 95)  # percentiles of the detector's scales that the plot shades

PROTOCOL = """\
{what}: {parts} parts of at most {part} followed frames. Bundle: {bundle}, encoder in {precision}.
MPJPE has the middle of the hips as origin (of the shoulders, if the truth has no hips), over {joints} limb joints; PA
is the same after the best similarity; both are mean / median. "once" is a cold fit of {updates} updates in the square.
"twice" is what the live fitter does: if the first fit's confidence is at least {least:g}, it fits again in the square
of the body that was found, where that is another square. "sure" is the share of such first fits; a person without one
counts as lost. "followed" starts in this way and then has {live} updates per frame. It cuts these frames out around the
last body, so that the square matters to the start, which does not count, and where the person is lost. In the second
table each part is compared with itself in the person's own square, ± the standard error.
"""
BOXES = "Boxes: {source}; side and centre are then changed as each row says, or the box is the live detector's."
TRUE_BOXES = (
    "ground truth, {margin:g} times the extent of the true body as the live fitter cuts it, turned upright by it"
)
MEDIAPIPE_BOXES = "a detector's, {margin:g} times the longer side of mediapipe's 33 landmarks, turned upright by them"


@dataclass(frozen=True, slots=True)
class Framing:
    """How a square differs from the person's own."""

    scale: float = 1.0  # its side over the own one's
    right: float = 0.0  # shift in the picture, over the own side
    down: float = 0.0

    def __str__(self) -> str:
        if not (self.right or self.down):
            return f"{self.scale:g}"
        across, along = ("left", "right")[self.right > 0], ("up", "down")[self.down > 0]
        return f"{SHIFT:.0%} {across if self.right else along}"

    def of(self, boxes: np.ndarray, margin: float) -> np.ndarray:
        """Boxes (n, 4) xyxy, whose squares have `margin` times the longer side -> those of the changed squares."""
        longer = (boxes[:, 2:] - boxes[:, :2]).max(1, keepdims=True)
        centre = (boxes[:, :2] + boxes[:, 2:]) / 2 + longer * margin * np.array([self.right, self.down])
        return np.concatenate([centre - longer * self.scale / 2, centre + longer * self.scale / 2], 1)


OWN = Framing()
SIZES = tuple(Framing(scale) for scale in SCALES)
DETECTED = "detector's"
SHIFTS = (Framing(right=-SHIFT), Framing(right=SHIFT), Framing(down=-SHIFT), Framing(down=SHIFT))
LIVE = config.Fit()
ONCE, TWICE = Way(False, LIVE.cold_iterations, 1, refit=False), Way(False, LIVE.cold_iterations, 1)
FOLLOWED = Way(True, LIVE.iterations, 1, LIVE.blend)
MEANING = {"once": "first fit", "twice": "fitted twice (live)", "followed": "then followed"}
WAYS = {"once": ONCE, "twice": TWICE, "followed": FOLLOWED}


@dataclass(frozen=True, slots=True, eq=False)
class Errors:
    """The errors of each part in one framing and one way to fit, a row per fitted frame."""

    mpjpe: list[np.ndarray]
    pa: list[np.ndarray]
    sure: list[np.ndarray]

    def more_than(self, own: "Errors") -> np.ndarray:
        """How much larger PA-MPJPE is than in the person's own square, (part,) mm each."""
        pairs = zip(self.pa, own.pa, strict=True)
        return np.array([(mine - theirs).mean() for mine, theirs in pairs if len(mine)])


Found = dict[tuple[str, str], Errors]  # of a framing's name and a way's


@dataclass(frozen=True, slots=True, eq=False)
class Set:
    """People to fit, each part from a cold start of its own."""

    name: str  # of the plot's file
    what: str
    source: str  # of the boxes
    parts: list[Clip]
    cold_every: int  # every n-th frame is fitted cold
    step: int  # every n-th frame is followed


def real_set(folder: Path, cameras: Rig, reference: Reference, cold_every: int, step: int) -> Set:
    """A real clip, as `training.evaluate real` takes it. Raises UserError."""
    clips = [real_fit.load_clip(folder, camera, reference) for camera in cameras]
    what = f"{folder.name}, {len(clips)} cameras, {reference.fps / step:g} fps"
    return Set(folder.name, what, MEDIAPIPE_BOXES, parts_of(clips, PART * step), cold_every, step)


def rendered_set(people: int, assets: Assets, bundle: Bundle, cold_every: int) -> Set:
    """Rendered people who move in whole pictures. Raises UserError."""
    generator, parts = Generator(SEED, assets, held_out=True, whole=True), []
    for number in range(people):
        samples = generator.clip(PART, RENDERED_FPS, number)
        if min(sample.visible for sample in samples) >= LEAST_VISIBLE:
            parts.append(clip_of(f"person {number}", samples, bundle.body, bundle.crop))
    what = f"{len(parts)} rendered people, {RENDERED_FPS:g} fps"
    return Set("renders", what, TRUE_BOXES, parts, cold_every, 1)


def parts_of(clips: Iterable[Clip], frames: int) -> list[Clip]:
    """Cuts clips into parts of so many frames; a rest of less than a half is left out."""
    return [
        replace(clip, **{name: getattr(clip, name)[first : first + frames] for name in PER_FRAME})
        for clip in clips
        for first in range(0, max(len(clip.frames) - frames // 2, 1), frames)
    ]


PER_FRAME = ("frames", "limbs", "limbs_px", "boxes", "roll", "height_px")


def clip_of(name: str, samples: list[Sample], body: Body, crop: Crop) -> Clip:
    """A clip of whole rendered pictures, with the boxes of the product's own squares around the true bodies."""
    first, centre = samples[0], (float(samples[0].centre_px[0]), float(samples[0].centre_px[1]))
    joints = np.array([sample.joints for sample in samples], float)
    squares = [own_square(sample, body, crop) for sample in samples]
    sides = np.array([[square.side_px / crop.margin] for square in squares])
    centres = np.array([square.centre_px for square in squares])
    return Clip(
        camera=Camera(name, first.size, first.focal_px, centre),
        frames=[np.ascontiguousarray(sample.image[..., ::-1]) for sample in samples],
        limbs=joints[:, SMPL_LIMBS],
        limbs_px=project(joints[:, SMPL_LIMBS], first.focal_px, centre),
        boxes=np.concatenate([centres - sides / 2, centres + sides / 2], 1),
        roll=np.array([square.roll for square in squares]),
        height_px=STATURE_M * first.focal_px / joints[:, 0, 2],
        fps=RENDERED_FPS,
    )


def own_square(sample: Sample, body: Body, crop: Crop) -> Square:
    """The square that the live fitter cuts around the true body of a whole picture."""
    points = body.joints_and_markers(sample.rotations, sample.betas) + sample.trans
    points_px = project(points.astype(float), sample.focal_px, sample.centre_px)
    extent_px = float(np.ptp(points_px, axis=0).max())
    pelvis, neck = points_px[:JOINTS][[0, 12]]
    return square_of_body(points_px, lean(pelvis, neck, SHORT_TORSO * extent_px, 0.0), sample.size, crop)


def measure(runtime: Runtime, framed: dict[str, list[Clip]], cold_every: int, step: int) -> Found:
    """The errors of all framings and ways. Every n-th frame is fitted cold, every step-th is followed."""
    found = {}
    for name, parts in framed.items():
        log.info("%s", name)
        for kind, way in WAYS.items():
            found[name, kind] = _errors(runtime, parts, replace(way, every=step if way.warm else cold_every))
    return found


def framed_as(parts: Sequence[Clip], framings: Iterable[Framing], margin: float) -> dict[str, list[Clip]]:
    """The parts with changed boxes, by each framing's name."""
    return {str(one): [replace(part, boxes=one.of(part.boxes, margin)) for part in parts] for one in framings}


def _errors(runtime: Runtime, parts: list[Clip], way: Way) -> Errors:
    tracks = runtime.fit(parts, way)
    scores = [real_fit.scores(part, track) for part, track in zip(parts, tracks, strict=True)]
    first = 1 if way.warm else 0  # the start is a cold fit
    rows = {name: [score[name][first:] for score in scores] for name in ("mpjpe", "pa", "confidence")}
    return Errors(rows["mpjpe"], rows["pa"], [sure >= LIVE.min_confidence for sure in rows["confidence"]])


def detected(parts: Sequence[Clip], every: int, margin: float) -> tuple[list[Clip], np.ndarray]:
    """The parts with the boxes of the product's detector in every n-th frame, where it finds the person, and what these
    squares are in terms of Framing: side, shift right and down (n, 3)."""
    detector, others, rows = MoveNet(), [], []
    for part in parts:
        boxes = part.boxes.copy()
        for index in range(0, len(boxes), every):
            own = part.boxes[index]
            seen = detector.look(part.frames[index], THRESHOLD).xyxy
            overlap = iou(own[None].astype(np.float32), seen)[0]
            if overlap.max(initial=0) > LEAST_OVERLAP:
                box = boxes[index] = seen[overlap.argmax()]
                side, longer = (own[2:] - own[:2]).max(), (box[2:] - box[:2]).max()
                rows.append([longer / side, *((box[:2] + box[2:] - own[:2] - own[2:]) / 2 / (side * margin))])
        others.append(replace(part, boxes=boxes))
    return others, np.array(rows).reshape(-1, 3)


def report(clips: Set, folder: Path, like: config.Fit, plot: Path | None) -> Iterator[str | Table]:
    """Yields protocol and tables of a set of clips, and draws a plot into a folder. Raises UserError."""
    runtime, parts = Runtime(folder, like), clips.parts
    margin = runtime.crop.margin
    yield PROTOCOL.format(
        what=clips.what, parts=len(parts), part=PART, bundle=folder.name, precision=like.precision,
        joints=np.isfinite(parts[0].limbs).all((0, 2)).sum(), updates=LIVE.cold_iterations,
        least=LIVE.min_confidence, live=LIVE.iterations,
    )  # fmt: skip
    yield Caption(BOXES.format(source=clips.source.format(margin=margin)))
    live, seen = detected(parts, clips.cold_every, margin)
    framed = {**framed_as(parts, (*SIZES, *SHIFTS), margin), DETECTED: live}
    found = measure(runtime, framed, clips.cold_every, clips.step)
    yield _errors_table(found)
    yield _differences(found)
    yield _detector(seen, sum(len(range(0, len(part.frames), clips.cold_every)) for part in parts))
    if plot:
        means = {key: float(np.concatenate(errors.pa).mean()) for key, errors in found.items()}
        sizes, others = [str(one) for one in SIZES], [*(str(one) for one in SHIFTS), DETECTED]
        curves = [Curve(MEANING[name], *(np.array([means[one, name] for one in some]) for some in (sizes, others)))
                  for name in WAYS]  # fmt: skip
        band = np.percentile(seen[:, 0], BAND) if len(seen) else None
        write_picture(plot / f"{clips.name}.png", draw(clips.what, np.array(SCALES), others, curves, band))
        yield f"Plot: {plot / f'{clips.name}.png'}"


def _errors_table(found: Found) -> Table:
    heads = [f"{name}: {measure}" for name in WAYS for measure in ("MPJPE mm", "PA mm")]
    rows = []
    for framing in dict.fromkeys(name for name, _ in found):
        cells = []
        for name in WAYS:
            errors = found[framing, name]
            both = (np.concatenate(rows_of) for rows_of in (errors.mpjpe, errors.pa))
            cells += [f"{values.mean():.1f} / {np.median(values):.1f}" for values in both]
        rows.append([framing, *cells, f"{100 * np.concatenate(found[framing, 'once'].sure).mean():.0f}"])
    return Table(["side, shift", *heads, "sure %"], rows)


def _differences(found: Found) -> Table:
    """PA-MPJPE against that in the person's own square: the mean over parts, and its standard error."""
    rows = []
    for framing in dict.fromkeys(name for name, _ in found):
        more = [found[framing, name].more_than(found[str(OWN), name]) for name in WAYS]
        cells = [
            f"{one.mean():+.1f} ± {one.std(ddof=1) / np.sqrt(len(one)):.1f}" if len(one) > 1 else "-" for one in more
        ]
        rows.append([framing, *cells])
    return Table(["PA mm more than in the own square (side 1)", *WAYS], rows)


def _detector(seen: np.ndarray, parts: int) -> Table:
    """Where the squares of the product's detector lie."""
    rows = []
    for percent in (5, 50, 95):
        cells = [f"{value:.2f}" for value in np.percentile(seen, percent, axis=0)] if len(seen) else ["-"] * 3
        rows.append([f"{percent} % of them", *cells])
    return Table([f"detector's squares, {len(seen)} of {parts} found", "side", "right", "down"], rows)
