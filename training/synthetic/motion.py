"""Draws poses from recorded motion: mirrored, blended, disturbed, mixed with parametric ones, without collisions."""

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from scipy.spatial.transform import Rotation, Slerp

from refit_rt.body.smpl import PARENTS, Body
from refit_rt.errors import UserError
from refit_rt.fit.mirror import SWAP
from training.synthetic import gestures, motion_files

UPPER = np.array([9, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23])
ARMS = np.array([13, 14, 16, 17, 18, 19, 20, 21])
WOBBLE = np.array(  # radians, sd of a disturbance of 1 for each joint
    [0.05, 0.07, 0.07, 0.05, 0.03, 0.03, 0.05, 0.08, 0.08, 0.05, 0.08, 0.08, 0.09, 0.05, 0.05, 0.09, 0.12, 0.12,
     0.06, 0.06, 0.16, 0.16, 0.0, 0.0]
)  # fmt: skip
RECORDED = -1  # kind of a pose from a recording


@dataclass(frozen=True, slots=True, eq=False)
class Motion:
    """Recorded clips, one after the other."""

    rotations: np.ndarray  # (frames, 24, 3, 3) float32, the root in a world with y up
    trans: np.ndarray  # (frames, 3) float32 metres: place of the pelvis joint, the floor near y = 0
    start: np.ndarray  # (clips,) first frame of each
    length: np.ndarray  # (clips,) frames
    name: np.ndarray  # (clips,) str
    fps: float


def load_motion(path: Path) -> Motion:
    """Reads a file with poses (frames, 24, 3) axis-angle, trans, clip_start, clip_length, clip_name and fps. Or reads a
    folder with such a file, or with AMASS .npz or .bvh files (see `motion_files`). Raises UserError."""
    path = Path(path)
    if path.is_dir():
        own = motion_files.own_file(path)
        if own is None:
            return _joined(motion_files.read_clips(path))
        path = own
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
            poses = archive["poses"].reshape(-1, 24, 3)
            return Motion(
                rotations=Rotation.from_rotvec(poses.reshape(-1, 3))
                .as_matrix()
                .reshape(-1, 24, 3, 3)
                .astype(np.float32),
                trans=archive["trans"].astype(np.float32),
                start=archive["clip_start"],
                length=archive["clip_length"],
                name=archive["clip_name"],
                fps=float(archive["fps"]),
            )
    except Exception as error:  # numpy, zipfile and zlib each raise their own when the file is missing or damaged
        raise UserError(f"{path}: not recorded motion ({error}). See training/README.md for the format") from error


def _joined(clips: list[motion_files.Clip]) -> Motion:
    length = np.array([len(clip.trans) for clip in clips])
    return Motion(
        rotations=np.concatenate([clip.rotations for clip in clips]),
        trans=np.concatenate([clip.trans for clip in clips]),
        start=np.concatenate([[0], np.cumsum(length)[:-1]]),
        length=length,
        name=np.array([clip.name for clip in clips]),
        fps=motion_files.FPS,
    )


def part(motion: Motion, every: int, held_out: bool) -> Motion:
    """Every `every`-th clip if held out, else the others."""
    chosen = (np.arange(len(motion.start)) % every == every - 1) == held_out
    if not chosen.any():
        return motion
    return replace(motion, start=motion.start[chosen], length=motion.length[chosen], name=motion.name[chosen])


def mirrored(rotations: np.ndarray) -> np.ndarray:
    """The mirror image (left and right exchanged) of poses (..., 24, 3, 3)."""
    mirror = np.array([-1.0, 1.0, 1.0], rotations.dtype)
    return (mirror[:, None] * rotations * mirror)[..., SWAP, :, :]


def yaw_of(rotation: np.ndarray) -> np.ndarray:
    """Heading about y of root rotations (..., 3, 3): where their z axis points."""
    return np.arctan2(rotation[..., 0, 2], rotation[..., 2, 2])


def about_y(angle: np.ndarray) -> np.ndarray:
    """Rotations (..., 3, 3) about y by radians (...,)."""
    cos, sin, zero, one = np.cos(angle), np.sin(angle), np.zeros_like(angle), np.ones_like(angle)
    return np.stack([cos, zero, sin, zero, one, zero, -sin, zero, cos], -1).reshape(*np.shape(angle), 3, 3)


@dataclass(frozen=True, slots=True, eq=False)
class Poses:
    """Single poses, turned so that the root faces +z."""

    rotations: np.ndarray  # (n, 24, 3, 3) float32
    kind: np.ndarray  # (n,) of `gestures`, or RECORDED


def random_poses(rng: np.random.Generator, count: int, body: Body, motion: Motion | None, recorded: float) -> Poses:
    """Draws poses, a share `recorded` of them from the recording if there is one."""
    draws = int(count * 1.6) + 16
    rotations, kind = gestures.random_gestures(rng, draws)
    if motion is not None:
        _mix_recorded(rng, rotations, kind, motion, recorded)
    flip = rng.random(draws) < 0.5
    rotations[flip] = mirrored(rotations[flip])
    strength = np.where(rng.random(draws) < 0.15, 2.0, rng.uniform(0, 1, draws))
    noise = rng.normal(0, 1, (draws, 24, 3)) * WOBBLE[:, None] * strength[:, None, None]
    rotations = rotations @ Rotation.from_rotvec(noise.reshape(-1, 3)).as_matrix().reshape(draws, 24, 3, 3)
    fine = np.flatnonzero(~through_itself(body, rotations))
    chosen = np.resize(fine, count) if len(fine) else np.arange(count)
    return Poses(rotations[chosen].astype(np.float32), kind[chosen])


def _mix_recorded(rng, rotations: np.ndarray, kind: np.ndarray, motion: Motion, share: float) -> None:
    draws = len(kind)
    own_arms = rotations[:, ARMS].copy()
    take = np.flatnonzero(rng.random(draws) < share)
    clip = rng.integers(0, len(motion.start), len(take))  # clips, not frames: long ones are not drawn more often
    frame = motion.start[clip] + (rng.random(len(take)) * motion.length[clip]).astype(int)
    recorded = motion.rotations[frame].astype(float)
    recorded[:, 0] = about_y(-yaw_of(recorded[:, 0])) @ recorded[:, 0]
    other_clip = rng.integers(0, len(motion.start), len(take))
    other = motion.rotations[motion.start[other_clip] + (rng.random(len(take)) * motion.length[other_clip]).astype(int)]
    blend = rng.random(len(take))
    swap = np.flatnonzero(blend < 0.2)
    recorded[np.ix_(swap, UPPER)] = other[np.ix_(swap, UPPER)]
    swap = np.flatnonzero((blend > 0.2) & (blend < 0.45))
    recorded[np.ix_(swap, ARMS)] = own_arms[take[swap]]
    rotations[take], kind[take] = recorded, RECORDED


def joint_places(body: Body, rotations: np.ndarray) -> np.ndarray:
    """Joints (n, 24, 3) of poses (n, 24, 3, 3) on the mean shape, the pelvis at 0."""
    rest = body.joint_template
    place, world = [np.zeros((len(rotations), 3))], [rotations[:, 0]]
    for joint in range(1, 24):
        parent = PARENTS[joint]
        place.append(place[parent] + world[parent] @ (rest[joint] - rest[parent]))
        world.append(world[parent] @ rotations[:, joint])
    return np.stack(place, 1)


def through_itself(body: Body, rotations: np.ndarray) -> np.ndarray:
    """(n,) bool: whether hands, wrists or elbows lie inside trunk, head or thighs, or the legs inside each other."""
    at = joint_places(body, rotations)
    hands = at[:, 20:22] * 1.6 - at[:, 18:20] * 0.6  # beyond the wrist
    parts = np.concatenate([at[:, 18:22], hands], 1)  # (n, 6, 3)
    bad = np.zeros(len(at), bool)
    for a, b, radius in ((0, 9, 0.115), (9, 12, 0.09), (1, 4, 0.075), (2, 5, 0.075), (12, 15, 0.08)):
        bad |= (_to_segment(parts, at[:, a], at[:, b]) < radius).any(1)
    skull = at[:, 15] + (at[:, 15] - at[:, 12]) * 0.8
    bad |= (np.linalg.norm(parts - skull[:, None], axis=-1) < 0.105).any(1)
    bad |= np.linalg.norm(at[:, 4] - at[:, 5], axis=-1) < 0.09
    bad |= np.linalg.norm(at[:, 7] - at[:, 8], axis=-1) < 0.07
    bad |= np.linalg.norm(at[:, 20] - at[:, 21], axis=-1) < 0.05
    return bad


def _to_segment(points: np.ndarray, a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Distances (n, m) of points (n, m, 3) from the segments a-b (n, 3)."""
    along = (b - a)[:, None]
    share = np.clip(((points - a[:, None]) * along).sum(-1) / (along**2).sum(-1), 0, 1)
    return np.linalg.norm(points - a[:, None] - share[..., None] * along, axis=-1)


def random_clip(rng: np.random.Generator, frames: int, fps: float, body: Body, motion: Motion | None):
    """Draws a few frames of a movement: poses (frames, 24, 3, 3), the pelvis's path (frames, 3), and the kind.

    It is recorded and re-timed, or interpolated between parametric poses (a new one every 0.4 to 1.5 s).
    """
    if motion is not None and rng.random() < 0.6:
        clip = int(rng.integers(len(motion.start)))
        pace = float(np.exp(rng.normal(0, 0.2)))
        span = (frames - 1) / fps * motion.fps * pace  # frames of the recording
        length = int(motion.length[clip])
        begin = rng.uniform(0, max(length - 1 - span, 0))
        times = np.minimum(begin + np.arange(frames) / fps * motion.fps * pace, length - 1)
        poses, places = at_times(motion, int(motion.start[clip]), length, times)
        places[:, [0, 2]] -= places[frames // 2, [0, 2]]
        back = about_y(-yaw_of(poses[frames // 2, 0]))
        poses[:, 0], places = back @ poses[:, 0], places @ back.T
        if rng.random() < 0.5:
            poses, places = mirrored(poses), places * [-1, 1, 1]
        return poses, places, RECORDED
    count = max(2, int(np.ceil((frames - 1) / fps / 0.4)) + 2)
    knots = np.cumsum(rng.uniform(0.4, 1.5, count)) - 0.2
    drawn, kinds = gestures.random_gestures(rng, 96)
    same = np.flatnonzero((kinds == kinds[0]) & ~through_itself(body, drawn))
    chosen = np.resize(same if len(same) else np.arange(8), count)
    if rng.random() < 0.15:
        chosen[:] = chosen[0]  # stands still
    poses = between(knots - knots[0], drawn[chosen], np.arange(frames) / fps)
    sway = rng.normal(0, 0.15, 3) * [1, 0, 1]
    return poses, np.linspace(-0.5, 0.5, frames)[:, None] * sway * frames / fps, int(kinds[0])


def at_times(motion: Motion, start: int, length: int, times: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Interpolates a clip at times (n,) in frames from its start: rotations (n, 24, 3, 3) and places (n, 3)."""
    low = np.minimum(times.astype(int), max(length - 2, 0))
    share = (times - low)[:, None]
    rows = start + low
    after = np.minimum(rows + 1, start + length - 1)
    a, b = motion.rotations[rows].astype(float), motion.rotations[after].astype(float)
    step = Rotation.from_matrix((np.swapaxes(a, -1, -2) @ b).reshape(-1, 3, 3)).as_rotvec().reshape(-1, 24, 3)
    part_way = Rotation.from_rotvec((step * share[..., None]).reshape(-1, 3)).as_matrix().reshape(-1, 24, 3, 3)
    return a @ part_way, motion.trans[rows] * (1 - share) + motion.trans[after] * share


def between(knots_s: np.ndarray, poses: np.ndarray, times_s: np.ndarray) -> np.ndarray:
    """Interpolates poses (k, 24, 3, 3) at ascending times (k,), with rest at each, at times (n,) -> (n, 24, 3, 3)."""
    times = np.clip(times_s, knots_s[0], knots_s[-1])
    index = np.clip(np.searchsorted(knots_s, times, side="right") - 1, 0, len(knots_s) - 2)
    share = (times - knots_s[index]) / (knots_s[index + 1] - knots_s[index])
    eased = index + share * share * (3 - 2 * share)
    out = np.empty((len(times), 24, 3, 3))
    for joint in range(24):
        out[:, joint] = Slerp(np.arange(len(poses)), Rotation.from_matrix(poses[:, joint]))(eased).as_matrix()
    return out
