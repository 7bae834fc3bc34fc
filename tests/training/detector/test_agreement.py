"""How two versions of a detector are compared."""

import numpy as np
import pytest

from training.detector.agreement import Look, Seen, agreement

PICTURES = [np.full((90, 90, 3), level, np.uint8) for level in (0, 1)]  # the level says which picture it is


def looks(*people: Seen) -> Look:
    """A detector that finds these people, picture by picture."""

    def look(picture: np.ndarray, least: float) -> Seen:
        one = people[int(picture[0, 0, 0])]
        return one.take(np.flatnonzero(one.score >= least))

    return look


def seen(*rows: tuple[float, float], shift: float = 0.0, points: bool = False) -> Seen:
    """People 20 px wide and 40 px high, by their left edge and score."""
    boxes = np.array([(x + shift, 10, x + 20 + shift, 50) for x, _ in rows], float).reshape(-1, 4)
    keypoints = np.repeat(np.array([[[30 + shift, 30, 1.0]]]), len(rows), 0) if points else None
    return Seen(boxes, np.array([score for _, score in rows]), keypoints)


def test_the_missed_the_invented_and_the_strays_are_counted() -> None:
    exact = looks(seen((0, 0.9), (40, 0.8)), seen((0, 0.6)))
    near = looks(seen((0, 0.8), (80, 0.7), shift=2), seen((0, 0.7), shift=2))
    found = agreement(exact, near, PICTURES, 0.5)
    assert (found.people, found.missed, found.invented) == (3, 1, 1)
    assert found.score == pytest.approx(0.0)  # -0.1 and +0.1
    assert found.score_p95 == pytest.approx(0.1)
    assert found.overlap == pytest.approx(18 / 22)
    assert found.keypoints is None
    assert "key points" not in str(found)


def test_a_person_at_the_threshold_is_neither_missed_nor_invented() -> None:
    found = agreement(looks(seen((0, 0.51)), seen()), looks(seen((0, 0.49)), seen((0, 0.46))), PICTURES, 0.5)
    assert (found.people, found.missed, found.invented) == (1, 0, 0)


def test_key_points_are_compared_in_shares_of_the_longer_side() -> None:
    exact, near = (looks(seen((20, 0.9), shift=shift, points=True), seen()) for shift in (0, 2))
    found = agreement(exact, near, PICTURES, 0.5)
    assert found.keypoints == pytest.approx(2 / 40)
    assert "5.0%" in str(found)
