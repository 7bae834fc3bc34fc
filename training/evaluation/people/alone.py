"""One person: a face that fills the picture, a rolling picture, a slide, and a small person."""

import itertools
from collections.abc import Iterator
from dataclasses import replace as replaced

import cv2
import numpy as np

from training.evaluation.people import score
from training.evaluation.people.cutouts import read_frames
from training.evaluation.people.painting import NECK, PELVIS
from training.evaluation.people.parts import LOOKS, Figure, Played, of
from training.evaluation.people.scenes import Picture, Scene, Stage
from training.evaluation.people.score import Seen

# ---- faces ----

# Camera of the desk clips: centre of the face in frames 0 and 36, and its height, in pixels of 1280x720.
FACES = {0: ((921, 90), (900, 110), 230), 1: ((745, 150), (712, 145), 190), 2: ((791, 315), (782, 315), 190),
         3: ((612, 235), (632, 225), 180)}  # fmt: skip
FACE_FRAMES, HELD = range(0, 37, 2), 5  # recorded frames, at 6 fps, each shown for five frames of 30 fps


def faces(stage: Stage) -> list[Scene]:
    """A face that fills two thirds or all of the picture's height, or more, in four cameras."""
    return [
        Scene(f"face of camera {camera}, {100 * share:.0f} % of the height", 30,
              lambda given=(camera, share): _face(stage, *given))
        for share, camera in itertools.product((0.65, 1.0, 1.4), FACES)
    ]  # fmt: skip


def _face(stage: Stage, camera: int, share: float) -> Iterator[Picture]:
    start, end, tall = FACES[camera]
    clip = stage.media / "charuco_4cam" / f"cam_{camera}.mp4"
    for index, image in zip(FACE_FRAMES, read_frames(clip, FACE_FRAMES), strict=True):
        centre = np.array(start) + index / FACE_FRAMES[-1] * (np.array(end) - start)
        high = tall / share  # of the part that is cut out, which stays inside the picture
        size = np.array([high * stage.size[0] / stage.size[1], high])
        left, top = np.clip(centre - size / 2, 0, image.shape[1::-1] - size)
        zoom = stage.size[1] / high
        matrix = np.array([[zoom, 0, -zoom * left], [0, zoom, -zoom * top]])
        close = cv2.warpAffine(image, matrix, stage.size, flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)
        yield from itertools.repeat((close, ()), HELD)


def face_figures(played: list[Played]) -> list[Figure]:
    """Bodies that flash up."""
    short, every = np.sum([score.flashes(frames) for _, frames in played], 0)
    share = np.mean([len(frame.ids) > 0 for _, frames in played for frame in frames])
    return [
        Figure("appearances of at most 3 frames", of(int(short), int(every)), "≤ 3"),
        Figure("frames with a body", f"{100 * share:.0f} %"),
    ]


# ---- roll ----

ROLL_STILL_S, ROLL_S = 1.0, 2.0
UP_DEG = 30.0


def rolls(stage: Stage) -> list[Scene]:
    """A still that stands for a second, then turns in its plane, with the person at its centre or off it."""
    return [
        Scene(f"rolls by {rate} degrees/s", 30, lambda given=(rate, i): _roll(stage, *given), {"rate": rate})
        for rate, i in itertools.product((180, 360, 720), (0, 1, 2, 3))
    ]


def _roll(stage: Stage, rate: float, index: int) -> Iterator[Picture]:
    width, height = stage.size
    place = stage.places.floors[(0, 5, 7, 2, 8)[index]]
    aside = 0.2 * height * (index % 3)  # a third of the height off the centre in one scene, two thirds in another
    image, people = stage.paint(place, 0.0, ("A", LOOKS[index], width / 2 - aside, 0.8 * height, 0.6 * height))
    for frame in range(round((ROLL_STILL_S + ROLL_S) * 30)):
        angle = max(0.0, frame / 30 - ROLL_STILL_S) * rate * (-1 if index % 2 else 1)
        turn = cv2.getRotationMatrix2D(((width - 1) / 2, (height - 1) / 2), angle, 1.0)
        turned = cv2.warpAffine(image, turn, stage.size, borderMode=cv2.BORDER_REFLECT_101)
        yield turned, (replaced(people[0], joints_px=people[0].joints_px @ turn[:, :2].T + turn[:, 2]),)


def roll_figures(played: list[Played]) -> list[Figure]:
    """Bodies in a wrong place or direction."""
    found = []
    for rate in sorted({scene.facts["rate"] for scene, _ in played}):
        rolling = [
            f for scene, frames in played if scene.facts["rate"] == rate for f in frames if f.time_s > ROLL_STILL_S
        ]
        wrong = 100 * np.mean([bool(len(frame.ids)) and not _upright_as(frame) for frame in rolling])
        nobody = 100 * np.mean([not len(frame.ids) for frame in rolling])
        aim = "≤ 10 % wrong" if rate == 360 else ""
        found.append(Figure(f"at {rate} degrees/s: wrong body, nobody", f"{wrong:.1f} %, {nobody:.1f} %", aim))
    return found


def _upright_as(frame: Seen) -> bool:
    """Whether a body is in the person's place, and its back points in the person's direction."""
    person = frame.people[0]
    up = person.joints_px[NECK] - person.joints_px[PELVIS]
    for joints in frame.joints_px:
        back = joints[NECK] - joints[PELVIS]
        cosine = float(up @ back) / max(float(np.linalg.norm(up) * np.linalg.norm(back)), 1e-6)
        near = np.linalg.norm(joints[PELVIS] - person.joints_px[PELVIS]) <= score.RIGHT * person.height_px
        if near and cosine >= np.cos(np.deg2rad(UP_DEG)):
            return True
    return False


# ---- slide ----

SLIDE_SPEED, SLIDE_STILL_S, SLIDE_S, SETTLED = 0.6, 1.5, 2.0, 15  # SETTLED: frames from which the trail is constant


def slides(stage: Stage) -> list[Scene]:
    """A still person who stands, then slides past at 0.6 heights per second."""
    return [
        Scene(
            f"slides {'right' if way > 0 else 'left'}", 30, lambda given=(way, i): _slide(stage, *given), {"way": way}
        )
        for i, way in itertools.product((0, 2, 3), (-1, 1))
    ]


def _slide(stage: Stage, way: int, index: int) -> Iterator[Picture]:
    width, height = stage.size
    tall = 0.6 * height
    for frame in range(round((SLIDE_STILL_S + SLIDE_S) * 30)):
        moved = SLIDE_SPEED * tall * max(0.0, frame / 30 - SLIDE_STILL_S)
        x = width / 2 - way * (0.6 * tall - moved)
        yield stage.paint(stage.places.rooms[2], 0.0, ("A", LOOKS[index], x, 0.92 * height, tall))


def slide_figures(played: list[Played]) -> list[Figure]:
    """How far the joints stay behind, and how much they shake."""
    trails, shakes = [], []
    for scene, frames in played:
        ahead = np.array([_ahead(frame) * scene.facts["way"] for frame in frames])
        still, first = round(SLIDE_STILL_S * scene.fps), round(SLIDE_STILL_S * scene.fps) + SETTLED
        trails.append(np.nanmean(ahead[still - SETTLED : still]) - np.nanmean(ahead[first:]))
        shakes.append(np.nanmean(np.abs(np.diff(ahead[first:], 2))))
    return [
        Figure(f"joints trail at {SLIDE_SPEED:g} heights/s", f"{100 * np.mean(trails):.2f} % of the height", "≤ 0.5 %"),
        Figure("second difference of the place", f"{100 * np.mean(shakes):.3f} % of the height"),
    ]


def _ahead(frame: Seen) -> float:
    """By how much of the height the joints lie right of the true ones; NaN: nobody is found."""
    row = score.nearest(frame).get("A")
    if row is None:
        return np.nan
    person = frame.people[0]
    return float((frame.joints_px[row] - person.joints_px)[:, 0].mean() / person.height_px)


# ---- small ----

SMALL = (0.15, 0.12, 0.10, 0.08)


def small(stage: Stage) -> list[Scene]:
    """One small person in a picture of 1920x1080."""
    wide = stage.sized((1920, 1080))
    return [
        Scene(f"person of {100 * share:.0f} %", 30, lambda given=(share, i): _small(wide, *given), {"share": share})
        for share, i in itertools.product(SMALL, range(4))
    ]


def _small(stage: Stage, share: float, index: int) -> Iterator[Picture]:
    width, height = stage.size
    x, sole = width * (0.3, 0.45, 0.62, 0.75)[index], height * (0.85, 0.7, 0.8, 0.75)[index]
    place = (stage.places.studio[0], stage.places.rooms[2], stage.places.rooms[5], stage.places.rooms[6])[index]
    for frame in range(45):
        yield stage.paint(place, frame / 30, ("A", LOOKS[(0, 2, 3, 4)[index]], x, sole, share * height))


def small_figures(played: list[Played]) -> list[Figure]:
    """Whether small people are followed, and how far off the pelvis is."""
    found = []
    for share in SMALL:
        some = [frames for scene, frames in played if scene.facts["share"] == share]
        if not some:
            continue
        followed = sum(score.followed_after_s(frames, "A") is not None for frames in some)
        off = [score.distances(f)[0, row] for frames in some for f in frames for row in score.nearest(f).values()]
        error = f", pelvis off by {100 * np.median(off):.1f} %" if off else ""
        found.append(Figure(f"person of {100 * share:.0f} % followed", of(followed, len(some)) + error))
    return found
