"""People → bodies in the world, and each person's place among the receivers: what every bridge starts from."""

from dataclasses import dataclass

import numpy as np

from refit_rt import geometry
from refit_rt.types import JOINTS, People

L_FOOT, R_FOOT = 10, 11
SOLE_M = 0.02  # from the joint at the ball of the foot down to the floor
RISE_M_PER_S = 0.02  # at which the floor is given up where no foot has touched it
LEVEL = 0.7  # the least upward part of a floor's normal: a plane that is steeper is none to stand on
AWAY_S = 2.0  # after which a person's place goes to somebody else


@dataclass(frozen=True, slots=True, eq=False)
class Bodies:
    """The people of one frame in the world: y up, metres."""

    people: People
    rotations: np.ndarray  # (n, 24, 3, 3) each joint relative to its parent; joint 0 in the world
    joints: np.ndarray  # (n, 24, 3) metres

    @property
    def time_s(self) -> float:
        """Seconds since the source's first frame."""
        return self.people.time_s


def bodies_of(people: People) -> Bodies:
    """The same people, their orientation in the world instead of the camera's frame."""
    rotations = geometry.matrix_from_axis_angle(people.poses.astype(np.float64))
    if len(rotations):
        turn = geometry.rotation_between(people.joints_camera[0], people.joints_world[0])
        rotations[:, 0] = turn @ rotations[:, 0]
    return Bodies(people, rotations.reshape(-1, JOINTS, 3, 3), people.joints_world.astype(np.float64))


class Places:
    """Gives each person one of `count` places, and keeps it for them until they are away for AWAY_S."""

    def __init__(self, count: int) -> None:
        self._holders: list[tuple[int, float] | None] = [None] * count  # id, and when last seen

    def of(self, ids: list[int], time_s: float) -> dict[int, int]:
        """Person → place, for those who have one. Who comes when all are taken has none."""
        for place, holder in enumerate(self._holders):
            if holder is not None and (holder[0] in ids or not 0 <= time_s - holder[1] <= AWAY_S):
                self._holders[place] = (holder[0], time_s) if holder[0] in ids else None
        held = {holder[0] for holder in self._holders if holder is not None}
        for person in (person for person in ids if person not in held):
            if None in self._holders:
                self._holders[self._holders.index(None)] = (person, time_s)
        return {h[0]: place for place, h in enumerate(self._holders) if h is not None and h[0] in ids}


class Origin:
    """Where a person stands on the floor: the place of the first sight becomes the middle. A floor that is not known is
    where the lower foot is."""

    def __init__(self) -> None:
        self._start: np.ndarray | None = None  # (3,) metres: x, floor, z
        self._time_s = 0.0

    def place(self, joints: np.ndarray, time_s: float, floor: tuple[float, ...] | None = None) -> np.ndarray:
        """The point (3,), metres, world, that becomes the origin. joints (24, 3). floor: as in types.People."""
        lowest = float(joints[[L_FOOT, R_FOOT], 1].min()) - SOLE_M
        if floor is not None and floor[1] > LEVEL:
            start = joints[0] if self._start is None else self._start
            height = (floor[3] - floor[0] * start[0] - floor[2] * start[2]) / floor[1]
            self._start = np.array([start[0], height, start[2]])
        elif self._start is None:
            self._start = np.array([joints[0, 0], lowest, joints[0, 2]])
        else:
            self._start[1] = min(self._start[1] + RISE_M_PER_S * max(time_s - self._time_s, 0.0), lowest)
        self._time_s = time_s
        return self._start.copy()
