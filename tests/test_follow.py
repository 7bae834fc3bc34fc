"""The follower: whose lens bends lines, and what it forgets."""

import threading
import time
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import cv2
import numpy as np
import pytest

from refit_rt import config
from refit_rt.body.smpl import load_body
from refit_rt.cameras import Camera, Rig, lens, write_rig
from refit_rt.errors import UserError
from refit_rt.follow import Follower
from refit_rt.track.one_camera import Tracker
from refit_rt.types import Frame
from tests.support.fakes import FakeDetector, FakeFitter, FakeTracker


def test_of_a_bent_lens_everything_but_the_picture_is_in_the_straight_picture(tmp_path: Path) -> None:
    """The detector looks at the picture as taken; the tracker, the fit and the overlay get what is straight."""
    camera = Camera("camera", (320, 240), 250.0, (159.5, 119.5), np.array([-0.2, 0.02, 0.0, 0.0, 0.0]))
    write_rig(Rig((camera,)), tmp_path / "lens.json")
    settings = config.Settings(camera=config.Camera(calibration=str(tmp_path / "lens.json")))
    true = np.array([30.0, 40.0, 90.0, 220.0], np.float32)  # in the straight picture

    class Finder(FakeDetector):
        def find(self, frame, known):
            assert frame.image is taken
            return replace(super().find(frame, known), xyxy=lens.bent_boxes(true[None], camera))

    tracker, fitter = FakeTracker(), FakeFitter(load_body())
    follower = Follower(settings, Finder(), cast(Any, tracker), cast(Any, fitter))
    taken = picture(1)
    frame = Frame("camera", 0, 100.0, 0.0, taken)
    shown, _ = follower.step(frame)
    assert tracker.boxes is not None
    assert np.abs(tracker.boxes.xyxy - true).max() < 0.3
    assert tracker.camera is not None
    assert lens.bends(tracker.camera)
    assert shown.image is taken
    straight = follower.straight(shown).image
    np.testing.assert_array_equal(straight, lens.straight_picture(taken, camera))
    assert np.abs(straight.astype(int) - taken).max() > 10


class Growing(FakeFitter):
    """Remembers how many frames it fitted since it last forgot."""

    frames = 0

    def forget(self) -> None:
        self.frames = 0

    def fit(self, tracks, camera):
        self.frames += 1
        return super().fit(tracks, camera)


def picture(seed: int) -> np.ndarray:
    """A scene of its own: soft patches."""
    rough = np.random.default_rng(seed).normal(128, 45, (9, 16, 3)).clip(0, 255).astype(np.uint8)
    return cv2.resize(rough, (320, 240), interpolation=cv2.INTER_CUBIC)


def follow(images: list[np.ndarray], still: bool = False) -> tuple[list[list[int]], list[int]]:
    """Each frame's ids, and how many frames the fit remembers; one person stands in the middle of every picture."""
    fitter: Any = Growing(load_body())
    follower = Follower(config.Settings(), FakeDetector(), Tracker(config.Track()), fitter)
    ids, remembered = [], []
    for index, image in enumerate(images):
        frame = Frame("test", index, 100 + index / 30, index / 30, image, still=still)
        ids.append(follower.step(frame)[1].ids.tolist())
        remembered.append(fitter.frames)
    return ids, remembered


def test_a_cut_forgets_everybody_and_what_follows_has_new_ids() -> None:
    ids, remembered = follow([picture(0)] * 6 + [picture(1)] * 4)
    assert ids == [[0]] * 6 + [[1]] * 4
    assert remembered == [1, 2, 3, 4, 5, 6, 1, 2, 3, 4]


def test_pictures_of_another_size_are_followed_by_nobody_who_was_there(caplog) -> None:
    turned = cv2.rotate(picture(0), cv2.ROTATE_90_CLOCKWISE)
    ids, remembered = follow([picture(0)] * 3 + [turned] * 3)
    assert ids == [[0]] * 3 + [[1]] * 3
    assert remembered == [1, 2, 3, 1, 2, 3]
    assert caplog.messages == ["the pictures are 240 x 320 from frame 3 on: everybody is found again"]


def test_pictures_of_another_shape_than_the_calibration_end_the_run_in_one_line(tmp_path: Path) -> None:
    write_rig(Rig((Camera("camera", (320, 240), 300.0, (159.5, 119.5)),)), tmp_path / "rig.json")
    settings = config.Settings(camera=config.Camera(calibration=str(tmp_path / "rig.json")))
    follower = Follower(settings, FakeDetector(), Tracker(config.Track()), cast("Any", Growing(load_body())))
    follower.step(Frame("camera", 0, 100.0, 0.0, picture(0)))
    turned = cv2.rotate(picture(0), cv2.ROTATE_90_CLOCKWISE)
    with pytest.raises(UserError, match=r"camera 'camera' was calibrated at \(320, 240\), the video is \(240, 320\)"):
        follower.step(Frame("camera", 1, 100.1, 0.1, turned))


def test_a_still_is_followed_by_no_memory_of_it() -> None:
    ids, remembered = follow([picture(0)] * 3 + [picture(1)], still=True)
    assert ids == [[0], [1], [2], [3]]
    assert remembered == [1, 1, 1, 1]


def test_a_black_frame_shows_nobody_and_the_ids_outlive_it() -> None:
    black = np.zeros((240, 320, 3), np.uint8)
    ids, _ = follow([picture(0)] * 6 + [black] * 2 + [picture(0)] * 4)
    assert ids[:6] == [[0]] * 6
    assert ids[-1] == [0]


def test_live_a_look_that_was_asked_for_before_a_cut_finds_nobody_after_it() -> None:
    open_gate, begun = threading.Semaphore(0), threading.Semaphore(0)

    class Slow(FakeDetector):
        def find(self, frame, known):
            begun.release()
            assert open_gate.acquire(timeout=10)
            return super().find(frame, known)

    fitter: Any = Growing(load_body())
    follower = Follower(config.Settings(), Slow(), Tracker(config.Track()), fitter, live=True)
    try:
        follower.step(Frame("test", 0, 100.0, 0.0, picture(0)))
        assert begun.acquire(timeout=10)
        people = follower.step(Frame("test", 1, 100.03, 0.03, picture(1)))[1]
        open_gate.release()
        index, waited_until = 2, time.monotonic() + 10
        while not begun.acquire(blocking=False) and time.monotonic() < waited_until:  # the look at the second scene
            index += 1
            people = follower.step(Frame("test", index, 100 + index / 30, index / 30, picture(1)))[1]
            assert not len(people.ids)
            time.sleep(0.001)
        open_gate.release()
        while not len(people.ids) and time.monotonic() < waited_until:
            index += 1
            people = follower.step(Frame("test", index, 100 + index / 30, index / 30, picture(1)))[1]
            time.sleep(0.001)
        assert people.ids.tolist() == [0]
    finally:
        open_gate.release(100)
        follower.close()


def test_live_the_time_of_a_fit_limits_how_many_people_are_fitted_and_this_is_reported(caplog) -> None:
    class Slow(FakeFitter):
        def fit(self, tracks, camera):
            time.sleep(0.03 * len(tracks.ids))
            return super().fit(tracks, camera)

    fitter: Any = Slow(load_body())
    tracker: Any = FakeTracker()
    tracker.waiting = 4
    follower = Follower(config.Settings(), FakeDetector(), tracker, fitter, live=True)
    try:
        for index in range(20):
            follower.step(Frame("test", index, float(index), index / 30, picture(3)))
            time.sleep(0.01)
    finally:
        follower.close()
    assert 1 <= tracker.most <= 2  # of 30 ms each, in a fifteenth of a second
    assert caplog.text.count("4 more people are seen") == 1
