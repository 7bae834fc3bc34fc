"""The cases: each is a list of scenes, and a function that makes figures of what was seen in them."""

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


def _of(count: int, every: int) -> str:
    return f"{count} of {every}"


def _seconds(values: list[float | None]) -> str:
    """Median and longest of times, of which None are endless."""
    known = sorted(np.inf if value is None else value for value in values)
    if not known:
        return "-"
    return " / ".join("never" if np.isinf(v) else f"{v:.2f} s" for v in (known[len(known) // 2], known[-1]))


# ---- pairs ----


def pairs(stage: Stage) -> list[Scene]:
    """36 stills of two people at most 0.35 heights apart, shown for 3 s at 30 fps."""
    random = np.random.default_rng(1)
    places = [*stage.places.studio, *stage.places.rooms]
    found = []
    for index in range(36):
        one, other = random.choice(len(LOOKS), 2, replace=False)
        height = stage.size[1] * random.uniform(0.45, 0.75)
        ratio, apart = random.uniform(0.85, 1.15), (0.15, 0.22, 0.28, 0.35)[index % 4] * height
        x, sole = stage.size[0] * random.uniform(0.3, 0.6), stage.size[1] * random.uniform(0.88, 0.97)
        people = (
            ("behind", LOOKS[one], x, sole - 0.02 * height, height * ratio),
            ("front", LOOKS[other], x + apart * random.choice((-1, 1)), sole, height),
        )
        place = places[index % len(places)]
        found.append(Scene(f"pair {index}, {apart / height:.2f}", 30, _still(stage, place, 90, people)))
    return found


def _still(stage: Stage, place: np.ndarray, frames: int, people) -> Callable[[], Iterator[Picture]]:
    return lambda: itertools.repeat(stage.paint(place, 0.0, *people), frames)


def pair_figures(played: list[Played]) -> list[Figure]:
    """Both found, how soon, and bodies too many."""
    after = [[score.followed_after_s(frames, name) for name in ("behind", "front")] for _, frames in played]
    never = sum(None in one for one in after)
    both = [None if None in one else max(one) for one in after]
    false = sum(any(score.invented(frame) or score.twins(frame) for frame in frames) for _, frames in played)
    return [
        Figure("the second one never found", _of(never, len(played)), "≤ 3 of 36"),
        Figure("both followed after, median / longest", _seconds(both)),
        Figure("pictures with a third body", _of(false, len(played))),
        _right([frames for _, frames in played]),
    ]


def _right(tracks: list[list[Seen]]) -> Figure:
    good, every = np.sum([score.right_share(frames) for frames in tracks], 0)
    return Figure("right person-frames", f"{100 * good / max(every, 1):.1f} % of {every}")


# ---- crossings ----


def crossings(stage: Stage) -> list[Scene]:
    """36 crossings: who is in front, ratio of sizes, heights per second, frames per second."""
    return [
        Scene(f"crossing, {front} in front, size {ratio:g}, {speed:g} heights/s, {fps} fps", fps,
              lambda given=(front, ratio, speed, fps): _cross(stage, *given))
        for front, ratio, speed, fps in itertools.product("AB", (0.8, 1.0, 1.2), (0.25, 0.5, 1.0), (15, 30))
    ]  # fmt: skip


def _cross(stage: Stage, front: str, ratio: float, speed: float, fps: int) -> Iterator[Picture]:
    """A walks to the right, B to the left, each with this speed."""
    width, height = stage.size
    tall = 0.46 * height
    seconds = max(3.0, 0.8 / speed + 1.5)
    for index in range(round(seconds * fps)):
        time_s = index / fps
        way = (time_s - seconds / 2) * speed * tall
        people = [
            ("A", LOOKS[0], width / 2 + way, 0.92 * height, tall),
            ("B", LOOKS[1], width / 2 - way, 0.90 * height, tall * ratio),
        ]
        yield stage.paint(stage.places.studio[0], time_s, *(people if front == "B" else people[::-1]))


def apart(frame: Seen, heights: float = 0.6) -> bool:
    """Whether all people stand at least this far from each other."""
    places = np.array([person.joints_px[0] for person in frame.people])
    tall = max(person.height_px for person in frame.people)
    one, other = np.triu_indices(len(places), 1)
    return bool((np.linalg.norm(places[one] - places[other], axis=-1) >= heights * tall).all())


def parted(frames: list[Seen]) -> tuple[list[Seen], list[Seen]]:
    """The frames before people come close, and those after it."""
    near = [i for i, frame in enumerate(frames) if not apart(frame)]
    return frames[: near[0]], frames[near[-1] + 1 :]


def crossing_figures(played: list[Played]) -> list[Figure]:
    """What became of ids, doubled bodies, and right frames."""
    kinds = []
    for _, frames in played:
        before, after = (score.ids_of(part) for part in parted(frames))
        kinds.append(score.outcome(before, after))
    count = {kind: sum(kind in one.values() for one in kinds) for kind in ("swapped", "new", "lost")}
    nobody = sum(not one for one in kinds)
    twin_s = [sum(score.twins(frame) for frame in frames) / scene.fps for scene, frames in played]
    return [
        Figure("swapped identity", _of(count["swapped"], len(played)), "≤ 3 of 36"),
        Figure("a new id afterwards", _of(count["new"], len(played))),
        Figure("somebody lost afterwards", _of(count["lost"], len(played))),
        Figure("nobody followed before", _of(nobody, len(played))),
        Figure("two bodies on one person", f"{np.mean(twin_s):.2f} s per crossing", "≤ 0.1 s"),
        _right([frames for _, frames in played]),
    ]


# ---- cuts ----

BEFORE, AFTER = 12, 30  # frames of a still of a person, and of the picture after the cut


def cuts(stage: Stage) -> list[Scene]:
    """162 cuts from stills of one person to places without people, and 54 from a person to another."""
    studio, rooms = stage.places.studio, stage.places.rooms
    empty = (
        [("studio", p) for p in studio] + [("room", p) for p in rooms[:9]] + [("flat", p) for p in stage.places.flat]
    )
    stills = _stills(stage)
    found = [
        Scene(f"cut from {i} to {kind} {j}", 30, lambda one=still, other=place: _cut(one, other), {"kind": kind})
        for (i, still), (j, (kind, place)) in itertools.product(enumerate(stills), enumerate(empty))
    ]
    random = np.random.default_rng(3)
    for index in range(6):
        order = random.permutation(len(stills))
        found.append(Scene(f"cuts between people, {index}", 30, lambda o=order: _slides(stills, o), {"kind": "people"}))
    return found


def _stills(stage: Stage) -> list[Picture]:
    """Pictures of one person, at places that are alike and at others."""
    width, height = stage.size
    places = [stage.places.studio[0], stage.places.rooms[2], stage.places.rooms[7]]
    return [
        stage.paint(places[i % 3], 0.0, (f"person {i}", LOOKS[i % len(LOOKS)], width * x, 0.94 * height, height * tall))
        for i, (x, tall) in enumerate(itertools.product((0.35, 0.5, 0.62), (0.5, 0.65, 0.8)))
    ]


def _cut(still: Picture, place: np.ndarray) -> Iterator[Picture]:
    yield from itertools.repeat(still, BEFORE)
    yield from itertools.repeat((place, ()), AFTER)


def _slides(stills: list[Picture], order: np.ndarray) -> Iterator[Picture]:
    for index in [*order, order[0]]:
        yield from itertools.repeat(stills[index], BEFORE)


def cut_figures(played: list[Played]) -> list[Figure]:
    """Bodies that stay where nobody is; new ids of new people, and how soon they are followed."""
    kept: dict[str, list[int]] = {}
    for scene, frames in played:
        if scene.facts["kind"] != "people":
            kept.setdefault(scene.facts["kind"], []).append(sum(len(f.ids) > 0 for f in frames[BEFORE:]))
    every = [count for counts in kept.values() for count in counts]
    found = [
        Figure("a body for more than 2 frames after the cut", _of(sum(c > 2 for c in every), len(every)), "≤ 2 of 162")
    ]
    found += [Figure(f"  to {kind}", _of(sum(c > 2 for c in counts), len(counts))) for kind, counts in kept.items()]
    slides = [frames for scene, frames in played if scene.facts["kind"] == "people"]
    starts = [(frames, at) for frames in slides for at in range(BEFORE, len(frames), BEFORE)]
    fresh, counted, after = 0, 0, []
    for frames, at in starts:
        part = frames[at : at + BEFORE]
        after.append(score.followed_after_s(part, part[0].people[0].name, part[0].time_s))
        number = score.ids_of(part).values()
        counted += len(number)
        fresh += sum(one not in {i for f in frames[:at] for i in f.ids.tolist()} for one in number)
    found.append(Figure("new id at cuts to another person", _of(fresh, counted), "≥ 95 %"))
    found.append(Figure("followed after such a cut, median / longest", _seconds(after)))
    return found


CASES: dict[str, Case] = {
    "pairs": Case(pairs, pair_figures, (2,)),
    "crossings": Case(crossings, crossing_figures, (2, 1)),
    "cuts": Case(cuts, cut_figures, (1,), every=7),
}
