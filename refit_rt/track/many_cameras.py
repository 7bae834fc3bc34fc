"""Tracking in the world (detections of every view → people): each person's id in all cameras of a rig.

A person is a body in the world, and keeps one id in all views. Its predicted joints, projected into a view, are matched
with the detector's key points there. Detections that nobody explains are gathered: those of different cameras whose
lines of sight meet at five or more joints are one new person, once three looks agree (track/newcomers). So a bystander
that one camera alone sees is never taken for another person.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from scipy.optimize import linear_sum_assignment

from refit_rt import config
from refit_rt.cameras import Camera
from refit_rt.track import evidence
from refit_rt.track.newcomers import Candidate, Group, Newcomers
from refit_rt.track.one_camera import subject_of
from refit_rt.track.sight import Sight
from refit_rt.track.world_person import NECK, PELVIS, WorldPerson
from refit_rt.types import COCO_KEYPOINTS, JOINTS, Boxes, Known, Wanted, WorldFit

GATE = 0.25  # sizes: a detection farther from a body is somebody else
EXPLAINED = 0.13  # a body this near to a detection's key points explains it
IMPOSSIBLE = 1e6  # cost of a match beyond the gate
CROWD_M = 0.8  # between pelvises: whoever is nearer to somebody may be measured with the other one's clothes
NEW_EVERY_S, UNFOUND_EVERY_S = 0.03, 0.1  # from look to look, where a person may be new, or is not found
AGAIN_M, AGAIN_M_S = 1.0, 1.2  # from where a lost person was going, metres, and more by the second
SOON_S = 1.0  # who was lost so shortly before, at the same place, is the same person in any clothes
# A body that so many looks in a row miss goes to a person whom no body explains, as near as this
STRAYED, STRAYED_M = 3, 1.0
MISSED, MISSED_S = 6, 0.8  # a body that so many looks in a row miss, for at least so long, is lost
TWINS_M = 0.12  # two bodies nearer at pelvis and neck are on one person; people who hug are 0.2 m apart
# A body that leaves its predicted place by more, and more by the second, is doubted; for longer than DOUBT_S it is lost
JUMP_M, JUMP_M_S, DOUBT_S = 0.3, 4.0, 0.35
HIDDEN = 0.8  # a view in which so much of a person is behind others is left out
IN_VIEW = 0.25  # share of the body's box that a picture must show
SHORT_TORSO = 0.12  # of a body's longer side: below this the torso points at the camera and says nothing of roll
UNLIMITED = 1_000_000


@dataclass(frozen=True, slots=True, eq=False)
class Finding:
    """A person that a look has found: key points (17, 3) for the fit."""

    id: int
    camera: int
    time_s: float
    keypoints: np.ndarray


class RigTracker:
    """Follows people in the world.

    For every tick, the caller runs in this order: `wants_look` and `unseen`, and the detectors they ask for; `update`
    with what these have found; the fit; `observe`. The same calls give the same ids, and no id is used twice.
    """

    def __init__(
        self, settings: config.Track, cameras: list[Camera], threshold: float = 0.35, min_confidence: float = 0.3
    ) -> None:
        """cameras: of the rig. Boxes and key points are in their straight pictures (cameras/lens), the frames' pictures
        as they were taken. threshold: the detector's. Raises UserError for a wrong subject."""
        self._settings, self._cameras, self._threshold, self._least = settings, cameras, threshold, min_confidence
        self._subject = subject_of(settings.subject)
        self._most = 1 if self._subject in ("largest", "centre") else settings.max_people or UNLIMITED
        self._sight = Sight(cameras, settings.min_height_px)
        self._newcomers = Newcomers(self._sight, len(cameras))
        self._people: list[WorldPerson] = []
        self._looked_s = [-np.inf] * len(cameras)
        self._next_id = 0

    # Looks

    def wants_look(self, camera: int, time_s: float, every_s: float) -> bool:
        """Whether the detector should look at a camera's whole picture: once per `every_s`, and at once where a person
        may be new or is not found."""
        since_s = time_s - self._looked_s[camera]
        unfound = any(one.fitted and time_s - one.found_s > every_s for one in self._people)
        new = self._newcomers.candidates and self._count < self._most
        wait_s = NEW_EVERY_S if new else UNFOUND_EVERY_S if unfound else every_s
        return since_s < 0 or since_s >= min(wait_s, every_s) - 1e-6

    @property
    def _count(self) -> int:
        """How many people are fitted."""
        return sum(one.fitted for one in self._people)

    def waited_s(self, camera: int, time_s: float) -> float:
        """Since the last look at a camera's whole picture."""
        return time_s - self._looked_s[camera]

    def predict(self, camera: int, time_s: float) -> Known:
        """Where a camera should see those who are fitted. Changes nothing."""
        return self._known(camera, time_s, [one for one in self._people if one.followed])

    def unseen(self, camera: int, time_s: float, every_s: float) -> Known:
        """Those of `predict` whose key points nobody has looked for in this camera since `every_s`."""
        waiting = [
            one for one in self._people if one.followed and time_s - one.closer_s.get(camera, -np.inf) >= every_s - 1e-6
        ]
        waiting.sort(key=lambda one: one.closer_s.get(camera, -np.inf))
        return self._known(camera, time_s, waiting)

    def _known(self, camera: int, time_s: float, people: list[WorldPerson]) -> Known:
        pixels = self._sight.pixels([camera], joints_of(people, time_s))
        there = np.flatnonzero(self._sight.shares([camera], pixels)[0] >= IN_VIEW)
        points = pixels[0, there]
        low, high = points.min(1), points.max(1)
        dx, dy = (points[:, NECK] - points[:, PELVIS]).T
        roll = np.where(np.hypot(dx, dy) > SHORT_TORSO * (high - low).max(1), np.arctan2(dx, -dy), 0.0)
        ids = np.array([people[row].id for row in there], np.int64)
        return Known(ids, np.concatenate([low, high], 1).astype(np.float32), roll.astype(np.float32))

    def update(
        self, time_s: float, live: list[bool], looks: list[tuple[int, Boxes]]
    ) -> tuple[list[Wanted], list[Finding]]:
        """Returns the people to fit in a tick, sorted by id, and the key points that were found of them.

        live: which cameras have a frame in this tick. looks: camera and what a detector has found there since the last
        call; with ids, of closer looks.
        """
        findings = [one for camera, boxes in looks for one in self._take_look(camera, boxes)]
        if looks:
            self._welcome(time_s, live)
        keep_s = self._settings.keep_s
        for one in self._people:
            if one.followed and one.missed >= MISSED and time_s - one.found_s > MISSED_S:
                one.fitted = False
        self._people = [one for one in self._people if one.fitted or time_s - one.time_s <= keep_s]
        wanted, views = [], self._views(time_s, live)
        for one in sorted(self._people, key=lambda person: person.id):
            if one.fitted and views[one.id]:
                wanted.append(Wanted(one.id, views[one.id], dict(one.boxes) if one.fresh else {}))
            elif one.fresh:  # the cameras whose boxes it has are gone, and the boxes will not be true later
                one.fitted = False
        return wanted, findings

    def _take_look(self, camera: int, boxes: Boxes) -> Iterable[Finding]:
        """Matches one look's detections with people."""
        then_s, whole = boxes.frame.time_s, boxes.ids is None
        keypoints = boxes.keypoints
        if keypoints is None:
            keypoints = np.full((len(boxes.score), COCO_KEYPOINTS, 3), np.nan)
        if whole:
            self._looked_s[camera] = then_s
        people = [one for one in self._people if one.followed]
        pixels = self._sight.pixels([camera], joints_of(people, then_s))
        in_view = self._sight.shares([camera], pixels)[0] >= IN_VIEW
        asked = {one.id for one in people} if boxes.ids is None else set(boxes.ids.tolist())
        for one, there in zip(people, in_view.tolist(), strict=True):
            if one.id in asked:
                one.closer_s[camera] = then_s
                one.missed += there
        colours = evidence.colours(boxes.frame.image, keypoints, self._cameras[camera])
        size = np.ptp(pixels[0], axis=1).max(-1, initial=0)
        away = evidence.apart(pixels[0][:, None], keypoints[None], size[:, None])
        away = np.nan_to_num(away, nan=np.inf, posinf=np.inf)  # (person, detection)
        unlike = evidence.unlike(colours_of(people)[:, None], colours[None])
        cost = np.where(away < GATE, away + 0.5 * GATE * unlike, IMPOSSIBLE)
        explained = np.any(away < EXPLAINED, axis=0)
        findings, alone = [], uncrowded(people)
        for i, row in zip(*linear_sum_assignment(cost), strict=True):
            if cost[i, row] >= IMPOSSIBLE:
                continue
            one = people[i]
            one.found_s, one.missed = max(one.found_s, then_s), 0
            if whole and alone[i]:
                one.dressed(colours[row])
            findings.append(Finding(one.id, camera, then_s, keypoints[row]))
            explained[row] = True
        if whole:
            rows = np.flatnonzero((boxes.score >= self._threshold) & ~explained)
            self._newcomers.see(camera, boxes, keypoints, colours, rows)
        return findings

    # Somebody new

    def _welcome(self, time_s: float, live: list[bool]) -> None:
        """Begins to fit the people that no body explains and on which enough looks agree."""
        noted: list[tuple[Candidate, Group]] = []
        for group in self._newcomers.groups(time_s, least=min(2, sum(live))):
            strayed = [one for one in self._people if self._has_strayed(one, group.place)]
            if strayed:
                one = min(strayed, key=lambda other: other.away(group.place))
                one.put(group.place, group.boxes, group.time_s)
            else:
                noted.append((self._newcomers.noted(group, self._rank(group)), group))
        for candidate, group in noted:
            waits = candidate in self._newcomers.candidates  # two groups may be looks at one candidate
            if waits and candidate.sure and self._has_room(candidate, time_s, live):
                self._newcomers.begun(candidate, group)
                self._begin(group)

    def _begin(self, group: Group) -> None:
        """Begins a person who is new, or one who was lost and is back."""
        cost, one = self._lost_one(group)
        if one is None or not np.isfinite(cost):
            one = WorldPerson(self._next_id, np.tile(group.place, (JOINTS, 1)), group.time_s, group.time_s)
            self._next_id += 1
            self._people.append(one)
        one.put(group.place, group.boxes, group.time_s)
        one.dressed(group.colours)

    def _lost_one(self, group: Group) -> tuple[float, WorldPerson | None]:
        """The lost person that a group may show, and the cost of that."""
        lost = [(self._cost_of_return(one, group), one) for one in self._people if not one.fitted]
        return min(lost, key=lambda pair: pair[0], default=(np.inf, None))

    def _has_strayed(self, one: WorldPerson, place: np.ndarray) -> bool:
        """Whether a body that no look finds is that of the person seen by several cameras at a place (3,) beside it."""
        return one.followed and one.missed >= STRAYED and one.away(place) < STRAYED_M

    def _cost_of_return(self, one: WorldPerson, group: Group) -> float:
        """Of taking a new person for one who was lost; inf: it is another one."""
        gone_s = group.time_s - one.time_s
        away, reach_m = one.away(group.place, group.time_s), AGAIN_M + AGAIN_M_S * gone_s
        unlike = float(evidence.unlike(one.colours, group.colours))
        if away > reach_m or (unlike >= 1 and not (away < STRAYED_M and gone_s < SOON_S)):
            return np.inf
        return away / reach_m + unlike

    # Which of them, where not everybody is followed

    def _rank(self, group: Group) -> tuple[bool, float]:
        """Who is fitted first: those who were fitted before, then the largest in all pictures together, or the nearest
        to their middles."""
        if self._most == UNLIMITED:
            return False, 0.0
        known = bool(np.isfinite(self._lost_one(group)[0]))
        boxes = np.stack([one.xyxy for one in group.strays])
        low, high = boxes[:, :2], boxes[:, 2:]
        if self._subject == "centre":
            sizes = np.array([self._cameras[one.camera].size for one in group.strays])
            return known, -float(np.linalg.norm((low + high) / 2 / sizes - 0.5, axis=1).mean())
        return known, float((high - low).prod(1).sum())

    def _has_room(self, candidate: Candidate, time_s: float, live: list[bool]) -> bool:
        """Whether a candidate is one of those to be fitted: of as many as the settings ask for, the first by rank.

        The place of somebody who is lost and should be in view is kept: whoever stands in front would take it.
        """
        if self._most == UNLIMITED:
            return True
        better = sum(other.rank > candidate.rank for other in self._newcomers.candidates)
        kept = 0 if candidate.known else self._lost_in_view(time_s, live)
        return better + kept < self._most - self._count

    def _lost_in_view(self, time_s: float, live: list[bool]) -> int:
        """How many lost people should be seen by two cameras, or by the only one."""
        lost = [one for one in self._people if not one.fitted and not one.fresh]
        cameras = [camera for camera, there in enumerate(live) if there]
        pixels = self._sight.pixels(cameras, joints_of(lost, time_s))
        seen = (self._sight.shares(cameras, pixels) >= IN_VIEW).sum(0)
        return int((seen >= max(1, min(2, len(cameras)))).sum())

    # Views

    def _views(self, time_s: float, live: list[bool]) -> dict[int, tuple[int, ...]]:
        """The cameras to fit each person in, by id: those that see enough of the person; of those, the ones in which
        others do not hide the person, if there are any."""
        cameras = [camera for camera, there in enumerate(live) if there]
        people = [one for one in self._people if one.followed]
        views = {
            one.id: tuple(camera for camera in sorted(one.boxes) if live[camera]) for one in self._people if one.fresh
        }
        if not people or not cameras:
            return views | {one.id: () for one in people}
        joints = joints_of(people, time_s)
        seen = self._sight.shares(cameras, self._sight.pixels(cameras, joints)) >= IN_VIEW
        clear = seen & (self._sight.hidden(cameras, joints) < HIDDEN)
        for column, one in enumerate(people):
            chosen = clear[:, column] if clear[:, column].any() else seen[:, column]
            views[one.id] = tuple(cameras[row] for row in np.flatnonzero(chosen))
        return views

    # Fits

    def observe(self, time_s: float, fits: list[WorldFit]) -> list[bool]:
        """Takes in the fits of a tick. Returns which to publish.

        A body is lost when its confidence is too low, and doubted when it jumps; of two on one person, the younger one
        is lost.
        """
        by_id = {one.id: one for one in self._people}
        people = [by_id[fit.id] for fit in fits]
        keep = [self._judge(one, fit, time_s) for one, fit in zip(people, fits, strict=True)]
        for row, fit in enumerate(fits):
            for earlier, other in enumerate(fits[:row]):
                both = {row: people[row], earlier: people[earlier]}
                if all(one.fitted for one in both.values()) and twins(fit.joints, other.joints):
                    younger = max(both, key=lambda index: (both[index].born_s, both[index].id))
                    both[younger].fitted = keep[younger] = False
        return keep

    def _judge(self, one: WorldPerson, fit: WorldFit, time_s: float) -> bool:
        if not fit.views:  # no camera has a frame: the person moves on
            return False
        if fit.confidence < self._least:
            one.fitted = False
            return False
        if not one.fresh:
            moved_m = float(np.linalg.norm(fit.joints[PELVIS] - one.at(time_s)[PELVIS]))
            if moved_m > JUMP_M + JUMP_M_S * (time_s - one.time_s):
                one.doubted_s = min(one.doubted_s, time_s)
                one.fitted = time_s - one.doubted_s <= DOUBT_S
                return False
        one.take_body(fit.joints, time_s)
        return not isinstance(self._subject, int) or one.id == self._subject


def joints_of(people: list[WorldPerson], time_s: float) -> np.ndarray:
    """(P, 24, 3) metres, world, at a time."""
    return np.array([one.at(time_s) for one in people]).reshape(-1, JOINTS, 3)


def colours_of(people: list[WorldPerson]) -> np.ndarray:
    """(P, 2, 3) what they wear."""
    return np.array([one.colours for one in people]).reshape(-1, 2, 3)


def uncrowded(people: list[WorldPerson]) -> np.ndarray:
    """(P,) bool: whether nobody else is so near that clothes may be theirs."""
    pelvis = np.array([one.joints[PELVIS] for one in people]).reshape(-1, 3)
    near = ((pelvis[:, None] - pelvis) ** 2).sum(-1) < CROWD_M**2
    return near.sum(1) == 1


def twins(one: np.ndarray, other: np.ndarray) -> bool:
    """Whether two bodies (24, 3) are on one person."""
    return bool(np.linalg.norm(one[[PELVIS, NECK]] - other[[PELVIS, NECK]], axis=1).max() < TWINS_M)
