"""Bodies of single cameras → which are one person, how the cameras stand to each other, and how late each one is.

A body as one camera sees it has the right pose, roughly the right orientation, and a distance that errs with the
person's unknown size. The pose does not depend on the camera: two tracks of one person agree in it moment by moment,
at one delay and under one relative rotation (Procrustes), which also carry the path of one to that of the other.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
from scipy.optimize import linear_sum_assignment
from scipy.sparse.csgraph import breadth_first_order, minimum_spanning_tree

from calib.bodies import Track, Watched
from refit_rt.cameras import Camera, Rig
from refit_rt.errors import UserError
from refit_rt.track.newcomers import grouped

PELVIS = 0
# Joints whose poses are compared: shoulders, arms, hips, legs, neck and head; the pelvis first
COMPARED = np.array([0, 1, 2, 4, 5, 7, 8, 12, 15, 16, 17, 18, 19, 20, 21])
BONES = np.array([[1, 4], [2, 5], [4, 7], [5, 8], [16, 18], [17, 19], [18, 20], [19, 21]])  # thighs, shanks, arms
COARSE_S = 0.06  # of the clock on which delays are searched: walking hands move 10 cm in it
LONGEST_GAP_S = 0.25  # within a track, that is bridged
LEAST_S = 0.8  # of a track, and of what two tracks have in common
MOST_TRACKS = 8  # of a camera: the longest ones
# Two views agree within this: joints about the pelvis; the pelvis, as a share of its distance
POSE_M, PLACE = 0.16, 0.12
TRIED, SUPPORTED = 3, 6  # delays per pair of tracks; the best of all pairs, which are compared by all tracks
LEAST_SCORE_S = 0.4  # of perfect agreement, for a pair of cameras to be tied together
FARTHEST_M = 1.5  # between the places at which two cameras alone put one person


@dataclass(frozen=True, slots=True, eq=False)
class Clocked:
    """One camera's bodies at the ticks of a clock that all cameras share. NaN: the camera does not see that one."""

    camera: Camera
    joints: np.ndarray  # (track, tick, 24, 3) metres, camera frame
    pixels: np.ndarray  # (track, tick, 24, 2)


@dataclass(frozen=True, slots=True, eq=False)
class Tie:
    """How two cameras stand to each other."""

    other_from_one: np.ndarray  # (4, 4)
    later: int  # ticks by which the other's delay is longer
    score: float  # ticks, each counted by how well the bodies agree in it


def clocked(seen: list[Watched], step_s: float, delays_s: np.ndarray) -> list[Clocked]:
    """Every camera's bodies at ticks `step_s` apart, by linear interpolation. delays_s (camera,) are taken off."""
    spans = [
        (t.time_s[0] - delay, t.time_s[-1] - delay)
        for one, delay in zip(seen, delays_s, strict=True)
        for t in one.tracks
    ]
    first, last = min(start for start, _ in spans), max(end for _, end in spans)
    ticks_s = np.arange(first, last + 1e-9, step_s)
    found = []
    for one, delay_s in zip(seen, delays_s, strict=True):
        tracks = sorted(one.tracks, key=lambda t: t.time_s[0] - t.time_s[-1])[:MOST_TRACKS]
        tracks = [t for t in tracks if t.time_s[-1] - t.time_s[0] >= LEAST_S]
        joints, pixels = (np.full((len(tracks), len(ticks_s), 24, axes), np.nan) for axes in (3, 2))
        for row, track in enumerate(tracks):
            joints[row], pixels[row] = _at(track, ticks_s + delay_s)
        found.append(Clocked(one.camera, joints, pixels))
    return found


def _at(track: Track, times_s: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """joints (n, 24, 3) and pixels (n, 24, 2) of a track at claimed times (n,)."""
    after = np.clip(np.searchsorted(track.time_s, times_s), 1, len(track.time_s) - 1)
    start_s, end_s = track.time_s[after - 1], track.time_s[after]
    share = ((times_s - start_s) / (end_s - start_s))[:, None, None]
    known = (times_s >= track.time_s[0]) & (times_s <= track.time_s[-1]) & (end_s - start_s <= LONGEST_GAP_S)
    mixed = [(1 - share) * rows[after - 1] + share * rows[after] for rows in (track.joints, track.pixels)]
    return tuple(np.where(known[:, None, None], one, np.nan) for one in mixed)  # type: ignore[return-value]


def tied(one: Clocked, other: Clocked, most_later: int, least: float) -> Tie | None:
    """How two cameras stand to each other, by all their tracks; None: they see nobody in common for `least` ticks."""
    tries = [
        tie
        for a in range(len(one.joints))
        for b in range(len(other.joints))
        for tie in _tries(one.joints[a][:, COMPARED], other.joints[b][:, COMPARED], most_later, least)
    ]
    tries.sort(key=lambda tie: -tie.score)
    return max((_supported(one, other, tie) for tie in tries[:SUPPORTED]), key=lambda tie: tie.score, default=None)


def _tries(one: np.ndarray, other: np.ndarray, most_later: int, least: float) -> list[Tie]:
    """The most likely ties if two tracks (tick, joint, 3), pelvis first, are one person."""
    ties = [_tie(one, other, later) for later in range(-most_later, most_later + 1)]
    scores = np.array([tie.score if tie else 0.0 for tie in ties])
    best: list[Tie] = []
    while len(best) < TRIED and scores.max() >= least:
        at = int(scores.argmax())
        if (tie := ties[at]) is not None:
            best.append(tie)
        scores[max(0, at - 3) : at + 4] = 0.0
    return best


def _shifted(one: np.ndarray, other: np.ndarray, later: int) -> tuple[np.ndarray, np.ndarray]:
    """The ticks of one, and those of the other that show the same moments, where its delay is `later` ticks longer.
    Both (..., tick, 24, 3)."""
    start, end = max(0, -later), min(one.shape[-3], other.shape[-3] - later)
    end = max(start, end)
    return one[..., start:end, :, :], other[..., start + later : end + later, :, :]


def _tie(one: np.ndarray, other: np.ndarray, later: int) -> Tie | None:
    """By two tracks (tick, 24, 3) that are one person, at a delay; None: they are hardly in view together."""
    here, there = _shifted(one, other, later)
    both = np.isfinite(here[:, 0, 0]) & np.isfinite(there[:, 0, 0])
    if both.sum() < 2:
        return None
    here, there = here[both], there[both]
    turn = rotation(here - here[:, :1], there - there[:, :1])
    shift = np.median(there[:, PELVIS] - here[:, PELVIS] @ turn.T, axis=0)
    transform = np.eye(4)
    transform[:3, :3], transform[:3, 3] = turn, shift
    return Tie(transform, later, float(agreement(here, there, transform).sum()))


def rotation(one: np.ndarray, other: np.ndarray, weight: np.ndarray | None = None) -> np.ndarray:
    """(3, 3) that turns points (n, k, 3) best to others, by least squares (Kabsch). weight (n,)."""
    weighted = one if weight is None else one * weight[:, None, None]
    left, _, right = np.linalg.svd(np.einsum("nki,nkj->ij", other, weighted))
    return (left * [1.0, 1.0, np.sign(np.linalg.det(left @ right))]) @ right


def agreement(here: np.ndarray, there: np.ndarray, transform: np.ndarray) -> np.ndarray:
    """How well bodies (..., 24, 3) of two cameras agree, 0 to 1 (...,); 0 where one is not seen."""
    turn, shift = transform[:3, :3], transform[:3, 3]
    pose = (there - there[..., :1, :]) - (here - here[..., :1, :]) @ turn.T
    place = there[..., PELVIS, :] - here[..., PELVIS, :] @ turn.T - shift
    depth = (np.linalg.norm(here[..., PELVIS, :], axis=-1) + np.linalg.norm(there[..., PELVIS, :], axis=-1)) / 2
    off_pose = (pose**2).sum(-1).mean(-1) / POSE_M**2
    off_place = (place**2).sum(-1) / (PLACE * depth) ** 2
    return np.nan_to_num(np.clip(1 - off_pose, 0, 1) * np.clip(1 - off_place, 0, 1))


def _supported(one: Clocked, other: Clocked, tie: Tie) -> Tie:
    """The tie by all tracks: the best one-to-one assignment counts, and refines the rotation and translation."""
    here, there = _shifted(one.joints, other.joints, tie.later)
    for _ in range(2):
        each = agreement(here[:, None], there[None], tie.other_from_one)  # (track, track, tick)
        rows, columns = linear_sum_assignment(-each.sum(-1))
        sure = each[rows, columns]
        a, b, weight = here[rows][sure > 0], there[columns][sure > 0], sure[sure > 0]
        if len(weight) < 2:
            return replace(tie, score=0.0)
        turn = rotation(a - a[:, :1], b - b[:, :1], weight)
        transform = np.eye(4)
        transform[:3, :3] = turn
        transform[:3, 3] = np.median(b[:, PELVIS] - a[:, PELVIS] @ turn.T, axis=0)
        tie = Tie(transform, tie.later, float(sure.sum()))
    return tie


@dataclass(frozen=True, slots=True, eq=False)
class Chained:
    """Cameras in one world, that of camera `root`."""

    root: int
    camera_from_root: np.ndarray  # (camera, 4, 4)
    delays_s: np.ndarray  # (camera,) of the root: 0


def chained(seen: list[Watched], most_delay_s: float) -> Chained:
    """Where cameras stand, along the pairs that agree best (a maximum spanning tree). Raises UserError for a camera
    that sees nobody together with another."""
    count = len(seen)
    step_s = max(COARSE_S, *(one.period_s for one in seen))
    views = clocked(seen, step_s, np.zeros(count))
    ties: dict[tuple[int, int], Tie] = {}
    score = np.zeros((count, count))
    for a in range(count):
        for b in range(a + 1, count):
            tie = tied(views[a], views[b], round(most_delay_s / step_s), LEAST_SCORE_S / step_s)
            if tie is not None:
                ties[a, b], score[a, b] = tie, tie.score
    root = int((score + score.T).sum(0).argmax())
    order, before = breadth_first_order(minimum_spanning_tree(-score), root, directed=False)
    if lost := set(range(count)) - set(order.tolist()):
        names = ", ".join(seen[one].camera.name for one in sorted(lost))
        raise UserError(
            f"{names}: no other camera sees the same people for long enough. Let a person walk all over the room, "
            "where two cameras or more see the whole body"
        )
    places, delays = np.tile(np.eye(4), (count, 1, 1)), np.zeros(count)
    for b in order[1:].tolist():
        a = int(before[b])
        tie = ties[min(a, b), max(a, b)]
        step = tie.other_from_one if a < b else np.linalg.inv(tie.other_from_one)
        places[b] = step @ places[a]
        delays[b] = delays[a] + (tie.later if a < b else -tie.later) * step_s
    return Chained(root, places, delays)


@dataclass(frozen=True, slots=True, eq=False)
class Sight:
    """One person at one tick, in every camera that sees the person."""

    tick: int
    tracks: tuple[tuple[int, int], ...]  # camera, track


def sights(views: list[Clocked], rig: Rig, ticks: np.ndarray, gate_m: float) -> Iterator[Sight]:
    """Who is who, tick by tick: bodies whose lines of sight pass each other within `gate_m`, in the median of their
    joints, at most one per camera, and each near to each other one of the group."""
    eyes = np.array([camera.position for camera in rig])
    for tick in ticks.tolist():
        who = [
            (camera, track)
            for camera, view in enumerate(views)
            for track in np.flatnonzero(np.isfinite(view.pixels[:, tick, 0, 0])).tolist()
        ]
        if len(who) < 2:
            continue
        cameras = np.array([camera for camera, _ in who])
        rays = np.stack([rays_of(rig.cameras[camera], views[camera].pixels[track, tick]) for camera, track in who])
        places = np.stack(
            [rig.cameras[camera].world(views[camera].joints[track, tick, PELVIS]) for camera, track in who]
        )
        away = apart(eyes[cameras], rays)
        away[np.linalg.norm(places[:, None] - places, axis=-1) > FARTHEST_M] = np.inf
        group = grouped(away, cameras, gate_m)
        for one in np.unique(group):
            members = np.flatnonzero(group == one)
            if len(members) >= 2:
                yield Sight(tick, tuple(who[member] for member in members))


def rays_of(camera: Camera, pixels: np.ndarray) -> np.ndarray:
    """(n, 3) unit directions in the world of pixels (n, 2) in the picture without distortion."""
    flat = (pixels - camera.centre_px) / camera.focal_px
    rays = np.concatenate([flat, np.ones((len(flat), 1))], 1) @ camera.world_from_camera[:3, :3].T
    return rays / np.linalg.norm(rays, axis=1, keepdims=True)


def apart(eyes: np.ndarray, rays: np.ndarray) -> np.ndarray:
    """(n, n) metres: the median distance of the lines of sight from eyes (n, 3) along rays (n, joint, 3)."""
    normal = np.cross(rays[:, None], rays[None])
    size = np.linalg.norm(normal, axis=-1)
    between = np.abs(((eyes[None] - eyes[:, None])[:, :, None] * normal).sum(-1)) / np.maximum(size, 1e-9)
    return np.median(between, axis=-1)
