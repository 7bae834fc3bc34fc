"""Tracking in one camera (Frame, Boxes → Tracks): keeps each person's id across frames.

Everybody whom the detector sees is tracked by boxes, and those who are to be fitted by their bodies as well. As in
ByteTrack (Zhang et al. 2022), motion is predicted and high-score boxes are matched first; low-score boxes can only
continue the track of a person who is fitted. Three things differ. A body explains a detection when its joints lie on
the detection's key points: that is closer than any box. People in a crowd, whose bodies slide onto each other, are
told apart by where they were going when they were last alone, and by the colours of their clothes. And a body is
doubted when it jumps: it is not published until a detection confirms it.
"""

import numpy as np

from refit_rt import config
from refit_rt.cameras import Camera
from refit_rt.errors import UserError
from refit_rt.geometry import iou
from refit_rt.track import evidence
from refit_rt.track.look import AGREES, EXPLAINED, Look
from refit_rt.track.person import DETECTED_NOISE, Person
from refit_rt.track.places import clipped, distance, places_of, xyxy_of
from refit_rt.types import COCO_KEYPOINTS, Boxes, Frame, Known, People, Tracks

# Distances, in sizes (the longer side of a person's box)
CONFIRMED = 0.2  # a second look confirms a body this near
DRIFT = 0.35  # without key points: a body farther than this from its detection restarts there
CROWDED_IOU = 0.1  # boxes that overlap more are a crowd
TWINS = 0.06  # two bodies nearer than this are on one person: hugging people are 0.14 apart
JUMP, JUMP_PER_S = 0.1, 3.0  # sizes by which a body may leave its predicted place; a dancer's 99th percentile is 2 to 3
DEPTH_RATIO = 1.35  # a body this many times nearer or farther than it was is doubted
DOUBT_S = 0.35  # a body that is doubted for longer is lost
UNSURE, DROP = 0.6, 0.15  # a lower confidence, or one that falls by so much, asks for a look; good frames rarely do
TRUSTED = 0.75  # a more confident body outlives MISSED looks that do not find it
MISSED, MISSED_TRUSTED = 2, 6  # looks in a row without the person, after which the body is given up
FILLS = 0.95  # share of the picture's height or width: the detector often errs on a face or a torso that fills it
IN_VIEW = 0.1  # smallest share of a body's box that must lie inside the picture
UNSEEN = np.full((COCO_KEYPOINTS, 3), np.nan, np.float32)  # the key points of a person whom a look has not seen

# Seconds from look to look
CROWD_EVERY_S, NEW_EVERY_S, SOONEST_S = 0.1, 0.15, 0.03
NEW_S = 0.5  # a person is new for this long
REFUSED_S, LONGEST_REFUSED_S = 0.15, 2.0  # pause before a refused person is fitted again; it doubles
OFTEN_REFUSED = 3  # cold fits in a row


class Tracker:
    """Follows people through one camera's frames.

    For every frame, the caller runs in this order: `wants_look` and, if it is true, the detector; `update`, with what
    the detector has found by then; the fit; `observe`. The same calls give the same ids, and no id is used twice.
    """

    def __init__(self, settings: config.Track, threshold: float = 0.5, min_confidence: float = 0.3):
        """threshold: the detector's, the lowest score of a new track; min_confidence: `fit.min_confidence`. Raises
        UserError for an unknown subject."""
        self.most = settings.max_people or 1_000_000  # people fitted at once; the caller may lower it
        self.camera: Camera | None = None  # of the frames, whose pictures are as taken; None: its lens bends nothing
        self._settings, self._threshold, self._least = settings, threshold, min_confidence
        self._subject = subject_of(settings.subject)
        self._people: list[Person] = []
        self._next_id = 0
        self._looked_s: float | None = None  # time of the last look; None: there is none
        self._pause_s = SOONEST_S  # from one urgent look to the next: it doubles while looking does not help
        self._urgent = False
        self._doubting = False  # the scene may have changed: who is not seen in the next look is gone
        self._frame: Frame | None = None
        self._noted_s = 0.0  # time of the last frame

    @property
    def waiting(self) -> int:
        """How many people are seen and not fitted, because there are too many."""
        return sum(not one.fitted and one.seen_s == self._looked_s and one.refused == 0 for one in self._people)

    def predict(self, time_s: float) -> Known:
        """Where those who are fitted should be at a time (`Frame.time_s`). Changes nothing."""
        people = self._fitted()
        ids, roll = np.array([one.id for one in people], np.int64), [one.roll for one in people]
        return Known(ids, xyxy_of([one.at(time_s) for one in people]), np.array(roll, np.float32))

    def unseen(self, time_s: float, every_s: float) -> Known:
        """Those of `predict` whose key points nobody has looked for since `every_s`, who has waited longest first."""
        waits = [
            (one.closer_s, row) for row, one in enumerate(self._fitted()) if time_s - one.closer_s >= every_s - 1e-6
        ]
        rows = [row for _, row in sorted(waits)]
        return Known(*(part[rows] for part in self.predict(time_s)))

    def wants_look(self, time_s: float, every_s: float) -> bool:
        """Whether the detector should look at this frame: once per `every_s`, and sooner when a person is new, lost,
        doubted or in a crowd."""
        if self._looked_s is None or time_s < self._looked_s:
            return True
        fitted, wait_s = self._fitted(), every_s
        if any(one.crowded for one in fitted):
            wait_s = min(wait_s, CROWD_EVERY_S)
        if any(time_s - one.since_s < NEW_S or one.missed for one in fitted):
            wait_s = min(wait_s, NEW_EVERY_S)
        if self._urgent or any(one.doubted_s < np.inf or not one.confirmed for one in fitted):
            wait_s = min(wait_s, self._pause_s)
        return self._doubting or time_s - self._looked_s >= wait_s - 1e-6

    def update(self, frame: Frame, boxes: Boxes | None) -> Tracks:
        """Returns the tracks to fit in this frame, sorted by id.

        boxes: what the detector has found since the last call, perhaps in an older frame; None: nothing new. `fresh`
        marks the tracks that start at their detection, and not at the last frame's body.
        """
        self._frame = frame
        for one in self._people:
            one.fresh, one.points = False, None
        if boxes is not None and boxes.ids is not None:
            self._take_closer_look(boxes)
        elif boxes is not None:
            self._take_look(boxes, frame.time_s)
        people = sorted(self._fitted(), key=lambda one: one.id or 0)
        return Tracks(
            frame,
            np.array([one.id for one in people], np.int64),
            xyxy_of([one.place if one.fresh else one.at(frame.time_s) for one in people]),
            np.array([one.roll for one in people], np.float32),
            np.array([one.score for one in people], np.float32),
            np.array([one.fresh for one in people], bool),
            keypoints_of([one.points for one in people]),
            boxes.frame.time_s if boxes is not None else 0.0,
        )

    def observe(self, people: People) -> np.ndarray:
        """Takes in the fit of the Tracks. Returns which bodies to publish: (n,) bool.

        A body is lost when its confidence is too low or it has left the picture, refused when it does not lie on the
        detection that it was fitted to, and doubted when it jumps.
        """
        by_id = {one.id: one for one in self._fitted()}
        rows = [(row, by_id[number]) for row, number in enumerate(people.ids.tolist()) if number in by_id]
        for row, one in rows:
            self._judge(one, people, row)
        self._part_twins(people, [(row, one) for row, one in rows if one.accepted])
        self._note_crowds(people.time_s)
        keep = np.zeros(len(people.ids), bool)
        for row, one in rows:
            believed = one.fitted and one.accepted and one.doubted_s == np.inf
            keep[row] = believed and one.confirmed and self._is_subject(one)
        return keep

    def lose_sight(self) -> None:
        """The picture shows nothing, as a covered lens does: nobody is fitted, and everybody is remembered."""
        for one in self._fitted():
            one.lose()

    def doubt(self) -> None:
        """The scene may have changed: the next frame is looked at, and who is not seen there is gone."""
        self._doubting = True

    def forget(self) -> None:
        """Drops all tracks and asks for a look at once. Ids are not reused."""
        self._people, self._looked_s, self._urgent, self._pause_s = [], None, False, SOONEST_S
        self._doubting = False

    def _fitted(self) -> list[Person]:
        return [one for one in self._people if one.fitted]

    # A look: which detection is whom

    def _take_look(self, boxes: Boxes, now_s: float) -> None:
        then_s = boxes.frame.time_s
        places = places_of(clipped(boxes.xyxy, boxes.frame.size))
        large = places[:, 2:].max(1, initial=0) >= self._settings.min_height_px
        sure = np.flatnonzero(large & (boxes.score >= self._threshold))
        doubtful = np.flatnonzero(large & (boxes.score < self._threshold))
        looks = (
            None if boxes.keypoints is None else list(evidence.colours(boxes.frame.image, boxes.keypoints, self.camera))
        )
        look = Look(boxes, places, looks, then_s, self._threshold)
        believed = [one for one in self._fitted() if one.doubted_s == np.inf]
        look.explained = {
            row for row in range(len(places)) if any(look.body_distance(one, row) < EXPLAINED for one in believed)
        }
        found = look.match(self._people, sure)
        unfound = [one for one in self._people if one not in found and then_s - one.seen_s < 1.0]
        found |= look.match(unfound, doubtful)
        for one in self._people:
            if one in found:
                self._found(one, look, found[one], now_s)
            elif one.fitted:
                self._missed(one, look, found)
        taken = set(found.values())
        for row in sure.tolist():
            if row not in taken and not any(look.explains(one, row) for one in self._fitted()):
                self._people.append(self._begun(look, row))
                found[self._people[-1]] = row
        keep_s = self._settings.keep_s
        self._people = [one for one in self._people if one.fitted or then_s - max(one.seen_s, one.time_s) <= keep_s]
        self._choose(look, found, now_s)
        self._pause_s = min(2 * self._pause_s, 0.5) if self._urgent else SOONEST_S
        self._looked_s, self._urgent, self._doubting = now_s, False, False

    def _take_closer_look(self, boxes: Boxes) -> None:
        """Of a closer look at people who are followed, each takes the key points that lie on the own body, and on
        nobody else's more closely."""
        assert boxes.ids is not None
        assert boxes.keypoints is not None
        then_s, people = boxes.frame.time_s, self._fitted()
        bodies = [(one, one.body(then_s)) for one in people if one.doubted_s == np.inf]
        for one in people:
            rows = np.flatnonzero(boxes.ids == one.id)
            one.closer_s = then_s if len(rows) else one.closer_s
            nearest = AGREES
            for points in boxes.keypoints[rows]:
                away = [
                    (float(evidence.apart(joints, points, one.size)), other)
                    for other, joints in bodies
                    if joints is not None
                ]
                apart, whose = min(away, key=lambda pair: np.nan_to_num(pair[0], nan=np.inf), default=(np.inf, None))
                if whose is one and apart < nearest:
                    nearest, one.points = apart, points

    def _take_points(self, one: Person, look: Look, row: int) -> None:
        """A person's key points in a look, if it has any."""
        if look.boxes.keypoints is not None:
            one.points, one.closer_s = look.boxes.keypoints[row], look.time_s

    def _found(self, one: Person, look: Look, row: int, now_s: float) -> None:
        """A look sees a person."""
        place = look.places[row]
        one.seen_s, one.missed = look.time_s, 0
        self._take_points(one, look, row)
        if not one.crowded and look.colours is not None:
            one.dressed(look.colours[row])
        if one.fitted:
            body = look.body_distance(one, row)
            on_it = distance(one.at(look.time_s), place) < DRIFT if np.isnan(body) else body < AGREES
            if on_it and not one.doubted_s < np.inf:
                one.offset = place - one.at(look.time_s)
                one.confirmed |= not body >= CONFIRMED  # nan: there are no key points to confirm it
                return
            if on_it and body < EXPLAINED:  # the jump was the person's own
                one.doubted_s, one.accepted = np.inf, False
                return
            self._put(one, look, row, now_s)
        else:
            one.measure(place, look.time_s, DETECTED_NOISE)
            one.score, one.roll = float(look.boxes.score[row]), float(look.boxes.roll[row]) or one.roll

    def _missed(self, one: Person, look: Look, found: dict[Person, int]) -> None:
        """A look does not see a person who is fitted."""
        one.missed += 1
        most = MISSED_TRUSTED if one.score >= TRUSTED else MISSED
        another = any(other.fitted and look.explains(one, row) for other, row in found.items())
        alarmed = one.alarmed and one.missed >= (MISSED if one.crowded else 1)
        if another or self._doubting or alarmed or one.missed >= most:
            self._lose(one)

    def _begun(self, look: Look, row: int) -> Person:
        one = Person(look.places[row], look.time_s, since_s=look.time_s, seen_s=look.time_s)
        one.score, one.roll = float(look.boxes.score[row]), float(look.boxes.roll[row])
        self._take_points(one, look, row)
        if look.colours is not None:
            one.dressed(look.colours[row])
        return one

    def _choose(self, look: Look, found: dict[Person, int], now_s: float) -> None:
        """Starts to fit those who were found and are not fitted yet, the largest first, as far as there is room.

        Of as many people as the settings ask for, the place of one who is hidden is kept: otherwise whoever stands in
        front would take it.
        """
        waiting = [one for one in found if not one.fitted and one.again_s <= now_s]
        asked = 1 if self._subject in ("largest", "centre") else self._settings.max_people or 1_000_000
        room = min(self.most, asked - self._hidden(look, waiting)) - len(self._fitted())
        for one in sorted(waiting, key=self._rank, reverse=True)[: max(room, 0)]:
            self._put(one, look, found[one], now_s)

    def _hidden(self, look: Look, waiting: list[Person]) -> int:
        """How many of those who were fitted are neither fitted nor seen, and have not left the picture."""
        lost = [one for one in self._people if one.id is not None and not one.fitted and one not in waiting]
        # A person whom the detector sees, but on whom no body fits, is not hidden.
        lost = [one for one in lost if one.refused < OFTEN_REFUSED]
        centres = np.array([one.seen_at(look.time_s)[:2] for one in lost]).reshape(-1, 2)
        return int(((centres > 0) & (centres < look.boxes.frame.size)).all(1).sum())

    def _rank(self, one: Person) -> float:
        """Who is fitted first: those who were fitted before, then the largest or the most central."""
        known = 0.0 if one.id is None else 1e6
        if self._subject == "centre" and self._frame is not None:
            return known - float(np.linalg.norm(one.place[:2] - np.array(self._frame.size) / 2))
        return known + one.size * one.score

    def _put(self, one: Person, look: Look, row: int, now_s: float) -> None:
        """The fit starts cold at a detection, which is moved on to the present."""
        if one.id is None:
            one.id, self._next_id = self._next_id, self._next_id + 1
        claim = None if look.boxes.keypoints is None else look.boxes.keypoints[row].copy()
        place = look.places[row].copy()
        step = one.velocity[:2] * (now_s - look.time_s)
        place[:2] += step
        if claim is not None:
            claim[:, :2] += step
        one.put(place, float(look.boxes.roll[row]), float(look.boxes.score[row]), now_s, claim)

    # A fit: which body is believed

    def _judge(self, one: Person, people: People, row: int) -> None:
        time_s, box, joints = people.time_s, people.box[row], people.joints_px[row]
        confidence, depth_m = float(people.confidence[row]), float(people.trans[row, 2])
        good = confidence >= self._least and np.isfinite(people.roll[row]) and np.isfinite(joints).all()
        if not good or not self._in_view(box):
            if one.fresh:
                self._refuse(one, time_s)
            else:
                self._lose(one)
            return
        place = places_of(clipped(box[None], people.size))[0]
        one.remember(joints, time_s)
        if one.fresh:
            # Where too few key points are seen, as on a face that fills the picture, nothing supports a body.
            if one.claim is not None and not evidence.apart(joints, one.claim, one.size) <= AGREES:
                self._refuse(one, time_s)
                return
        elif one.accepted and self._jumped(one, place, depth_m, time_s):
            one.doubted_s = min(one.doubted_s, time_s)
            if time_s - one.doubted_s > DOUBT_S:
                self._lose(one)
            return
        assert self._frame is not None
        patch = evidence.patch(self._frame.image, box, self.camera)
        one.alarmed = confidence < max(UNSURE, one.score - DROP if one.accepted else 0) or (
            bool(one.patch.size) and evidence.changed(one.patch, patch)
        )
        one.patch = patch
        if not one.confirmed and (self._frame.still or (place[2:] < FILLS * np.array(people.size)).all()):
            one.confirmed = True
        one.take_body(place, float(people.roll[row]), confidence, depth_m, time_s)
        self._urgent |= one.alarmed

    def _jumped(self, one: Person, place: np.ndarray, depth_m: float, time_s: float) -> bool:
        """Whether a body is where, or as far away as, nobody gets from one frame to the next."""
        farther = abs(np.log(max(depth_m, 1e-3) / max(one.depth_m, 1e-3)))
        moved = one.surprise(place, time_s)
        return bool(moved > JUMP + JUMP_PER_S * (time_s - one.time_s) or farther > np.log(DEPTH_RATIO))

    def _refuse(self, one: Person, time_s: float) -> None:
        """The cold fit found another body than the detector did: the person is fitted again later."""
        one.lose()
        one.again_s = time_s + min(REFUSED_S * 2**one.refused, LONGEST_REFUSED_S)
        one.refused += 1
        if one.depth_m == 0:  # never published: the person gets a new id later, and the last id is free
            self._next_id -= one.id == self._next_id - 1
            one.id = None

    def _lose(self, one: Person) -> None:
        one.lose()
        self._urgent = True

    def _in_view(self, box: np.ndarray) -> bool:
        """Whether a body's box (4,) is finite, large enough and not almost wholly outside the picture."""
        sides = box[2:] - box[:2]
        if not np.isfinite(box).all() or sides.min() <= 0 or sides.max() < self._settings.min_height_px:
            return False
        assert self._frame is not None
        inside = np.minimum(box[2:], self._frame.size) - np.maximum(box[:2], 0)
        return bool(np.prod(np.clip(inside, 0, None)) >= IN_VIEW * np.prod(sides))

    def _part_twins(self, people: People, rows: list[tuple[int, Person]]) -> None:
        """Of two bodies on one person, loses the one that belongs elsewhere."""
        for index, (row, one) in enumerate(rows):
            for other_row, other in rows[index + 1 :]:
                if not (one.fitted and other.fitted):
                    continue
                size = max(one.size, other.size)
                if evidence.together(people.joints_px[row], people.joints_px[other_row], size) < TWINS:
                    stray = [self._strayed(one, people, row), self._strayed(other, people, other_row)]
                    self._lose(one if stray[0] > stray[1] else other)

    def _strayed(self, one: Person, people: People, row: int) -> float:
        """How much a body seems to be on another person, in sizes."""
        there, unseen_s = one.before_the_crowd(people.time_s)
        going = distance(there, one.place) / (1 + 2 * unseen_s)
        assert self._frame is not None
        unlike = one.unlike(evidence.colours(self._frame.image, people.joints_px[row], self.camera))
        newer = 1e-3 * (one.id or 0)
        return going + unlike / evidence.UNLIKE + newer

    def _note_crowds(self, time_s: float) -> None:
        """Notes whose boxes overlap, and where the others were going."""
        if not self._people:
            return
        boxes = xyxy_of([one.at(time_s) for one in self._people])
        overlap = iou(boxes, boxes)
        np.fill_diagonal(overlap, 0)
        for one, most in zip(self._people, overlap.max(1), strict=True):
            one.crowded = bool(most > CROWDED_IOU)
            if not one.crowded and one.time_s == time_s and one.doubted_s == np.inf:
                one.note_alone(max(0.0, time_s - self._noted_s))
        self._noted_s = time_s

    def _is_subject(self, one: Person) -> bool:
        return not isinstance(self._subject, int) or one.id == self._subject


def subject_of(name: str) -> str | int:
    """The setting `track.subject`. Raises UserError for an unknown one."""
    if name in ("all", "largest", "centre"):
        return name
    if name.isascii() and name.isdigit():
        return int(name)
    raise UserError(f"track.subject: {name!r} is nobody. Set all, largest, centre, or a person's id such as 0")


def keypoints_of(seen: list[np.ndarray | None]) -> np.ndarray | None:
    """Each person's key points (n, 17, 3), NaN where there are none; None: nobody has any."""
    if all(points is None for points in seen):
        return None
    return np.stack([UNSEEN if points is None else points for points in seen])
