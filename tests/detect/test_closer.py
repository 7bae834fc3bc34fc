"""Closer looks at people who are followed."""

import cv2
import numpy as np
import pytest

from refit_rt.commands.demo_clip import CLIP
from refit_rt.detect.closer import MOST, Closer
from refit_rt.detect.movenet import MoveNet
from refit_rt.types import Frame, Known


@pytest.fixture(scope="module")
def frame() -> Frame:
    video = cv2.VideoCapture(str(CLIP))
    picture = video.read()[1]
    video.release()
    return Frame("demo", 0, 0.0, 0.0, picture)


@pytest.fixture(scope="module")
def closer() -> Closer:
    return Closer()


def known_of(*xyxy: np.ndarray) -> Known:
    return Known(np.arange(3, 3 + len(xyxy)), np.array(xyxy, np.float32), np.zeros(len(xyxy), np.float32))


def test_a_closer_look_sees_what_the_whole_picture_shows(frame: Frame, closer: Closer) -> None:
    whole = MoveNet().look(frame.image, 0.35)
    found = closer.find(frame, known_of(whole.xyxy[0]))
    assert found.ids is not None
    assert found.keypoints is not None
    assert found.ids.tolist() == [3]
    assert found.score[0] > 0.35
    size_px = (whole.xyxy[0, 2:] - whole.xyxy[0, :2]).max()
    away = np.linalg.norm(found.keypoints[0, :, :2] - whole.keypoints[0, :, :2], axis=-1)
    assert np.median(away) < 0.02 * size_px


def test_people_who_are_not_found_have_a_row_without_key_points(frame: Frame, closer: Closer) -> None:
    corner, speck = np.array([0, 0, 40, 60]), np.array([100, 100, 103, 104])
    found = closer.find(frame, known_of(corner, speck))
    assert found.ids is not None
    assert found.keypoints is not None
    assert found.ids.tolist() == [3, 4]
    assert np.isnan(found.keypoints).all()
    assert not found.score.any()


def test_a_look_at_many_people_takes_the_first_few(frame: Frame, closer: Closer) -> None:
    found = closer.find(frame, known_of(*[np.array([0, 0, 3, 4])] * (MOST + 3)))
    assert found.ids is not None
    assert found.ids.tolist() == list(range(3, 3 + MOST))
    assert not len(closer.find(frame, Known.nobody()).score)
