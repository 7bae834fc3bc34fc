"""Detections that no body explains → a new person: found by several cameras at one place, look after look."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from refit_rt.track.sight import Sight
from refit_rt.types import Boxes

SHOULDERS, HIPS = [5, 6], [11, 12]  # COCO's key points
TORSO = SHOULDERS + HIPS
# COCO's key points with left and right exchanged
OTHER_SIDE = np.array([0, 2, 1, 4, 3, 6, 5, 8, 7, 10, 9, 12, 11, 14, 13, 16, 15])
SAME_M = 0.1  # lines of sight to the joints of one person pass each other within this, in the median
LEAST_JOINTS = 5
# Lines of sight to two people of one height often meet, nearer to the cameras or farther away, where the person whom
# they seem to show is a dwarf or a giant. A torso of another length than TORSO_M, by more than the share USUAL, counts
# as so many metres by the logarithm of the ratio, at most MOST_M, so that children are found: of people who show five
# joints, 98.9 % are gathered right with it, and 95.5 % without.
TORSO_M, USUAL, UNUSUAL_M, MOST_M = 0.5, 0.1, 0.3, 0.065
SCORE = 0.3  # of a key point whose line of sight counts
STRAY_S = 0.5  # detections that nobody explains are kept for this long: live, a camera is looked at as rarely
LOOKS, CANDIDATE_S, CANDIDATE_M = 3, 1.2, 0.5  # looks that must agree before somebody new is fitted
STATURE_M = 1.7  # for the distance of somebody whom one camera alone sees


@dataclass(frozen=True, slots=True, eq=False)
class Stray:
    """A detection that nobody explains."""

    camera: int
    time_s: float
    xyxy: np.ndarray  # (4,) px
    roll: float
    rays: np.ndarray  # (17, 3) lines of sight of length 1, world; NaN: not seen
    colours: np.ndarray  # (2, 3)


@dataclass(frozen=True, slots=True, eq=False)
class Group:
    """Detections of one person, at most one per camera."""

    strays: list[Stray]
    place: np.ndarray  # (3,) metres, world: the middle of the torso
    time_s: float  # of the newest one

    @property
    def colours(self) -> np.ndarray:
        """(2, 3) the mean of what the cameras see; nan: none sees it."""
        seen = np.stack([one.colours for one in self.strays])
        known = np.isfinite(seen)
        return np.where(known.any(0), np.where(known, seen, 0).sum(0) / np.maximum(known.sum(0), 1), np.nan)

    @property
    def boxes(self) -> dict[int, tuple[np.ndarray, float]]:
        """Camera → xyxy px and roll."""
        return {one.camera: (one.xyxy, one.roll) for one in self.strays}


@dataclass(slots=True, eq=False)
class Candidate:
    """A person who may be new."""

    place: np.ndarray  # (3,) world
    time_s: float  # of the newest look
    looks: int = 1
    # The best of its groups, for who is fitted first, where not everybody is: known before, and how large or near
    rank: tuple[bool, float] = (False, 0.0)

    @property
    def known(self) -> bool:
        """Whether this may be a person who was lost."""
        return self.rank[0]

    @property
    def sure(self) -> bool:
        """Whether enough looks agree."""
        return self.looks >= LOOKS


class Newcomers:
    """Gathers detections that nobody explains. Ask for `groups`, then `noted` for each that is nobody known."""

    def __init__(self, sight: Sight, count: int) -> None:
        """count: of the cameras."""
        self._sight = sight
        self._strays: list[list[Stray]] = [[] for _ in range(count)]
        self.candidates: list[Candidate] = []

    def see(self, camera: int, boxes: Boxes, keypoints: np.ndarray, colours: np.ndarray, rows: np.ndarray) -> None:
        """Takes the place of what was seen in a camera before: those rows of the newest look at its whole picture that
        no body explains. keypoints (n, 17, 3), colours (n, 2, 3): of all rows."""
        points, time_s = keypoints[rows], boxes.frame.time_s
        rays = self._sight.rays(camera, points[..., :2].astype(np.float64))
        rays[~(points[..., 2] >= SCORE)] = np.nan
        self._strays[camera] = [
            Stray(camera, time_s, boxes.xyxy[row], float(boxes.roll[row]), ray, colours[row])
            for row, ray in zip(rows.tolist(), rays, strict=True)
        ]

    def groups(self, time_s: float, least: int) -> Iterator[Group]:
        """The people that at least so many cameras see at one place."""
        self.candidates = [one for one in self.candidates if time_s - one.time_s <= CANDIDATE_S]
        strays = [one for view in self._strays for one in view if time_s - one.time_s <= STRAY_S]
        for group in gathered(strays, self._sight):
            if len(group) < least:
                continue
            place = self._place(group)
            if np.isfinite(place).all():
                yield Group(group, place, max(one.time_s for one in group))

    def noted(self, group: Group, rank: tuple[bool, float]) -> Candidate:
        """The candidate that a group is one more look at."""
        near = [one for one in self.candidates if np.linalg.norm(one.place - group.place) < CANDIDATE_M]
        if not near:
            self.candidates.append(Candidate(group.place, group.time_s, rank=rank))
            return self.candidates[-1]
        one = min(near, key=lambda other: float(np.linalg.norm(other.place - group.place)))
        one.looks += group.time_s > one.time_s
        one.place, one.time_s, one.rank = group.place, group.time_s, max(one.rank, rank)
        return one

    def begun(self, candidate: Candidate, group: Group) -> None:
        """A candidate is a person from here on."""
        self.candidates.remove(candidate)
        for stray in group.strays:
            self._strays[stray.camera].remove(stray)

    def _place(self, group: list[Stray]) -> np.ndarray:
        """(3,) metres in the world: the middle of the torso of one person's detections."""
        eyes = self._sight.places[[one.camera for one in group]]
        rays = np.stack([
            np.nanmean(one.rays[TORSO] if np.isfinite(one.rays[TORSO]).any() else one.rays, 0) for one in group
        ])  # fmt: skip
        rays /= np.linalg.norm(rays, axis=1, keepdims=True)
        if len(group) == 1:
            height_px = float((group[0].xyxy[2:] - group[0].xyxy[:2]).max())
            return eyes[0] + rays[0] * STATURE_M * self._sight.focals[group[0].camera] / max(height_px, 1.0)
        across = np.eye(3) - rays[:, :, None] * rays[:, None]
        return np.linalg.solve(across.sum(0), np.einsum("nab,nb->a", across, eyes))


def gathered(strays: list[Stray], sight: Sight) -> list[list[Stray]]:
    """Detections that are one person, at most one per camera: the nearest pairs first, and only where each of a group
    is near to each other one."""
    away = apart(strays, sight)
    cameras = np.array([one.camera for one in strays])
    group = grouped(away, cameras, SAME_M)
    return [[strays[k] for k in np.flatnonzero(group == name)] for name in dict.fromkeys(group.tolist())]


def grouped(away: np.ndarray, cameras: np.ndarray, gate_m: float) -> np.ndarray:
    """Numbers of groups (n,), nearest pairs first: at most one of a camera, and each within the gate of each other.
    away: (n, n) metres between them. cameras: (n,) of which camera each is."""
    group = np.arange(len(away))
    first, second = np.nonzero(np.triu(away < gate_m, 1) & (cameras[:, None] != cameras))
    for pair in np.argsort(away[first, second], kind="stable"):
        one, other = group == group[first[pair]], group == group[second[pair]]
        if (one & other).any() or np.isin(cameras[one], cameras[other]).any():
            continue
        if away[np.ix_(one, other)].max() < gate_m:
            group[other] = group[first[pair]]
    return group


def apart(strays: list[Stray], sight: Sight) -> np.ndarray:
    """(n, n) metres: the median distances between the lines of sight to two detections' joints, and more where these
    meet in an unusual body; inf: too few are seen, or both are of one camera."""
    away = np.full((len(strays), len(strays)), np.inf)
    cameras = np.array([one.camera for one in strays])
    first, second = np.nonzero(np.triu(cameras[:, None] != cameras[None]))
    if not len(first):
        return away
    rays, eyes = np.stack([one.rays for one in strays]), sight.places[cameras]
    a, base = rays[first], (eyes[second] - eyes[first])[:, None]
    for order in (slice(None), OTHER_SIDE):
        b = rays[second][:, order]
        normal = np.cross(a, b)
        length = np.linalg.norm(normal, axis=-1)
        good = length > 0.05  # a joint that is not seen is NaN
        square = np.where(good, length, 1.0) ** 2
        # The lines meet in front of both cameras, or they are not of one point.
        along, back = ((np.cross(base, ray) * normal).sum(-1) / square for ray in (b, a))
        off = np.where(good & (along > 0) & (back > 0), np.abs((normal * base).sum(-1)) / np.sqrt(square), np.inf)
        count, ordered, row = good.sum(1), np.sort(off, axis=1), np.arange(len(first))
        middle = (ordered[row, np.maximum(count - 1, 0) // 2] + ordered[row, count // 2]) / 2
        met = (eyes[first][:, None] + along[..., None] * a + eyes[second][:, None] + back[..., None] * b) / 2
        best = np.where(count >= LEAST_JOINTS, middle + unusual_m(met), np.inf)
        away[first, second] = np.minimum(away[first, second], best)
    return np.minimum(away, away.T)


def unusual_m(points: np.ndarray) -> np.ndarray:
    """(n,) metres by which torsos of COCO's key points (n, 17, 3) in the world are no people's; 0: not seen whole."""
    torso_m = np.linalg.norm(points[:, SHOULDERS].mean(1) - points[:, HIPS].mean(1), axis=-1)
    with np.errstate(divide="ignore"):
        off = np.nan_to_num(np.abs(np.log(torso_m / TORSO_M)) - USUAL)
    return np.clip(UNUSUAL_M * off, 0, MOST_M)
