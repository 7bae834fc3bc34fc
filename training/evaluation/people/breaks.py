"""What breaks a track off: cuts, edges of the picture, black frames, another person in the same place."""

import itertools
from collections.abc import Iterator

import numpy as np

from training.evaluation.people import score
from training.evaluation.people.painting import extent_px
from training.evaluation.people.parts import LOOKS, Figure, Played, of, seconds
from training.evaluation.people.scenes import Picture, Scene, Stage

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
        Figure("a body for more than 2 frames after the cut", of(sum(c > 2 for c in every), len(every)), "≤ 2 of 162")
    ]
    found += [Figure(f"  to {kind}", of(sum(c > 2 for c in counts), len(counts))) for kind, counts in kept.items()]
    slides = [frames for scene, frames in played if scene.facts["kind"] == "people"]
    starts = [(frames, at) for frames in slides for at in range(BEFORE, len(frames), BEFORE)]
    fresh, counted, after = 0, 0, []
    for frames, at in starts:
        part = frames[at : at + BEFORE]
        after.append(score.followed_after_s(part, part[0].people[0].name, part[0].time_s))
        number = score.ids_of(part).values()
        counted += len(number)
        fresh += sum(one not in {i for f in frames[:at] for i in f.ids.tolist()} for one in number)
    found.append(Figure("new id at cuts to another person", of(fresh, counted), "≥ 95 %"))
    found.append(Figure("followed after such a cut, median / longest", seconds(after)))
    return found


# ---- edges ----

TALL, GAP_PX, STAND_S, EMPTY_S = 0.6, 12.0, 1.0, 0.7
DWARF, JUMP = 0.6, 1.5  # share of the true size, and factor of the depth before
WAYS = {"left": (-1, 0), "right": (1, 0), "top": (0, -1), "bottom": (0, 1)}


def leaving(stage: Stage) -> list[Scene]:
    """26 times, a person stands for a second and slides out of the picture."""
    speeds = [*itertools.product(WAYS, (0.5, 1.0, 2.0), (10, 30)), ("bottom", 0.25, 30), ("left", 0.25, 30)]
    return [
        Scene(f"leaves through {way}, {speed:g} heights/s, {fps} fps", fps,
              lambda given=(way, speed, fps, i): _leaves(stage, *given))
        for i, (way, speed, fps) in enumerate(speeds)
    ]  # fmt: skip


def _leaves(stage: Stage, way: str, speed: float, fps: int, index: int) -> Iterator[Picture]:
    for time_s in np.arange(0, STAND_S, 1 / fps):
        yield _beside_edge(stage, way, 0.0, time_s, index)
    step = 0
    picture, people = _beside_edge(stage, way, 0.0, STAND_S, index)
    while people[0].seen > 0:
        step += 1
        picture, people = _beside_edge(stage, way, speed * step / fps, STAND_S + step / fps, index)
        yield picture, people
    for _ in range(round(EMPTY_S * fps)):
        yield picture, people


def _beside_edge(stage: Stage, way: str, out: float, time_s: float, index: int) -> Picture:
    """A person who stands beside an edge, moved out by a part of the height."""
    width, height = stage.size
    tall = TALL * height
    look = LOOKS[index % len(LOOKS)]
    x, y = {"left": (0.3 * tall, 0.9 * height), "right": (width - 0.3 * tall, 0.9 * height)}.get(way, (width / 2, 0.0))
    y = {"top": 1.12 * tall, "bottom": height - GAP_PX}.get(way, y)
    across, down = WAYS[way]
    place = stage.places.studio[0] if index % 2 else stage.places.rooms[2]
    return stage.paint(place, time_s, ("A", look, x + across * out * tall, y + down * out * tall, tall))


def leaving_figures(played: list[Played]) -> list[Figure]:
    """Bodies after the last pixel, dwarfs, and jumps in depth."""
    after, dwarfs, jumps, followed = [], 0, 0, 0
    for _, frames in played:
        gone = next(i for i, frame in enumerate(frames) if frame.people[0].seen == 0)
        after.append(sum(len(frame.ids) > 0 for frame in frames[gone:]))
        before = [frame for frame in frames if frame.people[0].seen > 0.98 and len(frame.ids)]
        usual = np.median([frame.depth_m[0] for frame in before]) if before else np.nan
        followed += bool(before)
        edge = [frame for frame in frames[:gone] if frame.people[0].seen < 0.98]
        dwarfs += any(extent_px(one) < DWARF * f.people[0].extent_px for f in edge for one in f.joints_px)
        jumps += any(max(depth / usual, usual / depth) > JUMP for f in edge for depth in f.depth_m)
    return [
        Figure("a body after the last pixel", of(sum(one > 0 for one in after), len(after)), "0"),
        Figure("such frames, most in one scene", str(max(after)), "0"),
        Figure("a dwarf at the edge", of(dwarfs, len(played)), "≤ 1 of 26"),
        Figure(f"depth jumps by more than {JUMP:g}", of(jumps, len(played)), "≤ 1 of 26"),
        Figure("followed before", of(followed, len(played))),
    ]


def entering(stage: Stage) -> list[Scene]:
    """The other way round: a person slides in."""
    ways = itertools.product(WAYS, (0.5, 1.5), (10, 30))
    return [
        Scene(f"enters through {way}, {speed:g} heights/s, {fps} fps", fps,
              lambda given=(way, speed, fps, i): _enters(stage, *given))
        for i, (way, speed, fps) in enumerate(ways)
    ]  # fmt: skip


def _enters(stage: Stage, way: str, speed: float, fps: int, index: int) -> Iterator[Picture]:
    out = 1.2
    for frame in range(round((0.5 + out / speed + 1.0) * fps)):
        time_s = frame / fps
        yield _beside_edge(stage, way, max(0.0, out - speed * max(0.0, time_s - 0.5)), time_s, index)


def entering_figures(played: list[Played]) -> list[Figure]:
    """How soon people are followed."""
    after = []
    for _, frames in played:
        half_s = next(frame.time_s for frame in frames if frame.people[0].seen >= 0.5)
        after.append(score.followed_after_s(frames, "A", half_s))
    return [Figure("followed after half of the person is in, median / longest", seconds(after))]


# ---- replaced ----


def replaced(stage: Stage) -> list[Scene]:
    """A person leaves, and another one enters through the same edge and stands at the same place."""
    return [
        Scene(f"replaced after {gap_s:g} s", 15, lambda given=(one, other, gap_s): _replaced(stage, *given))
        for (one, other), gap_s in itertools.product(((0, 4), (2, 3), (1, 7), (5, 6)), (0.0, 0.5, 1.5))
    ]


def _replaced(stage: Stage, one: int, other: int, gap_s: float) -> Iterator[Picture]:
    height = stage.size[1]
    tall, fps = TALL * height, 15
    x, away, speed = 0.45 * tall, 0.8, 1.5  # heights to walk until nothing is seen, and heights per second
    walk_s = away / speed
    for frame in range(round((2 * 1.2 + 2 * walk_s + gap_s) * fps)):
        time_s = frame / fps
        first = time_s < 1.2 + walk_s + gap_s / 2
        late_s = time_s - 1.2 if first else 1.2 + 2 * walk_s + gap_s - time_s
        out = float(np.clip(late_s * speed, 0, away)) * tall
        name, look = ("A", LOOKS[one]) if first else ("B", LOOKS[other])
        yield stage.paint(stage.places.rooms[2], time_s, (name, look, x - out, 0.92 * height, tall))


def replaced_figures(played: list[Played]) -> list[Figure]:
    """Whether the other person has an id of the own."""
    ids = [score.ids_of(frames) for _, frames in played]
    both = [one for one in ids if len(one) == 2]
    return [
        Figure("the other person has a new id", of(sum(one["A"] != one["B"] for one in both), len(both)), "all"),
        Figure("both followed", of(len(both), len(ids)), "all"),
    ]


# ---- black ----

LIGHT_S, BLACK_S = 1.2, 1.0


def black(stage: Stage) -> list[Scene]:
    """The picture goes black for a second and comes back."""
    return [
        Scene(f"black, {fps} fps", fps, lambda given=(fps, i): _black(stage, *given))
        for i, fps in enumerate((15, 30, 15, 30, 15, 30))
    ]


def _black(stage: Stage, fps: int, index: int) -> Iterator[Picture]:
    width, height = stage.size
    place = stage.places.rooms[index]
    dark = np.zeros_like(place)
    for frame in range(round((2 * LIGHT_S + BLACK_S) * fps)):
        time_s = frame / fps
        if LIGHT_S <= time_s < LIGHT_S + BLACK_S:
            yield dark, ()
        else:
            x = width * (0.45 + 0.02 * time_s)
            yield stage.paint(place, time_s, ("A", LOOKS[index], x, 0.93 * height, TALL * height))


def black_figures(played: list[Played]) -> list[Figure]:
    """Whether the id is kept, and whether bodies are in black frames."""
    kept = count = 0
    bodies = []
    for _, frames in played:
        before, after = (
            score.ids_of([f for f in frames if f.people and (f.time_s < LIGHT_S + BLACK_S / 2) is early])
            for early in (True, False)
        )
        kept += bool(before) and before == after
        count += bool(before)
        bodies.append(sum(len(frame.ids) > 0 for frame in frames if not frame.people))
    return [
        Figure("id kept over black frames", of(kept, count), "all"),
        Figure("black frames with a body, most in one scene", str(max(bodies)), "≤ 2"),
    ]
