"""Where the floor is: as the stream says it, else calmly under the lowest feet."""

from collections import deque

import numpy as np

from refit_rt.stream.bridges.bodies import SOLE_M

UP = np.array([0.0, 1.0, 0.0])
SEEN_S = 5.0  # the time over which the feet are looked at
SHARE = 10.0  # percent of the frames in which a foot may be below the floor: fits are noisy
FASTEST_M_PER_S = 0.3


class GuessedFloor:
    """A level floor under the lowest joints of the last seconds, which moves slowly."""

    def __init__(self) -> None:
        self.height_m: float | None = None  # world; None: nobody was seen
        self._seen: deque[tuple[float, float]] = deque()  # time, lowest point

    def add(self, joints: np.ndarray, time_s: float) -> None:
        """joints (n, 24, 3), world, metres, of everybody in one frame; n may be 0."""
        if not len(joints):
            return
        before_s = self._seen[-1][0] if self._seen else time_s
        self._seen.append((time_s, float(joints[..., 1].min()) - SOLE_M))
        while time_s - self._seen[0][0] > SEEN_S:
            self._seen.popleft()
        lowest = float(np.percentile([height for _, height in self._seen], SHARE))
        if self.height_m is None:
            self.height_m = lowest
        step = FASTEST_M_PER_S * max(time_s - before_s, 0.0)
        self.height_m += float(np.clip(lowest - self.height_m, -step, step))


def turn_of(normal: np.ndarray) -> np.ndarray:
    """The quaternion (4,), w x y z, that turns a level floor so that its upward normal (3,) is this one."""
    axis = np.cross(UP, normal)
    wxyz = np.array([1.0 + normal[1], *axis])
    return wxyz / np.linalg.norm(wxyz) if 1.0 + normal[1] > 1e-6 else np.array([0.0, 1.0, 0.0, 0.0])
