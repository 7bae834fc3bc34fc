"""Where a person has been: the path of the pelvis in the last seconds."""

from collections import deque

import numpy as np

KEPT_S = 6.0
EVERY_S = 0.1  # between two points
FADED = 0.6  # how far the oldest end has gone to the background
JUMP_M = 0.8  # between two points: a person who was lost and is found elsewhere leaves a gap


class Trail:
    """Points of a path, with the line segments between them."""

    def __init__(self) -> None:
        self._points: deque[tuple[float, np.ndarray]] = deque()

    def add(self, point: np.ndarray, time_s: float) -> bool:
        """Adds a point (3,) of the world, metres, if it is time for one. True if the segments have changed."""
        if self._points and time_s < self._points[-1][0]:
            self._points.clear()
        if self._points and time_s - self._points[-1][0] < EVERY_S:
            return False
        self._points.append((time_s, np.asarray(point, np.float32)))
        while time_s - self._points[0][0] > KEPT_S:
            self._points.popleft()
        return True

    def points(self) -> np.ndarray:
        """(n, 3) float32 metres, the oldest first."""
        return np.array([point for _, point in self._points], np.float32).reshape(-1, 3)

    def segments(self) -> np.ndarray:
        """(n, 2, 3) float32 metres, the oldest first."""
        points = self.points()
        pairs = np.stack([points[:-1], points[1:]], axis=1)
        return pairs[np.linalg.norm(pairs[:, 1] - pairs[:, 0], axis=-1) < JUMP_M]


def faded(colour: np.ndarray, background: np.ndarray, count: int) -> np.ndarray:
    """The colours (count, 2, 3) uint8 of segments that fade from `colour` at the newest end towards `background`."""
    share = np.linspace(FADED, 0.0, count + 1)[:, None]
    ends = colour * (1 - share) + background * share
    return np.stack([ends[:-1], ends[1:]], axis=1).astype(np.uint8)
