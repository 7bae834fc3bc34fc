"""Tracking keeps each person's id and publishes no body that is not theirs; stick.py has the truth."""

import itertools
from dataclasses import replace

import numpy as np
import pytest

from refit_rt import config
from refit_rt.errors import UserError
from refit_rt.track.one_camera import Tracker
from refit_rt.types import Boxes, Frame, Tracks
from tests.track.stick import (
    BLUE,
    FPS,
    HEIGHT_PX,
    RED,
    SIZE,
    Scene,
    Story,
    box,
    joints,
    keypoints,
    line,
    people,
    rows,
    stand,
)

LOOK = 8  # frames from look to look in a calm picture: 0.25 s at 30 fps
IMAGE = np.full((SIZE[1], SIZE[0], 3), 90, np.uint8)


def frame_of(index: int) -> Frame:
    return Frame("camera", index, 10 + index / FPS, index / FPS, IMAGE)


def boxes_of(frame: Frame, *xyxy: np.ndarray, roll: float = 0.0) -> Boxes:
    """Detections without key points."""
    some = np.ones(len(xyxy), np.float32)
    return Boxes(frame, rows(list(xyxy), 4), 0.9 * some, roll * some)


def bodies(tracks: Tracks, centres: list[np.ndarray], **other):
    """A good body for each track, at these places."""
    n = len(tracks.ids)
    fitted = {
        "ids": tracks.ids, "joints_px": [joints(one) for one in centres], "box": [box(one) for one in centres],
        "trans": np.tile([0, 0, 4], (n, 1)), "confidence": np.full(n, 0.9),
    }  # fmt: skip
    return people(fitted | other, tracks.frame)


# One person


def test_a_person_who_walks_keeps_one_id_and_is_predicted_within_a_few_pixels() -> None:
    story = Scene({"ann": line((200, 400), (1100, 400), 5)}).run()
    assert set(story.ids_of("ann")) == {0}
    assert np.percentile(story.error_px, 95) < 8  # of a body 300 px high, at 180 px/s
    assert story.fresh[0] == [0]
    assert not any(story.fresh[1:])


def test_a_detector_without_key_points_serves_as_well() -> None:
    paths = {"ann": line((200, 400), (1100, 400), 4), "bob": stand(600, 4)}
    story = Scene({"ann": paths["ann"]}, with_keypoints=False).run()
    assert set(story.ids_of("ann")) == {0}
    assert not any(story.fresh[1:])
    assert kept_ids(Scene(paths, with_keypoints=False).run())


def test_ids_survive_a_shorter_occlusion_than_keep_s_standing_walking_and_turning_back() -> None:
    there = line((200, 400), (700, 400), 3)
    paths = {
        "standing": stand(640, 8),
        "walking": line((150, 380), (1100, 380), 8),
        "turning": np.concatenate([there, there[::-1], line((200, 400), (200, 400), 2)]),
    }
    for name, path in paths.items():
        story = Scene({name: path}, {name: [(2.0, 3.5)]}).run()
        ids = story.ids_of(name)
        assert set(ids) == {0, None}, name
        found = int(3.5 * FPS)
        assert ids[found + 15 :] == [0] * len(ids[found + 15 :]), f"{name} was not found again within half a second"


def test_nobody_is_published_who_is_hidden() -> None:
    story = Scene({"ann": stand(640, 4)}, {"ann": [(2.0, 3.0)]}).run()
    assert story.published[60:90] == [{}] * 30


def test_after_a_longer_occlusion_a_person_gets_a_new_id_and_no_id_is_used_again() -> None:
    story = Scene({"ann": stand(640, 14)}, {"ann": [(2, 5), (8, 11)]}).run()
    ids = (number for number in story.ids_of("ann") if number is not None)
    assert [number for number, _ in itertools.groupby(ids)] == [0, 1, 2]


def test_keep_s_is_how_long_a_hidden_person_keeps_the_id() -> None:
    for keep_s, last in ((1.0, 1), (4.0, 0)):
        settings = config.Track(keep_s=keep_s)
        story = Scene({"ann": stand(640, 6)}, {"ann": [(1.0, 3.5)]}, settings).run()
        assert story.ids_of("ann")[-1] == last


def test_a_body_that_turns_upside_down_keeps_its_roll_smoothed_along_the_shorter_way() -> None:
    tracker, rng = Tracker(config.Track()), np.random.default_rng(3)
    rolls, here = [], np.array([500.0, 360.0])
    for index in range(90):
        frame = frame_of(index)
        tracks = tracker.update(frame, boxes_of(frame, box(here), roll=3.1) if index % LOOK == 0 else None)
        rolls.append(tracks.roll[0])
        upside_down = (np.pi + rng.normal(0, 0.1) + np.pi) % (2 * np.pi) - np.pi
        tracker.observe(bodies(tracks, [here], roll=[upside_down]))
    away = np.abs(np.angle(np.exp(1j * (np.array(rolls) - np.pi))))
    assert np.degrees(np.sqrt((away[5:] ** 2).mean())) < 4  # the noise is 5.7 degrees


# Bodies that are not believed


def test_a_body_that_jumps_for_three_frames_is_not_published_and_comes_back() -> None:
    def astray(index: int, name: str, cold: bool):
        return (1.0, 0.0) if 40 <= index < 43 else None

    story = Scene({"ann": stand(500, 4)}, astray=astray).run()
    assert story.published[40:43] == [{}] * 3
    assert set(story.ids_of("ann")[:40]) == {0}
    assert set(story.ids_of("ann")[43 + FPS // 2 :]) == {0}


def test_a_body_that_stays_at_a_wrong_place_restarts_at_the_person_under_its_id() -> None:
    started: list[int] = []

    def astray(index: int, name: str, cold: bool):
        """Off by a height from frame 40 on, until the fit starts cold."""
        started.extend([index] if cold else [])
        return (1.0, 0.0) if index >= 40 and len(started) < 2 else None

    story = Scene({"ann": stand(500, 4)}, astray=astray).run()
    assert len(started) == 2
    assert 40 < started[1] < 46
    assert story.published[40 : started[1]] == [{}] * (started[1] - 40)
    assert story.ids_of("ann")[started[1] :] == [0] * (120 - started[1])


def test_a_body_that_leaves_in_depth_is_not_published() -> None:
    tracker, here = Tracker(config.Track()), np.array([500.0, 360.0])
    kept = []
    for index in range(30):
        frame = frame_of(index)
        tracks = tracker.update(frame, boxes_of(frame, box(here)) if index == 0 else None)
        far = [[0, 0, 9 if index == 20 else 4]]
        kept.append(tracker.observe(bodies(tracks, [here], trans=far)).tolist())
    assert kept[20] == [False]
    assert [one for index, one in enumerate(kept) if index != 20] == [[True]] * 29


def test_who_is_found_again_in_an_older_frame_starts_where_that_person_is_by_now() -> None:
    """The person runs 700 px/s, and the answer comes four frames late, while the fit goes astray."""
    tracker, late = Tracker(config.Track()), 4
    path = line((100, 360), (1500, 360), 2.0)
    asked = 30
    for index in range(asked + late + 1):
        frame, boxes = frame_of(index), None
        if index == 0 or index == asked + late:
            then = path[index - late if index else 0]
            boxes = boxes_of(frame_of(max(index - late, 0)), box(then))
            boxes = replace(boxes, keypoints=keypoints(then)[None].astype(np.float32))
        tracks = tracker.update(frame, boxes)
        astray = np.array([0.0, -200]) if asked <= index < asked + late else 0
        kept = tracker.observe(bodies(tracks, [path[index] + astray] * len(tracks.ids)))
    assert tracks.fresh.tolist() == [True]
    assert abs((tracks.xyxy[0, 0] + tracks.xyxy[0, 2]) / 2 - path[asked + late, 0]) < 0.15 * HEIGHT_PX
    assert kept.tolist() == [True]


@pytest.mark.parametrize(("confidence", "stays"), [(0.9, True), (0.5, False)])
def test_a_look_that_does_not_find_a_person_ends_a_body_that_has_just_become_uncertain(
    confidence: float, stays: bool
) -> None:
    tracker, here = Tracker(config.Track()), np.array([500.0, 360])
    for index in range(21):
        frame = frame_of(index)
        tracks = tracker.update(frame, boxes_of(frame, box(here)) if index in (0, 8, 16) else None)
        tracker.observe(bodies(tracks, [here], confidence=np.array([confidence if index == 20 else 0.9])))
    assert tracker.wants_look(21 / FPS, 0.25) != stays
    assert tracker.update(frame_of(21), boxes_of(frame_of(21))).ids.tolist() == ([0] if stays else [])


@pytest.mark.parametrize(("confidence", "within_s"), [(0.05, 0.04), (0.5, 0.4), (0.9, 1.5)])
def test_a_body_on_nobody_ends_the_sooner_the_less_it_is_believed(confidence: float, within_s: float) -> None:
    path = stand(640, 5)
    path[60:] = np.nan
    story = Scene({"ann": path}, nobody=confidence).run()
    assert set(story.ids_of("ann")[:60]) == {0}
    last = max(index for index, frame in enumerate(story.published) if frame)
    assert last < 60 + within_s * FPS
    assert sum(1 for look in story.looks if 60 <= look <= last + 1) <= 8


def test_who_leaves_through_the_edge_is_not_published_once_gone() -> None:
    story = Scene({"ann": line((900, 360), (1600, 360), 4)}, nobody=0.9).run()
    gone = int(np.flatnonzero(line((900, 360), (1600, 360), 4)[:, 0] > SIZE[0] + 60)[0])
    assert not any(story.published[gone + 3 :])


def test_a_body_outside_the_picture_or_with_a_useless_box_is_lost_and_looked_for_at_once() -> None:
    for bad in ([1400, 100, 1500, 400], [500, 100, 400, 400], [np.nan, 0, 1, 1], [500, 300, 510, 320]):
        tracker = Tracker(config.Track())
        for index in range(10):
            frame = frame_of(index)
            first = boxes_of(frame, np.array([450, 200, 560, 500])) if index == 0 else None
            tracks = tracker.update(frame, first)
            given = {"box": [bad]} if index == 9 else {}
            kept = tracker.observe(bodies(tracks, [np.array([505.0, 350])], **given))
        assert not kept.any()
        assert not len(tracker.update(frame_of(10), None).ids)
        assert tracker.wants_look(10 / FPS, 0.25)


def test_a_false_detection_is_never_published_and_tried_more_and_more_rarely() -> None:
    def astray(index: int, name: str, cold: bool):
        """The fit finds another body than the detector does."""
        return (0.6, 0.0) if name == "poster" else None

    story = Scene({"poster": stand(1000, 10), "ann": stand(300, 10)}, astray=astray).run()
    tried = [index for index, fresh in enumerate(story.fresh) if fresh and index]
    pauses = np.diff(tried)
    assert set(story.ids_of("ann")) <= {0, 1}
    assert len(story.ever()) == 1
    assert 3 <= len(tried) <= 10
    assert (np.diff(pauses) >= -LOOK).all()
    assert pauses[-1] > 2 * pauses[0]
    assert np.median(np.diff(story.looks)[20:]) >= LOOK - 1  # nor is it looked at more often


def test_a_body_of_low_confidence_at_a_detection_is_tried_more_and_more_rarely() -> None:
    tracker, starts = Tracker(config.Track()), []
    for index in range(300):
        frame = frame_of(index)
        looks = tracker.wants_look(frame.time_s, 0.25)
        tracks = tracker.update(frame, boxes_of(frame, box(np.array([500.0, 360]))) if looks else None)
        starts += [index] * len(tracks.ids)
        centres = [np.array([500.0, 360])] * len(tracks.ids)
        assert not tracker.observe(bodies(tracks, centres, confidence=np.full(len(tracks.ids), 0.1))).any()
    assert 3 <= len(starts) <= 10
    assert np.diff(starts)[-1] > 3 * np.diff(starts)[0]


def test_doubtful_or_small_people_start_no_track() -> None:
    assert not Scene({"ann": stand(640, 2)}, scores={"ann": 0.3}).run().ever()
    small = Scene({"ann": stand(640, 2)}, heights={"ann": 60.0}, settings=config.Track(min_height_px=80))
    assert not small.run().ever()
    assert replace(small, settings=config.Track(min_height_px=40)).run().ever() == [0]


# Several people


def kept_ids(story: Story, names: tuple[str, ...] = ("ann", "bob")) -> bool:
    """Whether everybody has the same id at the end as at the start."""
    first = [set(story.ids_of(name)[5:15]) for name in names]
    return all(ids == set(story.ids_of(name)[-8:]) and len(ids) == 1 for name, ids in zip(names, first, strict=True))


def crossing(seconds: float, behind: str, clothes: dict, **other) -> Scene:
    paths = {"ann": line((250, 380), (1030, 380), seconds), "bob": line((1030, 400), (250, 400), seconds)}
    order = sorted(paths, key=lambda name: name != behind)
    return Scene({name: paths[name] for name in order}, clothes=clothes, **other)


@pytest.mark.parametrize("late", [0, 3])
@pytest.mark.parametrize("clothes", [{}, {"ann": RED, "bob": BLUE}], ids=["same clothes", "different clothes"])
@pytest.mark.parametrize("behind", ["ann", "bob"])
@pytest.mark.parametrize("seconds", [3.0, 5.0, 8.0])
def test_people_who_cross_keep_their_ids_while_one_body_slides(
    seconds: float, behind: str, clothes: dict, late: int
) -> None:
    story = crossing(seconds, behind, clothes, late=late).run()
    assert any(len(seen) == 1 for seen in story.seen)
    assert kept_ids(story)
    assert story.ever() == [0, 1]
    assert story.longest_twins() <= 3


def test_of_two_people_who_change_places_behind_a_pillar_the_clothes_tell_who_is_who() -> None:
    """They go in, turn round unseen, and come out on the side where they went in, but as the other."""
    ann, bob = stand(500, 6), stand(780, 6)
    turn = np.linspace(0, 280, 45)
    ann[60:105, 0] += turn
    ann[105:, 0] += 280
    bob[60:105, 0] -= turn
    bob[105:, 0] -= 280
    away = {"ann": [(2.0, 3.5)], "bob": [(2.0, 3.5)]}
    story = Scene({"ann": ann, "bob": bob}, away, clothes={"ann": RED, "bob": BLUE}).run()
    assert kept_ids(story)


@pytest.mark.parametrize("clothes", [{}, {"ann": RED, "bob": BLUE}], ids=["same clothes", "different clothes"])
def test_people_who_hug_are_both_kept(clothes: dict) -> None:
    apart, close = 300.0, 0.2 * HEIGHT_PX
    ways = [(640 + side * apart / 2, 640 + side * close / 2) for side in (-1, 1)]
    paths = {
        name: np.concatenate([line((a, 380), (b, 380), 2), line((b, 380), (b, 380), 3)])
        for name, (a, b) in zip(("ann", "bob"), ways, strict=True)
    }
    story = Scene(paths, clothes=clothes).run()
    assert sorted([set(story.ids_of("ann")), set(story.ids_of("bob"))], key=str) == [{0}, {1}]


def test_a_person_in_a_crowd_does_not_hop_to_a_stranger_whom_neither_body_nor_way_explains() -> None:
    """Ann is half hidden by Bob who came to her, and in one look the detector finds a newcomer instead of her."""
    tracker = Tracker(config.Track())
    ann, there = np.array([640.0, 360.0]), np.array([640 - 0.6 * HEIGHT_PX, 360.0])
    bob = np.concatenate([line((800, 360), (725, 360), 1.5), line((725, 360), (725, 360), 1.5)])
    for index in range(90):
        frame, boxes = frame_of(index), None
        if tracker.wants_look(frame.time_s, 0.25) or index == 89:
            seen = [there if index == 89 else ann, bob[index]]
            boxes = replace(
                boxes_of(frame, *map(box, seen)),
                keypoints=np.stack([keypoints(one) for one in seen]).astype(np.float32),
            )
        tracks = tracker.update(frame, boxes)
        tracker.observe(bodies(tracks, [ann, bob[index], there][: len(tracks.ids)]))
    assert tracks.ids.tolist() == [0, 1, 2]
    assert tracks.fresh.tolist() == [False, False, True]


def test_in_a_crowd_two_looks_must_miss_an_uncertain_body() -> None:
    ann, bob = np.array([600.0, 360.0]), np.array([600 + 0.25 * HEIGHT_PX, 360.0])
    for crowd, kept in ((bob, [True, False]), (bob + 300, [False, False])):
        tracker, after = Tracker(config.Track()), []
        for index in range(14):
            frame, boxes = frame_of(index), None
            if index == 0 or index >= 12:
                boxes = boxes_of(frame, *map(box, [ann, crowd][: 1 if index else 2]))
            tracks = tracker.update(frame, boxes)
            after += [1 in tracks.ids] if index >= 12 else []
            confidence = np.array([0.9, 0.9 if index < 11 else 0.5])[: len(tracks.ids)]
            tracker.observe(bodies(tracks, [ann, crowd][: len(tracks.ids)], confidence=confidence))
        assert after == kept


def test_a_doubtful_detection_is_not_taken_for_somebody_who_is_lost() -> None:
    paths = {"ghost": stand(640 + 0.3 * HEIGHT_PX, 6), "ann": stand(640, 6)}
    hidden = {"ann": [(2.0, 3.5)], "ghost": [(0.0, 2.5), (3.0, 6.0)]}
    story = Scene(paths, hidden, scores={"ghost": 0.3}).run()
    assert story.seen[80] == ["ghost"]
    assert set(story.ids_of("ghost")) == {None}
    assert set(story.ids_of("ann")[-30:]) == {0}


def test_who_is_lost_does_not_take_a_detection_that_a_body_explains() -> None:
    """Bob was first seen behind something coloured, so that Ann's clothes suit him better than his own."""
    tracker, ann, bob = Tracker(config.Track()), np.array([520.0, 360.0]), np.array([640.0, 360.0])
    started: set[int] = set()
    for index in range(60):
        clothes = {"bob": RED if index else (80, 80, 180), "ann": RED}
        image = Scene({}, clothes=clothes).picture({"bob": bob} if index > 30 else {"bob": bob, "ann": ann})
        frame = replace(frame_of(index), image=image)
        looks = index in (0, 10, 20, 30, 40, 50)
        seen = [bob] if index > 30 else [ann, bob]
        boxes = replace(
            boxes_of(frame, *map(box, seen)), keypoints=np.stack([keypoints(one) for one in seen]).astype(np.float32)
        )
        tracks = tracker.update(frame, boxes if looks else None)
        where = {0: ann, 1: bob}
        started |= set(tracks.ids[tracks.fresh].tolist()) if index > 31 else set()
        confidence = np.array([0.1 if number == 0 and index > 30 else 0.9 for number in tracks.ids.tolist()])
        centres = [where[number] for number in tracks.ids.tolist()]
        tracker.observe(bodies(tracks, centres, confidence=confidence))
    assert not started
    assert tracks.ids.tolist() == [1]


def test_two_bodies_on_one_person_become_one_within_three_frames() -> None:
    tracker, here, there = Tracker(config.Track()), np.array([500.0, 360.0]), np.array([700.0, 360.0])
    kept = []
    for index in range(40):
        frame = frame_of(index)
        tracks = tracker.update(frame, boxes_of(frame, box(here), box(there)) if index == 0 else None)
        slide = here + (there - here) * np.clip((30 - index) / 20, 0, 1)
        kept.append(tracker.observe(bodies(tracks, [here, slide][: len(tracks.ids)])).tolist())
    together = next(index for index in range(40) if (there - here)[0] * (30 - index) / 20 < 0.05 * HEIGHT_PX)
    assert kept[:20] == [[True, True]] * 20
    assert all(sum(one) == 1 for one in kept[together + 3 :])
    assert tracker.predict(40 / FPS).ids.tolist() == [0]


def test_detections_of_an_older_frame_keep_ids_and_place() -> None:
    paths = {"ann": line((200, 300), (1100, 300), 3), "bob": line((1000, 420), (550, 420), 3)}
    story = Scene(paths, late=3, clothes={"ann": RED, "bob": BLUE}).run()
    assert kept_ids(story)
    alone = Scene({"ann": line((200, 400), (1100, 400), 4)}, late=3).run()
    assert set(alone.ids_of("ann")[3:]) == {0}
    assert sum(map(len, alone.fresh)) == 1
    assert np.percentile(alone.error_px, 95) < 8  # in three frames, this person walks 23 px


def test_somebody_new_is_found_at_the_next_look() -> None:
    late = stand(900, 4)
    late[40:60] = late[:40] = np.nan
    story = Scene({"ann": stand(300, 4), "late": late}).run()
    assert set(story.ids_of("late")[:60]) == {None}
    assert set(story.ids_of("late")[60 + LOOK :]) == {1}
    assert set(story.ids_of("ann")) == {0}


def test_ids_are_never_used_twice_and_first_published_in_increasing_order() -> None:
    """A busy scene: people come, hide and leave, and a poster is refused in between."""
    rng = np.random.default_rng(11)
    paths = {"poster": line((1180, 250), (1180, 250), 12)}
    for number in range(8):
        x, y = rng.uniform(150, 1000), rng.uniform(250, 450)
        path = line((x, y), (x + rng.uniform(-200, 200), y), 12)
        path[: int(rng.uniform(0, 150))] = np.nan
        path[int(rng.uniform(200, 400)) :] = np.nan
        paths[f"person {number}"] = path

    def astray(index: int, name: str, cold: bool):
        return (-0.6, 0.3) if name == "poster" and index < 180 else None

    story = Scene(paths, astray=astray, settings=config.Track(keep_s=1.0)).run()
    assert len(story.ever()) >= 8
    assert story.ever() == sorted(story.ever())
    for number in story.ever():
        frames = [index for index, frame in enumerate(story.published) if number in frame]
        assert np.diff(frames).max(initial=1) <= (1.0 + 0.5) * FPS  # an id that is gone stays gone


# How many, and which of them


def test_with_max_people_the_largest_are_followed_and_the_others_wait() -> None:
    trio = {name: stand(x, 4) for name, x in (("ann", 200), ("bob", 600), ("cid", 1000))}
    heights = {"ann": 200.0, "bob": 320.0, "cid": 280.0}
    story = Scene(trio, settings=config.Track(max_people=2), heights=heights).run()
    assert set(story.ids_of("bob")) == {0}
    assert set(story.ids_of("cid")) == {1}
    assert set(story.ids_of("ann")) == {None}
    assert set(story.waiting) == {1}


def test_everybody_is_followed_by_default() -> None:
    story = Scene({str(n): stand(150 + 140 * n, 1) for n in range(8)}).run()
    assert all(len(frame) == 8 for frame in story.published)
    assert set(story.waiting) == {0}


def test_of_two_people_who_cross_the_one_who_is_followed_alone_is_kept() -> None:
    for behind in ("ann", "bob"):
        scene = crossing(5, behind, {"ann": RED, "bob": BLUE}, settings=config.Track(max_people=1))
        scene = replace(scene, heights={"ann": 300.0, "bob": 280.0})
        story = scene.run()
        assert set(story.ids_of("ann")[:30]) == set(story.ids_of("ann")[-30:]) == {0}
        assert set(story.ids_of("bob")[:30]) == set(story.ids_of("bob")[-30:]) == {None}


def test_a_person_who_waits_takes_the_place_of_one_who_does_not_come_back() -> None:
    heights = {"ann": 300.0, "bob": 260.0}
    pair = {"ann": stand(300, 4), "bob": stand(900, 4)}
    story = Scene(pair, {"ann": [(1.0, 9.0)]}, config.Track(max_people=1, keep_s=1.0), heights=heights).run()
    assert set(story.ids_of("bob")[:58]) == {None}  # for keep_s, ann may come back
    assert set(story.ids_of("bob")[75:]) == {1}


def test_where_time_allows_one_person_nobody_waits_for_one_who_is_lost() -> None:
    pair = {"ann": stand(300, 4), "bob": stand(900, 4)}
    heights = {"ann": 300.0, "bob": 260.0}
    story = Scene(pair, {"ann": [(1.0, 9.0)]}, heights=heights).run(most=1)
    assert set(story.ids_of("bob")[:28]) == {None}
    assert set(story.ids_of("bob")[45:]) == {1}


def test_one_subject_is_the_largest_the_most_central_or_the_one_with_an_id() -> None:
    trio = {name: stand(x, 2) for name, x in (("ann", 200), ("bob", 620), ("cid", 1000))}
    heights = {"ann": 250.0, "bob": 200.0, "cid": 320.0}
    for subject, name in {"largest": "cid", "centre": "bob", "1": "ann"}.items():
        story = Scene(trio, settings=config.Track(subject=subject), heights=heights).run()
        for other in trio:
            assert (set(story.ids_of(other)) == {None}) == (other != name), subject
    story = Scene(trio, settings=config.Track(subject="all"), heights=heights).run()
    assert story.ever() == [0, 1, 2]


def test_the_subject_is_waited_for_while_it_is_hidden() -> None:
    pair = {"ann": stand(300, 5), "bob": stand(900, 5)}
    heights = {"ann": 320.0, "bob": 250.0}
    story = Scene(pair, {"ann": [(1.5, 2.5)]}, config.Track(subject="largest"), heights=heights).run()
    assert set(story.ids_of("ann")[-30:]) == {0}
    assert set(story.ids_of("bob")) == {None}
    gone = Scene(pair, {"ann": [(1.5, 9.0)]}, config.Track(subject="largest"), heights=heights).run()
    assert set(gone.ids_of("bob")[:90]) == {None}
    assert set(gone.ids_of("bob")[-30:]) == {1}


def test_an_unknown_subject_is_one_clear_line() -> None:
    for subject in ("smallest", "-1", "1.5", ""):
        with pytest.raises(UserError, match=r"^track\.subject: '.*' is nobody\. Set all, largest, centre, or"):
            Tracker(config.Track(subject=subject))


# When to look


def test_a_calm_picture_is_looked_at_every_s_and_a_lost_person_at_once() -> None:
    story = Scene({"ann": stand(640, 6)}, {"ann": [(3.0, 3.2)]}).run()
    calm = [look for look in story.looks if 20 <= look < 90]
    assert set(np.diff(calm)) == {LOOK}
    assert 91 in story.looks
    rare = Scene({"ann": stand(640, 6)}, every_s=1.0).run()
    assert set(np.diff([look for look in rare.looks if look >= 30])) == {FPS}


def test_an_empty_room_is_looked_at_every_s() -> None:
    path = stand(640, 8)
    path[45:] = np.nan
    pauses = np.diff([look for look in Scene({"ann": path}).run().looks if look > 45])
    assert (np.diff(pauses) >= 0).all()
    assert set(pauses[-8:]) == {LOOK}


def test_a_crowd_and_somebody_new_are_looked_at_more_often() -> None:
    crowd = Scene({"ann": stand(600, 3), "bob": stand(670, 3)}).run()
    alone = Scene({"ann": stand(600, 3), "bob": stand(1000, 3)}).run()
    assert len(crowd.looks) > 1.5 * len(alone.looks)
    assert alone.looks[1] < LOOK


def test_doubt_ends_who_is_not_seen_in_the_next_look() -> None:
    bob = stand(900, 3)
    bob[45:] = np.nan

    def doubt(index: int, tracker: Tracker) -> None:
        if index == 45:
            tracker.doubt()

    scene = Scene({"ann": stand(300, 3), "bob": bob}, nobody=0.9, at_frame=doubt, heights={"bob": 270.0})
    story = scene.run()
    assert 45 in story.looks
    assert [list(frame) for frame in story.published[40:50]] == [[0, 1]] * 5 + [[0]] * 5
    assert set(story.ids_of("ann")) == {0}
    unasked = replace(scene, at_frame=lambda index, tracker: None).run()
    assert 1 in unasked.published[45]


def test_who_is_forgotten_gets_a_new_id_at_once() -> None:
    def forget(index: int, tracker: Tracker) -> None:
        if index == 30:
            tracker.forget()

    story = Scene({"ann": stand(300, 2)}, at_frame=forget).run()
    assert story.ids_of("ann") == [0] * 30 + [1] * 30
    assert 30 in story.looks


def test_a_clock_that_starts_again_asks_for_a_look() -> None:
    tracker = Tracker(config.Track())
    frame = frame_of(100)
    tracker.update(frame, boxes_of(frame))
    assert not tracker.wants_look(101 / FPS, 0.25)
    assert tracker.wants_look(1 / FPS, 0.25)


def test_the_same_frames_give_the_same_answer() -> None:
    rng = np.random.default_rng(5)
    starts = {"a": (300.0, 360.0), "b": (600.0, 360.0), "c": (900.0, 360.0)}
    paths = {name: np.array(start) + np.cumsum(rng.normal(0, 6, (150, 2)), 0) for name, start in starts.items()}
    scene = Scene(paths, {"b": [(1.0, 2.0)], "c": [(2.5, 3.0)]})
    assert scene.run() == scene.run()


def test_a_looks_key_points_reach_the_fit_with_the_time_of_their_frame() -> None:
    scene = Scene({"ann": stand(300, 1), "bob": stand(900, 1)})
    tracker, rng = Tracker(scene.settings), np.random.default_rng(0)
    frames = [Frame("camera", i, 10 + i / 30, i / 30, scene.picture(scene.visible(i))) for i in range(2)]
    boxes = scene.detections(frames[0], scene.visible(0), rng)
    tracks = tracker.update(frames[1], boxes)
    assert boxes.keypoints is not None
    assert tracks.keypoints is not None
    assert tracks.looked_s == frames[0].time_s
    order = np.argsort(boxes.xyxy[:, 0]), np.argsort(tracks.xyxy[:, 0])
    np.testing.assert_array_equal(tracks.keypoints[order[1]], boxes.keypoints[order[0]])
    assert tracker.update(frames[1], None).keypoints is None


# Closer looks


def followed(*centres: tuple[float, float]) -> tuple[Tracker, list[np.ndarray]]:
    """People who stand still, looked at and fitted in two frames."""
    tracker, places = Tracker(config.Track()), [np.array(one, float) for one in centres]
    for index in range(2):
        frame = frame_of(index)
        some = np.full(len(places), 0.9, np.float32)
        seen = rows([keypoints(one) for one in places], 17, 3)
        look = Boxes(frame, rows([box(one) for one in places], 4), some, 0 * some, seen)
        tracks = tracker.update(frame, look if index == 0 else None)
        tracker.observe(bodies(tracks, places))
    return tracker, places


def closer_look(frame: Frame, ids: list[int], points: list[np.ndarray]) -> Boxes:
    some = np.full(len(ids), 0.9, np.float32)
    return Boxes(frame, np.zeros((len(ids), 4), np.float32), some, 0 * some, rows(points, 17, 3), np.array(ids))


def test_a_person_is_looked_at_more_closely_when_no_look_was_there_for_a_while() -> None:
    tracker, places = followed((300, 400), (900, 400))
    assert not len(tracker.unseen(0.09, 0.1).ids)  # seconds since the look at the whole picture
    assert tracker.unseen(0.1, 0.1).ids.tolist() == [0, 1]
    frame = frame_of(3)
    tracks = tracker.update(frame, closer_look(frame, [1], [keypoints(places[1])]))
    assert tracks.looked_s == frame.time_s
    assert tracks.keypoints is not None
    assert np.isnan(tracks.keypoints[0]).all()
    np.testing.assert_allclose(tracks.keypoints[1], keypoints(places[1]), atol=1e-3)
    assert tracker.unseen(0.1 + 1 / FPS, 0.1).ids.tolist() == [0]
    assert tracker.unseen(1.0, 0.1).ids.tolist() == [0, 1]  # who waits longest comes first


def test_key_points_of_another_person_are_not_taken() -> None:
    tracker, places = followed((600, 400), (680, 400))
    frame = frame_of(3)
    looks = [keypoints(places[1]), keypoints(places[0]), keypoints(places[1] + 400)]
    tracks = tracker.update(frame, closer_look(frame, [0, 0, 1], looks))
    assert tracks.keypoints is not None
    np.testing.assert_allclose(tracks.keypoints[0], keypoints(places[0]), atol=1e-3)
    assert np.isnan(tracks.keypoints[1]).all()


def test_a_closer_look_finds_nobody_new_and_nobody_missing() -> None:
    tracker, places = followed((300, 400))
    for index in range(2, 20):
        frame = frame_of(index)
        look = closer_look(frame, [0, 0], [np.full((17, 3), np.nan), keypoints(np.array([900.0, 400.0]))])
        tracks = tracker.update(frame, look)
        assert tracks.ids.tolist() == [0]
        assert tracker.observe(bodies(tracks, places)).all()
    assert not tracker.wants_look(frame.time_s, 10.0)
