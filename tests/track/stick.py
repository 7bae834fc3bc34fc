"""Stick figures on synthetic paths, a simulated detector and a simulated fit: the truth for tests of the tracker.

The detector sees everybody who is not hidden. The fit behaves as the real one does where it is at its worst: the body
of a hidden person slides onto the nearest person who is visible and stays there until it starts cold again.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

import cv2
import numpy as np

from refit_rt import config
from refit_rt.track.one_camera import Tracker
from refit_rt.types import Boxes, Frame, People, Tracks

FPS = 30
SIZE = (1280, 720)
HEIGHT_PX, WIDTH = 300.0, 0.37  # a person's height, and width as a share of it
GREY, RED, BLUE = (128, 128, 128), (40, 40, 200), (200, 80, 40)  # clothes, BGR

# SMPL's joints and COCO's key points in shares of the height, from the middle of the figure: x to the right, y down
# fmt: off
SMPL = np.array([
    (0, .02), (.05, .04), (-.05, .04), (0, -.05), (.06, .25), (-.06, .25), (0, -.12), (.06, .44), (-.06, .44),
    (0, -.18), (.07, .48), (-.07, .48), (0, -.33), (.04, -.30), (-.04, -.30), (0, -.40), (.10, -.30), (-.10, -.30),
    (.13, -.14), (-.13, -.14), (.14, .01), (-.14, .01), (.15, .06), (-.15, .06),
])
COCO = np.array([
    (0, -.40), (.02, -.42), (-.02, -.42), (.04, -.41), (-.04, -.41), (.10, -.30), (-.10, -.30), (.13, -.14),
    (-.13, -.14), (.14, .01), (-.14, .01), (.05, .04), (-.05, .04), (.06, .25), (-.06, .25), (.06, .44), (-.06, .44),
])
# fmt: on


def joints(centre: np.ndarray, height: float = HEIGHT_PX) -> np.ndarray:
    """SMPL's joints (24, 2) px of a figure."""
    return centre + height * SMPL


def keypoints(centre: np.ndarray, height: float = HEIGHT_PX) -> np.ndarray:
    """COCO's key points (17, 3) of a figure, all of them seen."""
    return np.column_stack([centre + height * COCO, np.full(17, 0.8)])


def box(centre: np.ndarray, height: float = HEIGHT_PX) -> np.ndarray:
    """(4,) xyxy px of a figure."""
    half = np.array([WIDTH * height, height]) / 2
    return np.concatenate([centre - half, centre + half]).astype(np.float32)


def rows(found: list, *shape: int) -> np.ndarray:
    return np.array(found, np.float32).reshape(-1, *shape)


def line(start: tuple[float, float], end: tuple[float, float], seconds: float, fps: float = FPS) -> np.ndarray:
    return np.linspace(start, end, round(seconds * fps))


def stand(x: float, seconds: float) -> np.ndarray:
    return line((x, 360), (x, 360), seconds)


@dataclass
class Scene:
    """One path per person, named from back to front. A person is hidden in the seconds of `hidden[name]`, and while a
    person who stands farther in front is nearer than `hides` heights."""

    paths: dict[str, np.ndarray]  # name → (frames, 2) middle of the figure, px; nan: out of the picture
    hidden: dict[str, list[tuple[float, float]]] = field(default_factory=dict)
    settings: config.Track = field(default_factory=config.Track)
    clothes: dict[str, tuple[int, int, int]] = field(default_factory=dict)
    heights: dict[str, float] = field(default_factory=dict)  # px
    scores: dict[str, float] = field(default_factory=dict)  # the detector's; 0.9
    every_s: float = 0.25
    fps: float = FPS
    hides: float = 0.15
    noise_px: float = 2.0
    late: int = 0  # frames from the question to the detector's answer, as in live mode
    with_keypoints: bool = True
    nobody: float = 0.05  # confidence of a body where nobody is
    # (frame, name, whether the fit starts cold) → where the body of that person is instead, in heights from the truth;
    # None: where it should be
    astray: Callable[[int, str, bool], tuple[float, float] | None] = lambda frame, name, cold: None
    at_frame: Callable[[int, Tracker], None] = lambda frame, tracker: None  # runs before each frame

    def height(self, name: str) -> float:
        return self.heights.get(name, HEIGHT_PX)

    def visible(self, index: int) -> dict[str, np.ndarray]:
        """Where those are who can be seen."""
        there = {name: path[index] for name, path in self.paths.items() if np.isfinite(path[index]).all()}
        seen: dict[str, np.ndarray] = {}
        for name in reversed(there):  # from front to back
            away = [np.linalg.norm(there[name] - there[other]) / self.height(other) for other in seen]
            out = any(a <= index / self.fps < b for a, b in self.hidden.get(name, []))
            if not out and min(away, default=1.0) >= self.hides:
                seen[name] = there[name]
        return dict(reversed(seen.items()))

    def picture(self, centres: dict[str, np.ndarray]) -> np.ndarray:
        """Grey, with the clothes of those who are visible."""
        image = np.full((SIZE[1], SIZE[0], 3), 90, np.uint8)
        for name, centre in centres.items():
            half = np.array([0.12, 0.28]) * self.height(name)
            (x0, y0), (x1, y1) = np.round(centre - half).astype(int), np.round(centre + half).astype(int)
            cv2.rectangle(image, (x0, y0), (x1, y1), self.clothes.get(name, GREY), -1)
        return image

    def run(self, most: int = 0) -> "Story":
        """most: how many people the caller has time for; 0: for all."""
        rng = np.random.default_rng(7)
        tracker, story, fit = Tracker(self.settings), Story(), _Fit(self, rng)
        tracker.most = most or tracker.most
        asked: list[tuple[int, Boxes]] = []  # the question that is being answered
        for index in range(len(next(iter(self.paths.values())))):
            centres = self.visible(index)
            time_s = index / self.fps
            frame = Frame("camera", index, 10 + time_s, time_s, self.picture(centres))
            self.at_frame(index, tracker)
            if tracker.wants_look(time_s, self.every_s) and not asked:
                story.looks.append(index)
                tracker.predict(time_s)
                asked.append((index, self.detections(frame, centres, rng)))
            boxes = asked.pop()[1] if asked and index - asked[0][0] >= self.late else None
            tracks = tracker.update(frame, boxes)
            people, on = fit.fit(tracks, centres)
            keep = tracker.observe(people)
            story.add(tracks, people, keep, on, centres, tracker.waiting)
        return story

    def detections(self, frame: Frame, centres: dict[str, np.ndarray], rng: np.random.Generator) -> Boxes:
        """What the detector finds: boxes a little larger than the figures, and key points."""
        boxes, points = [], []
        for name, centre in centres.items():
            boxes.append(box(centre + rng.normal(0, self.noise_px, 2), 1.05 * self.height(name)))
            there = keypoints(centre, self.height(name))
            there[:, :2] += rng.normal(0, self.noise_px, (17, 2))
            points.append(there)
        score = rows([self.scores.get(name, 0.9) for name in centres])
        found = rows(points, 17, 3) if self.with_keypoints else None
        return Boxes(frame, rows(boxes, 4), score, np.zeros(len(score), np.float32), found)


class _Fit:
    """Bodies that stay on the person whom they are on, and slide."""

    def __init__(self, scene: Scene, rng: np.random.Generator) -> None:
        self._scene, self._rng = scene, rng
        self._on: dict[int, str | None] = {}  # id → the person on whom its body is

    def fit(self, tracks: Tracks, centres: dict[str, np.ndarray]) -> tuple[People, dict[int, str | None]]:
        scene, frame = self._scene, tracks.frame
        found: dict[str, list] = {"joints_px": [], "box": [], "trans": [], "confidence": []}
        for number, where, fresh in zip(tracks.ids.tolist(), tracks.xyxy, tracks.fresh, strict=True):
            name = None if fresh else self._on.get(number)
            if name not in centres:
                name = self._nearest(where, centres)
            self._on[number] = name
            height = scene.height(name) if name else float((where[2:] - where[:2]).max())
            centre = centres[name] if name else (where[:2] + where[2:]) / 2
            away = scene.astray(frame.index, name, bool(fresh)) if name else None
            if away is not None:
                centre, self._on[number] = centre + height * np.array(away), None
            centre = centre + self._rng.normal(0, scene.noise_px, 2)
            found["joints_px"].append(joints(centre, height))
            found["box"].append(box(centre, height))
            found["trans"].append([0, 0, 4 * HEIGHT_PX / height])
            found["confidence"].append(0.9 if name else scene.nobody)
        on = dict(zip(tracks.ids.tolist(), (self._on[n] for n in tracks.ids.tolist()), strict=True))
        return people({"ids": tracks.ids, **found}, frame), on

    def _nearest(self, where: np.ndarray, centres: dict[str, np.ndarray]) -> str | None:
        """The visible person on whom a body falls that starts in a box (4,)."""
        middle, size = (where[:2] + where[2:]) / 2, float((where[2:] - where[:2]).max())
        away = {name: float(np.linalg.norm(middle - centre)) for name, centre in centres.items()}
        name = min(away, key=lambda one: away[one], default=None)
        return name if name and away[name] < 0.35 * size else None


def people(fitted: dict, frame: Frame) -> People:
    """The bodies of a frame."""
    return People.of(
        fitted, camera=frame.camera, frame_index=frame.index, captured_s=frame.captured_s, time_s=frame.time_s,
        dropped=0, size=frame.size, focal_px=1000.0, centre_px=(639.5, 359.5),
    )  # fmt: skip


@dataclass
class Story:
    """What happened, frame by frame."""

    published: list[dict[int, str | None]] = field(default_factory=list)  # id → the person on whom the body is
    tracked: list[list[int]] = field(default_factory=list)
    fresh: list[list[int]] = field(default_factory=list)
    seen: list[list[str]] = field(default_factory=list)  # who was visible
    looks: list[int] = field(default_factory=list)  # frames for which the detector was asked
    waiting: list[int] = field(default_factory=list)
    error_px: list[float] = field(default_factory=list)  # of the predicted boxes' centres, where they are not fresh

    def add(self, tracks: Tracks, fitted: People, keep: np.ndarray, on: dict, centres: dict, waiting: int) -> None:
        self.published.append({number: on[number] for number in fitted.ids[keep].tolist()})
        self.tracked.append(tracks.ids.tolist())
        self.fresh.append(tracks.ids[tracks.fresh].tolist())
        self.seen.append(list(centres))
        self.waiting.append(waiting)
        for number, where, fresh in zip(tracks.ids.tolist(), tracks.xyxy, tracks.fresh, strict=True):
            if on[number] in centres and not fresh:
                self.error_px.append(float(np.linalg.norm((where[:2] + where[2:]) / 2 - centres[on[number]])))

    def ids_of(self, name: str) -> list[int | None]:
        """The id that is published on a person in each frame; of two, the smaller one."""
        return [min((n for n, who in frame.items() if who == name), default=None) for frame in self.published]

    def ever(self) -> list[int]:
        """All published ids, in the order in which they first were."""
        return list(dict.fromkeys(number for frame in self.published for number in sorted(frame)))

    def longest_twins(self) -> int:
        """The longest run of frames in which two published bodies are on one person."""
        longest = run = 0
        for frame in self.published:
            on = [name for name in frame.values() if name is not None]
            run = run + 1 if len(on) > len(set(on)) else 0
            longest = max(longest, run)
        return longest
