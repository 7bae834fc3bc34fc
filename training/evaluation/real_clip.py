"""A reference for real clips: limb joints triangulated from calibrated videos by an independent 2-D detector.

`python -m training.evaluation.real_clip FOLDER --calibration FILE --reference OUT.npz --detector-python PYTHON` runs
mediapipe (`detect_landmarks.py`, in a Python that has it) on every video of the folder and intersects the rays. The
joints are mediapipe's as they are: the free body, posed and shaped freely to fit those of the treadmill recording,
keeps 17 mm (16 after Procrustes); SMPL's own hips lie closer together and lower than either's. Mediapipe's network is
the edge model's backbone, so that only the other cameras make the reference independent of it.
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

log = logging.getLogger(__name__)
LIMBS = ("l_shoulder", "r_shoulder", "l_elbow", "r_elbow", "l_wrist", "r_wrist",
         "l_hip", "r_hip", "l_knee", "r_knee", "l_ankle", "r_ankle")  # fmt: skip
SMPL_LIMBS = np.array([16, 17, 18, 19, 20, 21, 1, 2, 4, 5, 7, 8])  # of the body's 24 joints
MEDIAPIPE_LIMBS = np.array([11, 12, 13, 14, 15, 16, 23, 24, 25, 26, 27, 28])  # of mediapipe's 33 landmarks
L_HIP, R_HIP = 6, 7  # rows of LIMBS
ARMS = slice(0, 6)  # rows of LIMBS: what even somebody at a desk shows
OFTEN = 0.25  # of the moments the cameras must agree on a joint; else it is not known at all
SEEN = 0.3  # visibility in the second-best camera, most of the time, of a joint that is known
FEWER = 1.5  # how much better one camera less must agree: three cameras agree more easily than four
HIDDEN = 0.05  # weight of a landmark that the detector only guesses
MIRRORED = 0.5  # a pair is swapped that, swapped, lies this much nearer to where the cameras together have it
WRONG_M = 0.06  # at the joint: those on which the cameras agree no better are taken from the moments around
TORSO_AND_LEG = 0.779  # shank + thigh + (mid-hip to mid-shoulder) over stature (Drillis and Contini 1966)
ARM = 0.332  # upper arm and forearm over stature (the same)


@dataclass(frozen=True, slots=True, eq=False)
class Reference:
    """Where the limb joints were, as far as the detector can say."""

    points: np.ndarray  # (frame, 12, 3) world metres; NaN in every frame: a joint that the cameras do not see
    residual_px: np.ndarray  # (frame, 12) worst distance from the detector's over the cameras used; NaN: interpolated
    landmarks_px: np.ndarray  # (camera, frame, 33, 2) the detector's, pixels of the video, NaN where no one was found
    visibility: np.ndarray  # (camera, frame, 33) 0..1
    cameras: tuple[str, ...]
    fps: float

    @property
    def limbs_px(self) -> np.ndarray:
        """(camera, frame, 12, 2) the detector's limb joints."""
        return self.landmarks_px[:, :, MEDIAPIPE_LIMBS]

    @property
    def height_m(self) -> float:
        """Stature as the triangulated bones have it: works for someone who bends, and by the arms of someone seated
        whose legs no one sees."""
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
    """Raises UserError when the folder holds no video of that camera."""
    for ending in (".mp4", ".avi", ".mkv", ".mov"):
        if (folder / f"{camera}{ending}").is_file():
            return folder / f"{camera}{ending}"
    raise UserError(f"{folder}: has no video {camera}.mp4, which the calibration names. Give the rig's videos")


def detect(video: Path, python: str) -> dict[str, np.ndarray]:
    """Mediapipe on a video, in another Python: landmarks_px (T, 33, 2), visibility (T, 33), fps. Raises UserError."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "landmarks.npz"
        command = [python, str(Path(__file__).with_name("detect_landmarks.py")), str(video), str(out)]
        try:
            subprocess.run(command, check=True, capture_output=True, text=True)
        except FileNotFoundError as error:
            raise UserError(f"{python}: no such Python. Give one with mediapipe: --detector-python") from error
        except subprocess.CalledProcessError as error:
            last = (error.stderr.strip().splitlines() or ["no message"])[-1]
            raise UserError(f"{video}: detector failed ({last}). Install mediapipe==0.10.21 for {python}") from error
        with np.load(out) as archive:
            return dict(archive)


def whole_rig(path: Path) -> Rig:
    """A calibration of two cameras at least. Raises UserError."""
    rig = read_rig(path)
    if len(rig) < 2:
        raise UserError(f"{path}: {len(rig)} camera, but triangulation needs at least two. Give the whole rig")
    return rig


def triangulate(cameras: Rig, pixels: np.ndarray, weight: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Points (P, 3) world metres and their residual (P,) px, from pixels (camera, P, 2) with weights (camera, P).

    Each point takes all cameras, or, where they disagree, all but one (three stay at least): a limb is often on the
    wrong side in one view. NaN where too few cameras see it. Linear triangulation (Hartley and Zisserman, 12.2).
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
    """rays (C, P, 2), weight (C, P), place (C, 3, 4) -> points (P, 3), the largest reprojection error (P,) px."""
    rows = rays[..., None] * place[:, None, 2:] - place[:, None, :2]  # (C, P, 2, 4)
    rows = (rows * weight[..., None, None]).transpose(1, 0, 2, 3).reshape(rays.shape[1], -1, 4)
    solution = np.linalg.svd(rows)[2][:, -1]
    points = solution[:, :3] / solution[:, 3:]
    seen = np.einsum("cij,pj->cpi", place[:, :, :3], points) + place[:, None, :, 3]
    error = np.linalg.norm(seen[..., :2] / seen[..., 2:] - rays, axis=-1) * focal_px[:, None]
    return points, error.max(0)


def make_reference(folder: Path, cameras: Rig, python: str) -> Reference:
    """Detects in every video and triangulates. Raises UserError for missing videos and for a detector that fails."""
    videos = [video_of(folder, camera.name) for camera in cameras]
    views = []
    for video in videos:
        log.info("%s: looking for landmarks", video.name)
        views.append(detect(video, python))
    frames = min(len(view["landmarks_px"]) for view in views)
    landmarks = np.stack([view["landmarks_px"][:frames] for view in views])
    visibility = np.stack([view["visibility"][:frames] for view in views])
    points, residual = limbs_of(cameras, landmarks[:, :, MEDIAPIPE_LIMBS], visibility[:, :, MEDIAPIPE_LIMBS])
    names = tuple(camera.name for camera in cameras)
    return Reference(points, residual, landmarks, visibility, names, float(views[0]["fps"]))


def limbs_of(cameras: Rig, pixels: np.ndarray, visibility: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Limb joints in pixels (camera, frame, 12, 2), visibility (camera, frame, 12) → world (frame, 12, 3), residual px.

    Detectors take a back for a front and one leg for the other: pairs are swapped where that agrees with the cameras
    together. What remains in doubt is interpolated in time, its residual NaN. Joints that no two cameras see, or on
    which they hardly ever agree, are NaN throughout: the legs of somebody at a desk. Raises UserError when shoulders,
    elbows or wrists are among them.
    """
    count, frames = pixels.shape[:2]
    weight = (visibility + HIDDEN).reshape(count, -1)
    points, residual = triangulate(cameras, pixels.reshape(count, -1, 2), weight)
    pixels = unmirrored(cameras, pixels, points.reshape(frames, -1, 3))
    points, residual = triangulate(cameras, pixels.reshape(count, -1, 2), weight)
    points, residual = points.reshape(frames, -1, 3), residual.reshape(frames, -1)
    doubtful = ~(residual < WRONG_M * px_per_metre(cameras, points))
    second = np.sort(visibility, 0)[-2]  # (frame, 12): whether two cameras see it, and do not just guess alike
    unknown = ((~doubtful).mean(0) < OFTEN) | (np.median(second, 0) < SEEN)
    if unknown[ARMS].any():
        names = ", ".join(name for name, lost in zip(LIMBS, unknown, strict=True) if lost)
        raise UserError(f"the cameras never agree on {names}: check that videos and calibration belong together")
    points[:, unknown] = np.nan
    for joint in np.flatnonzero(~unknown):
        known = np.flatnonzero(~doubtful[:, joint])
        for axis in range(3):
            points[:, joint, axis] = np.interp(np.arange(frames), known, points[known, joint, axis])
    return points, np.where(doubtful, np.nan, residual)


def px_per_metre(cameras: Rig, points: np.ndarray) -> np.ndarray:
    """How large a metre is at world points (..., 3), in the cameras' mean."""
    return np.mean([camera.matrix[0, 0] / np.maximum(camera.camera(points)[..., 2], 0.1) for camera in cameras], 0)


def unmirrored(cameras: Rig, pixels: np.ndarray, points: np.ndarray) -> np.ndarray:
    """pixels (camera, frame, 12, 2) with left and right exchanged where that fits points (frame, 12, 3) better."""
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
    path.parent.mkdir(parents=True, exist_ok=True)
    entries = {name: np.asarray(getattr(reference, name)) for name in Reference.__dataclass_fields__}
    np.savez_compressed(path, **entries)  # type: ignore[arg-type]


def load_reference(path: Path) -> Reference:
    """Reads what `save_reference` left. Raises UserError."""
    verb = "python -m training.evaluation.real_clip"
    make = f"Make it: {verb} FOLDER --calibration FILE --reference FILE --detector-python PYTHON"
    try:
        with np.load(path, allow_pickle=False) as archive:
            entries = {name: archive[name] for name in Reference.__dataclass_fields__}
    except (OSError, ValueError, KeyError) as error:
        raise UserError(f"{path}: no reference of a clip ({error}). {make}") from error
    entries["cameras"], entries["fps"] = tuple(map(str, entries["cameras"])), float(entries["fps"])
    return Reference(**entries)


@dataclass(frozen=True)
class Arguments:
    """Makes the reference of a clip."""

    folder: tyro.conf.Positional[Path]
    """Synchronised videos, one a camera, named as in the calibration."""
    calibration: Path
    """The rig's file, as refit_rt.cameras.read_rig reads it; Caliscope's toml as well."""
    reference: Path
    """Where the reference goes (.npz)."""
    detector_python: str = "python3"
    """A Python that has mediapipe 0.10.21."""


def main(arguments: Arguments) -> None:
    """Makes and keeps a reference, and tells how well the cameras agree."""
    reference = make_reference(arguments.folder, whole_rig(arguments.calibration), arguments.detector_python)
    save_reference(arguments.reference, reference)
    sure = np.isfinite(reference.residual_px)
    middle, high = np.nanpercentile(reference.residual_px, [50, 90])
    log.info("%d frames, the cameras agree on %.1f %% of the joints", len(sure), 100 * sure.mean())
    log.info("residual median %.1f px, nine of ten below %.1f; stature %.2f m", middle, high, reference.height_m)


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    try:
        main(tyro.cli(Arguments))
    except UserError as error:
        log.error("%s", error)
        sys.exit(2)
