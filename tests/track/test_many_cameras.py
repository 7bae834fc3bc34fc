"""Tracking in the world keeps each person's id in all views; support/crowd.py has the truth."""

import numpy as np
import pytest

from refit_rt import config
from refit_rt.errors import UserError
from refit_rt.track.many_cameras import RigTracker
from refit_rt.track.newcomers import Newcomers
from refit_rt.track.sight import Sight
from refit_rt.types import Boxes, Frame, WorldFit
from tests.support.crowd import BLUE, FPS, NO_POSE, RED, Crowd, keypoints_of, stand, walk
from tests.support.studio import joints_of, ring, standing

TORSO_AND_NOSE = (0, 5, 6, 11, 12)


def kept(ids: list[int | None]) -> set[int]:
    """The ids of a person, in ticks in which there is one."""
    return {number for number in ids if number is not None}


# Who is new


@pytest.mark.parametrize("cameras", [2, 4])
def test_somebody_new_is_fitted_at_the_third_look_of_two_cameras(cameras: int) -> None:
    story = Crowd({"ann": stand(0.3, 0.2, 1)}, ring(cameras, 4.5), missed=0.0).run()
    assert story.ids_of("ann") == [None] * 2 + [0] * 28
    assert [len(looked) for looked in story.looked[:3]] == [cameras] * 3
    (tick, number, of), *more = story.births
    assert (tick, number, of, more) == (2, 0, ["ann"] * cameras, [])


def test_whom_one_camera_alone_sees_gets_no_body_and_steals_nobody() -> None:
    paths = {"ann": walk((-1, 0), (1, 0), 5), "bob": stand(0.3, -1.2, 5), "bystander": stand(0.2, 1.0, 5)}
    story = Crowd(paths, unseen={"bystander": {0, 1, 3}}).run()
    assert kept(story.ids_of("bystander")) == set()
    assert len(story.ever()) == 2
    assert all(len(tick) == 2 for tick in story.published[15:])
    assert story.right() > 0.99
    seen_by_two = Crowd(paths, unseen={"bystander": {0, 3}}).run()
    assert len(seen_by_two.ever()) == 3


def test_where_one_camera_alone_is_live_people_are_born_all_the_same() -> None:
    gone = {row: [(0.0, 9.0)] for row in (1, 2, 3)}
    story = Crowd({"ann": stand(-0.8, 0, 2), "bob": stand(0.8, 0.3, 2)}, gone=gone).run()
    assert len(story.ever()) == 2
    assert len(kept(story.ids_of("ann"))) == len(kept(story.ids_of("bob"))) == 1
    assert all(views == (0,) for tick in story.views for views in tick.values())


def test_detections_of_one_person_are_gathered_right_with_five_pixels_of_noise() -> None:
    """Of four people whom nobody knows yet, in four cameras: one pixel is 5 mm where they stand."""
    right, found = [], []
    for seed in range(6):
        rng = np.random.default_rng(seed)
        places = rng.uniform(-1.3, 1.3, (4, 2))
        while min(np.linalg.norm(a - b) for i, a in enumerate(places) for b in places[:i]) < 0.6:
            places = rng.uniform(-1.3, 1.3, (4, 2))
        paths = {str(row): stand(x, z, 0.4) for row, (x, z) in enumerate(places)}
        story = Crowd(paths, seed=seed).run()
        right += [name == max(set(of), key=of.count) for _, _, of in story.births for name in of]
        found.append(set(story.published[-1].values()) == set(paths) and len(story.published[-1]) == 4)
    assert len(right) > 60
    assert np.mean(right) >= 0.98
    assert sum(found) >= 5


def test_of_people_who_show_five_joints_nearly_all_are_gathered_right() -> None:
    """Lines of sight to different people meet too, in bodies that are too small or too large."""
    right = []
    for seed in range(10):
        rng = np.random.default_rng(seed)
        places = rng.uniform(-1.3, 1.3, (4, 2))
        while min(np.linalg.norm(a - b) for i, a in enumerate(places) for b in places[:i]) < 0.6:
            places = rng.uniform(-1.3, 1.3, (4, 2))
        paths = {str(row): stand(x, z, 0.2) for row, (x, z) in enumerate(places)}
        births = Crowd(paths, shown=TORSO_AND_NOSE, seed=seed).run().births
        right += [name == max(set(of), key=of.count) for _, _, of in births for name in of]
    assert len(right) > 60
    assert np.mean(right) >= 0.98


def test_a_child_is_found_as_well() -> None:
    sight = Sight(ring(4, 4.5), 40.0)
    child = 0.65 * joints_of(standing(1, (0, 1, 0), 0.1))  # 1.1 m tall
    rng, strays = np.random.default_rng(0), Newcomers(sight, 4)
    for camera, lens in enumerate(ring(4, 4.5)):
        points = keypoints_of(child, lens)[None]
        points[..., :2] += rng.normal(0, 3, (1, 17, 2))
        frame = Frame(lens.name, 0, 0.0, 0.0, np.zeros((8, 8, 3), np.uint8))
        one = np.ones(1, np.float32)
        boxes = Boxes(frame, np.zeros((1, 4), np.float32), one, 0 * one, points)
        strays.see(camera, boxes, points, np.full((1, 2, 3), np.nan), np.array([0]))
    (group,) = strays.groups(0.0, 2)
    assert [one.camera for one in group.strays] == [0, 1, 2, 3]
    assert np.linalg.norm(group.place - child[[1, 2, 16, 17]].mean(0)) < 0.03


def test_five_joints_are_enough_to_be_found() -> None:
    paths = {"ann": stand(-1, 0.3, 0.4), "bob": stand(0.9, -0.6, 0.4)}
    story = Crowd(paths, shown=TORSO_AND_NOSE).run()
    assert set(story.published[-1].values()) == {"ann", "bob"}
    assert not any(Crowd(paths, shown=TORSO_AND_NOSE[1:]).run().published)


def test_bodies_explain_their_detections_and_nobody_is_born_beside_them() -> None:
    story = Crowd({"ann": stand(0, 0, 6)}, missed=0.3, fit_noise_m=0.03).run()
    assert story.ever() == [0]
    assert story.ids_of("ann")[5:] == [0] * (6 * FPS - 5)


# Ids


def test_people_who_cross_and_hug_keep_their_ids() -> None:
    there = walk((-1.5, 0), (-0.2, 0), 2)
    hug = np.concatenate([there, stand(-0.2, 0, 2), there[::-1]])
    paths = {
        "hugging": {"ann": hug, "bob": -hug},  # 0.4 m apart for two seconds
        "crossing": {"ann": walk((-1.5, 0.2), (1.5, 0.2), 4), "bob": walk((1.5, -0.2), (-1.5, -0.2), 4)},
    }
    for name, scene in paths.items():
        for clothes in ({}, {"ann": RED, "bob": BLUE}):
            story = Crowd(scene, clothes=clothes).run()
            assert len(story.ever()) == 2, name
            assert len(kept(story.ids_of("ann"))) == len(kept(story.ids_of("bob"))) == 1, name
            assert all(len(tick) == 2 for tick in story.published[10:]), name
            assert story.right() > 0.97, name


def test_four_people_who_walk_about_are_told_apart_in_99_of_100_looks() -> None:
    when = np.arange(6 * FPS) / FPS
    paths = {}
    for row in range(4):  # in a circle, 0.7 m from one another where it is smallest
        radius, angle = 0.9 + 0.4 * np.sin(2 * when), 0.8 * when + row * np.pi / 2
        paths[str(row)] = np.column_stack([radius * np.cos(angle), radius * np.sin(angle)])
    story = Crowd(paths).run()
    assert story.right(since=10) >= 0.99  # in the ticks before it, a body moves from where it was first put
    assert len(story.findings) > 100
    assert len(story.ever()) == 4
    for name in paths:
        assert len(kept(story.ids_of(name))) == 1


def test_who_leaves_and_comes_back_within_keep_s_keeps_the_id_by_place_and_clothes() -> None:
    path = stand(0, 0, 7)
    path[60:100] = np.nan
    story = Crowd({"ann": path, "bob": stand(1.2, 1.2, 7)}, clothes={"ann": RED, "bob": BLUE}).run()
    ann = story.ids_of("ann")
    assert len(kept(ann)) == 1
    assert set(ann[61:100]) == {None}
    assert None not in ann[125:]
    late = stand(0, 0, 9)
    late[60:200] = np.nan  # keep_s is two seconds
    assert len(kept(Crowd({"ann": late}).run().ids_of("ann"))) == 2


def test_somebody_in_other_clothes_is_another_person() -> None:
    gone, come = stand(0, 0, 5), stand(0, 0, 5)
    gone[60:], come[:97] = np.nan, np.nan  # so much later that no body can have strayed between them
    story = Crowd({"ann": gone, "bob": come}, clothes={"ann": RED, "bob": BLUE}).run()
    assert kept(story.ids_of("ann")) == {0}
    assert kept(story.ids_of("bob")) == {1}
    alike = Crowd({"ann": gone, "bob": come}, clothes={"ann": RED, "bob": RED}).run()
    assert kept(alike.ids_of("bob")) == {0}


def test_of_two_who_come_back_each_gets_the_id_of_the_same_clothes() -> None:
    ann, bob = stand(-0.5, 0, 6), stand(0.5, 0, 6)
    back = {"ann": np.concatenate([ann[:80], bob[80:]]), "bob": np.concatenate([bob[:80], ann[80:]])}
    for path in back.values():
        path[60:100] = np.nan
    story = Crowd(back, clothes={"ann": RED, "bob": BLUE}).run()  # they have changed places
    for name in back:
        assert len(kept(story.ids_of(name))) == 1
    assert len(story.ever()) == 2


def test_of_two_bodies_on_one_person_the_younger_one_is_lost() -> None:
    late = stand(0.7, 0, 4)
    late[:30] = np.nan

    def slide(tick: int, on: dict) -> None:
        if tick == 60:
            on[1] = "ann"

    story = Crowd({"ann": stand(0, 0, 4), "bob": late}, at_tick=slide).run()
    assert sorted(story.published[59]) == [0, 1]
    assert all(list(tick.values()).count("ann") == 1 for tick in story.published[62:])
    assert set(story.ids_of("ann")[5:]) == {0}
    assert "bob" in story.published[-1].values()


def test_a_camera_that_goes_away_changes_no_id() -> None:
    paths = {"ann": walk((-1, 0), (1, 0), 6), "bob": walk((0.6, 1.2), (0.6, -1.2), 6)}
    for gone in (
        {0: [(1.0, 9.0)]},
        {0: [(1.0, 3.0)], 1: [(2.0, 4.0)]},
        {0: [(2.0, 3.0)], 1: [(2.0, 3.0)], 2: [(2.0, 3.0)]},
    ):
        story = Crowd(paths, gone=gone).run()
        assert len(story.ever()) == 2
        assert all(len(tick) == 2 for tick in story.published[10:])
        (camera, ((start_s, _), *_)), *_ = gone.items()
        there = story.views[int(start_s * FPS) + 5]
        assert all(camera not in views for views in there.values())


@pytest.mark.parametrize("seconds", [0.5, 1.5, 3.5])
def test_when_all_cameras_are_away_for_a_while_everybody_is_followed_again(seconds: float) -> None:
    gone = {row: [(2.0, 2.0 + seconds)] for row in range(4)}
    story = Crowd({"ann": stand(-0.5, 0, 7), "bob": stand(0.5, 0.2, 7)}, gone=gone).run()
    assert set(story.published[-1].values()) == {"ann", "bob"}
    assert all(not tick for tick in story.published[int(2.1 * FPS) : int((1.9 + seconds) * FPS)])
    assert all(len(tick) == 2 for tick in story.published[int((2.4 + seconds) * FPS) :])
    if seconds < 2:
        assert len(story.ever()) == 2


def test_boxes_of_cameras_that_are_gone_are_not_used_later() -> None:
    crowd = Crowd({"ann": stand(0, 0, 3)}, missed=0.0)
    tracker = RigTracker(crowd.settings, crowd.cameras)
    for tick in range(3):
        looks = [(camera, crowd.look(camera, tick)[0]) for camera in range(4)]
        wanted, _ = tracker.update(tick / FPS, [tick < 2] * 4, looks)
        assert wanted == []
    for tick in range(30, 33):  # a second later
        looks = [(camera, crowd.look(camera, tick)[0]) for camera in range(4)]
        wanted, _ = tracker.update(tick / FPS, [True] * 4, looks)
        assert [one.id for one in wanted] == ([0] if tick == 32 else [])
    np.testing.assert_array_equal(wanted[0].boxes[1][0], looks[1][1].xyxy[0])


def test_the_same_frames_give_the_same_answer() -> None:
    paths = {"ann": walk((-1, 0), (1, 0.4), 3), "bob": walk((0, 1.2), (0.3, -1.2), 3)}
    assert Crowd(paths).run() == Crowd(paths).run()


# How many, and which of them


def test_max_people_limits_who_is_fitted_and_who_waits_takes_the_place() -> None:
    ann = stand(-1, 0, 8)
    ann[90:] = np.nan
    paths = {"ann": ann, "bob": stand(0, 0.5, 8), "cid": stand(1, 0, 8)}
    story = Crowd(paths, settings=config.Track(max_people=2)).run()
    assert all(len(tick) <= 2 for tick in story.published)
    assert all(len(tick) == 2 for tick in story.published[10:85])
    assert len(story.published[-1]) == 2
    assert sum(map(len, story.looked[10:85])) < 30  # who waits makes nobody look more often
    one = Crowd(paths, settings=config.Track(subject="largest")).run()
    assert all(len(tick) == 1 for tick in one.published[10:85])


LARGEST, MIDDLE = (1.8, 0.3), (0.1, -0.1)  # who is nearer to a camera is larger in all pictures together


@pytest.mark.parametrize("first", ["ann", "bob"])
def test_of_those_who_are_there_the_largest_or_the_nearest_to_the_middle_is_followed(first: str) -> None:
    """Also where the other one was found earlier, by two looks."""
    ann, bob = stand(*LARGEST, 1), stand(*MIDDLE, 1)
    {"ann": bob, "bob": ann}[first][:2] = np.nan
    for settings, who in (
        (config.Track(subject="largest"), "ann"),
        (config.Track(max_people=1), "ann"),
        (config.Track(subject="centre"), "bob"),
    ):
        story = Crowd({"ann": ann, "bob": bob}, settings=settings, missed=0.0).run()
        assert {name for tick in story.published for name in tick.values()} == {who}
        assert len(story.published[-1]) == 1


def test_the_place_of_somebody_who_is_lost_in_view_is_kept_for_them() -> None:
    """For keep_s: whoever else is there would take it."""
    ann, bob = stand(0, 0, 5), stand(1.3, 0, 5)
    ann[45:80], bob[:30] = np.nan, np.nan
    largest, clothes = config.Track(subject="largest"), {"ann": RED, "bob": BLUE}
    story = Crowd({"ann": ann, "bob": bob}, settings=largest, clothes=clothes).run()
    assert {name for tick in story.published for name in tick.values()} == {"ann"}
    assert kept(story.ids_of("ann")) == {0}
    assert set(story.published[-1].values()) == {"ann"}


def test_a_subject_is_the_one_with_an_id() -> None:
    paths = {"ann": stand(-1, 0, 2), "bob": stand(1, 0.5, 2)}
    everybody = Crowd(paths).run()
    story = Crowd(paths, settings=config.Track(subject="1")).run()
    assert story.ever() == [1]
    assert kept(story.ids_of(str(everybody.published[-1][1]))) == {1}


def test_an_unknown_subject_is_one_clear_line() -> None:
    with pytest.raises(UserError, match=r"^track\.subject: '.*' is nobody\. Set all, largest, centre, or"):
        RigTracker(config.Track(subject="smallest"), ring(2))


# Looks and fits


def followed(*places: tuple[float, float]) -> tuple[RigTracker, Crowd, list[np.ndarray]]:
    """People who stand still and are followed since 0.3 s."""
    crowd = Crowd({str(row): stand(x, z, 2) for row, (x, z) in enumerate(places)}, missed=0.0, noise_px=1.0)
    tracker = RigTracker(crowd.settings, crowd.cameras)
    joints: dict[int, np.ndarray] = {}
    for tick in range(10):
        looks = [(camera, crowd.look(camera, tick)[0]) for camera in range(4)]
        wanted, _ = tracker.update(tick / FPS, [True] * 4, looks)
        for one in wanted:
            if one.boxes:
                camera, (box, _) = next(iter(one.boxes.items()))
                away = {name: np.linalg.norm(crowd.cameras[camera].project(there)[0] - (box[:2] + box[2:]) / 2)
                        for name, there in crowd.people(tick).items()}  # fmt: skip
                joints[one.id] = crowd.people(tick)[min(away, key=lambda name: away[name])]
        tracker.observe(tick / FPS, fits_of(joints, [one.id for one in wanted]))
    assert sorted(joints) == list(range(len(places)))
    return tracker, crowd, [joints[number] for number in sorted(joints)]


def fits_of(joints: dict[int, np.ndarray], ids: list[int], confidence: float = 0.9) -> list[WorldFit]:
    return [WorldFit(number, NO_POSE, joints[number], confidence, 2, (0, 1, 2, 3), False) for number in ids]


def test_a_calm_room_is_looked_at_every_s_and_at_once_where_somebody_is_not_found() -> None:
    tracker, crowd, _ = followed((0, 0))
    last_s = 9 / FPS
    assert not tracker.wants_look(0, last_s + 0.2, 0.25)
    assert tracker.wants_look(0, last_s + 0.25, 0.25)
    assert tracker.waited_s(0, last_s + 0.2) == pytest.approx(0.2)
    assert tracker.wants_look(0, last_s + 0.6, 5.0) is False
    nobody = crowd.look(0, 12)[0].take([])
    tracker.update(12 / FPS, [True] * 4, [(0, nobody)])
    assert tracker.wants_look(0, 12 / FPS + 0.3, 0.25)
    assert tracker.wants_look(1, 1 / FPS, 5.0)  # a clock that starts again


def test_where_a_camera_should_see_people_is_known_within_a_few_pixels() -> None:
    tracker, crowd, people = followed((-0.7, 0), (0.7, 0.2))
    for camera in range(4):
        known = tracker.predict(camera, 9 / FPS)
        assert known.ids.tolist() == [0, 1]
        for box, joints in zip(known.xyxy, people, strict=True):
            pixels = crowd.cameras[camera].project(joints)
            assert np.abs(box - np.concatenate([pixels.min(0), pixels.max(0)])).max() < 3
        assert np.abs(known.roll).max() < 0.3


def test_a_closer_look_gives_key_points_and_finds_nobody_new() -> None:
    tracker, crowd, people = followed((0, 0))
    assert not len(tracker.unseen(2, 9 / FPS + 0.09, 0.1).ids)
    assert tracker.unseen(2, 9 / FPS + 0.1, 0.1).ids.tolist() == [0]
    stranger = Crowd({"cid": stand(1.2, 0.5, 2)}, missed=0.0)
    for tick in range(10, 20):
        found = crowd.look(2, tick)[0]
        points = np.concatenate([found.keypoints, stranger.look(2, tick)[0].keypoints])  # type: ignore[list-item]
        some = np.full(2, 0.9, np.float32)
        closer = Boxes(found.frame, np.zeros((2, 4), np.float32), some, 0 * some, points, np.array([0, 0]))
        wanted, findings = tracker.update(tick / FPS, [True] * 4, [(2, closer)])
        assert [(one.id, one.camera, one.time_s) for one in findings] == [(0, 2, tick / FPS)]
        np.testing.assert_array_equal(findings[0].keypoints, points[0])
        assert [one.id for one in wanted] == [0]
        assert not len(tracker.unseen(2, tick / FPS + 0.05, 0.1).ids)
        tracker.observe(tick / FPS, fits_of({0: people[0]}, [0]))


def test_late_looks_are_compared_with_the_bodies_of_their_own_frames() -> None:
    story_right = []
    crowd = Crowd({"ann": walk((-1.5, 0), (1.5, 0), 1.5)}, missed=0.0)  # 2 m/s
    tracker, late = RigTracker(crowd.settings, crowd.cameras), 6
    for tick in range(45):
        looks = [(camera, crowd.look(camera, tick - late)[0]) for camera in range(4)] if tick >= late else []
        wanted, findings = tracker.update(tick / FPS, [True] * 4, looks)
        story_right.append(len(findings))
        there = {one.id: crowd.people(tick)["ann"] for one in wanted}
        tracker.observe(tick / FPS, fits_of(there, list(there)))
        assert all(one.id == 0 for one in wanted)
    assert set(story_right[20:]) == {4}  # each view's key points are found to be of the body


def test_a_body_without_confidence_or_that_jumps_is_not_published() -> None:
    tracker, _, (here,) = followed((0, 0))
    joints = {0: here}

    def step(tick: int, there: np.ndarray, confidence: float = 0.9) -> tuple[list[int], list[bool]]:
        joints[0] = there
        wanted, _ = tracker.update(tick / FPS, [True] * 4, [])
        ids = [one.id for one in wanted]
        return ids, tracker.observe(tick / FPS, fits_of(joints, ids, confidence))

    assert step(10, here) == ([0], [True])
    assert step(11, here + 1.0) == ([0], [False])
    assert step(12, here) == ([0], [True])  # it came back
    assert step(13, here, 0.1) == ([0], [False])
    assert step(14, here) == ([], [])  # lost


def test_a_view_in_which_a_person_is_behind_another_is_left_out() -> None:
    cameras = ring(4, 4.5)
    towards = cameras[0].position[[0, 2]] / np.linalg.norm(cameras[0].position[[0, 2]])
    x, z = (0.35 * towards).tolist()
    story = Crowd({"ann": stand(-x, -z, 1), "bob": stand(x, z, 1)}, cameras, missed=0.0).run()
    (ann,) = kept(story.ids_of("ann"))
    (bob,) = kept(story.ids_of("bob"))
    late = story.views[-1]
    assert set(late[bob]) >= {0}
    assert len(late[ann]) >= 2
    assert len(late[ann]) <= len(late[bob]) or 0 not in late[ann]
