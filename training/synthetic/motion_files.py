"""Reads folders of AMASS .npz or .bvh files as clips: 30 fps, y up, the floor at 0, cut where the motion breaks."""

import io
import zipfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy.spatial.transform import Rotation

from refit_rt.body.smpl import BETAS, Body, joint_transforms, load_body
from refit_rt.errors import UserError
from training.synthetic.bvh import read_bvh
from training.synthetic.retarget import retargeted

FPS = 30.0
BODY_JOINTS = 22  # shared by SMPL, SMPL-H and SMPL-X, in the same order; hands stay straight
WIDTHS = (72, 156, 165)  # numbers per pose in SMPL, SMPL-H, SMPL-X
RATES = ("mocap_framerate", "mocap_frame_rate", "mocap_frame_rate_fps", "fps")
NO_MOTION = ("shape", "stagei")  # AMASS files without motion: {gender}_stagei.npz, shape.npz
UP_FROM_Z = np.array([[1.0, 0.0, 0.0], [0.0, 0.0, 1.0], [0.0, -1.0, 0.0]])  # z up -> y up
LEAST_S = 0.5  # shorter pieces of a cut clip are dropped
JUMP_M, JUMP_RAD = 0.4, 1.0  # from one frame to the next: 12 m/s and 30 rad/s, which people rarely exceed
CLEARANCE_M = 0.05  # between a joint other than the feet and the skin that touches the floor there
FLOOR_PERCENTILE = 5  # of the lowest points of a clip's frames: lower ones are noise, or soles in the floor


@dataclass(frozen=True, slots=True, eq=False)
class Clip:
    """One piece of movement at FPS frames per second."""

    name: str
    rotations: np.ndarray  # (frame, 24, 3, 3) float32, each relative to its parent, the root in a world with y up
    trans: np.ndarray  # (frame, 3) float32 metres: place of the pelvis joint, the floor at y = 0


def own_file(folder: Path) -> Path | None:
    """The first .npz of a folder if it holds clips in this project's format, else None."""
    first = min(folder.glob("*.npz"), default=None)
    if first is None:
        return None
    try:
        with zipfile.ZipFile(first) as archive:
            return first if "clip_start.npy" in archive.namelist() else None
    except (OSError, zipfile.BadZipFile):  # read_clips reports the error
        return None


def read_clips(folder: Path) -> list[Clip]:
    """Reads all movement under a folder, in alphabetical order.

    Files are AMASS (Mahmood et al. 2019; SMPL, SMPL-H or SMPL-X) or BVH on a rig of `retarget.NAMES`. Raises UserError
    that names the folder without such files, the broken file, or the file with an unknown rig.
    """
    body = load_body()
    recordings = sorted(path for path in folder.rglob("*.npz") if not path.stem.endswith(NO_MOTION))
    animations = sorted(path for path in folder.rglob("*") if path.suffix.lower() == ".bvh")
    if not recordings and not animations:
        raise UserError(f"{folder}: no recorded motion (.npz or .bvh) in this folder. See training/README.md")
    clips = []
    for path in recordings + animations:
        rotations, trans, fps = _read_amass(path, body) if path.suffix == ".npz" else _read_bvh(path, body)
        name = path.relative_to(folder).with_suffix("").as_posix()
        clips += clean_clips(name, rotations, trans, fps, body)
    if not clips:
        raise UserError(f"{folder}: its {len(recordings + animations)} files hold no usable motion. Fetch them again")
    return clips


def _read_bvh(path: Path, body: Body) -> tuple[np.ndarray, np.ndarray, float]:
    rig = read_bvh(path)
    fps = 1 / rig.frame_s
    whole = round(fps)  # files say 0.033333 and 0.00833
    return *retargeted(rig, body, str(path)), whole if abs(fps - whole) < 5e-4 * fps else fps


def _read_amass(path: Path, body: Body) -> tuple[np.ndarray, np.ndarray, float]:
    """Reads rotations (n, 24, 3, 3), pelvis (n, 3) and frames per second. Betas and gender are ignored: the mean body's
    pelvis differs from the actor's by centimetres, and the floor is measured again."""
    try:
        with np.load(io.BytesIO(path.read_bytes()), allow_pickle=False) as archive:
            rate = next((archive[key] for key in RATES if key in archive.files), None)
            poses, trans = archive["poses"].astype(np.float64), archive["trans"].astype(np.float64)
    except Exception as error:  # numpy, zipfile and zlib each raise their own when bytes are missing
        raise UserError(
            f"{path}: not an AMASS motion ({error}). Fetch it again, or remove it from the folder"
        ) from error
    if rate is None or not np.isfinite(rate) or not rate > 0:
        raise UserError(f"{path}: has no frame rate (mocap_framerate). Fetch it again")
    if poses.ndim != 2 or poses.shape[1] not in WIDTHS or trans.shape != (len(poses), 3):
        raise UserError(f"{path}: poses {poses.shape} and trans {trans.shape} must be (n, {WIDTHS}) and (n, 3)")
    rotations = np.tile(np.eye(3), (len(poses), 24, 1, 1))
    vectors = poses[:, : 3 * BODY_JOINTS].reshape(-1, 3)
    rotations[:, :BODY_JOINTS] = Rotation.from_rotvec(vectors).as_matrix().reshape(-1, BODY_JOINTS, 3, 3)
    rotations[:, 0] = UP_FROM_Z @ rotations[:, 0]
    return rotations, (trans + body.joint_template[0]) @ UP_FROM_Z.T, float(rate)


def clean_clips(name: str, rotations: np.ndarray, trans: np.ndarray, fps: float, body: Body) -> list[Clip]:
    """Turns a recording at any rate into clips at FPS on the floor, cut at missing numbers and jumps of the body.

    rotations (n, 24, 3, 3) and trans (n, 3) may hold NaN. Pieces shorter than LEAST_S are dropped, unless the whole
    recording is that short, such as a single pose.
    """
    whole = np.isfinite(rotations).all((1, 2, 3)) & np.isfinite(trans).all(1)
    rotations, trans, whole = resampled(rotations, trans, np.asarray(whole), fps)
    step = np.linalg.norm(np.diff(trans, axis=0), axis=1) > JUMP_M
    turns = rotations[:-1].swapaxes(-1, -2) @ rotations[1:]
    cosine = (np.trace(turns, axis1=-2, axis2=-1) - 1) / 2
    jump = step | (cosine.min(1, initial=1.0) < np.cos(JUMP_RAD))
    broken = jump | ~whole[1:] | ~whole[:-1]
    pieces = [piece for piece in np.split(np.arange(len(trans)), np.flatnonzero(broken) + 1) if whole[piece].all()]
    least = min(LEAST_S * FPS, len(trans))
    pieces = [piece for piece in pieces if len(piece) >= least]
    numbered = [name] if len(pieces) == 1 else [f"{name}.{i + 1}" for i in range(len(pieces))]
    return [
        Clip(label, rotations[piece].astype(np.float32), on_floor(body, rotations[piece], trans[piece]))
        for label, piece in zip(numbered, pieces, strict=True)
    ]


def resampled(rotations: np.ndarray, trans: np.ndarray, whole: np.ndarray, fps: float):
    """Resamples a movement to FPS. Frames that coincide stay unchanged, others lie on the shortest path between two.

    whole (n,) bool marks frames without NaN; results of other frames are not whole either, and do not move.
    """
    times = np.arange(int((len(trans) - 1) / fps * FPS + 1e-6) + 1) / FPS * fps  # in frames of the recording
    low = np.minimum((times + 1e-6).astype(int), len(trans) - 1)
    share = np.where(np.abs(times - low) < 1e-5, 0.0, times - low)
    high = np.where(share > 0, np.minimum(low + 1, len(trans) - 1), low)
    fine = whole[low] & whole[high]
    safe = np.where(whole[:, None, None, None], rotations, np.eye(3))
    places = np.where(whole[:, None], trans, 0.0)
    turns, between = safe[low], np.flatnonzero(share > 0)
    if len(between):
        step = turns[between].swapaxes(-1, -2) @ safe[high[between]]
        vectors = Rotation.from_matrix(step.reshape(-1, 3, 3)).as_rotvec().reshape(-1, 24, 3)
        part = Rotation.from_rotvec((vectors * share[between, None, None]).reshape(-1, 3)).as_matrix()
        turns[between] = turns[between] @ part.reshape(-1, 24, 3, 3)
    share = share[:, None]
    return turns, places[low] * (1 - share) + places[high] * share, fine


def on_floor(body: Body, rotations: np.ndarray, trans: np.ndarray) -> np.ndarray:
    """Moves trans (n, 3) float32 of poses (n, 24, 3, 3) up or down by one distance, so that the floor is at 0.

    The floor is where the lowest soles and other joints are, ignoring the lowest FLOOR_PERCENTILE of the frames.
    """
    feet, betas = [7, 8, 10, 11], np.zeros(BETAS)
    others = [joint for joint in range(24) if joint not in feet]
    soles = np.ones((4, 4))  # rest points under ankles and toes
    soles[:, :3] = body.joint_template[feet]
    soles[:, 1] = body.template[:, 1].min()
    lowest = np.empty(len(trans))
    for frame, pose in enumerate(rotations):
        place_from_rest, joints = joint_transforms(body, pose, betas)
        under = np.einsum("jc,jc->j", place_from_rest[feet, 1], soles)
        lowest[frame] = min(under.min(), joints[others, 1].min() - CLEARANCE_M) - joints[0, 1] + trans[frame, 1]
    return (trans - [0.0, np.percentile(lowest, FLOOR_PERCENTILE), 0.0]).astype(np.float32)
