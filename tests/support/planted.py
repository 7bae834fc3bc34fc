"""The arithmetic of `fit.feet_kernels` in plain numpy and scipy: slow, readable, and the truth of their tests."""

import numpy as np
from scipy.spatial.transform import Rotation

from refit_rt.fit import feet_kernels as kernel


def weigh(points, dt_s, axes, noise, speed_away, heights, height_noise, last, speed, odds):
    """The forward algorithm of a hidden Markov model of two states: → the new speed (4, 3) and odds (4,)."""
    speed = speed + (1 - np.exp(-dt_s / kernel.STEADY_S)) * ((points - last) / dt_s - speed)
    still, away = noise, np.hypot(noise, speed_away)
    evidence = (log_normal(speed @ axes.T, 0, still) - log_normal(speed @ axes.T, 0, away)).sum(1)
    known = height_noise < 1
    width = np.where(known, height_noise, 1.0)
    low = log_normal(heights, 0, width)
    high = log_normal(heights, kernel.SWING_HEIGHT_M, np.hypot(width, kernel.SWING_HEIGHT_M))
    evidence += np.where(known, low - high, 0)
    stood = 1 / (1 + np.exp(-odds))
    lands, lifts = 1 - np.exp(-dt_s / kernel.SWINGING_S), 1 - np.exp(-dt_s / kernel.STANDING_S)
    stands = stood * (1 - lifts) + (1 - stood) * lands
    odds = np.log(stands / (1 - stands)) + min(1, dt_s / kernel.EVIDENCE_S) * evidence
    return speed, np.clip(odds, -kernel.MOST_ODDS, kernel.MOST_ODDS)


def log_normal(x, mean, deviation):
    """The logarithm of a normal density, without its constant."""
    return -np.log(deviation) - ((x - mean) / deviation) ** 2 / 2


class Filter:
    """A Kalman filter of nine numbers: the error of a body's place, and where the left and the right foot stand.

    The covariance (9, 9) is made of the kernel's, which has one matrix (3, 3) per axis of the line of sight.
    """

    def __init__(self, place, spread, axes):
        self.state = place.reshape(9).copy()
        self.covariance = np.einsum("ist,ia,ib->satb", spread, axes, axes).reshape(9, 9)

    def predict(self, dt_s, axes, deviation, stands):
        """The error of the place is an Ornstein-Uhlenbeck process, a foot that stands creeps a little."""
        fade = np.exp(-dt_s / kernel.FADES_S)
        step = np.diag(np.r_[np.full(3, fade), np.ones(6)])
        noise = np.zeros((9, 9))
        noise[:3, :3] = (1 - fade**2) * axes.T @ np.diag(deviation**2) @ axes
        for foot in np.flatnonzero(stands):
            at = slice(3 + 3 * foot, 6 + 3 * foot)
            noise[at, at] = kernel.MOVES_M**2 * dt_s * np.eye(3)
        self.state = step @ self.state
        self.covariance = step @ self.covariance @ step.T + noise

    def observe(self, dt_s, foot, seen):
        """A foot is seen at its place plus the error of the body's place."""
        sees = np.zeros((3, 9))
        sees[:, :3] = sees[:, 3 + 3 * foot : 6 + 3 * foot] = np.eye(3)
        noise = kernel.FOOT_NOISE_M**2 * (1 + 2 * kernel.FOOT_S / dt_s) * np.eye(3)
        gain = self.covariance @ sees.T @ np.linalg.inv(sees @ self.covariance @ sees.T + noise)
        self.state = self.state + gain @ (seen - sees @ self.state)
        self.covariance = self.covariance - gain @ sees @ self.covariance

    def spread(self, axes):
        """The covariance as the kernel has it."""
        return np.einsum("satb,ia,ib->ist", self.covariance.reshape(3, 3, 3, 3), axes, axes)


def bend(rotations, joints, hip, move):
    """The same rotations (24, 3, 3), the leg turned so that its ankle moves by move (3,) and the foot does not turn."""
    knee, ankle = hip + 3, hip + 6
    thigh, shank = joints[knee] - joints[hip], joints[ankle] - joints[knee]
    goal = thigh + shank + move
    upper, lower, reach = np.linalg.norm(thigh), np.linalg.norm(shank), np.linalg.norm(thigh + shank)
    axis = np.cross(thigh, shank)
    most = kernel.BEND * np.linalg.norm(axis) / reach
    wanted = min(np.clip(np.linalg.norm(goal), reach - most, reach + most), 0.9999 * (upper + lower))

    def flexion(length):
        return np.arccos((length**2 - upper**2 - lower**2) / (2 * upper * lower))

    extend = Rotation.from_rotvec((flexion(wanted) - flexion(reach)) * axis / np.linalg.norm(axis)).as_matrix()
    turn = Rotation.align_vectors([goal], [thigh + extend @ shank])[0].as_matrix()
    upper_turn = rotations[0] @ rotations[hip]
    lower_turn = upper_turn @ rotations[knee]
    foot_turn = lower_turn @ rotations[ankle]
    out = rotations.copy()
    out[hip] = rotations[0].T @ turn @ upper_turn
    out[knee] = (turn @ upper_turn).T @ turn @ extend @ lower_turn
    out[ankle] = (turn @ extend @ lower_turn).T @ foot_turn
    return out
