"""Tracking in the world (detections of every view → people): each person's id in all cameras of a rig.

A person is a body in the world, and keeps one id in all views. Its predicted joints, projected into a view, are matched
with the detector's key points there. Detections that nobody explains are gathered: those of different cameras whose
lines of sight meet at five or more joints are one new person, once three looks agree. So a bystander that one
camera alone sees is never taken for another person.
"""

from collections import deque
from dataclasses import dataclass, field

import numpy as np
from scipy.optimize import linear_sum_assignment

from refit_rt import config, geometry
from refit_rt.cameras import Camera
from refit_rt.track import evidence
from refit_rt.track.one_camera import subject_of
from refit_rt.types import COCO_KEYPOINTS, JOINTS, Boxes, Known, Wanted, WorldFit

NECK, PELVIS = 12, 0
TORSO = [5, 6, 11, 12]  # COCO's shoulders and hips
GATE = 0.25  # sizes: a detection farther from a body is somebody else
EXPLAINED = 0.13  # a body this near to a detection's key points explains it
SAME_M = 0.1  # lines of sight to the joints of one person pass each other within this, in the median
LEAST_JOINTS = 5
SCORE = 0.3  # of a key point whose line of sight counts
STRAY_S = 0.5  # detections that nobody explains are kept for this long: live, a camera is looked at as rarely
NEW_EVERY_S, UNFOUND_EVERY_S = 0.03, 0.1  # from look to look, where a person may be new, or is not found
TICKS, CANDIDATE_S, CANDIDATE_M = 3, 1.2, 0.5  # looks that must agree before somebody new is fitted
AGAIN_M, AGAIN_M_S = 1.0, 1.2  # from where a lost person was going, metres, and more by the second
SOON_S = 1.0  # who was lost so shortly before, at the same place, is the same person in any clothes
# A body that so many looks in a row miss goes to a person whom no body explains, as near as this
STRAYED, STRAYED_M = 3, 1.0
MISSED, MISSED_S = 6, 0.8  # a body that so many looks in a row miss, for at least so long, is lost
TWINS_M = 0.12  # two bodies nearer at pelvis and neck are on one person; people who hug are 0.2 m apart
# A body that leaves its predicted place by more, and more by the second, is doubted; for longer than DOUBT_S it is lost
JUMP_M, JUMP_M_S, DOUBT_S = 0.3, 4.0, 0.35
SLOWING_S = 1.0  # time constant with which an unobserved motion decays
HISTORY_S = 0.6  # bodies are kept this long, for looks at older ticks
REACH_M = 0.13  # a joint this near to the line of sight to a nearer body's joint is behind that body
HIDDEN = 0.8  # a view in which so much of a person is behind others is left out
IN_VIEW, LEAST_DEPTH_M = 0.25, 0.3  # share of the body's box that a picture must show
STATURE_M = 1.7  # for the distance of somebody whom one camera alone sees


@dataclass(slots=True, eq=False)
class Person:
    """A person in the world."""

    id: int
    joints: np.ndarray  # (24, 3) metres, world, at time_s
    time_s: float
    born_s: float
    velocity: np.ndarray = field(default_factory=lambda: np.zeros(3))  # metres per second
    bodies: deque = field(default_factory=deque)  # of (time_s, joints)
    found_s: float = 0.0  # time of the newest look that found the person
    missed: int = 0  # looks in a row that should have found the person and did not
    fitted: bool = False  # a body is fitted in every tick
    fresh: bool = True  # no body yet
    boxes: dict[int, tuple[np.ndarray, float]] = field(default_factory=dict)  # camera → where it starts cold
    doubted_s: float = np.inf
    closer_s: dict[int, float] = field(default_factory=dict)  # camera → time of the newest look for key points
    colours: np.ndarray = field(default_factory=lambda: np.full((2, 3), np.nan))

    def at(self, time_s: float) -> np.ndarray:
        """The joints (24, 3) at a time: as fitted, or moved on."""
        if self.bodies and time_s <= self.bodies[-1][0]:
            return min(self.bodies, key=lambda one: abs(one[0] - time_s))[1]
        travel_s = SLOWING_S * (1 - np.exp(-max(0.0, time_s - self.time_s) / SLOWING_S))
        return self.joints + travel_s * self.velocity

    def dressed(self, measured: np.ndarray) -> None:
        """Takes in a measurement of the colours (2, 3)."""
        self.colours = evidence.worn(self.colours, measured)


@dataclass(frozen=True, slots=True, eq=False)
class _Stray:
    """A detection that nobody explains."""

    camera: int
    time_s: float
    xyxy: np.ndarray
    roll: float
    keypoints: np.ndarray
    rays: np.ndarray  # (17, 3) unit, world; NaN: not seen
    colours: np.ndarray


@dataclass(slots=True, eq=False)
class _Candidate:
    """A person who may be new."""

    place: np.ndarray  # (3,) world
    time_s: float
    ticks: int = 1


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
        """cameras: of the rig, without distortion. threshold: the detector's. Raises UserError for a wrong subject."""
        self._settings, self._cameras, self._threshold, self._least = settings, cameras, threshold, min_confidence
        self._subject = subject_of(settings.subject)
        self._most = 1 if self._subject in ("largest", "centre") else settings.max_people or 1_000_000
        self._people: list[Person] = []
        self._strays: list[list[_Stray]] = [[] for _ in cameras]
        self._candidates: list[_Candidate] = []
        self._looked_s = [-np.inf] * len(cameras)
        self._next_id = 0

    # Looks

    def wants_look(self, camera: int, time_s: float, every_s: float) -> bool:
        """Whether the detector should look at a camera's whole picture: once per `every_s`, and at once where a person
        may be new or is not found."""
        since_s = time_s - self._looked_s[camera]
        unfound = any(one.fitted and time_s - one.found_s > every_s for one in self._people)
        new = self._candidates and not self._full
        wait_s = NEW_EVERY_S if new else UNFOUND_EVERY_S if unfound else every_s
        return since_s < 0 or since_s >= min(wait_s, every_s) - 1e-6

    @property
    def _full(self) -> bool:
        """Whether as many people are fitted as are to be."""
        return sum(one.fitted for one in self._people) >= self._most

    def waited_s(self, camera: int, time_s: float) -> float:
        """Since the last look at a camera's whole picture."""
        return time_s - self._looked_s[camera]

    def predict(self, camera: int, time_s: float) -> Known:
        """Where a camera should see those who are fitted. Changes nothing."""
        return self._known(camera, time_s, [one for one in self._people if one.fitted and not one.fresh])

    def unseen(self, camera: int, time_s: float, every_s: float) -> Known:
        """Those of `predict` whose key points nobody has looked for in this camera since `every_s`."""
        waiting = [
            one
            for one in self._people
            if one.fitted and not one.fresh and time_s - one.closer_s.get(camera, -np.inf) >= every_s - 1e-6
        ]
        waiting.sort(key=lambda one: one.closer_s.get(camera, -np.inf))
        return self._known(camera, time_s, waiting)

    def _known(self, camera: int, time_s: float, people: list[Person]) -> Known:
        rows = []
        for one in people:
            pixels = self._pixels(camera, one.at(time_s))
            if pixels is not None and self._share(camera, pixels) >= IN_VIEW:
                dx, dy = pixels[NECK] - pixels[PELVIS]
                roll = np.arctan2(dx, -dy) if np.hypot(dx, dy) > 0.12 * np.ptp(pixels, axis=0).max() else 0.0
                rows.append((one.id, np.concatenate([pixels.min(0), pixels.max(0)]), roll))
        ids, xyxy = np.array([row[0] for row in rows], np.int64), np.array([row[1] for row in rows], np.float32)
        return Known(ids, xyxy.reshape(-1, 4), np.array([row[2] for row in rows], np.float32))

    def update(
        self, time_s: float, live: list[bool], looks: list[tuple[int, Boxes]]
    ) -> tuple[list[Wanted], list[Finding]]:
        """Returns the people to fit in a tick, sorted by id, and the key points that were found of them.

        live: which cameras have a frame in this tick. looks: camera and what a detector has found there since the last
        call; with ids, of closer looks.
        """
        findings: list[Finding] = []
        for camera, boxes in looks:
            self._take_look(camera, boxes, findings)
        if looks:
            self._gather(time_s, live)
        keep_s = self._settings.keep_s
        for one in self._people:
            if one.fitted and not one.fresh and one.missed >= MISSED and time_s - one.found_s > MISSED_S:
                one.fitted = False
        self._people = [one for one in self._people if one.fitted or time_s - one.time_s <= keep_s]
        wanted = []
        for one in sorted(self._people, key=lambda person: person.id):
            if one.fitted and (views := self._views(one, time_s, live)):
                wanted.append(Wanted(one.id, views, dict(one.boxes) if one.fresh else {}))
            elif one.fresh:  # the cameras whose boxes it has are gone, and the boxes will not be true later
                one.fitted = False
        return wanted, findings

    def _take_look(self, camera: int, boxes: Boxes, findings: list[Finding]) -> None:
        """Matches one look's detections with people."""
        then_s = boxes.frame.time_s
        keypoints = (
            boxes.keypoints if boxes.keypoints is not None else np.full((len(boxes.score), COCO_KEYPOINTS, 3), np.nan)
        )
        people = [one for one in self._people if one.fitted and not one.fresh]
        whole = boxes.ids is None
        if whole:
            self._looked_s[camera] = then_s
        for one in people:
            if whole or one.id in np.asarray(boxes.ids):
                one.closer_s[camera] = then_s
                pixels = self._pixels(camera, one.at(then_s))
                one.missed += pixels is not None and self._share(camera, pixels) >= IN_VIEW
        colours = evidence.colours(boxes.frame.image, keypoints, self._cameras[camera])
        away = np.full((len(people), len(keypoints)), np.inf)
        for i, one in enumerate(people):
            pixels = self._pixels(camera, one.at(then_s))
            if pixels is None:
                continue
            size = float(np.ptp(pixels, axis=0).max())
            for row, points in enumerate(keypoints):
                away[i, row] = np.nan_to_num(evidence.apart(pixels, points, size), nan=np.inf)
        explained = np.asarray((away < EXPLAINED).any(axis=0), bool).reshape(len(keypoints))
        unlike = np.array([[evidence.unlike(one.colours, seen) for seen in colours] for one in people]).reshape(
            away.shape
        )
        cost = np.where(away < GATE, away + 0.5 * GATE * unlike, 1e6)
        for i, row in zip(*linear_sum_assignment(cost), strict=True) if away.size else ():
            if cost[i, row] >= 1e6:
                continue
            one = people[i]
            one.found_s, one.missed = max(one.found_s, then_s), 0
            if whole and not self._crowded(one, people):
                one.dressed(colours[row])
            findings.append(Finding(one.id, camera, then_s, keypoints[row]))
            explained[row] = True
        if whole:
            sure = (boxes.score >= self._threshold) & ~explained
            self._strays[camera] = [
                _Stray(
                    camera,
                    then_s,
                    boxes.xyxy[row],
                    float(boxes.roll[row]),
                    keypoints[row],
                    self._rays(camera, keypoints[row]),
                    colours[row],
                )
                for row in np.flatnonzero(sure)
            ]

    def _crowded(self, one: Person, people: list[Person]) -> bool:
        """Whether another person is so near that clothes may be theirs."""
        return any(other is not one and np.linalg.norm(other.joints[0] - one.joints[0]) < 0.8 for other in people)

    # Somebody new

    def _gather(self, time_s: float, live: list[bool]) -> None:
        """Finds people among the detections that nobody explains, and has them fitted when three looks agree."""
        strays = [one for view in self._strays for one in view if time_s - one.time_s <= STRAY_S]
        needed = min(2, sum(live))
        found = [group for group in self._groups(strays) if len(group) >= needed]
        self._candidates = [one for one in self._candidates if time_s - one.time_s <= CANDIDATE_S]
        for group in found:
            place, newest_s = self._place(group), max(one.time_s for one in group)
            if not np.isfinite(place).all():
                continue
            strayed = [one for one in self._people if self._has_strayed(one, place, newest_s)]
            if strayed:
                one = min(
                    strayed, key=lambda other: float(np.linalg.norm(other.joints[[PELVIS, NECK]].mean(0) - place))
                )
                self._put(one, group, place, newest_s)
                continue
            near = [one for one in self._candidates if np.linalg.norm(one.place - place) < CANDIDATE_M]
            if not near:
                self._candidates.append(_Candidate(place, newest_s))
                continue
            one = min(near, key=lambda other: float(np.linalg.norm(other.place - place)))
            one.ticks += newest_s > one.time_s
            one.place, one.time_s = place, newest_s
            if one.ticks >= TICKS and not self._full:
                self._candidates.remove(one)
                self._begin(group, place, newest_s)
                for stray in group:
                    self._strays[stray.camera].remove(stray)

    def _groups(self, strays: list[_Stray]) -> list[list[_Stray]]:
        """Detections that are one person, at most one per camera: the nearest pairs first, and only where each of a
        group is near to each other one."""
        apart = self._apart(strays)
        cameras = np.array([one.camera for one in strays])
        first, second = np.nonzero(np.triu(apart < SAME_M))
        group = np.arange(len(strays))
        for pair in np.argsort(apart[first, second], kind="stable"):
            one, other = group == group[first[pair]], group == group[second[pair]]
            if (one & other).any() or np.isin(cameras[one], cameras[other]).any():
                continue
            if apart[np.ix_(one, other)].max() < SAME_M:
                group[other] = group[first[pair]]
        return [[strays[k] for k in np.flatnonzero(group == name)] for name in dict.fromkeys(group.tolist())]

    def _apart(self, strays: list[_Stray]) -> np.ndarray:
        """(n, n) metres: the median distances between the lines of sight to two detections' joints; inf: too few are
        seen, or both are of one camera."""
        apart = np.full((len(strays), len(strays)), np.inf)
        cameras = np.array([one.camera for one in strays])
        first, second = np.nonzero(np.triu(cameras[:, None] != cameras[None]))
        if not len(first):
            return apart
        rays, eyes = np.stack([one.rays for one in strays]), np.stack([self._cameras[row].position for row in cameras])
        a, base = rays[first], (eyes[second] - eyes[first])[:, None]
        for order in (slice(None), OTHER_SIDE):
            b = rays[second][:, order]
            normal = np.cross(a, b)
            length = np.linalg.norm(normal, axis=-1)
            good = length > 0.05  # a joint that is not seen is NaN
            square = np.where(good, length, 1.0) ** 2
            # The lines meet in front of both cameras, or they are not of one point.
            along, back = ((np.cross(base, ray) * normal).sum(-1) / square for ray in (b, a))
            away = np.where(good & (along > 0) & (back > 0), np.abs((normal * base).sum(-1)) / np.sqrt(square), np.inf)
            count, ordered, row = good.sum(1), np.sort(away, axis=1), np.arange(len(first))
            middle = (ordered[row, np.maximum(count - 1, 0) // 2] + ordered[row, count // 2]) / 2
            best = np.where(count >= LEAST_JOINTS, middle, np.inf)
            apart[first, second] = np.minimum(apart[first, second], best)
        return np.minimum(apart, apart.T)

    def _place(self, group: list[_Stray]) -> np.ndarray:
        """(3,) metres in the world: the middle of the torso of one person's detections."""
        eyes = np.stack([self._cameras[one.camera].position for one in group])
        rays = np.stack(
            [
                np.nanmean(one.rays[TORSO], 0) if np.isfinite(one.rays[TORSO]).any() else np.nanmean(one.rays, 0)
                for one in group
            ]
        )
        rays /= np.linalg.norm(rays, axis=1, keepdims=True)
        if len(group) == 1:
            height_px = float((group[0].xyxy[2:] - group[0].xyxy[:2]).max())
            return eyes[0] + rays[0] * STATURE_M * self._cameras[group[0].camera].focal_px / max(height_px, 1.0)
        across = np.eye(3) - rays[:, :, None] * rays[:, None]
        return np.linalg.solve(across.sum(0), np.einsum("nab,nb->a", across, eyes))

    def _begin(self, group: list[_Stray], place: np.ndarray, time_s: float) -> None:
        """Begins a person who is new, or one who was lost and is back."""
        seen = [one.colours for one in group]
        colours = np.full((2, 3), np.nan)
        if any(np.isfinite(one).any() for one in seen):
            with np.errstate(all="ignore"):
                stacked = np.stack(seen)
                known = np.isfinite(stacked)
                colours = np.where(
                    known.any(0), np.where(known, stacked, 0).sum(0) / np.maximum(known.sum(0), 1), np.nan
                )
        lost = [(self._cost_of_return(one, place, colours, time_s), one) for one in self._people if not one.fitted]
        cost, back = min(lost, key=lambda pair: pair[0], default=(np.inf, None))
        if back is None or not np.isfinite(cost):
            back = Person(self._next_id, np.tile(place, (JOINTS, 1)), time_s, time_s)
            self._next_id += 1
            self._people.append(back)
        self._put(back, group, place, time_s)
        back.dressed(colours)

    def _has_strayed(self, one: Person, place: np.ndarray, time_s: float) -> bool:
        """Whether a body that no look finds is that of the person seen by several cameras at a place (3,) beside it."""
        away = float(np.linalg.norm(one.joints[[PELVIS, NECK]].mean(0) - place))
        return one.fitted and not one.fresh and one.missed >= STRAYED and away < STRAYED_M

    def _put(self, one: Person, group: list[_Stray], place: np.ndarray, time_s: float) -> None:
        """The person's fit starts cold where a group of detections is."""
        one.joints, one.time_s, one.velocity = np.tile(place, (JOINTS, 1)), time_s, np.zeros(3)
        one.bodies.clear()
        one.found_s, one.missed, one.fitted, one.fresh, one.doubted_s = time_s, 0, True, True, np.inf
        one.boxes = {stray.camera: (stray.xyxy, stray.roll) for stray in group}

    def _cost_of_return(self, one: Person, place: np.ndarray, colours: np.ndarray, time_s: float) -> float:
        """Of taking a new person for one who was lost; inf: it is another one."""
        gone_s = time_s - one.time_s
        away = float(np.linalg.norm(one.at(time_s)[[PELVIS, NECK]].mean(0) - place))
        unlike = float(evidence.unlike(one.colours, colours))
        if away > AGAIN_M + AGAIN_M_S * gone_s or (unlike >= 1 and not (away < STRAYED_M and gone_s < SOON_S)):
            return np.inf
        return away / (AGAIN_M + AGAIN_M_S * gone_s) + unlike

    # Views

    def _views(self, one: Person, time_s: float, live: list[bool]) -> tuple[int, ...]:
        """The cameras to fit a person in."""
        if one.fresh:
            return tuple(camera for camera in sorted(one.boxes) if live[camera])
        joints = one.at(time_s)
        others = [other.at(time_s) for other in self._people if other is not one and other.fitted and not other.fresh]
        views, hidden = [], []
        for camera, there in enumerate(live):
            pixels = self._pixels(camera, joints) if there else None
            if pixels is None or self._share(camera, pixels) < IN_VIEW:
                continue
            (views if self._hidden(camera, joints, others) < HIDDEN else hidden).append(camera)
        return tuple(views or hidden)

    def _hidden(self, camera: int, joints: np.ndarray, others: list[np.ndarray]) -> float:
        """The share of a person's joints (24, 3) that is behind others' bodies."""
        if not others:
            return 0.0
        eye = self._cameras[camera].position
        depth = np.linalg.norm(joints - eye, axis=1)
        rays = (joints - eye) / depth[:, None]
        arm = np.concatenate(others) - eye
        along = rays @ arm.T  # (24, joints of others)
        across = (arm**2).sum(1) - along**2
        covered = ((across < REACH_M**2) & (along > 0) & (along < depth[:, None] - 0.2)).any(1)
        return float(covered.mean())

    def _pixels(self, camera: int, joints: np.ndarray) -> np.ndarray | None:
        """Joints (24, 3) of the world in a camera's picture; None: they are not in front of it."""
        lens = self._cameras[camera]
        there = lens.camera(joints)
        if not np.isfinite(there).all() or there[:, 2].min() < LEAST_DEPTH_M:
            return None
        return geometry.project(there, lens.focal_px, lens.centre_px)

    def _share(self, camera: int, pixels: np.ndarray) -> float:
        """The share of a body's box that a picture shows; 0 for people who are too small."""
        low, high = pixels.min(0), pixels.max(0)
        if (high - low).max() < self._settings.min_height_px:
            return 0.0
        inside = np.minimum(high, self._cameras[camera].size) - np.maximum(low, 0)
        return float(np.prod(np.clip(inside, 0, None)) / max(np.prod(high - low), 1e-6))

    def _rays(self, camera: int, keypoints: np.ndarray) -> np.ndarray:
        """(17, 3) unit directions in the world of key points (17, 3); NaN where they are not seen."""
        lens = self._cameras[camera]
        flat = (keypoints[:, :2] - lens.centre_px) / lens.focal_px
        rays = np.column_stack([flat, np.ones(len(flat))]) @ lens.world_from_camera[:3, :3].T
        rays[~(keypoints[:, 2] >= SCORE)] = np.nan
        return rays / np.linalg.norm(rays, axis=1, keepdims=True)

    # Fits

    def observe(self, time_s: float, fits: list[WorldFit]) -> list[bool]:
        """Takes in the fits of a tick. Returns which to publish.

        A body is lost when its confidence is too low, and doubted when it jumps; of two on one person, the younger one
        is lost.
        """
        by_id = {one.id: one for one in self._people}
        keep = []
        for fit in fits:
            one = by_id[fit.id]
            keep.append(self._judge(one, fit, time_s))
        for row, fit in enumerate(fits):
            for other in fits[:row]:
                both = by_id[fit.id], by_id[other.id]
                if all(one.fitted for one in both) and self._twins(fit.joints, other.joints):
                    younger = max(both, key=lambda one: (one.born_s, one.id))
                    younger.fitted = False
                    keep[row if younger is both[0] else fits.index(other)] = False
        return keep

    def _judge(self, one: Person, fit: WorldFit, time_s: float) -> bool:
        if not fit.views:  # no camera has a frame: the person moves on
            return False
        if fit.confidence < self._least:
            one.fitted = False
            return False
        dt_s = time_s - one.time_s
        if not one.fresh:
            moved = float(np.linalg.norm(fit.joints[0] - one.at(time_s)[0]))
            if moved > JUMP_M + JUMP_M_S * dt_s:
                one.doubted_s = min(one.doubted_s, time_s)
                one.fitted = time_s - one.doubted_s <= DOUBT_S
                return False
            if dt_s > 0:
                one.velocity = 0.6 * one.velocity + 0.4 * (fit.joints[0] - one.joints[0]) / dt_s
        one.joints, one.time_s, one.fresh, one.doubted_s, one.boxes = fit.joints, time_s, False, np.inf, {}
        one.bodies.append((time_s, fit.joints))
        while time_s - one.bodies[0][0] > HISTORY_S:
            one.bodies.popleft()
        return not isinstance(self._subject, int) or one.id == self._subject

    @staticmethod
    def _twins(one: np.ndarray, other: np.ndarray) -> bool:
        return bool(np.linalg.norm(one[[PELVIS, NECK]] - other[[PELVIS, NECK]], axis=1).max() < TWINS_M)


# COCO's key points with left and right exchanged.
OTHER_SIDE = np.array([0, 2, 1, 4, 3, 6, 5, 8, 7, 10, 9, 12, 11, 14, 13, 16, 15])
