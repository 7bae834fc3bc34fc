"""Tracking in one camera (Frame, Boxes → Tracks): keeps each person's id across frames.

The tracker follows ByteTrack (Zhang et al. 2022): it predicts motion and matches high-score boxes first; low-score
boxes can only continue a track. Between two detections the boxes come from the fitted bodies. Two things differ from
ByteTrack: matching uses distance over size, because a detector's square and a body's box overlap badly, and a lost
track is searched for both at its predicted place and where the person was last seen.
"""

from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from scipy.optimize import linear_sum_assignment

from refit_rt import config
from refit_rt.geometry import iou
from refit_rt.types import Boxes, Frame, Tracks

GATE = 0.5  # largest distance of a match, in body sizes; two people shoulder to shoulder are 0.28 apart
SEARCH_PER_S = 1.0  # body sizes by which the gate widens per unseen second; walking covers 0.8
SIZE_WEIGHT = 0.25  # weight of the logarithm of two sizes' ratio, added to the distance
UNSURE_COST = 0.1  # extra cost of a lost track: a visible track has the better claim to a box
DRIFT = 0.35  # a body farther than this from its detection, in body sizes, restarts there; bent people reach 0.25
NEAR = 0.15  # a box within this many body sizes of a visible track is not another person
# Two bodies that overlap at least this much for this long are one person; crossing people separate sooner.
REPEAT_IOU, REPEAT_S = 0.7, 0.5
ALONE_IOU = 0.3  # below this overlap with every other body, a place surely belongs to its person
IN_VIEW = 0.1  # smallest share of a body's box that must lie inside the picture
STEADY = 3  # after this many good frames, losing the person triggers an immediate detection
UNFITTED = 5  # consecutive frames without a body after which a track is lost
PASSED_OVER = 3  # consecutive detections that find another person but not this one, after which the track gives way
FULL_EVERY = 3  # with no room for new people, a detection runs every FULL_EVERY * `every` frames
EMPTY_EVERY, LONGEST_PAUSE = 10, 15  # most frames between detections: with no visible track; for a lost one
ROLL_S = 0.15  # time constant of the roll filter
SLOWING_S = 1.0  # time constant with which an unobserved motion decays
ACCELERATION = 4.0  # spectral density of a box's acceleration, sizes² / s³
NOISE = 0.02  # standard deviation of a body's measured place, in body sizes
IMPOSSIBLE = 1e6  # cost of a match beyond the gate


class Known(NamedTuple):
    """Predicted places of the visible tracks; lost tracks are left out."""

    ids: np.ndarray  # (k,) int64
    xyxy: np.ndarray  # (k, 4) float32 image pixels
    roll: np.ndarray  # (k,) float32 radians


@dataclass(slots=True)
class _Person:
    """One track, visible or lost. A place is centre x, centre y, width, height in pixels."""

    id: int
    place: np.ndarray  # (4,) at time_s
    time_s: float  # time of the last measurement
    seen: np.ndarray  # (4,) at seen_s, the last measurement while no other body overlapped
    seen_s: float
    score: float = 0.0
    roll: float = 0.0
    velocity: np.ndarray = field(default_factory=lambda: np.zeros(4))  # (4,) pixels per second
    # (2, 2) covariance of place and velocity, in body sizes and seconds
    spread: np.ndarray = field(default_factory=lambda: np.diag([NOISE**2, 1.0]))
    visible: bool = True
    fresh: bool = True  # a detection placed the track in this frame
    fitted: int = 0  # good frames since the track was last lost
    unfitted: int = 0  # consecutive frames without a body
    passed_over: int = 0  # consecutive detections that found another person but not this one
    surprise: float = 0.0  # decaying sum (about 1 s) of squared jumps off the predicted motion, in body sizes

    def at(self, time_s: float) -> np.ndarray:
        """Returns the predicted place (4,) at a time."""
        travel_s = SLOWING_S * (1 - np.exp(-max(0.0, time_s - self.time_s) / SLOWING_S))
        place = self.place + travel_s * self.velocity
        place[2:] = np.clip(place[2:], self.place[2:] / 2, self.place[2:] * 2)
        return place

    def put(self, place: np.ndarray, roll: float, score: float, time_s: float) -> None:
        """Restarts the track at a detection; a roll of exactly 0 means that the detector does not measure it."""
        self.place = self.seen = place
        self.time_s = self.seen_s = time_s
        self.roll, self.score = roll or self.roll, score
        self.velocity, self.spread = np.zeros(4), np.diag([NOISE**2, 1.0])
        self.visible = self.fresh = True
        self.unfitted = 0

    def measure(self, place: np.ndarray, roll: float, score: float, time_s: float) -> None:
        """Takes in a fitted body's place (4,): one Kalman filter serves all four numbers, its noise in body sizes."""
        dt = max(0.0, time_s - self.time_s)
        if self.fresh:  # a detector's square is larger than a body's box: their difference is no motion
            self.place, self.roll = place, roll
        else:
            kept = np.exp(-dt / SLOWING_S)
            step = np.array([[1.0, SLOWING_S * (1 - kept)], [0.0, kept]])
            grown = ACCELERATION * np.array([[dt**3 / 3, dt**2 / 2], [dt**2 / 2, dt]])
            spread = step @ self.spread @ step.T + grown
            gain = spread[:, 0] / (spread[0, 0] + NOISE**2)
            expected = self.at(time_s)
            self.surprise = kept * self.surprise + float(((place - expected)[:2] ** 2).sum() / place[2:].max() ** 2)
            self.place = expected + gain[0] * (place - expected)
            self.velocity = kept * self.velocity + gain[1] * (place - expected)
            self.spread = spread - np.outer(gain, spread[0])
            self.roll = _turned(roll, np.exp(-dt / ROLL_S) * _turned(self.roll, -roll))
        self.time_s, self.score = time_s, score
        self.fitted += 1
        self.unfitted = 0


class Tracker:
    """Follows people through one camera's frames.

    For every frame, the caller runs in this order: `predict`; `wants_detection` and, if it is true, the detector;
    `update`; the fit; `observe`. The same frames give the same ids, and no id is used twice.
    """

    def __init__(self, settings: config.Track, threshold: float = 0.5, min_confidence: float = 0.3):
        """threshold: `detect.threshold`, the lowest score of a new track; min_confidence: `fit.min_confidence`."""
        self._settings = settings
        self._threshold = threshold
        self._min_confidence = min_confidence
        self._people: list[_Person] = []  # visible and lost tracks, sorted by id
        self._next_id = 0
        self._detected: int | None = None  # index of the frame last searched by a detector
        self._pause = 1  # frames from one detection to the next while a track is lost
        self._size = (0, 0)  # width and height of the picture
        self._alike: dict[tuple[int, int], float] = {}  # ids of two overlapping bodies -> time since when, in seconds

    def predict(self, time_s: float) -> Known:
        """Predicts the visible tracks at a time (`Frame.time_s`). Changes nothing."""
        people = self._visible()
        ids, roll = np.array([person.id for person in people], np.int64), [person.roll for person in people]
        return Known(ids, _xyxy([person.at(time_s) for person in people]), np.array(roll, np.float32))

    def wants_detection(self, frame_index: int, every: int) -> bool:
        """Returns whether to run the detector on this frame.

        It runs once per `every` frames, more often when no track is visible or one is lost, and less often when
        `max_people` tracks are visible: no new track can start then, and a detection takes time from the frame.
        """
        if self._detected is None:
            return True
        wait = every if self._visible() else min(every, EMPTY_EVERY)
        if len(self._visible()) >= self._settings.max_people:
            wait = FULL_EVERY * every
        if any(not person.visible for person in self._people) and self._room() > 0:
            wait = min(wait, self._pause)
        since = frame_index - self._detected
        return since >= wait or since < 0

    def update(self, frame: Frame, boxes: Boxes | None) -> Tracks:
        """Returns the tracks to fit in this frame, sorted by id, at most `max_people`.

        boxes: the frame's detection, or None if none was run. `fresh` marks tracks that are new, found again, or so far
        from their detection that the body is not to be trusted.
        """
        self._size = frame.size
        for person in self._visible():
            person.fresh = False
            person.unfitted += 1
            if person.unfitted > UNFITTED:
                self._lose(person)
        if boxes is not None:
            self._assign(boxes, frame.time_s)
            self._detected = frame.index
            self._pause = min(2 * self._pause, LONGEST_PAUSE)
            # Only a detection may end a track: otherwise a person who returns is given up just before being found.
            keep_s = self._settings.keep_s
            self._people = [p for p in self._people if p.visible or frame.time_s - p.time_s <= keep_s]
        known, people = self.predict(frame.time_s), self._visible()
        score = np.array([person.score for person in people], np.float32)
        return Tracks(frame, *known, score, np.array([person.fresh for person in people], bool))

    def observe(
        self, ids: np.ndarray, xyxy: np.ndarray, roll: np.ndarray, confidence: np.ndarray, time_s: float
    ) -> None:
        """Takes in the fit of the Tracks: boxes of bodies (n, 4) image pixels, roll (n,) radians, confidence (n,).

        A track whose fit is bad, or whose body has left the picture, is lost: the detector searches for it at once, and
        it is kept for `keep_s`.
        """
        by_id = {person.id: person for person in self._visible()}
        for index, number in enumerate(ids.tolist()):
            if (person := by_id.get(number)) is None:
                continue
            good = confidence[index] >= self._min_confidence and np.isfinite(roll[index])
            if good and self._in_view(xyxy[index]):
                place = _places(xyxy[index][None])[0]
                person.measure(place, float(roll[index]), float(confidence[index]), time_s)
            else:
                self._lose(person)
        self._compare(time_s)

    def forget(self) -> None:
        """Drops all tracks and asks for a detection at once. Ids are not reused."""
        self._people, self._alike, self._detected, self._pause = [], {}, None, 1

    def _visible(self) -> list[_Person]:
        return [person for person in self._people if person.visible]

    def _room(self) -> int:
        """Returns how many more tracks may start."""
        return self._settings.max_people - len(self._visible())

    def _lose(self, person: _Person) -> None:
        # A false find is lost as soon as it is fitted: it must not trigger a search each time.
        if person.fitted >= STEADY:
            self._pause = 1
        person.visible, person.fresh, person.fitted = False, False, 0

    def _in_view(self, box: np.ndarray) -> bool:
        """Returns whether a body's box (4,) is finite, large enough and not almost wholly outside the picture."""
        sides = box[2:] - box[:2]
        if not np.isfinite(box).all() or sides.min() <= 0 or sides.max() < self._settings.min_height_px:
            return False
        inside = np.minimum(box[2:], self._size) - np.maximum(box[:2], 0)
        return bool(np.prod(np.clip(inside, 0, None)) >= IN_VIEW * np.prod(sides))

    def _assign(self, boxes: Boxes, time_s: float) -> None:
        """Matches a detection to the tracks: high-score boxes first, then low-score ones; the rest start new tracks."""
        places = _places(boxes.xyxy)
        large = places[:, 2:].max(1, initial=0) >= self._settings.min_height_px
        sure = np.flatnonzero(large & (boxes.score >= self._threshold))
        doubtful = np.flatnonzero(large & (boxes.score < self._threshold))
        astray = self._astray()
        found = self._match([p for p in self._people if p.id not in astray], places, sure, time_s, astray)
        free = np.setdiff1d(sure, [box for box, _ in found.values()])
        found |= self._match([p for p in self._people if p.id in astray], places, free, time_s, astray)
        by_box = {box: number for number, (box, _) in found.items()}
        kept = found | self._match([p for p in self._visible() if p.id not in found], places, doubtful, time_s, astray)
        waiting = 0
        for box in sorted(sure.tolist(), key=lambda box: -boxes.score[box]):
            person = next((p for p in self._people if p.id == by_box.get(box)), None)
            near = [distance(p.at(time_s)[None], places[[box]]).item() < NEAR for p in self._visible()]
            if person and person.visible:
                if found[person.id][1] <= (NEAR if person.id in astray else DRIFT):
                    continue
            elif any(near):
                continue
            elif self._room() <= 0:
                waiting += 1
                continue
            person = person or self._begin(places[box], time_s)
            person.put(places[box], float(boxes.roll[box]), float(boxes.score[box]), time_s)
        for person in self._visible():
            person.passed_over = person.passed_over + 1 if waiting and person.id not in kept else 0
            if person.passed_over >= PASSED_OVER and not person.fresh:
                self._lose(person)

    def _begin(self, place: np.ndarray, time_s: float) -> _Person:
        self._people.append(_Person(self._next_id, place, time_s, place, time_s))
        self._next_id += 1
        return self._people[-1]

    def _match(
        self, people: list[_Person], places: np.ndarray, boxes: np.ndarray, time_s: float, astray: set[int]
    ) -> dict[int, tuple[int, float]]:
        """Pairs tracks with boxes (rows of places) at the lowest total cost: id -> box, distance in body sizes."""
        if not people or not len(boxes):
            return {}
        there = places[boxes]
        apart = distance(np.stack([person.at(time_s) for person in people]), there)
        back = distance(np.stack([person.seen for person in people]), there)
        unsure = np.array([not person.visible or person.id in astray for person in people])[:, None]
        apart = np.where(unsure, np.minimum(apart, back), apart)
        since_s = np.array([[time_s - person.time_s, time_s - person.seen_s] for person in people])
        gate = GATE + SEARCH_PER_S * np.where(unsure, since_s[:, 1:], since_s[:, :1]).clip(0)
        cost = np.where(apart > gate, IMPOSSIBLE, apart + UNSURE_COST * unsure)
        pairs = zip(*linear_sum_assignment(cost), strict=True)
        return {people[i].id: (int(boxes[j]), float(apart[i, j])) for i, j in pairs if cost[i, j] < IMPOSSIBLE}

    def _astray(self) -> set[int]:
        """Returns which of each two overlapping bodies is on the wrong person: the one that jumped, else the newer."""
        by_id = {person.id: person for person in self._people}
        pairs = [(by_id[a], by_id[b]) for a, b in self._alike if a in by_id and b in by_id]
        return {a.id if a.surprise > 2 * b.surprise else b.id for a, b in pairs}

    def _compare(self, time_s: float) -> None:
        """Notes which tracks stand alone, and loses one of two tracks that stay on the same person for REPEAT_S."""
        people = [person for person in self._visible() if person.time_s == time_s]
        boxes = _xyxy([person.place for person in people])
        overlap = np.triu(iou(boxes, boxes), 1)
        for person, most in zip(people, (overlap + overlap.T).max(1, initial=0), strict=True):
            if most < ALONE_IOU:
                person.seen, person.seen_s = person.place, time_s
        pairs = [(people[i].id, people[j].id) for i, j in np.argwhere(overlap > REPEAT_IOU)]
        self._alike = {pair: self._alike.get(pair, time_s) for pair in pairs}
        astray = self._astray() if any(time_s - since_s >= REPEAT_S for since_s in self._alike.values()) else set()
        for person in people:
            if person.id in astray:
                self._lose(person)


def distance(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Distance of places (n, 4) and (m, 4) in body sizes (n, m): between centres, plus a little for unequal sizes."""
    size_a, size_b = a[:, None, 2:].max(-1), b[None, :, 2:].max(-1)
    apart = np.linalg.norm(a[:, None, :2] - b[None, :, :2], axis=-1) / ((size_a + size_b) / 2)
    return apart + SIZE_WEIGHT * np.abs(np.log(size_a / size_b))


def _places(xyxy: np.ndarray) -> np.ndarray:
    """Turns boxes (n, 4) into centres and sizes (n, 4)."""
    xyxy = xyxy.astype(np.float64)
    return np.concatenate([(xyxy[:, :2] + xyxy[:, 2:]) / 2, xyxy[:, 2:] - xyxy[:, :2]], 1)


def _xyxy(places: list[np.ndarray]) -> np.ndarray:
    """Turns centres and sizes into boxes (n, 4) float32."""
    stacked = np.stack(places) if places else np.zeros((0, 4))
    half = stacked[:, 2:] / 2
    return np.concatenate([stacked[:, :2] - half, stacked[:, :2] + half], 1).astype(np.float32)


def _turned(angle: float, by: float) -> float:
    """Returns the sum of two angles, wrapped to [-pi, pi)."""
    return float((angle + by + np.pi) % (2 * np.pi) - np.pi)
