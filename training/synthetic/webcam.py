"""Poses people in front of a webcam: they sit or stand, talk with their hands, and hold objects up.

Recordings have few such people, and `gestures` moves arms by angles. This module places the hands where a talker's
hands are, and the arms follow. Poses face +z, like those of `gestures`.
"""

from dataclasses import dataclass

import numpy as np
from scipy.spatial.transform import Rotation

from refit_rt.body.smpl import Body
from training.synthetic import furniture, gestures, motion
from training.synthetic.furniture import Cuboid, Things
from training.synthetic.gestures import turn
from training.synthetic.textures import Textures

BOTH, ONE, HOLD_TWO, HOLD_ONE = range(4)  # use of the hands: two talk, one talks, two hold an object, one holds it
MODE_SHARES = np.array([0.4, 0.25, 0.18, 0.17])
KINDS, KIND_SHARES = np.array([gestures.DESK, gestures.SIT, gestures.STAND]), np.array([0.65, 0.1, 0.25])
HAND_M = 0.09  # from the wrist to the middle of a held object
KNOTS_S = 0.3, 1.2  # between two places of a talking hand
MOST_BEND_RAD = 2.5  # of an elbow, as in `gestures`
UP = np.array([0.0, 1.0, 0.0])


@dataclass(frozen=True, slots=True, eq=False)
class Talk:
    """A talking person for some frames."""

    rotations: np.ndarray  # (moments, 24, 3, 3) float64
    kind: int  # of `gestures`
    mode: int
    left: bool  # whether the single hand that talks or holds is the left one


def random_talk(rng: np.random.Generator, moments: int, fps: float, body: Body) -> Talk:
    """Draws a talk of `moments` frames at `fps` (any for one frame); hands wander between random places."""
    mode, left = int(rng.choice(4, p=MODE_SHARES)), bool(rng.random() < 0.5)
    knots = 1 if moments == 1 else int(np.ceil((moments - 1) / fps / KNOTS_S[0])) + 2
    for _ in range(8):
        base, kind = _base(rng)
        poses = np.repeat(base[None], knots, 0)
        poses = poses @ Rotation.from_rotvec(rng.normal(0, 0.03, (knots * 24, 3))).as_matrix().reshape(knots, 24, 3, 3)
        _put_hands(rng, poses, mode, left, body)
        if not motion.through_itself(body, poses).any():
            break
    if moments == 1:
        return Talk(poses, kind, mode, left)
    times = np.concatenate([[0], np.cumsum(rng.uniform(*KNOTS_S, knots - 1))])
    begin = rng.uniform(0, times[1])  # between two places, because hands rest at the places
    return Talk(motion.between(times, poses, begin + np.arange(moments) / fps), kind, mode, left)


def _base(rng: np.random.Generator) -> tuple[np.ndarray, int]:
    """Draws a pose (24, 3, 3) of one of KINDS, with any arms, and its kind."""
    kind = int(rng.choice(KINDS, p=KIND_SHARES))
    while True:
        poses, kinds = gestures.random_gestures(rng, 16, desk_only=kind == gestures.DESK)
        if (kinds == kind).any():
            return poses[kinds == kind][0], kind


def _put_hands(rng: np.random.Generator, poses: np.ndarray, mode: int, left: bool, body: Body) -> None:
    """Moves the arms of poses (n, 24, 3, 3) so that the wrists are where the mode puts them, slightly varied."""
    n = len(poses)
    if mode == HOLD_TWO:
        middle = np.array([rng.normal(0, 0.08), rng.uniform(-0.35, 0.12), rng.uniform(0.22, 0.45)])
        half = rng.uniform(0.09, 0.25)
        across = turn("y", rng.normal(0, 0.3, n)) * turn("z", rng.normal(0, 0.15, n))
        ends = across.apply(np.array([half, 0.0, 0.0]))
        middles = middle + rng.normal(0, 0.04, (n, 3))
        for side, joints in ((1.0, gestures.LEFT_ARM), (-1.0, gestures.RIGHT_ARM)):
            place = middles + side * ends - [side * _half_shoulders(body), 0, 0]  # from the shoulder
            _reach(rng, poses, place, side, joints, body)
        return
    alike = rng.random() < 0.5
    first, steps = _place(rng), rng.normal(0, 0.09, (n, 3))
    for side, joints in ((1.0, gestures.LEFT_ARM), (-1.0, gestures.RIGHT_ARM)):
        alone = mode in (ONE, HOLD_ONE)
        if alone and (side > 0) != left and not (mode == HOLD_ONE and rng.random() < 0.4):
            continue  # that arm stays as it is
        at, moved = (first, steps) if alike or alone else (_place(rng), rng.normal(0, 0.09, (n, 3)))
        place = at + moved + rng.normal(0, 0.03, 3)
        _reach(rng, poses, place * [side, 1, 1], side, joints, body)


def _place(rng: np.random.Generator) -> np.ndarray:
    """Draws the place of a talker's wrist in metres outward, up and ahead of the shoulder."""
    return np.array([rng.uniform(-0.2, 0.28), rng.uniform(-0.42, 0.22), rng.uniform(0.12, 0.48)])


def _half_shoulders(body: Body) -> float:
    return float(body.joint_template[16, 0] - body.joint_template[17, 0]) / 2


def _reach(rng: np.random.Generator, poses: np.ndarray, place: np.ndarray, side: float, joints, body: Body) -> None:
    """Two-bone inverse kinematics: the wrist goes to `place` (n, 3), metres from the shoulder in the chest's frame.

    The elbow points roughly down and out. An elbow bends about its own y axis, so the plane of the arm determines the
    twist of the upper arm.
    """
    collar, shoulder, elbow, wrist = joints
    n, rest = len(poses), body.joint_template
    upper = float(np.linalg.norm(rest[elbow] - rest[shoulder]))
    fore = float(np.linalg.norm(rest[wrist] - rest[elbow]))
    far = np.linalg.norm(place, axis=1, keepdims=True)
    least = np.sqrt(upper**2 + fore**2 + 2 * upper * fore * np.cos(MOST_BEND_RAD))
    length = far.clip(least, (upper + fore) * 0.985)
    aim = place / far.clip(1e-6)
    pole = np.array([side * rng.uniform(0.0, 1.0), -1.0, rng.uniform(-0.5, 0.2)]) + rng.normal(0, 0.08, (n, 3))
    pole = pole - (pole * aim).sum(1, keepdims=True) * aim
    pole = pole / np.linalg.norm(pole, axis=1, keepdims=True).clip(1e-6)
    along = (upper**2 + length**2 - fore**2) / (2 * length)
    bone = (along * aim + np.sqrt((upper**2 - along**2).clip(0)) * pole) / upper  # unit, shoulder to elbow
    lower = (length * aim - upper * bone) / fore
    bend = np.arccos((bone * lower).sum(1).clip(-1, 1))
    ahead = lower - (bone * lower).sum(1, keepdims=True) * bone
    ahead = ahead / np.linalg.norm(ahead, axis=1, keepdims=True).clip(1e-6)
    x = side * bone
    frame = np.stack([x, np.cross(ahead, x), ahead], -1)  # the upper arm's, in the chest's
    lift = np.clip(0.4 * (place[:, 1] + 0.25), -0.05, 0.3) + rng.normal(0, 0.05)
    own = (turn("y", np.full(n, rng.normal(0, 0.06))) * turn("z", side * lift)).as_matrix()
    pronation = rng.normal(0, 0.6) + rng.normal(0, 0.15, n)  # shared by forearm and hand
    poses[:, collar], poses[:, shoulder] = own, own.transpose(0, 2, 1) @ frame
    poses[:, elbow] = (turn("y", -side * bend) * turn("x", 0.5 * pronation)).as_matrix()
    hand = turn("x", 0.5 * pronation) * turn("z", rng.normal(0, 0.3, n)) * turn("y", rng.normal(0, 0.2, n))
    poses[:, wrist] = hand.as_matrix()


@dataclass(frozen=True, slots=True, eq=False)
class Held:
    """A held object: its shape and its orientation."""

    things: Things  # about its own origin
    two: bool  # held between two hands
    left: bool
    turn: np.ndarray  # (3, 3): relative to the line between two hands, else to the world

    def at(self, joints: np.ndarray) -> Things:
        """The object in the hands of a body with joints (24, 3) world."""
        if self.two:
            across = joints[20] - joints[21]
            x = across / max(float(np.linalg.norm(across)), 1e-6)
            y = UP - (UP @ x) * x
            y = y / max(float(np.linalg.norm(y)), 1e-6)
            axes, place = np.stack([x, y, np.cross(x, y)], -1), (joints[20] + joints[21]) / 2
            fore = (joints[20:22] - joints[18:20]).mean(0)
        else:
            wrist, elbow = (20, 18) if self.left else (21, 19)
            axes, place, fore = np.eye(3), joints[wrist], joints[wrist] - joints[elbow]
        place = place + HAND_M * fore / max(float(np.linalg.norm(fore)), 1e-6)
        return furniture.moved(self.things, axes @ self.turn, place)


def random_held(rng: np.random.Generator, textures: Textures, talk: Talk, joints: np.ndarray) -> Held | None:
    """Draws the object that a talker with joints (24, 3) in the first frame holds; None: nothing."""
    if talk.mode not in (HOLD_TWO, HOLD_ONE):
        return None
    colour, texture = furniture.paint(rng, textures)
    tilt = Rotation.from_euler("x", rng.uniform(-0.7, 0.4))
    if talk.mode == HOLD_TWO:  # a board, a book, a tablet, a box
        half = float(np.linalg.norm(joints[20] - joints[21])) / 2
        thick = rng.uniform(0.003, 0.02) if rng.random() < 0.75 else rng.uniform(0.04, 0.12)
        size = (max(half - 0.01, 0.05), rng.uniform(0.07, 0.2), thick)
        parts = [Cuboid((0, rng.uniform(-0.03, 0.06), 0), size, colour, texture)]
    elif rng.random() < 0.5:  # a phone, a card, a remote control
        parts = [Cuboid((0, 0.02, 0), (rng.uniform(0.03, 0.06), rng.uniform(0.05, 0.1), 0.005), colour, texture)]
        tilt = Rotation.from_euler("y", rng.uniform(-3, 3)) * tilt
    else:  # a cup, a bottle, a pen
        wide = rng.uniform(0.006, 0.045)
        parts = [Cuboid((0, 0.02, 0), (wide, rng.uniform(0.04, 0.12), wide), colour, texture)]
        tilt = Rotation.from_euler("y", rng.uniform(-3, 3)) * Rotation.from_euler("x", rng.normal(0, 0.3))
    things = furniture.assembled([(parts, np.zeros(3), 0.0)])
    return Held(things, talk.mode == HOLD_TWO, talk.left, tilt.as_matrix())
