"""Fits every frame of every camera of a real clip as `refit-rt run` does, and compares it with a triangulation."""

from dataclasses import dataclass
from pathlib import Path

import cv2
import msgspec
import numpy as np

from refit_rt import config
from refit_rt.bundle.read import load_bundle
from refit_rt.cameras import Camera, lens
from refit_rt.detect.closer import Closer
from refit_rt.errors import UserError
from refit_rt.fit.fitter import Fitter
from refit_rt.fit.load import errors_of
from refit_rt.fit.smooth import Smoother
from refit_rt.runners.make import make_runner
from refit_rt.track.one_camera import clipped
from refit_rt.types import Frame, Known, People, Tracks
from training.evaluation import metrics
from training.evaluation.real_clip import SMPL_LIMBS, Reference, video_of

SHOULDERS, HIPS = [11, 12], [23, 24]  # mediapipe landmarks


@dataclass(frozen=True, slots=True)
class Way:
    """A way to fit a clip."""

    warm: bool
    iterations: int
    every: int  # 1 fits every frame, 2 every other one
    blend: float = 0.7
    published: bool = False  # on the detector's key points and after refit_rt.fit.smooth, as subscribers receive it
    refit: bool = True  # a cold fit that is sure is repeated where it found the body, as in the runtime


@dataclass(frozen=True, slots=True, eq=False)
class Clip:
    """One camera's view of a clip: its pictures, in memory, and the truth."""

    camera: Camera
    frames: list[np.ndarray]  # each (height, width, 3) BGR
    limbs: np.ndarray  # (frame, 12, 3) metres, camera frame; NaN: a joint that the reference does not know
    limbs_px: np.ndarray  # (frame, 12, 2)
    boxes: np.ndarray  # (frame, 4) xyxy around the detector's landmarks
    roll: np.ndarray  # (frame,) radians by which the detected torso leans
    height_px: np.ndarray  # (frame,) the person's stature at the person's depth
    fps: float


@dataclass(frozen=True, slots=True, eq=False)
class Track:
    """The fitted bodies of one clip."""

    frames: np.ndarray  # (T,) index of each fitted frame
    joints: np.ndarray  # (T, 24, 3) metres, camera frame
    joints_px: np.ndarray  # (T, 24, 2)
    poses: np.ndarray  # (T, 24, 3) axis-angle
    betas: np.ndarray  # (T, 10)
    trans: np.ndarray  # (T, 3) metres
    confidence: np.ndarray  # (T,)

    def every(self, step: int) -> "Track":
        """Every step-th frame of this track."""
        return Track(*(getattr(self, name)[::step] for name in Track.__dataclass_fields__))


def load_clip(folder: Path, camera: Camera, reference: Reference) -> Clip:
    """Reads one camera's video and its truth. Raises UserError if the video is missing or too short, or if the
    reference belongs to another rig."""
    if camera.name not in reference.cameras:
        names = ", ".join(reference.cameras)
        raise UserError(f"the reference has cameras {names}, but not {camera.name}. Make it again for this rig")
    row = reference.cameras.index(camera.name)
    path = video_of(folder, camera.name)
    video, frames = cv2.VideoCapture(str(path)), []
    while len(frames) < len(reference.points):
        good, image = video.read()
        if not good:
            raise UserError(
                f"{path}: has {len(frames)} frames, but its reference has {len(reference.points)}. Make it again"
            )
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
    """Fills frames without a detection (NaN) in landmarks (T, 33, 2) from the nearest frame. Raises UserError if there
    are no others."""
    known = np.flatnonzero(np.isfinite(marks).all((1, 2)))
    if not len(known):
        raise UserError("one camera of the reference has no detections. Check its video, and make the reference again")
    return marks[known[np.abs(np.arange(len(marks))[:, None] - known).argmin(1)]]


def fit_clip(
    clip: Clip, fitter: Fitter, every: int, smoother: Smoother | None = None, closer: Closer | None = None
) -> Track:
    """Fits every n-th frame in order. Only cold frames use the detector's box, as in the runtime.

    closer: looks as often as the runtime's, for the key points; None: there are none.
    """
    rows, looked_s = [], -np.inf
    where = clip.boxes[0], float(clip.roll[0])  # the person of the frame before
    for index in range(0, len(clip.frames), every):
        time_s = index / clip.fps
        frame = Frame(clip.camera.name, index, time_s, time_s, clip.frames[index])
        seen = None
        if closer is not None and time_s - looked_s >= config.Fit().look_s - 1e-6:
            seen, looked_s = keypoints_in(frame, *where, closer, clip.camera), time_s
        people = fitter.fit(_track(clip, frame, seen), clip.camera)
        where = clipped(people.box, frame.size)[0], float(people.roll[0])  # as the tracker has it
        rows.append(_columns(smoother.smooth(people, clip.camera) if smoother else people))
    columns = [np.stack(column) for column in zip(*rows, strict=True)]
    return Track(np.arange(0, len(clip.frames), every), *columns)


def keypoints_in(frame: Frame, xyxy: np.ndarray, roll: float, closer: Closer, camera: Camera) -> np.ndarray:
    """The key points (1, 17, 3) of the person around a box xyxy (4,) px, both in the picture without the lens's
    distortion; NaN: nobody is found there."""
    known = Known(np.ones(1, np.int64), xyxy[None], np.array([roll]))
    found = lens.straightened_boxes(closer.find(frame, lens.bent_known(known, camera)), camera)
    assert found.keypoints is not None
    return found.keypoints[found.score.argmax()][None]


def _track(clip: Clip, frame: Frame, seen: np.ndarray | None) -> Tracks:
    one = slice(frame.index, frame.index + 1)
    return Tracks(
        frame=frame,
        ids=np.ones(1, np.int64),
        xyxy=clip.boxes[one].astype(np.float32),
        roll=clip.roll[one].astype(np.float32),
        score=np.ones(1, np.float32),
        fresh=np.zeros(1, bool),
        keypoints=seen,
        looked_s=frame.time_s,
    )


def _columns(people: People) -> list[np.ndarray]:
    arrays = (
        people.joints_camera,
        people.joints_px,
        people.poses,
        people.betas,
        people.trans,
        people.confidence,
    )
    return [array[0] for array in arrays]


def scores(clip: Clip, track: Track) -> dict[str, np.ndarray]:
    """All measures of one clip, (T,) or, for jitter, (T - 2,) each, over the joints that the reference knows."""
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
        "true_shake": metrics.acceleration_mm(true_middle[:, None]),
        "depth": 1000 * (middle - true_middle)[:, 2],
        "size": 100 * metrics.size_share(limbs, truth),
        "turned": 100.0 * (metrics.turned_rad(limbs, truth) > metrics.MIRRORED_RAD),
        "confidence": track.confidence,
    }


def joint_errors(clip: Clip, track: Track) -> tuple[np.ndarray, np.ndarray]:
    """The errors of each limb joint (T, 12): mm about the middle of the hips or shoulders, and per cent of the stature
    in the picture. NaN: the joint is not known."""
    limbs, truth = track.joints[:, SMPL_LIMBS], clip.limbs[track.frames]
    root = metrics.root_of(metrics.known_of(clip.limbs))
    off = (limbs - limbs[:, root].mean(1, keepdims=True)) - (truth - truth[:, root].mean(1, keepdims=True))
    off_px = track.joints_px[:, SMPL_LIMBS] - clip.limbs_px[track.frames]
    height = clip.height_px[track.frames, None]
    return 1000 * np.linalg.norm(off, axis=-1), 100 * np.linalg.norm(off_px, axis=-1) / height


class Runtime:
    """A bundle on its runner, from which fitters are made."""

    def __init__(self, folder: Path, like: config.Fit) -> None:
        """like: the settings that a Way does not hold. Raises UserError for a bundle that cannot be used."""
        bundle = load_bundle(folder)
        self.body = bundle.body
        self.crop, self._like, self._runner = bundle.crop, like, make_runner(like, bundle)
        self._errors, self._closer = errors_of(bundle), Closer()

    def fitter(self, way: Way) -> Fitter:
        """Makes a fitter without memory."""
        settings = msgspec.structs.replace(self._like, warm=way.warm, iterations=way.iterations, blend=way.blend)
        if not way.warm:
            settings = msgspec.structs.replace(settings, cold_iterations=way.iterations)
        if not way.refit:
            settings = msgspec.structs.replace(settings, min_confidence=np.inf)  # then no fit is sure enough
        return Fitter(settings, self._runner, self.body, self.crop, errors=self._errors if way.published else None)

    def fit(self, clips: list[Clip], way: Way) -> list[Track]:
        """Fits each clip by itself."""
        closer = self._closer if way.published else None
        return [
            fit_clip(
                clip,
                self.fitter(way),
                way.every,
                Smoother(config.Smooth(), self.body) if way.published else None,
                closer,
            )
            for clip in clips
        ]
