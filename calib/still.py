"""When a picture of the board is worth taking: it is held still, and where it has not been taken yet."""

from collections import deque

import numpy as np

from calib.detect import View
from calib.guidance import Sight

# In HOLD_S, the corners of a board that is held still move by less than STILL of the picture's longer side: 2 px of
# 1280, 7 px a second. An exposure of 1/30 s then blurs a corner by 0.2 px, and two cameras that take their pictures
# 17 ms apart see it 0.1 px apart; a detector's own error is 0.15 px.
HOLD_S, STILL = 0.3, 1 / 600
FLOOR_HOLD_S = 3.0  # nobody holds a board in the air so still for so long: it lies
REMEMBERED_S = 2.0
FEWEST_COMMON = 4  # corners, for two views to be compared
MOVED = 0.02  # of the longer side: by less, the board has not moved since the last take, whatever its pose seems to be
# A view is a new one when one of these differs: place (share of the longer side), turn, and ratio of distances.
NEW_PLACE, NEW_TURN_DEG, NEW_DISTANCE = 0.08, 10.0, 1.2


class Stillness:
    """Follows the board in one camera."""

    def __init__(self, most_px: float = 0.0, hold_s: float = HOLD_S) -> None:
        """most_px: how far the corners of a still board may move in `hold_s`; 0: STILL of the longer side."""
        self._most_px, self._hold_s = most_px, hold_s
        self._looks: deque[tuple[float, View]] = deque()

    def add(self, time_s: float, view: View, longer_px: int) -> bool | None:
        """Whether the board has been still for `hold_s`; None: it has not been seen for so long.

        longer_px: the picture's longer side.
        """
        looks = self._looks
        while looks and (looks[0][0] < time_s - REMEMBERED_S - self._hold_s or looks[-1][0] >= time_s):
            looks.popleft()
        while len(looks) > 1 and looks[1][0] <= time_s - self._hold_s:
            looks.popleft()
        known = bool(looks) and looks[0][0] <= time_s - self._hold_s
        most_px = self._most_px or STILL * longer_px
        still = all(moved_px(old, view) <= most_px for _, old in looks)
        looks.append((time_s, view))
        return still if known or not still else None


def moved_px(one: View, other: View) -> float:
    """The median distance between the corners that both views have; infinity: they have too few in common."""
    _, first, second = np.intersect1d(one.ids, other.ids, return_indices=True)
    if len(first) < FEWEST_COMMON:
        return np.inf
    return float(np.median(np.linalg.norm(one.pixels[first] - other.pixels[second], axis=1)))


def is_new(sights: dict[str, Sight], taken: list[dict[str, Sight]], longer_px: dict[str, int]) -> bool:
    """Whether no take shows the board where `sights` do, to all the cameras that see it."""
    return not any(
        sights.keys() <= old.keys() and all(_alike(sights[name], old[name], longer_px[name]) for name in sights)
        for old in taken
    )


def _alike(one: Sight, other: Sight, longer_px: int) -> bool:
    turn = np.rad2deg(np.arccos(np.clip(one.normal @ other.normal, -1, 1)))
    ratio = max(one.distance_m, other.distance_m) / min(one.distance_m, other.distance_m)
    place = float(np.linalg.norm(one.middle_px - other.middle_px)) / longer_px
    return bool(place < NEW_PLACE and turn < NEW_TURN_DEG and ratio < NEW_DISTANCE)
