"""How well two versions of the detector agree on the same pictures."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from refit_rt.detect.movenet import Found, MoveNet
from refit_rt.geometry import iou

LEAST = 0.2  # lowest score of a person that counts
MARGIN = 0.05  # a person whom one version scores LEAST may score this much less in the other
SAME = 0.5  # lowest IoU of two boxes of one person
SEEN = 0.3  # lowest score of a key point that counts


@dataclass(frozen=True, slots=True)
class Agreement:
    """What the second version makes of the people that the first finds."""

    people: int  # that the first finds
    missed: int  # of these, those that the second does not find
    invented: int  # that only the second finds
    score: float  # mean difference of the scores, second minus first
    score_p95: float  # 95th percentile of their absolute difference
    overlap: float  # mean IoU of the boxes
    keypoints: float  # mean distance of key points, as a share of the person's longer side

    def __str__(self) -> str:
        return (
            f"{self.people} people: {self.missed} missed, {self.invented} invented; scores differ by {self.score:+.3f} "
            f"(95 % by at most {self.score_p95:.3f}), boxes overlap by {self.overlap:.3f}, key points are "
            f"{self.keypoints:.1%} of the person's longer side apart"
        )


def agreement(exact: MoveNet, near: MoveNet, pictures: Iterable[np.ndarray]) -> Agreement:
    """Compares two versions on pictures (height, width, 3) uint8 BGR with people."""
    people = missed = invented = 0
    scores, overlaps, distances = [0.0], [], []
    for picture in pictures:
        one, other = (network.look(picture, LEAST - MARGIN) for network in (exact, near))
        sure = one.take(one.score >= LEAST)
        partner, overlap = partners(sure, other)
        met = overlap >= SAME
        people += len(met)
        missed += int((~met).sum())
        invented += int((partners(other.take(other.score >= LEAST), one)[1] < SAME).sum())
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
        float(np.mean(distances or [0.0])),
    )


def partners(one: Found, other: Found) -> tuple[np.ndarray, np.ndarray]:
    """For each person of `one`, the row in `other` with the largest IoU (n,) and that IoU (n,), 0 where none is."""
    if not len(other.score):
        return np.zeros(len(one.score), int), np.zeros(len(one.score))
    overlap = iou(one.xyxy, other.xyxy)
    return overlap.argmax(1), overlap.max(1)


def shares(one: Found, other: Found) -> np.ndarray:
    """(k,) distances of the key points that `one` sees, over the longer side of the person's box."""
    longer = (one.xyxy[:, 2:] - one.xyxy[:, :2]).max(1, initial=0)
    away = np.linalg.norm(one.keypoints[..., :2] - other.keypoints[..., :2], axis=-1) / longer[:, None]
    return away[one.keypoints[..., 2] >= SEEN]
