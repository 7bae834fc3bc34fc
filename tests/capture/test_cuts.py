"""Cuts: another scene is one, another light is none."""

import cv2
import numpy as np
import pytest

from refit_rt.capture.cuts import Cuts
from tests.support.paths import SHARED

SIZE = (640, 360)
MEDIA = SHARED / "media"


def scene(seed: int, contrast: float = 45.0) -> np.ndarray:
    """A picture of soft patches."""
    rough = np.random.default_rng(seed).normal(128, contrast, (9, 16, 3)).clip(0, 255).astype(np.uint8)
    return cv2.resize(rough, SIZE, interpolation=cv2.INTER_CUBIC)


def with_person(image: np.ndarray, x: int) -> np.ndarray:
    """A dark figure of 60 % of the picture's height that stands at x."""
    return cv2.rectangle(image.copy(), (x, 100), (x + 70, 316), (30, 30, 60), -1)


def verdicts(*pictures: np.ndarray) -> list[str]:
    cuts = Cuts()
    return [cuts.judge(one) for one in pictures]


def frames(name: str, count: int) -> list[np.ndarray]:
    clip = cv2.VideoCapture(str(MEDIA / name))
    return [image for _ in range(count) if (image := clip.read()[1]) is not None]


def test_a_person_who_runs_through_the_picture_is_no_cut() -> None:
    room = scene(0)
    rng = np.random.default_rng(1)
    clip = [cv2.add(with_person(room, x), rng.integers(0, 6, room.shape, np.uint8)) for x in range(-80, 640, 24)]
    assert set(verdicts(*clip)) == {"same"}


def test_another_scene_is_a_cut_at_any_size_and_only_once() -> None:
    for size in (SIZE, (64, 48), (360, 640), (1920, 1080)):
        one, other = (cv2.resize(scene(seed), size) for seed in (0, 1))
        assert verdicts(one, one, other, other, one) == ["same", "same", "cut", "same", "cut"]


def test_another_light_is_no_cut() -> None:
    room = scene(0)
    darker = cv2.convertScaleAbs(room, alpha=0.5)
    brighter = cv2.convertScaleAbs(room, alpha=0.8, beta=50)
    assert verdicts(room, darker, room, brighter) == ["same"] * 4


def test_a_black_frame_is_blank_and_what_follows_is_compared_with_what_came_before_it() -> None:
    black, white = (np.full((*SIZE[::-1], 3), level, np.uint8) for level in (0, 255))
    room = scene(0)
    back = verdicts(room, black, black, room)
    assert back[:3] == ["same", "blank", "blank"]
    assert back[3] in ("same", "doubt")
    assert verdicts(room, black, scene(1)) == ["same", "blank", "cut"]
    assert verdicts(white, room) == ["blank", "same"]


def test_a_change_that_may_be_a_cut_is_doubted_in_a_calm_clip_and_not_in_a_restless_one() -> None:
    dim = [scene(seed, contrast=16.0) for seed in range(8)]
    assert verdicts(*[dim[0]] * 6, dim[1])[-1] == "doubt"
    assert "cut" not in verdicts(*dim)
    assert verdicts(*dim)[-3:] == ["same"] * 3


def test_after_forgetting_a_picture_is_compared_with_nothing() -> None:
    cuts = Cuts()
    cuts.judge(scene(0))
    cuts.forget()
    assert cuts.judge(scene(1)) == "same"
    assert cuts.judge(scene(2)) == "cut"


@pytest.mark.skipif(not MEDIA.is_dir(), reason="needs the recordings in shared/media")
def test_recorded_clips_have_no_cut_but_where_they_are_joined() -> None:
    clips = [frames(f"treadmill_4cam/cam0{n}.mp4", 12) for n in (1, 3)] + [frames("charuco_4cam/cam_0.mp4", 12)]
    cuts = Cuts()
    found = [cuts.judge(image) for clip in clips for image in clip]
    assert [index for index, one in enumerate(found) if one == "cut"] == [12, 24]
    assert set(found) == {"same", "cut"}
