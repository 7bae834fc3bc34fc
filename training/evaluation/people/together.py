"""Several people: close to each other, crossing, hugging, behind a pillar."""

import itertools
from collections.abc import Iterator
from dataclasses import replace

import cv2
import numpy as np

from training.evaluation.people import score
from training.evaluation.people.painting import Look
from training.evaluation.people.parts import LOOKS, Figure, Played, of, right_frames, seconds, still
from training.evaluation.people.scenes import Picture, Scene, Stage
from training.evaluation.people.score import Seen

# ---- pairs ----


def pairs(stage: Stage) -> list[Scene]:
    """36 stills of two people at most 0.35 heights apart, shown for 3 s at 30 fps."""
    random = np.random.default_rng(1)
    places = stage.places.floors
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
        found.append(Scene(f"pair {index}, {apart / height:.2f}", 30, still(stage, place, 90, people)))
    return found


def pair_figures(played: list[Played]) -> list[Figure]:
    """Both found, how soon, and bodies too many."""
    after = [[score.followed_after_s(frames, name) for name in ("behind", "front")] for _, frames in played]
    never = sum(None in one for one in after)
    both = [None if one is None or other is None else max(one, other) for one, other in after]
    false = sum(any(score.invented(frame) or score.twins(frame) for frame in frames) for _, frames in played)
    return [
        Figure("the second one never found", of(never, len(played)), "≤ 3 of 36"),
        Figure("both followed after, median / longest", seconds(both)),
        Figure("pictures with a third body", of(false, len(played))),
        right_frames([frames for _, frames in played]),
    ]


# ---- crossings ----


def crossings(stage: Stage) -> list[Scene]:
    """36 crossings: who is in front, ratio of sizes, heights per second, frames per second."""
    return [
        Scene(f"crossing, {front} in front, size {ratio:g}, {speed:g} heights/s, {fps} fps", fps,
              lambda given=(front, ratio, speed, fps): _cross(stage, *given))
        for front, ratio, speed, fps in itertools.product("AB", (0.8, 1.0, 1.2), (0.25, 0.5, 1.0), (15, 30))
    ]  # fmt: skip


def _cross(stage: Stage, front: str, ratio: float, speed: float, fps: int) -> Iterator[Picture]:
    """A walks to the right, B to the left; they pass each other with this speed."""
    width, height = stage.size
    tall = 0.46 * height
    lasts_s = max(3.0, 1.6 / speed)
    for index in range(round(lasts_s * fps)):
        time_s = index / fps
        way = (time_s - lasts_s / 2) * speed / 2 * tall
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
    twin_s = [sum(score.twins(frame) for frame in frames) / scene.fps for scene, frames in played]
    return [
        Figure("swapped identity", of(count["swapped"], len(played)), "≤ 3 of 36"),
        Figure("a new id afterwards", of(count["new"], len(played))),
        Figure("a person lost afterwards", of(count["lost"], len(played))),
        Figure("people followed before", f"{np.mean([len(one) for one in kinds]):.1f} per crossing"),
        Figure("two bodies on one person", f"{np.mean(twin_s):.2f} s per crossing", "≤ 0.1 s"),
        right_frames([frames for _, frames in played]),
    ]


# ---- several ----

SHARES = (0.45, 0.30, 0.20, 0.12)  # heights of people in heights of the picture


def several(stage: Stage) -> list[Scene]:
    """Four people of one size who stand side by side, from the first frame on."""
    stage = stage.sized((1280, 720))
    return [
        Scene(f"four people of {100 * share:.0f} %, {fps} fps", fps,
              lambda given=(share, fps, lasts_s): _row(stage, *given), {"share": share, "fps": fps})
        for share, (fps, lasts_s) in itertools.product(SHARES, ((30, 4.0), (10, 6.0)))
    ]  # fmt: skip


def _row(stage: Stage, share: float, fps: int, lasts_s: float) -> Iterator[Picture]:
    width, height = stage.size
    names = "ABCD"
    people = [
        (name, LOOKS[i + 1], width * (0.5 + (i - 1.5) * 0.21), height * (0.93 - 0.05 * (i % 2)), share * height)
        for i, name in enumerate(names)
    ]
    for index in range(round(lasts_s * fps)):
        yield stage.paint(stage.places.studio[0], index / fps, *people)


def several_figures(played: list[Played]) -> list[Figure]:
    """When the last one is followed."""
    found = []
    for scene, frames in played:
        after = [score.followed_after_s(frames, person.name) for person in frames[0].people]
        never = sum(one is None for one in after)
        known = [one for one in after if one is not None]
        value = f"{max(known):.2f} s" if not never else f"{never} of {len(after)} never in {frames[-1].time_s:.1f} s"
        found.append(Figure(f"last of {scene.name}", value, "≤ 0.5 s" if scene.facts["share"] >= 0.3 else ""))
    return [*found, right_frames([frames for _, frames in played])]


# ---- hugs ----


def hugs(stage: Stage) -> list[Scene]:
    """Two people walk towards each other and stand 0.15 to 0.3 heights apart for 4 s."""
    return [
        Scene(f"hug, {apart:g} heights, {fps} fps", fps, lambda given=(apart, fps, i): _hug(stage, *given))
        for i, (apart, fps) in enumerate(itertools.product((0.15, 0.2, 0.25, 0.3), (15, 30)))
    ]


HUG_FROM, HUG_WALK_S, HUG_S = 1.0, 1.2, 4.0  # heights apart at first, seconds to walk, seconds together


def _hug(stage: Stage, apart_by: float, fps: int, index: int) -> Iterator[Picture]:
    width, height = stage.size
    tall = 0.55 * height
    one, other = LOOKS[(2, 4, 3, 0)[index % 4]], LOOKS[(1, 5, 6, 7)[index % 4]]
    place = stage.places.floors[(0, 5, 6, 7, 8, 9, 10, 11)[index]]
    for frame in range(round((HUG_WALK_S + HUG_S) * fps)):
        time_s = frame / fps
        left = max(0.0, 1 - time_s / HUG_WALK_S)
        half = tall * (apart_by + (HUG_FROM - apart_by) * left) / 2
        people = [
            ("A", one, width / 2 - half, 0.94 * height, tall),
            ("B", other, width / 2 + half, 0.92 * height, tall),
        ]
        yield stage.paint(place, time_s, *people[::-1])


def hug_figures(played: list[Played]) -> list[Figure]:
    """Both kept, and doubled bodies."""
    kept = 0
    for _, frames in played:
        before = [frame for frame in frames if frame.time_s < HUG_WALK_S / 2]
        after = [frame for frame in frames if frame.time_s > frames[-1].time_s - 1]
        found = score.outcome(score.ids_of(before), score.ids_of(after))
        kept += list(found.values()) == ["kept", "kept"]
    twin_s = [sum(score.twins(frame) for frame in frames) / scene.fps for scene, frames in played]
    return [
        Figure("both kept, with their ids", of(kept, len(played)), "all"),
        Figure("two bodies on one person", f"{np.mean(twin_s):.2f} s per hug", "≤ 0.1 s"),
        right_frames([frames for _, frames in played]),
    ]


# ---- pillar ----


def pillars(stage: Stage) -> list[Scene]:
    """One person passes behind a pillar, or two change places behind it."""
    return [
        Scene(f"{people} behind a pillar of {wide:g} heights, {speed:g} heights/s, {fps} fps", fps,
              lambda given=(people, wide, speed, fps): _pillar(stage, *given), {"people": people})
        for people, wide, speed, fps in itertools.product((1, 2), (0.5, 0.9), (0.6, 1.2), (15, 30))
    ]  # fmt: skip


def _pillar(stage: Stage, count: int, wide: float, speed: float, fps: int) -> Iterator[Picture]:
    width, height = stage.size
    tall = 0.46 * height
    left, right = round(width / 2 - wide * tall / 2), round(width / 2 + wide * tall / 2)
    round_it = np.sin(np.linspace(0.35, np.pi - 0.35, right - left))[None, :, None]
    strip = np.broadcast_to(round_it * (205, 214, 220), (height, right - left, 3)).astype(np.uint8)
    lasts_s = (wide + 1.8) / speed
    for index in range(round(lasts_s * fps)):
        time_s = index / fps
        way = (time_s - lasts_s / 2) * speed * tall
        people = [
            ("A", LOOKS[0], width / 2 + way, 0.92 * height, tall),
            ("B", LOOKS[1], width / 2 - way, 0.90 * height, tall),
        ]
        canvas = stage.canvas(stage.places.studio[0])
        for name, look, *at in people[:count][::-1]:
            canvas.add(name, look, time_s, *at)
        canvas.cover(left, right, strip)
        yield canvas.image, canvas.people()


def pillar_figures(played: list[Played]) -> list[Figure]:
    """What became of ids."""
    found = []
    for count, what in ((1, "one person passes"), (2, "two change places")):
        kinds = [_behind(frames) for scene, frames in played if scene.facts["people"] == count]
        kept = sum(len(one) == count and set(one.values()) == {"kept"} for one in kinds)
        wrong = {kind: sum(kind in one.values() for one in kinds) for kind in ("swapped", "new", "lost")}
        names = ", ".join(f"{kind} {number}" for kind, number in wrong.items())
        found.append(Figure(f"{what}: ids kept", f"{of(kept, len(kinds))} ({names})", "all"))
    return [*found, right_frames([frames for _, frames in played])]


def _behind(frames: list[Seen]) -> dict[str, str]:
    hidden = [i for i, frame in enumerate(frames) if min(person.seen for person in frame.people) < 0.5]
    return score.outcome(score.ids_of(frames[: hidden[0]]), score.ids_of(frames[hidden[-1] + 1 :]))


# ---- mirror ----


def mirrors(stage: Stage) -> list[Scene]:
    """A person beside a mirror: the same person turned left to right, smaller, behind a frame."""
    return [
        Scene(f"mirror {i}", 15, lambda given=(look, side): _mirror(stage, *given))
        for i, (look, side) in enumerate(itertools.product((LOOKS[2], LOOKS[4]), (-1, 1)))
    ]


def _mirror(stage: Stage, look: Look, side: int) -> Iterator[Picture]:
    width, height = stage.size
    place = stage.places.rooms[2].copy()
    left, right = sorted(round(width / 2 + side * share * height) for share in (0.08, 0.55))
    glass = place[round(0.28 * height) : round(0.9 * height), left:right]
    glass[:] = 200 - glass // 3
    cv2.rectangle(place, (left, round(0.28 * height)), (right, round(0.9 * height)), (40, 60, 80), 8)
    for index in range(60):
        time_s = index / 15
        walk = 0.08 * np.sin(1.5 * time_s)
        image_x, person_x = (width / 2 + side * share * height for share in (0.31 + walk, -0.2 - walk))
        yield stage.paint(
            place,
            time_s,
            ("image", replace(look, flip=not look.flip), image_x, 0.86 * height, 0.5 * height),
            ("person", look, person_x, 0.95 * height, 0.7 * height),
        )


def mirror_figures(played: list[Played]) -> list[Figure]:
    """Whether the one who is followed stays the same one."""
    hops = 0
    for _, frames in played:
        owners = [(int(f.ids[row]), name) for f in frames for name, row in score.right(f).items()]
        hops += len(set(owners)) > len({number for number, _ in owners})
    return [
        Figure("an id hops between person and image", of(hops, len(played)), "0"),
        Figure(
            "frames with a body", f"{100 * np.mean([len(f.ids) > 0 for _, frames in played for f in frames]):.0f} %"
        ),
    ]
