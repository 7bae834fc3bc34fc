"""Evidence: which body explains which key points, and who is dressed how."""

import cv2
import numpy as np
import pytest

from refit_rt.track import evidence
from tests.track.stick import HEIGHT_PX, joints, keypoints

HERE = np.array([300.0, 240.0])
LEFT_RIGHT = [0, 2, 1, 4, 3, 6, 5, 8, 7, 10, 9, 12, 11, 14, 13, 16, 15]
SMPL_LEFT_RIGHT = [0, 2, 1, 3, 5, 4, 6, 8, 7, 9, 11, 10, 12, 14, 13, 15, 17, 16, 19, 18, 21, 20, 23, 22]


def dressed(shirt: tuple[int, int, int], trousers: tuple[int, int, int], light: float = 1.0) -> np.ndarray:
    """A picture of a figure at HERE."""
    image = np.full((480, 640, 3), 90, np.uint8)
    for (low, high), colour in (((-0.31, 0.04), shirt), ((0.04, 0.5), trousers)):
        (x0, x1), (y0, y1) = HERE[0] + HEIGHT_PX * np.array([-0.11, 0.11]), HERE[1] + HEIGHT_PX * np.array([low, high])
        cv2.rectangle(image, (int(x0), int(y0)), (int(x1), int(y1)), colour, -1)
    return cv2.convertScaleAbs(image, alpha=light)


# apart


def test_a_body_on_its_own_key_points_is_no_distance_apart() -> None:
    assert evidence.apart(joints(HERE), keypoints(HERE), HEIGHT_PX) < 0.001


@pytest.mark.parametrize("share", [0.05, 0.14, 0.28])
def test_a_body_beside_key_points_is_that_far_apart(share: float) -> None:
    for way in ((1, 0), (0, -1), (0.6, 0.8)):
        there = HERE + share * HEIGHT_PX * np.array(way)
        assert abs(evidence.apart(joints(there), keypoints(HERE), HEIGHT_PX) - share) < 0.02


def test_left_and_right_may_be_exchanged_but_head_and_feet_may_not() -> None:
    turned = keypoints(HERE)[LEFT_RIGHT]
    assert evidence.apart(joints(HERE), turned, HEIGHT_PX) < 0.001
    assert evidence.apart(joints(HERE)[SMPL_LEFT_RIGHT], keypoints(HERE), HEIGHT_PX) < 0.001
    upside_down = keypoints(HERE)
    upside_down[:, 1] = 2 * HERE[1] - upside_down[:, 1]
    assert evidence.apart(joints(HERE), upside_down, HEIGHT_PX) > 0.25


def test_one_wrong_limb_is_no_other_person_and_an_unseen_point_counts_for_nothing() -> None:
    points = keypoints(HERE)
    points[[9, 7], :2] += 1e4
    assert evidence.apart(joints(HERE), points, HEIGHT_PX) < 0.1
    points[[9, 7], 2] = 0.05
    assert evidence.apart(joints(HERE), points, HEIGHT_PX) < 0.001


def test_the_distance_is_a_share_of_the_size() -> None:
    for size in (30.0, 300.0, 3000.0):
        away = evidence.apart(joints(HERE + np.array([0.2 * size, 0]), size), keypoints(HERE, size), size)
        assert abs(away - 0.2) < 0.02


def test_too_few_points_or_a_broken_body_say_nothing() -> None:
    points = keypoints(HERE)
    points[2:, 2] = 0
    assert np.isnan(evidence.apart(joints(HERE), points, HEIGHT_PX))
    broken = joints(HERE)
    broken[16] = np.nan
    assert np.isnan(evidence.apart(broken, keypoints(HERE), HEIGHT_PX))


# together


def test_bodies_are_as_far_apart_as_their_pelvis_or_neck_whichever_is_farther() -> None:
    assert evidence.together(joints(HERE), joints(HERE), HEIGHT_PX) == 0
    beside = joints(HERE + np.array([0.14 * HEIGHT_PX, 0]))
    assert abs(evidence.together(joints(HERE), beside, HEIGHT_PX) - 0.14) < 1e-6
    leaning = joints(HERE)
    leaning[12] += (0.2 * HEIGHT_PX, 0)  # the neck only
    assert abs(evidence.together(joints(HERE), leaning, HEIGHT_PX) - 0.2) < 1e-6
    waving = joints(HERE)
    waving[18:] += 100  # arms say nothing of who it is
    assert evidence.together(joints(HERE), waving, HEIGHT_PX) == 0


# colours and difference


def lab(bgr: tuple[int, int, int]) -> np.ndarray:
    """CIELAB of one colour: lightness 0 to 100, and two axes of hue."""
    return cv2.cvtColor(np.array([[bgr]], np.float32) / 255, cv2.COLOR_BGR2Lab)[0, 0]


def test_colours_are_those_of_shirt_and_trousers_from_a_body_and_from_key_points() -> None:
    red, green = (30, 40, 200), (60, 160, 40)
    image = dressed(red, green)
    for points in (joints(HERE), keypoints(HERE)):
        found = evidence.colours(image, points)
        np.testing.assert_allclose(found, [lab(red), lab(green)], atol=1.0)


def test_another_shirt_is_farther_than_another_light() -> None:
    red, blue, grey = (30, 40, 200), (200, 80, 40), (60, 60, 60)
    ann, bob = (evidence.colours(dressed(shirt, grey), keypoints(HERE)) for shirt in (red, blue))
    shaded = evidence.colours(dressed(red, grey, light=0.8), keypoints(HERE))
    assert evidence.difference(ann, ann) == 0
    assert evidence.difference(ann, shaded) < 10
    assert evidence.difference(ann, bob) > 40
    assert evidence.difference(ann, bob) == evidence.difference(bob, ann)


def test_parts_that_are_unseen_or_out_of_the_picture_have_no_colour() -> None:
    image = dressed((30, 40, 200), (60, 160, 40))
    points = keypoints(HERE)
    points[13, 2] = 0.0  # a knee
    found = evidence.colours(image, points)
    assert np.isfinite(found[0]).all()
    assert np.isnan(found[1]).all()
    assert np.isnan(evidence.colours(image, joints(np.array([-400.0, 240])))).all()
    cut_off = evidence.colours(image[: int(HERE[1])], joints(HERE))  # the picture ends above the thighs
    assert np.isfinite(cut_off[0]).all()
    assert np.isnan(cut_off[1]).all()
    assert np.isnan(evidence.colours(image, np.full((24, 2), np.nan))).all()


def test_people_are_compared_by_the_parts_that_are_known_of_both() -> None:
    one, other = np.full((2, 3), np.nan), np.full((2, 3), np.nan)
    assert np.isnan(evidence.difference(one, other))
    one[0] = (50, 20, 20)
    other[1] = (50, 20, 20)
    assert np.isnan(evidence.difference(one, other))
    other[0] = (50, 50, 60)
    assert abs(evidence.difference(one, other) - 50) < 1e-6
