"""What a follower makes of a scene, against the truth: found, kept, exchanged, doubled, invented."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.optimize import linear_sum_assignment

from training.evaluation.people.painting import NECK, PELVIS, Person, extent_px

RIGHT, SIZE = 0.1, 1.25  # a right body: largest distance of the pelvis in heights, and largest factor in size
NEAR = 0.3  # heights from a person's pelvis within which a body belongs to that person
TWIN, APART = 0.06, 0.12  # heights: twins' pelvises and necks lie closer together; people's do not
VISIBLE = 0.3  # share of a person's pixels below which nobody needs to find that person
STEADY = 3  # right frames in a row that make a person followed


@dataclass(frozen=True, slots=True, eq=False)
class Seen:
    """One frame of a scene: the truth, and the bodies that were published."""

    time_s: float
    people: tuple[Person, ...]
    ids: np.ndarray  # (n,)
    joints_px: np.ndarray  # (n, 24, 2)
    depth_m: np.ndarray  # (n,) of the pelvis
    confidence: np.ndarray  # (n,)


def distances(frame: Seen, joint: int = PELVIS) -> np.ndarray:
    """(people, bodies): distances of one joint, in heights of the person."""
    there = np.array([person.joints_px[joint] for person in frame.people]).reshape(-1, 1, 2)
    heights = np.array([person.height_px for person in frame.people]).reshape(-1, 1)
    return np.linalg.norm(frame.joints_px[None, :, joint] - there, axis=-1) / heights


def nearest(frame: Seen) -> dict[str, int]:
    """Each visible person's body: name → row, one to one, no farther than NEAR."""
    rows = [i for i, person in enumerate(frame.people) if person.seen > 0]
    if not rows or not len(frame.ids):
        return {}
    apart = distances(frame)[rows]
    pairs = zip(*linear_sum_assignment(np.where(apart <= NEAR, apart, 1e3)), strict=True)
    return {frame.people[rows[i]].name: int(j) for i, j in pairs if apart[i, j] <= NEAR}


def right(frame: Seen) -> dict[str, int]:
    """As `nearest`, for bodies that are in the right place and of the right size."""
    found = nearest(frame)
    return {person.name: found[person.name] for person in frame.people
            if person.name in found and is_right(person, frame.joints_px[found[person.name]])}  # fmt: skip


def is_right(person: Person, joints_px: np.ndarray) -> bool:
    """Whether a body (24, 2) is this person's."""
    apart = np.linalg.norm(joints_px[PELVIS] - person.joints_px[PELVIS])
    factor = extent_px(joints_px) / person.extent_px
    return bool(apart <= RIGHT * person.height_px and 1 / SIZE <= factor <= SIZE)


def right_share(frames: Sequence[Seen]) -> tuple[int, int]:
    """Right person-frames, and person-frames of visible people."""
    good = every = 0
    for frame in frames:
        found = right(frame)
        names = [person.name for person in frame.people if person.seen >= VISIBLE]
        every += len(names)
        good += sum(name in found for name in names)
    return good, every


def twins(frame: Seen) -> int:
    """Pairs of bodies on one person. Where two people stand that close, there are none."""
    height = np.mean([person.height_px for person in frame.people]) if frame.people else np.inf
    places = np.array([person.joints_px[PELVIS] for person in frame.people]).reshape(-1, 2)
    if (_apart(places) < APART * height).any():
        return 0
    close = [_apart(frame.joints_px[:, joint]) < TWIN * height for joint in (PELVIS, NECK)]
    return int((close[0] & close[1]).sum())


def _apart(points: np.ndarray) -> np.ndarray:
    """Distances of each two of points (n, 2), each pair once."""
    one, other = np.triu_indices(len(points), 1)
    return np.linalg.norm(points[one] - points[other], axis=-1)


def invented(frame: Seen) -> int:
    """Bodies that are near nobody who is seen."""
    rows = [i for i, person in enumerate(frame.people) if person.seen > 0]
    if not rows:
        return len(frame.ids)
    return int((distances(frame)[rows] > NEAR).all(0).sum())


def followed_after_s(frames: Sequence[Seen], name: str, from_s: float = 0.0) -> float | None:
    """Seconds from `from_s` until a person is followed; None: never."""
    good = [name in right(frame) for frame in frames]
    for i, frame in enumerate(frames):
        if frame.time_s >= from_s and all(good[i : i + STEADY]) and i + STEADY <= len(frames):
            return frame.time_s - from_s
    return None


def ids_of(frames: Sequence[Seen]) -> dict[str, int]:
    """Each person's id at the end of the frames: of the last frame in which each has a right body."""
    found: dict[str, int] = {}
    for frame in frames:
        found |= {name: int(frame.ids[row]) for name, row in right(frame).items()}
    return found


def outcome(before: dict[str, int], after: dict[str, int]) -> dict[str, str]:
    """What became of each person's id: kept, swapped (it is on another person), new or lost."""
    owners = {number: name for name, number in after.items()}
    found = {}
    for name, number in before.items():
        if after.get(name) == number:
            found[name] = "kept"
        elif owners.get(number, name) != name:
            found[name] = "swapped"
        else:
            found[name] = "new" if name in after else "lost"
    return found


def flashes(frames: Sequence[Seen], most: int = 3) -> tuple[int, int]:
    """Appearances of ids that last at most `most` frames, and all appearances. One that the end cuts off counts not
    as a flash."""
    short = every = 0
    runs: dict[int, int] = {}
    for frame in frames:
        now = set(frame.ids.tolist())
        ended = [number for number in runs if number not in now]
        short += sum(runs.pop(number) <= most for number in ended)
        every += sum(number not in runs for number in now)
        runs |= {number: runs.get(number, 0) + 1 for number in now}
    return short, every
