"""Makes the reference of a real clip: limb joints triangulated from calibrated videos with a 2-D detector.

`python -m training.evaluation.real_clip FOLDER --calibration FILE --reference OUT.npz --detector-python PYTHON` runs
mediapipe (`detect_landmarks.py`, in a Python that has it) on every video of the folder and intersects the rays. The
joints are mediapipe's own. The free body, posed and shaped freely to fit them on the treadmill recording, keeps an
error of 17 mm (16 after Procrustes); SMPL's hips lie closer together and lower than in either. Mediapipe's network is
the edge model's backbone, so only the use of several cameras makes the reference independent of the model.
"""

import logging
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path

import numpy as np
import tyro

from refit_rt.cameras import Rig, read_rig
from refit_rt.errors import UserError
from refit_rt.files import write_whole
from training.reporting import run

log = logging.getLogger(__name__)
LIMBS = tuple(f"{side}_{part}" for part in ("shoulder", "elbow", "wrist", "hip", "knee", "ankle") for side in "lr")
SMPL_LIMBS = np.array([16, 17, 18, 19, 20, 21, 1, 2, 4, 5, 7, 8])  # of the body's 24 joints
MEDIAPIPE_LIMBS = np.array([11, 12, 13, 14, 15, 16, 23, 24, 25, 26, 27, 28])  # of mediapipe's 33 landmarks
L_HIP, R_HIP = 6, 7  # rows of LIMBS
ARMS = slice(0, 6)  # rows of LIMBS that are visible even at a desk
OFTEN = 0.25  # least share of the frames in which the cameras agree on a joint; else the joint is not known
SEEN = 0.3  # least median visibility of a known joint in the second-best camera
FEWER = 1.5  # leaving out a camera must improve the agreement by this factor, as three agree more easily than four
HIDDEN = 0.05  # weight of a landmark that the detector only guesses
MIRRORED = 0.5  # a pair is swapped if that takes its distance from where all cameras place it below this share
WRONG_M = 0.06  # metres at the joint: with a larger disagreement, the joint is interpolated in time
TORSO_AND_LEG = 0.779  # shank + thigh + (mid-hip to mid-shoulder) over stature (Drillis and Contini 1966)
ARM = 0.332  # upper arm and forearm over stature (the same source)


@dataclass(frozen=True, slots=True, eq=False)
class Reference:
    """The triangulated limb joints of a clip, and the detector's landmarks."""

    points: np.ndarray  # (frame, 12, 3) world metres; NaN in every frame: a joint that the cameras do not see
    residual_px: np.ndarray  # (frame, 12) largest distance from the detections in the cameras used; NaN: interpolated
    landmarks_px: np.ndarray  # (camera, frame, 33, 2) detections, pixels of the video; NaN: no person found
    visibility: np.ndarray  # (camera, frame, 33) 0..1
    cameras: tuple[str, ...]
    fps: float

    @property
    def limbs_px(self) -> np.ndarray:
        """The detector's limb joints (camera, frame, 12, 2)."""
        return self.landmarks_px[:, :, MEDIAPIPE_LIMBS]

    @property
    def height_m(self) -> float:
        """The stature in metres, from the lengths of the triangulated bones: those of trunk and legs in any posture, or
        those of the arms if the legs are not visible."""
        at = {name: self.points[:, row] for row, name in enumerate(LIMBS)}

        def bone(a: str, b: str) -> float:
            return float(np.nanmedian(np.linalg.norm(at[a] - at[b], axis=-1)))

        if not np.isfinite(self.points).all():
            arms = [bone(f"{s}_shoulder", f"{s}_elbow") + bone(f"{s}_elbow", f"{s}_wrist") for s in "lr"]
            return float(np.mean(arms)) / ARM
        legs = np.mean([bone(f"{s}_hip", f"{s}_knee") + bone(f"{s}_knee", f"{s}_ankle") for s in "lr"])
        middle = (self.points[:, 0] + self.points[:, 1] - self.points[:, L_HIP] - self.points[:, R_HIP]) / 2
        return float(legs + np.nanmedian(np.linalg.norm(middle, axis=-1))) / TORSO_AND_LEG


def video_of(folder: Path, camera: str) -> Path:
    """Finds the video of a camera in a folder. Raises UserError if there is none."""
    for ending in (".mp4", ".avi", ".mkv", ".mov"):
        if (folder / f"{camera}{ending}").is_file():
            return folder / f"{camera}{ending}"
    raise UserError(f"{folder}: holds no video {camera}.mp4, which the calibration names. Give the rig's videos")


def detect(video: Path, python: str) -> dict[str, np.ndarray]:
    """Runs mediapipe on a video in another Python. Returns landmarks_px (T, 33, 2), visibility (T, 33) and fps. Raises
    UserError."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "landmarks.npz"
        command = [python, str(Path(__file__).with_name("detect_landmarks.py")), str(video), str(out)]
        try:
            subprocess.run(command, check=True, capture_output=True, text=True)
        except FileNotFoundError as error:
            raise UserError(f"{python}: no such Python. Give one that has mediapipe: --detector-python") from error
        except subprocess.CalledProcessError as error:
            last = (error.stderr.strip().splitlines() or ["no message"])[-1]
            raise UserError(
                f"{video}: the detector failed ({last}). Install mediapipe==0.10.21 for {python}"
            ) from error
        with np.load(out) as archive:
            return dict(archive)


def whole_rig(path: Path) -> Rig:
    """Reads a calibration of at least two cameras. Raises UserError."""
    rig = read_rig(path)
    if len(rig) < 2:
        raise UserError(f"{path}: holds {len(rig)} camera, but triangulation needs two or more. Give the whole rig")
    return rig


def triangulate(cameras: Rig, pixels: np.ndarray, weight: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Triangulates pixels (camera, P, 2) with weights (camera, P) into points (P, 3) world metres, residuals (P,) px.

    Each point uses all cameras, or, where they disagree, all but one (but at least three), because one view often
    confuses left and right. Points seen by too few cameras are NaN. The triangulation is linear (Hartley and Zisserman,
    12.2).
    """
    rays = np.stack([camera.rays(view) for camera, view in zip(cameras, pixels, strict=True)])
    place = np.stack([camera.camera_from_world[:3] for camera in cameras])
    focal_px = np.array([camera.matrix[0, 0] for camera in cameras])
    count = len(cameras)
    points = np.full((pixels.shape[1], 3), np.nan)
    residual, best = np.full(pixels.shape[1], np.nan), np.full(pixels.shape[1], np.inf)
    for size in range(count, max(count - 1, min(count, 3)) - 1, -1):
        for chosen in map(list, combinations(range(count), size)):
            where = np.isfinite(rays[chosen]).all((0, 2))
            found, worst = _intersect(rays[chosen][:, where], weight[chosen][:, where], place[chosen], focal_px[chosen])
            score = worst * (1 if size == count else FEWER)
            better = score < best[where]
            at = np.flatnonzero(where)[better]
            points[at], residual[at], best[at] = found[better], worst[better], score[better]
    return points, residual


def _intersect(
    rays: np.ndarray, weight: np.ndarray, place: np.ndarray, focal_px: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Intersects rays (C, P, 2), with weight (C, P) and place (C, 3, 4) -> points (P, 3), largest errors (P,) px."""
    rows = rays[..., None] * place[:, None, 2:] - place[:, None, :2]  # (C, P, 2, 4)
    rows = (rows * weight[..., None, None]).transpose(1, 0, 2, 3).reshape(rays.shape[1], -1, 4)
    solution = np.linalg.svd(rows)[2][:, -1]
    points = solution[:, :3] / solution[:, 3:]
    seen = np.einsum("cij,pj->cpi", place[:, :, :3], points) + place[:, None, :, 3]
    error = np.linalg.norm(seen[..., :2] / seen[..., 2:] - rays, axis=-1) * focal_px[:, None]
    return points, error.max(0)


def make_reference(folder: Path, cameras: Rig, python: str) -> Reference:
    """Detects landmarks in every video and triangulates them. Raises UserError for a missing video, a failing detector
    or videos that do not fit the calibration."""
    videos = [video_of(folder, camera.name) for camera in cameras]
    views = []
    for video in videos:
        log.info("%s: detecting landmarks", video.name)
        views.append(detect(video, python))
    frames = min(len(view["landmarks_px"]) for view in views)
    landmarks = np.stack([view["landmarks_px"][:frames] for view in views])
    visibility = np.stack([view["visibility"][:frames] for view in views])
    points, residual = limbs_of(cameras, landmarks[:, :, MEDIAPIPE_LIMBS], visibility[:, :, MEDIAPIPE_LIMBS])
    names = tuple(camera.name for camera in cameras)
    return Reference(points, residual, landmarks, visibility, names, float(views[0]["fps"]))


def limbs_of(cameras: Rig, pixels: np.ndarray, visibility: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Triangulates limb joints px (camera, frame, 12, 2) with their visibility (camera, frame, 12).

    Returns world points (frame, 12, 3) metres and residuals (frame, 12) px. Detectors confuse front and back, and left
    and right legs: a pair is swapped where the cameras together agree better with it swapped. Points that remain in
    doubt are interpolated in time and have residual NaN. Joints that no two cameras see, or on which they rarely agree,
    such as the legs of a person at a desk, are NaN in every frame. Raises UserError if shoulders, elbows or wrists are
    among them.
    """
    count, frames = pixels.shape[:2]
    weight = (visibility + HIDDEN).reshape(count, -1)
    points, residual = triangulate(cameras, pixels.reshape(count, -1, 2), weight)
    pixels = unmirrored(cameras, pixels, points.reshape(frames, -1, 3))
    points, residual = triangulate(cameras, pixels.reshape(count, -1, 2), weight)
    points, residual = points.reshape(frames, -1, 3), residual.reshape(frames, -1)
    doubtful = ~(residual < WRONG_M * px_per_metre(cameras, points))
    second = np.sort(visibility, 0)[-2]  # (frame, 12): low where the cameras agree only because they guess alike
    unknown = ((~doubtful).mean(0) < OFTEN) | (np.median(second, 0) < SEEN)
    if unknown[ARMS].any():
        names = ", ".join(name for name, lost in zip(LIMBS, unknown, strict=True) if lost)
        raise UserError(f"the cameras never agree on {names}. Check that videos and calibration belong together")
    points[:, unknown] = np.nan
    for joint in np.flatnonzero(~unknown):
        known = np.flatnonzero(~doubtful[:, joint])
        for axis in range(3):
            points[:, joint, axis] = np.interp(np.arange(frames), known, points[known, joint, axis])
    return points, np.where(doubtful, np.nan, residual)


def px_per_metre(cameras: Rig, points: np.ndarray) -> np.ndarray:
    """The size in px of a metre at world points (..., 3), averaged over the cameras."""
    return np.mean([camera.matrix[0, 0] / np.maximum(camera.camera(points)[..., 2], 0.1) for camera in cameras], 0)


def unmirrored(cameras: Rig, pixels: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Exchanges left and right in pixels (camera, frame, 12, 2) where that fits points (frame, 12, 3) better."""
    out = pixels.copy()
    swapped = pixels.reshape(*pixels.shape[:2], -1, 2, 2)[:, :, :, ::-1].reshape(pixels.shape)
    for view, camera in enumerate(cameras):
        expected = camera.project(points)

        def off(these: np.ndarray, expected: np.ndarray = expected) -> np.ndarray:
            return np.linalg.norm(these - expected, axis=-1).reshape(len(points), -1, 2).sum(-1)

        exchange = np.repeat(off(swapped[view]) < MIRRORED * off(pixels[view]), 2, axis=1)
        out[view][exchange] = swapped[view][exchange]
    return out


def save_reference(path: Path, reference: Reference) -> None:
    """Writes a reference to an .npz file. Raises UserError."""
    entries = {name: np.asarray(getattr(reference, name)) for name in Reference.__dataclass_fields__}
    with write_whole(path) as part, part.open("wb") as file:
        np.savez_compressed(file, **entries)  # type: ignore[arg-type]


def load_reference(path: Path) -> Reference:
    """Reads a file of `save_reference`. Raises UserError."""
    verb = "python -m training.evaluation.real_clip"
    make = f"Make it: {verb} FOLDER --calibration FILE --reference FILE --detector-python PYTHON"
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
            entries = {name: archive[name] for name in Reference.__dataclass_fields__}
    except Exception as error:  # numpy, zipfile and zlib each raise their own when the file is missing or damaged
        raise UserError(f"{path}: not a clip's reference ({error}). {make}") from error
    entries["cameras"], entries["fps"] = tuple(map(str, entries["cameras"])), float(entries["fps"])
    return Reference(**entries)


@dataclass(frozen=True)
class Arguments:
    """Makes the reference of a clip."""

    folder: tyro.conf.Positional[Path]
    """Folder of synchronised videos, one per camera, named as in the calibration."""
    calibration: Path
    """The rig's file, in any format that refit_rt reads."""
    reference: Path
    """The reference to write (.npz)."""
    detector_python: str = "python3"
    """A Python that has mediapipe 0.10.21."""


def main(arguments: Arguments) -> None:
    """Makes and writes a reference, and reports how well the cameras agree. Raises UserError."""
    reference = make_reference(arguments.folder, whole_rig(arguments.calibration), arguments.detector_python)
    save_reference(arguments.reference, reference)
    sure = np.isfinite(reference.residual_px)
    middle, high = np.nanpercentile(reference.residual_px, [50, 90])
    log.info("%d frames; the cameras agree on %.1f %% of the joints", len(sure), 100 * sure.mean())
    log.info("residual: median %.1f px, 90 %% below %.1f px; stature %.2f m", middle, high, reference.height_m)


if __name__ == "__main__":
    sys.exit(run(lambda: main(tyro.cli(Arguments))))
