"""Scores of made scenes: identities, doubled and invented bodies, and times, on tracks that are known."""

from collections.abc import Mapping

import numpy as np
import pytest

from training.evaluation.people import score
from training.evaluation.people.painting import Person
from training.evaluation.people.score import Seen

HEIGHT = 300.0
# Joints (24, 2) of a standing stick figure about its pelvis, in heights: neck above, feet below.
FIGURE = np.zeros((24, 2))
FIGURE[12], FIGURE[15], FIGURE[[7, 10]], FIGURE[[8, 11]] = (0, -0.3), (0, -0.4), (-0.1, 0.5), (0.1, 0.5)


def person(name: str, x: float, seen: float = 1.0) -> Person:
    return Person(name, FIGURE * HEIGHT + (x, 300), HEIGHT, seen)


def frame(time_s: float, people: list[Person], bodies: Mapping[int, float], scale: float = 1.0) -> Seen:
    """bodies: id → x of the pelvis in pixels."""
    joints = np.array([FIGURE * HEIGHT * scale + (x, 300) for x in bodies.values()]).reshape(-1, 24, 2)
    return Seen(
        time_s, tuple(people), np.array(list(bodies), int), joints, np.full(len(bodies), 4.0), np.ones(len(bodies))
    )


TWO = [person("A", 200), person("B", 600)]


def test_bodies_belong_to_the_nearest_people_one_to_one():
    found = score.nearest(frame(0, TWO, {7: 610, 8: 230, 9: 215}))
    assert found == {"A": 2, "B": 0}


@pytest.mark.parametrize(
    ("off_px", "scale", "right"), [(29, 1, True), (31, 1, False), (0, 1.3, False), (0, 0.7, False)]
)
def test_a_right_body_is_near_and_of_the_same_size(off_px, scale, right):
    seen = frame(0, [person("A", 200)], {0: 200 + off_px}, scale)
    assert ("A" in score.right(seen)) == right
    assert score.right_share([seen]) == (int(right), 1)


def test_people_who_are_hidden_need_not_be_found():
    assert score.right_share([frame(0, [person("A", 200, 0.2), person("B", 600)], {0: 600})]) == (1, 1)


@pytest.mark.parametrize(
    ("after", "kinds"),
    [
        ({0: 200, 1: 600}, {"A": "kept", "B": "kept"}),
        ({1: 200, 0: 600}, {"A": "swapped", "B": "swapped"}),
        ({0: 600, 5: 200}, {"A": "swapped", "B": "new"}),
        ({0: 200, 5: 600}, {"A": "kept", "B": "new"}),
        ({0: 200}, {"A": "kept", "B": "lost"}),
    ],
)
def test_identities_after_a_crossing(after, kinds):
    before, later = ([frame(0, TWO, bodies)] for bodies in ({0: 200, 1: 600}, after))
    found = score.outcome(score.ids_of(before), score.ids_of(later))
    assert (found["A"], "swapped" in found.values()) == (kinds["A"], "swapped" in kinds.values())
    assert found["B"] == kinds["B"]


def test_the_only_body_that_hops_to_another_person_is_swapped():
    before, later = score.ids_of([frame(0, TWO, {3: 200})]), score.ids_of([frame(0, TWO, {3: 600})])
    assert score.outcome(before, later) == {"A": "swapped"}


def test_two_bodies_on_one_person_are_twins_and_hugging_people_are_not():
    assert score.twins(frame(0, TWO, {0: 200, 1: 210})) == 1
    assert score.twins(frame(0, TWO, {0: 200, 1: 600})) == 0
    assert score.twins(frame(0, [person("A", 200), person("B", 245)], {0: 200, 1: 245})) == 0
    assert score.twins(frame(0, [person("A", 200), person("B", 245)], {0: 200, 1: 202})) == 1
    assert score.twins(frame(0, [person("A", 200), person("B", 230)], {0: 210, 1: 215})) == 0  # they cover each other


def test_bodies_where_nobody_is_are_invented():
    assert score.invented(frame(0, TWO, {0: 200, 1: 400, 2: 610})) == 1
    assert score.invented(frame(0, [], {0: 200, 1: 400})) == 2
    assert score.invented(frame(0, [person("A", 200, 0.0)], {0: 200})) == 1


def test_a_person_is_followed_after_three_right_frames():
    bodies = [{}, {0: 200}, {}, {0: 200}, {0: 201}, {0: 202}, {0: 203}]
    frames = [frame(i / 10, [person("A", 200)], one) for i, one in enumerate(bodies)]
    assert score.followed_after_s(frames, "A") == pytest.approx(0.3)
    assert score.followed_after_s(frames, "A", 0.4) == pytest.approx(0.0)
    assert score.followed_after_s(frames[:5], "A") is None


def test_short_appearances_are_flashes_unless_the_end_cuts_them_off():
    bodies = [{1: 200}, {1: 200}, {}, {2: 200}, {2: 200}, {2: 200}, {2: 200}, {}, {1: 200}, {1: 200}]
    frames = [frame(i / 10, [], one) for i, one in enumerate(bodies)]
    assert score.flashes(frames) == (1, 3)
