"""Moves people through a studio: recorded strides along a path, gestures where a person stops, and a hug."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.interpolate import PchipInterpolator
from scipy.ndimage import gaussian_filter1d

from refit_rt.body.smpl import Body
from refit_rt.errors import UserError
from training.synthetic import motion
from training.synthetic.long_clip import mixed
from training.synthetic.motion import Motion, about_y
from training.synthetic.people import SOLE_M

RATE = 60.0  # samples per second of a movement
WALKS = ("007_01", "007_03", "006_01", "002_01", "005_01", "007_08", "007_04")  # straight walks of CMU's database
STANDS = ("002_10", "002_06")  # people on one spot whose arms are busy
SHORTEST, LONGEST = 0.8, 1.55  # seconds of a stride: two steps
SEAM_FRAMES = 6  # of the recording, over which the end of a stride becomes its beginning
WALKING_MPS = 0.45  # slower, the legs are between standing and walking
LEGS = np.array([1, 2, 4, 5, 7, 8, 10, 11])
PATH_S, HEADING_S, GROUND_S = 0.12, 0.14, 0.03  # sd of the filters of path, heading and height
MOVING_MPS = 0.3  # slower, the direction of travel does not decide where a person faces


@dataclass(frozen=True, slots=True, eq=False)
class Movement:
    """One person's poses and path in the world (y up, floor y = 0), sampled at RATE."""

    betas: np.ndarray  # (10,) float32
    rotations: np.ndarray  # (samples, 24, 3, 3), the root in the world
    pelvis: np.ndarray  # (samples, 3) metres: place of the pelvis joint

    def at(self, times_s: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Rotations (n, 24, 3, 3) and pelvis (n, 3) at times (n,); the ends are held."""
        rows = np.clip(times_s * RATE, 0, len(self.pelvis) - 1)
        low = np.minimum(rows.astype(int), len(self.pelvis) - 2)
        share = rows - low
        rotations = mixed(self.rotations[low], self.rotations[low + 1], share)
        return rotations, self.pelvis[low] + share[:, None] * (self.pelvis[low + 1] - self.pelvis[low])


@dataclass(frozen=True, slots=True, eq=False)
class Route:
    """Where a person is when, and where the person looks when the way does not say it."""

    times_s: np.ndarray  # (k,) ascending
    places: np.ndarray  # (k, 2) x and z, metres
    facings: Sequence[tuple[float, float, float]] = ()  # from, to (seconds), heading (radians; 0 is +z, 90 degrees +x)

    def sampled(self, times_s: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The path (n, 2) metres and the heading (n,) radians, both smooth, at evenly spaced times (n,)."""
        step = times_s[1] - times_s[0]
        path = PchipInterpolator(self.times_s, self.places)(np.clip(times_s, self.times_s[0], self.times_s[-1]))
        path = gaussian_filter1d(path, PATH_S / step, axis=0, mode="nearest")
        velocity = np.gradient(path, step, axis=0)
        heading = np.arctan2(velocity[:, 0], velocity[:, 1])
        known = np.linalg.norm(velocity, axis=1) > MOVING_MPS
        for begin, end, angle in self.facings:
            inside = (times_s >= begin) & (times_s <= end)
            heading[inside], known[inside] = angle, True
        if not known.any():
            return path, np.zeros(len(times_s))
        heading = np.interp(times_s, times_s[known], np.unwrap(heading[known]))
        return path, gaussian_filter1d(heading, HEADING_S / step, mode="nearest")


@dataclass(frozen=True, slots=True, eq=False)
class Stride:
    """Two steps of a recorded walk that can be repeated without an end."""

    recorded: Motion
    clip: int
    begin: int  # its first frame in the clip
    frames: int

    @property
    def way(self) -> np.ndarray:
        """(2,) metres from the first frame to the last, x and z."""
        row = int(self.recorded.start[self.clip]) + self.begin
        return (self.recorded.trans[row + self.frames] - self.recorded.trans[row])[[0, 2]].astype(float)

    def at(self, phase: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Rotations (n, 24, 3, 3) towards +z, and the sway (n, 2) of the pelvis about the even way, at phases (n,)."""
        share = phase % 1.0
        first, second = self._raw(share), self._raw(share - 1)
        seam = np.clip((share * self.frames - self.frames + SEAM_FRAMES) / SEAM_FRAMES, 0, 1)
        seam = seam * seam * (3 - 2 * seam)
        sway = first[1] + seam[:, None] * (second[1] - first[1])
        return mixed(first[0], second[0], seam), sway

    def _raw(self, share: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        start, length = int(self.recorded.start[self.clip]), int(self.recorded.length[self.clip])
        times = np.clip(self.begin + share * self.frames, 0, length - 1)
        rotations, places = motion.at_times(self.recorded, start, length, times)
        turn = about_y(np.array(-np.arctan2(*self.way)))
        sway = places[:, [0, 2]] - self.recorded.trans[start + self.begin, [0, 2]] - share[:, None] * self.way
        rotations[:, 0] = turn @ rotations[:, 0]
        return rotations, sway @ turn[np.ix_([0, 2], [0, 2])].T


def find_stride(recorded: Motion, name: str) -> Stride:
    """The two steps of a recorded walk whose end is most like their beginning. Raises UserError."""
    clip = _clip_of(recorded, name)
    start, length = int(recorded.start[clip]), int(recorded.length[clip])
    poses = recorded.rotations[start : start + length, 1:].reshape(length, -1)
    found: list[tuple[float, int, int]] = []
    for frames in range(round(SHORTEST * recorded.fps), round(LONGEST * recorded.fps)):
        for begin in range(SEAM_FRAMES, length - frames - 3):
            window = slice(begin - 3, begin + 4)
            gap = np.linalg.norm(poses[window] - poses[window.start + frames : window.stop + frames])
            found.append((float(gap), begin, frames))
    if not found:
        raise UserError(f"the recorded clip {name} is too short for two steps. Give CMU's with --motion")
    _, begin, frames = min(found)
    return Stride(recorded, clip, begin, frames)


def _clip_of(recorded: Motion, name: str) -> int:
    names = list(recorded.name)
    if name not in names:
        raise UserError(f"the recorded motion has no clip {name}. Give CMU's with --motion; see training/README.md")
    return names.index(name)


def moved(
    body: Body, betas: np.ndarray, route: Route, seconds: float, stride: Stride, stand: str, begin_s: float
) -> Movement:
    """A person with betas (10,) who follows a route for some seconds.

    stand: the recorded clip, from `begin_s` on, that moves the upper body of the person who stands still.
    """
    times = np.arange(round(seconds * RATE) + 1) / RATE
    path, heading = route.sampled(times)
    ahead = np.stack([np.sin(heading), np.cos(heading)], 1)
    speed = (np.gradient(path, 1 / RATE, axis=0) * ahead).sum(1)
    size = leg_m(body, betas) / leg_m(body, np.zeros(10, np.float32))
    phase = np.cumsum(speed) / RATE / (np.linalg.norm(stride.way) * size)
    walk, sway = stride.at(phase)
    share = np.clip(np.abs(speed) / WALKING_MPS, 0, 1)
    share = share * share * (3 - 2 * share)
    rotations = mixed(_standing(stride.recorded, stand, begin_s, times), walk, share)
    rotations[:, 0] = about_y(heading) @ rotations[:, 0]
    shift = (about_y(heading)[:, [0, 2]][:, :, [0, 2]] @ sway[..., None])[..., 0] * (share * size)[:, None]
    pelvis = np.insert(path + shift, 1, 0.0, axis=1)
    return grounded(body, Movement(betas, rotations, pelvis))


def _standing(recorded: Motion, name: str, begin_s: float, times: np.ndarray) -> np.ndarray:
    """Rotations (n, 24, 3, 3) towards +z of a person on straight legs whose upper body is recorded."""
    clip = _clip_of(recorded, name)
    length = int(recorded.length[clip])
    span = (times + begin_s) * recorded.fps
    span = np.abs((span + length - 1) % (2 * (length - 1)) - (length - 1))  # to and fro
    rotations, _ = motion.at_times(recorded, int(recorded.start[clip]), length, span)
    rotations[:, LEGS] = np.eye(3)
    rotations[:, 0] = np.eye(3)
    return rotations


def leg_m(body: Body, betas: np.ndarray) -> float:
    """The height of the hip above the ankle in the rest pose."""
    rest = body.joint_template + body.joint_shape_dirs @ betas
    return float(rest[1, 1] - rest[7, 1])


def grounded(body: Body, movement: Movement) -> Movement:
    """The movement at the height at which its lowest point stands on the floor, with the soles of shoes under it."""
    pelvis = body.rest_pelvis(movement.betas)
    lowest = [body.vertices(rotations, movement.betas)[:, 1].min() for rotations in movement.rotations]
    height = pelvis[1] - np.array(lowest, float)
    places = movement.pelvis.copy()
    places[:, 1] = gaussian_filter1d(height, GROUND_S * RATE, mode="nearest") + SOLE_M
    return Movement(movement.betas, movement.rotations, places)
