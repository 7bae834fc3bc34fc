"""How well two versions of the detector agree on the same pictures."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np

from refit_rt.geometry import iou

MARGIN = 0.05  # a person whom one version scores enough may score this much less in the other
SAME = 0.5  # lowest IoU of two boxes of one person
SEEN = 0.3  # lowest score of a key point that counts


@dataclass(frozen=True, slots=True, eq=False)
class Seen:
    """The people in a picture."""

    xyxy: np.ndarray  # (n, 4) image pixels
    score: np.ndarray  # (n,) 0..1
    keypoints: np.ndarray | None = None  # (n, 17, 3) x, y, score

    def take(self, rows: np.ndarray) -> "Seen":
        return Seen(self.xyxy[rows], self.score[rows], None if self.keypoints is None else self.keypoints[rows])


Look = Callable[[np.ndarray, float], Seen]  # a picture (height, width, 3) uint8 BGR and the lowest score → its people


@dataclass(frozen=True, slots=True)
class Agreement:
    """What the second version makes of the people that the first finds."""

    people: int  # that the first finds
    missed: int  # of these, those that the second does not find
    invented: int  # that only the second finds
    score: float  # mean difference of the scores, second minus first
    score_p95: float  # 95th percentile of their absolute difference
    overlap: float  # mean IoU of the boxes
    keypoints: float | None  # mean distance of key points, as a share of the person's longer side

    def __str__(self) -> str:
        points = ""
        if self.keypoints is not None:
            points = f", key points are {self.keypoints:.1%} of the person's longer side apart"
        return (
            f"{self.people} people: {self.missed} missed, {self.invented} invented; scores differ by {self.score:+.3f} "
            f"(95 % by at most {self.score_p95:.3f}), boxes overlap by {self.overlap:.3f}{points}"
        )


def agreement(exact: Look, near: Look, pictures: Iterable[np.ndarray], least: float) -> Agreement:
    """Compares two versions on pictures (height, width, 3) uint8 BGR with people.

    least: the lowest score of a person that counts.
    """
    people = missed = invented = 0
    scores, overlaps, distances = [0.0], [], []
    for picture in pictures:
        one, other = (look(picture, least - MARGIN) for look in (exact, near))
        sure = one.take(one.score >= least)
        partner, overlap = partners(sure, other)
        met = overlap >= SAME
        people += len(met)
        missed += int((~met).sum())
        invented += int((partners(other.take(other.score >= least), one)[1] < SAME).sum())
        mine, its = sure.take(met), other.take(partner[met])
        scores += list(its.score - mine.score)
        overlaps += list(overlap[met])
        distances += list(shares(mine, its))
    strays = np.array(scores[1:] or scores)
    return Agreement(
        people,
        missed,
        invented,
        float(strays.mean()),
        float(np.percentile(np.abs(strays), 95)),
        float(np.mean(overlaps or [0.0])),
        float(np.mean(distances)) if distances else None,
    )


def partners(one: Seen, other: Seen) -> tuple[np.ndarray, np.ndarray]:
    """For each person of `one`, the row in `other` with the largest IoU (n,) and that IoU (n,), 0 where none is."""
    if not len(other.score):
        return np.zeros(len(one.score), int), np.zeros(len(one.score))
    overlap = iou(one.xyxy, other.xyxy)
    return overlap.argmax(1), overlap.max(1)


def shares(one: Seen, other: Seen) -> np.ndarray:
    """(k,) distances of the key points that `one` sees, over the longer side of the person's box."""
    if one.keypoints is None or other.keypoints is None:
        return np.zeros(0)
    longer = (one.xyxy[:, 2:] - one.xyxy[:, :2]).max(1, initial=0)
    away = np.linalg.norm(one.keypoints[..., :2] - other.keypoints[..., :2], axis=-1) / longer[:, None]
    return away[one.keypoints[..., 2] >= SEEN]
