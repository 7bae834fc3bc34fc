"""The verb `measure`: a recording of a person → the file of that person's shape."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import msgspec
import numpy as np
from tyro.conf import Positional, arg

from refit_rt.commands.shared import File, say
from refit_rt.config import Camera, Capture, Detect, Fit, Settings, Smooth, Track
from refit_rt.errors import UserError

if TYPE_CHECKING:
    from refit_rt.body.shape import Shape
    from refit_rt.body.smpl import Body
    from refit_rt.types import People

LEAST_FRAMES = 10


def measure(
    source: Positional[Annotated[str, arg(metavar="SOURCE")]],
    /,
    *,
    out: File,
    capture: Capture,
    camera: Camera,
    detect: Detect,
    track: Track,
    fit: Fit,
) -> int:
    """Measure a person's shape in a recording, for --fit.shapes.

    The person in most of the frames is measured, in every frame of a video or a folder of pictures. One camera shows
    neither how tall a person is nor how long the limbs are: give the height with --fit.stature-m.

    Args:
        source: A video, or a folder of pictures that are the frames of one.
        out: The shape file to write (.json).
    """
    from refit_rt.body.shape import write_shape

    if Path(out).suffix != ".json":
        raise UserError(f"--out {out}: a shape file is called NAME.json")
    settings = Settings(
        capture=msgspec.structs.replace(capture, source=source, pace="lossless"),
        camera=camera,
        detect=detect,
        track=track,
        fit=msgspec.structs.replace(fit, shapes={}),
        smooth=Smooth(enabled=False),
    )
    body, seen = watched(settings)
    shape = shape_of(seen, body, fit.stature_m)
    write_shape(Path(out).expanduser(), shape)
    known = "as given" if fit.stature_m else "about average: give the true one with --fit.stature-m"
    say(f"{out}: {shape.frames} frames in {shape.seconds:.1f} s; stature {shape.stature_m:.2f} m, {known}")
    say(f"Use it with --fit.shapes all {out}")
    return 0


@dataclass(slots=True)
class Seen:
    """The fits of one person."""

    times_s: list[float] = field(default_factory=list)
    betas: list[np.ndarray] = field(default_factory=list)  # (10,) each
    weights: list[float] = field(default_factory=list)


def watched(settings: Settings) -> tuple["Body", Seen]:
    """The body, and the fits of the person in most of the frames.

    Raises UserError for a source that cannot be read, and where no person is in view for long enough.
    """
    from refit_rt.capture import open_source
    from refit_rt.follow import load_follower
    from refit_rt.opening import repeatable

    source = open_source(settings.capture, lossless=True)
    try:
        follower = load_follower(repeatable(settings))
        people: dict[int, Seen] = {}
        for frame in source:
            note(people, follower.step(frame)[1])
    finally:
        source.close()
    most = max(people.values(), key=lambda one: len(one.betas), default=Seen())
    if len(most.betas) < LEAST_FRAMES:
        raise UserError(
            f"{settings.capture.source}: shows a person in {len(most.betas)} frames, and {LEAST_FRAMES} are needed. "
            "Give a longer recording, with one person well in view"
        )
    return follower.fitter.body, most


def note(people: dict[int, Seen], found: "People") -> None:
    """Adds the fits of a frame to those of each person, weighted by how sure they are."""
    for person, betas, confidence in zip(found.ids.tolist(), found.betas, found.confidence.tolist(), strict=True):
        one = people.setdefault(person, Seen())
        one.times_s.append(found.time_s)
        one.betas.append(betas)
        one.weights.append(confidence / max(1 - confidence, 0.01))  # the inverse square of the predicted error


def shape_of(seen: Seen, body: "Body", stature_m: float) -> "Shape":
    """The weighted mean of a person's fits, as tall as the person is if that is known (0: it is not)."""
    from refit_rt.body.shape import Shape
    from refit_rt.body.stature import Stature

    betas = np.average(seen.betas, axis=0, weights=seen.weights)
    if stature_m:
        betas = Stature(body, stature_m).made(betas, np.zeros(3))[0]
    return Shape(
        betas=[round(float(beta), 4) for beta in betas],
        stature_m=round(Stature(body, 0.0).of(np.asarray(betas)), 4),
        body=body.name,
        body_sha256=body.digest,
        frames=len(seen.betas),
        seconds=round(seen.times_s[-1] - seen.times_s[0], 3),
    )
