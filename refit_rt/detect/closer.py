"""Closer looks at people who are followed, for their key points alone (`fit.keypoints`)."""

import numpy as np

from refit_rt import geometry
from refit_rt.detect.movenet import LEAST_NEAR_PX, NEAR_MARGIN, MoveNet
from refit_rt.types import COCO_KEYPOINTS, Boxes, Frame, Known

# The side of a look takes 8 ms on one thread, 256 px 14. On the two real clips a key point is 1.45 and 1.5 % of the
# stature off in the median, with 256 px 1.35 %; in the mean 2.3 and 1.9 %, with 256 px 2.9 and 1.8 %.
SIDE_PX = 192
SCORE = 0.2  # lowest score of a person
MOST = 4  # people per call: more would keep the detector from the whole picture


class Closer:
    """MoveNet on a square around each person, which stands the person upright."""

    def __init__(self, threads: int = 1) -> None:
        """threads: CPU threads. Raises UserError when the network cannot be used."""
        self._movenet = MoveNet(threads=threads, sizes=((SIDE_PX, SIDE_PX),))

    def find(self, frame: Frame, known: Known) -> Boxes:
        """Looks at the first MOST people's squares. Returns boxes with ids: every detection of a person's square, or
        one row of score 0 and without key points (NaN)."""
        ids, parts = [], []
        for person, xyxy, roll in zip(known.ids[:MOST], known.xyxy, known.roll, strict=False):
            square = geometry.square_around(xyxy, NEAR_MARGIN, float(roll))
            rows = []
            if square.side_px >= LEAST_NEAR_PX:
                found = self._movenet.look_near(frame.image, square, SCORE, SIDE_PX)
                rows = list(zip(found.xyxy, found.score, found.keypoints, strict=True))
            nobody = xyxy.astype(np.float32), np.float32(0), np.full((COCO_KEYPOINTS, 3), np.nan, np.float32)
            parts += rows or [nobody]
            ids += [int(person)] * max(len(rows), 1)
        xyxy, score, keypoints = (
            np.array([part[column] for part in parts], np.float32).reshape(len(parts), *shape)
            for column, shape in enumerate(((4,), (), (COCO_KEYPOINTS, 3)))
        )
        return Boxes(frame, xyxy, score, np.zeros(len(parts), np.float32), keypoints, np.array(ids, np.int64))
