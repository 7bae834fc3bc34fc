"""Everybody before a rig: ticks of frames → people, with stand-ins for detector and network (support/studio.py)."""

import logging
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from refit_rt import config, geometry
from refit_rt.cameras import Camera, Rig, lens, write_rig
from refit_rt.errors import UserError
from refit_rt.fit.views import ViewsFitter
from refit_rt.follow_rig import RigFollower, load_rig_follower, rig_cameras, scaled
from refit_rt.track.many_cameras import RigTracker
from refit_rt.types import Boxes, Frame, FrameSet, Known, People, Pose
from tests.support.all_knowing import BODY, UPRIGHT
from tests.support.crowd import keypoints_of
from tests.support.studio import AllKnowingRig, frames, joints_of, ring, standing

CAMERAS = ring(3)
FIRST = CAMERAS[0]


class Finder:
    """Finds the one person of the world in every camera."""

    threshold = 0.35

    def __init__(self, body: Pose) -> None:
        self.joints = joints_of(body)
        self.looked: list[str] = []

    def find(self, frame: Frame, known: Known) -> Boxes:
        self.looked.append(frame.camera)
        points = keypoints_of(self.joints, {one.name: one for one in CAMERAS}[frame.camera]).astype(np.float32)
        box = np.concatenate([points[:, :2].min(0), points[:, :2].max(0)])[None]
        one = np.ones(1, np.float32)
        return Boxes(frame, box, one, 0 * one, points[None])


class Closer(Finder):
    """Finds the people who are asked for."""

    def find(self, frame: Frame, known: Known) -> Boxes:
        return replace(super().find(frame, known), ids=known.ids[:1])


def follower(body: Pose, settings: config.Settings, closer: Any = None) -> tuple[RigFollower, Finder]:
    finder: Any = Finder(body)
    tracker = RigTracker(settings.track, CAMERAS, finder.threshold, settings.fit.min_confidence)
    fitter = ViewsFitter(settings.fit, AllKnowingRig(body, CAMERAS), BODY, UPRIGHT)
    return RigFollower(settings, CAMERAS, finder, tracker, fitter, closer=closer), finder


def tick(index: int, pictures: list) -> FrameSet:
    return FrameSet(tuple(one.name for one in CAMERAS), tuple(pictures), index, 100 + index / 30, index / 30)


def run(ticks: int, without: dict[int, tuple[int, ...]] | None = None, smooth: bool = True) -> list[People]:
    """The people of each tick; without: tick → cameras that have no frame."""
    settings = config.Settings(smooth=config.Smooth(enabled=smooth))
    rig, _ = follower(standing(1), settings)
    gone = without or {}
    return [rig.step(tick(index, frames(CAMERAS, index, gone.get(index, ()))))[1] for index in range(ticks)]


@pytest.mark.parametrize("smooth", [False, True])
def test_a_person_is_published_in_the_first_cameras_frame_and_in_the_world(smooth: bool) -> None:
    joints, people = joints_of(standing(1)), run(6, smooth=smooth)
    assert [one.ids.tolist() for one in people] == [[]] * 2 + [[0]] * 4  # three looks agree
    last = people[-1]
    assert (last.camera, last.size, last.focal_px, last.centre_px) == (
        FIRST.name, FIRST.size, FIRST.focal_px, FIRST.centre_px,
    )  # fmt: skip
    assert (last.frame_index, last.time_s, last.captured_s, last.missing) == (5, 5 / 30, 100 + 5 / 30, ())
    assert 1000 * np.abs(last.joints_world[0] - joints).max() < 3
    assert 1000 * np.abs(last.joints_camera[0] - FIRST.camera(joints)).max() < 3
    assert np.abs(last.joints_px[0] - FIRST.project(joints)).max() < 1
    posed = BODY.joints(geometry.matrix_from_axis_angle(last.poses[0].astype(float)), last.betas[0]) + last.trans[0]
    assert 1000 * np.abs(posed - FIRST.camera(joints)).max() < 3
    pixels = FIRST.project(joints)
    assert np.abs(last.box[0] - np.concatenate([pixels.min(0), pixels.max(0)])).max() < 2
    assert last.confidence[0] > 0.9
    assert people[0].missing == ()
    assert people[0].joints_world.shape == (0, 24, 3)


def test_cameras_without_a_frame_are_named_and_the_person_is_followed_by_the_others() -> None:
    joints = joints_of(standing(1))
    people = run(10, {5: (1,), 6: (0, 2), 7: (0, 1, 2)})
    assert [one.missing for one in people[4:9]] == [(), ("cam1",), ("cam0", "cam2"), ("cam0", "cam1", "cam2"), ()]
    for index in (5, 6, 8, 9):
        assert people[index].ids.tolist() == [0]
        assert people[index].camera == FIRST.name  # also where that one is missing
        assert 1000 * np.abs(people[index].joints_world[0] - joints).max() < 8
    assert people[7].ids.tolist() == []
    assert [people[index].views.tolist() for index in (4, 5, 6)] == [[0b111], [0b101], [0b010]]
    assert people[7].cameras == ("cam0", "cam1", "cam2")


def test_the_message_says_where_cameras_and_floor_are(tmp_path: Path) -> None:
    write_rig(Rig(tuple(CAMERAS), floor=True), tmp_path / "rig.json")
    settings = config.Settings(camera=config.Camera(calibration=str(tmp_path / "rig.json")))
    people = follower(standing(1), settings)[0].step(tick(0, frames(CAMERAS, 0)))[1]
    places = np.reshape(people.world_from_cameras, (3, 3, 4))
    for place, camera in zip(places, CAMERAS, strict=True):
        np.testing.assert_allclose(place, camera.world_from_camera[:3], atol=1e-9)
    assert people.floor == (0, 1, 0, 0)
    assert run(1)[0].floor is None


def test_feet_that_stand_are_reported_unless_the_setting_is_off() -> None:
    assert run(25)[-1].contacts.min() > 0.9
    assert (run(25, smooth=False)[-1].contacts == 0).all()


def test_a_camera_that_shows_nothing_counts_as_missing_and_is_reported_once(caplog: pytest.LogCaptureFixture) -> None:
    rig, finder = follower(standing(1), config.Settings())
    with caplog.at_level(logging.WARNING):
        for index in range(8):
            pictures = frames(CAMERAS, index)
            if 3 <= index < 6:
                pictures[2] = replace(pictures[2], image=np.zeros_like(pictures[2].image))
            finder.looked.clear()
            shown, people = rig.step(tick(index, pictures))
            covered = 3 <= index < 6
            assert people.missing == shown.missing == (("cam2",) if covered else ())
            assert not (covered and "cam2" in finder.looked)
            assert (shown.frames[2] is None) == covered
    assert [record.getMessage() for record in caplog.records] == [
        "camera 'cam2' shows nothing: is it covered?",
        "camera 'cam2' sees again",
    ]


def test_a_camera_whose_pictures_change_their_size_is_left_out_and_named(caplog: pytest.LogCaptureFixture) -> None:
    rig, _ = follower(standing(1), config.Settings())
    for index in range(4):
        pictures = frames(CAMERAS, index)
        if index >= 2:
            pictures[1] = replace(pictures[1], image=np.rot90(pictures[1].image).copy())
        shown, people = rig.step(tick(index, pictures))
        assert people.missing == shown.missing == (("cam1",) if index >= 2 else ())
    (message,) = caplog.messages
    assert "camera 'cam1' sends pictures of" in message
    assert "it is left out. Start again with another calibration" in message


def test_people_are_looked_at_more_closely_between_looks_at_whole_pictures() -> None:
    closer: Any = Closer(standing(1))
    rig, finder = follower(standing(1), config.Settings(), closer)
    found = []
    rig.fitter.look = lambda person, camera, time_s, points: found.append((person, camera))  # type: ignore[method-assign]
    for index in range(12):
        rig.step(tick(index, frames(CAMERAS, index)))
    assert set(closer.looked) == {one.name for one in CAMERAS}
    assert set(found) == {(0, camera) for camera in range(3)}
    assert len(finder.looked) < 3 * 6  # each camera's whole picture in the first ticks, then closer looks


def as_taken(frame: Frame, camera: Camera) -> Frame:
    """A frame of straight lines, as a lens bends them."""
    y, x = np.mgrid[: frame.size[1], : frame.size[0]].astype(float)
    straight = lens.straightened(np.stack([x, y], -1), camera).astype(np.float32)
    return replace(frame, image=cv2.remap(frame.image, straight[..., 0], straight[..., 1], cv2.INTER_LINEAR))


def test_before_a_bent_lens_a_person_is_found_and_fitted_where_a_straight_one_sees_them() -> None:
    """The network reads the crop's own pixels: they show where it was cut out."""
    bent = replace(FIRST, distortion=np.array([-0.2, 0.02, 0.0, 0.0, 0.0]))
    settings = config.Settings(smooth=config.Smooth(enabled=False))
    body, cameras = standing(1), [bent, *CAMERAS[1:]]
    tracker = RigTracker(settings.track, cameras)
    fitter = ViewsFitter(settings.fit, AllKnowingRig(body, CAMERAS), BODY, UPRIGHT)

    class TakenFinder(Finder):
        def find(self, frame: Frame, known: Known) -> Boxes:
            found = super().find(frame, known)
            if frame.camera != bent.name:
                return found
            points = np.array(found.keypoints)
            points[..., :2] = lens.bent(points[..., :2], bent)
            return replace(found, xyxy=lens.bent_boxes(found.xyxy, bent), keypoints=points)

    finder: Any = TakenFinder(body)
    rig = RigFollower(settings, cameras, finder, tracker, fitter)
    for index in range(6):
        given = [as_taken(frame, bent) if row == 0 else frame for row, frame in enumerate(frames(CAMERAS, index))]
        shown, people = rig.step(tick(index, given))
    assert people.ids.tolist() == [0]
    assert 1000 * np.abs(people.joints_world[0] - joints_of(body)).max() < 4
    assert [one is not None and one.image is frame.image for one, frame in zip(shown.frames, given, strict=True)] == [
        True
    ] * 3
    first, second = rig.straight(shown).frames[:2]
    assert first is not None
    assert second is not None
    off = np.abs(first.image.astype(float) - frames(CAMERAS)[0].image)[300:-300, 300:-300]
    assert off.mean() < 1
    assert second.image is given[1].image


def test_every_frame_is_seen_at_the_time_of_its_tick() -> None:
    """Cameras that are not synchronised film half a period apart; their key points belong to the tick's bodies."""
    rig, _ = follower(standing(1), config.Settings())
    given = tick(0, [replace(one, time_s=one.time_s + 0.04 * row) for row, one in enumerate(frames(CAMERAS)) if one])
    shown, _ = rig.step(given)
    assert {one.time_s for one in shown.frames if one} == {given.time_s}


# What cannot be used


def settings_of(tmp_path: Path, *names: str, calibration: bool = True) -> config.Settings:
    write_rig(Rig(tuple(CAMERAS)), tmp_path / "rig.json")
    return config.Settings(
        capture=config.Capture(sources={name: f"{name}.mp4" for name in names}),
        camera=config.Camera(calibration=str(tmp_path / "rig.json") if calibration else ""),
    )


def test_the_cameras_of_a_run_are_the_rigs_in_the_order_of_the_sources(tmp_path: Path) -> None:
    found = rig_cameras(settings_of(tmp_path, "cam2", "cam0"))
    assert [one.name for one in found] == ["cam2", "cam0"]
    np.testing.assert_allclose(found[1].world_from_camera, FIRST.world_from_camera, atol=1e-6)


def test_sources_without_a_rig_or_that_it_does_not_know_are_one_clear_line(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"^capture\.sources: several cameras need a rig\. Set camera\.calibration"):
        rig_cameras(settings_of(tmp_path, "cam0", "cam1", calibration=False))
    with pytest.raises(UserError, match=r"rig\.json: has no camera left, top, only cam0, cam1, cam2\. Name"):
        rig_cameras(settings_of(tmp_path, "left", "cam1", "top"))
    with pytest.raises(UserError, match=r"rig\.json: camera 'cam0' was calibrated .* Calibrate again at this size"):
        load_rig_follower(settings_of(tmp_path, "cam0", "cam1"), sizes={"cam0": (1000, 1000)})


def test_a_camera_is_scaled_to_the_size_of_its_pictures() -> None:
    half = scaled(FIRST, (500, 400), "rig.json")
    assert (half.size, half.focal_px) == ((500, 400), FIRST.focal_px / 2)
    assert scaled(FIRST, None, "rig.json") is FIRST
