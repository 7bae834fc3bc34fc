"""Moves MakeHuman shapes from their relaxed A-pose to SMPL's T-pose, in the full rig of 163 bones."""

import numpy as np
from scipy.sparse import csr_matrix
from scipy.spatial.transform import Rotation

from training.body.rig import Rig

# MakeHuman stands with the chest ahead of the hips; SMPL's shoulders are a little behind them. Degrees about x,
# negative leans back; each value holds from its bone upwards, and the head looks straight ahead again.
SPINE_PITCH_DEG = {"spine04": -2.0, "spine03": -6.0, "spine02": -9.0, "neck01": -5.0, "neck03": -2.0, "head": 0.0}
CHEST_PITCH_DEG = SPINE_PITCH_DEG["spine02"]
CLAVICLE_DEG, SHOULDER_DEG = 8.0, 14.0  # how far collar bone and shoulder rise when the arms do, from the A-pose
TOES_OUT_DEG = 6.0
THIGH = np.array([0.06, -1.0, -0.01])  # directions of the left leg's bones in SMPL's T-pose
SHIN = np.array([-0.02, -1.0, -0.07])


def t_posed(rig: Rig, vertices: np.ndarray, heads: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Moves A-posed vertices (n, V, 3) and bone heads (n, bone, 3) to the T-pose, y up, facing +z."""
    turns = t_pose_turns(rig, heads)
    placed = heads.copy()
    for bone, parent in enumerate(rig.bone_parents):
        if parent >= 0:
            offset = heads[:, bone] - heads[:, parent]
            placed[:, bone] = placed[:, parent] + np.einsum("nab,nb->na", turns[:, parent], offset)
    shift = placed - np.einsum("nkab,nkb->nka", turns, heads)
    skinning = csr_matrix(rig.skinning)
    posed = np.empty_like(vertices)
    for n in range(len(vertices)):
        transforms = np.concatenate([turns[n], shift[n][..., None]], -1).reshape(-1, 12).astype(np.float32)
        blended = (skinning @ transforms).reshape(-1, 3, 4)
        posed[n] = np.einsum("vab,vb->va", blended[:, :, :3], vertices[n]) + blended[:, :, 3]
    return posed, placed


def t_pose_turns(rig: Rig, heads: np.ndarray) -> np.ndarray:
    """How far each bone turns from the A-pose to the T-pose, in the body's frame (n, bone, 3, 3)."""
    index = {str(name): i for i, name in enumerate(rig.bone_names)}
    turns = np.tile(np.eye(3), (len(heads), len(index), 1, 1))
    below = _descendants(rig.bone_parents)

    def turn_branch(bone: str, turn: np.ndarray) -> None:
        turns[:, below[index[bone]]] = turn[:, None] if turn.ndim == 3 else turn

    for bone, degrees in SPINE_PITCH_DEG.items():
        turn_branch(bone, _about("x", degrees))
    for side, sign in ((".L", 1.0), (".R", -1.0)):

        def between(start: str, end: str, side: str = side) -> np.ndarray:
            return heads[:, index[end + side]] - heads[:, index[start + side]]

        for bone, turn in {**_arm_turns(between, sign), **_leg_turns(between, sign)}.items():
            turn_branch(bone + side, turn)
    return turns


def _arm_turns(between, sign: float) -> dict[str, np.ndarray]:
    """Turns of one arm's bones, from the trunk outwards: straight out to the side, palm down, thumb forward."""
    chest = _about("x", CHEST_PITCH_DEG)
    clavicle, shoulder = (_about("z", sign * deg) @ chest for deg in (CLAVICLE_DEG, SHOULDER_DEG))
    out = np.array([sign, 0.0, 0.0])
    upper = _aimed(shoulder, between("upperarm01", "lowerarm01"), out)
    lower = _aimed(upper, between("lowerarm01", "wrist"), out)
    hand = _aimed(lower, between("wrist", "finger3-1"), out)
    knuckles = np.einsum("nab,nb->na", hand, between("finger5-1", "finger2-1"))  # little finger to index finger
    twist = np.arctan2(knuckles[:, 1], knuckles[:, 2])  # from +z, about x
    about_x = np.array([1.0, 0.0, 0.0])
    half = Rotation.from_rotvec(twist[:, None] / 2 * about_x).as_matrix()
    whole = Rotation.from_rotvec(twist[:, None] * about_x).as_matrix()
    turns = {"clavicle": clavicle, "shoulder01": shoulder, "upperarm01": upper, "lowerarm01": lower}
    return turns | {"lowerarm02": half @ lower, "wrist": whole @ hand}


def _leg_turns(between, sign: float) -> dict[str, np.ndarray]:
    """Turns of one leg's bones, from the hip down: SMPL's slight straddle, feet flat and a little outwards."""
    mirror = np.array([sign, 1.0, 1.0])
    upper = _aimed(np.eye(3), between("upperleg01", "lowerleg01"), THIGH * mirror)
    lower = _aimed(upper, between("lowerleg01", "foot"), SHIN * mirror)
    foot = between("foot", "toe2-1")
    yaw = sign * np.radians(TOES_OUT_DEG) - np.arctan2(foot[:, 0], foot[:, 2])
    return {
        "upperleg01": upper,
        "lowerleg01": lower,
        "foot": Rotation.from_rotvec(yaw[:, None] * np.array([0.0, 1.0, 0.0])).as_matrix(),
    }


def _about(axis: str, degrees: float) -> np.ndarray:
    return Rotation.from_euler(axis, degrees, degrees=True).as_matrix()


def _aimed(turn: np.ndarray, bone: np.ndarray, target: np.ndarray) -> np.ndarray:
    """`turn` followed by the shortest turn that lays the turned bone (n, 3) along target (3,) -> (n, 3, 3)."""
    start = np.einsum("...ab,nb->na", turn, bone) if turn.ndim == 2 else np.einsum("nab,nb->na", turn, bone)
    start = start / np.linalg.norm(start, axis=1, keepdims=True)
    target = target / np.linalg.norm(target)
    axis = np.cross(start, target)
    cross = np.zeros((len(start), 3, 3))
    cross[:, 0, 1], cross[:, 0, 2], cross[:, 1, 2] = -axis[:, 2], axis[:, 1], -axis[:, 0]
    cross -= cross.transpose(0, 2, 1)
    shortest = np.eye(3) + cross + cross @ cross / (1 + start @ target)[:, None, None]
    return shortest @ turn


def _descendants(parents: np.ndarray) -> list[np.ndarray]:
    """For each bone, itself and all bones below it."""
    below: list[list[int]] = [[bone] for bone in range(len(parents))]
    for bone in range(len(parents) - 1, 0, -1):
        below[parents[bone]] += below[bone]
    return [np.array(bones) for bones in below]
