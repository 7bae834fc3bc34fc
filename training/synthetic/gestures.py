"""Draws parametric poses: standing, walking, running, sitting, crouching, lying, with various arm poses.

All functions draw n poses at a time. Signs are SMPL's for the left side: on a right limb y and z are negated.
"""

import numpy as np
from scipy.spatial.transform import Rotation

STAND, WALK, RUN, SIT, DESK, CROUCH, BEND, KNEEL, FLOOR, LIE, LUNGE, KINDS = range(12)
SHARES = np.array([0.24, 0.15, 0.05, 0.10, 0.12, 0.07, 0.07, 0.04, 0.04, 0.04, 0.08])
HANG, REACH, SIDE, OVERHEAD, HIPS, FOLDED, FACE, TYPING, WAVE, ANY, BEHIND, ARMS = range(12)
ARM_SHARES = np.array([0.27, 0.13, 0.08, 0.08, 0.06, 0.06, 0.06, 0.08, 0.06, 0.10, 0.02])
LEFT_LEG, RIGHT_LEG = (1, 4, 7, 10), (2, 5, 8, 11)
LEFT_ARM, RIGHT_ARM = (13, 16, 18, 20), (14, 17, 19, 21)


def turn(axis: str, angle: np.ndarray) -> Rotation:
    """Rotations about one axis by angles (n,)."""
    return Rotation.from_euler(axis, np.asarray(angle)[:, None])


def random_gestures(rng: np.random.Generator, count: int, desk_only: bool = False) -> tuple[np.ndarray, np.ndarray]:
    """Draws rotations (count, 24, 3, 3), the root upright (unless lying) and facing +z, and their kinds (count,)."""
    kind = np.full(count, DESK) if desk_only else rng.choice(KINDS, count, p=SHARES / SHARES.sum())
    pose = np.tile(np.eye(3), (count, 24, 1, 1))
    phase = rng.uniform(0, 2 * np.pi, count)
    stride = np.where(kind == RUN, rng.uniform(0.5, 0.95, count), rng.uniform(0.15, 0.6, count))
    _legs(rng, pose, kind, phase, stride)
    bend = _torso(rng, pose, kind, phase, stride)
    left, right = _arm_modes(rng, kind)
    _arm(rng, pose, kind, left, phase, stride, 1.0, LEFT_ARM)
    _arm(rng, pose, kind, right, phase, stride, -1.0, RIGHT_ARM)
    _root(rng, pose, kind, bend)
    return pose, kind


def _pick(kind: np.ndarray, default: np.ndarray, **choices: np.ndarray) -> np.ndarray:
    """The choice for each kind, else `default`."""
    out = np.array(default, float)
    for name, values in choices.items():
        out = np.where(kind == globals()[name], values, out)
    return out


def _by_mode(mode: np.ndarray, *, otherwise: np.ndarray | float, **choices: np.ndarray) -> np.ndarray:
    """The choice for each arm mode, else `otherwise`."""
    return np.select([mode == globals()[name] for name in choices], list(choices.values()), otherwise)


def _legs(rng, pose, kind, phase, stride) -> None:
    n = len(kind)
    normal, uniform = lambda m, s: rng.normal(m, s, n), lambda a, b: rng.uniform(a, b, n)
    squat, sit, floor_cross = uniform(0.9, 2.2), uniform(1.25, 1.75), uniform(0, 1) < 0.55
    knee_of_sit = np.where(uniform(0, 1) < 0.8, sit + normal(-0.05, 0.2), uniform(0.3, 2.0))
    forward_leg = np.where(uniform(0, 1) < 0.5, 1.0, -1.0)
    lunge = uniform(0.3, 1.5)
    for side, joints in ((1.0, LEFT_LEG), (-1.0, RIGHT_LEG)):
        leg = phase if side > 0 else phase + np.pi
        front = forward_leg == side
        hip = _pick(
            kind,
            normal(-0.06, 0.1),
            WALK=-stride * np.sin(leg) - 0.08 + normal(0, 0.06),
            RUN=-stride * np.sin(leg) - 0.25 + normal(0, 0.1),
            SIT=-sit + normal(0, 0.12),
            DESK=-sit + normal(0, 0.1),
            CROUCH=-squat + normal(0, 0.15),
            BEND=normal(-0.1, 0.15),
            KNEEL=np.where(front, -uniform(0.9, 1.6), normal(0, 0.15)),
            FLOOR=-uniform(1.2, 1.8),
            LIE=-np.abs(normal(0.15, 0.3)),
            LUNGE=np.where(front, -lunge, uniform(-0.3, 0.5)),
        )
        lift = np.maximum(0, np.cos(leg))
        knee = _pick(
            kind,
            np.abs(normal(0, 0.12)),
            WALK=0.12 + uniform(0.5, 1.0) * lift**1.5,
            RUN=0.25 + uniform(1.0, 1.7) * lift**1.3,
            SIT=knee_of_sit + normal(0, 0.15),
            DESK=knee_of_sit + normal(0, 0.15),
            CROUCH=squat * uniform(1.0, 1.25),
            BEND=np.abs(normal(0.1, 0.2)),
            KNEEL=np.where(front, uniform(1.2, 1.7), uniform(1.5, 2.2)),
            FLOOR=np.where(floor_cross, uniform(1.7, 2.2), np.abs(normal(0.2, 0.3))),
            LIE=np.abs(normal(0.2, 0.4)),
            LUNGE=np.where(front, lunge * uniform(0.8, 1.2), np.abs(normal(0.3, 0.4))),
        )
        spread = _pick(
            kind,
            np.where(uniform(0, 1) < 0.2, uniform(0.1, 0.5), normal(0.06, 0.07)),
            WALK=normal(0.02, 0.04),
            RUN=normal(0.02, 0.04),
            SIT=normal(0.1, 0.18),
            DESK=normal(0.1, 0.15),
            CROUCH=uniform(0, 0.6),
            FLOOR=np.where(floor_cross, uniform(0.4, 0.8), normal(0.1, 0.15)),
        )
        twist = np.where((kind == FLOOR) & floor_cross, uniform(0.5, 1.0), normal(0.1, 0.15))
        knee = np.clip(knee, 0, 2.45)
        ankle = _pick(
            kind,
            normal(0, 0.1) + hip * 0.3,
            WALK=normal(-0.05, 0.2),
            RUN=uniform(-0.3, 0.6),
            SIT=normal(-0.05, 0.25),
            CROUCH=normal(-0.35, 0.15),
            LIE=uniform(0.1, 0.7),
            FLOOR=uniform(0.0, 0.5),
            KNEEL=uniform(-0.2, 0.6),
        )
        turns = (turn("x", hip) * turn("z", side * spread) * turn("y", side * twist), turn("x", knee))
        turns += (turn("x", np.clip(ankle, -0.6, 0.8)) * turn("y", normal(0, 0.1)), turn("x", normal(-0.05, 0.12)))
        for joint, rotation in zip(joints, turns, strict=True):
            pose[:, joint] = rotation.as_matrix()


def _torso(rng, pose, kind, phase, stride) -> np.ndarray:
    """Poses spine, neck and head. Returns the forward bend of the trunk (n,) in radians."""
    n = len(kind)
    normal, uniform = lambda m, s: rng.normal(m, s, n), lambda a, b: rng.uniform(a, b, n)
    bend = _pick(
        kind,
        normal(0.05, 0.12),
        BEND=uniform(0.4, 1.3),
        SIT=normal(0.2, 0.25),
        DESK=normal(0.15, 0.2),
        CROUCH=uniform(0.0, 0.7),
        FLOOR=uniform(0.1, 0.7),
        KNEEL=normal(0.2, 0.25),
        RUN=normal(0.15, 0.1),
    )
    sideways = np.where(uniform(0, 1) < 0.18, normal(0, 0.4), normal(0, 0.08))
    sideways = np.where((kind == WALK) | (kind == RUN), sideways * 0.4, sideways)
    twist = np.where(uniform(0, 1) < 0.25, normal(0, 0.45), normal(0, 0.12))
    twist = np.where((kind == WALK) | (kind == RUN), -0.25 * stride * np.sin(phase) + 0.4 * twist, twist)
    for joint, share in ((3, 0.3), (6, 0.35), (9, 0.35)):
        parts = [share * a + normal(0, 0.03) for a in (bend, twist, sideways)]
        pose[:, joint] = (turn("x", parts[0]) * turn("y", parts[1]) * turn("z", parts[2])).as_matrix()
    look_up = np.where(uniform(0, 1) < 0.2, uniform(-0.5, 0.6), normal(0.05, 0.15)) - 0.35 * np.maximum(bend, 0)
    look_side = np.where(uniform(0, 1) < 0.3, uniform(-0.9, 0.9), normal(0, 0.15))
    for joint, share in ((12, 0.45), (15, 0.55)):
        pose[:, joint] = (
            turn("y", share * look_side) * turn("x", share * look_up) * turn("z", share * normal(0, 0.12))
        ).as_matrix()
    return bend


def _arm_modes(rng, kind) -> tuple[np.ndarray, np.ndarray]:
    """Draws the mode of each arm, (n,) each; half of the right arms copy the left."""
    n = len(kind)
    shares = ARM_SHARES / ARM_SHARES.sum()
    left = rng.choice(ARMS, n, p=shares)
    left = np.where(((kind == WALK) | (kind == RUN)) & (rng.random(n) < 0.8), HANG, left)
    left = np.where((kind == DESK) & (rng.random(n) < 0.55), TYPING, left)
    return left, np.where(rng.random(n) < 0.5, left, rng.choice(ARMS, n, p=shares))


def _arm(rng, pose, kind, mode, phase, stride, side, joints) -> None:
    n = len(kind)
    normal, uniform = lambda m, s: rng.normal(m, s, n), lambda a, b: rng.uniform(a, b, n)
    gait = ((kind == WALK) | (kind == RUN)) & (mode == HANG)
    swing = (stride if side > 0 else -stride) * np.sin(phase) * uniform(0.5, 1.1)
    forward = _by_mode(
        mode,
        HANG=normal(0, 0.1),
        SIDE=normal(0, 0.3),
        OVERHEAD=uniform(-0.2, 0.7),
        WAVE=uniform(0, 0.6),
        ANY=uniform(-0.5, 1.6),
        otherwise=0.0,
    )
    ahead = _by_mode(
        mode,
        HANG=np.where(gait, swing, normal(0.05, 0.2)),
        REACH=uniform(0.5, 1.7),
        HIPS=uniform(-0.35, 0.05),
        FOLDED=uniform(0.25, 0.6),
        FACE=uniform(0.4, 1.1),
        TYPING=uniform(0.15, 0.75),
        BEHIND=uniform(-0.7, -0.2),
        otherwise=0.0,
    )
    lower = _by_mode(
        mode,
        HANG=normal(1.3, 0.1),
        REACH=uniform(1.0, 1.6),
        SIDE=uniform(-0.3, 1.0),
        OVERHEAD=uniform(-1.4, -0.4),
        HIPS=uniform(0.75, 1.05),
        FOLDED=uniform(1.05, 1.35),
        FACE=uniform(1.0, 1.4),
        TYPING=uniform(1.15, 1.5),
        WAVE=uniform(-0.1, 1.0),
        BEHIND=normal(1.25, 0.1),
        otherwise=uniform(-1.25, 1.3),
    )
    twist = _by_mode(
        mode,
        HANG=normal(0.3, 0.3),
        REACH=normal(0.2, 0.5),
        SIDE=normal(-0.3, 0.6),
        OVERHEAD=uniform(-0.8, 0.4),
        HIPS=uniform(1.0, 1.6),
        FOLDED=uniform(1.1, 1.6),
        FACE=uniform(-0.2, 0.7),
        TYPING=uniform(0.1, 0.8),
        WAVE=uniform(-1.7, -0.9),
        BEHIND=uniform(0.6, 1.3),
        otherwise=normal(0, 0.7),
    )
    elbow = _by_mode(
        mode,
        HANG=np.where(kind == RUN, uniform(1.0, 1.9), np.abs(normal(0.25, 0.25))),
        REACH=np.abs(normal(0.2, 0.5)),
        SIDE=np.abs(normal(0.2, 0.5)),
        OVERHEAD=uniform(0, 1.7),
        HIPS=uniform(1.4, 1.95),
        FOLDED=uniform(1.4, 2.0),
        FACE=uniform(2.0, 2.5),
        TYPING=uniform(1.0, 1.8),
        WAVE=uniform(0.5, 2.2),
        BEHIND=uniform(0.4, 1.5),
        otherwise=np.where(uniform(0, 1) < 0.3, uniform(0, 0.3), uniform(0.1, 2.3)),
    )
    shrug = np.clip(0.28 * (1.25 - lower), -0.05, 0.5) + normal(0, 0.05)
    collar, shoulder, fore, wrist = joints
    pose[:, collar] = (turn("y", -side * (0.12 * ahead + normal(0, 0.06))) * turn("z", side * shrug)).as_matrix()
    upper = turn("y", -side * forward) * turn("x", -ahead) * turn("z", -side * (lower + shrug)) * turn("x", twist)
    pose[:, shoulder] = upper.as_matrix()
    pronation = normal(0, 0.5)  # shared by forearm and hand
    pose[:, fore] = (turn("y", -side * np.clip(elbow, 0, 2.5)) * turn("x", 0.5 * pronation)).as_matrix()
    hand = turn("x", 0.5 * pronation) * turn("z", side * normal(0, 0.3)) * turn("y", side * normal(0, 0.2))
    pose[:, wrist] = hand.as_matrix()


def _root(rng, pose, kind, bend) -> None:
    n = len(kind)
    lean = _pick(
        kind,
        rng.normal(0.0, 0.05, n),
        BEND=0.5 * bend + rng.normal(0.1, 0.15, n),
        CROUCH=rng.uniform(0, 0.5, n),
        RUN=rng.uniform(0, 0.25, n),
        SIT=rng.normal(-0.1, 0.15, n),
        DESK=rng.normal(0, 0.12, n),
        FLOOR=rng.normal(-0.15, 0.2, n),
        LUNGE=rng.normal(0.1, 0.15, n),
    )
    root = turn("x", lean) * turn("z", rng.normal(0, 0.05, n))
    down = np.where(rng.random(n) < 0.5, -np.pi / 2, np.pi / 2) + rng.normal(0, 0.1, n)
    lying = turn("x", down) * turn("y", np.where(rng.random(n) < 0.3, rng.uniform(-1.6, 1.6, n), rng.normal(0, 0.2, n)))
    pose[:, 0] = np.where((kind == LIE)[:, None, None], lying.as_matrix(), root.as_matrix())
