"""Tracking keeps each person's id. The truth is synthetic paths, and a simulated detector that reports squares."""

import itertools
from dataclasses import dataclass, field

import numpy as np
import pytest

from refit_rt import config
from refit_rt.track.one_camera import Tracker
from refit_rt.types import Boxes, Frame, Tracks

FPS = 30
HEIGHT_PX, WIDTH_PX = 300.0, 110.0
IMAGE = np.zeros((720, 1280, 3), np.uint8)


@dataclass
class Scene:
    """One path per person; in the seconds of `hidden[name]` neither the detector nor the fit sees the person."""

    paths: dict[str, np.ndarray]  # name -> (frames, 2) centre, pixels
    hidden: dict[str, list[tuple[float, float]]] = field(default_factory=dict)
    settings: config.Track = field(default_factory=lambda: config.Track(max_people=3))
    every: int = 30
    noise_px: float = 2.0
    ghosts: dict[int, np.ndarray] = field(default_factory=dict)  # frame -> box of a false detection
    scores: dict[str, float] = field(default_factory=dict)

    def seen(self, name: str, frame: int) -> bool:
        here = np.isfinite(self.paths[name][frame]).all()
        return bool(here) and not any(a <= frame / FPS < b for a, b in self.hidden.get(name, []))

    def run(self) -> "Story":
        rng = np.random.default_rng(7)
        tracker = Tracker(self.settings)
        story = Story()
        for index in range(len(next(iter(self.paths.values())))):
            frame = Frame("camera", index, 10 + index / FPS, index / FPS, IMAGE)
            centres = {name: path[index] for name, path in self.paths.items() if self.seen(name, index)}
            boxes = None
            tracker.predict(frame.time_s)
            if tracker.wants_detection(index, self.every):
                story.detections.append(index)
                squares = [_box(c + rng.normal(0, self.noise_px, 2), 340, 340) for c in centres.values()]
                score = [self.scores.get(name, 0.9) for name in centres]
                if index in self.ghosts:
                    squares, score = [*squares, self.ghosts[index]], [*score, 0.6]
                boxes = Boxes(frame, _rows(squares), np.array(score, np.float32), np.full(len(score), 0.1, np.float32))
            tracks = tracker.update(frame, boxes)
            story.add(tracks, centres)
            tracker.observe(tracks.ids, *self.fit(tracks, centres, rng), frame.time_s)
        return story

    def fit(self, tracks: Tracks, centres: dict, rng) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """A body for each track: the person nearest to its box, or a body of low confidence if there is none."""
        boxes, confidence = tracks.xyxy.copy(), np.full(len(tracks.ids), 0.05)
        for row, box in enumerate(tracks.xyxy):
            name = _nearest(box, centres)
            if name:
                boxes[row] = _box(centres[name] + rng.normal(0, self.noise_px, 2), WIDTH_PX, HEIGHT_PX)
                confidence[row] = 0.9
        return boxes, np.zeros(len(boxes)), confidence


@dataclass
class Story:
    """What the tracker reported frame by frame: each person's id, and the frames in which it asked for a detection."""

    ids: dict[str, list[int | None]] = field(default_factory=dict)
    all_ids: list[list[int]] = field(default_factory=list)
    fresh: list[list[int]] = field(default_factory=list)
    detections: list[int] = field(default_factory=list)
    error_px: list[float] = field(default_factory=list)

    def add(self, tracks: Tracks, centres: dict[str, np.ndarray]) -> None:
        rows = list(zip(tracks.ids, tracks.xyxy, strict=True))[::-1]  # of two tracks on one person the older counts
        tracked = {_nearest(box, centres): (int(number), box) for number, box in rows}
        for name in centres:
            self.ids.setdefault(name, []).append(tracked[name][0] if name in tracked else None)
            if name in tracked and not tracks.fresh.any():
                box = tracked[name][1]
                self.error_px.append(float(np.linalg.norm((box[:2] + box[2:]) / 2 - centres[name])))
        self.all_ids.append(tracks.ids.tolist())
        self.fresh.append(tracks.ids[tracks.fresh].tolist())


def _box(centre: np.ndarray, width: float, height: float) -> np.ndarray:
    x, y = centre
    return np.array([x - width / 2, y - height / 2, x + width / 2, y + height / 2], np.float32)


def _rows(boxes: list) -> np.ndarray:
    return np.array(boxes, np.float32).reshape(-1, 4)


def _nearest(box: np.ndarray, centres: dict[str, np.ndarray]) -> str | None:
    """The person whose centre is nearest to the middle of a box, or None."""
    apart = {name: float(np.linalg.norm((box[:2] + box[2:]) / 2 - centre)) for name, centre in centres.items()}
    name = min(apart, key=lambda name: apart[name], default=None)
    return name if name and apart[name] < WIDTH_PX else None


def line(start: tuple[float, float], end: tuple[float, float], seconds: float) -> np.ndarray:
    return np.linspace(start, end, round(seconds * FPS))


def test_one_person_keeps_one_id_and_the_box_follows_within_a_few_pixels() -> None:
    story = Scene({"ann": line((200, 400), (1100, 400), 5)}).run()
    assert set(story.ids["ann"]) == {0}
    assert np.percentile(story.error_px, 95) < 8  # of a body 300 px high, at 180 px/s
    assert len(story.detections) == 5
    assert story.fresh[0] == [0]
    assert not any(story.fresh[1:])


def test_ids_survive_an_occlusion_of_two_seconds_standing_walking_and_turning_back() -> None:
    there = line((200, 400), (700, 400), 3)
    paths = {
        "standing": line((640, 360), (640, 360), 8),
        "walking": line((150, 380), (1100, 380), 8),
        "turning": np.concatenate([there, there[::-1], line((200, 400), (200, 400), 2)]),
    }
    for name, path in paths.items():
        story = Scene({name: path}, {name: [(2.0, 4.0)]}).run()
        assert set(story.ids[name]) == {0, None}, name
        assert story.ids[name][-30:] == [0] * 30, name
        back = story.ids[name][60:].index(0)
        assert back <= 15, f"{name} was found again only after {back} frames"


def test_after_a_longer_occlusion_a_person_gets_a_new_id_and_no_id_is_reused() -> None:
    story = Scene({"ann": line((640, 360), (640, 360), 14)}, {"ann": [(2, 5), (8, 11)]}).run()
    assert [number for number, _ in itertools.groupby(n for n in story.ids["ann"] if n is not None)] == [0, 1, 2]


@pytest.mark.parametrize("seconds", [3.0, 5.0, 8.0])
@pytest.mark.parametrize("hidden", ["ann", "bob"])
def test_people_who_cross_keep_their_ids_while_one_hides_the_other(seconds: float, hidden: str) -> None:
    # The fit of the hidden person may jump onto the other, so that two bodies lie on one person for a while.
    paths = {"ann": line((250, 380), (1030, 380), seconds), "bob": line((1030, 400), (250, 400), seconds)}
    away_s = 60 / (780 / seconds)  # as long as the two are less than 60 px on either side of each other
    story = Scene(paths, {hidden: [(seconds / 2 - away_s / 2, seconds / 2 + away_s / 2)]}).run()
    for name, number in (("ann", 0), ("bob", 1)):
        assert story.ids[name][:30] == [number] * 30
        assert story.ids[name][-15:] == [number] * 15
    assert {number for ids in story.all_ids for number in ids} == {0, 1}


def test_two_people_side_by_side_are_two_tracks() -> None:
    story = Scene({"ann": line((600, 380), (600, 380), 4), "bob": line((690, 380), (690, 380), 4)}).run()
    assert set(story.ids["ann"]) == {0}
    assert set(story.ids["bob"]) == {1}


def test_at_most_max_people_are_tracked_most_confident_first() -> None:
    people = {name: line((x, 360), (x, 360), 4) for name, x in (("ann", 200), ("bob", 600), ("cid", 1000))}
    scores = {"ann": 0.6, "bob": 0.95, "cid": 0.8}
    story = Scene(people, settings=config.Track(max_people=2), scores=scores).run()
    assert all(len(ids) <= 2 for ids in story.all_ids)
    assert set(story.ids["bob"]) == {0}
    assert set(story.ids["cid"]) == {1}
    assert set(story.ids["ann"]) == {None}


def test_a_waiting_person_takes_the_place_of_one_who_left() -> None:
    paths = {"ann": line((300, 360), (300, 360), 4), "bob": line((900, 360), (900, 360), 4)}
    scores = {"ann": 0.95, "bob": 0.7}
    story = Scene(paths, {"ann": [(1.0, 9.0)]}, config.Track(max_people=1), scores=scores).run()
    assert set(story.ids["bob"][:30]) == {None}
    assert set(story.ids["bob"][35:]) == {1}


def test_a_new_person_is_found_at_the_next_regular_detection() -> None:
    late = line((900, 360), (900, 360), 4)
    late[:40] = np.nan
    story = Scene({"ann": line((300, 360), (300, 360), 4), "late": late}).run()
    assert story.ids["late"][:20] == [None] * 20
    assert set(story.ids["late"][20:]) == {1}
    assert set(story.ids["ann"]) == {0}


def test_detections_for_a_lost_person_grow_rarer_and_an_empty_room_gets_one_every_tenth_frame() -> None:
    path = line((640, 360), (640, 360), 8)
    path[45:] = np.nan
    story = Scene({"ann": path}).run()
    after = [index for index in story.detections if index > 45]
    pauses = np.diff(after)
    assert after[0] == 46
    assert (pauses[:3] == [2, 4, 8]).all()
    assert set(pauses[-8:]) == {10}
    assert max(pauses) <= 15


def test_a_false_detection_does_not_trigger_one_in_every_frame() -> None:
    ghosts = {index: _box(np.array([1000.0, 300]), 200, 200) for index in range(300)}
    story = Scene({"absent": np.full((300, 2), np.nan)}, ghosts=ghosts).run()
    assert len(story.detections) < 40
    assert {number for ids in story.all_ids for number in ids} == {0}


def test_two_bodies_on_one_person_become_the_older_one() -> None:
    tracker = Tracker(config.Track(max_people=2))
    both = _rows([_box(np.array([500.0, 360]), 340, 340), _box(np.array([700.0, 360]), 340, 340)])
    last = []
    for index in range(40):
        frame = Frame("camera", index, index / FPS, index / FPS, IMAGE)
        boxes = Boxes(frame, both, np.full(2, 0.9, np.float32), np.zeros(2, np.float32)) if index == 0 else None
        last = tracker.update(frame, boxes).ids.tolist()
        body = _box(np.array([500.0, 360]), WIDTH_PX, HEIGHT_PX)
        tracker.observe(
            np.array(last), _rows([body] * len(last)), np.zeros(len(last)), np.ones(len(last)), frame.time_s
        )
        assert last == [0, 1] or index > FPS // 2
    assert last == [0]


def test_doubtful_boxes_start_no_track() -> None:
    story = Scene({"ann": line((640, 360), (640, 360), 2)}, scores={"ann": 0.3}).run()
    assert story.all_ids == [[]] * 60


def test_a_body_far_from_its_detection_restarts_under_its_id() -> None:
    tracker = Tracker(config.Track())
    here, there = np.array([500.0, 360]), np.array([640.0, 360])
    answers = []
    for index, centre in ((0, here), (1, there)):
        frame = Frame("camera", index, index / FPS, index / FPS, IMAGE)
        boxes = Boxes(frame, _rows([_box(centre, 340, 340)]), np.ones(1, np.float32), np.full(1, 0.2, np.float32))
        answers.append(tracker.update(frame, boxes))
        body = _rows([_box(here, WIDTH_PX, HEIGHT_PX)])
        tracker.observe(answers[-1].ids, body, np.zeros(1), np.ones(1), frame.time_s)
    assert [a.ids.tolist() for a in answers] == [[0], [0]]
    assert answers[1].fresh.all()
    np.testing.assert_allclose(answers[1].xyxy[0], _box(there, 340, 340), atol=0.01)
    np.testing.assert_allclose(answers[1].roll, 0.2, atol=1e-6)


def test_roll_is_smoothed_along_the_shorter_way() -> None:
    tracker = Tracker(config.Track())
    rng = np.random.default_rng(3)
    rolls = []
    for index in range(90):
        frame = Frame("camera", index, index / FPS, index / FPS, IMAGE)
        box = _rows([_box(np.array([500.0, 360]), 340, 340)])
        boxes = Boxes(frame, box, np.ones(1, np.float32), np.full(1, 3.1, np.float32)) if index == 0 else None
        tracks = tracker.update(frame, boxes)
        rolls.append(tracks.roll[0])
        upside_down = (np.pi + rng.normal(0, 0.1) + np.pi) % (2 * np.pi) - np.pi
        tracker.observe(tracks.ids, box, np.array([upside_down]), np.ones(1), frame.time_s)
    away = np.abs(np.angle(np.exp(1j * (np.array(rolls) - np.pi))))
    assert np.degrees(np.sqrt((away[5:] ** 2).mean())) < 3  # the noise is 5.7 degrees


def test_a_body_outside_the_picture_or_with_an_invalid_box_is_lost() -> None:
    for box in ([1400, 100, 1500, 400], [500, 100, 400, 400], [np.nan, 0, 1, 1], [500, 300, 510, 320]):
        tracker = Tracker(config.Track())
        frame = Frame("camera", 0, 0.0, 0.0, IMAGE)
        first = Boxes(frame, _rows([[400, 100, 700, 400]]), np.ones(1, np.float32), np.zeros(1, np.float32))
        assert len(tracker.update(frame, first).ids) == 1
        tracker.observe(np.array([0]), _rows([box]), np.zeros(1), np.ones(1), 0.0)
        assert not len(tracker.update(Frame("camera", 1, 0.03, 0.03, IMAGE), None).ids)
        assert tracker.wants_detection(2, 30)


def test_a_track_that_is_never_fitted_is_lost_after_a_few_frames() -> None:
    tracker = Tracker(config.Track())
    frame = Frame("camera", 0, 0.0, 0.0, IMAGE)
    tracker.update(frame, Boxes(frame, _rows([[400, 100, 700, 400]]), np.ones(1, np.float32), np.zeros(1, np.float32)))
    counts = [len(tracker.update(Frame("camera", i, i / FPS, i / FPS, IMAGE), None).ids) for i in range(1, 10)]
    assert counts[0] == 1
    assert counts[-1] == 0


def test_the_same_frames_give_the_same_answer() -> None:
    rng = np.random.default_rng(5)
    starts = {"a": (300.0, 360.0), "b": (600.0, 360.0), "c": (900.0, 360.0)}
    paths = {name: np.array(start) + np.cumsum(rng.normal(0, 6, (150, 2)), 0) for name, start in starts.items()}
    hidden = {"b": [(1.0, 2.0)], "c": [(2.5, 3.0)]}
    one, two = Scene(paths, hidden).run(), Scene(paths, hidden).run()
    assert one == two
