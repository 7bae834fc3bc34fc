"""One tracked person: the body that a detection is compared with."""

import numpy as np

from refit_rt.track.person import HISTORY_S, Person
from tests.track.stick import joints


def walker(fps: int = 30, seconds: float = 1.0) -> Person:
    """Somebody who is fitted in every frame and walks 300 px/s to the right."""
    one = Person(np.array([100.0, 360, 110, 300]), 0.0, fitted=True)
    for frame in range(round(seconds * fps)):
        one.remember(joints(np.array([100.0 + 10 * frame, 360])), frame / fps)
    return one


def test_a_detection_is_compared_with_the_body_of_the_frame_nearest_to_its_own() -> None:
    one = walker()
    for frame in (29, 26, 20, 15):
        body = one.body(frame / 30 + 0.01)
        assert body is not None
        np.testing.assert_allclose(body, joints(np.array([100.0 + 10 * frame, 360])))


def test_bodies_are_kept_as_long_as_a_look_may_take_and_forgotten_when_the_person_is_lost() -> None:
    one = walker()
    oldest = one.body(0.0)
    assert oldest is not None
    assert abs(oldest[0, 0] - (100 + 300 * (29 / 30 - HISTORY_S))) <= 10 + 1e-6  # of one frame
    one.lose()
    assert one.body(29 / 30) is None
