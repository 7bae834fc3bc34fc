"""Scenes: iterators of pictures with the truth about the people in them, and how the product follows one."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from refit_rt.draw.overlay import Overlay
from refit_rt.follow import Follower
from refit_rt.types import Frame
from training.evaluation.people.cutouts import load_actors
from training.evaluation.people.painting import Canvas, Look, Person, Wardrobe
from training.evaluation.people.places import Places
from training.evaluation.people.score import Seen

Picture = tuple[np.ndarray, tuple[Person, ...]]  # (h, w, 3) uint8 BGR, and the truth


@dataclass(frozen=True, slots=True, eq=False)
class Scene:
    """One scene, painted again each time it is played."""

    name: str
    fps: float
    play: Callable[[], Iterator[Picture]]
    facts: dict[str, Any] = field(default_factory=dict)  # what the case's figures need to know


class Stage:
    """What scenes are made of: actors and places, loaded when they are first needed."""

    def __init__(self, media: Path, panoramas: Path, size: tuple[int, int] = (960, 540)) -> None:
        """media: the folder of treadmill_4cam and charuco_4cam; panoramas: a folder of .hdr files."""
        self.media, self.size = media, size
        self.places = Places(media, panoramas, size)

    @cached_property
    def wardrobe(self) -> Wardrobe:
        """Raises UserError where the recordings are missing."""
        return Wardrobe(load_actors(self.media))

    def sized(self, size: tuple[int, int]) -> "Stage":
        """The same actors before places of another picture size."""
        other = Stage(self.media, self.places.panoramas, size)
        other.__dict__["wardrobe"] = self.wardrobe
        return other

    def canvas(self, place: np.ndarray) -> Canvas:
        """A picture of this place to paint people into."""
        return Canvas(place, self.wardrobe)

    def paint(self, place: np.ndarray, time_s: float, *people: tuple[str, Look, float, float, float]) -> Picture:
        """A picture of people, each a name, look, x, y of the sole and height in pixels; the last one is in front."""
        canvas = self.canvas(place)
        for name, look, x, sole_y, height_px in people:
            canvas.add(name, look, time_s, x, sole_y, height_px)
        return canvas.image, canvas.people()


def follow(follower: Follower, scene: Scene, strip: int = 0) -> tuple[list[Seen], list[np.ndarray]]:
    """Plays a scene to the product, from its first frame on. strip: how many pictures with bodies to return."""
    follower.forget()
    frames, pictures = [], list(scene.play()) if strip else scene.play()
    drawn = set(np.linspace(0, len(pictures) - 1, strip).astype(int)) if isinstance(pictures, list) else set()
    shown = []
    for index, (image, truth) in enumerate(pictures):
        time_s = index / scene.fps
        _, people = follower.step(Frame("scene", index, time_s, time_s, image))
        depth = people.joints_camera[:, 0, 2].astype(float)
        joints = people.joints_px.astype(float)
        frames.append(Seen(time_s, truth, people.ids.copy(), joints, depth, people.confidence.copy()))
        if index in drawn:
            shown.append(Overlay(follower.fitter.body, (image.shape[1], image.shape[0])).draw(image, people))
    return frames, shown
