"""BlazePose for several and distant people: parts of the picture, known people painted over, a second look."""

import cv2
import numpy as np

from refit_rt.detect.blazepose import BlazePoseDetector, Part, People
from refit_rt.geometry import iou

ENOUGH_PX = 1920  # a picture of this many pixels is halved: its smallest part still has more than the network takes
STEP = 0.7  # distance of neighbouring parts over their side, at most
SMALL = 0.6  # side of the small parts over the picture's shorter side
LOOKS = 4  # first looks a picture, the whole one included; the parts come in turn, picture after picture
MARGIN = 1.2  # a person is looked at once more in a part this much larger than the square
TRUNK = 0.6  # width of what is painted over a person over its height, unless the box says that it is slimmer or lies
NEAR = 0.6  # side of a square over its part's, above which a second look would show no more
UPRIGHT = np.radians(60)  # of people in small parts; the few false finds seen there (chairs, poles) lay or hung
AGREE = 0.4  # IoU of squares above which a second look means the same person
SAME = 0.7  # IoU of squares above which two finds are one person; two people side by side have 0.56


class TiledBlazePose:
    """Looks for the known people first, then for more: in the whole picture and, in turn, in its parts.

    BlazePose answers with the one or two people that fill its picture best. Whoever is found is painted over, so that
    the next look finds the next one. A find counts when a second look, from near, confirms it; that look also sets the
    square, for a person who fills the look is measured best.
    """

    def __init__(self, blazepose: BlazePoseDetector, max_people: int):
        self._blazepose = blazepose
        self._max_people = max_people
        self._turn = 0  # the part to begin with in the next picture

    def find(self, image: np.ndarray, known: np.ndarray, threshold: float, doubtful: float | None = None) -> People:
        """People in a picture (height, width, 3) BGR, at most `max_people`; known (k, 4) xyxy is where some should be.

        doubtful: score from which a known person is told too, beside those; None: the threshold. Costs one look a known
        person, and where places are free up to LOOKS looks and one more a find.
        """
        image, scale = _halved(image)
        known = (known + 0.5) * scale - 0.5
        least = threshold if doubtful is None else doubtful
        seen = [person for box in known if (person := self._confirm(image, box, least))]
        found = [person for person in seen if person[1] >= threshold]
        unsure = [person for person in seen if person[1] < threshold]  # no reason not to look for others
        if len(found) < self._max_people:
            canvas = image.copy()
            for box, _, roll in found:
                paint_over(canvas, box, roll)
            self._search(canvas, found, threshold)
        xyxy, score, roll = merge(found + unsure)
        return ((xyxy + 0.5) / scale - 0.5).astype(np.float32), score, roll

    def _search(self, canvas: np.ndarray, found: list, threshold: float) -> None:
        """Adds people to `found`, painting each over."""
        whole, *rest = parts(canvas.shape[1], canvas.shape[0])
        queue = [whole, *rest[self._turn :], *rest[: self._turn]]
        seen = 0
        for _ in range(LOOKS):
            if seen == len(queue) or len(found) >= self._max_people:
                break
            fresh = self._look(canvas, queue[seen], threshold, untouched=not found)
            found += fresh
            for box, _, roll in fresh:
                paint_over(canvas, box, roll)
            seen += not fresh  # where somebody was found there may be more
        self._turn = (self._turn + max(0, seen - 1)) % len(rest)

    def _look(self, canvas: np.ndarray, part: Part, threshold: float, untouched: bool) -> list:
        """People in one part as the second look sees them; in a picture not yet painted on, who fills it needs none."""
        people: list[tuple[np.ndarray, float, float]] = []
        small = part[2] < min(canvas.shape[:2])
        for box, score, roll in zip(*self._blazepose.look(canvas, part, threshold), strict=True):
            if small and abs(roll) > UPRIGHT:
                continue
            if untouched and box[2] - box[0] > NEAR * part[2]:
                people.append((box, score, roll))
            elif person := self._confirm(canvas, box, threshold):
                people.append(person)
        return people

    def _confirm(self, image: np.ndarray, box: np.ndarray, threshold: float) -> tuple[np.ndarray, float, float] | None:
        """The person at the place of a box (4,), seen from near: square, score, roll."""
        around = square(box[None])
        side = MARGIN * (around[0, 2] - around[0, 0])
        centre = (box[:2] + box[2:]) / 2
        boxes, score, roll = self._blazepose.look(image, (*(centre - side / 2 + 0.5), side), threshold)
        overlap = iou(around, boxes)[0] if len(boxes) else np.zeros(1)
        best = int(overlap.argmax())
        return (boxes[best], score[best], roll[best]) if overlap[best] > AGREE else None


def parts(width: int, height: int) -> list[Part]:
    """Squares to look at: the whole picture, then its full height (or width) in steps, then smaller ones."""
    longer, shorter = max(width, height), min(width, height)
    squares = [((width - longer) / 2, (height - longer) / 2, float(longer))]
    for side in (shorter, SMALL * shorter):
        squares += [(left, top, float(side)) for top in _starts(height, side) for left in _starts(width, side)]
    return squares


def _starts(length: float, side: float) -> list[float]:
    steps = int(np.ceil((length - side) / (STEP * side) - 1e-6))
    return [float(start) for start in np.linspace(0, length - side, steps + 1)]


def square(boxes: np.ndarray) -> np.ndarray:
    """Squares (n, 4) round the centres of boxes (n, 4), as large as their longer side."""
    centre = (boxes[:, :2] + boxes[:, 2:]) / 2
    half = (boxes[:, 2:] - boxes[:, :2]).max(1, keepdims=True) / 2
    return np.concatenate([centre - half, centre + half], 1)


def paint_over(image: np.ndarray, box: np.ndarray, roll: float) -> None:
    """Hides the person of a box (4,) under an ellipse of the picture's mean colour, in place; spares the neighbours."""
    width, height = float(box[2] - box[0]), float(box[3] - box[1])
    if TRUNK * height < width < 1.5 * height:
        width = TRUNK * height
    centre = (float(box[0] + box[2]) / 2, float(box[1] + box[3]) / 2)
    if min(width, height) > 0:
        cv2.ellipse(image, (centre, (width, 1.1 * height), float(np.degrees(roll))), cv2.mean(image), -1)


def merge(found: list[tuple[np.ndarray, float, float]]) -> People:
    """Best score first, one find a person."""
    kept: list[tuple[np.ndarray, float, float]] = []
    for person in sorted(found, key=lambda person: -person[1]):
        if not kept or iou(square(person[0][None]), square(np.stack([box for box, _, _ in kept]))).max() < SAME:
            kept.append(person)
    xyxy = np.array([box for box, _, _ in kept], np.float32).reshape(-1, 4)
    return xyxy, np.array([s for _, s, _ in kept], np.float32), np.array([r for _, _, r in kept], np.float32)


def _halved(image: np.ndarray) -> tuple[np.ndarray, float]:
    """The picture, halved until its longer side is below ENOUGH_PX, and the factor."""
    scale = 1.0
    while max(image.shape[:2]) >= ENOUGH_PX:
        image = cv2.resize(image, (image.shape[1] // 2, image.shape[0] // 2), interpolation=cv2.INTER_AREA)
        scale /= 2
    return image, scale
