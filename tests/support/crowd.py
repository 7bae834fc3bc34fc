"""People of the world before a ring of cameras, a simulated detector and a simulated fit: the truth for tests of the
tracker of a rig.

The detector misses people who are hidden behind others, and a share of the rest. The fit is as bad as the real one: a
body goes to the person whose key points the tracker gives it.
"""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

import cv2
import numpy as np

from refit_rt import config
from refit_rt.cameras import Camera
from refit_rt.track.evidence import COCO_LIMBS, JOINTS_THERE, POINTS
from refit_rt.track.many_cameras import Finding, RigTracker
from refit_rt.types import Boxes, Frame, Pose, Wanted, WorldFit
from tests.support.studio import joints_of, ring, standing

FPS = 30
EVERY_S = 0.25
GREY, RED, BLUE = (128, 128, 128), (40, 40, 200), (200, 80, 40)  # clothes, BGR
REACH_M = 0.12  # a line of sight that passes nearer to somebody's joint is covered
NO_POSE = Pose(np.tile(np.eye(3), (24, 1, 1)), np.zeros(10), np.zeros(3))  # the tracker reads joints alone


def walk(start: tuple[float, float], end: tuple[float, float], seconds: float) -> np.ndarray:
    """(ticks, 2) metres on the floor."""
    return np.linspace(start, end, round(seconds * FPS))


def stand(x: float, z: float, seconds: float) -> np.ndarray:
    return walk((x, z), (x, z), seconds)


def keypoints_of(joints: np.ndarray, camera: Camera) -> np.ndarray:
    """COCO's key points (17, 3) px of joints (24, 3) of the world, all of them seen."""
    points = np.full((17, 3), 0.8)
    points[1:5, :2] = camera.project(joints[15])
    points[POINTS, :2] = camera.project(joints[JOINTS_THERE])
    return points


@dataclass
class Crowd:
    """One path per person."""

    paths: dict[str, np.ndarray]  # name → (ticks, 2) x and z metres of the pelvis; NaN: out of the room
    cameras: list[Camera] = field(default_factory=lambda: ring(4, 4.5))
    settings: config.Track = field(default_factory=config.Track)
    clothes: dict[str, tuple[int, int, int]] = field(default_factory=dict)
    unseen: dict[str, set[int]] = field(default_factory=dict)  # name → cameras that do not see the person
    gone: dict[int, list[tuple[float, float]]] = field(default_factory=dict)  # camera → when it has no frame, seconds
    noise_px: float = 5.0
    missed: float = 0.1  # share of people that a look overlooks
    shown: tuple[int, ...] = tuple(range(17))  # key points that the detector sees
    fit_noise_m: float = 0.01
    seed: int = 7
    # (tick, id → the person on whom the body is): runs before each fit
    at_tick: Callable[[int, dict[int, str | None]], None] = lambda tick, on: None

    def __post_init__(self) -> None:
        self._shapes = {name: joints_of(standing(row, (0, 1, 0), 0.1)) for row, name in enumerate(self.paths)}
        self._rng = np.random.default_rng(self.seed)
        self._background = np.full((self.cameras[0].size[1], self.cameras[0].size[0], 3), 90, np.uint8)

    def people(self, tick: int) -> dict[str, np.ndarray]:
        """Joints (24, 3) of those who are in the room."""
        there = {name: path[tick] for name, path in self.paths.items() if np.isfinite(path[tick]).all()}
        return {name: self._shapes[name] + np.array([place[0], 0, place[1]]) for name, place in there.items()}

    def look(self, camera: int, tick: int) -> tuple[Boxes, list[str]]:
        """What the detector finds in a picture, and of whom."""
        lens, people = self.cameras[camera], self.people(tick)
        found, names = [], []
        for name, joints in people.items():
            points = keypoints_of(joints, lens)
            points[:, 2] = 0.0
            hidden = np.zeros(17, bool)
            hidden[POINTS] = self._hidden(lens, name, people)[JOINTS_THERE]
            points[list(self.shown), 2] = 0.8
            points[hidden, 2] = 0.1
            points[:, :2] += self._rng.normal(0, self.noise_px, (17, 2))
            overlooked = self._rng.uniform() < self.missed or hidden[POINTS].mean() > 0.6
            if not overlooked and camera not in self.unseen.get(name, ()):
                found.append(points)
                names.append(name)
        order = self._rng.permutation(len(found))
        keypoints = np.array([found[row] for row in order], np.float32).reshape(-1, 17, 3)
        low, high = (keypoints[..., :2].min(1), keypoints[..., :2].max(1)) if len(order) else (np.zeros((0, 2)),) * 2
        score = np.full(len(order), 0.9, np.float32)
        time_s = tick / FPS
        frame = Frame(lens.name, tick, 10 + time_s, time_s, self._picture(lens, people))
        boxes = Boxes(frame, np.concatenate([low, high], 1).astype(np.float32), score, 0 * score, keypoints)
        return boxes, [names[row] for row in order]

    def _hidden(self, lens: Camera, name: str, people: dict[str, np.ndarray]) -> np.ndarray:
        """(24,) bool: whether somebody stands before a joint."""
        arms = people[name] - lens.position
        far = np.linalg.norm(arms, axis=1)
        covered = np.zeros(24, bool)
        for other, joints in people.items():
            if other == name:
                continue
            there = joints - lens.position
            along = (arms / far[:, None]) @ there.T
            across = np.sqrt(np.maximum((there**2).sum(1) - along**2, 0))
            covered |= ((across < REACH_M) & (along < far[:, None] - 0.2)).any(1)
        return covered

    def _picture(self, lens: Camera, people: dict[str, np.ndarray]) -> np.ndarray:
        """Grey, with everybody's clothes, the nearest in front."""
        image = self._background.copy()
        for name in sorted(people, key=lambda one: -np.linalg.norm(people[one][0] - lens.position)):
            points = np.zeros((17, 2))
            points[POINTS] = lens.project(people[name][JOINTS_THERE])
            for a, b, c, d in COCO_LIMBS:
                quad = np.round(points[[a, b, d, c]]).astype(np.int32)
                cv2.fillConvexPoly(image, cv2.convexHull(quad), self.clothes.get(name, GREY))
                cv2.polylines(image, [quad], True, self.clothes.get(name, GREY), 25)
        return image

    def run(self) -> "Story":
        tracker, story, fit = RigTracker(self.settings, self.cameras), Story(), _Fit(self)
        every_s = EVERY_S * max(1.0, len(self.cameras) / 2)
        for tick in range(len(next(iter(self.paths.values())))):
            time_s = tick / FPS
            live = [not any(a <= time_s < b for a, b in self.gone.get(row, [])) for row in range(len(self.cameras))]
            asked = [row for row, there in enumerate(live) if there and tracker.wants_look(row, time_s, every_s)]
            looks = {row: self.look(row, tick) for row in asked}
            wanted, findings = tracker.update(time_s, live, [(row, boxes) for row, (boxes, _) in looks.items()])
            self.at_tick(tick, fit.on)
            fits = fit.fit(tick, wanted, findings, looks, story)
            keep = tracker.observe(time_s, fits)
            kept = [one.id for one, good in zip(fits, keep, strict=True) if good]
            story.published.append({number: fit.on[number] for number in kept})
            story.views.append({one.id: one.views for one in wanted})
            story.looked.append(asked)
        return story


class _Fit:
    """Bodies on people."""

    def __init__(self, crowd: Crowd) -> None:
        self._crowd, self._rng = crowd, np.random.default_rng(crowd.seed + 1)
        self.on: dict[int, str | None] = {}  # id → the person on whom the body is
        self._given: dict[int, deque] = {}  # id → of whom the last key points were

    def fit(
        self, tick: int, wanted: list[Wanted], findings: list[Finding], looks: dict, story: "Story"
    ) -> list[WorldFit]:
        people = self._crowd.people(tick)
        for one in findings:
            boxes, names = looks[one.camera]
            row = next(i for i, points in enumerate(boxes.keypoints) if points is one.keypoints or
                       np.array_equal(points, one.keypoints))  # fmt: skip
            given = self._given.setdefault(one.id, deque(maxlen=9))
            given.append(names[row])
            story.findings.append((tick, one.id, names[row], self.on.get(one.id)))
            usual = max(set(given), key=list(given).count)
            if list(given).count(usual) > 6:
                self.on[one.id] = usual
        fits = []
        for one in wanted:
            if one.boxes:
                of = [self._whose(camera, box, looks) for camera, (box, _) in one.boxes.items()]
                story.births.append((tick, one.id, of))
                self.on[one.id] = max(set(of), key=of.count)
                self._given.pop(one.id, None)
            name = self.on[one.id]
            there = name is not None and name in people
            joints = people[name] if name is not None and there else np.zeros((24, 3))
            joints = joints + self._rng.normal(0, self._crowd.fit_noise_m, 3)
            fits.append(WorldFit(one.id, NO_POSE, joints, 0.9 if there else 0.05, 2, one.views, bool(one.boxes)))
        return fits

    def _whose(self, camera: int, box: np.ndarray, looks: dict) -> str:
        boxes, names = looks[camera]
        return names[int(np.argmin(np.abs(boxes.xyxy - box).sum(1)))]


@dataclass
class Story:
    """What happened, tick by tick."""

    published: list[dict[int, str | None]] = field(default_factory=list)  # id → the person on whom the body is
    views: list[dict[int, tuple[int, ...]]] = field(default_factory=list)
    looked: list[list[int]] = field(default_factory=list)
    findings: list[tuple[int, int, str, str | None]] = field(default_factory=list)  # tick, id, of whom, on whom
    births: list[tuple[int, int, list[str]]] = field(default_factory=list)  # tick, id, of whom each view's box is

    def ids_of(self, name: str) -> list[int | None]:
        """The id that is published on a person in each tick; of two, the smaller one."""
        return [min((n for n, who in tick.items() if who == name), default=None) for tick in self.published]

    def ever(self) -> list[int]:
        """All published ids, in the order in which they first were."""
        return list(dict.fromkeys(number for tick in self.published for number in sorted(tick)))

    def right(self, since: int = 0) -> float:
        """The share of key points that were given to the person whose they are, from a tick on."""
        return float(np.mean([whose == on for tick, _, whose, on in self.findings if tick >= since]))
