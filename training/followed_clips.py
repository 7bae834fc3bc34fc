"""Rendered clips of one person, followed by the product's fitter: the fits and the exact truth of every frame."""

import zipfile
from collections.abc import Iterable
from dataclasses import dataclass, fields
from pathlib import Path

import cv2
import numpy as np

from refit_rt.body.smpl import Body
from refit_rt.cameras import Camera
from refit_rt.errors import UserError
from refit_rt.files import write_whole
from refit_rt.fit.crops import SHORT_TORSO, lean
from refit_rt.fit.fitter import Fitter
from refit_rt.geometry import project
from refit_rt.types import BETAS, JOINTS, Frame, Tracks
from training.synthetic.generator import Generator, Sample
from training.synthetic.long_clip import film, long_movement

CURE = "Make some: python -m training.noise record"
RATES = (60.0, 30.0, 20.0, 15.0, 10.0, 6.0)  # frames per second
RATE_SHARES = (0.1, 0.35, 0.15, 0.15, 0.1, 0.15)
SEATED = 0.2  # share of clips at a desk
SECONDS, FRAMES = (3.5, 6.0), (40, 120)  # of a clip: the least and the most
NEAREST_M = 0.1  # points of a person behind or beside the lens are projected from this distance
UNSURE = 0.03  # deviation of a box's edges, in shares of its longer side
GRAINY, GRAIN = 0.65, (0.8, 7.0)  # share of clips with a sensor's noise, and its deviation in grey levels
PACKED, QUALITY = 0.55, (22, 95)  # share of clips that are compressed as JPEG, and its quality

# A recording's arrays, the shape of one frame of each.
SHAPES: dict[str, tuple[int, ...]] = {
    "poses": (JOINTS, 3),
    "betas": (BETAS,),
    "trans": (3,),
    "confidence": (),
    "true_rotations": (JOINTS, 3, 3),
    "true_betas": (BETAS,),
    "true_trans": (3,),
}


@dataclass(frozen=True, slots=True, eq=False)
class Recording:
    """One clip: what was fitted in each frame, and what is true. The camera stands still."""

    fps: float
    poses: np.ndarray  # (T, 24, 3) axis-angle, the root in the camera's frame
    betas: np.ndarray  # (T, 10)
    trans: np.ndarray  # (T, 3) metres, added to the posed body
    confidence: np.ndarray  # (T,) 0..1
    true_rotations: np.ndarray  # (T, 24, 3, 3), the root in the camera's frame
    true_betas: np.ndarray  # (T, 10)
    true_trans: np.ndarray  # (T, 3) metres

    def __len__(self) -> int:
        return len(self.confidence)

    def save(self, path: Path) -> None:
        """Writes an .npz. Raises UserError."""
        with write_whole(path) as part:
            np.savez_compressed(part, **{one.name: getattr(self, one.name) for one in fields(self)})

    @staticmethod
    def load(path: Path) -> "Recording":
        """Reads an .npz, in double precision. Raises UserError."""
        try:
            with path.open("rb") as file, np.load(file) as stored:  # given a path, numpy leaves a damaged file open
                arrays = {name: stored[name].astype(np.float64) for name in SHAPES}
                fps = float(stored["fps"])
        except (OSError, KeyError, ValueError, TypeError, EOFError, zipfile.BadZipFile) as error:
            raise UserError(f"{path}: not a recording ({error}). {CURE}") from error
        count = len(arrays["confidence"])
        if fps <= 0 or any(arrays[name].shape != (count, *shape) for name, shape in SHAPES.items()):
            raise UserError(f"{path}: not a recording (its arrays have other shapes). {CURE}")
        return Recording(fps, **arrays)


def load_recordings(folder: Path) -> list[Recording]:
    """All recordings of a folder, in the order of their names. Raises UserError."""
    paths = sorted(folder.glob("*.npz"))
    if not paths:
        raise UserError(f"{folder}: holds no recordings. {CURE}")
    return [Recording.load(path) for path in paths]


@dataclass(frozen=True, slots=True)
class Sensor:
    """How a camera degrades its pictures, the same way for a whole clip."""

    grain: float = 0.0  # deviation of its noise, grey levels
    quality: int | None = None  # of JPEG; None: not compressed

    @staticmethod
    def drawn(rng: np.random.Generator) -> "Sensor":
        """Draws a camera: most have noise, and half of them compress."""
        grain = float(np.exp(rng.uniform(*np.log(GRAIN)))) if rng.random() < GRAINY else 0.0
        return Sensor(grain, int(rng.integers(*QUALITY)) if rng.random() < PACKED else None)

    def picture(self, rng: np.random.Generator, image: np.ndarray) -> np.ndarray:
        """An image (height, width, 3) uint8 RGB as the camera sends it, BGR, with noise of its own."""
        seen = np.ascontiguousarray(image[..., ::-1])
        if self.grain:
            noise = rng.standard_normal(seen.shape, np.float32)
            seen = np.clip(np.rint(seen + self.grain * noise), 0, 255).astype(np.uint8)
        if self.quality is not None:
            packed = cv2.imencode(".jpg", seen, [cv2.IMWRITE_JPEG_QUALITY, self.quality])[1]
            seen = np.asarray(cv2.imdecode(packed, cv2.IMREAD_COLOR), np.uint8)
        return seen


def record(generator: Generator, fitter: Fitter, number: int) -> Recording:
    """Renders the clip of this number and follows it. The generator draws whole pictures."""
    rng = np.random.default_rng([*generator.key, 12, number])
    fps = float(rng.choice(RATES, p=RATE_SHARES))
    frames = int(np.clip(round(fps * rng.uniform(*SECONDS)), *FRAMES))
    moved = long_movement(rng, frames, fps, generator.body, generator.motion, seated=rng.random() < SEATED)
    return follow(film(generator, number, moved), fps, fitter, Sensor.drawn(rng), rng)


def follow(
    samples: Iterable[Sample], fps: float, fitter: Fitter, sensor: Sensor, rng: np.random.Generator
) -> Recording:
    """Follows the person of whole pictures from the first one on. Boxes, which are needed where the person is lost,
    are the true ones with errors like a detector's."""
    fitter.forget()
    rows = []
    for index, sample in enumerate(samples):
        centre_px = (float(sample.centre_px[0]), float(sample.centre_px[1]))
        camera = Camera("rendered", sample.size, sample.focal_px, centre_px)
        frame = Frame(camera.name, index, index / fps, index / fps, sensor.picture(rng, sample.image))
        people = fitter.fit(tracks_of(frame, sample, fitter.body, rng), camera)
        rows.append(
            {
                "poses": people.poses[0],
                "betas": people.betas[0],
                "trans": people.trans[0],
                "confidence": people.confidence[0],
                "true_rotations": sample.rotations,
                "true_betas": sample.betas,
                "true_trans": sample.trans,
            }
        )
    return Recording(fps, **{name: np.array([row[name] for row in rows], np.float32) for name in SHAPES})


def tracks_of(frame: Frame, sample: Sample, body: Body, rng: np.random.Generator) -> Tracks:
    """The person of a whole picture as a tracker reports it: the true box and roll, the box with an error."""
    points = body.joints_and_markers(sample.rotations.astype(float), sample.betas.astype(float)) + sample.trans
    points[:, 2] = np.maximum(points[:, 2], NEAREST_M)
    points_px = project(points, sample.focal_px, sample.centre_px)
    roll = lean(points_px[0], points_px[12], SHORT_TORSO * float(np.ptp(points_px, axis=0).max()), 0.0)
    shown_px = np.clip(points_px, 0, frame.size)
    box = np.concatenate([shown_px.min(0), shown_px.max(0)])
    box += rng.normal(0, UNSURE * float((box[2:] - box[:2]).max()), 4)
    return Tracks(
        frame=frame,
        ids=np.ones(1, np.int64),
        xyxy=box[None].astype(np.float32),
        roll=np.array([roll], np.float32),
        score=np.ones(1, np.float32),
        fresh=np.zeros(1, bool),
    )
