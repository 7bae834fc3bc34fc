"""One person who is tracked: where they are, how they move, and how they look."""

from collections import deque
from dataclasses import dataclass, field

import numpy as np

from refit_rt.track.evidence import difference, worn

SLOWING_S = 1.0  # time constant with which an unobserved motion decays
HIDDEN_SLOWING_S = 2.0  # the same where a person is hidden: people walk on
USUAL_S, GOING_S = 1.0, 0.4  # time constants of a person's usual size and of where the person is going
WHOLE = 0.85  # a person smaller than this share of the usual size is partly hidden, and the box moves by itself
ACCELERATION = 4.0  # spectral density of a box's acceleration, sizes² / s³
NOISE, DETECTED_NOISE = 0.02, 0.05  # standard deviations of a body's and a detection's measured place, in sizes
ROLL_S = 0.15  # time constant of the roll filter
DEPTH_S = 0.4  # time constant of the depth that a body is compared with
HISTORY_S = 0.6  # bodies are kept this long, to be compared with a detection of an older frame


@dataclass(slots=True, eq=False)
class Person:
    """A place is centre x, centre y, width, height in pixels, of what the picture shows of the person.

    A body's box is not a detector's, above all of people who are cut off or half hidden: `place` follows the bodies
    while one is fitted, and `offset` leads from there to where the detector should see the person.
    """

    place: np.ndarray  # (4,) at time_s
    time_s: float  # of the last measurement
    id: int | None = None  # given when the first body is fitted
    velocity: np.ndarray = field(default_factory=lambda: np.zeros(4))  # (4,) pixels per second
    offset: np.ndarray = field(default_factory=lambda: np.zeros(4))  # (4,) pixels
    # (2, 2) covariance of place and velocity, in sizes and seconds
    spread: np.ndarray = field(default_factory=lambda: np.diag([DETECTED_NOISE**2, 1.0]))
    score: float = 0.0
    roll: float = 0.0
    seen_s: float = 0.0  # time of the last look that found the person
    since_s: float = 0.0  # time of the first one
    fitted: bool = False  # a body is fitted in every frame
    accepted: bool = False  # the last frame's body is believed
    fresh: bool = False  # a detection placed the person in this frame: the fit starts cold
    doubted_s: float = np.inf  # since when the bodies are doubted
    alarmed: bool = False  # the last frame gave a reason to look: if the next look does not find the person, it is gone
    patch: np.ndarray = field(default_factory=lambda: np.zeros((0, 0), np.float32))  # the body's box, as last seen
    confirmed: bool = False  # published: a person who fills the picture needs a second look for that
    missed: int = 0  # looks in a row that did not find the person
    refused: int = 0  # cold fits in a row that did not match their detection
    again_s: float = -np.inf  # no new fit before this time
    usual_px: float = 0.0  # size, smoothed; 0: unknown
    going: np.ndarray = field(default_factory=lambda: np.zeros(2))  # (2,) pixels per second, smoothed
    crowded: bool = False  # another person's box overlaps this one's
    depth_m: float = 0.0  # smoothed; 0: no body yet
    colours: np.ndarray = field(default_factory=lambda: np.full((2, 3), np.nan))
    claim: np.ndarray | None = None  # (17, 3) key points of the detection that placed the person
    points: np.ndarray | None = None  # (17, 3) key points in the look that came with this frame
    closer_s: float = -np.inf  # time of the newest frame in which the key points were looked for
    # Time, place and velocity when last not crowded, at the usual size
    alone: tuple[float, np.ndarray, np.ndarray] | None = None
    bodies: deque = field(default_factory=deque)  # of (time_s, (24, 2) joints px)

    @property
    def size(self) -> float:
        """Pixels, of the longer side."""
        return float(self.place[2:].max())

    def at(self, time_s: float) -> np.ndarray:
        """The predicted place (4,) at a time."""
        return moved(self.place, self.velocity, time_s - self.time_s)

    def seen_at(self, time_s: float) -> np.ndarray:
        """Where the detector should see the person at a time: a place (4,)."""
        there = self.at(time_s) + self.offset
        there[2:] = np.maximum(there[2:], 1.0)
        return there

    def before_the_crowd(self, time_s: float) -> tuple[np.ndarray, float]:
        """The place (4,) at a time, as predicted from when the person was last alone, and how long ago that was."""
        if self.alone is None:
            return self.seen_at(time_s), time_s - self.time_s
        then_s, place, velocity = self.alone
        return moved(place, velocity, time_s - then_s, HIDDEN_SLOWING_S), time_s - then_s

    def note_alone(self, dt_s: float) -> None:
        """No other person overlaps: remembers where this one is and goes, unless something hides a part of it."""
        self.going += (1 - np.exp(-dt_s / GOING_S)) * (self.velocity[:2] - self.going)
        if self.size < WHOLE * self.usual_px:
            self.usual_px += (1 - np.exp(-dt_s / USUAL_S)) * (self.size - self.usual_px)
            return
        share = 1 - np.exp(-dt_s / USUAL_S) if self.usual_px else 1.0
        self.usual_px += share * (self.size - self.usual_px)
        self.alone = self.time_s, self.seen_at(self.time_s), np.concatenate([self.going, np.zeros(2)])

    def body(self, time_s: float) -> np.ndarray | None:
        """The fitted joints (24, 2) px of the frame nearest to a time; None: there is none."""
        if not self.fitted or not self.bodies:
            return None
        return min(self.bodies, key=lambda one: abs(one[0] - time_s))[1]

    def put(self, place: np.ndarray, roll: float, score: float, time_s: float, claim: np.ndarray | None) -> None:
        """Restarts at a detection; a roll of exactly 0 means that the detector does not measure it."""
        self.place, self.time_s, self.offset = place, time_s, np.zeros(4)
        self.velocity = np.zeros(4) if self.alone is None else self.alone[2].copy()
        self.spread = np.diag([DETECTED_NOISE**2, 1.0])
        self.roll, self.score, self.claim = roll or self.roll, score, claim
        self.fitted = self.fresh = True
        self.accepted, self.doubted_s, self.alarmed = False, np.inf, False
        self.patch = np.zeros((0, 0), np.float32)
        self.bodies.clear()

    def lose(self) -> None:
        """No body is fitted any more; the place is remembered."""
        self.place, self.offset = self.seen_at(self.time_s), np.zeros(4)
        self.fitted = self.accepted = self.fresh = False
        self.doubted_s = np.inf
        self.bodies.clear()

    def surprise(self, place: np.ndarray, time_s: float) -> float:
        """How far a place (4,) is from the predicted one, in sizes."""
        return float(np.linalg.norm((place - self.at(time_s))[:2]) / max(place[2:].max(), self.size))

    def measure(self, place: np.ndarray, time_s: float, noise: float) -> None:
        """Takes in a place (4,): one Kalman filter serves all four numbers, its noise in sizes."""
        dt = max(0.0, time_s - self.time_s)
        kept = np.exp(-dt / SLOWING_S)
        step = np.array([[1.0, SLOWING_S * (1 - kept)], [0.0, kept]])
        grown = ACCELERATION * np.array([[dt**3 / 3, dt**2 / 2], [dt**2 / 2, dt]])
        spread = step @ self.spread @ step.T + grown
        gain = spread[:, 0] / (spread[0, 0] + noise**2)
        expected = self.at(time_s)
        self.place = expected + gain[0] * (place - expected)
        self.velocity = kept * self.velocity + gain[1] * (place - expected)
        self.spread = spread - np.outer(gain, spread[0])
        self.time_s = time_s

    def take_body(self, place: np.ndarray, roll: float, confidence: float, depth_m: float, time_s: float) -> None:
        """Takes in a body that is believed."""
        dt = max(0.0, time_s - self.time_s)
        if self.fresh or not self.accepted:  # a detection's box is not a body's: their difference is no motion
            self.place, self.time_s, self.roll, self.depth_m = place, time_s, roll, depth_m
        else:
            self.measure(place, time_s, NOISE)
            self.roll = turned(roll, np.exp(-dt / ROLL_S) * turned(self.roll, -roll))
            self.depth_m += (1 - np.exp(-dt / DEPTH_S)) * (depth_m - self.depth_m)
        self.score, self.accepted, self.doubted_s, self.refused = confidence, True, np.inf, 0

    def remember(self, joints_px: np.ndarray, time_s: float) -> None:
        """Keeps a fitted body, believed or not, for the next detections."""
        self.bodies.append((time_s, joints_px))
        while time_s - self.bodies[0][0] > HISTORY_S:
            self.bodies.popleft()

    def dressed(self, measured: np.ndarray) -> None:
        """Takes in a measurement of the colours (2, 3)."""
        self.colours = worn(self.colours, measured)

    def unlike(self, measured: np.ndarray) -> float:
        """How differently the person is dressed, as a CIELAB distance; 0 where that is not known."""
        return float(np.nan_to_num(difference(self.colours, measured)))


def moved(place: np.ndarray, velocity: np.ndarray, after_s: float, slowing_s: float = SLOWING_S) -> np.ndarray:
    """A place (4,) after some seconds of a motion that slows down."""
    travel_s = slowing_s * (1 - np.exp(-max(0.0, after_s) / slowing_s))
    there = place + travel_s * velocity
    there[2:] = np.clip(there[2:], place[2:] / 2, place[2:] * 2)
    return there


def turned(angle: float, by: float) -> float:
    """The sum of two angles, wrapped to [-pi, pi)."""
    return float((angle + by + np.pi) % (2 * np.pi) - np.pi)
