"""What the cases share: how people look, what a case is, and how figures are written."""

import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from training.evaluation.people import score
from training.evaluation.people.painting import Look
from training.evaluation.people.scenes import Picture, Scene, Stage
from training.evaluation.people.score import Seen

RED, BLUE, GREEN, YELLOW = (40, 40, 170), (170, 90, 40), (60, 130, 60), (60, 180, 210)
WHITE, PURPLE, BLACK = (220, 220, 215), (140, 60, 120), (45, 45, 45)
LOOKS = (  # camera 3 sees the person from behind, 1 and 2 from the front, 4 from behind and aside
    Look(2),
    Look(2, RED, BLUE, flip=True),
    Look(0, BLUE, GREEN, phase_s=0.1),
    Look(3, WHITE, PURPLE, 0.9, phase_s=0.2),
    Look(1, GREEN, RED, 1.1),
    Look(2, YELLOW, None, 0.8, phase_s=0.15),
    Look(3, PURPLE, YELLOW, flip=True),
    Look(0, BLACK, WHITE, 0.85, flip=True),
)
Played = tuple[Scene, list[Seen]]


@dataclass(frozen=True, slots=True)
class Figure:
    """One line of a case's result."""

    what: str
    value: str
    aim: str = ""


@dataclass(frozen=True, slots=True)
class Case:
    """One kind of trouble."""

    scenes: Callable[[Stage], list[Scene]]
    figures: Callable[[list[Played]], list[Figure]]
    asked: tuple[int, ...]  # track.max_people of each run
    every: int = 5  # of the scenes, that a quick run plays
    smooth: tuple[bool, ...] = (True,)  # smooth.enabled of each run


def of(count: int, every: int) -> str:
    return f"{count} of {every}"


def seconds(values: list[float | None]) -> str:
    """Median and longest of times, of which None are endless."""
    known = sorted(np.inf if value is None else value for value in values)
    if not known:
        return "-"
    return " / ".join("never" if np.isinf(v) else f"{v:.2f} s" for v in (known[len(known) // 2], known[-1]))


def still(stage: Stage, place: np.ndarray, frames: int, people) -> Callable[[], Iterator[Picture]]:
    return lambda: itertools.repeat(stage.paint(place, 0.0, *people), frames)


def right_frames(tracks: list[list[Seen]]) -> Figure:
    good, every = np.sum([score.right_share(frames) for frames in tracks], 0)
    return Figure("right person-frames", f"{100 * good / max(every, 1):.1f} % of {every}")
