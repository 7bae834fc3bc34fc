"""The detector alone on pictures with known people: how many it finds, and how many it invents, at each threshold."""

import json
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from refit_rt import config
from refit_rt.commands.bench.table import Table
from refit_rt.commands.demo_clip import CLIP, TRUTH
from refit_rt.detect import DOUBTFUL, Detector, make_detector
from refit_rt.errors import UserError
from refit_rt.types import Frame, Known
from training.evaluation.crowds import crowd
from training.evaluation.people.parts import LOOKS
from training.evaluation.people.scenes import Stage
from training.reporting import write_picture
from training.synthetic.generator import Generator

MARKED = Path(__file__).with_name("marked.json")  # clip → frame → boxes, marked or checked by eye
DEMO_EVERY, RENDERED, PASTED = 30, 30, 30
LOWEST, HIGHEST = 0.1, 0.6  # height of a person who is pasted, over the picture's
VISIBLE = 0.3  # people of whom less is seen may be found or not
NEAR, FACTOR = 0.3, 2.0  # a find: its centre this near, in longer sides of the person, its size within this factor
HEIGHTS = (0.4, 0.2, 0.1, 0.0)  # classes of a person's height over the picture's, their lower ends
PROTOCOL = """\
{pictures} pictures, {people} people. A find is right if its centre is within 0.3 of the person's longer side and its
longer side within a factor of 2; the best score is matched first, each person once. Recall (R) is also given by the
person's height over the picture's. A person of whom less than 30 % is seen, or who is printed, may be found or not.
One look takes {ms:.1f} ms of one processor thread (median).
"""


@dataclass(frozen=True, slots=True, eq=False)
class Marked:
    """One picture, and who is in it."""

    kind: str
    image: np.ndarray  # (height, width, 3) uint8 BGR
    people: np.ndarray  # (n, 4) xyxy px
    ignored: np.ndarray  # (m, 4) those who may be found or not


@dataclass(frozen=True, slots=True, eq=False)
class Outcome:
    """What the detector makes of a picture: for each person, the lowest threshold that does not find them any more."""

    kind: str
    height: np.ndarray  # (n,) of the people, over the picture's
    found: np.ndarray  # (n,) score of the find; 0: none
    wrong: np.ndarray  # (k,) scores of finds that are nobody


def pictures(media: Path, hdri: Path, crowd_clip: Path | None) -> Iterator[Marked]:
    """The whole set. Raises UserError for a recording that is missing."""
    yield from demo()
    generator = Generator(3, held_out=True, outfits=24)
    generator.sample(0)  # draws the strangers
    for number in range(RENDERED):
        image, boxes, seen = crowd(generator, number)
        yield Marked("rendered", image, boxes[seen >= VISIBLE], boxes[seen < VISIBLE])
    yield from pasted(Stage(media, hdri, (1280, 720)))
    for name, frames in json.loads(MARKED.read_text(encoding="utf-8")).items():
        clip = media / name if "/" in name else crowd_clip
        if clip is not None:
            yield from marked(clip, name.split("/")[0], frames)


def demo() -> Iterator[Marked]:
    """Frames of the clip that ships with the product."""
    truth = np.load(TRUTH)
    frames = {str(frame): {"people": [_around(truth["joints_px"][frame])], "ignored": []}
              for frame in range(0, len(truth["frame"]), DEMO_EVERY)}  # fmt: skip
    return marked(CLIP, "demo clip", frames)


def pasted(stage: Stage) -> Iterator[Marked]:
    """Cut-outs of a filmed person before real places, two to six in each picture; and the empty places."""
    places = stage.places.floors
    for number in range(PASTED):
        rng = np.random.default_rng([5, number])
        width, height = stage.size
        tall = np.sort(np.exp(rng.uniform(np.log(LOWEST), np.log(HIGHEST), rng.integers(2, 7))))
        soles = height * (0.55 + 0.42 * np.sqrt(tall / HIGHEST))
        looks = rng.permutation(len(LOOKS))
        people = [(str(row), LOOKS[looks[row]], rng.uniform(0.05, 0.95) * width, soles[row], share * height)
                  for row, share in enumerate(tall)]  # fmt: skip
        image, truth = stage.paint(places[number % len(places)], float(rng.uniform(0, 1)), *people)
        boxes = [_around(person.joints_px) for person in truth]
        seen = np.array([person.seen >= VISIBLE for person in truth])
        yield Marked("pasted", image, _rows(boxes)[seen], _rows(boxes)[~seen])
    for place in (*stage.places.studio, *stage.places.rooms, *stage.places.flat):
        yield Marked("nobody", place, _rows([]), _rows([]))


def marked(clip: Path, kind: str, frames: dict) -> Iterator[Marked]:
    """Some frames of a clip. Raises UserError."""
    video, wanted = cv2.VideoCapture(str(clip)), {int(frame): boxes for frame, boxes in frames.items()}
    for index in range(max(wanted) + 1):
        readable, image = video.read()
        if not readable:
            raise UserError(f"{clip}: frame {index} cannot be read. Give the clips with --media and --crowd-clip")
        if index in wanted:
            boxes = wanted[index]
            yield Marked(kind, image, _rows(boxes["people"]), _rows(boxes["ignored"]))


def _around(joints_px: np.ndarray) -> list[float]:
    """The box of a person with these joints (24, 2): hair, hands and soles lie a little farther out."""
    low, high = joints_px.min(0), joints_px.max(0)
    margin = 0.05 * (high - low).max()
    return [*(low - margin), *(high + margin)]


def _rows(boxes: list) -> np.ndarray:
    return np.array(boxes, float).reshape(-1, 4)


def outcome(one: Marked, boxes: np.ndarray, score: np.ndarray) -> Outcome:
    """Compares finds, boxes (k, 4) with scores (k,), with the people of a picture."""
    found, wrong = np.zeros(len(one.people)), []
    for row in np.argsort(-score, kind="stable"):
        away = distances(boxes[row], one.people)
        away[found > 0] = np.inf
        if away.min(initial=np.inf) <= NEAR:
            found[away.argmin()] = score[row]
        elif distances(boxes[row], one.ignored).min(initial=np.inf) > NEAR:
            wrong.append(score[row])
    heights = (one.people[:, 3] - one.people[:, 1]) / len(one.image)
    return Outcome(one.kind, heights, found, np.array(wrong))


def distances(box: np.ndarray, people: np.ndarray) -> np.ndarray:
    """(n,) from a box's centre to those of people (n, 4), in their longer sides; infinite for another size."""
    sides = (people[:, 2:] - people[:, :2]).max(1)
    apart = np.linalg.norm((people[:, :2] + people[:, 2:] - box[:2] - box[2:]) / 2, axis=1) / sides
    factor = (box[2:] - box[:2]).max() / sides
    return np.where((factor <= FACTOR) & (factor >= 1 / FACTOR), apart, np.inf)


def look(detector: Detector, shown: list[Marked]) -> tuple[list[Outcome], float]:
    """What the detector finds in each picture, and the median of processor milliseconds per look."""
    outcomes, ms = [], []
    for index, one in enumerate(shown):
        frame = Frame("pictures", index, float(index), float(index), one.image)
        detector.find(frame, Known.nobody())  # a network is compiled at the first picture of each size
        began = time.process_time()
        boxes = detector.find(frame, Known.nobody())
        ms.append(1e3 * (time.process_time() - began))
        outcomes.append(outcome(one, boxes.xyxy.astype(float), boxes.score))
    return outcomes, float(np.median(ms))


def figures(outcomes: list[Outcome], threshold: float) -> tuple[float, float, list[float], int]:
    """Precision, recall, recall of each of HEIGHTS, and the number of finds that are nobody."""
    found = np.concatenate([one.found for one in outcomes]) >= threshold
    heights = np.concatenate([one.height for one in outcomes])
    wrong = sum(int((one.wrong >= threshold).sum()) for one in outcomes)
    kind = np.digitize(heights, HEIGHTS)
    by_height = [float(found[kind == row].mean()) if (kind == row).any() else np.nan for row in range(len(HEIGHTS))]
    precision = found.sum() / max(found.sum() + wrong, 1)
    return float(precision), float(found.mean()) if len(found) else np.nan, by_height, wrong


def report(
    shown: list[Marked], settings: config.Detect, thresholds: Sequence[float], sheets: Path | None
) -> Iterator[str | Table]:
    """Yields the protocol, a table by threshold and one by kind of picture. Raises UserError."""
    own = make_detector(settings).threshold
    lowest = config.Detect(model=settings.model, threshold=min([*thresholds, own]) / DOUBTFUL)
    outcomes, ms = look(make_detector(lowest), shown)
    yield PROTOCOL.format(pictures=len(shown), people=sum(len(one.people) for one in shown), ms=ms)
    heads = ["P", "R", "F1", ">= 40 %", "20-40 %", "10-20 %", "< 10 %", "nobody"]
    yield Table(["threshold", *heads], [_row(f"{one:.2f}", outcomes, one) for one in thresholds])
    kinds = {kind: [one for one in outcomes if one.kind == kind] for kind in dict.fromkeys(o.kind for o in outcomes)}
    yield Table([f"pictures, at {own:g}", *heads], [_row(kind, some, own) for kind, some in kinds.items()])
    if sheets:
        for index, (one, its) in enumerate(zip(shown, outcomes, strict=True)):
            write_picture(sheets / f"{index:03}_{one.kind}.jpg", drawn(one, its.found >= own))


def _row(name: str, outcomes: list[Outcome], threshold: float) -> list[str]:
    precision, recall, by_height, wrong = figures(outcomes, threshold)
    f1 = 2 * precision * recall / max(precision + recall, 1e-9)
    return [name, *(f"{share:.2f}".replace("nan", "-") for share in (precision, recall, f1, *by_height)), str(wrong)]


def drawn(one: Marked, found: np.ndarray) -> np.ndarray:
    """The picture with the people who are found (green), missed (red), and ignored (grey)."""
    image = one.image.copy()
    colours = [(60, 200, 60) if there else (40, 40, 230) for there in found] + [(128, 128, 128)] * len(one.ignored)
    for box, colour in zip(np.concatenate([one.people, one.ignored]), colours, strict=True):
        x0, y0, x1, y1 = np.round(box).astype(int).tolist()
        cv2.rectangle(image, (x0, y0), (x1, y1), colour, 2)
    return image
