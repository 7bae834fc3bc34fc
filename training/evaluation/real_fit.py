"""The runtime on real clips: every frame of every camera fitted as `refit-rt run` fits it, against a triangulation."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import msgspec
import numpy as np

from refit_rt import config
from refit_rt.bundle.read import load_bundle
from refit_rt.cameras import Camera
from refit_rt.errors import UserError
from refit_rt.fit.fitter import Fitter
from refit_rt.fit.smooth import Smoother
from refit_rt.runners.make import make_runner
from refit_rt.types import Frame, Tracks
from training.evaluation import metrics
from training.evaluation.real_clip import SMPL_LIMBS, Reference, video_of

SHOULDERS, HIPS = [11, 12], [23, 24]  # mediapipe landmarks


@dataclass(frozen=True, slots=True)
class Way:
    """How a clip is fitted."""

    warm: bool
    iterations: int
    every: int  # frames: 1 fits each frame, 2 each second one
    blend: float = 0.7
    sent: bool = False  # after refit_rt.fit.smooth, as a subscriber gets it


@dataclass(frozen=True, slots=True, eq=False)
class Clip:
    """One camera's view: pictures in memory and the truth."""

    camera: Camera
    frames: list[np.ndarray]  # each (height, width, 3) BGR
    limbs: np.ndarray  # (frame, 12, 3) metres, camera frame; NaN: a joint that the reference does not know
    limbs_px: np.ndarray  # (frame, 12, 2)
    boxes: np.ndarray  # (frame, 4) xyxy round the detector's landmarks
    roll: np.ndarray  # (frame,) radians, of the detector's torso
    height_px: np.ndarray  # (frame,) the person's stature at the person's depth
    fps: float


@dataclass(frozen=True, slots=True, eq=False)
class Track:
    """What a way of fitting made of one clip."""

    frames: np.ndarray  # (T,) index of each fitted frame
    joints: np.ndarray  # (T, 24, 3) metres, camera frame
    joints_px: np.ndarray  # (T, 24, 2)
    poses: np.ndarray  # (T, 24, 3) axis-angle
    betas: np.ndarray  # (T, 10)
    trans: np.ndarray  # (T, 3) metres
    confidence: np.ndarray  # (T,)

    def every(self, step: int) -> "Track":
        """Each step-th frame of it."""
        return Track(*(getattr(self, name)[::step] for name in Track.__dataclass_fields__))


def load_clip(folder: Path, camera: Camera, reference: Reference) -> Clip:
    """Raises UserError when the folder lacks the video, or the reference is another rig's."""
    if camera.name not in reference.cameras:
        raise UserError(f"the reference knows {', '.join(reference.cameras)}, not {camera.name}: make it of this rig")
    row = reference.cameras.index(camera.name)
    path = video_of(folder, camera.name)
    video, frames = cv2.VideoCapture(str(path)), []
    while len(frames) < len(reference.points):
        good, image = video.read()
        if not good:
            raise UserError(f"{path}: {len(frames)} frames, its reference has {len(reference.points)}. Make it anew")
        frames.append(image)
    limbs = camera.camera(reference.points)
    marks = held(reference.landmarks_px[row])
    up = marks[:, SHOULDERS].mean(1) - marks[:, HIPS].mean(1)
    depth = limbs[:, metrics.root_of(metrics.known_of(limbs)), 2].mean(1)
    return Clip(
        camera=camera,
        frames=frames,
        limbs=limbs,
        limbs_px=camera.project(reference.points),
        boxes=np.concatenate([marks.min(1), marks.max(1)], 1),
        roll=np.arctan2(up[:, 0], -up[:, 1]),
        height_px=reference.height_m * camera.focal_px / depth,
        fps=reference.fps,
    )


def held(marks: np.ndarray) -> np.ndarray:
    """Landmarks (T, 33, 2) with frames where no one was found (NaN) taken from the nearest frame. Raises UserError."""
    known = np.flatnonzero(np.isfinite(marks).all((1, 2)))
    if not len(known):
        raise UserError("the reference's detector found no one in one of the cameras: make it anew")
    return marks[known[np.abs(np.arange(len(marks))[:, None] - known).argmin(1)]]


def fit_clip(clip: Clip, fitter: Fitter, every: int, smoother: Smoother | None = None) -> Track:
    """Fits every n-th frame in order. The detector's box serves cold frames only, as the runtime's own would."""
    rows = [_fit_frame(clip, fitter, smoother, index) for index in range(0, len(clip.frames), every)]
    columns = [np.stack(column) for column in zip(*rows, strict=True)]
    return Track(np.arange(0, len(clip.frames), every), *columns)


def _fit_frame(clip: Clip, fitter: Fitter, smoother: Smoother | None, index: int) -> Iterator[np.ndarray]:
    time_s = index / clip.fps
    frame = Frame(clip.camera.name, index, time_s, time_s, clip.frames[index])
    one = slice(index, index + 1)
    tracks = Tracks(frame, np.ones(1, np.int64), clip.boxes[one].astype(np.float32), clip.roll[one].astype(np.float32),
                    np.ones(1, np.float32), np.zeros(1, bool))  # fmt: skip
    people = fitter.fit(tracks, clip.camera)
    people = smoother.smooth(people, clip.camera) if smoother else people
    return (part[0] for part in (people.joints_camera, people.joints_px, people.poses, people.betas, people.trans,
                                 people.confidence))  # fmt: skip


def scores(clip: Clip, track: Track) -> dict[str, np.ndarray]:
    """Of one clip: each measure, (frame,) or, for jitter, (frame - 2,). Of the joints that the reference knows."""
    limbs, truth = track.joints[:, SMPL_LIMBS].astype(float), clip.limbs[track.frames]
    known = metrics.known_of(clip.limbs)
    root = metrics.root_of(known)
    mpjpe, aligned = metrics.limb_errors_mm(limbs, truth)
    off_px = np.linalg.norm(track.joints_px[:, SMPL_LIMBS] - clip.limbs_px[track.frames], axis=-1)[:, known].mean(1)
    middle, true_middle = limbs[:, root].mean(1), truth[:, root].mean(1)
    return {
        "mpjpe": mpjpe,
        "pa": aligned,
        "px": 100 * off_px / clip.height_px[track.frames],
        "jitter": metrics.acceleration_mm((limbs - middle[:, None])[:, known]),
        "true_jitter": metrics.acceleration_mm((truth - true_middle[:, None])[:, known]),
        "shake": metrics.acceleration_mm(middle[:, None]),
        "depth": 1000 * (middle - true_middle)[:, 2],
        "size": 100 * metrics.size_share(limbs, truth),
        "turned": 100.0 * (metrics.turned_rad(limbs, truth) > metrics.MIRRORED_RAD),
        "confidence": track.confidence,
    }


def joint_errors(clip: Clip, track: Track) -> tuple[np.ndarray, np.ndarray]:
    """Of each limb joint, (T, 12): mm about the middle of the hips or shoulders, and per cent of the stature in the
    picture. NaN: not known."""
    limbs, truth = track.joints[:, SMPL_LIMBS], clip.limbs[track.frames]
    root = metrics.root_of(metrics.known_of(clip.limbs))
    off = (limbs - limbs[:, root].mean(1, keepdims=True)) - (truth - truth[:, root].mean(1, keepdims=True))
    off_px = track.joints_px[:, SMPL_LIMBS] - clip.limbs_px[track.frames]
    height = clip.height_px[track.frames, None]
    return 1000 * np.linalg.norm(off, axis=-1), 100 * np.linalg.norm(off_px, axis=-1) / height


class Runtime:
    """A bundle on its runner, ready to start one fitter after the other."""

    def __init__(self, folder: Path, like: config.Fit) -> None:
        """like: all that a way of fitting leaves open. Raises UserError for a bundle that cannot be used."""
        bundle = load_bundle(folder)
        self.body = bundle.body
        self._crop, self._like, self._runner = bundle.crop, like, make_runner(like, bundle)

    def fitter(self, way: Way) -> Fitter:
        """One that remembers no one."""
        settings = msgspec.structs.replace(self._like, warm=way.warm, iterations=way.iterations, blend=way.blend,
                                           **({} if way.warm else {"cold_iterations": way.iterations}))  # fmt: skip
        return Fitter(settings, self._runner, self.body, self._crop)

    def fit(self, clips: list[Clip], way: Way) -> list[Track]:
        """Each clip by itself."""
        return [
            fit_clip(clip, self.fitter(way), way.every, Smoother(config.Smooth(), self.body) if way.sent else None)
            for clip in clips
        ]
