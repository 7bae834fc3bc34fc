"""MoveNet MultiPose: finds everybody in a picture, each with a box and 17 key points.

The network is Google's MoveNet MultiPose Lightning (Apache-2.0), converted by `training/detector` and shipped with the
package. Its own last step keeps six people; the decoding here keeps all. A person is a peak of the centre map, and
regresses a box and a rough place of each key point; a heat map of each kind of key point, searched around the rough
place, gives the exact one.
"""

from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from refit_rt import geometry
from refit_rt.compiler import njit
from refit_rt.detect.network import Network, fitted
from refit_rt.files import ASSETS
from refit_rt.geometry import iou
from refit_rt.types import COCO_KEYPOINTS, Boxes, Frame, Known, Square

FILE = ASSETS / "detectors" / "movenet" / "movenet.onnx"
HEADS = ("centre", "size", "offset", "regressed", "heat", "heat_offset")
THRESHOLD = 0.35
LONGER_PX = 448  # of the picture for the network: beyond 512 its view no longer holds a person who is near
WIDE = (256, 448)  # height and width of the network's input for pictures of 16:9, the most common ones
NEAR_PX = 256  # side of a closer look
NEAR_MARGIN = 1.4  # a closer look shows this many times the person's longer side
LEAST_NEAR_PX = 16.0  # a square smaller than this shows nobody
SEEN = 0.3  # a person whose box overlaps a find by this IoU needs no closer look
STRIDE = 4  # pixels of the input per cell of the maps
# Two finds are one person when their boxes overlap by this IoU and the key points seen in both agree, or, where too few
# are seen, when their boxes overlap by SAME_BOX.
SAME, SAME_BOX, LEAST_POINTS, SEEN_POINT = 0.3, 0.6, 3, 0.2
APART = 0.15  # median distance of two people's key points, as a share of the box: more are two people
MOST = 100  # people per picture
GATE = 0.15  # standard deviation of the search for a key point around its rough place, as a share of the box
SURE_POINT = 0.3  # lowest score of a key point that measures the roll
SHOULDERS, HIPS = [5, 6], [11, 12]
SHORT_TORSO = 0.12  # of the box's longer side: a torso seen shorter points at the camera and says nothing of roll


@dataclass(frozen=True, slots=True, eq=False)
class Found:
    """People in image pixels, best score first."""

    xyxy: np.ndarray  # (n, 4) float32
    score: np.ndarray  # (n,) float32 0..1
    keypoints: np.ndarray  # (n, 17, 3) float32: x, y, score 0..1, in COCO's order

    def take(self, rows: np.ndarray | list[int]) -> "Found":
        return Found(self.xyxy[rows], self.score[rows], self.keypoints[rows])


class MoveNet:
    """Looks at a whole picture or closely at one place."""

    def __init__(
        self,
        path: Path = FILE,
        threads: int = 1,
        sizes: tuple[tuple[int, int], ...] = (WIDE, (NEAR_PX, NEAR_PX)),
    ) -> None:
        """threads: CPU threads. sizes: heights and widths of the looks that are to come. Raises UserError when the file
        cannot be used."""
        self._network = Network(path, HEADS, threads)
        for size in sizes:  # compiled when they are needed, the first looks would come too late
            self._network.prepare(size)
        decoded([np.zeros((2, 2, channels), np.float32) for channels in (1, 2, 2, 34, 17, 34)], 1.0)  # numba compiles

    def look(self, image: np.ndarray, threshold: float) -> Found:
        """The people in a picture (height, width, 3) uint8 BGR with at least this score."""
        canvas, scale = fitted(image, LONGER_PX)
        found = self._decoded(canvas, threshold)
        return Found(
            (found.xyxy + 0.5) / np.tile(scale, 2).astype(np.float32) - 0.5,
            found.score,
            np.concatenate(
                [(found.keypoints[..., :2] + 0.5) / scale.astype(np.float32) - 0.5, found.keypoints[..., 2:]], -1
            ),
        )

    def look_near(self, image: np.ndarray, square: Square, threshold: float, side_px: int = NEAR_PX) -> Found:
        """The people in a square of a picture that stands the person upright. side_px: of the network's input."""
        found = self._decoded(geometry.crop(image, square, side_px), threshold)
        from_crop = cv2.invertAffineTransform(geometry.crop_from_image(square, side_px))
        points = geometry.apply_2d(from_crop, found.keypoints[..., :2])
        low, high = found.xyxy[:, :2], found.xyxy[:, 2:]
        centre = geometry.apply_2d(from_crop, (low + high) / 2)
        # The box of a rolled person in the picture: as high and as wide as its upright box, turned, just holds.
        turn = np.abs(from_crop[:, :2])
        half = (high - low) / 2 @ turn.T
        xyxy = np.concatenate([centre - half, centre + half], 1).astype(np.float32)
        keypoints = np.concatenate([points, found.keypoints[..., 2:]], -1).astype(np.float32)
        return Found(xyxy, found.score, keypoints)

    def _decoded(self, canvas: np.ndarray, threshold: float) -> Found:
        """People of a canvas (height, width, 3), in its own pixels."""
        return distinct(decoded(list(self._network(canvas).values()), threshold))


def decoded(heads: list[np.ndarray], threshold: float) -> Found:
    """The peaks of the centre map with their boxes and key points, in pixels of the network's input.

    heads: the maps of HEADS, (height, width, channels) float32, y before x in each pair of channels.
    """
    centre, size, offset, regressed, heat, heat_offset = heads
    scores = centre[..., 0]
    peak = (scores == cv2.dilate(scores, np.ones((3, 3), np.uint8))) & (scores >= threshold)
    y, x = np.nonzero(peak)
    score = scores[y, x]
    order = np.argsort(-score, kind="stable")[:MOST]
    y, x, score = y[order], x[order], score[order]
    half = np.maximum(size[y, x], 0)[:, ::-1] / 2
    middle = np.stack([x, y], 1) + offset[y, x][:, ::-1]
    boxes = np.concatenate([middle - half, middle + half], 1).astype(np.float32)
    rough = regressed[y, x].reshape(-1, COCO_KEYPOINTS, 2)[..., ::-1] + np.stack([x, y], 1)[:, None]
    keypoints = np.zeros((len(y), COCO_KEYPOINTS, 3), np.float32)
    refine(heat, heat_offset, boxes, np.ascontiguousarray(rough, np.float32), keypoints)
    keypoints[..., :2] = keypoints[..., :2] * STRIDE - 0.5  # maps have their origin at the picture's corner
    return Found(boxes * STRIDE - np.float32(0.5), score.astype(np.float32), keypoints)


@njit(nogil=True)
def refine(heat, heat_offset, boxes, rough, keypoints):
    """Places key points at the best cells of their heat maps: heat times a Gaussian around the rough place.

    heat (h, w, 17), heat_offset (h, w, 34), boxes (n, 4) and rough (n, 17, 2) in cells; fills keypoints (n, 17, 3):
    x, y in cells, score.
    """
    height, width = heat.shape[0], heat.shape[1]
    for i in range(len(boxes)):
        x0, y0 = max(0, int(boxes[i, 0]) - 2), max(0, int(boxes[i, 1]) - 2)
        x1, y1 = min(width, int(boxes[i, 2]) + 3), min(height, int(boxes[i, 3]) + 3)
        wide = max(1.0, (boxes[i, 2] - boxes[i, 0]) * (boxes[i, 3] - boxes[i, 1]))
        spread = max(1.0, GATE * np.sqrt(wide))
        near_x = np.empty(max(x1 - x0, 0), np.float32)
        for j in range(rough.shape[1]):
            for x in range(x0, x1):
                near_x[x - x0] = np.exp(-((x - rough[i, j, 0]) ** 2) / (2 * spread**2))
            best, best_x, best_y = np.float32(-1.0), -1, -1
            for y in range(y0, y1):
                near_y = np.float32(np.exp(-((y - rough[i, j, 1]) ** 2) / (2 * spread**2)))
                for x in range(x0, x1):
                    weighed = heat[y, x, j] * near_x[x - x0] * near_y
                    if weighed > best:
                        best, best_x, best_y = weighed, x, y
            if best_x < 0:
                keypoints[i, j, 0], keypoints[i, j, 1], keypoints[i, j, 2] = rough[i, j, 0], rough[i, j, 1], 0
            else:
                keypoints[i, j, 0] = best_x + heat_offset[best_y, best_x, 2 * j + 1]
                keypoints[i, j, 1] = best_y + heat_offset[best_y, best_x, 2 * j]
                keypoints[i, j, 2] = heat[best_y, best_x, j]


def distinct(found: Found) -> Found:
    """Keeps one find per person, best score first: people who embrace share a box, but not their key points."""
    kept: list[int] = []
    for row in range(len(found.score)):
        if not any(_same(found, row, other) for other in kept):
            kept.append(row)
    return found.take(kept)


def _same(found: Found, one: int, other: int) -> bool:
    boxes, points = found.xyxy[[one, other]], found.keypoints[[one, other]]
    overlap = iou(boxes[:1], boxes[1:])[0, 0]
    seen = points[..., 2].min(0) >= SEEN_POINT
    if overlap < SAME or np.count_nonzero(seen) < LEAST_POINTS:
        return bool(overlap >= SAME_BOX)
    away = np.linalg.norm(points[0, seen, :2] - points[1, seen, :2], axis=-1)
    return bool(np.median(away) < APART * (boxes[:, 2:] - boxes[:, :2]).max())


def roll_of(found: Found) -> np.ndarray:
    """(n,) float32 radians by which each person leans clockwise, from hips to shoulders; 0 where they are not seen."""
    rolls = np.zeros(len(found.score), np.float32)
    for row, points in enumerate(found.keypoints):
        if points[SHOULDERS + HIPS, 2].min() < SURE_POINT:
            continue
        dx, dy = points[SHOULDERS, :2].mean(0) - points[HIPS, :2].mean(0)
        box = found.xyxy[row]
        if np.hypot(dx, dy) > SHORT_TORSO * (box[2:] - box[:2]).max():
            rolls[row] = np.arctan2(dx, -dy)
    return rolls


class MoveNetDetector:
    """MoveNet on the whole picture, and closer looks at people who are followed and not found there."""

    def __init__(self, threshold: float = 0.0, doubtful: float = 0.7, threads: int = 1, path: Path = FILE) -> None:
        """threshold: 0: the network's own. doubtful: share of it down to which people are reported."""
        self.threshold = threshold or THRESHOLD
        self._least = doubtful * self.threshold
        self._movenet = MoveNet(path, threads)

    def find(self, frame: Frame, known: Known) -> Boxes:
        """See Detector."""
        found = self._movenet.look(frame.image, self._least)
        for xyxy, roll in zip(known.xyxy, known.roll, strict=True):
            if len(found.xyxy) and iou(xyxy[None], found.xyxy).max() >= SEEN:
                continue
            square = geometry.square_around(xyxy, NEAR_MARGIN, float(roll))
            if square.side_px >= LEAST_NEAR_PX:
                found = joined(found, self._movenet.look_near(frame.image, square, self._least))
        return Boxes(frame, found.xyxy, found.score, roll_of(found), found.keypoints)


def joined(one: Found, other: Found) -> Found:
    """The people of both looks, each person once."""
    pairs = ((one.xyxy, other.xyxy), (one.score, other.score), (one.keypoints, other.keypoints))
    both = Found(*(np.concatenate(pair) for pair in pairs))
    return distinct(both.take(np.argsort(-both.score, kind="stable")))
