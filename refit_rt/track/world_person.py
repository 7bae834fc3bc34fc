"""One person in the world, as the cameras of a rig follow them."""

from collections import deque
from dataclasses import dataclass, field

import numpy as np

from refit_rt.track.evidence import worn

PELVIS, NECK = 0, 12  # SMPL joints
SLOWING_S = 1.0  # time constant with which an unobserved motion decays
HISTORY_S = 0.6  # bodies are kept this long, for looks at older ticks
NEWER = 0.4  # weight of the newest fit's velocity


@dataclass(slots=True, eq=False)
class WorldPerson:
    """A person in the world."""

    id: int
    joints: np.ndarray  # (24, 3) metres, world, at time_s
    time_s: float
    born_s: float
    velocity: np.ndarray = field(default_factory=lambda: np.zeros(3))  # metres per second
    bodies: deque = field(default_factory=deque)  # of (time_s, joints)
    found_s: float = 0.0  # time of the newest look that found the person
    missed: int = 0  # looks in a row that should have found the person and did not
    fitted: bool = False  # a body is fitted in every tick
    fresh: bool = True  # no body yet
    boxes: dict[int, tuple[np.ndarray, float]] = field(default_factory=dict)  # camera → where it starts cold
    doubted_s: float = np.inf  # since when the bodies are doubted
    closer_s: dict[int, float] = field(default_factory=dict)  # camera → time of the newest look for key points
    colours: np.ndarray = field(default_factory=lambda: np.full((2, 3), np.nan))

    @property
    def followed(self) -> bool:
        """Whether there is a body to compare with what is seen."""
        return self.fitted and not self.fresh

    def at(self, time_s: float) -> np.ndarray:
        """The joints (24, 3) at a time: as fitted, or moved on."""
        if self.bodies and time_s <= self.bodies[-1][0]:
            return min(self.bodies, key=lambda one: abs(one[0] - time_s))[1]
        travel_s = SLOWING_S * (1 - np.exp(-max(0.0, time_s - self.time_s) / SLOWING_S))
        return self.joints + travel_s * self.velocity

    def away(self, place: np.ndarray, time_s: float | None = None) -> float:
        """Metres from the middle of pelvis and neck, as last fitted or at a time, to a place (3,)."""
        joints = self.joints if time_s is None else self.at(time_s)
        return float(np.linalg.norm(joints[[PELVIS, NECK]].mean(0) - place))

    def put(self, place: np.ndarray, boxes: dict[int, tuple[np.ndarray, float]], time_s: float) -> None:
        """The fit starts cold at a place (3,) of the world, from boxes of some cameras."""
        self.joints, self.time_s, self.velocity = np.tile(place, (len(self.joints), 1)), time_s, np.zeros(3)
        self.bodies.clear()
        self.found_s, self.missed, self.fitted, self.fresh, self.doubted_s = time_s, 0, True, True, np.inf
        self.boxes = boxes

    def take_body(self, joints: np.ndarray, time_s: float) -> None:
        """Takes in a body (24, 3) that is believed."""
        dt_s = time_s - self.time_s
        if not self.fresh and dt_s > 0:
            self.velocity = (1 - NEWER) * self.velocity + NEWER * (joints[PELVIS] - self.joints[PELVIS]) / dt_s
        self.joints, self.time_s, self.fresh, self.doubted_s, self.boxes = joints, time_s, False, np.inf, {}
        self.bodies.append((time_s, joints))
        while time_s - self.bodies[0][0] > HISTORY_S:
            self.bodies.popleft()

    def dressed(self, measured: np.ndarray) -> None:
        """Takes in a measurement of the colours (2, 3)."""
        self.colours = worn(self.colours, measured)
