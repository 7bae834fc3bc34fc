"""Retargets the movement of humanoid rigs to SMPL's rotations: joints by name, bones along the rig's bones."""

import re

import numpy as np
from scipy.spatial.transform import Rotation

from refit_rt.body.smpl import JOINT_NAMES, PARENTS, Body
from refit_rt.errors import UserError
from training.synthetic.bvh import Skeleton, world_poses

# Names of a joint in known rigs, lower-case letters and digits only, "~" for the side: CMU and its cgspeed
# conversions, MakeHuman, Mixamo, Rokoko, SMPL. The first that a rig has wins, so that "LeftShoulder" is the upper arm
# where there is no "LeftArm", and "L_Foot" the ankle where there is no "L_Ankle".
NAMES = {
    "pelvis": ("hips", "hip", "pelvis", "root", "hips00"),
    "head": ("head", "head0"),
    "hip": ("upleg", "thigh", "upperleg", "upperleg01", "hip"),
    "knee": ("knee", "shin", "calf", "lowerleg", "lowerleg01", "leg"),
    "ankle": ("ankle", "foot"),
    "shoulder": ("arm", "upperarm", "uparm", "shldr", "upperarm01", "shoulder"),
    "elbow": ("forearm", "elbow", "lowerarm", "lowerarm01"),
    "wrist": ("wrist", "hand"),
}
SIDED = ("hip", "knee", "ankle", "shoulder", "elbow", "wrist")
TOES = ("toebase", "toe", "toes", "toe21", "foot", "ball")  # optional: rigs without them are accepted
LIMBS = (("hip", "knee"), ("knee", "ankle"), ("shoulder", "elbow"), ("elbow", "wrist"))
# Feet at rest are flat and need no correction, except in rigs whose legs rest wide apart (CMU: 20 degrees): there the
# feet turn with the legs.
SPLAYED = np.radians(12)
COLLAR_SHARE = 0.17  # of the turn from T-pose to A-pose is the collar bone's: 8 of 48 degrees, training/body/tpose.py


def find_joints(rig: Skeleton, path: str) -> dict[str, int]:
    """Finds SMPL's joints among the rig's: "l_knee" -> index. Feet are optional. Raises UserError naming the others."""
    at = {
        re.sub(r"[^a-z0-9]", "", name.lower().split(":")[-1].removeprefix("mixamorig")): i
        for i, name in enumerate(rig.names)
    }
    found: dict[str, int] = {}
    for joint, names in NAMES.items():
        for side, words in (("l_", ("left", "l")), ("r_", ("right", "r"))) if joint in SIDED else (("", ("",)),):
            spelled = [form for name in names for word in words for form in (word + name, name + word)]
            match = next((at[name] for name in spelled if name in at), None)
            if match is not None:
                found[side + joint] = match
    wanted = [side + joint for joint in NAMES for side in (("l_", "r_") if joint in SIDED else ("",))]
    missing = [joint for joint in wanted if joint not in found]
    if missing:
        seen = f"{', '.join(rig.names[:8])}, ..."
        cure = "Rename the joints as in CMU, Mixamo, MakeHuman or SMPL"
        raise UserError(f"{path}: this rig has no joint named like {', '.join(missing)} among {seen} {cure}")
    for side, words in (("l_", ("left", "l")), ("r_", ("right", "r"))):
        spelled = [form for name in TOES for word in words for form in (word + name, name + word)]
        toe = next((at[name] for name in spelled if name in at and at[name] != found[side + "ankle"]), None)
        if toe is not None:
            found[side + "foot"] = toe
    return found


def retargeted(rig: Skeleton, body: Body, path: str) -> tuple[np.ndarray, np.ndarray]:
    """Moves the body like the rig: rotations (frame, 24, 3, 3), each relative to its parent, and the pelvis (frame, 3)
    in metres, y up, with the heading of the file if the rig's rest pose faces +z.

    Every joint gets the rig's rotation from its rest pose, and limbs also the rotation from the body's T-pose to the
    rig's rest pose. The unit follows from the length of the legs. Raises UserError for unsuitable rigs.
    """
    found = find_joints(rig, path)
    rest = rig.rest
    axes = _body_axes(rest, found, path)
    turn, place = world_poses(rig, found["pelvis"])
    turn = axes @ turn @ axes.T
    world = _trunk(turn, rig, found, path)
    rest, place, own = rest @ axes.T, place @ axes.T, body.joint_template.astype(np.float64)
    for side in ("l_", "r_"):
        _limbs(world, side, turn, place, rest, own, found)
        above = rig.parents[found[side + "shoulder"]]
        lowered = Rotation.from_matrix(_rest_turn(own, rest, found, side, "shoulder", "elbow")).as_rotvec()
        world[side + "collar"] = turn[:, above] @ Rotation.from_rotvec(COLLAR_SHARE * lowered).as_matrix()
    everything = np.stack([world[name] for name in JOINT_NAMES], 1)
    local = everything.copy()
    for joint in range(1, 24):
        local[:, joint] = everything[:, PARENTS[joint]].swapaxes(-1, -2) @ everything[:, joint]
    scale = _leg_length(own, {name: i for i, name in enumerate(JOINT_NAMES)}) / _leg_length(rest, found)
    return local, place[:, found["pelvis"]] * scale


def _limbs(world: dict[str, np.ndarray], side: str, turn, place, rest, own, found: dict[str, int]) -> None:
    """Writes world rotations (frame, 3, 3) of one side's limbs, hand and foot into `world`.

    turn (frame, joint, 3, 3), place (frame, joint, 3), rest (joint, 3): the rig's; own (24, 3): the body's T-pose.
    """
    for joint, end in LIMBS:
        correction = _rest_turn(own, rest, found, side, joint, end)
        follows = turn[:, found[side + joint]] @ correction
        bone = own[JOINT_NAMES.index(side + end)] - own[JOINT_NAMES.index(side + joint)]
        seen = place[:, found[side + end]] - place[:, found[side + joint]]
        world[side + joint] = _shortest_turn(follows @ bone, seen) @ follows  # some rigs bend within a limb
        if joint == "elbow":
            world[side + "wrist"] = world[side + "hand"] = turn[:, found[side + "wrist"]] @ correction
    splay = _rest_turn(own, rest, found, side, "hip", "ankle")
    feet = splay if Rotation.from_matrix(splay).magnitude() > SPLAYED else np.eye(3)
    ankle = found[side + "ankle"]
    world[side + "ankle"] = turn[:, ankle] @ feet
    world[side + "foot"] = turn[:, found.get(side + "foot", ankle)] @ feet


def _trunk(turn: np.ndarray, rig: Skeleton, found: dict[str, int], path: str) -> dict[str, np.ndarray]:
    """World rotations (frame, 3, 3) of pelvis, spine, neck and head, for any number of vertebrae in the rig."""
    lines = {joint: _ancestors(rig, found[joint]) for joint in ("head", "l_shoulder", "r_shoulder")}
    chest = next((j for j in lines["head"] if j in lines["l_shoulder"] and j in lines["r_shoulder"]), -1)
    if chest not in lines["head"] or found["pelvis"] not in _ancestors(rig, chest):
        raise UserError(f"{path}: head and arms are not joined to a spine above the pelvis. Give a humanoid rig")
    spine = [found["pelvis"], *_between(rig, found["pelvis"], chest), chest]
    neck = [chest, *_between(rig, chest, found["head"]), found["head"]]
    world = {"pelvis": turn[:, found["pelvis"]], "head": turn[:, found["head"]]}
    for k in (1, 2, 3):
        world[f"spine{k}"] = _along(turn, spine, k * (len(spine) - 1) / 3)
    world["neck"] = _along(turn, neck, (len(neck) - 1) / 2)
    return world


def _ancestors(rig: Skeleton, joint: int) -> list[int]:
    """The ancestors of a joint, the nearest first."""
    above = []
    while (joint := rig.parents[joint]) >= 0:
        above.append(joint)
    return above


def _between(rig: Skeleton, top: int, joint: int) -> list[int]:
    """The joints strictly between an ancestor and a joint, from the ancestor on."""
    above = _ancestors(rig, joint)
    return above[: above.index(top)][::-1]


def _along(turn: np.ndarray, chain: list[int], place: float) -> np.ndarray:
    """The rotation (frame, 3, 3) at a place along a chain of joints: 0 is the first, 0.5 half way to the second."""
    low = min(int(place + 1e-9), len(chain) - 1)
    share = place - low
    if share < 1e-9:
        return turn[:, chain[low]]
    step = Rotation.from_matrix(turn[:, chain[low]].swapaxes(-1, -2) @ turn[:, chain[low + 1]])
    return turn[:, chain[low]] @ Rotation.from_rotvec(share * step.as_rotvec()).as_matrix()


def _body_axes(rest: np.ndarray, found: dict[str, int], path: str) -> np.ndarray:
    """The rotation (3, 3), in quarter turns, from the file's axes to left, up, forward, found from the rest pose."""
    up = rest[found["head"]] - (rest[found["l_ankle"]] + rest[found["r_ankle"]]) / 2
    left = sum(rest[found["l_" + joint]] - rest[found["r_" + joint]] for joint in ("hip", "shoulder"))
    height = np.abs(up).max()
    up_axis = np.where(np.abs(up) == height, np.sign(up), 0)
    left = left * (up_axis == 0)
    left_axis = np.where(np.abs(left) == np.abs(left).max(), np.sign(left), 0)
    order = [rest[found[side + joint]] @ up_axis for side in ("l_", "r_") for joint in ("ankle", "knee", "hip")]
    steps = np.diff(np.array(order).reshape(2, 3), axis=1)
    standing = (steps > 0.1 * height).all() and np.abs(left).max() > 0.05 * height
    if not standing or np.abs(up_axis).sum() != 1 or np.abs(left_axis).sum() != 1:
        raise UserError(
            f"{path}: with all rotations zero this rig does not stand, so its axes are unknown. "
            "Export it with a T-pose or an A-pose as its rest pose"
        )
    return np.stack([left_axis, up_axis, np.cross(left_axis, up_axis)])


def _rest_turn(own: np.ndarray, rest: np.ndarray, found: dict[str, int], side: str, joint: str, end: str) -> np.ndarray:
    """The shortest rotation (3, 3) that aligns the body's T-posed bone with the rig's resting one."""
    bone = own[JOINT_NAMES.index(side + end)] - own[JOINT_NAMES.index(side + joint)]
    return _shortest_turn(bone[None], (rest[found[side + end]] - rest[found[side + joint]])[None])[0]


def _shortest_turn(start: np.ndarray, target: np.ndarray) -> np.ndarray:
    """The shortest rotations (n, 3, 3) that align vectors (n, 3) with others (n, 3)."""
    axis, cosine = np.cross(start, target), (start * target).sum(1, keepdims=True)
    sine = np.linalg.norm(axis, axis=1, keepdims=True)
    return Rotation.from_rotvec(axis / np.maximum(sine, 1e-12) * np.arctan2(sine, cosine)).as_matrix()


def _leg_length(places: np.ndarray, found: dict[str, int]) -> float:
    """The length from hip over knee to ankle, mean of both legs."""
    chain = [places[[found[side + joint] for joint in ("hip", "knee", "ankle")]] for side in ("l_", "r_")]
    return float(np.linalg.norm(np.diff(np.array(chain), axis=1), axis=-1).sum(1).mean())
