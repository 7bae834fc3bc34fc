"""BlazePose for several or distant people: searches parts of the picture and confirms each find with a closer look."""

import cv2
import numpy as np

from refit_rt.detect.blazepose import BlazePoseDetector, Part, People
from refit_rt.geometry import iou

ENOUGH_PX = 1920  # a picture this long is halved: its smallest part still exceeds the network's input
STEP = 0.7  # largest distance between neighbouring parts, as a share of their side
SMALL = 0.6  # side of the small parts, as a share of the picture's shorter side
LOOKS = 4  # first looks per picture, including the whole picture; the parts take turns across pictures
MARGIN = 1.2  # the second look covers a part this much larger than the person's square
# A found person is painted over at this width, as a share of the height, unless the box is slimmer or lies flat.
TRUNK = 0.6
NEAR = 0.6  # a square larger than this share of its part gains nothing from a second look
# Largest roll of a person in a small part; the few false finds there (chairs, poles) lie or hang.
UPRIGHT = np.radians(60)
AGREE = 0.4  # with a higher IoU of squares, a second look shows the same person
SAME = 0.7  # with a higher IoU of squares, two finds are one person; two people side by side have 0.56


class TiledBlazePose:
    """Looks for the known people first, then for others: in the whole picture and, in turn, in its parts.

    BlazePose reports the one or two people that fill its picture best. Each found person is painted over, so that the
    next look finds another one. A find counts when a second, closer look confirms it; that look also sets the square,
    because BlazePose measures a person who fills its picture best.
    """

    def __init__(self, blazepose: BlazePoseDetector, max_people: int):
        self._blazepose = blazepose
        self._max_people = max_people
        self._turn = 0  # index of the part that the next picture starts with

    def find(self, image: np.ndarray, known: np.ndarray, threshold: float, doubtful: float | None = None) -> People:
        """Finds people in a picture (height, width, 3) BGR, at most `max_people` that reach the threshold.

        known (k, 4) xyxy: predicted boxes of the current tracks; doubtful: the lowest score at which a known person is
        reported in addition; None: the threshold. The cost is one look per known person and, while there is room for
        more people, up to LOOKS looks and one more per find.
        """
        image, scale = _halved(image)
        known = (known + 0.5) * scale - 0.5
        least = threshold if doubtful is None else doubtful
        seen = [person for box in known if (person := self._confirm(image, box, least))]
        found = [person for person in seen if person[1] >= threshold]
        unsure = [person for person in seen if person[1] < threshold]  # these do not stop the search for others
        if len(found) < self._max_people:
            canvas = image.copy()
            for box, _, roll in found:
                paint_over(canvas, box, roll)
            self._search(canvas, found, threshold)
        xyxy, score, roll = merge(found + unsure)
        return ((xyxy + 0.5) / scale - 0.5).astype(np.float32), score, roll

    def _search(self, canvas: np.ndarray, found: list, threshold: float) -> None:
        """Searches the canvas, adds people to `found` and paints each one over."""
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
            seen += not fresh  # a part with a find may hold more people, so it is searched again
        self._turn = (self._turn + max(0, seen - 1)) % len(rest)

    def _look(self, canvas: np.ndarray, part: Part, threshold: float, untouched: bool) -> list:
        """Finds the people in one part, each confirmed by a second look.

        A person who fills a part of an unpainted canvas (`untouched`) needs no second look.
        """
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
        """Looks closely at a box (4,) and returns the person's square, score and roll, or None."""
        around = square(box[None])
        side = MARGIN * (around[0, 2] - around[0, 0])
        centre = (box[:2] + box[2:]) / 2
        boxes, score, roll = self._blazepose.look(image, (*(centre - side / 2 + 0.5), side), threshold)
        overlap = iou(around, boxes)[0] if len(boxes) else np.zeros(1)
        best = int(overlap.argmax())
        return (boxes[best], score[best], roll[best]) if overlap[best] > AGREE else None


def parts(width: int, height: int) -> list[Part]:
    """Returns the squares to search: the whole picture, steps at its full height (or width), then smaller squares."""
    longer, shorter = max(width, height), min(width, height)
    squares = [((width - longer) / 2, (height - longer) / 2, float(longer))]
    for side in (shorter, SMALL * shorter):
        squares += [(left, top, float(side)) for top in _starts(height, side) for left in _starts(width, side)]
    return squares


def _starts(length: float, side: float) -> list[float]:
    steps = int(np.ceil((length - side) / (STEP * side) - 1e-6))
    return [float(start) for start in np.linspace(0, length - side, steps + 1)]


def square(boxes: np.ndarray) -> np.ndarray:
    """Returns squares (n, 4) around the centres of boxes (n, 4), as large as each box's longer side."""
    centre = (boxes[:, :2] + boxes[:, 2:]) / 2
    half = (boxes[:, 2:] - boxes[:, :2]).max(1, keepdims=True) / 2
    return np.concatenate([centre - half, centre + half], 1)


def paint_over(image: np.ndarray, box: np.ndarray, roll: float) -> None:
    """Paints an ellipse of the picture's mean colour over a person's box (4,), in place; it spares the neighbours."""
    width, height = float(box[2] - box[0]), float(box[3] - box[1])
    if TRUNK * height < width < 1.5 * height:
        width = TRUNK * height
    centre = (float(box[0] + box[2]) / 2, float(box[1] + box[3]) / 2)
    if min(width, height) > 0:
        cv2.ellipse(image, (centre, (width, 1.1 * height), float(np.degrees(roll))), cv2.mean(image), -1)


def merge(found: list[tuple[np.ndarray, float, float]]) -> People:
    """Keeps one find per person, best score first."""
    kept: list[tuple[np.ndarray, float, float]] = []
    for person in sorted(found, key=lambda person: -person[1]):
        if not kept or iou(square(person[0][None]), square(np.stack([box for box, _, _ in kept]))).max() < SAME:
            kept.append(person)
    xyxy = np.array([box for box, _, _ in kept], np.float32).reshape(-1, 4)
    return xyxy, np.array([s for _, s, _ in kept], np.float32), np.array([r for _, _, r in kept], np.float32)


def _halved(image: np.ndarray) -> tuple[np.ndarray, float]:
    """Halves the picture until its longer side is below ENOUGH_PX; returns it and the scale factor."""
    scale = 1.0
    while max(image.shape[:2]) >= ENOUGH_PX:
        image = cv2.resize(image, (image.shape[1] // 2, image.shape[0] // 2), interpolation=cv2.INTER_AREA)
        scale /= 2
    return image, scale
