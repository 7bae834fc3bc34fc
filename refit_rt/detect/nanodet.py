"""NanoDet: finds small people far away, each with a box and without key points.

The network is NanoDet-g (Apache-2.0), converted by `training/detector` and shipped with the package. Each cell of its
three maps says whether it lies on a person, and how far away the person's four sides are: a distribution over whole
numbers of cells, whose mean counts (Li et al. 2020, "Generalized Focal Loss"). It looks at the whole picture, in which
near people are whole, and at squares as high as the picture, in which distant people are larger.
"""

from pathlib import Path

import cv2
import numpy as np
from scipy.special import expit, softmax

from refit_rt.detect.layouts import distinct
from refit_rt.detect.network import Network, fitted
from refit_rt.files import ASSETS

FILE = ASSETS / "detectors" / "nanodet" / "nanodet.onnx"
MAPS = {"stride_8": 8, "stride_16": 16, "stride_32": 32}  # pixels of the input per cell, by the output's name
BINS = 11  # of a distribution: 0 to 10 cells
THRESHOLD = 0.45
SIDE_PX = 416  # longer side of a part of the picture for the network, which was trained at this size
OVERLAP = 0.15  # of two neighbouring squares, at least, as a share of their side
CUT = 0.02  # a box that comes this near to an edge of a square, as a share of its side, may be cut by the edge
# Boxes with this IoU are one person. With 0.6, NanoDet's own value, two of 14 rendered people of 10 % of the height are
# found twice, because two parts show them at two scales.
SAME = 0.5
MOST = 1000  # boxes per look among which repetitions are sought, the best

Part = tuple[int, int, int, int]  # left, top, right, bottom in pixels


class NanoDet:
    """Looks at the whole picture and at squares of it.

    Every look takes all parts, because the tracker takes a look as a statement on the whole picture: a person in a part
    that is left out would count as missed.
    """

    def __init__(self, path: Path = FILE, threads: int = 1) -> None:
        """threads: CPU threads. Raises UserError when the file cannot be used."""
        self._network = Network(path, tuple(MAPS), threads)

    def find(self, image: np.ndarray, threshold: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """The people in a picture (height, width, 3) uint8 BGR with at least this score, best first.

        Returns xyxy (n, 4) image pixels, score (n,) and roll (n,), all zeros, because boxes do not show it; float32.
        """
        small, boxes, scores = reduced(image), [], []
        for part in parts_of(small.shape[1], small.shape[0]):
            found, score = self._look(small, part, threshold)
            whole = ~cut(found, part, small.shape[1], small.shape[0])
            boxes.append(found[whole])
            scores.append(score[whole])
        xyxy, score = np.concatenate(boxes), np.concatenate(scores)
        best = np.argsort(-score, kind="stable")[:MOST]
        best = best[distinct(xyxy[best], SAME)]
        scale = np.tile([image.shape[1] / small.shape[1], image.shape[0] / small.shape[0]], 2)
        # The maps have their origin at the picture's corner; `geometry` has it at the centre of the top-left pixel.
        return (xyxy[best] * scale - 0.5).astype(np.float32), score[best], np.zeros(len(best), np.float32)

    def _look(self, image: np.ndarray, part: Part, threshold: float) -> tuple[np.ndarray, np.ndarray]:
        """Boxes (n, 4) and scores (n,) of a part of a picture, in pixels from the picture's corner."""
        left, top, right, bottom = part
        canvas, scale = fitted(image[top:bottom, left:right], SIDE_PX)
        boxes, score = decoded(self._network(canvas), threshold)
        return boxes / np.tile(scale, 2) + (left, top, left, top), score


def reduced(image: np.ndarray) -> np.ndarray:
    """The picture, halved as long as its shorter side is three times the network's or more.

    OpenCV halves an image on a fast path: reducing 4K in halves takes a sixth of the time of one step.
    """
    while min(image.shape[:2]) >= 3 * SIDE_PX:
        image = cv2.resize(image, (image.shape[1] // 2, image.shape[0] // 2), interpolation=cv2.INTER_AREA)
    return image


def parts_of(width: int, height: int) -> list[Part]:
    """The whole picture, then squares on its shorter side that cover it and overlap by OVERLAP or more."""
    side, longer = min(width, height), max(width, height)
    count = int(np.ceil((longer / side - OVERLAP) / (1 - OVERLAP) - 1e-9))
    if count == 1:
        return [(0, 0, width, height)]
    starts = np.linspace(0, longer - side, count).round().astype(int).tolist()
    squares = [(at, 0, at + side, side) if width > height else (0, at, side, at + side) for at in starts]
    return [(0, 0, width, height), *squares]


def cut(boxes: np.ndarray, part: Part, width: int, height: int) -> np.ndarray:
    """(n,) bool: which boxes (n, 4) an edge of their part inside the picture may cut.

    Nobody is lost with them: people who are narrower than the overlap are whole in the next square, and the whole
    picture shows all others.
    """
    near = CUT * min(part[2] - part[0], part[3] - part[1])
    left, top, right, bottom = boxes.T
    return (
        ((part[0] > 0) & (left < part[0] + near))
        | ((part[1] > 0) & (top < part[1] + near))
        | ((part[2] < width) & (right > part[2] - near))
        | ((part[3] < height) & (bottom > part[3] - near))
    )


def decoded(maps: dict[str, np.ndarray], threshold: float) -> tuple[np.ndarray, np.ndarray]:
    """Boxes (n, 4) in pixels from the corner of the network's input and scores (n,) float32, a person in many cells.

    maps: by the names of MAPS, (rows, columns, 1 + 4 * BINS) float32: a logit for a person, then the logits of the
    distances to the left, top, right and bottom, in cells. threshold: the lowest score returned.
    """
    boxes, scores = [np.zeros((0, 4), np.float32)], [np.zeros(0, np.float32)]
    for name, stride in MAPS.items():
        logits = maps[name]
        score = expit(logits[..., 0])
        y, x = np.nonzero(score >= threshold)
        sides = softmax(logits[y, x, 1:].reshape(-1, 4, BINS), -1) @ np.arange(BINS, dtype=np.float32)
        centre = np.stack([x, y], 1) + np.float32(0.5)
        boxes.append(np.concatenate([centre - sides[:, :2], centre + sides[:, 2:]], 1) * stride)
        scores.append(score[y, x])
    return np.concatenate(boxes).astype(np.float32), np.concatenate(scores)
